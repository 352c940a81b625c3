//! `readout-only`: a wide network of which only the readout is trained is a sample of the posterior of the NNGP (TP I;
//! Talk; Matthews et al. 2017).

use anyhow::Context as _;
use netsor_finite::{Inputs, Options, Trainer, execute};
use netsor_ir::transform::kernels;
use netsor_ir::verify::{Verified, verify_network, verify_program};
use netsor_ir::{Network, Program, ValueId};
use netsor_predict::{DiagReg, GaussianProcess, Mat, Spectrum};
use netsor_zoo::{Activation, Mlp};
use serde::{Deserialize, Serialize};

use super::setup::{abscissae, draws_text, find, limits, over_draws, slope_figure, slope_table};
use crate::stats::{Average, mean, slope_of_samples};
use crate::{Axis, Claim, Context, Figure, Outcome, Series, Style, Test};

/// Room around the slope -1/2.
const SLOPE_MARGIN: f64 = 0.15;
/// Room for the mean, relative.
const MEAN_MARGIN: f64 = 0.05;
/// Room for the covariance, relative.
const COVARIANCE_MARGIN: f64 = 0.1;
/// Training to the end stops at residuals of this size, which are multiplied by the condition number of the kernel of
/// four points, some dozens.
const CONVERGED: f64 = 1e-11;
const MAX_STEPS: usize = 50_000;
const LIMIT_TOLERANCE: f64 = 1e-8;
/// Angles of the training points on the circle; targets are `x_1 x_2`, as in `circle`.
const TRAINING: [f64; 4] = [-2.2, -0.6, 0.5, 1.9];
/// Positions in the grid of angles, between the training points, where mean and covariance are compared.
const COMPARED: [usize; 3] = [0, 12, 26];
const N_ANGLES: usize = 33;

pub(super) struct ReadoutOnly;

/// One draw.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Run {
    /// Outputs at the end of training on the grid.
    end: Vec<f64>,
    /// Relative distance of the law of the outputs given the hidden layers from the posterior of the limit.
    distance: f64,
}

impl Claim for ReadoutOnly {
    fn id(&self) -> &'static str {
        "readout-only"
    }

    fn title(&self) -> &str {
        r"Training only the readout samples the posterior of the NNGP"
    }

    fn source(&self) -> &str {
        "Talk, Tensor Programs I; Matthews et al. 2017"
    }

    fn prediction(&self) -> &str {
        r"A relu network with two hidden layers on the circle, of which only the readout is trained, to the end, without
          noise and without a regulariser. Gradient descent ends where
          $f_\infty = f_0 + \Sigma_n \Sigma_n^{-1} (y - f_0)$ with its own kernel, up to $10^{-8}$.
          Over draws of everything, $f_\infty$ between the training points has the mean (up to $5\,\%$) and the
          covariance (mean squared Mahalanobis distance up to $10\,\%$) of the posterior of the limit NNGP. Given the
          hidden layers, the law of $f_\infty$ approaches the posterior with slope $-1/2$ in $n$ up to $0.15$."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/readout-only.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let draws = ctx.scale.pick(
            vec![(64, 384), (128, 128), (256, 768)],
            vec![(64, 512), (128, 256), (256, 256), (512, 1536)],
            vec![(64, 1024), (128, 512), (256, 512), (512, 512), (1024, 4096)],
        );
        ctx.progress().message("limit");
        let problem = Problem::new()?;
        let posterior = Posterior::new(&problem.limit, &problem.targets)?;
        let (steps, trained) = problem.trained(ctx.seed)?;
        ctx.progress().message("networks");
        let columns = over_draws(ctx, "readout only", &draws, |n, seed| problem.run(&posterior, n, seed))?;

        let x = abscissae(&draws.iter().map(|d| d.0).collect::<Vec<_>>());
        let distances: Vec<Vec<f64>> =
            columns.iter().map(|runs| runs.iter().map(|run| run.distance).collect()).collect();
        let curve = slope_of_samples(&x, &distances, Average::RootMeanSquare)?;
        let (widest, runs) = (draws[draws.len() - 1].0, &columns[columns.len() - 1]);
        let over_runs = |f: &dyn Fn(&[f64]) -> f64| mean(&runs.iter().map(|run| f(&run.end)).collect::<Vec<_>>());
        let tests = vec![
            Test::within("distance of gradient descent from its end", trained, 0.0, LIMIT_TOLERANCE)?,
            Test::equals(
                format!("mean, projected on that of the posterior, n = {widest}"),
                &over_runs(&|f| posterior.projection(f))?,
                1.0,
                MEAN_MARGIN,
            )?,
            Test::equals(
                format!("squared Mahalanobis distance per point, n = {widest}"),
                &over_runs(&|f| posterior.mahalanobis(f))?,
                1.0,
                COVARIANCE_MARGIN,
            )?,
            Test::equals("slope of the distance from the posterior", &curve.fit.slope, -0.5, SLOPE_MARGIN)?,
        ];
        let figure = slope_figure(
            "Distance of the law given the hidden layers from the posterior",
            "relative distance of mean and covariance",
            &[("root mean square over draws", &curve)],
            (-0.5, "slope −1/2"),
            format!("{}; bars are pointwise 95 % intervals.", draws_text(&draws)),
        );
        let figures = vec![problem.figure(&posterior, runs, widest), figure];
        let tables = vec![slope_table("Distance by width", "distance", &curve)];
        let notes = vec![format!("Gradient descent on the readout took {steps} steps at width {}.", Problem::WIDTH)];
        Ok(Outcome { tests, tables, figures, notes })
    }
}

