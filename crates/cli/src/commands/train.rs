//! `netsor train`: networks of finite width by stochastic gradient descent, Adam or gradient flow.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use netsor_data::{Dataset, Split};
use netsor_finite::{
    Decay, Epochs, Examples, Float, Inputs, Options, Order, Rate, Rule, Trainer, Training, gradient_flow,
};
use netsor_lab::{Cancel, Interrupted, format};
use netsor_num::ode::OdeOptions;
use netsor_predict::{Mat, accuracy, mean_squared_error};
use serde_json::json;

use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs, input};
use crate::training::{OwnLoss, Precision, RuleArgs};

const AFTER: &str = "\
Examples:
  netsor train --on digits --width 256 --epochs 5
  netsor train --on iris --zoo mlp --depth 3 --activation tanh --width 512 --parametrization mup
  netsor train --on digits --loss cross-entropy --optimizer adam --parametrization mup-adam --learning-rate 0.01
  netsor train --on digits --width 1024 --epochs 50 --checkpoint run.netsor-state
  netsor train --on digits --width 1024 --epochs 80 --checkpoint run.netsor-state   30 epochs more
  netsor train --on iris --parametrization ntp --width 128 --flow --time 50 --epochs 10
  netsor train my_network.netsor --on data.csv --json > metrics.jsonl

With --flow the steps are infinitely short: dw/dt is minus the gradient of the mean loss of all training points, times
the learning rate, and an epoch is one of the equal parts of the time. With --json there is one line an epoch. The loss
of a batch is the mean over its points; the last batch of an epoch has what is left.

With --checkpoint a run that was stopped goes on where it was, with the same numbers as if it had not been; and the same
command with more --epochs extends a run that is complete (with a constant rate, or a flow with --time in proportion).";

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
    /// Gradient flow by an adaptive integrator, instead of steps on batches
    #[arg(long)]
    flow: bool,
    /// Time at the end of the flow
    #[arg(long, requires = "flow", default_value_t = 10.0)]
    time: f64,
    /// Error that a step of the flow may have; 1e-8 by default, 1e-4 in f32
    #[arg(long, requires = "flow", value_name = "ERROR")]
    tolerance: Option<f64>,
    /// Passes over the training points in all, with those of a check-point
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    epochs: usize,
    /// Points in a batch; 64 by default, or all if there are fewer
    #[arg(long, value_name = "POINTS", conflicts_with = "flow")]
    batch: Option<usize>,
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

