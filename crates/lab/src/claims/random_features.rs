//! `random-features`: regression on random features has its worst test error where the features are as many as the
//! training points, and approaches the regression with the limit kernel beyond (Talk, double descent).

use netsor_finite::{Inputs, Options, execute};
use netsor_ir::transform::kernels;
use netsor_ir::verify::{Verified, verify_program};
use netsor_ir::{Program, ValueId};
use netsor_predict::{DiagReg, Mat, Spectrum};
use netsor_zoo::{Activation, Mlp};

use super::setup::{
    TwoClasses, abscissae, draws, draws_text, find, limits, over_draws, over_seeds, relative_distance, slope_figure,
    slope_table,
};
use crate::stats::{Average, mean, slope_of_samples};
use crate::{Axis, Claim, Context, Figure, Outcome, Series, Style, Test};

/// Room around the slope -1/2 of the tail.
const SLOPE_MARGIN: f64 = 0.15;
/// The peak is at least this many times as high as the error with few and with many features.
const PEAK: f64 = 2.0;
/// Training points, and so the number of features at the peak.
const TRAIN: usize = 16;
/// Numbers of features in units of the training points: few, the peak, many.
const FACTORS: [f64; 9] = [0.125, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0, 8.0];

pub(super) struct RandomFeatures;

impl Claim for RandomFeatures {
    fn id(&self) -> &'static str {
        "random-features"
    }

    fn title(&self) -> &str {
        r"Double descent in the number of random features, and its tail is the kernel limit"
    }

    fn source(&self) -> &str {
        "Talk, double descent"
    }

    fn prediction(&self) -> &str {
        r"Least squares of least norm on $m$ random ReLU features of digits, $N = 16$ training points. The peak: the test
          error at $m = N$ is at least twice that at $m = N/4$ and at $m = 8N$. The tail: test outputs approach those of
          the limit NNGP kernel with slope $-1/2$ in $m$ up to $0.15$."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/random-features.md")
    }

    fn revision(&self) -> u32 {
        2
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let n_test = ctx.scale.pick(40, 80, 80);
        // Few features are cheap and their errors vary by orders of magnitude; many are dear and do not.
        let n_seeds = ctx.scale.pick(384, 512, 1024);
        let tail = ctx.scale.pick(
            draws(&[1024, 2048, 4096], 32),
            draws(&[1024, 2048, 4096, 8192], 64),
            draws(&[1024, 2048, 4096, 8192, 16384], 200),
        );
        let data = TwoClasses::load(ctx, (4, 9), (TRAIN, n_test))?;
        let inputs = data.n_points() as u32;
        let network = Mlp { inputs, dim: 64, hidden: 1, activation: Activation::Relu, ..Mlp::default() }.network()?;
        let kernels = kernels(&network)?;
        let nngp = kernels.outputs[0].nngp.ok_or_else(|| anyhow::anyhow!("the network has no NNGP"))?;
        let (limit, _) = limits(&kernels.program, &[nngp], &data.inputs, TRAIN, 1e-10)?;
        let limit = regression(&data, &limit[0])?;
        let program = verify_program(kernels.program)?;

        let few: Vec<usize> = FACTORS.iter().map(|factor| (factor * TRAIN as f64) as usize).collect();
        let at = |m: usize, seed: u64| outputs(&program, nngp, &data, m, seed);
        let errors: Vec<Vec<f64>> = over_seeds(ctx, "few features", &ctx.seeds(n_seeds), |seed| {
            few.iter().map(|&m| Ok(test_error(&data, &at(m, seed)?))).collect()
        })?;
        let distances =
            over_draws(ctx, "many features", &tail, |m, seed| Ok(relative_distance(&at(m, seed)?, &limit)))?;

        let peak = few.iter().position(|&m| m == TRAIN).unwrap_or_default();
        let ratio = |at: usize| -> Vec<f64> { errors.iter().map(|e| (e[peak] / e[at]).ln()).collect() };
        let before = Test::at_least("log of the peak over N/4 features", &mean(&ratio(1))?, PEAK.ln(), 0.0)?;
        let after = Test::at_least("log of the peak over 8N features", &mean(&ratio(few.len() - 1))?, PEAK.ln(), 0.0)?;
        let numbers: Vec<usize> = tail.iter().map(|d| d.0).collect();
        let curve = slope_of_samples(&abscissae(&numbers), &distances, Average::RootMeanSquare)?;
        let slope = Test::equals("slope of the tail", &curve.fit.slope, -0.5, SLOPE_MARGIN)?;

        let geometric = |k: usize| (errors.iter().map(|e| e[k].ln()).sum::<f64>() / errors.len() as f64).exp();
        let points = few.iter().enumerate().map(|(k, &m)| (m as f64, geometric(k)));
        let limit_error = test_error(&data, &limit);
        let ends = [few[0] as f64, few[few.len() - 1] as f64];
        let descent = Figure {
            title: "Test error by number of features".to_owned(),
            x: Axis::log("number of features m"),
            y: Axis::log("mean squared test error"),
            series: vec![
                Series::new("random features", Style::Line, points),
                Series::new("limit kernel", Style::Dashed, ends.map(|m| (m, limit_error))),
            ],
            caption: format!(
                "{TRAIN} training and {n_test} test digits (4 and 9), targets ±1, geometric mean over {n_seeds} draws."
            ),
        };
        let mut figure = slope_figure(
            "Distance from the regression with the limit kernel",
            "relative distance of test outputs",
            &[("root mean square over draws", &curve)],
            (-0.5, "slope −1/2"),
            format!("{}; bars are pointwise 95 % intervals.", draws_text(&tail)),
        );
        figure.x = descent.x.clone();
        let tables = vec![slope_table("Distance by number of features", "distance", &curve)];
        Ok(Outcome { tests: vec![before, after, slope], tables, figures: vec![descent, figure], notes: Vec::new() })
    }
}

/// Test outputs of the regression on `m` features.
fn outputs(
    program: &Verified<Program>,
    nngp: ValueId,
    data: &TwoClasses,
    m: usize,
    seed: u64,
) -> anyhow::Result<Vec<f64>> {
    let inputs = Inputs::new().with(find(program, "xi")?, data.inputs.clone());
    let state = execute::<f64>(program, &inputs, &[nngp], &Options::new(m, seed))?;
    regression(data, &state.numbers(nngp))
}

/// `K_* K^+ y` on the test points: least squares of least norm.
fn regression(data: &TwoClasses, kernel: &[f64]) -> anyhow::Result<Vec<f64>> {
    let (n, size) = (data.n_train, data.n_points());
    let train = Mat::from_fn(n, n, |i, j| kernel[i * size + j]);
    let spectrum = Spectrum::new("the kernel of the features", train.as_ref(), DiagReg::None)?;
    let y = Mat::from_fn(n, 1, |i, _| data.targets[i]);
    // Eigenvalues below the rounding of the largest are zero: there are no more features than that.
    let floor = n as f64 * f64::EPSILON * 8.0 * spectrum.largest();
    let weights = spectrum.apply(|lambda| if floor < lambda { 1.0 / lambda } else { 0.0 }, y.as_ref());
    Ok((n..size).map(|i| (0..n).map(|j| kernel[i * size + j] * weights[(j, 0)]).sum()).collect())
}

fn test_error(data: &TwoClasses, outputs: &[f64]) -> f64 {
    let targets = &data.targets[data.n_train..];
    outputs.iter().zip(targets).map(|(f, y)| (f - y).powi(2)).sum::<f64>() / targets.len() as f64
}
