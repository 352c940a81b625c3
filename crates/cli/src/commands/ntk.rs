//! `netsor ntk`: the tangent kernel of a network of finite width at any time of training, averaged over draws, or as a
//! linear map.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use netsor_data::Dataset;
use netsor_finite::{
    Float, Inputs, KernelExecutor, Linearised, MeanKernel, MeanKernels, Options, Order, Rate, Trainer, Training,
    mean_kernels, train,
};
use netsor_ir::Network;
use netsor_ir::verify::Verified;
use netsor_lab::{Cancel, Interrupted, format};
use serde_json::json;

use crate::matrices::with_zeros;
use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs, input};
use crate::training::{Precision, RuleArgs};

const AFTER: &str = "\
Examples:
  netsor ntk --on iris --width 1024 --points 10
  netsor ntk examples/tied.netsor --on digits --width 512 --draws 50 --json
  netsor ntk --on iris --width 256 --points 5 --steps 100 --learning-rate 0.1
  netsor ntk --on iris --width 256 --points 5 --checkpoint run.netsor-state
  netsor ntk --on iris --width 256 --points 3 --vector=1,0,0,0,0,0,0,0,-1

The kernels are sums of products of forward and adjoint vectors; no Jacobian is formed. The limit of the same kernels is
what `netsor kernel` computes. With --steps the network is trained on the same points first, all of them in each step,
on the mean of their losses. --checkpoint takes the parameters that `netsor train` left, of a network of the same kind,
width and precision; --steps goes on from there. --vector multiplies the kernel with one number for each point and
output, without forming it.";

/// The empirical tangent kernel of a network of finite width, by parameter, at any time of training
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct NtkArgs {
    #[command(flatten)]
    architecture: ArchitectureArgs,
    #[command(flatten)]
    dataset: DatasetArgs,
    #[command(flatten)]
    rule: RuleArgs,
    /// Width n
    #[arg(long, value_name = "N", default_value_t = 256)]
    width: usize,
    /// Number of points, from the start of the data
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    points: usize,
    /// Independent draws of the parameters
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    draws: usize,
    /// Seed of the first draw
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Steps of training on the points before the kernel is taken
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    steps: usize,
    /// Check-point of `netsor train` with the parameters
    #[arg(long, value_name = "FILE", conflicts_with = "draws")]
    checkpoint: Option<PathBuf>,
    /// Numbers to multiply the kernel with, separated by commas
    #[arg(long, value_name = "X,...", value_delimiter = ',', allow_hyphen_values = true, conflicts_with = "draws")]
    vector: Vec<f64>,
    /// Precision of the network
    #[arg(long, default_value = "f64")]
    precision: Precision,
    /// Print JSON with the whole matrices
    #[arg(long)]
    json: bool,
}

/// Computes the kernels and prints what each parameter contributes.
pub(crate) fn run(args: &NtkArgs) -> anyhow::Result<ExitCode> {
    match args.precision {
        Precision::F32 => kernels::<f32>(args),
        Precision::F64 => kernels::<f64>(args),
    }
}

