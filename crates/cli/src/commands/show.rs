//! `netsor show`: what a program is.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, ValueEnum};
use netsor_ir::draw::{DrawOptions, draw_dot, draw_svg};
use netsor_ir::paths::paths;
use netsor_ir::syntax::Item;
use netsor_ir::theorem::{self, Coverage};
use netsor_ir::transform::{Seed, backprop, kernels, unroll_network, unroll_program};
use netsor_ir::{Instr, Network, Program};
use serde_json::json;

use crate::source::SourceArgs;
use crate::{facts, output};

const AFTER: &str = "\
Examples:
  netsor show examples/mlp.netsor                         what it is, and which theorems cover it
  netsor show examples/mlp.netsor --kernels               the program whose scalars are its kernels
  netsor show examples/figure2.netsor --paths             the ways by which an error signal comes back
  netsor show examples/figure7.netsor --draw svg -o f.svg
  netsor show examples/conv.netsor --unroll --draw dot | dot -Tpdf -o conv.pdf";

/// More paths than this are not listed.
const MOST_PATHS: u64 = 10_000;

/// Check a program, say what it is, print or draw it
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct ShowArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Draw the computation graph instead
    #[arg(long, value_name = "FORMAT")]
    draw: Option<Format>,
    /// Without the explanation of the symbols
    #[arg(long, requires = "draw")]
    no_legend: bool,
    /// Width in pixels after which a picture goes on in a row below (SVG only)
    #[arg(long, value_name = "PIXELS", default_value_t = DrawOptions::default().width, requires = "draw",
          value_parser = clap::value_parser!(u32).range(100..))]
    page_width: u32,
    /// Write to a file instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The forward and backward pass of a network
    #[arg(long)]
    backprop: bool,
    /// The program of a network's NNGP and tangent kernels
    #[arg(long, conflicts_with = "backprop")]
    kernels: bool,
    /// The paths of a network (TP IIb Def. 5.5), one a line, of the plain network
    #[arg(long, conflicts_with_all = ["backprop", "kernels", "draw", "json"])]
    paths: bool,
    /// Every family expanded to plain values
    #[arg(long)]
    unroll: bool,
    /// Print JSON
    #[arg(long, conflicts_with = "draw")]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// A picture
    Svg,
    /// A graph for Graphviz
    Dot,
}

