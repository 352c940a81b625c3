//! `netsor nth`: the neural tangent hierarchy of a network at finite width.

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;
use netsor_finite::Inputs;
use netsor_ir::syntax::Item;
use netsor_ir::verify::verify_network;
use netsor_lab::format;
use netsor_nth::{KernelOptions, Truncated, gradient_flow, hierarchy, kernels_at};
use netsor_num::ode::OdeOptions;
use serde_json::json;

use crate::output;
use crate::source::SourceArgs;
use crate::values::DataArgs;

const AFTER: &str = "\
Examples:
  netsor nth examples/mlp.netsor --data 'xi=[[1,0,0],[0,1,0],[0,0,1],[1,1,0]]' --targets 1,-1,0 --width 128
  netsor nth examples/mlp.netsor --data xi=points.csv --targets 1,-1,0,1 --order 3 --time 0.25,0.5,1 --json

The first inputs of the batch are training points, as many as there are targets; the rest are test points.";

/// Compare the truncated neural tangent hierarchy with gradient flow of the network itself
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct NthArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Targets of the training points
    #[arg(long, value_name = "Y,...", value_delimiter = ',', required = true, allow_negative_numbers = true)]
    targets: Vec<f64>,
    /// The largest kernel K^(p) that is taken; truncations at 2, ..., p are compared
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=5))]
    order: u8,
    /// The width n
    #[arg(long, default_value_t = 256)]
    width: usize,
    /// The seed of the weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Times at which the outputs are compared
    #[arg(long = "time", value_name = "T,...", value_delimiter = ',', default_value = "0.5,1,2")]
    times: Vec<f64>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Computes the kernels at initialisation, solves the truncated systems and the network's own flow, and compares.
pub(crate) fn run(args: &NthArgs) -> anyhow::Result<ExitCode> {
    let Item::Network(network) = args.source.one_item()? else {
        bail!("the hierarchy is that of a network; this file has a program");
    };
    let network = verify_network(network)?;
    let mut inputs = Inputs::new();
    for (value, numbers) in args.data.read_all(&network.program)? {
        inputs.set(value, numbers);
    }
    let order = usize::from(args.order);
    let hierarchy = hierarchy(&network, order)?;
    let points = hierarchy.n_points();
    if points < args.targets.len() {
        bail!("{} targets for a batch of {points} inputs", args.targets.len());
    }
    let options = KernelOptions::new(args.width, args.seed).with_train(args.targets.len());
    let kernels = kernels_at(&hierarchy, &inputs, &options)?;
    let ode = OdeOptions::default();
    let truth = gradient_flow(&network, &inputs, &args.targets, &args.times, &options, &ode)?;
    let mut paths = Vec::new();
    for p in 2..=order {
        paths.push((p, Truncated::new(&kernels, &args.targets, p)?.solve(&args.times, &ode)?));
    }
    let sizes: Vec<(usize, f64)> =
        (2..=order).map(|r| Ok((r, kernels.of_order(r)?.norm_max()))).collect::<Result<_, netsor_nth::NthError>>()?;
    let error = |k: usize, f: &[f64]| -> anyhow::Result<f64> {
        let exact = truth.f.get(k).ok_or_else(|| anyhow!("the flow has no time number {k}"))?;
        Ok(exact.iter().zip(f).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max))
    };
    if args.json {
        let paths: Vec<_> = paths.iter().map(|(p, path)| json!({ "order": p, "f": path.f })).collect();
        output::emit_json(&json!({
            "width": args.width, "seed": args.seed, "times": args.times, "train": args.targets.len(), "points": points,
            "largest_entries": sizes.iter().map(|(r, size)| json!({ "order": r, "size": size })).collect::<Vec<_>>(),
            "network": truth.f, "truncated": paths,
        }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = format!(
        "{} of width {}, {} training points of {points}\n",
        network.program.name,
        args.width,
        args.targets.len()
    );
    for (r, size) in &sizes {
        text.push_str(&format!("largest entry of K^({r}) at initialisation: {}\n", format::number(*size)));
    }
    let heads: Vec<String> = ["time".to_owned()]
        .into_iter()
        .chain(paths.iter().map(|(p, _)| format!("error with K^({p}) frozen")))
        .collect();
    let mut table = output::table(&heads.iter().map(String::as_str).collect::<Vec<_>>());
    for (k, time) in args.times.iter().enumerate() {
        let mut row = vec![format::number(*time)];
        for (_, path) in &paths {
            row.push(format::number(error(k, &path.f[k])?));
        }
        table.add_row(row);
    }
    text.push_str(&format!("{table}\n"));
    output::emit(&text)?;
    Ok(ExitCode::SUCCESS)
}
