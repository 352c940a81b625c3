//! `netsor certify`: the limit engine against simulation, number by number.

use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use netsor_finite::{Executor, Inputs, Options, State};
use netsor_ir::program::own_indices;
use netsor_ir::syntax::Item;
use netsor_ir::transform::kernels;
use netsor_ir::verify::verify_program;
use netsor_ir::{Axis, Dim, Id, Index, Instr, Kind, Program, ValueId};
use netsor_lab::stats::{self, Estimate};
use netsor_lab::verdict::judge;
use netsor_lab::{Cancel, Interrupted, Test, Verdict, format};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};
use serde_json::json;

use crate::output;
use crate::source::SourceArgs;
use crate::values::{DataArgs, member, member_name};

const AFTER: &str = "\
Examples:
  netsor certify examples/square.netsor
  netsor certify examples/square.netsor --widths 128,256,512,1024 --seeds 500
  netsor certify examples/tied.netsor --data 'xi=[[1,0],[0,1],[1,1]]' --moments own

Each number is averaged over seeds at each width and extrapolated to infinite width, m + c/n. It holds when m is
surely within the margin of the limit and fails when it surely is not; p-values are corrected for the number of tests
(Holm). The exit code is 1 if a test fails.";

/// Simulate a program at growing widths and test every scalar and second moment against its limit
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct CertifyArgs {
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Widths n, at least two
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [64, 128, 256, 512])]
    widths: Vec<usize>,
    /// Draws at each width
    #[arg(long, value_name = "COUNT", default_value_t = 128)]
    seeds: usize,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Largest difference that still counts as equal, as a share of the limit or, for limits below 1, by itself
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    margin: f64,
    /// Which second moments E Z^a Z^b are tested beside the scalars
    #[arg(long, value_name = "WHICH", default_value = "all")]
    moments: Moments,
    /// Most tests
    #[arg(long, value_name = "COUNT", default_value_t = 400)]
    max_tests: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Moments {
    /// None: the program's own scalars only
    None,
    /// Of each vector with itself
    Own,
    /// Of each pair of vectors
    All,
}

/// A number of the program, and what the limit engine says it is.
struct Target {
    name: String,
    value: ValueId,
    flat: usize,
    limit: f64,
}

