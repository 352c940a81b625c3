//! `netsor coordcheck`: how sizes of vectors and of their changes depend on the width.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use netsor_finite::{CoordinateSize, Inputs, Options, Order, Rate, Trainer, Training, coordinate_sizes, watched};
use netsor_ir::abc::MlpExponents;
use netsor_ir::number::power_to_f64;
use netsor_ir::verify::Verified;
use netsor_ir::{Network, ValueId};
use netsor_lab::stats::{Average, Curve, p_equals, slope_over_seeds};
use netsor_lab::{Axis, Cancel, Figure, Interrupted, LEVEL, Series, Style, draw, format};
use serde_json::json;

use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs, input};
use crate::training::RuleArgs;

const AFTER: &str = "\
Examples:
  netsor coordcheck --on digits --parametrization mup --activation tanh
  netsor coordcheck --on digits --parametrization sp --widths 64,128,256,512 --figure sp.svg
  netsor coordcheck --on digits --parametrization mup-adam --optimizer adam --learning-rate 0.01

A size is a root mean square over coordinates, points and seeds; an exponent is the slope of its logarithm in that of the
width. Perceptrons without biases under sgd have predicted exponents, which hold or fail up to the margin; of other
networks a vector fails that grows with the width. The exit code is 1 if anything fails.";

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
    if args.widths.len() < 2 || args.seeds < 2 || args.steps == 0 {
        bail!("a slope needs two widths, two seeds and a step at least");
    }
    let split = args.dataset.split(Some(args.batch), None)?;
    let (features, n_outputs) = (split.train.n_features(), split.train.n_outputs());
    let network = args.rule.network(&*args.architecture.network(features, n_outputs, args.batch)?)?;
    let inputs = Inputs::new().with(input(&network.program)?, split.train.inputs().as_slice().to_vec());
    let loss = args.rule.loss(n_outputs)?;
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
        let trainer = Trainer::<f64>::new(&network, &inputs, Options::new(n, seed))?;
        let mut trainer = trainer.with_optimizer(args.rule.optimizer())?;
        let sizes = coordinate_sizes(&mut trainer, &training, &values)?;
        bar.inc(1);
        Ok(sizes)
    };
    let of_seed = |seed: u64| args.widths.iter().map(|&n| one(seed, n)).collect::<anyhow::Result<Vec<_>>>();
    let rows: Vec<Vec<Vec<CoordinateSize>>> = (0..args.seeds).map(of_seed).collect::<Result<_, _>>()?;
    bar.finish_and_clear();

    let lines = lines(args, &network, &values, &rows)?;
    if let Some(path) = &args.figure {
        output::write_file(path, draw::standalone(&figure(args, &lines)).as_bytes())?;
    }
    print(args, &lines)?;
    let failed = lines.iter().any(|line| line.verdict == "fails" || line.verdict == "grows");
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The sizes at the start, then the changes in the first step and in the last.
fn lines(
    args: &CoordcheckArgs,
    network: &Verified<Network>,
    values: &[ValueId],
    rows: &[Vec<Vec<CoordinateSize>>],
) -> anyhow::Result<Vec<Line>> {
    let x: Vec<f64> = args.widths.iter().map(|&n| n as f64).collect();
    let sgd = matches!(args.rule.optimizer().rule, netsor_finite::Rule::Sgd { .. });
    let exponents = MlpExponents::of_network(network).filter(|(e, _)| sgd && e.initialised_well());
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
            let predicted = exponents.as_ref().and_then(|(e, layers)| {
                let layer = layers.iter().find(|(id, _)| *id == value)?.1;
                Some(0.0 - power_to_f64(prediction(e, layer, step)))
            });
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

/// The exponent `e` of a size `n^-e` of a perceptron: of a vector of layer `layer`, at the start or after steps.
fn prediction(e: &MlpExponents, layer: usize, step: usize) -> netsor_ir::Power {
    let hidden = e.r_by_layer.len();
    match (layer <= hidden, step) {
        (true, 0) => netsor_ir::Power::from_integer(0),
        (true, 1) => e.change_in_first_step()[layer - 1],
        (true, _) => e.change()[layer - 1],
        (false, 0) => e.output_size(),
        (false, 1) => e.output_change_in_first_step(),
        (false, _) => e.output_change(),
    }
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

fn print(args: &CoordcheckArgs, lines: &[Line]) -> anyhow::Result<()> {
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
        return output::emit_json(&json!({ "widths": args.widths, "seeds": args.seeds, "quantities": lines }));
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
    output::emit(&format!("{table}\n"))
}
