//! `netsor coordcheck`: how sizes of vectors and of their changes depend on the width.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use netsor_finite::{
    CoordinateSize, Decay, Float, Inputs, Optimizer, Options, Order, Rate, Rule, Trainer, Training, coordinate_sizes,
    watched,
};
use netsor_ir::exponents::{NetworkExponents, NoExponents, UpdateRule};
use netsor_ir::number::power_to_f64;
use netsor_ir::verify::Verified;
use netsor_ir::{Network, ValueId};
use netsor_lab::stats::{Average, Curve, p_equals, slope_over_seeds};
use netsor_lab::{Axis, Cancel, Figure, Interrupted, LEVEL, Series, Style, draw, format};
use serde_json::json;

use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs, input};
use crate::training::{Precision, RuleArgs};

const AFTER: &str = "\
Examples:
  netsor coordcheck --on digits --parametrization mup --activation tanh
  netsor coordcheck --on digits --parametrization sp --widths 64,128,256,512 --figure sp.svg
  netsor coordcheck --on digits --parametrization mup-adam --optimizer adam --learning-rate 0.01

A size is a root mean square over coordinates, points and seeds; an exponent is the slope of its logarithm in that of the
width. Layered networks (with biases, residual connections, convolutions, gates, recurrence) have predicted exponents
under sgd and adam, which hold or fail up to the margin; of other networks a vector fails that grows with the width. The
exit code is 1 if anything fails.";

/// Check how the sizes of vectors and of their changes in training depend on the width
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct CoordcheckArgs {
    #[command(flatten)]
    architecture: ArchitectureArgs,
    #[command(flatten)]
    dataset: DatasetArgs,
    #[command(flatten)]
    rule: RuleArgs,
    /// Widths, two or more
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "64,128,256,512,1024")]
    widths: Vec<usize>,
    /// Independent draws of the parameters
    #[arg(long, value_name = "COUNT", default_value_t = 8)]
    seeds: u64,
    /// Steps of training, on one batch
    #[arg(long, value_name = "COUNT", default_value_t = 3)]
    steps: usize,
    /// Points in the batch
    #[arg(long, value_name = "POINTS", default_value_t = 16)]
    batch: usize,
    /// Precision of the networks
    #[arg(long, default_value = "f64")]
    precision: Precision,
    /// How far an exponent may be from its prediction
    #[arg(long, value_name = "EXPONENT", default_value_t = 0.15)]
    margin: f64,
    /// File for a figure (SVG)
    #[arg(long, value_name = "FILE")]
    figure: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One line of the result: a quantity at every width, its exponent, and what was expected.
struct Line {
    name: String,
    curve: Curve,
    predicted: Option<f64>,
    verdict: &'static str,
}

/// Measures, fits and compares; exit code 1 if something fails.
pub(crate) fn run(args: &CoordcheckArgs) -> anyhow::Result<ExitCode> {
    match args.precision {
        Precision::F32 => check::<f32>(args),
        Precision::F64 => check::<f64>(args),
    }
}

