//! `nth-training`: what the hierarchy says about gradient flow and descent: the sizes of the kernels along training
//! (NTH eq. 12), the decay of the loss (Cor. 2.5), the smallest eigenvalue, and the step of descent (eq. 29).

use netsor_finite::Inputs;
use netsor_nth::{
    KernelOptions, KernelTensor, bold_hierarchy, discrete_step, gradient_flow, gradient_step, hierarchy, kernels_at,
};
use netsor_num::ode::OdeOptions;

use super::nth_setup::SmallDigits;
use super::setup::{abscissae, column, over_seeds};
use crate::stats::{Average, mean, paired_difference, slope_over_seeds};
use crate::{Claim, Context, Outcome, Table, Test};

const N_TRAIN: usize = 4;
/// The time at which sizes are measured: the loss has fallen by about `exp(-2)` then.
const TIME: f64 = 8.0;
/// Room around the slopes in the width, which are attained.
const WIDTH_MARGIN: f64 = 0.15;
/// Room around the slopes in the learning rate: corrections are of relative size `eta`.
const ETA_MARGIN: f64 = 0.15;
/// Width of everything that is not about the width.
const WIDTH: usize = 256;
/// Learning rates, short against the rate of the flow, which is about 1 / N_TRAIN.
const ETAS: [f64; 4] = [0.05, 0.1, 0.2, 0.4];
/// Intervals of the trapezoidal rule for the integral of the smallest eigenvalue.
const INTERVALS: usize = 32;

pub(super) struct NthTraining;

impl Claim for NthTraining {
    fn id(&self) -> &'static str {
        "nth-training"
    }

    fn title(&self) -> &str {
        r"Along training the kernels stay small, the loss decays at the rate of the smallest eigenvalue, and a step of descent is a series in $\eta$"
    }

    fn source(&self) -> &str {
        "NTH eq. (12), Cor. 2.5, the remark on depth after it, and eq. (29), corrected"
    }

    fn prediction(&self) -> &str {
        r"One hidden layer, tanh, 4 digits. (a) At $t = 8$ of gradient flow the root mean square of
          $K^{(r)}_t$ has a slope in $m$ of at most $-(r/2 - 1)$, up to $0.15$, for $r = 2, 3, 4$.
          (b) $\ln |r_t|^2 \le \ln |r_0|^2 - \frac{2}{n} \int_0^t \lambda_{min}(K^{(2)}_s) ds$ for
          every network and time (the testable form of Cor. 2.5), and $\lambda_{min}(K^{(2)}_t)$ is
          above half of its value at 0 in at least 95 % of networks and times at $m = 256$.
          (c) $\lambda_{min}(K^{(2)}_0)$ is smaller for three hidden layers than for one: the paper
          expects the opposite, which failed in a first run; this is our prediction on other seeds. (d) One step of
          descent from the bold kernels up to $\eta^s$, with our correction of eq. (29), leaves an
          error of $K^{(2)}$ and of $f$ of order $\eta^{s+1}$ for $s = 1, 2$: slopes up to $0.15$."
    }

    fn revision(&self) -> u32 {
        3
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/nth-training.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let data = SmallDigits::load(ctx, N_TRAIN, 0)?;
        let mut outcome = Outcome::default();
        sizes_along_training(ctx, &data, &mut outcome)?;
        decay_of_the_loss(ctx, &data, &mut outcome)?;
        depth(ctx, &data, &mut outcome)?;
        steps_of_descent(ctx, &data, &mut outcome)?;
        Ok(outcome)
    }
}

/// The smallest eigenvalue of a tangent kernel on its training points.
fn smallest_eigenvalue(kernel: &KernelTensor) -> anyhow::Result<f64> {
    let n = kernel.n_train();
    let matrix = faer::Mat::from_fn(n, n, |a, b| kernel.get(&[a, b]));
    let found = matrix.self_adjoint_eigenvalues(faer::Side::Lower);
    let found = found.map_err(|e| anyhow::anyhow!("the eigenvalues of a kernel: {e:?}"))?;
    Ok(found.into_iter().fold(f64::INFINITY, f64::min))
}

fn sizes_along_training(ctx: &Context, data: &SmallDigits, outcome: &mut Outcome) -> anyhow::Result<()> {
    let (network, inputs) = data.network(1)?;
    let program = hierarchy(&network, 4)?;
    let widths = ctx.scale.pick(vec![64, 128, 256, 512], vec![64, 128, 256, 512, 1024], vec![64, 256, 1024, 4096]);
    let rows = over_seeds(ctx, "sizes", &ctx.seeds(ctx.scale.pick(24, 96, 192)), |seed| {
        let at = |&m: &usize| {
            let options = KernelOptions::new(m, seed);
            let ode = OdeOptions::with_tolerance(1e-7);
            let path = gradient_flow(&network, &inputs, &data.targets, &[TIME], &options, &ode)?;
            let found = kernels_at(&program, &path.inputs[0], &options)?;
            Ok(found.kernels.iter().map(KernelTensor::norm_rms).collect())
        };
        widths.iter().map(at).collect::<anyhow::Result<Vec<Vec<f64>>>>()
    })?;
    let mut table = Table::new(format!("Sizes at $t = {TIME}$"), ["$r$", "$m$", "root mean square"]);
    for (k, order) in (2..=4).enumerate() {
        let curve = slope_over_seeds(&abscissae(&widths), &column(&rows, k), Average::RootMeanSquare)?;
        let bound = 1.0 - f64::from(order) / 2.0;
        let name = format!("slope of $K^{{({order})}}_t$ in $m$");
        outcome.tests.push(Test::at_most(name, &curve.fit.slope, bound, WIDTH_MARGIN)?);
        for point in &curve.points {
            table.push([f64::from(order), point.x, point.y]);
        }
    }
    outcome.tables.push(table);
    Ok(())
}

