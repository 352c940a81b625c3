//! `netsor train`: networks of finite width by stochastic gradient descent or Adam.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use netsor_data::{Dataset, Split};
use netsor_finite::{Epochs, Examples, Float, Inputs, Options, Rate, Trainer};
use netsor_lab::{Cancel, Interrupted, format};
use netsor_predict::{Mat, accuracy, mean_squared_error};
use serde_json::json;

use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs, input};
use crate::training::{OwnLoss, RuleArgs};

const AFTER: &str = "\
Examples:
  netsor train --on digits --width 256 --epochs 5
  netsor train --on iris --zoo mlp --depth 3 --activation tanh --width 512 --parametrization mup
  netsor train --on digits --loss cross-entropy --optimizer adam --parametrization mup-adam --learning-rate 0.01
  netsor train --on digits --width 1024 --epochs 50 --checkpoint run.netsor-state
  netsor train my_network.netsor --on data.csv --json > metrics.jsonl

With --json there is one line an epoch. The loss of a batch is the mean over its points; the last batch of an epoch has
what is left. With --checkpoint a run that was stopped goes on where it was, with the same numbers as if it had not been.";

/// Train a network of finite width
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    architecture: ArchitectureArgs,
    #[command(flatten)]
    dataset: DatasetArgs,
    #[command(flatten)]
    rule: RuleArgs,
    /// How the learning rate goes on
    #[arg(long, default_value = "constant")]
    schedule: Schedule,
    /// Steps in which the learning rate rises to its first value
    #[arg(long, value_name = "STEPS", default_value_t = 0)]
    warmup: usize,
    /// Width n
    #[arg(long, value_name = "N", default_value_t = 256)]
    width: usize,
    /// Passes over the training points
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    epochs: usize,
    /// Points in a batch
    #[arg(long, value_name = "POINTS", default_value_t = 64)]
    batch: usize,
    /// Training points; four fifths by default
    #[arg(long, value_name = "POINTS")]
    n_train: Option<usize>,
    /// Test points; the rest by default
    #[arg(long, value_name = "POINTS")]
    n_test: Option<usize>,
    /// Seed of weights and batches
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Precision of the network
    #[arg(long, default_value = "f64")]
    precision: Precision,
    /// File that keeps the state of the run; if it exists, the run goes on from it
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Steps between two check-points; an epoch by default
    #[arg(long, value_name = "STEPS", requires = "checkpoint")]
    checkpoint_every: Option<usize>,
    /// Print one JSON object an epoch
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Schedule {
    /// The same in every step
    Constant,
    /// Down to 0 along a straight line
    Linear,
    /// Down to 0 along half a cosine
    Cosine,
}

#[derive(Clone, Copy, ValueEnum)]
enum Precision {
    F32,
    F64,
}

/// Trains and prints a line an epoch.
pub(crate) fn run(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    match args.precision {
        Precision::F32 => train::<f32>(args),
        Precision::F64 => train::<f64>(args),
    }
}

/// A run between two steps.
struct Run<'a, T> {
    args: &'a TrainArgs,
    trainer: Trainer<T>,
    split: Split,
    loss: OwnLoss,
    epochs: Epochs,
    /// What a check-point must have in common with this run.
    note: String,
}

fn train<T: Float>(args: &TrainArgs) -> anyhow::Result<ExitCode> {
    if !args.rule.learning_rate.is_finite() {
        bail!("--learning-rate {}: expected a finite number", args.rule.learning_rate);
    }
    let split = args.dataset.split(args.n_train, args.n_test)?;
    let (n, features, n_outputs) = (split.train.n_points(), split.train.n_features(), split.train.n_outputs());
    if args.batch == 0 || n < args.batch {
        bail!("--batch {}: expected 1 to {n}, the number of training points", args.batch);
    }
    let network = args.rule.network(&*args.architecture.network(features, n_outputs, args.batch)?)?;
    let first = split.train.inputs().as_slice()[..args.batch * features].to_vec();
    let inputs = Inputs::new().with(input(&network.program)?, first);
    let trainer = Trainer::<T>::new(&network, &inputs, Options::new(args.width, args.seed))?;
    let mut trainer = trainer.with_optimizer(args.rule.optimizer())?;
    let outputs = trainer.outputs()?;
    if outputs.len() != 1 || outputs[0].len() != args.batch * n_outputs {
        bail!("`{}` must have one output of {n_outputs} numbers for each of the inputs", network.program.name);
    }
    let loss = args.rule.loss(n_outputs)?;
    let epochs = Epochs { examples: n, batch: args.batch, seed: Some(args.seed) };
    let note = format!(
        "{} points of {features} features in batches of {}, {:?} over {} epochs after {}, {}",
        n,
        args.batch,
        args.schedule,
        args.epochs,
        args.warmup,
        args.rule.describe()
    );
    let mut run = Run { args, trainer, split, loss, epochs, note };
    run.resume()?;
    run.all_epochs()
}

