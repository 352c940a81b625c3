//! `random-labels`: a wide network fits random labels (Zhang et al. 2017), as fast as its kernel says.

use netsor_finite::{Inputs, KernelExecutor, Options, Trainer};
use netsor_ir::Network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_num::streams::{Streams, uniform};
use netsor_predict::{DiagReg, Mat, Spectrum};
use netsor_zoo::Mlp;

use super::setup::{TwoClasses, find, over_seeds};
use crate::stats::mean;
use crate::{Axis, Claim, Context, Figure, Outcome, Series, Style, Table, Test};

/// Room for the time that a network needs, relative to what its kernel says.
const TIME_MARGIN: f64 = 0.1;
/// The time is that to this share of the first loss.
const SHARE: f64 = 0.1;
/// Labels are fitted when every sign is right, at the latest at this share.
const FITTED: f64 = 0.01;
const MAX_STEPS: usize = 20_000;

pub(super) struct RandomLabels;

/// Times of one seed, in steps, and the share of right signs in the end.
type Run = (f64, f64, f64);

impl Claim for RandomLabels {
    fn id(&self) -> &'static str {
        "random-labels"
    }

    fn title(&self) -> &str {
        r"Random labels are fitted, as fast as the kernel says"
    }

    fn source(&self) -> &str {
        "Zhang et al. 2017; Talk"
    }

    fn prediction(&self) -> &str {
        r"A network with one hidden layer under gradient descent fits all labels of a set of digits, also when the labels
          are random. Its loss falls to a tenth in the number of steps that $(1 - \eta K)^t r_0$ with its tangent kernel
          at the start needs, up to $10\,\%$, for true and for random labels; and random labels take longer."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/random-labels.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let (n_train, width, n_seeds) = ctx.scale.pick((16, 512, 6), (32, 1024, 8), (64, 4096, 16));
        let data = TwoClasses::load(ctx, (4, 9), (n_train, 1))?;
        let inputs = data.n_points() as u32;
        let network = verify_network(Mlp { inputs, dim: 64, hidden: 1, ..Mlp::default() }.network()?)?;
        let rows: Vec<(Run, Run)> = over_seeds(ctx, "random labels", &ctx.seeds(n_seeds), |seed| {
            let mut rng = Streams::new(seed).stream("random labels", 0);
            let random: Vec<f64> =
                data.targets.iter().map(|_| if uniform(&mut rng) < 0.5 { -1.0 } else { 1.0 }).collect();
            let run = |targets: &[f64]| train(&network, &data, targets, width, seed);
            Ok((run(&data.targets)?, run(&random)?))
        })?;
        let of = |f: &dyn Fn(&(Run, Run)) -> f64| -> Vec<f64> { rows.iter().map(f).collect() };
        let fitted = of(&|(a, b)| a.2.min(b.2)).into_iter().fold(1.0, f64::min);
        let ratio = |run: &Run| run.0 / run.1;
        let tests = vec![
            Test::within("least share of labels fitted", fitted, 1.0, 1e-12)?,
            Test::equals("time over the kernel's, true labels", &mean(&of(&|r| ratio(&r.0)))?, 1.0, TIME_MARGIN)?,
            Test::equals("time over the kernel's, random labels", &mean(&of(&|r| ratio(&r.1)))?, 1.0, TIME_MARGIN)?,
            Test::at_least("log of time, random over true labels", &mean(&of(&|r| (r.1.0 / r.0.0).ln()))?, 0.0, 0.0)?,
        ];
        let head = ["seed", "steps, true labels", "the kernel's", "steps, random labels", "the kernel's"];
        let mut table = Table::new("Steps to a tenth of the loss", head);
        for (k, (a, b)) in rows.iter().enumerate() {
            table.push([k as f64, a.0, a.1, b.0, b.1]);
        }
        let points = |f: fn(&(Run, Run)) -> Run| -> Vec<(f64, f64)> { rows.iter().map(|r| (f(r).1, f(r).0)).collect() };
        let (a, b) = (points(|r| r.0), points(|r| r.1));
        let all: Vec<f64> = a.iter().chain(&b).map(|p| p.0).collect();
        let ends = [all.iter().copied().fold(f64::INFINITY, f64::min), all.iter().copied().fold(0.0, f64::max)];
        let figure = Figure {
            title: "Steps to a tenth of the loss".to_owned(),
            x: Axis::log("what the kernel says"),
            y: Axis::log("the network"),
            series: vec![
                Series::new("true labels", Style::Markers, a),
                Series::new("random labels", Style::Markers, b),
                Series::new("equal", Style::Dashed, ends.map(|x| (x, x))),
            ],
            caption: format!("{n_train} digits (4 and 9), width {width}, {n_seeds} seeds, tanh."),
        };
        Ok(Outcome { tests, tables: vec![table], figures: vec![figure], notes: Vec::new() })
    }
}

