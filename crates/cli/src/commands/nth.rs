//! `netsor nth`: the neural tangent hierarchy of a network at finite width, and its limit.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;
use netsor_finite::Inputs;
use netsor_ir::program::ValueId;
use netsor_ir::syntax::Item;
use netsor_ir::verify::verify_network;
use netsor_lab::{Axis, Figure, Series, Style, draw, format};
use netsor_limit::Data;
use netsor_nth::{
    Integration, KernelOptions, LimitKernels, NetworkPath, NthError, Truncated, TruncatedPath, WidthCorrection,
    gradient_flow, hierarchy, kernels_at, limit_hierarchy, parallel_points, width_correction,
};
use netsor_num::ode::{OdeError, OdeOptions};
use serde_json::{Value, json};

use crate::output;
use crate::source::SourceArgs;
use crate::values::DataArgs;

const AFTER: &str = "\
Examples:
  netsor nth examples/mlp.netsor --data 'xi=[[1,0,0],[0,1,0],[0,0,1],[1,1,0]]' --targets 1,-1,0 --width 128
  netsor nth examples/mlp.netsor --data xi=points.csv --targets 1,-1,0,1 --order 3 --time 0.25,0.5,1 --json
  netsor nth examples/mlp.netsor --data xi=points.csv --targets 1,-1 --time 1,2,4 --figure paths.svg
  netsor nth examples/mlp.netsor --data xi=points.csv --targets 1,-1 --order 4 --time 4 --error-figure errors.svg
  netsor nth examples/mlp.netsor --data xi=points.csv --targets 1,-1 --limit
  netsor nth examples/architectures/residual_mlp.netsor --data xi=points.csv --targets 1,-1 --limit --cloud 4096
  netsor nth network.toml --data xi=points.csv --targets 1,-1 --order 4 --memory 16

The first inputs of the batch are training points, as many as there are targets; the rest are test points.
With --limit the limits of n K^(4) and of n E K^(3) f follow from the program, and with them what the width adds to the
mean prediction of the limiting kernel because the kernel moves: a number divided by the width.";

/// Points of a trajectory in a figure.
const FRAMES: usize = 64;

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
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=6))]
    order: u8,
    /// The width n
    #[arg(long, default_value_t = 256)]
    width: usize,
    /// The seed of the weights
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Times at which the outputs are compared
    #[arg(
        long = "time",
        value_name = "T,...",
        value_delimiter = ',',
        default_value = "0.5,1,2",
        allow_negative_numbers = true
    )]
    times: Vec<f64>,
    /// Draw the trajectories of the outputs, predicted and true, into an SVG file
    #[arg(long, value_name = "FILE")]
    figure: Option<PathBuf>,
    /// Draw the errors of the truncations over time into an SVG file
    #[arg(long, value_name = "FILE")]
    error_figure: Option<PathBuf>,
    /// Add the kernel at infinite width and the leading effect of the width on its mean prediction
    #[arg(long)]
    limit: bool,
    /// The error allowed to the Gaussian expectations of the limit
    #[arg(long, default_value_t = 1e-5, requires = "limit")]
    tolerance: f64,
    /// Take the expectations of the limit over about so many randomised points instead: for convolutions and attention
    #[arg(long, value_name = "POINTS", requires = "limit", conflicts_with = "tolerance")]
    cloud: Option<usize>,
    /// Refuse to start if more gigabytes than this would be needed
    #[arg(long, value_name = "GB", default_value_t = 4.0)]
    memory: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Computes the kernels at initialisation, solves the truncated systems and the network's own flow, and compares.
