//! `netsor tune`: hyper-parameters of an infinitely wide network by its marginal likelihood.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use clap::Args;
use netsor_data::{Dataset, Matrix, Split};
use netsor_ir::expr::Expr;
use netsor_ir::number::{Number, from_f64, to_f64};
use netsor_ir::syntax::print_network;
use netsor_ir::transform::{HyperParameter, tunable, tuned};
use netsor_ir::{Instr, Kind, Network, ValueId};
use netsor_kernel::{Inputs, Options, Plan, TunableKernel, Which};
use netsor_lab::format;
use netsor_predict::{
    DiagReg, GaussianProcess, Mat, MatRef, Minimum, PredictError, Search, mean_squared_error, minimise, row_major,
};
use serde::Serialize;
use serde_json::json;

use crate::matrices::Kind as KernelKind;
use crate::output;
use crate::task::{ArchitectureArgs, DatasetArgs, input};

const AFTER: &str = "\
Hyper-parameters (--by), one or several:
  weights         one factor for the standard deviations of all matrices
  biases          one factor for those of all initial vectors that are parameters
  NAME            a factor for the standard deviation of the parameter NAME
  rate:NAME       a factor for its learning rate (ntk only)
  NAME=START      the number of `data NAME` in the network's text, from START

Factors are 1 for the network as it is given. The variance of the noise is tuned with them, unless it is held fixed.

Examples:
  netsor tune --on diabetes --activation relu --b-std 0.5 --n-train 150
  netsor tune --on diabetes --activation relu --by W@1,W@2,v --noise 0.5 --json
  netsor tune examples/mlp.netsor --on points.csv --regression --kind ntk --by weights,rate:v --out tuned.netsor";