/// The points, the networks, and the kernel of the limit: training points first, then the grid.
struct Problem {
    points: Vec<f64>,
    targets: Vec<f64>,
    network: Verified<Network>,
    program: Verified<Program>,
    nngp: ValueId,
    output: ValueId,
    limit: Vec<f64>,
}

impl Problem {
    /// Where gradient descent is run.
    const WIDTH: usize = 128;

    fn new() -> anyhow::Result<Self> {
        let angles: Vec<f64> = TRAINING.into_iter().chain((0..N_ANGLES).map(angle)).collect();
        let points: Vec<f64> = angles.iter().flat_map(|gamma| [gamma.cos(), gamma.sin()]).collect();
        let targets = TRAINING.iter().map(|gamma| gamma.cos() * gamma.sin()).collect();
        let (inputs, w_std) = (angles.len() as u32, std::f64::consts::SQRT_2);
        let mut network =
            Mlp { inputs, dim: 2, hidden: 2, w_std, activation: Activation::Relu, ..Mlp::default() }.network()?;
        let kernels = kernels(&network)?;
        let (nngp, output) = (kernels.outputs[0].nngp.context("the output is a readout")?, kernels.outputs[0].output);
        let (mut limit, _) = limits(&kernels.program, &[nngp], &points, angles.len(), 1e-10)?;
        let readout = network.program.find("v").context("the network has a readout `v`")?;
        network.parameters.iter_mut().for_each(|parameter| parameter.trained = parameter.value == readout);
        let (network, program) = (verify_network(network)?, verify_program(kernels.program)?);
        Ok(Self { points, targets, network, program, nngp, output, limit: limit.remove(0) })
    }

    fn run(&self, posterior: &Posterior, n: usize, seed: u64) -> anyhow::Result<Run> {
        let inputs = Inputs::new().with(find(&self.program, "xi")?, self.points.clone());
        let state = execute::<f64>(&self.program, &inputs, &[self.nngp, self.output], &Options::new(n, seed))?;
        let kernel = state.numbers(self.nngp);
        let end = end_of_training(&kernel, &state.numbers(self.output), &self.targets)?;
        let distance = posterior.distance(&Posterior::new(&kernel, &self.targets)?);
        Ok(Run { end: end[TRAINING.len()..].to_vec(), distance })
    }

