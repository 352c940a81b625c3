//! `netsor train`: networks of finite width by stochastic gradient descent.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use netsor_data::{Dataset, permutation};
use netsor_finite::{Inputs, Loss, Options, Trainer};
use netsor_ir::ValueId;
use netsor_lab::{Cancel, Interrupted, format};
use netsor_predict::{Mat, accuracy, mean_squared_error};
use serde_json::json;

use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs, input};

const AFTER: &str = "\
Examples:
  netsor train --on digits --width 256 --epochs 5
  netsor train --on iris --zoo mlp --depth 3 --activation tanh --width 512
  netsor train my_network.netsor --on data.csv --json > metrics.jsonl

With --json there is one line an epoch. The loss is sum |f - y|^2 / 2 over a batch, divided by its size.";

/// Train a network of finite width by stochastic gradient descent
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    architecture: ArchitectureArgs,
    #[command(flatten)]
    dataset: DatasetArgs,
    /// Width n
    #[arg(long, value_name = "N", default_value_t = 256)]
    width: usize,
    /// Passes over the training points
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    epochs: usize,
    /// Points in a batch
    #[arg(long, value_name = "POINTS", default_value_t = 64)]
    batch: usize,
    /// Learning rate
    #[arg(long, value_name = "RATE", default_value_t = 1.0)]
    learning_rate: f64,
    /// Training points; four fifths by default
    #[arg(long, value_name = "POINTS")]
    n_train: Option<usize>,
    /// Test points; the rest by default
    #[arg(long, value_name = "POINTS")]
    n_test: Option<usize>,
    /// Seed of weights and batches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object an epoch
    #[arg(long)]
    json: bool,
}

/// Trains and prints a line an epoch.
pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    if !args.learning_rate.is_finite() {
        bail!("--learning-rate {}: expected a finite number", args.learning_rate);
    }
    let split = args.dataset.split(args.n_train, args.n_test)?;
    let (n, features, n_outputs) = (split.train.n_points(), split.train.n_features(), split.train.n_outputs());
    if args.batch == 0 || n < args.batch {
        bail!("--batch {}: expected 1 to {n}, the number of training points", args.batch);
    }
    let network = args.architecture.network(features, n_outputs, args.batch)?;
    let data = input(&network.program)?;
    let first = rows(&split.train, &(0..args.batch).collect::<Vec<_>>());
    let inputs = Inputs::new().with(data, first);
    let mut trainer = Trainer::<f64>::new(&network, &inputs, Options::new(args.width, args.seed))?;
    let outputs = trainer.outputs()?;
    if outputs.len() != 1 || outputs[0].len() != args.batch * n_outputs {
        bail!("`{}` must have one output of {n_outputs} numbers for each of the inputs", network.program.name);
    }

    let cancel = Cancel::default();
    cancel.install_ctrl_c()?;
    let steps = n / args.batch;
    let bar = output::progress(args.epochs * steps, "training");
    report(args, 0, &mut trainer, data, &split, &bar)?;
    for epoch in 1..=args.epochs {
        let order = permutation(n, args.seed.wrapping_add(epoch as u64));
        for batch in order.chunks_exact(args.batch) {
            if cancel.is_cancelled() {
                bar.finish_and_clear();
                return Err(Interrupted.into());
            }
            trainer.supply(data, &rows(&split.train, batch))?;
            let f = trainer.outputs()?.swap_remove(0);
            let y: Vec<f64> = batch.iter().flat_map(|&p| split.train.targets().row(p).iter().copied()).collect();
            let mut gradient = vec![0.0; f.len()];
            Loss::Squared.eval(&f, &y, &mut gradient);
            gradient.iter_mut().for_each(|g| *g /= args.batch as f64);
            trainer.step(args.learning_rate, &[gradient])?;
            bar.inc(1);
        }
        report(args, epoch, &mut trainer, data, &split, &bar)?;
    }
    bar.finish_and_clear();
    Ok(ExitCode::SUCCESS)
}

/// The inputs of some points, one after the other.
fn rows(dataset: &Dataset, points: &[usize]) -> Vec<f64> {
    points.iter().flat_map(|&p| dataset.inputs().row(p).iter().copied()).collect()
}

fn report(
    args: &TrainArgs,
    epoch: usize,
    trainer: &mut Trainer<f64>,
    data: ValueId,
    split: &netsor_data::Split,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<()> {
    let train = score(trainer, data, &split.train, args.batch)?;
    let test = score(trainer, data, &split.test, args.batch)?;
    let line = if args.json {
        let steps = trainer.steps();
        let line = json!({
            "epoch": epoch, "steps": steps,
            "train_error": train.error, "test_error": test.error,
            "train_accuracy": train.accuracy, "test_accuracy": test.accuracy,
        });
        format!("{line}\n")
    } else {
        let percent = |a: Option<f64>| a.map_or_else(String::new, |a| format!(", accuracy {:5.1} %", 100.0 * a));
        format!(
            "epoch {epoch:>3}   train: error {}{}   test: error {}{}\n",
            format::number(train.error),
            percent(train.accuracy),
            format::number(test.error),
            percent(test.accuracy)
        )
    };
    bar.suspend(|| output::emit(&line))
}

struct Score {
    /// Mean squared error of an entry.
    error: f64,
    accuracy: Option<f64>,
}

/// Runs the network over a data set in batches; the last one is filled up with the first point.
fn score(trainer: &mut Trainer<f64>, data: ValueId, dataset: &Dataset, batch: usize) -> anyhow::Result<Score> {
    let (n, k) = (dataset.n_points(), dataset.n_outputs());
    let mut outputs = Vec::with_capacity(n * k);
    for first in (0..n).step_by(batch) {
        let points: Vec<usize> = (first..first + batch).map(|p| if p < n { p } else { 0 }).collect();
        trainer.supply(data, &rows(dataset, &points))?;
        let f = trainer.outputs()?.swap_remove(0);
        outputs.extend_from_slice(&f[..k * (n - first).min(batch)]);
    }
    let f = Mat::from_fn(n, k, |i, j| outputs[i * k + j]);
    let y = netsor_predict::row_major("targets", dataset.targets().as_slice(), n, k)?;
    let accuracy = match dataset.labels() {
        Some(labels) if 1 < k => Some(accuracy(f.as_ref(), labels.classes())?),
        _ => None,
    };
    Ok(Score { error: mean_squared_error(f.as_ref(), y)?, accuracy })
}