/// Choose variances, learning rates and noise by the marginal likelihood of Gaussian-process regression
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct TuneArgs {
    #[command(flatten)]
    architecture: ArchitectureArgs,
    #[command(flatten)]
    dataset: DatasetArgs,
    /// The kernel of the process
    #[arg(long, default_value = "nngp")]
    kind: KernelKind,
    /// Hyper-parameters; all weights, and all biases if there are any, by default
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    by: Vec<String>,
    /// Variance of the noise at the start; targets have variance 1
    #[arg(long, value_name = "VARIANCE", default_value_t = 0.1)]
    noise: f64,
    /// Leave the variance of the noise as it is
    #[arg(long)]
    fixed_noise: bool,
    /// Training points; four fifths by default
    #[arg(long, value_name = "POINTS")]
    n_train: Option<usize>,
    /// Test points, for the error before and after; the rest by default
    #[arg(long, value_name = "POINTS")]
    n_test: Option<usize>,
    /// The most steps of the search
    #[arg(long, value_name = "STEPS", default_value_t = 50)]
    steps: usize,
    /// Write the network with the numbers that were found (not numbers of `data`)
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// One number that is tuned.
struct Knob {
    name: String,
    start: f64,
    /// Whether it is positive, and searched for by its logarithm.
    positive: bool,
}

impl Knob {
    fn factor(name: &str) -> Self {
        Self { name: name.to_owned(), start: 1.0, positive: true }
    }

    fn coordinate(&self) -> f64 {
        if self.positive { self.start.ln() } else { self.start }
    }

    fn number(&self, coordinate: f64) -> f64 {
        if self.positive { coordinate.exp() } else { coordinate }
    }

    /// `d number / d coordinate`
    fn slope(&self, number: f64) -> f64 {
        if self.positive { number } else { 1.0 }
    }
}

/// What is tuned: factors of the network, then numbers of its text.
pub(crate) struct Request {
    hyper: Vec<HyperParameter>,
    data: Vec<ValueId>,
    knobs: Vec<Knob>,
}

impl Request {
    /// Reads the names of `--by`.
    pub(crate) fn new(network: &Network, by: &[String]) -> anyhow::Result<Self> {
        let program = &network.program;
        let parameter = |name: &str| {
            let names: Vec<&str> = network.parameters.iter().map(|p| &*program.value(p.value).name).collect();
            let found = network.parameters.iter().find(|p| program.value(p.value).name == name);
            found.ok_or_else(|| {
                anyhow!("--by {name}: expected weights, biases, rate:NAME, NAME=START or one of {}", names.join(", "))
            })
        };
        let mut request = Self { hyper: Vec::new(), data: Vec::new(), knobs: Vec::new() };
        let defaults = [HyperParameter::weights(network), HyperParameter::biases(network)];
        if by.is_empty() {
            request.hyper.extend(defaults.into_iter().filter(|h| !h.acts.is_empty()));
            request.knobs.extend(request.hyper.iter().map(|h| Knob::factor(&h.name)));
            return Ok(request);
        }
        let mut numbers = Vec::new();
        for text in by {
            if let Some((name, start)) = text.split_once('=') {
                let scalar = |&id: &ValueId| {
                    let value = program.value(id);
                    matches!(value.instr, Instr::Data) && value.ty.kind == Kind::Scalar && value.ty.family.is_empty()
                };
                let Some(data) = program.find(name).filter(scalar) else {
                    bail!("--by {text}: the network has no single number `data {name}`");
                };
                let start = start.parse().ok().filter(|x: &f64| x.is_finite());
                let start = start.ok_or_else(|| anyhow!("--by {text}: expected a number after `=`"))?;
                request.data.push(data);
                numbers.push(Knob { name: name.to_owned(), start, positive: false });
                continue;
            }
            let hyper = match (text.as_str(), text.strip_prefix("rate:")) {
                ("weights", _) => HyperParameter::weights(network),
                ("biases", _) => HyperParameter::biases(network),
                (_, Some(name)) => HyperParameter::rate(network, parameter(name)?),
                (name, None) => HyperParameter::std(network, parameter(name)?),
            };
            request.knobs.push(Knob::factor(text));
            request.hyper.push(hyper);
        }
        request.knobs.extend(numbers);
        Ok(request)
    }

    /// Where the search starts: 1 for factors.
    pub(crate) fn start(&self) -> Vec<f64> {
        self.knobs.iter().map(|knob| knob.start).collect()
    }

    /// The kernel as a function of these numbers, and the data value that its inputs are given for.
    ///
    /// # Errors
    /// If a learning rate is asked for and the kernel has none.
    pub(crate) fn kernel(&self, network: &Network, kind: KernelKind) -> anyhow::Result<(TunableKernel, ValueId)> {
        if let (KernelKind::Nngp, Some(knob)) = (kind, self.knobs.iter().find(|k| k.name.starts_with("rate:"))) {
            bail!("{}: the NNGP kernel knows no learning rates; add --kind ntk", knob.name);
        }
        let tunable = tunable(network, &self.hyper)?;
        let kernels = tunable.kernels()?;
        let which = match kind {
            KernelKind::Ntk => Which::Ntk,
            KernelKind::Nngp => Which::Nngp,
        };
        let data = self.data.iter().map(|d| tunable.image[d.index()]);
        let by: Vec<ValueId> = tunable.factors.iter().copied().chain(data).collect();
        Ok((TunableKernel::new(&kernels, which, &by)?, tunable.image[input(&network.program)?.index()]))
    }
}

/// Kernels over the data set as functions of the hyper-parameters.
struct Task<'a> {
    kernel: TunableKernel,
    input: ValueId,
    split: &'a Split,
}