    /// Gradient descent on the readout of one network until the residuals vanish: steps, and the largest distance of the
    /// outputs from where the network's own kernel says that they end.
    fn trained(&self, seed: u64) -> anyhow::Result<(usize, f64)> {
        let inputs = Inputs::new().with(find(&self.network.program, "xi")?, self.points.clone());
        let options = Options::new(Self::WIDTH, seed);
        let kernel = execute::<f64>(&self.program, &inputs, &[self.nngp], &options)?.numbers(self.nngp);
        let mut trainer = Trainer::<f64>::new(&self.network, &inputs, options)?;
        let start = trainer.outputs()?.remove(0);
        let expected = end_of_training(&kernel, &start, &self.targets)?;
        let (n, size) = (self.targets.len(), start.len());
        let train = Mat::from_fn(n, n, |i, j| kernel[i * size + j]);
        // Half of the largest rate that is stable.
        let eta = 1.0 / Spectrum::new("the kernel", train.as_ref(), DiagReg::None)?.largest();
        let (mut f, mut steps) = (start, 0);
        loop {
            let mut residuals = vec![0.0; size];
            residuals.iter_mut().zip(&f).zip(&self.targets).for_each(|((r, f), y)| *r = f - y);
            if residuals.iter().all(|r| r.abs() < CONVERGED) || steps == MAX_STEPS {
                break;
            }
            trainer.step(eta, &[residuals])?;
            f = trainer.outputs()?.remove(0);
            steps += 1;
        }
        Ok((steps, f.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)))
    }

    fn figure(&self, posterior: &Posterior, runs: &[Run], width: usize) -> Figure {
        let (n, size) = (TRAINING.len(), TRAINING.len() + N_ANGLES);
        let band = |mean: &dyn Fn(usize) -> f64, variance: &dyn Fn(usize) -> f64| {
            let ends = |k: usize| (mean(k) - 2.0 * variance(k).sqrt(), mean(k) + 2.0 * variance(k).sqrt());
            let points: Vec<(f64, f64)> = (0..N_ANGLES).map(|k| (angle(k), mean(k))).collect();
            (points, (0..N_ANGLES).map(ends).collect::<Vec<_>>())
        };
        let variance = |k: usize| posterior.covariance[(n + k) * size + n + k].max(0.0);
        let (points, ends) = band(&|k| posterior.mean[n + k], &variance);
        let mut series = vec![Series::new("posterior of the NNGP", Style::Band, points).with_interval(ends)];
        let count = runs.len() as f64;
        let mean = |k: usize| runs.iter().map(|run| run.end[k]).sum::<f64>() / count;
        let spread = |k: usize| runs.iter().map(|run| (run.end[k] - mean(k)).powi(2)).sum::<f64>() / (count - 1.0);
        let (points, ends) = band(&mean, &spread);
        let edge = |f: fn(&(f64, f64)) -> f64| points.iter().zip(&ends).map(move |(p, e)| (p.0, f(e)));
        series.push(Series::new(format!("networks, n = {width}"), Style::Dashed, points.iter().copied()));
        series.push(Series::new("", Style::Dashed, edge(|e| e.0)));
        series.push(Series::new("", Style::Dashed, edge(|e| e.1)));
        let data = TRAINING.into_iter().zip(self.targets.iter().copied());
        series.push(Series::new("training points", Style::Markers, data));
        Figure {
            title: "Networks with a trained readout, and the posterior".to_owned(),
            x: Axis::linear("angle γ"),
            y: Axis::linear("output f"),
            series,
            caption: format!("Mean and two standard deviations; {} networks.", runs.len()),
        }
    }
}

/// Angle of a position of the grid.
fn angle(k: usize) -> f64 {
    std::f64::consts::PI * (2.0 * k as f64 / (N_ANGLES - 1) as f64 - 1.0)
}