/// Prints or draws the items of a file.
pub(crate) fn run(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    if args.paths {
        output::emit_to(args.out.as_deref(), &list_paths(&args.source.items()?)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let items =
        args.source.items()?.into_iter().map(|item| transform(item, args)).collect::<anyhow::Result<Vec<_>>>()?;
    let text = if let Some(format) = args.draw {
        let programs: Vec<&Program> = items.iter().map(Item::program).collect();
        let options = DrawOptions { legend: !args.no_legend, width: args.page_width, ..DrawOptions::default() };
        match format {
            Format::Svg => draw_svg(&programs, &options)?,
            Format::Dot => draw_dot(&programs, &options)?,
        }
    } else if args.json {
        let items: Vec<serde_json::Value> = items.iter().map(to_json).collect();
        format!("{}\n", serde_json::to_string_pretty(&items)?)
    } else if args.backprop || args.kernels || args.unroll {
        items.iter().map(Item::print).collect::<Vec<_>>().join("\n")
    } else {
        items.iter().map(to_text).collect::<Vec<_>>().join("\n")
    };
    output::emit_to(args.out.as_deref(), &text)?;
    Ok(ExitCode::SUCCESS)
}

/// The paths to every output of every network.
fn list_paths(items: &[Item]) -> anyhow::Result<String> {
    let mut out = String::new();
    for item in items {
        let Item::Network(network) = item else {
            bail!("`{}` is a program; paths are those of a network", item.name());
        };
        let (plain, _) = unroll_network(network)?;
        for &output in &plain.outputs {
            let all = paths(&plain, output, MOST_PATHS)?;
            out.push_str(&format!("{}, to {}: {} paths\n", item.name(), plain.program.value(output).name, all.len()));
            for path in all {
                out.push_str(&format!("  {}\n", path.show(&plain.program)));
            }
        }
    }
    Ok(out)
}

fn transform(item: Item, args: &ShowArgs) -> anyhow::Result<Item> {
    let item = match item {
        Item::Network(network) if args.backprop => Item::Program(backprop(&network, Seed::Components)?.program),
        Item::Network(network) if args.kernels => Item::Program(kernels(&network)?.program),
        Item::Program(program) if args.backprop || args.kernels => {
            bail!("`{}` is a program; only a network has a backward pass", program.name)
        }
        item => item,
    };
    Ok(match item {
        Item::Network(network) if args.unroll => Item::Network(unroll_network(&network)?.0),
        Item::Program(program) if args.unroll => Item::Program(unroll_program(&program)?.0),
        item => item,
    })
}

fn to_text(item: &Item) -> String {
    let program = item.program();
    let mut out = item.print();
    out.push('\n');
    let counts = facts::counts(program);
    let parts = [
        (counts.matrices, "matrix", "matrices"),
        (counts.g_vars, "G-var", "G-vars"),
        (counts.x_vars, "X-var", "X-vars"),
        (counts.scalars, "scalar", "scalars"),
        (counts.finite_vectors, "vector of constant size", "vectors of constant size"),
    ];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(count, ..)| 0 < *count)
        .map(|&(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    out.push_str(&format!("values      {}\n", parts.join(", ")));
    let axes: Vec<String> = program.axes.iter().map(|a| format!("{} = {}", a.name, a.size)).collect();
    if !axes.is_empty() {
        out.push_str(&format!("axes        {}\n", axes.join(", ")));
    }
    let widths: Vec<String> = program.classes.iter().map(width).collect();
    out.push_str(&format!("widths      {}\n", widths.join(", ")));
    let theorems = match item {
        Item::Network(network) => {
            let outputs: Vec<&str> = network.outputs.iter().map(|&o| program.value(o).name.as_str()).collect();
            out.push_str(&format!("outputs     {}\n\n", outputs.join(", ")));
            out.push_str(&format!("{}\n", parameters(network)));
            theorem::of_network(network)
        }
        Item::Program(program) => theorem::of_program(program),
    };
    out.push('\n');
    for coverage in &theorems {
        out.push_str(&theorem_text(coverage));
    }
    out
}

/// The theorem, whether it applies, and for each missing hypothesis what fails and where it stands.
fn theorem_text(coverage: &Coverage) -> String {
    let theorem = coverage.theorem;
    let mut out = format!("{} ({}): {}\n", theorem.source(), theorem.subject(), coverage.status().name());
    for missing in &coverage.missing {
        out.push_str(&format!("  - {missing} [{}]\n", missing.source()));
    }
    for remark in &coverage.remarks {
        out.push_str(&format!("  - {remark}\n"));
    }
    out
}

fn width(class: &netsor_ir::WidthClass) -> String {
    match netsor_ir::number::print(&class.ratio).as_str() {
        "1" => class.name.clone(),
        ratio => format!("{} = {ratio} n", class.name),
    }
}

fn parameters(network: &Network) -> comfy_table::Table {
    let mut table = output::table(&["parameter", "shape", "role", "variance", "a", "b", "c", "trained"]);
    let program = &network.program;
    for parameter in &network.parameters {
        let value = program.value(parameter.value);
        table.add_row([
            value.name.clone(),
            facts::shape(program, parameter.value),
            facts::role(network.role(parameter.value)).to_owned(),
            variance(program, &value.instr),
            parameter.a.to_string(),
            parameter.b.to_string(),
            parameter.c.to_string(),
            if parameter.trained { "yes" } else { "no" }.to_owned(),
        ]);
    }
    table
}

fn variance(program: &Program, instr: &Instr) -> String {
    match instr {
        Instr::Matrix { variance } => facts::scale(variance),
        Instr::Gaussian(law) => match program.exprs.node(law.covariance) {
            netsor_ir::Expr::Const(value) => netsor_ir::number::print(value),
            _ => "by member".to_owned(),
        },
        _ => String::new(),
    }
}

fn to_json(item: &Item) -> serde_json::Value {
    let program = item.program();
    let axes: Vec<_> = program.axes.iter().map(|a| json!({ "name": a.name, "size": a.size })).collect();
    let mut value = json!({
        "name": program.name,
        "kind": if matches!(item, Item::Network(_)) { "network" } else { "program" },
        "text": item.print(),
        "counts": facts::counts(program),
        "axes": axes,
        "widths": program.classes.iter().map(width).collect::<Vec<_>>(),
    });
    let theorems = match item {
        Item::Network(network) => {
            let parameters: Vec<_> = network
                .parameters
                .iter()
                .map(|p| {
                    json!({
                        "name": program.value(p.value).name,
                        "shape": facts::shape(program, p.value),
                        "role": facts::role(network.role(p.value)),
                        "a": p.a.to_string(), "b": p.b.to_string(), "c": p.c.to_string(),
                        "trained": p.trained,
                    })
                })
                .collect();
            value["parameters"] = json!(parameters);
            value["outputs"] = network.outputs.iter().map(|&o| program.value(o).name.clone()).collect();
            theorem::of_network(network)
        }
        Item::Program(program) => theorem::of_program(program),
    };
    value["theorems"] = theorems
        .iter()
        .map(|c| {
            let missing: Vec<_> = c
                .missing
                .iter()
                .map(|m| json!({ "hypothesis": m, "reason": m.to_string(), "source": m.source() }))
                .collect();
            json!({
                "theorem": c.theorem, "source": c.theorem.source(), "subject": c.theorem.subject(),
                "cover": c.status(), "missing": missing, "remarks": c.remarks,
            })
        })
        .collect();
    value
}
