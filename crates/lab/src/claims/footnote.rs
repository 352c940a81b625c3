//! `footnote-13`: what would be left of training if the transposed matrices of the backward pass
//! were independent of those of the forward pass (TP IIb §3.2, footnote 13, as corrected).

use anyhow::Context as _;
use netsor_finite::{Executor, Inputs, Options, State, execute};
use netsor_ir::verify::Verified;
use netsor_ir::{Program, ValueId};
use netsor_zoo::Mlp;

use super::independence::{TwoBackwardPasses, two_backward_passes};
use super::setup::{
    TwoClasses, abscissae, column, find, limits, name, over_seeds, projection, slope_figure, slope_table,
};
use crate::stats::{Average, extrapolate_over_seeds, slope_over_seeds};
use crate::{Cell, Claim, Context, Outcome, Table, Test};

/// Room around the slopes -1/2 and 0.
const SLOPE_MARGIN: f64 = 0.15;
/// Room around the shares 0 and 1 at infinite width.
const SHARE_MARGIN: f64 = 0.05;
/// The limits must be 0 and 1 up to the error of the integrals.
const TOLERANCE: f64 = 1e-7;
const N_POINTS: usize = 6;
const ETA: f64 = 0.5;

pub(super) struct Footnote13;

impl Claim for Footnote13 {
    fn id(&self) -> &'static str {
        "footnote-13"
    }

    fn title(&self) -> &str {
        r"With $W^\top$ independent of $W$ only the top layers still move $f$"
    }

    fn source(&self) -> &str {
        "TP IIb §3.2, footnote 13, corrected (our erratum)"
    }

    fn prediction(&self) -> &str {
        r"Let the backward pass use independent copies of the hidden matrices. Then
          $\langle \nabla_p f, \widetilde{\nabla}_p f \rangle$, the speed at which the copied
          gradient moves $f$, vanishes in the limit for every parameter $p$ except the top hidden
          matrix and the readout, where it is the share of the tangent kernel: extrapolated by
          $m + c/n$ the ratio to that share is 0 or 1 up to $0.05$. (The paper says that $f$
          would not move at all.)
          With the input matrix alone trained by SGD, the movement of $f$ over an epoch has
          slope $-1/2$ in $n$ up to $0.15$ with copies, and slope 0 up to $0.15$ with the true gradient."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/footnote-13.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let widths: Vec<usize> =
            ctx.scale.pick(vec![64, 128, 256, 512], vec![64, 128, 256, 512, 1024], vec![64, 128, 256, 512, 1024, 2048]);
        let n_seeds = ctx.scale.pick(256, 256, 800);
        let data = TwoClasses::load(ctx, (4, 9), (N_POINTS - 1, 1))?;
        let network = Mlp { inputs: N_POINTS as u32, dim: 64, hidden: 3, ..Mlp::default() }.network()?;
        let passes = two_backward_passes(&network)?;
        ctx.progress().message("limit");
        let values: Vec<ValueId> = passes.shares.iter().flat_map(|share| [share.within, share.across]).collect();
        let (limits, _) = limits(&passes.program, &values, &data.inputs, N_POINTS, TOLERANCE / 100.0)?;
        let limits: Vec<[Vec<f64>; 2]> = limits.chunks(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect();
        ctx.progress().message(format!("{n_seeds} seeds"));
        let rows = over_seeds(ctx, "shares", &ctx.seeds(n_seeds), |seed| {
            widths.iter().map(|&n| measure(&passes, &data, &limits, n, seed)).collect()
        })?;

        let x = abscissae(&widths);
        let mut tests = Vec::new();
        let mut table = Table::new(
            r"What is left of each parameter's share, $\langle \nabla f, \widetilde{\nabla} f \rangle$ against $\langle \nabla f, \nabla f \rangle$",
            ["parameter", "limit engine", "network, extrapolated", "standard error"],
        );
        let top = passes.shares.iter().map(|share| share.parameter).max();
        for (k, share) in passes.shares.iter().enumerate() {
            let parameter = name(&network, share.parameter);
            let target = if Some(share.parameter) == top { 1.0 } else { 0.0 };
            let predicted = projection(&limits[k][1], &limits[k][0]);
            tests.push(Test::within(format!("limit: share of {parameter}"), predicted, target, TOLERANCE)?);
            let fit = extrapolate_over_seeds(&x, &column(&rows, k + 2), &[1.0])?;
            tests.push(Test::equals(format!("network: share of {parameter}"), &fit.limit, target, SHARE_MARGIN)?);
            table.push([
                Cell::from(parameter),
                predicted.into(),
                fit.limit.value.into(),
                fit.limit.standard_error.into(),
            ]);
        }
        let copied = slope_over_seeds(&x, &column(&rows, 0), Average::RootMeanSquare)?;
        let true_one = slope_over_seeds(&x, &column(&rows, 1), Average::RootMeanSquare)?;
        tests.push(Test::equals("slope of the movement, copies", &copied.fit.slope, -0.5, SLOPE_MARGIN)?);
        tests.push(Test::equals("slope of the movement, true gradient", &true_one.fit.slope, 0.0, SLOPE_MARGIN)?);
        let figure = slope_figure(
            "Movement of f when only the input matrix is trained",
            "root mean square movement",
            &[("independent copies", &copied), ("true gradient", &true_one)],
            (-0.5, "slope −1/2"),
            format!(
                "One epoch of SGD on {N_POINTS} digits, $\\eta = {ETA}$, {n_seeds} seeds, root mean square; bars are pointwise 95 % intervals."
            ),
        );
        let tables = vec![
            table,
            slope_table("Movement, independent copies", "movement", &copied),
            slope_table("Movement, true gradient", "movement", &true_one),
        ];
        let notes = vec!["The readout's gradient contains no backward pass, so its share does not change.".to_owned()];
        Ok(Outcome { tests, tables, figures: vec![figure], notes })
    }
}

