//! `conditioning`: training conditioned on the outputs at the start (TP IIb App. D.1.1, eq. 69 to 72).

use anyhow::{Context as _, bail};
use netsor_finite::{Inputs, Options, Trainer};
use netsor_ir::number::{fraction, integer};
use netsor_ir::transform::{Sgd, kernels, unroll_sgd};
use netsor_ir::verify::{Verified, verify_network};
use netsor_ir::{Instr, Network, ValueId};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};
use netsor_num::streams::{Streams, fill_normal};
use netsor_predict::{DiagReg, Mat, Spectrum};
use netsor_zoo::{Activation, Mlp};
use serde::{Deserialize, Serialize};

use super::regression::{Regression, relative_deviation};
use super::setup::{
    TwoClasses, abscissae, draws, draws_text, find, limit_kernel, limits, over_draws, slope_figure, slope_table,
};
use crate::stats::{Average, slope_of_samples};
use crate::{Axis, Claim, Context, Figure, Outcome, Series, Style, Test};

/// Room around the slopes -1/2.
const SLOPE_MARGIN: f64 = 0.15;
/// Rounding of a product of `n` numbers of order one, times the condition number of the embeddings' covariance, some
/// hundreds.
const EXACT: f64 = 1e-10;
/// Integrals have closed forms, and the program of two steps adds some dozens of them.
const PROGRAM_TOLERANCE: f64 = 1e-8;
/// The learning rate, a rational number for the program.
const ETA: f64 = 0.5;
/// Steps that are written out as a program for the limit engine.
const UNROLLED: usize = 2;

pub(super) struct Conditioning;

/// One draw.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Run {
    /// Largest distance of the outputs at the start from those that were asked for.
    start: f64,
    /// Relative change of the readout vector by conditioning.
    change: f64,
    /// Relative deviation of training from kernel gradient descent.
    deviation: f64,
    /// Outputs on the first test point.
    path: Vec<f64>,
}

impl Claim for Conditioning {
    fn id(&self) -> &'static str {
        "conditioning"
    }

    fn title(&self) -> &str {
        r"Conditioned on $f_0$, training is kernel gradient descent from this $f_0$"
    }

    fn source(&self) -> &str {
        "TP IIb App. D.1.1, eqs. 69 to 72; Thm D.2"
    }

    fn prediction(&self) -> &str {
        r"With $\hat{v}$ of eq. 71 in place of $v$ the outputs at the start are the vector $\mathrm{f}$ that was asked
          for, one draw of the limit's Gaussian process, up to $10^{-10}$. The relative change
          $\|\hat{v} - v\| / \|v\|$ falls like $n^{-1/2}$ (so that $Z^{\hat{v}} = Z^v$), and so does the relative
          deviation of SGD from kernel gradient descent that starts from $\mathrm{f}$: slopes $-1/2$ up to $0.15$.
          The limit of the program of two steps conditioned on $f_0 = \mathrm{f}$ (through the Z rules) is the same
          descent up to $10^{-8}$."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/conditioning.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let (n_train, n_test, steps) = ctx.scale.pick((4, 2, 12), (6, 3, 24), (12, 6, 60));
        let draws = ctx.scale.pick(
            draws(&[64, 128, 256], 128),
            draws(&[64, 128, 256, 512], 192),
            draws(&[64, 128, 256, 512, 1024, 2048], 200),
        );
        let data = TwoClasses::load(ctx, (4, 9), (n_train, n_test))?;
        let inputs = data.n_points() as u32;
        let network = Mlp { inputs, dim: 64, hidden: 2, activation: Activation::Erf, ..Mlp::default() }.network()?;
        let network = verify_network(network)?;
        ctx.progress().message("limit");
        let limit = limit_kernel(&network, &data.inputs, n_train, 1e-10)?;
        let start = typical_start(&network, &data, ctx.seed)?;
        let order: Vec<usize> = (0..steps).map(|t| t % n_train).collect();
        let theory = Regression::new(&data, &limit).descent(&start, ETA, &order)?;
        let unrolled = unrolled(&network, &data, &start)?;
        let distance = unrolled.iter().flatten().zip(theory.iter().flatten()).map(|(a, b)| (a - b).abs());
        let program = distance.fold(0.0, f64::max);

        ctx.progress().message("networks");
        let experiment = Experiment { network: &network, data: &data, start: &start, theory: &theory, order: &order };
        let columns = over_draws(ctx, "conditioned", &draws, |n, seed| experiment.run(n, seed))?;
        let x = abscissae(&draws.iter().map(|d| d.0).collect::<Vec<_>>());
        let curve = |of: fn(&Run) -> f64| {
            let samples: Vec<Vec<f64>> = columns.iter().map(|runs| runs.iter().map(of).collect()).collect();
            slope_of_samples(&x, &samples, Average::RootMeanSquare)
        };
        let (change, deviation) = (curve(|run| run.change)?, curve(|run| run.deviation)?);
        let distance = columns.iter().flatten().map(|run| run.start).fold(0.0, f64::max);
        let tests = vec![
            Test::within("largest distance of $f_0$ from $\\mathrm{f}$", distance, 0.0, EXACT)?,
            Test::within("distance of the program's limit from the descent", program, 0.0, PROGRAM_TOLERANCE)?,
            Test::equals("slope of the change of the readout", &change.fit.slope, -0.5, SLOPE_MARGIN)?,
            Test::equals("slope of the deviation", &deviation.fit.slope, -0.5, SLOPE_MARGIN)?,
        ];
        let slopes = slope_figure(
            "What conditioning changes, and how far training deviates",
            "relative size",
            &[("change of the readout vector", &change), ("deviation of training", &deviation)],
            (-0.5, "slope −1/2"),
            format!(
                "{n_train} training and {n_test} test digits (4 and 9), {steps} steps, {}; bars are pointwise 95 % \
                 intervals.",
                draws_text(&draws)
            ),
        );
        let tables = vec![
            slope_table("Relative change of the readout vector", "change", &change),
            slope_table("Relative deviation of training", "deviation", &deviation),
        ];
        let figures = vec![paths(&draws, &columns, &theory, n_train), slopes];
        Ok(Outcome { tests, tables, figures, notes: Vec::new() })
    }
}

