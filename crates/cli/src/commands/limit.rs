//! `netsor limit`: the Z table, and the numbers of the limit.

mod independence;
mod induction;
mod kernels;
mod numbers;
mod paths;
mod report;
mod zero;

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use netsor_ir::syntax::Item;
use netsor_limit::{Deriver, Tolerance};

use self::kernels::network_kernels;
use self::numbers::{Missing, Number, evaluate, moment, scalars};
use self::report::{latex, to_json, to_text};
use crate::output;
use crate::source::SourceArgs;
use crate::values::{DataArgs, data_of};

const AFTER: &str = "\
Examples:
  netsor limit examples/square.netsor
  netsor limit examples/square.netsor --moment a,b --moment b,b
  netsor limit examples/mlp.netsor --data 'xi=[[1,0,0],[0,1,0],[0,0,1],[1,1,1]]'
  netsor limit two_heads.netsor --joint --data 'xi=[[1,0],[0,1]]'
  netsor limit examples/tied.netsor --paths --data 'xi=[[1,0],[0,1],[1,1]]'
  netsor limit examples/tied.netsor --induction
  netsor limit examples/tied.netsor --latex

A network's data are needed for its kernels; without them only the table is printed. Tables are as wide as the terminal,
or COLUMNS (120) where there is none; --json and --latex have every line in full.";

/// Take a program to infinite width: the Z table with the rule behind each line, scalars, moments, kernels
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    data: DataArgs,
    /// The limit of the mean of a * b over coordinates, for two vectors of the program (repeat for more)
    #[arg(long, value_name = "A,B")]
    moment: Vec<String>,
    /// The kernels between every two outputs of a network, too: their covariance, and their tangent kernel
    #[arg(long, conflicts_with = "latex")]
    joint: bool,
    /// Error that is asked of every expectation, absolute and relative
    #[arg(long, value_name = "ERROR", default_value_t = 1e-10)]
    tolerance: f64,
    /// The tangent kernel by the path formula, too: as printed in the paper, and with return paths
    #[arg(long, conflicts_with = "latex")]
    paths: bool,
    /// Check the induction of the proof of Theorem 5.3 (eq. 107) for every G-var instead, after this many steps of
    /// training
    #[arg(long, value_name = "STEPS", num_args = 0..=1, default_missing_value = "1",
          conflicts_with_all = ["latex", "paths", "joint", "moment", "data"])]
    induction: Option<usize>,
    /// Print JSON
    #[arg(long, conflicts_with = "latex")]
    json: bool,
    /// Print the table as LaTeX
    #[arg(long)]
    latex: bool,
}

/// Derives, evaluates and prints.
pub(crate) fn run(args: &LimitArgs) -> anyhow::Result<ExitCode> {
    if !(args.tolerance.is_finite() && 0.0 < args.tolerance) {
        bail!("--tolerance {}: expected a positive number", args.tolerance);
    }
    let tolerance = Tolerance { absolute: args.tolerance, relative: args.tolerance, ..Tolerance::default() };
    let item = args.source.one_item()?;
    let program = item.program();
    if let Some(steps) = args.induction {
        let Item::Network(network) = &item else {
            bail!("--induction: `{}` is a program; only a network is trained", program.name);
        };
        return induction::run(network, steps, args.json);
    }
    if args.paths && !matches!(item, Item::Network(_)) {
        bail!("--paths: `{}` is a program; only a network has a tangent kernel", program.name);
    }
    let outputs = if let Item::Network(network) = &item { network.outputs.len() } else { 0 };
    if args.joint && outputs < 2 {
        bail!(
            "--joint: `{}` has {outputs} outputs, expected two or more; --moment A,B is for two vectors",
            program.name
        );
    }
    let mut deriver = Deriver::new(program);
    let table = deriver.ztable()?;
    if args.latex {
        output::emit(&latex(&table))?;
        return Ok(ExitCode::SUCCESS);
    }
    let has_data = data_of(program).next().is_some();
    let given = args.data.read(program)?;
    let mut numbers: Vec<Number> = Vec::new();
    let mut missing: Vec<Missing> = Vec::new();
    let mut counterexample = None;
    if !has_data || !given.is_empty() || !args.moment.is_empty() {
        let given = args.data.read_all(program)?;
        let mut wanted = scalars(&mut deriver, program);
        for pair in &args.moment {
            wanted.push(moment(&mut deriver, program, pair)?);
        }
        let returns = deriver.has_returns();
        let mut found = evaluate(deriver, program, &given, &mut wanted, &mut missing, tolerance)?;
        if returns {
            counterexample = independence::compare(program, &given, &wanted, &mut found, tolerance)?;
        }
        numbers.extend(found);
        if let Item::Network(network) = &item {
            let (found, smallest) = network_kernels(network, &given, args.joint, &mut missing, tolerance)?;
            numbers.extend(found);
            counterexample = counterexample.or(smallest);
            if args.paths {
                numbers.extend(paths::path_kernels(network, &given, &mut missing, tolerance)?);
            }
        }
    }
    if missing.iter().any(|m| m.domain)
        && let Some(vector) = zero::vanishing(program, &given, tolerance)
    {
        missing.iter_mut().filter(|m| m.domain).for_each(|m| m.reason.push_str(&format!("; {vector}")));
    }
    if let (true, Some(same)) = (numbers.is_empty(), missing.chunk_by(|a, b| a.reason == b.reason).next()) {
        bail!("no {}", report::reason(same));
    }
    if args.json {
        output::emit_json(&to_json(program, &table, &numbers, &missing, counterexample.as_ref()))?;
    } else {
        output::emit(&to_text(&table, &numbers, &missing, has_data))?;
        output::emit(&independence::text(&numbers, counterexample.as_ref()))?;
    }
    Ok(ExitCode::SUCCESS)
}