/// Movements of f with copies and with the true gradient, then the shares that are left.
fn measure(
    passes: &TwoBackwardPasses,
    data: &TwoClasses,
    limits: &[[Vec<f64>; 2]],
    n: usize,
    seed: u64,
) -> anyhow::Result<Vec<f64>> {
    let program = &passes.program;
    let inputs = Inputs::new().with(find(program, "xi")?, data.inputs.clone());
    let across: Vec<ValueId> = passes.shares.iter().map(|share| share.across).collect();
    let state = execute::<f64>(program, &inputs, &across, &Options::new(n, seed))?;
    let input_share = passes.shares.iter().min_by_key(|share| share.parameter);
    let input_share = input_share.context("the network has no matrices below its readout")?;
    let mut measured = Vec::new();
    for adjoint in [input_share.independent, input_share.adjoint] {
        let sgd = InputSgd { matrix: input_share.parameter, adjoint, options: Options::new(n, seed) };
        measured.push(sgd.movement(program, data, state.clone())?);
    }
    let shares = across.iter().zip(limits);
    measured.extend(shares.map(|(&share, [within, _])| projection(&state.numbers(share), within)));
    Ok(measured)
}

/// SGD with batch size 1 in the input matrix alone, whose gradient is the outer product of
/// `adjoint` (over `sqrt(n)`) and the input.
struct InputSgd {
    matrix: ValueId,
    adjoint: ValueId,
    options: Options,
}

impl InputSgd {
    /// The root mean square over points of the movement of f, starting from `state`.
    fn movement(&self, program: &Verified<Program>, data: &TwoClasses, mut state: State<f64>) -> anyhow::Result<f64> {
        let f = find(program, "f")?;
        let (n, dim) = (self.options.width, data.inputs.len() / N_POINTS);
        let mut executor = Executor::<f64>::new(program, self.options.clone())?;
        executor.run(&mut state, &[f, self.adjoint])?;
        let f0 = state.numbers(f);
        for point in 0..N_POINTS {
            let residual = state.numbers(f)[point] - data.targets[point];
            let dh = state.numbers(self.adjoint);
            let dh = &dh[point * n..(point + 1) * n];
            let x = &data.inputs[point * dim..(point + 1) * dim];
            // The rate of an input matrix with entries N(0, 1/d) is 1/d.
            let factor = ETA * residual / (dim as f64 * (n as f64).sqrt());
            let mut u = state.numbers(self.matrix);
            for (column, x) in u.chunks_mut(n).zip(x) {
                for (u, dh) in column.iter_mut().zip(dh) {
                    *u -= factor * x * dh;
                }
            }
            state.supply(program, self.matrix, &u, &self.options)?;
            state.forget_computed(program);
            executor.run(&mut state, &[f, self.adjoint])?;
        }
        let square: f64 = state.numbers(f).iter().zip(&f0).map(|(f, f0)| (f - f0).powi(2)).sum();
        Ok((square / N_POINTS as f64).sqrt())
    }
}