impl TrainArgs {
    /// The time of a flow's epoch.
    fn part(&self) -> f64 {
        self.time / self.epochs.max(1) as f64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Schedule {
    /// The same in every step
    Constant,
    /// Down to 0 along a straight line
    Linear,
    /// Down to 0 along half a cosine
    Cosine,
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
    // A flow has one batch.
    let batch = if args.flow { n } else { args.batch.unwrap_or(n.min(64)) };
    if batch == 0 || n < batch {
        bail!("--batch {batch}: expected 1 to {n}, the number of training points");
    }
    if args.flow {
        check_flow(args)?;
    }
    let network = args.rule.network(&*args.architecture.network(features, n_outputs, batch)?)?;
    let first = split.train.inputs().as_slice()[..batch * features].to_vec();
    let inputs = Inputs::new().with(input(&network.program)?, first);
    let trainer = Trainer::<T>::new(&network, &inputs, Options::new(args.width, args.seed))?;
    let mut trainer = trainer.with_optimizer(args.rule.optimizer()?)?;
    let outputs = trainer.outputs()?;
    if outputs.len() != 1 || outputs[0].len() != batch * n_outputs {
        bail!("`{}` must have one output of {n_outputs} numbers for each of the inputs", network.program.name);
    }
    let loss = args.rule.loss(n_outputs)?;
    let epochs = Epochs { examples: n, batch, seed: Some(args.seed) };
    let steps = args.epochs * epochs.steps();
    if args.schedule != Schedule::Constant && 0 < args.warmup && steps <= args.warmup {
        bail!("--warmup {}: the run has {steps} steps, which leaves none for --schedule", args.warmup);
    }
    // What a longer run has in common with a shorter one: a constant rate and a flow know of no end.
    let pace = match args.schedule {
        // To twelve digits: 0.3 / 3 is not 0.1 to the last bit.
        _ if args.flow => format!("flow in parts of time {:.12e}", args.part()),
        Schedule::Constant => format!("constant after {}", args.warmup),
        schedule => format!("{schedule:?} over {} epochs after {}", args.epochs, args.warmup),
    };
    let note = format!("{n} points of {features} features in batches of {batch}, {pace}, {}", args.rule.describe());
    let mut run = Run { args, trainer, split, loss, epochs, note };
    run.resume()?;
    if args.flow { run.flow() } else { run.all_epochs() }
}

/// Refuses what a flow does not have.
fn check_flow(args: &TrainArgs) -> anyhow::Result<()> {
    let optimizer = args.rule.optimizer()?;
    if optimizer.rule != (Rule::Sgd { momentum: 0.0 }) || optimizer.decay != Decay::None {
        bail!("--flow follows the gradient: it has no momentum, no weight decay and no adam");
    }
    if args.schedule != Schedule::Constant || args.warmup != 0 {
        bail!("--flow has a constant learning rate: leave out --schedule and --warmup");
    }
    if !(0.0 < args.time && args.time.is_finite()) {
        bail!("--time {}: expected a positive number", args.time);
    }
    if let Some(tolerance) = args.tolerance.filter(|t| !(0.0 < *t && *t < 1.0)) {
        bail!("--tolerance {tolerance}: expected a number between 0 and 1");
    }
    Ok(())
}

impl<T: Float> Run<'_, T> {
    /// Goes on from the check-point, if there is one.
    fn resume(&mut self) -> anyhow::Result<()> {
        let Some(path) = self.args.checkpoint.as_ref().filter(|path| path.exists()) else { return Ok(()) };
        let hint = match self.args.schedule {
            Schedule::Constant if self.args.flow => "; a longer flow has more --epochs and --time in proportion",
            Schedule::Constant => "",
            _ => "; a --schedule is laid over all --epochs, so that their number stays",
        };
        let context = || format!("{}: cannot go on from it; remove it to start anew{hint}", path.display());
        let bytes = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        self.trainer.restore(&bytes, &self.note).with_context(context)?;
        let per_epoch = if self.args.flow { 1 } else { self.epochs.steps() };
        let done = self.trainer.steps() / per_epoch.max(1);
        if self.args.epochs <= done {
            let path = path.display();
            eprintln!("{path} has {done} epochs already, and --epochs asks for {} in all", self.args.epochs);
        }
        Ok(())
    }

    /// Writes a check-point, if the network still has finite outputs: what is on disk is the last good state.
    fn keep(&mut self) -> anyhow::Result<()> {
        match &self.args.checkpoint {
            Some(path) => {
                self.trainer.outputs()?;
                output::write_file(path, &self.trainer.checkpoint(&self.note)?)
            }
            None => Ok(()),
        }
    }

    /// Gradient flow: the time in equal parts, each by the integrator; the parts that are over are the trainer's steps.
    fn flow(&mut self) -> anyhow::Result<ExitCode> {
        let Self { args, .. } = *self;
        let cancel = Cancel::default();
        cancel.install_ctrl_c()?;
        let n = self.split.train.n_points();
        let (inputs, targets) = (self.split.train.inputs().as_slice().to_vec(), self.loss.targets(&self.split.train)?);
        let examples = Examples::new(self.trainer.network(), n, &inputs, &targets)?;
        let all: Vec<usize> = (0..n).collect();
        let rate = Rate::Constant(args.rule.learning_rate / n as f64);
        let tolerance = args.tolerance.unwrap_or(if T::BYTES == 4 { 1e-4 } else { 1e-8 });
        let options = OdeOptions::with_tolerance(tolerance);
        let part = args.part();
        let bar = output::progress(args.epochs, "flow");
        bar.set_position(self.trainer.steps() as u64);
        if self.trainer.steps() == 0 {
            self.report(0, &bar)?;
        }
        while self.trainer.steps() < args.epochs {
            if cancel.is_cancelled() {
                bar.finish_and_clear();
                return Err(Interrupted.into());
            }
            examples.supply(&mut self.trainer, &all)?;
            let (loss, targets) = (self.loss.loss(), vec![targets.clone()]);
            let training = Training { loss, targets, rate: rate.clone(), order: Order::All, steps: 0 };
            let done = self.trainer.steps();
            let end = format!("in the flow from time {} on", done as f64 * part);
            gradient_flow(&mut self.trainer, &training, &[part], &options).context(end)?;
            self.trainer.set_steps(done + 1);
            self.keep()?;
            self.report(done + 1, &bar)?;
            bar.inc(1);
        }
        bar.finish_and_clear();
        Ok(ExitCode::SUCCESS)
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
            let mut line = json!({
                "epoch": epoch, "train_loss": train.loss, "test_loss": test.loss,
                "train_error": train.error, "test_error": test.error,
                "train_accuracy": train.accuracy, "test_accuracy": test.accuracy,
            });
            let (name, value) = match self.args.flow {
                true => ("time", json!(self.args.part() * epoch as f64)),
                false => ("steps", json!(self.trainer.steps())),
            };
            line[name] = value;
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
        let (outputs, loss) = examples.evaluate(&mut self.trainer, self.epochs.batch, self.loss.loss())?;
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
