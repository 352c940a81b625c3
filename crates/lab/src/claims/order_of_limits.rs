//! `order-of-limits`: layers that grow together have the limit of layers that grow one after the other (TP I; Lee et al.
//! 2018; Matthews et al. 2018).

use anyhow::Context as _;
use netsor_finite::{Inputs, Options, execute};
use netsor_ir::expr::ExprId;
use netsor_ir::syntax::parse_program;
use netsor_ir::transform::kernels;
use netsor_ir::verify::{Verified, verify_program};
use netsor_ir::{Network, Program, ValueId};
use netsor_limit::{Data, Deriver, Evaluator, Graph, Tolerance};
use netsor_zoo::{Activation, Mlp};

use super::setup::{
    abscissae, digits, draws_text, find, limits, over_draws, projection, relative_distance, slope_figure, slope_table,
};
use crate::stats::{Average, Curve, Estimate, extrapolate, mean, slope_of_samples};
use crate::{Cell, Claim, Context, Outcome, Table, Test};

/// Room around the slopes -1/2.
const SLOPE_MARGIN: f64 = 0.15;
/// Room around the limit, relative.
const LIMIT_MARGIN: f64 = 0.05;
/// Room for the sum of variances, relative.
const SUM_MARGIN: f64 = 0.15;
/// Error asked of each integral of the limit; they have closed forms.
const TOLERANCE: f64 = 1e-10;
const N_POINTS: u32 = 4;

/// One Gaussian layer with a given covariance: what is above a layer of infinite width.
const LAYER: &str = "program layer {
  axis i = 4
  data k[i, i']
  vector h[i] ~ N(0, k[i, i'])
  x[i] = relu(h[i])
  moment s[i, i'] = mean(x[i] * x[i'])
}";

pub(super) struct OrderOfLimits;

/// The three ways to a kernel: distance from the limit and projection on it.
type Run = [(f64, f64); 3];

const WAYS: [&str; 3] = ["both layers of width n", "the first layer infinite", "the second layer infinite"];

impl Claim for OrderOfLimits {
    fn id(&self) -> &'static str {
        "order-of-limits"
    }

    fn title(&self) -> &str {
        r"Simultaneous and sequential limits of the widths agree"
    }

    fn source(&self) -> &str {
        "Yang 2019 (TP I); Lee et al. 2018"
    }

    fn prediction(&self) -> &str {
        r"The kernel $\Sigma$ of a relu network with two hidden layers on digits: with $n_1 = n_2 = n$, with $n_1 = \infty$
          before $n_2 = n$, and with $n_2 = \infty$ given $n_1 = n$. All three approach one limit: relative distances
          have slope $-1/2$ in $n$ up to $0.15$, and the projections on the limit, extrapolated by $m + c/n$, are 1 up to
          $5\,\%$. Given the first layer, the second one errs with mean 0 to leading order; so the mean squared distance
          of the simultaneous kernel is the sum of those of the sequential ones, up to $15\,\%$."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/order-of-limits.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let xi = digits(ctx, &[0, 1, 2, 3], 1)?;
        let draws = ctx.scale.pick(
            vec![(64, 1536), (128, 768), (256, 256)],
            vec![(64, 2048), (128, 2048), (256, 1024), (512, 512)],
            vec![(64, 4096), (128, 4096), (256, 4096), (512, 2048), (1024, 1024), (2048, 512)],
        );
        let ways = Ways::new(&xi)?;
        let columns: Vec<Vec<Run>> = over_draws(ctx, "order of limits", &draws, |n, seed| ways.run(n, seed))?;

        let x = abscissae(&draws.iter().map(|d| d.0).collect::<Vec<_>>());
        let mut tests = Vec::new();
        let mut curves: Vec<(&str, Curve)> = Vec::new();
        let mut shares = Table::new(
            r"Projection $\langle \Sigma_n, \mathring{\Sigma}\rangle / \langle \mathring{\Sigma}, \mathring{\Sigma}\rangle$, extrapolated by $m + c/n$",
            ["way", "$m$", "standard error", "$c$"],
        );
        for (way, name) in WAYS.into_iter().enumerate() {
            let of = |f: fn(&(f64, f64)) -> f64| -> Vec<Vec<f64>> {
                columns.iter().map(|runs| runs.iter().map(|run| f(&run[way])).collect()).collect()
            };
            let curve = slope_of_samples(&x, &of(|found| found.0), Average::RootMeanSquare)?;
            tests.push(Test::equals(format!("slope, {name}"), &curve.fit.slope, -0.5, SLOPE_MARGIN)?);
            curves.push((name, curve));
            let means = of(|found| found.1).iter().map(|values| mean(values)).collect::<Result<Vec<_>, _>>()?;
            let fit = extrapolate(&x, &means, &[1.0])?;
            tests.push(Test::equals(format!("limit, {name}"), &fit.limit, 1.0, LIMIT_MARGIN)?);
            let numbers = [fit.limit.value, fit.limit.standard_error, fit.coefficients[0].value];
            shares.push([Cell::from(name)].into_iter().chain(numbers.map(Cell::from)));
        }
        let ratio = ratio_of_variances(&draws, &columns)?;
        tests.push(Test::equals("simultaneous over sum of sequential variances", &ratio, 1.0, SUM_MARGIN)?);

        let tables =
            curves.iter().map(|(name, curve)| slope_table(&format!("Distance by width, {name}"), "distance", curve));
        let tables = tables.chain([shares]).collect();
        let shown: Vec<(&str, &Curve)> = curves.iter().map(|(name, curve)| (*name, curve)).collect();
        let figure = slope_figure(
            "Distance of the kernel from its limit, on three ways",
            "relative Frobenius distance",
            &shown,
            (-0.5, "slope −1/2"),
            format!("Four digits, {}, root mean square; bars are pointwise 95 % intervals.", draws_text(&draws)),
        );
        Ok(Outcome { tests, tables, figures: vec![figure], notes: Vec::new() })
    }
}

