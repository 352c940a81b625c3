//! `netsor ntk`: the tangent kernel of a network of finite width, as it is or averaged over draws.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use netsor_finite::{Inputs, MeanKernel, Options, mean_kernels};
use netsor_lab::format;
use serde_json::json;

use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs, input};
use crate::training::RuleArgs;

const AFTER: &str = "\
Examples:
  netsor ntk --on iris --width 1024 --points 10
  netsor ntk examples/tied.netsor --on digits --width 512 --draws 50 --json

The kernels are sums of products of forward and adjoint vectors; no Jacobian is formed. The limit of the same kernels is
what `netsor kernel` computes.";

/// The empirical tangent kernel of a network of finite width, by parameter
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
    /// Print JSON with the whole matrices
    #[arg(long)]
    json: bool,
}

/// Computes the kernels and prints what each parameter contributes.
pub(crate) fn run(args: &NtkArgs) -> anyhow::Result<ExitCode> {
    let split = args.dataset.split(Some(args.points), None)?;
    let (features, n_outputs) = (split.train.n_features(), split.train.n_outputs());
    if args.points == 0 {
        bail!("--points 0: expected at least 1");
    }
    let network = args.rule.network(&*args.architecture.network(features, n_outputs, args.points)?)?;
    let inputs = Inputs::new().with(input(&network.program)?, split.train.inputs().as_slice().to_vec());
    let kernels = mean_kernels::<f64>(&network, &inputs, &Options::new(args.width, args.seed), args.draws)?;
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
            "size": kernels.size, "ntk": of(&kernels.ntk), "parts": parts, "nngp": kernels.nngp.as_ref().map(of),
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
    output::emit(&format!("{} at n = {}, {} draws\n{table}\n", args.architecture.name(), args.width, args.draws))?;
    Ok(ExitCode::SUCCESS)
}
