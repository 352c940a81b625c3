//! `netsor kernel`: kernel matrices of infinitely wide networks over data sets.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::{Args, ValueEnum};
use netsor_data::{Matrix, to_npy};
use netsor_lab::format;
use serde_json::json;

use crate::matrices::kernel_matrices;
use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs};

const AFTER: &str = "\
Examples:
  netsor kernel --on digits --zoo mlp --depth 3 --n-points 200 --out ntk.npy
  netsor kernel examples/mlp.netsor --on points.csv --regression --kind nngp --out nngp.csv

Rows and columns are the first points of the shuffled data set (--split-seed).";

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
    /// Number of points; all but one by default
    #[arg(long, value_name = "POINTS")]
    n_points: Option<usize>,
    /// Where to write the matrix: a name that ends in .npy or .csv
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Kind {
    /// The tangent kernel
    Ntk,
    /// The covariance of the output at initialisation
    Nngp,
}

/// Computes, writes and summarises.
pub(crate) fn run(args: &KernelArgs) -> anyhow::Result<ExitCode> {
    let ending = args.out.as_ref().map(|path| path.extension().and_then(|e| e.to_str()).unwrap_or_default());
    if let Some(other) = ending.filter(|e| !["npy", "csv"].contains(e)) {
        bail!("--out: expected a name that ends in .npy or .csv, found `.{other}`");
    }
    let split = args.dataset.split(args.n_points, args.n_points.map(|_| 1))?;
    let points = split.train.inputs();
    let (n, features) = (points.n_rows(), points.n_cols());
    let network = args.architecture.network(features, 1, 1)?;
    let matrices = kernel_matrices(&network, points, None)?;
    let kernel = match args.kind {
        Kind::Ntk => matrices.ntk,
        Kind::Nngp => {
            matrices.nngp.ok_or_else(|| anyhow!("the output of `{}` has no NNGP kernel", network.program.name))?
        }
    };
    let entries: Vec<f64> = (0..n * n).map(|k| kernel[(k / n, k % n)]).collect();
    let diagonal = (0..n).map(|i| kernel[(i, i)]);
    let mean_diagonal = diagonal.sum::<f64>() / n as f64;
    let (least, most) = entries.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, m), &x| (l.min(x), m.max(x)));
    if let (Some(path), Some(ending)) = (&args.out, ending) {
        let bytes = match ending {
            "npy" => to_npy(&Matrix::new("kernel", entries.clone(), n, n)?),
            _ => csv(&entries, n).into_bytes(),
        };
        output::write_file(path, &bytes)?;
    }
    let (kind, name) = (format!("{:?}", args.kind).to_lowercase(), args.architecture.name());
    if args.json {
        output::emit_json(&json!({
            "network": name, "kind": kind, "points": n, "mean_diagonal": mean_diagonal, "least": least, "largest": most,
            "file": args.out,
        }))?;
    } else {
        let file = args.out.as_ref().map_or_else(String::new, |path| format!("written to {}\n", path.display()));
        output::emit(&format!(
            "{kind} of {name} on {n} points: mean of the diagonal {}, entries {} to {}\n{file}",
            format::number(mean_diagonal),
            format::number(least),
            format::number(most)
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn csv(entries: &[f64], n: usize) -> String {
    let line = |row: &[f64]| row.iter().map(f64::to_string).collect::<Vec<_>>().join(",") + "\n";
    entries.chunks(n).map(line).collect()
}
