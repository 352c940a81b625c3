//! `netsor transform`: programs to programs.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use clap::{Args, ValueEnum};
use netsor_ir::network::Network;
use netsor_ir::number::{Number, Power, integer, parse_decimal};
use netsor_ir::program::{Program, ValueId};
use netsor_ir::syntax::Item;
use netsor_ir::transform::{
    Decay, Direction, DirectionMode, Loss, Readouts, Seed, Sgd, Tangents, backprop, cse, cse_network, dce, dce_network,
    kernels, reduce, reduce_network, unroll_network, unroll_program, unroll_sgd,
};
use netsor_ir::verify::verify_program;
use num_traits::Zero as _;
use serde_json::{Value, json};

use crate::output;
use crate::source::SourceArgs;

const AFTER: &str = "\
Transforms are applied in the order given. `cse` and `dce` keep the outputs of a network and the results of the
transform before; of a program that comes from a file, what nothing else mentions.

Examples:
  netsor transform examples/mlp.netsor kernels cse dce       the program of the kernels, without what is equal or unused
  netsor transform examples/tied.netsor backprop
  netsor transform examples/residual.netsor reduce dce       G-vars and X-vars alternate (TP IIb Def. 5.4)
  netsor transform examples/mlp.netsor tangent --order 4     the kernels K3 and K4 of the hierarchy
  netsor transform examples/mlp.netsor sgd cse dce --steps 2 --batch 0,1 --batch 2 --rate 0.5
  netsor transform examples/mlp.netsor sgd --loss 'log(1 + exp(-y * f))' --momentum 0.9 --json";

/// Apply transforms and print the resulting program
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct TransformArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// What to do, in this order
    #[arg(required = true, value_name = "TRANSFORM")]
    transforms: Vec<Transform>,
    /// Values that `cse` and `dce` keep, instead of the results of the transform before
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    keep: Vec<String>,
    /// Write to a file instead of the standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON, with the names of the results
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    tangent: TangentArgs,
    #[command(flatten)]
    sgd: SgdArgs,
}

#[derive(Args)]
#[command(next_help_heading = "For tangent")]
struct TangentArgs {
    /// The highest kernel of the hierarchy, at least 3
    #[arg(long, default_value_t = 3, value_name = "R", value_parser = clap::value_parser!(u32).range(3..=8))]
    order: u32,
    /// Directions are not differentiated: the kernels of discrete time
    #[arg(long)]
    frozen: bool,
}