fn decay_of_the_loss(ctx: &Context, data: &SmallDigits, outcome: &mut Outcome) -> anyhow::Result<()> {
    let (network, inputs) = data.network(1)?;
    let program = hierarchy(&network, 2)?;
    let times: Vec<f64> = (0..=INTERVALS).map(|k| TIME * k as f64 / INTERVALS as f64).collect();
    // For each seed: the largest excess of the loss over the bound, and the share of times with a large eigenvalue.
    let rows = over_seeds(ctx, "decay", &ctx.seeds(ctx.scale.pick(24, 96, 192)), |seed| {
        let options = KernelOptions::new(WIDTH, seed);
        let ode = OdeOptions::with_tolerance(1e-9);
        let path = gradient_flow(&network, &inputs, &data.targets, &times, &options, &ode)?;
        let lambda = |inputs: &Inputs| -> anyhow::Result<f64> {
            smallest_eigenvalue(kernels_at(&program, inputs, &options)?.of_order(2)?)
        };
        let lambdas = path.inputs.iter().map(lambda).collect::<anyhow::Result<Vec<f64>>>()?;
        let log_loss = |f: &[f64]| f.iter().zip(&data.targets).map(|(f, y)| (f - y).powi(2)).sum::<f64>().ln();
        let (mut excess, mut integral, step) = (f64::NEG_INFINITY, 0.0, TIME / INTERVALS as f64);
        for k in 1..times.len() {
            integral += step * (lambdas[k - 1] + lambdas[k]) / 2.0;
            let bound = log_loss(&path.f[0]) - 2.0 / N_TRAIN as f64 * integral;
            excess = excess.max(log_loss(&path.f[k]) - bound);
        }
        let large = lambdas.iter().filter(|&&l| lambdas[0] / 2.0 <= l).count();
        Ok(vec![excess, large as f64 / lambdas.len() as f64])
    })?;
    let of = |k: usize| -> Vec<f64> { rows.iter().map(|row: &Vec<f64>| row[k]).collect() };
    let worst = of(0).into_iter().fold(f64::NEG_INFINITY, f64::max);
    outcome.tests.push(Test::within(
        "networks and times at which the loss is above its bound: the largest excess of the logarithm, if positive",
        worst.max(0.0),
        0.0,
        0.0,
    )?);
    let name = r"share of networks and times with $\lambda_{min}(K_t) \ge \lambda_{min}(K_0) / 2$";
    outcome.tests.push(Test::at_least(name, &mean(&of(1))?, 0.95, 0.0)?);
    outcome.notes.push(format!(
        "The closest that the logarithm of the loss came to its bound, over all networks and times after 0, is {:.3} below.",
        -worst
    ));
    Ok(())
}

fn depth(ctx: &Context, data: &SmallDigits, outcome: &mut Outcome) -> anyhow::Result<()> {
    let mut lambdas = Vec::new();
    for hidden in [1, 3] {
        let (network, inputs) = data.network(hidden)?;
        let program = hierarchy(&network, 2)?;
        // Not the seeds of the run in which the paper's expectation failed.
        let n_seeds = ctx.scale.pick(96, 256, 512);
        let seeds: Vec<u64> = ctx.seeds(1_000 + n_seeds).split_off(1_000);
        lambdas.push(over_seeds(ctx, &format!("depth {hidden}"), &seeds, |seed| {
            smallest_eigenvalue(kernels_at(&program, &inputs, &KernelOptions::new(WIDTH, seed))?.of_order(2)?)
        })?);
    }
    let difference = paired_difference(&lambdas[1], &lambdas[0])?;
    let name = r"$\lambda_{min}(K^{(2)}_0)$ for three hidden layers less that for one";
    outcome.tests.push(Test::at_most(name, &difference, 0.0, 0.0)?);
    Ok(())
}

fn steps_of_descent(ctx: &Context, data: &SmallDigits, outcome: &mut Outcome) -> anyhow::Result<()> {
    let (network, inputs) = data.network(1)?;
    let (bold, second) = (bold_hierarchy(&network, 4)?, hierarchy(&network, 2)?);
    // For each seed and learning rate: errors of K2 with s = 1, 2, then of f.
    let rows = over_seeds(ctx, "descent", &ctx.seeds(ctx.scale.pick(16, 64, 128)), |seed| {
        let options = KernelOptions::new(WIDTH, seed);
        let start = kernels_at(&bold, &inputs, &options)?;
        let at = |&eta: &f64| {
            let (f, after) = gradient_step(&network, &inputs, &data.targets, eta, &options)?;
            let kernel = kernels_at(&second, &after, &options)?.kernels.remove(0);
            let mut errors = (Vec::new(), Vec::new());
            for order in [1, 2] {
                let (f_series, k_series) = discrete_step(&bold, &start, &data.targets, eta, order)?;
                errors.0.push(distance(k_series.packed(), kernel.packed()));
                errors.1.push(distance(&f_series, &f));
            }
            Ok([errors.0, errors.1].concat())
        };
        ETAS.iter().map(at).collect::<anyhow::Result<Vec<Vec<f64>>>>()
    })?;
    let names = [("K^{(2)}", 1), ("K^{(2)}", 2), ("f", 1), ("f", 2)];
    for (k, (what, order)) in names.into_iter().enumerate() {
        let curve = slope_over_seeds(&ETAS, &column(&rows, k), Average::RootMeanSquare)?;
        let name = format!("slope in $\\eta$ of the error of ${what}$ up to $\\eta^{order}$");
        outcome.tests.push(Test::equals(name, &curve.fit.slope, f64::from(order + 1), ETA_MARGIN)?);
    }
    Ok(())
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (sum / a.len() as f64).sqrt()
}