/// The one path of the limit, and the networks about it.
fn paths(draws: &[(usize, usize)], columns: &[Vec<Run>], theory: &[Vec<f64>], point: usize) -> Figure {
    let mut series = Vec::new();
    for at in [0, draws.len() - 1] {
        let runs = &columns[at];
        let mean = |t: usize| runs.iter().map(|run| run.path[t]).sum::<f64>() / runs.len() as f64;
        let spread = |t: usize| {
            let square: f64 = runs.iter().map(|run| (run.path[t] - mean(t)).powi(2)).sum();
            2.0 * (square / (runs.len() as f64 - 1.0)).sqrt()
        };
        let times = 0..theory.len();
        let ends = times.clone().map(|t| (mean(t) - spread(t), mean(t) + spread(t)));
        let points = times.map(|t| (t as f64, mean(t)));
        let name = format!("networks, n = {}", draws[at].0);
        series.push(Series::new(name, Style::Band, points).with_interval(ends));
    }
    let limit = theory.iter().enumerate().map(|(t, f)| (t as f64, f[point]));
    series.push(Series::new("kernel gradient descent", Style::Dashed, limit));
    Figure {
        title: "A test point along training from one start".to_owned(),
        x: Axis::linear("step t"),
        y: Axis::linear("output f"),
        series,
        caption: "Mean over draws and two standard deviations. All networks start from the same outputs.".to_owned(),
    }
}

struct Experiment<'a> {
    network: &'a Verified<Network>,
    data: &'a TwoClasses,
    start: &'a [f64],
    theory: &'a [Vec<f64>],
    order: &'a [usize],
}

impl Experiment<'_> {
    fn run(&self, n: usize, seed: u64) -> anyhow::Result<Run> {
        let inputs = Inputs::new().with(find(&self.network.program, "xi")?, self.data.inputs.clone());
        let mut trainer = Trainer::<f64>::new(self.network, &inputs, Options::new(n, seed))?;
        let change = condition(&mut trainer, self.start)?;
        let mut outputs = vec![trainer.outputs()?.remove(0)];
        for (t, &example) in self.order.iter().enumerate() {
            let mut cotangents = vec![0.0; self.start.len()];
            cotangents[example] = outputs[t][example] - self.data.targets[example];
            trainer.step(ETA, &[cotangents])?;
            outputs.push(trainer.outputs()?.remove(0));
        }
        Ok(Run {
            start: outputs[0].iter().zip(self.start).map(|(f, wanted)| (f - wanted).abs()).fold(0.0, f64::max),
            change,
            deviation: relative_deviation(&outputs, self.theory),
            path: outputs.iter().map(|f| f[self.data.n_train]).collect(),
        })
    }
}

