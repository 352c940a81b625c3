//! `netsor kernel`: kernel matrices of infinitely wide networks over data sets.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;
use netsor_data::{Matrix, to_npy};
use netsor_ir::Network;
use netsor_kernel::{Inputs, Options};
use netsor_lab::format;
use serde_json::json;

use crate::commands::tune::Request;
use crate::matrices::{Kind, kernel_matrix, warn_not_met};
use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs};

const AFTER: &str = "\
Examples:
  netsor kernel --on digits --zoo mlp --depth 3 --n-points 200 --out ntk.npy
  netsor kernel examples/mlp.netsor --on points.csv --regression --kind nngp --out nngp.csv
  netsor kernel two_heads.netsor --on points.csv --output f,e --out between.csv
  netsor kernel --on diabetes --activation erf --b-std 0.5 --n-points 200 --derivative biases --out slope.npy

Rows and columns are the first points in the order of the file; the column of the target is left out (--target). Without
--out a matrix of up to 8 points is printed, and --json prints any.";

/// The most points of a matrix that is printed.
const MAX_PRINTED: usize = 8;

/// Compute the kernel matrix of an infinitely wide network over a data set
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct KernelArgs {
    #[command(flatten)]
    architecture: ArchitectureArgs,
    #[command(flatten)]
    dataset: DatasetArgs,
    /// Which kernel
    #[arg(long, default_value = "ntk")]
    kind: Kind,
    /// The output of a network that has several; two with a comma between them for the kernel between their values
    #[arg(long, value_name = "NAME[,NAME]", value_delimiter = ',')]
    output: Vec<String>,
    /// The derivative in a hyper-parameter instead: weights, biases, rate:NAME, NAME or NAME=NUMBER, as for `tune --by`
    #[arg(long, value_name = "NAME", conflicts_with = "output")]
    derivative: Option<String>,
    /// Number of points, from the start of the data; all by default
    #[arg(long, value_name = "POINTS")]
    n_points: Option<usize>,
    /// Where to write the matrix: a name that ends in .npy or .csv
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Computes, writes and summarises.
pub(crate) fn run(args: &KernelArgs) -> anyhow::Result<ExitCode> {
    let ending = args.out.as_ref().map(|path| path.extension().and_then(|e| e.to_str()).unwrap_or_default());
    if let Some(other) = ending.filter(|e| !["npy", "csv"].contains(e)) {
        bail!("--out: expected a name that ends in .npy or .csv, found `.{other}`");
    }
    let dataset = args.dataset.first(args.n_points)?;
    let points = dataset.inputs();
    let (n, features) = (points.n_rows(), points.n_cols());
    let network = args.architecture.network(features, 1, 1)?;
    let (entries, not_met): (Vec<f64>, usize) = match &args.derivative {
        Some(name) => derivative(&network, args.kind, name, points)?,
        None => {
            let (kernel, not_met) = kernel_matrix(&network, args.kind, &args.output, points)?;
            ((0..n * n).map(|k| kernel[(k / n, k % n)]).collect(), not_met)
        }
    };
    let diagonal = (0..n).map(|i| entries[i * n + i]);
    let mean_diagonal = diagonal.sum::<f64>() / n as f64;
    let (least, most) = entries.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), &x| (l.min(x), m.max(x)));
    if let (Some(path), Some(ending)) = (&args.out, ending) {
        let bytes = match ending {
            "npy" => to_npy(&Matrix::new("kernel", entries.clone(), n, n)?),
            _ => csv(&entries, n).into_bytes(),
        };
        output::write_file(path, &bytes)?;
    }
    let (mut kind, name) = (format!("{:?}", args.kind).to_lowercase(), args.architecture.name());
    if args.json {
        output::emit_json(&json!({
            "network": name, "kind": kind, "derivative": args.derivative, "output": args.output, "points": n, "mean_diagonal": mean_diagonal,
            "least": least, "largest": most, "file": args.out, "tolerance_not_met": not_met,
            "matrix": args.out.is_none().then(|| entries.chunks(n).collect::<Vec<_>>()),
        }))?;
    } else {
        if let Some(by) = &args.derivative {
            kind = format!("derivative in {by} of the {kind}");
        }
        match &args.output[..] {
            [] => {}
            [one] => kind = format!("{kind} of {one}"),
            names => kind = format!("{kind} between {}", names.join(" and ")),
        }
        let after = match &args.out {
            Some(path) => format!("written to {}\n", path.display()),
            None if n <= MAX_PRINTED => output::matrix(&entries, n),
            None => String::new(),
        };
        output::emit(&format!(
            "{kind} of {name} on {n} points: mean of the diagonal {}, entries {} to {}\n{after}",
            format::number(mean_diagonal),
            format::number(least),
            format::number(most)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The derivative of the kernel matrix in one hyper-parameter.
fn derivative(network: &Network, kind: Kind, name: &str, points: &Matrix) -> anyhow::Result<(Vec<f64>, usize)> {
    let request = Request::new(network, &[name.to_owned()])?;
    let (kernel, input) = request.kernel(network, kind)?;
    let inputs = Inputs::new(points.n_rows()).with(input, points.as_slice().to_vec());
    let result = kernel.plan(&request.start())?.run(&inputs, None, &Options::default())?;
    let not_met = result.statistics.not_met;
    warn_not_met(not_met);
    let derivative = result.values.into_iter().nth(1);
    derivative.map(|d| (d, not_met)).ok_or_else(|| anyhow!("--derivative {name}: expected one hyper-parameter"))
}

fn csv(entries: &[f64], n: usize) -> String {
    let line = |row: &[f64]| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",") + "\n";
    entries.chunks(n).map(line).collect()
}