/// The mean of `n` times the squared distance of the simultaneous kernel over that of the sequential ones, over all
/// draws, with the error of the delta method.
fn ratio_of_variances(draws: &[(usize, usize)], columns: &[Vec<Run>]) -> anyhow::Result<Estimate> {
    let pairs = draws.iter().zip(columns).flat_map(|(&(n, _), runs)| {
        let square = move |found: &(f64, f64)| n as f64 * found.0 * found.0;
        runs.iter().map(move |run| (square(&run[0]), square(&run[1]) + square(&run[2])))
    });
    let (top, bottom): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let centre = mean(&bottom)?.value;
    let ratio = mean(&top)?.value / centre;
    let influences: Vec<f64> = top.iter().zip(&bottom).map(|(a, b)| (a - ratio * b) / centre).collect();
    Ok(Estimate { value: ratio, ..mean(&influences)? })
}

/// Everything that does not depend on the draw.
struct Ways<'a> {
    xi: &'a [f64],
    /// The kernel program of two layers, its kernel, and the limit.
    two: (Verified<Program>, ValueId, Vec<f64>),
    /// The same of the first layer.
    one: (Verified<Program>, ValueId, Vec<f64>),
    layer: Layer,
}

impl<'a> Ways<'a> {
    fn new(xi: &'a [f64]) -> anyhow::Result<Self> {
        let mlp = |hidden| {
            let w_std = std::f64::consts::SQRT_2;
            Mlp { inputs: N_POINTS, dim: 64, hidden, w_std, activation: Activation::Relu, ..Mlp::default() }.network()
        };
        let with_limit = |network: Network| -> anyhow::Result<_> {
            let kernels = kernels(&network)?;
            let nngp = kernels.outputs[0].nngp.context("the output is a readout")?;
            let (mut limit, _) = limits(&kernels.program, &[nngp], xi, N_POINTS as usize, TOLERANCE)?;
            Ok((verify_program(kernels.program)?, nngp, limit.remove(0)))
        };
        Ok(Self { xi, two: with_limit(mlp(2)?)?, one: with_limit(mlp(1)?)?, layer: Layer::new()? })
    }

    fn run(&self, n: usize, seed: u64) -> anyhow::Result<Run> {
        let options = Options::new(n, seed);
        let empirical = |(program, nngp, _): &(Verified<Program>, ValueId, Vec<f64>)| -> anyhow::Result<Vec<f64>> {
            let inputs = Inputs::new().with(find(program, "xi")?, self.xi.to_vec());
            Ok(execute::<f64>(program, &inputs, &[*nngp], &options)?.numbers(*nngp))
        };
        let limit = &self.two.2;
        let compare = |kernel: &[f64]| (relative_distance(kernel, limit), projection(kernel, limit));
        // The first layer has the same draw in both networks, which is named by the matrix.
        let first = empirical(&self.one)?;
        Ok([
            compare(&empirical(&self.two)?),
            compare(&self.layer.at_width(&self.one.2, &options)?),
            compare(&self.layer.at_infinity(&first)?),
        ])
    }
}

/// The second layer by itself: from the kernel of the first to that of the second.
struct Layer {
    program: Verified<Program>,
    /// Kernel of the first layer, kernel of the second.
    values: (ValueId, ValueId),
    graph: Graph,
    expr: ExprId,
}

/// The weights of the network's second matrix have variance `2/n`, and so do those of its readout.
const W_VARIANCE: f64 = 2.0;

impl Layer {
    fn new() -> anyhow::Result<Self> {
        let program = verify_program(parse_program(LAYER)?)?;
        let values = (find(&program, "k")?, find(&program, "s")?);
        let mut deriver = Deriver::new(&program);
        let expr = deriver.scalar(values.1)?;
        Ok(Self { graph: deriver.into_graph(), program, values, expr })
    }

    /// Above a first layer of infinite width, with `n` Gaussian coordinates.
    fn at_width(&self, first: &[f64], options: &Options) -> anyhow::Result<Vec<f64>> {
        let inputs = Inputs::new().with(self.values.0, first.to_vec());
        let state = execute::<f64>(&self.program, &inputs, &[self.values.1], options)?;
        Ok(state.numbers(self.values.1).into_iter().map(|s| W_VARIANCE * s).collect())
    }

    /// With infinitely many coordinates, above any first layer.
    fn at_infinity(&self, first: &[f64]) -> anyhow::Result<Vec<f64>> {
        let data = Data::new().with(self.values.0, first.to_vec());
        let tolerance = Tolerance { absolute: TOLERANCE, relative: 0.0, ..Tolerance::default() };
        let mut evaluator = Evaluator::new(&self.graph, &self.program, &data, tolerance)?;
        let mut entry = |i: u32, j: u32| Ok(W_VARIANCE * evaluator.value(self.expr, &[i, j])?.value);
        let pairs = (0..N_POINTS).flat_map(|i| (0..N_POINTS).map(move |j| (i, j)));
        pairs.map(|(i, j)| entry(i, j)).collect()
    }
}