fn kernels<T: Float>(args: &NtkArgs) -> anyhow::Result<ExitCode> {
    let split = args.dataset.split(Some(args.points), None)?;
    let (features, n_outputs) = (split.train.n_features(), split.train.n_outputs());
    if args.points == 0 || args.draws == 0 {
        bail!("{} points and {} draws: expected at least 1 of each", args.points, args.draws);
    }
    let network = args.rule.network(&*args.architecture.network(features, n_outputs, args.points)?)?;
    let inputs = Inputs::new().with(input(&network.program)?, split.train.inputs().as_slice().to_vec());
    if !args.vector.is_empty() {
        let mut trainer = Trained::new(args, &network, &inputs, &split.train)?.trainer::<T>(0)?;
        return product(args, &mut trainer);
    }
    let (kernels, steps) = if args.steps == 0 && args.checkpoint.is_none() {
        let kernels = mean_kernels::<T>(&network, &inputs, &Options::new(args.width, args.seed), args.draws);
        (kernels.map_err(|error| with_zeros(error.into(), split.train.inputs()))?, 0)
    } else {
        Trained::new(args, &network, &inputs, &split.train)?.mean::<T>()?
    };
    let name = |id: netsor_ir::ValueId| network.program.value(id).name.clone();
    if args.json {
        let of = |k: &MeanKernel| {
            let error: Option<&[f64]> = (1 < args.draws).then_some(&k.standard_error);
            json!({ "mean": k.mean, "standard_error": error })
        };
        let parts: serde_json::Map<String, serde_json::Value> =
            kernels.parts.iter().map(|(id, part)| (name(*id), of(part))).collect();
        output::emit_json(&json!({
            "network": network.program.name, "width": args.width, "seed": args.seed, "draws": args.draws,
            "steps": steps, "size": kernels.size, "ntk": of(&kernels.ntk), "parts": parts,
            "nngp": kernels.nngp.as_ref().map(of),
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = output::table(&["kernel", "mean of the diagonal", "mean of all entries", "first entry"]);
    let mut row = |what: String, kernel: &MeanKernel| {
        let size = kernels.size;
        let diagonal = (0..size).map(|i| kernel.mean[i * size + i]).sum::<f64>() / size as f64;
        let all = kernel.mean.iter().sum::<f64>() / kernel.mean.len() as f64;
        let first = if 1 < args.draws {
            format::with_error(kernel.mean[0], kernel.standard_error[0])
        } else {
            format::number(kernel.mean[0])
        };
        table.add_row([what, format::number(diagonal), format::number(all), first]);
    };
    for (id, part) in &kernels.parts {
        row(format!("NTK, {}", name(*id)), part);
    }
    row("NTK".to_owned(), &kernels.ntk);
    if let Some(nngp) = &kernels.nngp {
        row("NNGP".to_owned(), nngp);
    }
    let after = if steps == 0 { String::new() } else { format!(", after {steps} steps") };
    let what = format!("{} at n = {}, {} draws{after}", args.architecture.name(), args.width, args.draws);
    output::emit(&format!("{what}\n{table}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Networks that are trained before their kernel is taken.
struct Trained<'a> {
    args: &'a NtkArgs,
    network: &'a Verified<Network>,
    inputs: &'a Inputs,
    targets: Vec<f64>,
    checkpoint: Option<Vec<u8>>,
    cancel: Cancel,
}

impl<'a> Trained<'a> {
    fn new(
        args: &'a NtkArgs,
        network: &'a Verified<Network>,
        inputs: &'a Inputs,
        points: &Dataset,
    ) -> anyhow::Result<Self> {
        let targets = if args.steps == 0 { Vec::new() } else { args.rule.loss(points.n_outputs())?.targets(points)? };
        let read = |path: &PathBuf| std::fs::read(path).with_context(|| format!("reading {}", path.display()));
        let checkpoint = args.checkpoint.as_ref().map(read).transpose()?;
        let cancel = Cancel::default();
        cancel.install_ctrl_c()?;
        Ok(Self { args, network, inputs, targets, checkpoint, cancel })
    }

    /// The network of draw number `draw` at the time that was asked for.
    fn trainer<T: Float>(&self, draw: usize) -> anyhow::Result<Trainer<T>> {
        let Self { args, .. } = self;
        let options = Options::new(args.width, args.seed.wrapping_add(draw as u64));
        let trainer = Trainer::<T>::new(self.network, self.inputs, options)?;
        let mut trainer = trainer.with_optimizer(args.rule.optimizer()?)?;
        if let (Some(bytes), Some(path)) = (&self.checkpoint, &args.checkpoint) {
            trainer.restore_parameters(bytes).with_context(|| path.display().to_string())?;
        }
        if 0 < args.steps {
            let loss = args.rule.loss(self.targets.len() / args.points)?;
            let rate = Rate::Constant(args.rule.learning_rate / args.points as f64);
            let targets = vec![self.targets.clone()];
            let training = Training { loss: loss.loss(), targets, rate, order: Order::All, steps: args.steps };
            let bar = output::progress(args.steps, "training");
            train(&mut trainer, &training, &mut |_| {
                bar.inc(1);
                if self.cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            bar.finish_and_clear();
        }
        if self.cancel.is_cancelled() { Err(Interrupted.into()) } else { Ok(trainer) }
    }

    /// The kernels averaged over draws, and the steps that were taken.
    fn mean<T: Float>(&self) -> anyhow::Result<(MeanKernels, usize)> {
        let options = Options::new(self.args.width, self.args.seed);
        let mut executor = KernelExecutor::new(self.network, &options)?;
        let (mut all, mut steps) = (Vec::new(), 0);
        for draw in 0..self.args.draws {
            let mut trainer = self.trainer::<T>(draw)?;
            steps = trainer.steps();
            all.push(executor.of_trainer(&mut trainer)?.swap_remove(0));
        }
        Ok((MeanKernels::of(&all), steps))
    }
}

/// The kernel times a vector.
fn product<T: Float>(args: &NtkArgs, trainer: &mut Trainer<T>) -> anyhow::Result<ExitCode> {
    let size = trainer.outputs()?.first().map_or(0, Vec::len);
    if args.vector.len() != size || !args.vector.iter().all(|x| x.is_finite()) {
        bail!("--vector has {} numbers: expected {size} finite ones, the outputs of each point", args.vector.len());
    }
    let steps = trainer.steps();
    let product = Linearised::new(trainer.clone())?.kernel_times(std::slice::from_ref(&args.vector))?.swap_remove(0);
    if args.json {
        output::emit_json(&json!({ "width": args.width, "seed": args.seed, "steps": steps, "product": product }))?;
    } else {
        let lines: String = product.iter().map(|x| format!("{x}\n")).collect();
        output::emit(&lines)?;
    }
    Ok(ExitCode::SUCCESS)
}