/// The readout's weights and the embedding that they read, for a network with one output `v' * x[i]`.
fn readout(network: &Network) -> anyhow::Result<(ValueId, ValueId)> {
    match &network.program.value(network.outputs[0]).instr {
        Instr::MatMul { matrix, transposed: true, vector } => Ok((matrix.value, vector.value)),
        _ => bail!("the output of `{}` is no readout", network.program.name),
    }
}

/// One draw of the outputs at infinite width.
fn typical_start(network: &Network, data: &TwoClasses, seed: u64) -> anyhow::Result<Vec<f64>> {
    let kernels = kernels(network)?;
    let nngp = kernels.outputs[0].nngp.context("the output is a readout")?;
    let size = data.n_points();
    let (sigma, _) = limits(&kernels.program, &[nngp], &data.inputs, size, 1e-10)?;
    let sigma = Mat::from_fn(size, size, |i, j| sigma[0][i * size + j]);
    let mut z = vec![0.0; size];
    fill_normal(&mut Streams::new(seed).stream("outputs at the start", 0), &mut z);
    let spectrum = Spectrum::new("the NNGP", sigma.as_ref(), DiagReg::None)?;
    let f = spectrum.apply(|lambda| lambda.max(0.0).sqrt(), Mat::from_fn(size, 1, |i, _| z[i]).as_ref());
    Ok((0..size).map(|i| f[(i, 0)]).collect())
}

/// Replaces the readout vector `v` by `v + X Sigma^+ (f - X' v) / n` with `Sigma = X' X / n` (eq. 71, in units where
/// `f = X' v`), and says by how much that changes it.
fn condition(trainer: &mut Trainer<f64>, f: &[f64]) -> anyhow::Result<f64> {
    let (weights, embedding) = readout(trainer.network())?;
    let own = trainer.outputs()?.remove(0);
    let block = trainer.values(&[embedding])?.block(embedding).context("the embedding has been computed")?.clone();
    let n = block.rows as f64;
    let dot = |i: usize, j: usize| block.member(i).iter().zip(block.member(j)).map(|(a, b)| a * b).sum::<f64>();
    let sigma = Mat::from_fn(f.len(), f.len(), |i, j| dot(i, j) / n);
    let missing = Mat::from_fn(f.len(), 1, |i, _| f[i] - own[i]);
    let spectrum = Spectrum::new("the covariance of the embeddings", sigma.as_ref(), DiagReg::None)?;
    // Digits are in general position: the pseudo-inverse is an inverse.
    let coefficients = spectrum.apply(|lambda| 1.0 / (n * lambda), missing.as_ref());
    let mut v = trainer.parameter(weights);
    let before: f64 = v.iter().map(|v| v * v).sum();
    let mut changed = 0.0;
    for (k, v) in v.iter_mut().enumerate() {
        let step: f64 = (0..f.len()).map(|i| block.member(i)[k] * coefficients[(i, 0)]).sum();
        changed += step * step;
        *v += step;
    }
    trainer.set_parameter(weights, &v)?;
    Ok((changed / before).sqrt())
}

/// The limits of the outputs of the program of the first steps, conditioned on `f_0 = start`, by the Z rules.
fn unrolled(network: &Network, data: &TwoClasses, start: &[f64]) -> anyhow::Result<Vec<Vec<f64>>> {
    let size = data.n_points();
    let only = |example: usize| (0..size).map(|j| integer(i64::from(j == example))).collect::<Vec<_>>();
    let batches = (0..UNROLLED).map(|t| only(t % data.n_train)).collect();
    // Half, as a number of the language.
    let sgd = Sgd { steps: UNROLLED, rates: vec![fraction(1, 2)], batches, ..Sgd::default() };
    let training = unroll_sgd(network, &sgd)?.simplified()?;
    let output = &training.outputs[0];
    let condition = training.conditions.first().context("the output is conditioned on")?;
    let given = Data::new()
        .with(find(&training.program, "xi")?, data.inputs.clone())
        .with(condition.data, start.to_vec())
        .with(output.target, data.targets.clone());
    let mut deriver = Deriver::new(&training.program);
    let exprs = output.at.iter().map(|&f| deriver.scalar(f)).collect::<Result<Vec<_>, _>>()?;
    let graph = deriver.into_graph();
    let tolerance = Tolerance { absolute: 1e-10, relative: 0.0, ..Tolerance::default() };
    let mut evaluator = Evaluator::new(&graph, &training.program, &given, tolerance)?;
    let mut at = |expr| (0..size).map(|i| Ok(evaluator.value(expr, &[i as u32])?.value)).collect();
    exprs.into_iter().map(&mut at).collect()
}