impl<T: Float> Run<'_, T> {
    /// Goes on from the check-point, if there is one.
    fn resume(&mut self) -> anyhow::Result<()> {
        let Some(path) = self.args.checkpoint.as_ref().filter(|path| path.exists()) else { return Ok(()) };
        let context = || format!("{}: cannot go on from it; remove it to start anew", path.display());
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        self.trainer.restore(&bytes, &self.note).with_context(context)
    }

    fn keep(&mut self) -> anyhow::Result<()> {
        match &self.args.checkpoint {
            Some(path) => output::write_file(path, &self.trainer.checkpoint(&self.note)?),
            None => Ok(()),
        }
    }

    fn rate(&self) -> Rate {
        let (first, last) = (self.args.rule.learning_rate, 0.0);
        let steps = (self.args.epochs * self.epochs.steps()).saturating_sub(self.args.warmup);
        let rate = match self.args.schedule {
            Schedule::Constant => Rate::Constant(first),
            Schedule::Linear => Rate::Linear { first, last, steps },
            Schedule::Cosine => Rate::Cosine { first, last, steps },
        };
        match self.args.warmup {
            0 => rate,
            steps => Rate::Warmup { steps, then: Box::new(rate) },
        }
    }

    fn all_epochs(&mut self) -> anyhow::Result<ExitCode> {
        let cancel = Cancel::default();
        cancel.install_ctrl_c()?;
        let rate = self.rate();
        let per_epoch = self.epochs.steps();
        let last = self.args.epochs * per_epoch;
        let every = self.args.checkpoint_every.unwrap_or(per_epoch).max(1);
        let targets = self.loss.targets(&self.split.train)?;
        let train = self.split.train.clone();
        let examples = Examples::new(self.trainer.network(), train.n_points(), train.inputs().as_slice(), &targets)?;
        let bar = output::progress(last, "training");
        bar.set_position(self.trainer.steps() as u64);
        if self.trainer.steps() == 0 {
            self.report(0, &bar)?;
        }
        while self.trainer.steps() < last {
            let step = self.trainer.steps();
            if cancel.is_cancelled() {
                bar.finish_and_clear();
                self.keep()?;
                return Err(Interrupted.into());
            }
            examples.step(&mut self.trainer, &self.epochs.batch(step), self.loss.loss(), rate.at(step))?;
            bar.inc(1);
            if (step + 1).is_multiple_of(per_epoch) {
                self.report((step + 1) / per_epoch, &bar)?;
            }
            if (step + 1).is_multiple_of(every) || step + 1 == last {
                self.keep()?;
            }
        }
        bar.finish_and_clear();
        Ok(ExitCode::SUCCESS)
    }

    fn report(&mut self, epoch: usize, bar: &indicatif::ProgressBar) -> anyhow::Result<()> {
        let train = self.score(&self.split.train.clone())?;
        let test = self.score(&self.split.test.clone())?;
        let line = if self.args.json {
            let steps = self.trainer.steps();
            let line = json!({
                "epoch": epoch, "steps": steps, "train_loss": train.loss, "test_loss": test.loss,
                "train_error": train.error, "test_error": test.error,
                "train_accuracy": train.accuracy, "test_accuracy": test.accuracy,
            });
            format!("{line}\n")
        } else {
            let percent = |a: Option<f64>| a.map_or_else(String::new, |a| format!(", accuracy {:5.1} %", 100.0 * a));
            format!(
                "epoch {epoch:>3}   train: loss {}, error {}{}   test: error {}{}\n",
                format::number(train.loss),
                format::number(train.error),
                percent(train.accuracy),
                format::number(test.error),
                percent(test.accuracy)
            )
        };
        bar.suspend(|| output::emit(&line))
    }

    /// Runs the network over a data set in batches.
    fn score(&mut self, dataset: &Dataset) -> anyhow::Result<Score> {
        let (n, k) = (dataset.n_points(), dataset.n_outputs());
        let targets = self.loss.targets(dataset)?;
        let examples = Examples::new(self.trainer.network(), n, dataset.inputs().as_slice(), &targets)?;
        let (outputs, loss) = examples.evaluate(&mut self.trainer, self.args.batch, self.loss.loss())?;
        let f = Mat::from_fn(n, k, |i, j| outputs[i * k + j]);
        let y = netsor_predict::row_major("targets", dataset.targets().as_slice(), n, k)?;
        let accuracy = match dataset.labels() {
            Some(labels) if 1 < k => Some(accuracy(f.as_ref(), labels.classes())?),
            _ => None,
        };
        Ok(Score { loss, error: mean_squared_error(f.as_ref(), y)?, accuracy })
    }
}

struct Score {
    /// The mean over points.
    loss: f64,
    /// Mean squared error of an entry.
    error: f64,
    accuracy: Option<f64>,
}