/// Trains until the loss is a hundredth: steps to a tenth, those that the kernel says, and the share of right signs.
fn train(
    network: &Verified<Network>,
    data: &TwoClasses,
    targets: &[f64],
    width: usize,
    seed: u64,
) -> anyhow::Result<Run> {
    let inputs = Inputs::new().with(find(&network.program, "xi")?, data.inputs.clone());
    let mut trainer = Trainer::<f64>::new(network, &inputs, Options::new(width, seed))?;
    let kernel = KernelExecutor::new(network, trainer.options())?.of_trainer(&mut trainer)?.remove(0);
    let n = data.n_train;
    let train = Mat::from_fn(n, n, |i, j| kernel.ntk[i * kernel.size + j]);
    let spectrum = Spectrum::new("the tangent kernel", train.as_ref(), DiagReg::None)?;
    let eta = 1.0 / spectrum.largest();

    // Residuals are zero beyond the training points, which do not count.
    let residuals = |f: &[f64]| -> Vec<f64> {
        let residual = |(i, (f, y)): (usize, (&f64, &f64))| if i < n { f - y } else { 0.0 };
        f.iter().zip(targets).enumerate().map(residual).collect()
    };
    let start = residuals(&trainer.outputs()?[0]);
    let r0 = Mat::from_fn(n, 1, |i, _| start[i]);
    let of_kernel = |t: usize| {
        let decay = |lambda: f64| (1.0 - eta * lambda).powi(t.min(i32::MAX as usize) as i32);
        let r = spectrum.apply(decay, r0.as_ref());
        (0..n).map(|i| r[(i, 0)].powi(2)).sum::<f64>()
    };
    let mut losses = vec![squares(&start)];
    let right = loop {
        let f = trainer.outputs()?.remove(0);
        let r = residuals(&f);
        if squares(&r) <= FITTED * losses[0] || trainer.steps() == MAX_STEPS {
            let right = (0..n).filter(|&i| 0.0 < f[i] * targets[i]).count();
            break right as f64 / n as f64;
        }
        trainer.step(eta, &[r])?;
        losses.push(squares(&residuals(&trainer.outputs()?[0])));
    };
    let predicted: Vec<f64> = (0..losses.len().max(2) * 2).map(of_kernel).collect();
    Ok((time_to(&losses), time_to(&predicted), right))
}

fn squares(r: &[f64]) -> f64 {
    r.iter().map(|r| r * r).sum()
}

/// When a loss has fallen to its share, interpolated between steps on a logarithmic scale; NaN if it has not.
fn time_to(losses: &[f64]) -> f64 {
    let goal = SHARE * losses[0];
    let Some(after) = losses.iter().position(|loss| *loss <= goal).filter(|k| 0 < *k) else { return f64::NAN };
    let (a, b) = (losses[after - 1].ln(), losses[after].ln());
    (after - 1) as f64 + (a - goal.ln()) / (a - b)
}
