//! `netsor limit`: the Z table, and the numbers of the limit.

mod independence;
mod induction;
mod paths;

use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::Args;
use netsor_ir::syntax::Item;
use netsor_ir::transform::kernels;
use netsor_ir::{ExprId, Instr, Kind, Network, Program, ValueId};
use netsor_lab::format;
use netsor_limit::independence::Counterexample;
use netsor_limit::ztable::ZTable;
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};
use serde_json::{Value, json};

use crate::output;
use crate::source::SourceArgs;
use crate::values::{DataArgs, data_of, member, member_name};

const AFTER: &str = "\
Examples:
  netsor limit examples/square.netsor
  netsor limit examples/square.netsor --moment a,b --moment b,b
  netsor limit examples/mlp.netsor --data 'xi=[[1,0,0],[0,1,0],[0,0,1],[1,1,1]]'
  netsor limit examples/tied.netsor --paths --data 'xi=[[1,0],[0,1],[1,1]]'
  netsor limit examples/tied.netsor --induction
  netsor limit examples/tied.netsor --latex

A network's data are needed for its kernels; without them only the table is printed.";

/// Take a program to infinite width: the Z table with the rule behind each line, scalars, moments, kernels
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct LimitArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    data: DataArgs,
    /// The limit of the mean of a * b over coordinates (repeat for more)
    #[arg(long, value_name = "A,B")]
    moment: Vec<String>,
    /// Error that is asked of every expectation, absolute and relative
    #[arg(long, value_name = "ERROR", default_value_t = 1e-10)]
    tolerance: f64,
    /// The tangent kernel by the path formula, too: as printed in the paper, and with return paths
    #[arg(long, conflicts_with = "latex")]
    paths: bool,
    /// Check the induction of the proof of Theorem 5.3 (eq. 107) for every G-var instead, after this many steps of
    /// training
    #[arg(long, value_name = "STEPS", num_args = 0..=1, default_missing_value = "1",
          conflicts_with_all = ["latex", "paths", "moment", "data"])]
    induction: Option<usize>,
    /// Print JSON
    #[arg(long, conflicts_with = "latex")]
    json: bool,
    /// Print the table as LaTeX
    #[arg(long)]
    latex: bool,
}

/// A number of the limit.
struct Number {
    name: String,
    at: Vec<u32>,
    value: f64,
    error: f64,
    /// How its expectations were found.
    method: String,
    /// Whether the error is within the tolerance.
    met: bool,
    /// What it would be if `W'` were independent of `W`, where that is another number.
    independent: Option<f64>,
}

/// A symbolic result with the family that it ranges over.
struct Wanted {
    name: String,
    expr: ExprId,
    sizes: Vec<usize>,
    /// What it is of its program, if it is anything by itself.
    of: Option<Of>,
    /// Whether it is the same after its two halves of indices are exchanged.
    symmetric: bool,
}