/// `f_0 + K K_train^(-1) (y - f_0)` on all points.
fn end_of_training(kernel: &[f64], start: &[f64], targets: &[f64]) -> anyhow::Result<Vec<f64>> {
    let (n, size) = (targets.len(), start.len());
    let train = Mat::from_fn(n, n, |i, j| kernel[i * size + j]);
    let residuals = Mat::from_fn(n, 1, |i, _| targets[i] - start[i]);
    let process = GaussianProcess::fit(train.as_ref(), residuals.as_ref(), DiagReg::None)?;
    let all = process.mean(Mat::from_fn(size, n, |i, j| kernel[i * size + j]).as_ref())?;
    Ok((0..size).map(|i| start[i] + all[(i, 0)]).collect())
}

/// A Gaussian posterior on all points, and on the compared ones what tests need of it.
struct Posterior {
    mean: Vec<f64>,
    /// By rows.
    covariance: Vec<f64>,
    /// The inverse of the covariance of the compared points.
    precision: Mat<f64>,
}

impl Posterior {
    fn new(kernel: &[f64], targets: &[f64]) -> anyhow::Result<Self> {
        let (n, size) = (targets.len(), kernel.len().isqrt());
        let train = Mat::from_fn(n, n, |i, j| kernel[i * size + j]);
        let cross = Mat::from_fn(size, n, |i, j| kernel[i * size + j]);
        let all = Mat::from_fn(size, size, |i, j| kernel[i * size + j]);
        let y = Mat::from_fn(n, 1, |i, _| targets[i]);
        let process = GaussianProcess::fit(train.as_ref(), y.as_ref(), DiagReg::None)?;
        let (mean, covariance) = (process.mean(cross.as_ref())?, process.covariance(cross.as_ref(), all.as_ref())?);
        let compared =
            Mat::from_fn(COMPARED.len(), COMPARED.len(), |i, j| covariance[(n + COMPARED[i], n + COMPARED[j])]);
        let spectrum = Spectrum::new("the posterior covariance", compared.as_ref(), DiagReg::None)?;
        let identity = Mat::<f64>::identity(COMPARED.len(), COMPARED.len());
        Ok(Self {
            mean: (0..size).map(|i| mean[(i, 0)]).collect(),
            covariance: (0..size * size).map(|k| covariance[(k / size, k % size)]).collect(),
            precision: spectrum.apply(|lambda| 1.0 / lambda, identity.as_ref()),
        })
    }

    /// The mean at the compared points.
    fn compared(&self) -> [f64; COMPARED.len()] {
        COMPARED.map(|k| self.mean[TRAINING.len() + k])
    }

    /// `<f, mean> / <mean, mean>` over the compared points; `f` is on the grid.
    fn projection(&self, f: &[f64]) -> f64 {
        let mean = self.compared();
        let dot = COMPARED.iter().zip(&mean).map(|(&k, m)| f[k] * m).sum::<f64>();
        dot / mean.iter().map(|m| m * m).sum::<f64>()
    }

    /// `(f - mean)' C^(-1) (f - mean)` over the number of compared points.
    fn mahalanobis(&self, f: &[f64]) -> f64 {
        let mean = self.compared();
        let from: Vec<f64> = COMPARED.iter().zip(&mean).map(|(&k, m)| f[k] - m).collect();
        let pairs = (0..from.len()).flat_map(|i| (0..from.len()).map(move |j| (i, j)));
        pairs.map(|(i, j)| from[i] * self.precision[(i, j)] * from[j]).sum::<f64>() / from.len() as f64
    }

    /// The distance of another mean and covariance on the grid, relative to the size of both of one's own.
    fn distance(&self, other: &Self) -> f64 {
        let square = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let size = |a: &[f64]| a.iter().map(|a| a * a).sum::<f64>();
        let means = square(&other.mean, &self.mean) / size(&self.mean);
        let covariances = square(&other.covariance, &self.covariance) / size(&self.covariance);
        (means + covariances).sqrt()
    }
}
