//! `linearised`: a wide network stays close to its linearisation (Lee et al. 2019), which ends at the interpolant of
//! least norm.

use netsor_finite::{Inputs, KernelExecutor, Linearised, Options, Trainer};
use netsor_ir::Network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_predict::{DiagReg, Mat, Spectrum};
use netsor_zoo::Mlp;

use super::regression::relative_deviation;
use super::setup::{TwoClasses, abscissae, draws, draws_text, find, over_draws, slope_figure, slope_table};
use crate::stats::{Average, slope_of_samples};
use crate::{Claim, Context, Outcome, Table, Test};

/// Room around the slope -1.
const SLOPE_MARGIN: f64 = 0.15;
/// Learning rate of full-batch gradient descent on `sum (f - y)^2 / 2`.
const ETA: f64 = 0.05;
const STEPS: usize = 20;
/// Training to the end stops at residuals of this size.
const CONVERGED: f64 = 1e-11;
const MAX_STEPS: usize = 40_000;
/// A residual of 1e-11 is multiplied by at most the condition number of the kernel of a few digits, some hundreds.
const LIMIT_TOLERANCE: f64 = 1e-8;
/// The width at which the linearised network is trained to the end.
const WIDTH: usize = 128;

pub(super) struct LinearisedTraining;

impl Claim for LinearisedTraining {
    fn id(&self) -> &'static str {
        "linearised"
    }

    fn title(&self) -> &str {
        r"A wide network stays close to its linearisation, which ends at the interpolant of least norm"
    }

    fn source(&self) -> &str {
        "Lee et al. 2019, Thm 2.1; Talk"
    }

    fn prediction(&self) -> &str {
        r"For one hidden layer of width $n$ and tanh, the difference between the outputs of the network and of
          its linearisation along gradient descent on digits, relative to how far they move, falls at least as
          $n^{-1/2}$ (the theorem's upper bound); our prediction is slope $-1$ up to $0.15$, since
          $K^{(3)} \sim 1/n$. The linearised network, trained to the
          end from $f_0 = 0$, is $K_{*} K^{-1} y$ with its own kernel, and its parameters have moved by
          $\sqrt{y^\top K^{-1} y}$, the least possible, both up to $10^{-8}$."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/linearised.md")
    }

    fn revision(&self) -> u32 {
        2
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let draws = ctx.scale.pick(
            draws(&[128, 256, 512, 1024], 32),
            draws(&[128, 256, 512, 1024, 2048], 96),
            draws(&[128, 256, 512, 1024, 2048, 4096], 300),
        );
        let (n_train, n_test) = ctx.scale.pick((8, 4), (10, 6), (20, 10));
        let data = TwoClasses::load(ctx, (4, 9), (n_train, n_test))?;
        let inputs = data.n_points() as u32;
        let network = verify_network(Mlp { inputs, dim: 64, hidden: 1, ..Mlp::default() }.network()?)?;
        let columns = over_draws(ctx, "linearised", &draws, |n, seed| deviation(&network, &data, n, seed))?;
        let widths: Vec<usize> = draws.iter().map(|d| d.0).collect();
        let curve = slope_of_samples(&abscissae(&widths), &columns, Average::Geometric)?;
        let bound = Test::at_most("slope of the deviation, the theorem's bound", &curve.fit.slope, -0.5, 0.0)?;
        let slope = Test::equals("slope of the deviation", &curve.fit.slope, -1.0, SLOPE_MARGIN)?;

        let end = End::train(&network, &data, ctx.seed)?;
        let interpolant = Test::within("distance from the interpolant", end.distance, 0.0, LIMIT_TOLERANCE)?;
        let norm = Test::within("squared norm over the least one", end.norm_ratio, 1.0, LIMIT_TOLERANCE)?;
        let mut table =
            Table::new("The linearised network, trained to the end", ["steps", "distance", "norm ratio - 1"]);
        table.push([end.steps as f64, end.distance, end.norm_ratio - 1.0]);

        let figure = slope_figure(
            "Deviation of a network from its linearisation",
            "relative deviation over steps and points",
            &[("geometric mean over draws", &curve)],
            (-1.0, "slope −1"),
            format!(
                "One hidden layer, tanh, {STEPS} steps of gradient descent on {n_train} digits (4 and 9), $\\eta = {ETA}$, \
                 outputs on {} digits, {}; bars are pointwise 95 % intervals.",
                data.n_points(),
                draws_text(&draws)
            ),
        );
        let tables = vec![slope_table("Deviation by width", "relative deviation", &curve), table];
        Ok(Outcome { tests: vec![bound, slope, interpolant, norm], tables, figures: vec![figure], notes: Vec::new() })
    }
}