impl Task<'_> {
    fn matrices(&self, plan: &Plan, rows: &Matrix, cols: Option<&Matrix>) -> anyhow::Result<Vec<Mat<f64>>> {
        let inputs = |points: &'_ Matrix| Inputs::new(points.n_rows()).with(self.input, points.as_slice().to_vec());
        let columns = cols.map(inputs);
        let result = plan.run(&inputs(rows), columns.as_ref(), &Options::default())?;
        let n = result.cols;
        Ok(result.values.iter().map(|v| Mat::from_fn(result.rows, n, |i, j| v[i * n + j])).collect())
    }

    /// The mean squared error on the test points.
    fn test_error(&self, at: &[f64], noise: f64, y: MatRef<'_, f64>) -> anyhow::Result<f64> {
        let plan = self.kernel.plan_of_value(at)?;
        let (train, test) = (self.split.train.inputs(), self.split.test.inputs());
        let process =
            GaussianProcess::fit(self.matrices(&plan, train, None)?[0].as_ref(), y, DiagReg::Absolute(noise))?;
        let f = process.mean(self.matrices(&plan, test, Some(train))?[0].as_ref())?;
        Ok(mean_squared_error(f.as_ref(), targets(&self.split.test)?)?)
    }
}

fn targets(set: &Dataset) -> Result<MatRef<'_, f64>, PredictError> {
    row_major("targets", set.targets().as_slice(), set.n_points(), set.n_outputs())
}

/// A number before and after.
#[derive(Serialize)]
struct Change {
    start: f64,
    tuned: f64,
}

/// Searches and reports.
pub(crate) fn run(args: &TuneArgs) -> anyhow::Result<ExitCode> {
    if !(0.0 < args.noise && args.noise.is_finite()) {
        bail!("--noise {}: expected a positive number", args.noise);
    }
    let split = args.dataset.split(args.n_train, args.n_test)?;
    let network = args.architecture.network(split.train.n_features(), 1, 1)?;
    let request = Request::new(&network, &args.by)?;
    let (kernel, input) = request.kernel(&network, args.kind)?;
    let task = Task { kernel, input, split: &split };

    let mut knobs = request.knobs;
    let n_kernel = knobs.len();
    if !args.fixed_noise {
        knobs.push(Knob { name: "noise".to_owned(), start: args.noise, positive: true });
    }
    let start: Vec<f64> = knobs.iter().map(Knob::coordinate).collect();
    let numbers = |at: &[f64]| -> Vec<f64> { knobs.iter().zip(at).map(|(knob, &u)| knob.number(u)).collect() };
    let noise_of = |numbers: &[f64]| numbers.get(n_kernel).copied().unwrap_or(args.noise);
    let y = targets(&split.train)?;
    let scale = (split.train.n_points() * split.train.n_outputs()) as f64;
    // The negative log likelihood a target, in the coordinates.
    let objective = |at: &[f64]| -> anyhow::Result<Option<(f64, Vec<f64>)>> {
        let numbers = numbers(at);
        let plan = task.kernel.plan(&numbers[..n_kernel])?;
        let matrices = task.matrices(&plan, split.train.inputs(), None)?;
        let noise = DiagReg::Absolute(noise_of(&numbers));
        let process = match GaussianProcess::fit(matrices[0].as_ref(), y, noise) {
            Err(PredictError::NotPositiveDefinite { .. }) => return Ok(None),
            process => process?,
        };
        let changes: Vec<MatRef<'_, f64>> = matrices[1..].iter().map(Mat::as_ref).collect();
        let (mut gradient, by_noise) = process.likelihood_gradient(&changes)?;
        gradient.push(by_noise);
        let gradient = gradient.iter().zip(&knobs).zip(&numbers).map(|((g, knob), &x)| -g * knob.slope(x) / scale);
        Ok(Some((-process.log_marginal_likelihood() / scale, gradient.collect())))
    };
    let bar = output::progress(args.steps, "log likelihood");
    let mut history = Vec::new();
    let search = Search { iterations: args.steps, ..Search::default() };
    let found = minimise(&start, &search, objective, |step, _, value| {
        history.push(-value);
        bar.set_position(step as u64);
    })?;
    bar.finish_and_clear();
    let Some(found) = found else {
        bail!("the likelihood does not exist at the start: the kernel matrix is singular; raise --noise");
    };

    let tuned_numbers = numbers(&found.at);
    let start_numbers = numbers(&start);
    let error = |numbers: &[f64]| task.test_error(&numbers[..n_kernel], noise_of(numbers), y);
    let errors = Change { start: error(&start_numbers)?, tuned: error(&tuned_numbers)? };
    let likelihood = Change { start: history[0], tuned: -found.value };
    if let Some(path) = &args.out {
        let n = request.hyper.len();
        let exact = tuned_numbers[..n].iter().map(|&x| from_f64(x)).collect::<Option<Vec<_>>>();
        let exact = exact.ok_or_else(|| anyhow!("a factor is not finite"))?;
        let mut network = tuned(&network, &request.hyper, &exact)?;
        shorten(&mut network, &request.hyper);
        output::write_file(path, print_network(&network).as_bytes())?;
    }
    let report = Report { knobs: &knobs, start: &start_numbers, tuned: &tuned_numbers, likelihood, errors, found };
    report.emit(args, &split, &history)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes what was tuned as the shortest decimals that are the same floating-point numbers: a variance is a product of
/// squares, exact to forty digits that mean nothing.
fn shorten(network: &mut Network, hyper: &[HyperParameter]) {
    let short = |number: &Number| from_f64(to_f64(number)).unwrap_or_else(|| number.clone());
    for &(value, _) in hyper.iter().flat_map(|h| &h.acts) {
        for parameter in network.parameters.iter_mut().filter(|p| p.value == value) {
            parameter.multiplier_squared = short(&parameter.multiplier_squared);
        }
        let program = &mut network.program;
        match &mut program.values[value.index()].instr {
            Instr::Matrix { variance } => variance.coefficient = short(&variance.coefficient),
            Instr::Gaussian(law) => {
                let (number, rest) = match program.exprs.node(law.covariance) {
                    Expr::Const(number) => (number.clone(), None),
                    _ => {
                        let (number, rest) = program.exprs.constant_factor(law.covariance);
                        (number, Some(rest))
                    }
                };
                let number = program.exprs.constant(short(&number));
                law.covariance = rest.map_or(number, |rest| program.exprs.mul(number, rest));
            }
            _ => {}
        }
    }
}

struct Report<'a> {
    knobs: &'a [Knob],
    start: &'a [f64],
    tuned: &'a [f64],
    likelihood: Change,
    errors: Change,
    found: Minimum,
}

