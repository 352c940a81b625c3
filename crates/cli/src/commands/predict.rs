//! `netsor predict`: what an infinitely wide network learns from a data set.

mod width;

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use netsor_data::Dataset;
use netsor_lab::format;
use netsor_predict::{
    DiagReg, FlowOptions, GaussianProcess, GradientFlow, Mat, MatRef, accuracy, linear_kernel, mean_squared_error,
    rbf_kernel, row_major,
};
use serde::Serialize;

use crate::matrices::kernel_matrices;
use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs};

/// Regularisers that are tried, as shares of the mean of the diagonal.
const RIDGES: [f64; 6] = [1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];
/// Widths of the RBF kernel that are tried: gamma times the number of features.
const GAMMAS: [f64; 5] = [0.1, 0.3, 1.0, 3.0, 10.0];

const AFTER: &str = "\
Examples:
  netsor predict --on digits --zoo mlp --depth 2 --activation relu
  netsor predict --on wine --activation erf --json
  netsor predict my_network.netsor --on data.csv --regression
  netsor predict --on digits --n-train 300 --n-test 200 --time 10,100,1000
  netsor predict --on diabetes --depth 1 --activation erf --n-train 8 --n-test 3 --time 20 --width 256

Regularisers, and the width of the RBF kernel, are chosen on the last fifth of the training points, for every model in
the same way; no test point takes part. The test error is the mean of (f - y)^2; numbers to be predicted are scaled to
mean 0 and variance 1 over the training points.

With --width the predictions at the times of --time get the error bars of that width: the mean over initialisations
of a network trained by gradient flow, complete to order 1/n, and the standard deviation of a single network. No network
is trained. The mean is the limit, plus what a kernel drawn at that width does to the flow (simulated, with its standard
error), plus what the movement of the kernel does (from the limits of n K^(4) and n E K^(3) f_0, by the rules of tensor
programs). The deviation has the terms of order one and n^(-1/2). Activations must be smooth, and points few: the limits
have an entry for every four points, and --entries allows more of them. Where the movement is more than the deviation the
expansion has left its window, and a warning says so.";

/// Predict a data set with the kernels of an infinitely wide network, beside ridge regression and an RBF kernel
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct PredictArgs {
    #[command(flatten)]
    architecture: ArchitectureArgs,
    #[command(flatten)]
    dataset: DatasetArgs,
    /// Training points; four fifths by default
    #[arg(long, value_name = "POINTS")]
    n_train: Option<usize>,
    /// Test points; the rest by default
    #[arg(long, value_name = "POINTS")]
    n_test: Option<usize>,
    /// Also the network under gradient flow of the squared loss at these times, from outputs of zero
    #[arg(long, value_name = "TIMES", value_delimiter = ',')]
    time: Vec<f64>,
    /// Also mean and spread of networks of this width on the test points, at the times of --time, to order 1/width
    #[arg(long, value_name = "N", requires = "time")]
    width: Option<usize>,
    /// Networks that are drawn for --width
    #[arg(long, value_name = "NETWORKS", default_value_t = 64, requires = "width")]
    draws: u64,
    /// The seed of the networks drawn for --width
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "width")]
    seed: u64,
    /// Refuse --width if the limits of n K^(4) have more entries than this
    #[arg(long, value_name = "COUNT", default_value_t = 200_000, requires = "width")]
    entries: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A model and how good it is.
#[derive(Serialize)]
struct Scored {
    model: String,
    /// What was chosen on the validation points.
    chosen: String,
    test_error: f64,
    test_accuracy: Option<f64>,
}

/// The kernels of a model: training against training points, test against training points.
struct Candidate {
    name: String,
    note: String,
    train: Mat<f64>,
    test: Mat<f64>,
}