fn trainer(network: &Verified<Network>, data: &TwoClasses, n: usize, seed: u64) -> anyhow::Result<Trainer<f64>> {
    let inputs = Inputs::new().with(find(&network.program, "xi")?, data.inputs.clone());
    Ok(Trainer::new(network, &inputs, Options::new(n, seed))?)
}

/// How far the outputs leave those of the linearisation along training, each with its own residuals, relative to how far
/// they move.
fn deviation(network: &Verified<Network>, data: &TwoClasses, n: usize, seed: u64) -> anyhow::Result<f64> {
    let mut trainer = trainer(network, data, n, seed)?;
    let mut linear = Linearised::new(trainer.clone())?;
    let (mut own, mut linearised) = (vec![trainer.outputs()?.remove(0)], vec![linear.outputs()?.remove(0)]);
    for step in 0..STEPS {
        trainer.step(ETA, &[data.train_residuals(&own[step])])?;
        linear.step(ETA, &[data.train_residuals(&linearised[step])])?;
        own.push(trainer.outputs()?.remove(0));
        linearised.push(linear.outputs()?.remove(0));
    }
    Ok(relative_deviation(&own, &linearised))
}

/// The end of training of `f - f_0`, linearised.
struct End {
    steps: usize,
    /// From the interpolant of least norm, on test points.
    distance: f64,
    norm_ratio: f64,
}

impl End {
    fn train(network: &Verified<Network>, data: &TwoClasses, seed: u64) -> anyhow::Result<Self> {
        let mut trainer = trainer(network, data, WIDTH, seed)?;
        let kernel = KernelExecutor::new(network, trainer.options())?.of_trainer(&mut trainer)?.remove(0);
        let (n, size) = (data.n_train, kernel.size);
        let entry = |i: usize, j: usize| kernel.ntk[i * size + j];
        let train = Mat::from_fn(n, n, entry);
        let spectrum = Spectrum::new("the tangent kernel", train.as_ref(), DiagReg::None)?;
        let y = Mat::from_fn(n, 1, |i, _| data.targets[i]);
        let weights = spectrum.apply(|lambda| 1.0 / lambda, y.as_ref());
        let least: f64 = (0..n).map(|i| weights[(i, 0)] * data.targets[i]).sum();

        // Half of the largest rate that is stable.
        let eta = 1.0 / spectrum.largest();
        let start = trainer.outputs()?.remove(0);
        let mut linear = Linearised::new(trainer)?;
        let mut steps = 0;
        let end = loop {
            let f = linear.outputs()?.remove(0);
            let centred: Vec<f64> = f.iter().zip(&start).map(|(f, f0)| f - f0).collect();
            let residuals = data.train_residuals(&centred);
            if residuals.iter().all(|r| r.abs() < CONVERGED) || steps == MAX_STEPS {
                break centred;
            }
            linear.step(eta, &[residuals])?;
            steps += 1;
        };
        let interpolant = |i: usize| (0..n).map(|j| entry(i, j) * weights[(j, 0)]).sum::<f64>();
        let distance = (0..size).map(|i| (end[i] - interpolant(i)).abs()).fold(0.0, f64::max);
        Ok(Self { steps, distance, norm_ratio: linear.squared_norm() / least })
    }
}