/// A scalar of a program, or the mean of a product.
#[derive(Clone, Copy)]
enum Of {
    Scalar(ValueId),
    Moment(ValueId, ValueId),
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
    let mut deriver = Deriver::new(program);
    let table = deriver.ztable()?;
    if args.latex {
        output::emit(&latex(&table))?;
        return Ok(ExitCode::SUCCESS);
    }
    let has_data = data_of(program).next().is_some();
    let given = args.data.read(program)?;
    let mut numbers = Vec::new();
    let mut counterexample = None;
    if !has_data || !given.is_empty() || !args.moment.is_empty() {
        let given = args.data.read_all(program)?;
        let mut wanted = scalars(&mut deriver, program);
        for pair in &args.moment {
            wanted.push(moment(&mut deriver, program, pair)?);
        }
        let returns = deriver.has_returns();
        let mut found = evaluate(deriver, program, &given, &wanted, tolerance)?;
        if returns {
            counterexample = independence::compare(program, &given, &wanted, &mut found, tolerance)?;
        }
        numbers.extend(found);
        if let Item::Network(network) = &item {
            let (found, smallest) = network_kernels(network, &given, tolerance)?;
            numbers.extend(found);
            counterexample = counterexample.or(smallest);
            if args.paths {
                numbers.extend(paths::path_kernels(network, &given, tolerance)?);
            }
        }
    }
    if args.json {
        output::emit_json(&to_json(program, &table, &numbers, counterexample.as_ref()))?;
    } else {
        output::emit(&to_text(&table, &numbers, has_data))?;
        output::emit(&independence::text(&numbers, counterexample.as_ref()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Every scalar with a limit that is not simply given.
fn scalars(deriver: &mut Deriver<'_>, program: &Program) -> Vec<Wanted> {
    let scalar = |id: &ValueId| {
        let value = program.value(*id);
        value.ty.kind == Kind::Scalar && !matches!(value.instr, Instr::Data)
    };
    let ids: Vec<ValueId> = program.value_ids().filter(scalar).collect();
    ids.into_iter()
        .filter_map(|id| {
            let expr = deriver.scalar(id).ok()?;
            let name = program.value(id).name.clone();
            Some(Wanted { name, expr, sizes: program.family_sizes(id), of: Some(Of::Scalar(id)), symmetric: false })
        })
        .collect()
}

fn moment(deriver: &mut Deriver<'_>, program: &Program, pair: &str) -> anyhow::Result<Wanted> {
    let (a, b) = pair.split_once(',').ok_or_else(|| anyhow!("--moment {pair}: expected two names, as in a,b"))?;
    let find = |name: &str| {
        let id = program.find(name.trim()).ok_or_else(|| anyhow!("--moment {pair}: there is no `{}`", name.trim()))?;
        match program.value(id).ty.kind {
            Kind::Vector(netsor_ir::Dim::Width(_)) => Ok(id),
            _ => Err(anyhow!("--moment {pair}: `{}` is not a vector whose dimension is a width", name.trim())),
        }
    };
    let (a, b) = (find(a)?, find(b)?);
    if program.value(a).ty.kind != program.value(b).ty.kind {
        bail!("--moment {pair}: the two vectors have different widths");
    }
    let expr = deriver.second_moment(a, b)?;
    let sizes = [program.family_sizes(a), program.family_sizes(b)].concat();
    let name = format!("E {} {}", program.value(a).name, program.value(b).name);
    Ok(Wanted { name, expr, sizes, of: Some(Of::Moment(a, b)), symmetric: a == b })
}

fn evaluate(
    deriver: Deriver<'_>,
    program: &Program,
    given: &[(ValueId, Vec<f64>)],
    wanted: &[Wanted],
    tolerance: Tolerance,
) -> anyhow::Result<Vec<Number>> {
    let graph = deriver.into_graph();
    let data = given.iter().fold(Data::new(), |data, (id, numbers)| data.with(*id, numbers.clone()));
    let mut evaluator = Evaluator::new(&graph, program, &data, tolerance)?;
    let mut out = Vec::new();
    for Wanted { name, expr, sizes, symmetric, .. } in wanted {
        let start = out.len();
        for flat in 0..sizes.iter().product::<usize>() {
            let at = member(sizes, flat);
            let (left, right) = at.split_at(at.len() / 2);
            if *symmetric && right < left {
                // The mirror image was computed before: it comes first.
                let mirrored = [right, left].concat();
                let known = out[start..].iter().find(|n: &&Number| n.at == mirrored).map(|n| Number {
                    name: name.clone(),
                    at: at.clone(),
                    method: n.method.clone(),
                    ..*n
                });
                out.extend(known);
                continue;
            }
            let before = evaluator.statistics().clone();
            let value = evaluator.value(*expr, &at).with_context(|| member_name(name, &at))?;
            let after = evaluator.statistics();
            let used = [
                (after.closed_form - before.closed_form, "closed form"),
                (after.quadrature - before.quadrature, "quadrature"),
                (after.qmc - before.qmc, "quasi-Monte Carlo"),
                (after.not_met - before.not_met, "tolerance not met"),
            ];
            let mut method: Vec<&str> = used.iter().filter(|(count, _)| 0 < *count).map(|(_, name)| *name).collect();
            if method.is_empty() {
                method.push(if value.error == 0.0 { "algebra" } else { "from above" });
            }
            let (value, error) = (value.value, value.error);
            let met = error <= tolerance.absolute.max(tolerance.relative * value.abs());
            let method = method.join(", ");
            out.push(Number { name: name.clone(), at, value, error, method, met, independent: None });
        }
    }
    Ok(out)
}

/// NNGP and tangent kernel of every output, with the share of each parameter.
fn network_kernels(
    network: &Network,
    given: &[(ValueId, Vec<f64>)],
    tolerance: Tolerance,
) -> anyhow::Result<(Vec<Number>, Option<Counterexample>)> {
    let kernels = kernels(network)?;
    let program = &kernels.program;
    let mut deriver = Deriver::new(program);
    let mut wanted = Vec::new();
    for output in &kernels.outputs {
        let name = &program.value(output.output).name;
        let suffix = if kernels.outputs.len() == 1 { String::new() } else { format!(" of {name}") };
        let mut add = |label: String, id: ValueId| -> anyhow::Result<()> {
            let expr = deriver.scalar(id)?;
            let (sizes, of) = (program.family_sizes(id), Some(Of::Scalar(id)));
            wanted.push(Wanted { name: label, expr, sizes, of, symmetric: true });
            Ok(())
        };
        if let Some(nngp) = output.nngp {
            add(format!("NNGP{suffix}"), nngp)?;
        }
        add(format!("NTK{suffix}"), output.ntk)?;
        for (&parameter, &part) in &output.ntk_parts {
            add(format!("NTK from {}{suffix}", program.value(parameter).name), part)?;
        }
    }
    let returns = deriver.has_returns();
    let mut found = evaluate(deriver, program, given, &wanted, tolerance)?;
    let smallest = match returns {
        true => independence::compare(program, given, &wanted, &mut found, tolerance)?,
        false => None,
    };
    Ok((found, smallest))
}

fn to_text(table: &ZTable, numbers: &[Number], has_data: bool) -> String {
    let mut rows = output::table(&["value", "rule", "limit"]);
    for row in &table.rows {
        let mut limit = row.limit.clone();
        for dot in &row.dot {
            limit.push_str(&format!("\nZdot: coefficient of Z({}) is {}", dot.vector, dot.coefficient));
        }
        if let Some(reason) = &row.reason {
            limit = if limit.is_empty() { reason.clone() } else { format!("{limit}\n({reason})") };
        }
        rows.add_row([row.value.as_str(), row.rule.name(), &limit]);
    }
    let mut out = format!("{rows}\n");
    if !table.definitions.is_empty() {
        out.push_str("\nwhere\n");
        for definition in &table.definitions {
            out.push_str(&format!("  {} = {}\n", definition.name, definition.text));
        }
    }
    let (matrices, single): (Vec<&Number>, Vec<&Number>) = numbers.iter().partition(|n| n.at.len() == 2);
    if !single.is_empty() {
        let mut rows = output::table(&["limit of", "value", "error", "by"]);
        for number in single {
            rows.add_row([
                member_name(&number.name, &number.at),
                precise(number.value, number.error),
                if number.error == 0.0 { "0".to_owned() } else { format!("{:.1e}", number.error) },
                number.method.clone(),
            ]);
        }
        out.push_str(&format!("\n{rows}\n"));
    }
    for matrix in matrices.chunk_by(|a, b| a.name == b.name) {
        out.push_str(&as_matrix(matrix));
    }
    if numbers.is_empty() && has_data {
        out.push_str("\nno numbers: give the data with --data NAME=VALUES\n");
    }
    out
}

/// A family over two indices, row by row.
fn as_matrix(entries: &[&Number]) -> String {
    let error = entries.iter().map(|n| n.error).fold(0.0, f64::max);
    let mut out = format!("\n{} (errors at most {error:.1e})\n", entries.first().map_or("", |n| n.name.as_str()));
    for row in entries.chunk_by(|a, b| a.at[0] == b.at[0]) {
        out.push_str(&output::row(&row.iter().map(|n| n.value).collect::<Vec<_>>()));
    }
    let not_met = entries.iter().filter(|n| !n.met).count();
    if 0 < not_met {
        let all = entries.len();
        out.push_str(&format!("tolerance not met: {not_met} of {all} entries have errors above what was asked\n"));
    }
    out
}

/// As many digits as the error allows, at most twelve.
fn precise(value: f64, error: f64) -> String {
    if error == 0.0 { format!("{value}") } else { format::with_error(value, error) }
}

fn to_json(program: &Program, table: &ZTable, numbers: &[Number], counterexample: Option<&Counterexample>) -> Value {
    let numbers: Vec<Value> = numbers
        .iter()
        .map(|n| {
            json!({
                "name": n.name,
                "at": n.at,
                "value": n.value,
                "error": n.error,
                "method": n.method,
                "tolerance_met": n.met,
                "under_gradient_independence": n.independent,
            })
        })
        .collect();
    json!({
        "name": program.name,
        "table": table.rows,
        "definitions": table.definitions,
        "numbers": numbers,
        "counterexample": counterexample.map(independence::to_json),
    })
}

/// The table and its definitions as two `align*` environments.
fn latex(table: &ZTable) -> String {
    let mut out = String::from("\\begin{align*}\n");
    let rows: Vec<String> = table
        .rows
        .iter()
        .filter(|row| !row.latex.is_empty())
        .map(|row| {
            let name = row.value.replace('_', "\\_");
            format!("  Z^{{\\mathtt{{{name}}}}} &= {} && \\text{{{}}}", row.latex, row.rule.name())
        })
        .collect();
    out.push_str(&rows.join(" \\\\\n"));
    out.push_str("\n\\end{align*}\n");
    if !table.definitions.is_empty() {
        let rows: Vec<String> = table
            .definitions
            .iter()
            .map(|d| format!("  E^{{({})}} &= {}", d.name.trim_start_matches('E'), d.latex))
            .collect();
        out.push_str(&format!("where\n\\begin{{align*}}\n{}\n\\end{{align*}}\n", rows.join(" \\\\\n")));
    }
    out
}