fn check<T: Float>(args: &CoordcheckArgs) -> anyhow::Result<ExitCode> {
    if args.widths.len() < 2 || args.seeds < 2 || args.steps == 0 {
        bail!("a slope needs two widths, two seeds and a step at least");
    }
    let split = args.dataset.split(Some(args.batch), None)?;
    let (features, n_outputs) = (split.train.n_features(), split.train.n_outputs());
    let network = args.rule.network(&*args.architecture.network(features, n_outputs, args.batch)?)?;
    let inputs = Inputs::new().with(input(&network.program)?, split.train.inputs().as_slice().to_vec());
    let (loss, optimizer) = (args.rule.loss(n_outputs)?, args.rule.optimizer()?);
    // The mean over the batch.
    let rate = Rate::Constant(args.rule.learning_rate / args.batch as f64);
    let targets = vec![loss.targets(&split.train)?];
    let training = Training { loss: loss.loss(), targets, rate, order: Order::All, steps: args.steps };

    let cancel = Cancel::default();
    cancel.install_ctrl_c()?;
    let bar = output::progress(args.widths.len() * args.seeds as usize, "training");
    let values = watched(&network);
    let one = |seed: u64, n: usize| -> anyhow::Result<Vec<CoordinateSize>> {
        if cancel.is_cancelled() {
            return Err(Interrupted.into());
        }
        let trainer = Trainer::<T>::new(&network, &inputs, Options::new(n, seed))?;
        let mut trainer = trainer.with_optimizer(optimizer)?;
        let sizes = coordinate_sizes(&mut trainer, &training, &values)?;
        bar.inc(1);
        Ok(sizes)
    };
    let of_seed = |seed: u64| args.widths.iter().map(|&n| one(seed, n)).collect::<anyhow::Result<Vec<_>>>();
    let rows: Vec<Vec<Vec<CoordinateSize>>> = (0..args.seeds).map(of_seed).collect::<Result<_, _>>()?;
    bar.finish_and_clear();

    let exponents = exponents(&optimizer, &network);
    let lines = lines(args, &network, exponents.as_ref().ok(), &values, &rows)?;
    if let Some(path) = &args.figure {
        output::write_file(path, draw::standalone(&figure(args, &lines)).as_bytes())?;
    }
    print(args, &lines, exponents.as_ref().err())?;
    let failed = lines.iter().any(|line| line.verdict == "fails" || line.verdict == "grows");
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What the theory says of the network.
fn exponents(optimizer: &Optimizer, network: &Network) -> Result<NetworkExponents, NoExponents> {
    let rule = match optimizer.rule {
        Rule::Sgd { .. } => UpdateRule::GradientDescent,
        Rule::Adam { .. } => UpdateRule::Adam,
    };
    NetworkExponents::of(network, rule, optimizer.decay != Decay::None)
}

/// The sizes at the start, then the changes in the first step and in the last.
fn lines(
    args: &CoordcheckArgs,
    network: &Verified<Network>,
    exponents: Option<&NetworkExponents>,
    values: &[ValueId],
    rows: &[Vec<Vec<CoordinateSize>>],
) -> anyhow::Result<Vec<Line>> {
    let x: Vec<f64> = args.widths.iter().map(|&n| n as f64).collect();
    let mut steps = vec![0, 1, args.steps];
    steps.dedup();
    let mut lines = Vec::new();
    for step in steps {
        for (k, &value) in values.iter().enumerate() {
            let at = |sizes: &Vec<CoordinateSize>| match step {
                0 => sizes[k].size,
                step => sizes[k].changes[step - 1],
            };
            let samples: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().map(at).collect()).collect();
            let name = network.program.value(value).name.clone();
            let name = match step {
                0 => name,
                1 => format!("change of {name} in 1 step"),
                step => format!("change of {name} in {step} steps"),
            };
            // What does not move at all, such as a vector of frozen parameters, has no exponent.
            if samples.iter().flatten().any(|size| *size <= 0.0) {
                continue;
            }
            let curve = slope_over_seeds(&x, &samples, Average::RootMeanSquare)?;
            let exponent = exponents.and_then(|e| match step {
                0 => e.size(value),
                1 => e.change_in_first_step(value),
                _ => e.change(value),
            });
            let predicted = exponent.map(|e| 0.0 - power_to_f64(e));
            let slope = &curve.fit.slope;
            let verdict = match predicted {
                Some(predicted) => {
                    let evidence = p_equals(slope, predicted, args.margin)?;
                    match (evidence.p_value <= LEVEL, evidence.p_against <= LEVEL) {
                        (true, _) => "holds",
                        (_, true) => "fails",
                        _ => "undecided",
                    }
                }
                None if args.margin < slope.interval(1.0 - LEVEL)?.0 => "grows",
                None => "",
            };
            lines.push(Line { name, curve, predicted, verdict });
        }
    }
    Ok(lines)
}

fn figure(args: &CoordcheckArgs, lines: &[Line]) -> Figure {
    let series = |line: &Line| {
        let points = line.curve.points.iter().map(|p| (p.x, p.y));
        let intervals = line.curve.points.iter().map(|p| p.interval);
        Series::new(line.name.clone(), Style::Line, points).with_interval(intervals)
    };
    Figure {
        title: format!("Sizes over width: {}", args.architecture.name()),
        x: Axis::log("width n"),
        y: Axis::log("root mean square"),
        series: lines.iter().map(series).collect(),
        caption: format!("{} seeds, {} steps; bars are pointwise 95 % intervals.", args.seeds, args.steps),
    }
}

fn print(args: &CoordcheckArgs, lines: &[Line], unpredicted: Option<&NoExponents>) -> anyhow::Result<()> {
    if args.json {
        let line = |line: &Line| -> anyhow::Result<serde_json::Value> {
            let slope = &line.curve.fit.slope;
            Ok(json!({
                "quantity": line.name, "exponent": slope.value, "interval": slope.interval(1.0 - LEVEL)?,
                "predicted": line.predicted, "verdict": line.verdict,
                "sizes": line.curve.points.iter().map(|p| p.y).collect::<Vec<_>>(),
            }))
        };
        let lines: Vec<_> = lines.iter().map(line).collect::<anyhow::Result<_>>()?;
        return output::emit_json(&json!({
            "widths": args.widths, "seeds": args.seeds, "quantities": lines,
            "unpredicted": unpredicted.map(NoExponents::to_string),
        }));
    }
    let last = args.widths.iter().max().copied().unwrap_or_default();
    let head = format!("size at n = {last}");
    let mut table = output::table(&["root mean square of", &head, "exponent", "95 % interval", "predicted", "verdict"]);
    for line in lines {
        let slope = &line.curve.fit.slope;
        let (low, high) = slope.interval(1.0 - LEVEL)?;
        let at = line.curve.points.iter().find(|p| p.x == last as f64).map_or(f64::NAN, |p| p.y);
        table.add_row([
            line.name.clone(),
            format::number(at),
            format!("{:+.3}", slope.value),
            format!("{low:+.3} to {high:+.3}"),
            line.predicted.map_or_else(String::new, |p| format!("{p:+.2}")),
            line.verdict.to_owned(),
        ]);
    }
    let note = unpredicted.map_or_else(String::new, |reason| format!("{reason}\n"));
    output::emit(&format!("{table}\n{note}"))
}