pub(crate) fn run(args: &NthArgs) -> anyhow::Result<ExitCode> {
    if let Some(t) = args.times.iter().find(|t| !(0.0..f64::INFINITY).contains(*t)) {
        bail!("--time {t}: expected a finite time of at least 0");
    }
    if let Some(y) = args.targets.iter().find(|y| !y.is_finite()) {
        bail!("--targets {y}: expected finite numbers");
    }
    let Item::Network(network) = args.source.one_item()? else {
        bail!("the hierarchy is that of a network; this file has a program");
    };
    let network = verify_network(network)?;
    let numbers = args.data.read_all(&network.program)?;
    let mut inputs = Inputs::new();
    numbers.iter().for_each(|(value, numbers)| inputs.set(*value, numbers.clone()));
    let order = usize::from(args.order);
    let hierarchy = hierarchy(&network, order)?;
    let points = hierarchy.n_points();
    let train = args.targets.len();
    if points < train {
        bail!("{train} targets for a batch of {points} inputs");
    }
    warn_of_parallel(&numbers, points);
    if !(0.0 < args.memory && args.memory.is_finite()) {
        bail!("--memory must be a positive number of gigabytes, not {}", args.memory);
    }
    let options = KernelOptions {
        memory_limit: (args.memory * 1e9) as u128,
        ..KernelOptions::new(args.width, args.seed).with_train(train)
    };
    let steps = output::progress(order + 1, "solving");
    let kernels = kernels_at(&hierarchy, &inputs, &options).map_err(|error| match error {
        NthError::Memory { .. } => anyhow!("{error}; --memory sets the limit, in gigabytes"),
        error => error.into(),
    })?;
    steps.inc(1);
    let ode = OdeOptions::default();
    let times = all_times(args);
    let truth = gradient_flow(&network, &inputs, &args.targets, &times, &options, &ode).map_err(|error| match error {
        NthError::Ode(OdeError::Stiff { t }) => anyhow!(
            "the flow of the network itself is stiff from time {t:.4e} on: modes that are learned by then still limit the \
             steps; take a --time before that"
        ),
        error => anyhow!("the flow of the network itself, which truncations are compared with: {error}"),
    })?;
    steps.inc(1);
    let mut paths = Vec::new();
    for p in 2..=order {
        paths.push((p, Truncated::new(&kernels, &args.targets, p)?.solve(&times, &ode)?));
        steps.inc(1);
    }
    steps.finish_and_clear();
    let sizes = (2..=order).map(|r| Ok((r, kernels.of_order(r)?.norm_max()))).collect::<Result<_, NthError>>()?;
    let limit = if args.limit { Some(limit_of(&network, &numbers, args, &ode)?) } else { None };
    let result =
        Compared { name: network.program.name.clone(), points, times, truth, paths, sizes, limit, f: kernels.f };
    for (file, figure) in [(&args.figure, result.figure(args)), (&args.error_figure, result.error_figure(args))] {
        if let Some(file) = file {
            output::write_file(file, draw::standalone(&figure).as_bytes())?;
        }
    }
    if args.json {
        output::emit_json(&result.json(args)?)?;
    } else {
        output::emit(&result.text(args)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Assumption 2.2 of the paper; a network with biases may still separate parallel inputs.
fn warn_of_parallel(numbers: &[(ValueId, Vec<f64>)], points: usize) {
    for (_, numbers) in numbers {
        if numbers.is_empty() || !numbers.len().is_multiple_of(points) {
            continue;
        }
        let inputs: Vec<Vec<f64>> = numbers.chunks(numbers.len() / points).map(<[f64]>::to_vec).collect();
        if inputs[0].len() < 2 {
            continue;
        }
        for (a, b) in parallel_points(&inputs) {
            let what = if a == b { format!("input {a} is zero") } else { format!("inputs {a} and {b} are parallel") };
            eprintln!(
                "warning: {what}, which the theorems exclude (Huang and Yau 2020, Assumption 2.2): unless biases tell \
                 such inputs apart, the kernel is singular there and no time window is open"
            );
        }
    }
}

/// The times asked for, in ascending order, and with a figure those of its frames.
fn all_times(args: &NthArgs) -> Vec<f64> {
    let mut times = args.times.clone();
    let end = times.iter().copied().filter(|t| t.is_finite()).fold(0.0, f64::max);
    if args.figure.is_some() {
        times.extend((0..=FRAMES).map(|k| end * k as f64 / FRAMES as f64));
    }
    if args.error_figure.is_some() {
        // Two decades, for an axis of logarithms.
        times.extend((0..=FRAMES).map(|k| end * 10f64.powf(-2.0 * k as f64 / FRAMES as f64)));
    }
    times.sort_by(f64::total_cmp);
    times.dedup();
    times
}

fn limit_of(
    network: &netsor_ir::verify::Verified<netsor_ir::Network>,
    numbers: &[(ValueId, Vec<f64>)],
    args: &NthArgs,
    ode: &OdeOptions,
) -> anyhow::Result<(LimitKernels, WidthCorrection)> {
    let data = numbers.iter().fold(Data::new(), |data, (value, numbers)| data.with(*value, numbers.clone()));
    let integration = match args.cloud {
        Some(points) => Integration::Sampled { points, seed: args.seed },
        None => Integration::with_tolerance(args.tolerance),
    };
    let limits = limit_hierarchy(network, 4)?;
    let train = Some(args.targets.len());
    let bar = output::progress(limits.n_entries(train)?, "limits");
    let limits = limits.evaluate_with(&data, train, &integration, &|| bar.inc(1))?;
    bar.finish_and_clear();
    let correction = width_correction(&limits, &args.targets, &args.times, ode)?;
    Ok((limits, correction))
}

/// A truncation in a legend, which has no mathematics.
fn frozen(p: usize) -> String {
    let digit = ["⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹"][p % 10];
    format!("K⁽{digit}⁾ frozen")
}

/// Everything that is shown.
struct Compared {
    name: String,
    points: usize,
    /// Times of the paths.
    times: Vec<f64>,
    truth: NetworkPath,
    paths: Vec<(usize, TruncatedPath)>,
    sizes: Vec<(usize, f64)>,
    limit: Option<(LimitKernels, WidthCorrection)>,
    /// The output at initialisation.
    f: Vec<f64>,
}

impl Compared {
    /// The largest distance of a truncation from the network, over the points, at the time number `k`.
    fn error(&self, path: &TruncatedPath, k: usize) -> f64 {
        self.truth.f[k].iter().zip(&path.f[k]).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    }

    /// The place of a time asked for among those of the paths.
    fn place(&self, time: f64) -> anyhow::Result<usize> {
        self.times.iter().position(|&t| t == time).ok_or_else(|| anyhow!("the flow has no time {time}"))
    }

    fn json(&self, args: &NthArgs) -> anyhow::Result<Value> {
        let places = args.times.iter().map(|&t| self.place(t)).collect::<anyhow::Result<Vec<_>>>()?;
        let at = |f: &[Vec<f64>]| -> Vec<Vec<f64>> { places.iter().map(|&k| f[k].clone()).collect() };
        let paths: Vec<_> =
            self.paths.iter().map(|(p, path)| json!({ "order": p, "f": at(&path.f), "stiff": path.stiff })).collect();
        let mut value = json!({
            "width": args.width, "seed": args.seed, "times": args.times, "train": args.targets.len(),
            "points": self.points, "f_at_start": self.f,
            "largest_entries": self.sizes.iter().map(|(r, size)| json!({ "order": r, "size": size })).collect::<Vec<_>>(),
            "network": at(&self.truth.f), "truncated": paths,
        });
        if let Some((limits, correction)) = &self.limit {
            value["limit"] = json!({
                "error": limits.error,
                "kernel": limits.of_order(2)?.packed(),
                "n_fourth_kernel": limits.of_order(4)?.packed(),
                "n_mean_third_kernel_times_output": limits.with_output.as_ref().map(|k| k.packed()),
                "mean": correction.f,
                "n_shift": correction.shift,
                "n_kernel_shift": correction.kernel_shift.iter().map(|k| k.packed()).collect::<Vec<_>>(),
            });
        }
        Ok(value)
    }

    fn text(&self, args: &NthArgs) -> anyhow::Result<String> {
        let (train, points) = (args.targets.len(), self.points);
        let mut text = format!("{} of width {}, {train} training points of {points}\n", self.name, args.width);
        for (r, size) in &self.sizes {
            text.push_str(&format!("largest entry of K^({r}) at initialisation: {}\n", format::number(*size)));
        }
        let heads: Vec<String> =
            ["time".to_owned()].into_iter().chain(self.paths.iter().map(|(p, _)| format!("K^({p}) frozen"))).collect();
        text.push_str("largest distance of the outputs from those of the network:\n");
        let mut table = output::table(&heads.iter().map(String::as_str).collect::<Vec<_>>());
        for &time in &args.times {
            let k = self.place(time)?;
            let errors = self.paths.iter().map(|(_, path)| format::number(self.error(path, k)));
            table.add_row([format::number(time)].into_iter().chain(errors).collect::<Vec<_>>());
        }
        text.push_str(&format!("{table}\n"));
        for (p, _) in self.paths.iter().filter(|(_, path)| path.stiff) {
            text.push_str(&format!("truncated at p = {p} the system is stiff: solved by an implicit method\n"));
        }
        if let Some((limits, correction)) = &self.limit {
            text.push_str(&format!(
                "\ninfinite width: largest entry of K^(2) {}, of n K^(4) {}; error of an entry at most {}\n\
                 mean of f at infinite width, plus or minus what the movement of the kernel adds at width {}:\n",
                format::number(limits.of_order(2)?.norm_max()),
                format::number(limits.of_order(4)?.norm_max()),
                format::number(limits.error),
                args.width
            ));
            let heads: Vec<String> =
                ["time".to_owned()].into_iter().chain((0..points).map(|a| format!("f[{a}]"))).collect();
            let mut table = output::table(&heads.iter().map(String::as_str).collect::<Vec<_>>());
            for (k, &time) in args.times.iter().enumerate() {
                // What is below the error of the limits is rounding.
                let known = |x: f64| if x.abs() < limits.error { 0.0 } else { x };
                let cell = |a: usize| {
                    let shift = known(correction.shift[k][a]) / args.width as f64;
                    let sign = if shift < 0.0 { "−" } else { "+" };
                    format!("{} {sign} {}", format::number(known(correction.f[k][a])), format::number(shift.abs()))
                };
                table.add_row([format::number(time)].into_iter().chain((0..points).map(cell)).collect::<Vec<_>>());
            }
            text.push_str(&format!(
                "{table}\nThe second number is the mean over initialisations of the network less the same network with \
                 its kernel fixed, to order 1/n.\nA single network differs from the mean by its f at initialisation and \
                 by its own kernel, which are larger.\n"
            ));
        }
        Ok(text)
    }

    /// The errors of the truncations over time.
    fn error_figure(&self, args: &NthArgs) -> Figure {
        let curve = |path: &TruncatedPath| -> Vec<(f64, f64)> {
            self.times
                .iter()
                .enumerate()
                .map(|(k, &t)| (t, self.error(path, k)))
                .filter(|p| 0.0 < p.0 && 0.0 < p.1)
                .collect()
        };
        let series = self.paths.iter().map(|(p, path)| Series::new(frozen(*p), Style::Line, curve(path)));
        Figure {
            title: format!("{}, width {}", self.name, args.width),
            x: Axis::log("time"),
            y: Axis::log("distance from the network"),
            series: series.collect(),
            caption: "Largest distance of an output from that of the network; with K^(p) frozen it begins like t^p."
                .into(),
        }
    }

    /// The outputs on all points over time: the network, and each truncation.
    fn figure(&self, args: &NthArgs) -> Figure {
        let curve = |f: &[Vec<f64>], a: usize| -> Vec<(f64, f64)> {
            self.times.iter().zip(f).map(|(&t, f)| (t, f[a])).collect()
        };
        let mut series = Vec::new();
        let named = |first: bool, name: String| if first { name } else { String::new() };
        for (p, path) in &self.paths {
            for a in 0..self.points {
                let name = named(a == 0, frozen(*p));
                series.push(Series::new(name, Style::Line, curve(&path.f, a)));
            }
        }
        for a in 0..self.points {
            series.push(Series::new(named(a == 0, "network".to_owned()), Style::Dashed, curve(&self.truth.f, a)));
        }
        Figure {
            title: format!("{}, width {}", self.name, args.width),
            x: Axis::linear("time"),
            y: Axis::linear("output"),
            series,
            caption: format!(
                "One curve for each of {} points under gradient flow, the first {} of them training points; each \
                 truncation begins at the network's own output and kernels.",
                self.points,
                args.targets.len()
            ),
        }
    }
}