#[derive(Args)]
#[command(next_help_heading = "For sgd")]
struct SgdArgs {
    /// Number of steps
    #[arg(long, default_value_t = 1, value_name = "T", value_parser = clap::value_parser!(u32).range(0..=1000))]
    steps: u32,
    /// The examples of a step, `0,3` or with weights `0:1/2,3:1/2`; once for each step, then from the start. All by default
    #[arg(long, value_name = "EXAMPLES")]
    batch: Vec<String>,
    /// Learning rates, one a step; the last one goes on
    #[arg(long, default_value = "1", value_name = "ETA", value_delimiter = ',', value_parser = number)]
    rate: Vec<Number>,
    /// Heavy-ball momentum
    #[arg(long, default_value = "0", value_name = "MU", value_parser = number)]
    momentum: Number,
    /// Weight decay `lambda |w|^2 / 2` in the loss
    #[arg(long, default_value = "0", value_name = "LAMBDA", value_parser = number)]
    decay: Number,
    /// Weight decay that shrinks weights besides
    #[arg(long, default_value = "0", value_name = "LAMBDA", conflicts_with = "decay", value_parser = number)]
    decoupled_decay: Number,
    /// `squared`, `logistic`, `cross-entropy`, or an expression in f and y (f[c] and y[c] for several components)
    #[arg(long, default_value = "squared", value_name = "LOSS")]
    loss: String,
    /// Deviations from the initial pass are of order n^-r: 1/2 for the NTK parametrization, 0 to write every pass out
    #[arg(long, default_value = "1/2", value_name = "R", value_parser = exponent)]
    exponent: Power,
    /// The initial outputs are computed and not data: for finite width
    #[arg(long)]
    computed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Transform {
    /// The forward and backward pass of a network
    Backprop,
    /// The program of a network's NNGP and tangent kernels
    Kernels,
    /// The hierarchy: derivatives of the tangent kernel along the gradient
    Tangent,
    /// Training of a network, step by step
    Sgd,
    /// The standard form: G-vars and X-vars alternate
    Reduce,
    /// Every family expanded to plain values
    Unroll,
    /// Equal instructions merged
    Cse,
    /// What is not needed left out
    Dce,
}

/// An item under transformation, and what the last transform was for.
struct Work {
    item: Item,
    results: Vec<ValueId>,
}

/// Transforms the item of a file and prints it.
pub(crate) fn run(args: &TransformArgs) -> anyhow::Result<ExitCode> {
    let item = args.source.one_item()?;
    let results = match &item {
        Item::Network(network) => network.outputs.clone(),
        Item::Program(program) => sinks(program),
    };
    let mut work = Work { item, results };
    for &transform in &args.transforms {
        work = apply(work, transform, args)?;
    }
    let program = work.item.program();
    verify_program(program.clone()).context("the result does not verify")?;
    let text = if args.json {
        let names: Vec<&str> = work.results.iter().map(|&v| program.value(v).name.as_str()).collect();
        let transforms: Vec<Value> =
            args.transforms.iter().filter_map(|t| t.to_possible_value()).map(|v| json!(v.get_name())).collect();
        let kind = if matches!(work.item, Item::Network(_)) { "network" } else { "program" };
        let value = json!({
            "name": program.name, "kind": kind, "transforms": transforms, "results": names,
            "values": program.values.len(), "text": work.item.print(),
        });
        format!("{}\n", serde_json::to_string_pretty(&value)?)
    } else {
        work.item.print()
    };
    output::emit_to(args.out.as_deref(), &text)?;
    Ok(ExitCode::SUCCESS)
}

/// Values that no other value mentions.
fn sinks(program: &Program) -> Vec<ValueId> {
    let mut mentioned = vec![false; program.values.len()];
    program.value_ids().flat_map(|id| program.arguments(id)).for_each(|a| mentioned[a.index()] = true);
    program.value_ids().filter(|id| !mentioned[id.index()]).collect()
}

fn apply(work: Work, transform: Transform, args: &TransformArgs) -> anyhow::Result<Work> {
    match transform {
        Transform::Reduce | Transform::Unroll | Transform::Cse | Transform::Dce => rewrite(work, transform, args),
        Transform::Backprop | Transform::Kernels | Transform::Tangent | Transform::Sgd => match &work.item {
            Item::Network(network) => derive(network, transform, args),
            Item::Program(program) => bail!(
                "`{}` is a program; only a network has a backward pass. `backprop`, `kernels`, `tangent` and `sgd` each \
                 make a program of a network",
                program.name
            ),
        },
    }
}

/// A network to the program of something that one wants of it.
fn derive(network: &Network, transform: Transform, args: &TransformArgs) -> anyhow::Result<Work> {
    let (program, results) = match transform {
        Transform::Kernels => {
            let kernels = kernels(network)?;
            let results = kernels.outputs.iter().flat_map(|o| [Some(o.ntk), o.nngp]).flatten().collect();
            (kernels.program, results)
        }
        Transform::Tangent => {
            let kernels = kernels(network)?;
            let [adjoint] = &kernels.adjoints[..] else {
                bail!("`tangent` takes networks with one output; this one has {}", kernels.adjoints.len())
            };
            let mode = if args.tangent.frozen { DirectionMode::Frozen } else { DirectionMode::Live };
            let mut results = vec![kernels.outputs[0].ntk];
            let direction = Direction::new(network, adjoint);
            let mut tangents = Tangents::new(kernels.program, direction, mode);
            for _ in 2..args.tangent.order {
                let last = results[results.len() - 1];
                results.extend(tangents.apply(&[last])?);
            }
            (tangents.program, results)
        }
        Transform::Sgd => {
            let training = unroll_sgd(network, &args.sgd.plan(network)?)?;
            let results = training.outputs.iter().flat_map(|o| o.at.iter().copied()).collect();
            (training.program, results)
        }
        _ => {
            let result = backprop(network, Seed::Components)?;
            let gradients = result.outputs.iter().flat_map(|o| &o.gradients);
            let mut results: Vec<ValueId> = network.outputs.clone();
            results.extend(gradients.flat_map(|g| [Some(g.rows.value), g.cols.as_ref().map(|c| c.value)]).flatten());
            results.sort_unstable();
            results.dedup();
            (result.program, results)
        }
    };
    Ok(Work { item: Item::Program(program), results })
}

/// The same thing in another form.
fn rewrite(Work { item, results }: Work, transform: Transform, args: &TransformArgs) -> anyhow::Result<Work> {
    let kept = if args.keep.is_empty() {
        results
    } else {
        let program = item.program();
        let find = |name: &String| program.find(name).ok_or_else(|| anyhow!("there is no value `{name}` to keep"));
        args.keep.iter().map(find).collect::<anyhow::Result<_>>()?
    };
    let (item, map): (Item, Vec<Vec<ValueId>>) = match (transform, item) {
        (Transform::Reduce, Item::Network(network)) => {
            let (network, map) = reduce_network(&network)?;
            (Item::Network(network), map.into_iter().map(|v| vec![v]).collect())
        }
        (Transform::Reduce, Item::Program(program)) => {
            let (program, map) = reduce(&program)?;
            (Item::Program(program), map.into_iter().map(|v| vec![v]).collect())
        }
        (Transform::Unroll, Item::Network(network)) => {
            let (network, map) = unroll_network(&network)?;
            (Item::Network(network), map)
        }
        (Transform::Unroll, Item::Program(program)) => {
            let (program, map) = unroll_program(&program)?;
            (Item::Program(program), map)
        }
        (Transform::Cse, Item::Network(network)) => {
            let (network, images) = cse_network(&network)?;
            (Item::Network(network), images.into_iter().map(|i| vec![i.value]).collect())
        }
        (Transform::Cse, Item::Program(program)) => {
            let (program, images) = cse(&program, &kept)?;
            (Item::Program(program), images.into_iter().map(|i| vec![i.value]).collect())
        }
        (_, Item::Network(network)) => {
            let (network, map) = dce_network(&network)?;
            (Item::Network(network), map.into_iter().map(|v| v.into_iter().collect()).collect())
        }
        (_, Item::Program(program)) => {
            let (program, map) = dce(&program, &kept)?;
            (Item::Program(program), map.into_iter().map(|v| v.into_iter().collect()).collect())
        }
    };
    let mut results: Vec<ValueId> = kept.iter().flat_map(|v| map[v.index()].iter().copied()).collect();
    results.dedup();
    Ok(Work { item, results })
}

impl SgdArgs {
    fn plan(&self, network: &Network) -> anyhow::Result<Sgd> {
        let first = network.outputs.first().map(|&o| network.program.family_sizes(o));
        let examples = first.and_then(|sizes| sizes.first().copied()).unwrap_or(1);
        let batches = self.batch.iter().map(|text| batch(text, examples)).collect::<anyhow::Result<_>>()?;
        let decay = match (&self.decay, &self.decoupled_decay) {
            (lambda, _) if !lambda.is_zero() => Decay::Coupled(lambda.clone()),
            (_, lambda) if !lambda.is_zero() => Decay::Decoupled(lambda.clone()),
            _ => Decay::None,
        };
        Ok(Sgd {
            steps: self.steps as usize,
            rates: self.rate.clone(),
            batches,
            momentum: self.momentum.clone(),
            decay,
            loss: match self.loss.as_str() {
                "squared" => Loss::Squared,
                "logistic" => Loss::Logistic,
                "cross-entropy" => Loss::CrossEntropy,
                text => Loss::Value(text.to_owned()),
            },
            exponent: self.exponent,
            readouts: if self.computed { Readouts::Computed } else { Readouts::Conditioned },
        })
    }
}

/// The weights of the examples in `0,3` or `0:1/2,3:1/2`.
fn batch(text: &str, examples: usize) -> anyhow::Result<Vec<Number>> {
    let mut weights = vec![integer(0); examples];
    for part in text.split(',') {
        let (example, weight) = part.split_once(':').unwrap_or((part, "1"));
        let position = example.trim().parse::<usize>().ok().filter(|&k| k < examples).ok_or_else(|| {
            anyhow!(
                "`{}` in the batch `{text}` is not an example; there are {examples}, counted from 0",
                example.trim()
            )
        })?;
        weights[position] += number(weight).map_err(|e| anyhow!("in the batch `{text}`: {e}"))?;
    }
    Ok(weights)
}

/// A decimal or a fraction of two.
fn number(text: &str) -> Result<Number, String> {
    let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
    let read = |part: &str| parse_decimal(part.trim());
    match (read(numerator), read(denominator)) {
        (Some(a), Some(b)) if !b.is_zero() => Ok(a / b),
        _ => Err(format!("`{text}` is not a number; write 0.5 or 1/2")),
    }
}

/// A fraction of small integers.
fn exponent(text: &str) -> Result<Power, String> {
    let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
    let read = |part: &str| part.trim().parse::<i64>().ok().filter(|p| p.abs() <= 1000);
    match (read(numerator), read(denominator)) {
        (Some(a), Some(b)) if b != 0 => Ok(Power::new(a, b)),
        _ => Err(format!("`{text}` is not a fraction of small integers such as 1/2")),
    }
}