/// Simulates, tests and prints.
pub(crate) fn run(args: &CertifyArgs) -> anyhow::Result<ExitCode> {
    check(args)?;
    let item = args.source.one_item()?;
    let n_vectors = item.program().values.len();
    let mut program = match &item {
        Item::Program(program) => program.clone(),
        Item::Network(network) => kernels(network)?.program,
    };
    let given = args.data.read_all(&program)?;
    add_moments(&mut program, n_vectors, args.moments);
    let program = verify_program(program)?;

    let (mut targets, without) = targets(&program, &given)?;
    let left_out = targets.len().saturating_sub(args.max_tests);
    targets.truncate(args.max_tests);
    if targets.is_empty() {
        bail!("`{}` has no scalar and no second moment with a limit", program.name);
    }

    let samples = simulate(&program, &given, &targets, args)?;
    let widths: Vec<f64> = args.widths.iter().map(|&n| n as f64).collect();
    let mut tests = Vec::new();
    for (target, samples) in targets.iter().zip(&samples) {
        tests.push(test(target, &widths, samples, args.margin).with_context(|| target.name.clone())?);
    }
    judge(&mut [tests.as_mut_slice()]);

    let verdict = Verdict::all(tests.iter().map(|t| t.verdict));
    if args.json {
        output::emit_json(&json!({
            "name": program.name, "widths": args.widths, "seeds": args.seeds, "verdict": verdict.word(),
            "tests": tests, "left_out": left_out, "without_limit": without,
        }))?;
    } else {
        output::emit(&to_text(&tests, verdict, left_out, &without))?;
    }
    Ok(if verdict == Verdict::Fails { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn check(args: &CertifyArgs) -> anyhow::Result<()> {
    let mut widths = args.widths.clone();
    widths.sort_unstable();
    widths.dedup();
    if widths.len() < 2 || widths.first() == Some(&0) {
        bail!("--widths: expected at least two different positive widths");
    }
    if args.seeds < 2 {
        bail!("--seeds {}: expected at least 2", args.seeds);
    }
    if !(args.margin.is_finite() && 0.0 < args.margin) {
        bail!("--margin {}: expected a positive number", args.margin);
    }
    Ok(())
}

/// Appends `mean(a * b)` for pairs among the first `n_vectors` values.
fn add_moments(program: &mut Program, n_vectors: usize, which: Moments) {
    let vectors: Vec<ValueId> = (0..n_vectors)
        .map(ValueId::new)
        .filter(|&id| matches!(program.value(id).ty.kind, Kind::Vector(Dim::Width(_))))
        .collect();
    for (k, &a) in vectors.iter().enumerate() {
        for &b in &vectors[k..] {
            let wanted = match which {
                Moments::None => false,
                Moments::Own => a == b,
                Moments::All => true,
            };
            if wanted && program.value(a).ty.kind == program.value(b).ty.kind {
                let names = [a, b].map(|id| program.value(id).name.replace('@', "_"));
                let name = program.unused_name(&format!("E_{}_{}", names[0], names[1]));
                let family = joined_family(program, a, b);
                let split = program.value(a).ty.family.len();
                let own: Vec<Index> = own_indices(family.len()).collect();
                let (x, y) = (program.member(a, &own[..split]), program.member(b, &own[split..]));
                let product = program.exprs.mul(x, y);
                let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(name, axis)| (name.as_str(), *axis)).collect();
                program.moment(&name, &family, product);
            }
        }
    }
}

/// The indices of `a` and then those of `b`, with primes where names meet.
fn joined_family(program: &Program, a: ValueId, b: ValueId) -> Vec<(String, Id<Axis>)> {
    let mut family: Vec<(String, Id<Axis>)> = Vec::new();
    for value in [program.value(a), program.value(b)] {
        for (name, &axis) in value.index_names.iter().zip(&value.ty.family) {
            let mut name = name.clone();
            while family.iter().any(|(other, _)| *other == name) {
                name.push('\'');
            }
            family.push((name, axis));
        }
    }
    family
}

/// The limits of all scalars, and the scalars that have none with the reason.
fn targets(program: &Program, given: &[(ValueId, Vec<f64>)]) -> anyhow::Result<(Vec<Target>, Vec<String>)> {
    let mut deriver = Deriver::new(program);
    let mut known = Vec::new();
    let mut without = Vec::new();
    for id in program.value_ids() {
        let value = program.value(id);
        if value.ty.kind != Kind::Scalar || matches!(value.instr, Instr::Data) {
            continue;
        }
        match deriver.scalar(id) {
            Ok(expr) => known.push((id, expr)),
            Err(reason) => without.push(reason.to_string()),
        }
    }
    let graph = deriver.into_graph();
    let data = given.iter().fold(Data::new(), |data, (id, numbers)| data.with(*id, numbers.clone()));
    // Far below any margin that simulation could resolve.
    let tolerance = Tolerance { absolute: 1e-6, relative: 1e-6, ..Tolerance::default() };
    let mut evaluator = Evaluator::new(&graph, program, &data, tolerance)?;
    let mut targets = Vec::new();
    for (value, expr) in known {
        let sizes = program.family_sizes(value);
        for flat in 0..sizes.iter().product::<usize>() {
            let at = member(&sizes, flat);
            let name = member_name(&program.value(value).name, &at);
            let limit = evaluator.value(expr, &at).with_context(|| name.clone())?.value;
            targets.push(Target { name, value, flat, limit });
        }
    }
    Ok((targets, without))
}

/// `samples[target][width][seed]`
fn simulate(
    program: &netsor_ir::verify::Verified<Program>,
    given: &[(ValueId, Vec<f64>)],
    targets: &[Target],
    args: &CertifyArgs,
) -> anyhow::Result<Vec<Vec<Vec<f64>>>> {
    let inputs = given.iter().fold(Inputs::new(), |inputs, (id, numbers)| inputs.with(*id, numbers.clone()));
    let mut wanted: Vec<ValueId> = targets.iter().map(|t| t.value).collect();
    wanted.dedup();
    let cancel = Cancel::default();
    cancel.install_ctrl_c()?;
    let bar = output::progress(args.widths.len() * args.seeds, "simulating");
    let mut samples = vec![vec![Vec::with_capacity(args.seeds); args.widths.len()]; targets.len()];
    for (w, &width) in args.widths.iter().enumerate() {
        for seed in 0..args.seeds as u64 {
            if cancel.is_cancelled() {
                return Err(Interrupted.into());
            }
            // Widths must be independent for the fit, so that each has seeds of its own.
            let options = Options::new(width, args.seed.wrapping_add(seed).wrapping_add((w as u64) << 32));
            let mut state = State::<f64>::new(program, &inputs, &options)?;
            Executor::new(program, options)?.run(&mut state, &wanted)?;
            for (target, samples) in targets.iter().zip(&mut samples) {
                let numbers = state.block(target.value).map(|block| &block.data[..]).unwrap_or_default();
                samples[w].extend(numbers.get(target.flat));
            }
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    Ok(samples)
}

fn test(target: &Target, widths: &[f64], samples: &[Vec<f64>], margin: f64) -> anyhow::Result<Test> {
    let margin = margin * target.limit.abs().max(1.0);
    let means = samples.iter().map(|s| stats::mean(s)).collect::<Result<Vec<Estimate>, _>>()?;
    // A number that no draw enters is the same each time.
    if means.iter().any(|m| m.standard_error == 0.0) {
        let last = means.last().map_or(f64::NAN, |m| m.value);
        return Ok(Test::within(&target.name, last, target.limit, margin)?);
    }
    let limit = stats::extrapolate(widths, &means, &[1.0])?.limit;
    Ok(Test::equals(&target.name, &limit, target.limit, margin)?)
}

fn to_text(tests: &[Test], verdict: Verdict, left_out: usize, without: &[String]) -> String {
    let mut rows = output::table(&["number", "limit", "margin", "simulated, n to infinity", "p", "verdict"]);
    for test in tests {
        let (limit, margin) = match test.prediction {
            netsor_lab::Prediction::Equals { target, margin } => (format::number(target), format::number(margin)),
            other => (other.to_string(), String::new()),
        };
        let simulated = if test.standard_error == 0.0 {
            format::number(test.estimate)
        } else {
            format!(
                "{} ± {}",
                format::with_error(test.estimate, test.standard_error),
                format::with_error(test.standard_error, test.standard_error)
            )
        };
        rows.add_row([
            test.name.clone(),
            limit,
            margin,
            simulated,
            test.p_adjusted.map(format::p_value).unwrap_or_default(),
            test.verdict.word().to_owned(),
        ]);
    }
    let count = |verdict| tests.iter().filter(|t| t.verdict == verdict).count();
    let mut out = format!(
        "{rows}\n{} of {} hold, {} fail, {} undecided: {}\n",
        count(Verdict::Holds),
        tests.len(),
        count(Verdict::Fails),
        count(Verdict::Undecided),
        verdict.word()
    );
    if 0 < left_out {
        out.push_str(&format!("{left_out} more were left out; see --max-tests\n"));
    }
    for reason in without {
        out.push_str(&format!("not tested: {reason}\n"));
    }
    if 0 < count(Verdict::Undecided) {
        out.push_str("more --seeds or a larger --margin would decide\n");
    }
    out
}