impl Report<'_> {
    fn emit(&self, args: &TuneArgs, split: &Split, history: &[f64]) -> anyhow::Result<()> {
        let Self { knobs, start, tuned, likelihood, errors, found } = self;
        let name = args.architecture.name();
        let kind = format!("{:?}", args.kind).to_lowercase();
        if args.json {
            let change = |k: usize| Change { start: start[k], tuned: tuned[k] };
            let hyper: BTreeMap<&str, Change> = knobs.iter().enumerate().map(|(k, n)| (&*n.name, change(k))).collect();
            return output::emit_json(&json!({
                "network": name, "kind": kind, "data": split.train.name(), "train": split.train.n_points(),
                "test": split.test.n_points(), "hyper_parameters": hyper, "log_likelihood": likelihood,
                "test_error": errors, "history": history, "steps": found.iterations, "evaluations": found.evaluations,
                "converged": found.converged, "file": args.out,
            }));
        }
        let mut rows = output::table(&["", "start", "tuned"]);
        for (k, knob) in knobs.iter().enumerate() {
            rows.add_row([knob.name.clone(), format::number(start[k]), format::number(tuned[k])]);
        }
        for (what, change) in [("log likelihood a target", likelihood), ("test error", errors)] {
            rows.add_row([what.to_owned(), format::number(change.start), format::number(change.tuned)]);
        }
        let end = if found.converged { "converged" } else { "not converged" };
        let file = args.out.as_ref().map_or_else(String::new, |path| format!("written to {}\n", path.display()));
        output::emit(&format!(
            "{kind} of {name} on {}: {} training points, {} test points\n{rows}\n{end} after {} steps, {} evaluations\n{file}",
            split.train.name(),
            split.train.n_points(),
            split.test.n_points(),
            found.iterations,
            found.evaluations
        ))
    }
}
