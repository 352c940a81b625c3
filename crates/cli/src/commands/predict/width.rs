//! Error bars of a finite width: what networks of the width predict, without training any.

use anyhow::bail;
use netsor_data::Split;
use netsor_finite::Inputs;
use netsor_lab::format;
use netsor_limit::Data;
use netsor_nth::{Integration, KernelOptions, WidthPrediction, limit_hierarchy, predict_at_width};
use netsor_num::ode::OdeOptions;
use serde_json::{Value, json};

use crate::output;
use crate::task::{ArchitectureArgs, input};

/// Points of the cloud over which expectations are taken: an error of about a hundredth of a bar.
const CLOUD: usize = 1024;
/// What is asked of a width.
pub(super) struct Asked<'a> {
    pub(super) width: usize,
    pub(super) draws: u64,
    pub(super) seed: u64,
    /// The most entries of the limits of `n K^(4)` and `n E K^(3) f_0`.
    pub(super) entries: usize,
    pub(super) times: &'a [f64],
}

/// The predictions on the test points of a split.
pub(super) struct Bars {
    found: WidthPrediction,
    times: Vec<f64>,
    draws: u64,
    /// Components of an output.
    components: usize,
    n_train: usize,
    targets: Vec<f64>,
    error: f64,
}

impl Bars {
    pub(super) fn new(architecture: &ArchitectureArgs, split: &Split, asked: &Asked<'_>) -> anyhow::Result<Self> {
        let (n, m) = (split.train.n_points(), split.test.n_points());
        let components = split.train.n_outputs();
        let network = architecture.network(split.train.n_features(), components, n + m)?;
        let limits = limit_hierarchy(&network, 4)?;
        let entries = limits.n_entries(Some(n))?;
        if asked.entries < entries {
            bail!(
                "--width on {n} training and {m} test points with {components} outputs needs {entries} entries of \
                 kernels of fourth order, {} at most are computed; raise --entries (a hidden layer takes some 0.3 ms an \
                 entry, every further one about twice that), or lower --n-train and --n-test: the number grows with \
                 the fourth power of points times outputs",
                asked.entries
            );
        }
        let data = input(&network.program)?;
        let numbers = [split.train.inputs().as_slice(), split.test.inputs().as_slice()].concat();
        let bar = output::progress(entries, "limit of n K4");
        let integration = Integration::Sampled { points: CLOUD, seed: asked.seed };
        let on = Data::new().with(data, numbers.clone());
        let limits = limits.evaluate_with(&on, Some(n), &integration, &|| bar.inc(1))?;
        bar.finish_and_clear();
        if limits.kernels[0].n_points() != (n + m) * components {
            bail!(
                "the network has {} outputs an input, the data {components} targets; give it an output of dimension \
                 {components}",
                limits.kernels[0].n_points() / (n + m)
            );
        }
        let mut times = asked.times.to_vec();
        times.sort_by(f64::total_cmp);
        times.dedup();
        // The flow of `predict` divides the loss by the outputs, too.
        let scaled: Vec<f64> = times.iter().map(|t| t / components as f64).collect();
        let inputs = Inputs::new().with(data, numbers);
        let options = KernelOptions::new(asked.width, asked.seed).with_train(n);
        let found = predict_at_width(
            &network,
            &inputs,
            &limits,
            split.train.targets().as_slice(),
            &scaled,
            (&options, asked.draws),
            &OdeOptions::with_tolerance(1e-8),
        )?;
        let targets = split.test.targets().as_slice().to_vec();
        Ok(Self { found, times, draws: asked.draws, components, n_train: n, targets, error: limits.error })
    }

    /// Whether the movement of the kernel is more than the spread of single networks: further orders in `1/n`, which
    /// grow faster with time, are then not small.
    fn outside(&self, k: usize, at: usize) -> bool {
        self.found.deviation[k][at] < self.found.movement[k][at].abs()
    }

    /// Says on the standard error where the numbers are no prediction.
    pub(super) fn warn(&self) {
        let outside: Vec<_> = self.rows().filter(|&(k, _, at)| self.outside(k, at)).collect();
        let Some(&(first, ..)) = outside.first() else { return };
        eprintln!(
            "warning: in {} of {} rows, from t = {} on, the movement of the kernel is more than the deviation: the \
             expansion in 1/width has left its window there, and its numbers are a sign that the width matters, not a \
             prediction; take an earlier --time or a larger --width",
            outside.len(),
            self.rows().count(),
            format::number(self.times[first]),
        );
    }

    /// Rows of the table: time, point, component, and the place of the numbers.
    fn rows(&self) -> impl Iterator<Item = (usize, usize, usize)> + '_ {
        let test = self.targets.len();
        (0..self.times.len()).flat_map(move |k| (0..test).map(move |a| (k, a, self.n_train * self.components + a)))
    }

    pub(super) fn json(&self) -> Value {
        let found = &self.found;
        let point = |(k, a, at): (usize, usize, usize)| {
            json!({
                "time": self.times[k], "point": a / self.components, "output": a % self.components,
                "target": self.targets[a], "limit": found.limit[k][at], "mean": found.mean(k, at),
                "initial": found.initial[k][at], "initial_error": found.initial_error[k][at],
                "movement": found.movement[k][at], "deviation": found.deviation[k][at],
                "in_window": !self.outside(k, at),
            })
        };
        json!({
            "width": found.width, "draws": self.draws, "error_of_limits": self.error,
            "test": self.rows().map(point).collect::<Vec<_>>(),
        })
    }

    pub(super) fn text(&self) -> String {
        let found = &self.found;
        let mut table = output::table(&[
            "time",
            "test point",
            "target",
            "infinite width",
            "kernel at start",
            "its movement",
            "mean ± deviation",
        ]);
        for (k, a, at) in self.rows() {
            let point = match self.components {
                1 => a.to_string(),
                components => format!("{}, output {}", a / components, a % components),
            };
            table.add_row([
                format::number(self.times[k]),
                point,
                format::number(self.targets[a]),
                format::number(found.limit[k][at]),
                format!("{} ± {}", format::number(found.initial[k][at]), format::number(found.initial_error[k][at])),
                format!("{}{}", format::number(found.movement[k][at]), if self.outside(k, at) { " (!)" } else { "" }),
                format!("{} ± {}", format::number(found.mean(k, at)), format::number(found.deviation[k][at])),
            ]);
        }
        let mark = if self.rows().any(|(k, _, at)| self.outside(k, at)) {
            "(!): more than the deviation, so outside of the window of the expansion\n"
        } else {
            ""
        };
        format!(
            "networks of width {}, trained by gradient flow: {} were drawn, none was trained\n{table}\n{mark}",
            found.width, self.draws
        )
    }
}