/// Fits, scores and prints.
pub(crate) fn run(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    if let Some(t) = args.time.iter().find(|t| t.is_nan() || **t < 0.0) {
        bail!("--time {t}: expected a time of at least 0");
    }
    let split = args.dataset.split(args.n_train, args.n_test)?;
    let (n, features, k) = (split.train.n_points(), split.train.n_features(), split.train.n_outputs());
    if n < 5 {
        bail!("{n} training points are too few: a fifth of them is needed for validation");
    }
    let network = args.architecture.network(features, 1, 1)?;
    let asked =
        |width| width::Asked { width, draws: args.draws, seed: args.seed, entries: args.entries, times: &args.time };
    let bars = args.width.map(|n| width::Bars::new(&args.architecture, &split, &asked(n))).transpose()?;
    let train = kernel_matrices(&network, split.train.inputs(), None)?;
    let test = kernel_matrices(&network, split.test.inputs(), Some(split.train.inputs()))?;
    let name = args.architecture.name();
    let mut scored = Vec::new();

    let y = row_major("targets", split.train.targets().as_slice(), n, k)?;
    for &t in &args.time {
        let flow = GradientFlow::new(train.ntk.as_ref(), y, &FlowOptions::default())?;
        let (f0, f0_test) = (Mat::zeros(n, k), Mat::zeros(split.test.n_points(), k));
        let f = flow.test(t, test.ntk.as_ref(), f0.as_ref(), f0_test.as_ref())?;
        scored.push(score(format!("NTK of {name}, gradient flow"), format!("t = {t}"), f.as_ref(), &split.test)?);
    }

    let mut models =
        vec![vec![Candidate { name: format!("NTK of {name}"), note: String::new(), train: train.ntk, test: test.ntk }]];
    if let (Some(train), Some(test)) = (train.nngp, test.nngp) {
        models.push(vec![Candidate { name: format!("NNGP of {name}"), note: String::new(), train, test }]);
    }
    let x = row_major("inputs", split.train.inputs().as_slice(), n, features)?;
    let z = row_major("inputs", split.test.inputs().as_slice(), split.test.n_points(), features)?;
    models.push(vec![Candidate {
        name: "linear (ridge)".to_owned(),
        note: String::new(),
        train: linear_kernel(x, x)?,
        test: linear_kernel(z, x)?,
    }]);
    let rbf = |gamma: f64| -> anyhow::Result<Candidate> {
        let scaled = gamma / features as f64;
        let (train, test) = (rbf_kernel(x, x, scaled)?, rbf_kernel(z, x, scaled)?);
        Ok(Candidate { name: "RBF".to_owned(), note: format!("gamma = {gamma}/d, "), train, test })
    };
    models.push(GAMMAS.into_iter().map(rbf).collect::<anyhow::Result<Vec<_>>>()?);
    for candidates in models {
        scored.push(fit(&candidates, y, &split.test)?);
    }

    if args.json {
        let mut value = serde_json::json!({
            "data": split.train.name(), "train": n, "test": split.test.n_points(), "features": features, "models": scored,
            "tolerance_not_met": train.not_met + test.not_met,
        });
        if let Some(bars) = &bars {
            bars.warn();
            value["width"] = bars.json();
        }
        output::emit_json(&value)?;
    } else {
        let mut head = vec!["model", "chosen", "test error"];
        head.extend(scored.iter().any(|s| s.test_accuracy.is_some()).then_some("test accuracy"));
        let mut rows = output::table(&head);
        for s in &scored {
            let mut row = vec![s.model.clone(), s.chosen.clone(), format::number(s.test_error)];
            row.extend(s.test_accuracy.map(|a| format!("{:.1} %", 100.0 * a)));
            rows.add_row(row);
        }
        output::emit(&format!(
            "{}: {n} training points, {} test points, {features} features\n{rows}\n",
            split.train.name(),
            split.test.n_points()
        ))?;
        if let Some(bars) = &bars {
            output::emit(&bars.text())?;
            bars.warn();
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Chooses a kernel and its regulariser on the last fifth of the training points, then fits on all of them.
fn fit(candidates: &[Candidate], y: MatRef<'_, f64>, test: &Dataset) -> anyhow::Result<Scored> {
    let n = y.nrows();
    let n_fit = n - n / 5;
    let mut best: Option<(f64, &Candidate, f64)> = None;
    for candidate in candidates {
        let k = candidate.train.as_ref();
        for ridge in RIDGES {
            let y_fit = y.subrows(0, n_fit);
            // A regulariser that is too small for the kernel is no candidate.
            let Ok(gp) = GaussianProcess::fit(k.submatrix(0, 0, n_fit, n_fit), y_fit, DiagReg::Relative(ridge)) else {
                continue;
            };
            let f = gp.mean(k.submatrix(n_fit, 0, n - n_fit, n_fit))?;
            let error = mean_squared_error(f.as_ref(), y.subrows(n_fit, n - n_fit))?;
            if best.is_none_or(|(least, ..)| error < least) {
                best = Some((error, candidate, ridge));
            }
        }
    }
    let Some((_, candidate, ridge)) = best else { bail!("every kernel matrix of the training points is singular") };
    let gp = GaussianProcess::fit(candidate.train.as_ref(), y, DiagReg::Relative(ridge))?;
    let f = gp.mean(candidate.test.as_ref())?;
    score(candidate.name.clone(), format!("{}ridge = {ridge}", candidate.note), f.as_ref(), test)
}

fn score(model: String, chosen: String, f: MatRef<'_, f64>, test: &Dataset) -> anyhow::Result<Scored> {
    let y = row_major("targets", test.targets().as_slice(), test.n_points(), test.n_outputs())?;
    let test_accuracy = match test.labels() {
        Some(labels) if 1 < test.n_outputs() => Some(accuracy(f, labels.classes())?),
        _ => None,
    };
    Ok(Scored { model, chosen, test_error: mean_squared_error(f, y)?, test_accuracy })
}
