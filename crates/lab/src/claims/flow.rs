//! `gradient-flow`: the closed form of kernel gradient flow, against an integrator and against a
//! wide network (TP IIb §2).

use netsor_finite::{Inputs, Options, Trainer};
use netsor_ir::Network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_predict::{DiagReg, FlowOptions, GradientFlow, LossFlow, Mat, Normalisation, SquaredError};
use netsor_zoo::Mlp;

use super::setup::{LimitKernel, TwoClasses, abscissae, find, limit_kernel, over_seeds, slope_figure, slope_table};
use crate::stats::{Average, slope_over_seeds};
use crate::{Axis, Claim, Context, Figure, Outcome, Series, Style, Table, Test};

/// Room around the slope -1/2.
const SLOPE_MARGIN: f64 = 0.15;
/// The integrator is asked for 1e-12 a step and takes some hundred steps.
const ODE_TOLERANCE: f64 = 1e-9;
/// The network is followed up to this time, with two step sizes.
const HORIZON: f64 = 1.0;
const OPTIONS: FlowOptions =
    FlowOptions { learning_rate: 1.0, normalisation: Normalisation::Sum, diag_reg: DiagReg::None };

pub(super) struct Flow;

/// The largest deviation, and the paths of the first test point: network, closed form.
type Run = (f64, Vec<f64>, Vec<f64>);

impl Claim for Flow {
    fn id(&self) -> &'static str {
        "gradient-flow"
    }

    fn title(&self) -> &str {
        r"Gradient flow is $f_t - f^* = e^{-\eta \mathring{K} t} (f_0 - f^*)$"
    }

    fn source(&self) -> &str {
        "TP IIb §2"
    }

    fn prediction(&self) -> &str {
        r"On digits with the limit kernel of an MLP, the closed form agrees with an integration of
          $\dot f = -\eta \mathring{K} (f - f^*)$ up to $10^{-9}$, on training and test points.
          A network of width $n$ under gradient descent with small steps (extrapolated to step
          size 0) deviates from it, from the same $f_0$, with slope $-1/2$ in $n$ up to $0.15$."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/gradient-flow.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let (n_train, n_test, steps) = ctx.scale.pick((8, 4, 40), (10, 6, 50), (20, 10, 200));
        let widths: Vec<usize> = ctx.scale.pick(
            vec![64, 128, 256, 512],
            vec![64, 128, 256, 512, 1024],
            vec![64, 128, 256, 512, 1024, 2048, 4096],
        );
        let n_seeds = ctx.scale.pick(64, 96, 200);
        let data = TwoClasses::load(ctx, (4, 9), (n_train, n_test))?;
        let inputs = data.n_points() as u32;
        let network = verify_network(Mlp { inputs, dim: 64, hidden: 1, ..Mlp::default() }.network()?)?;
        let limit = limit_kernel(&network, &data.inputs, n_train, 1e-8)?;
        let flow = ClosedForm::new(&data, &limit);

        let mut table = Table::new("Closed form against integration", ["$t$", "largest deviation", "evaluations"]);
        let f0: Vec<f64> = (0..data.n_points()).map(|i| (i as f64).sin()).collect();
        let mut largest = 0.0_f64;
        for t in [0.01, 0.1, 1.0, 10.0, 100.0] {
            let (deviation, evaluations) = flow.against_ode(t, &f0)?;
            largest = largest.max(deviation);
            table.push([t, deviation, evaluations as f64]);
        }
        let ode = Test::within("deviation from the integrator", largest, 0.0, ODE_TOLERANCE)?;

        ctx.progress().message(format!("{n_seeds} seeds"));
        let rows: Vec<Vec<Run>> = over_seeds(ctx, "flow", &ctx.seeds(n_seeds), |seed| {
            widths.iter().map(|&n| flow.against_network(&network, steps, n, seed)).collect()
        })?;
        let x = abscissae(&widths);
        let deviations: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().map(|run| run.0).collect()).collect();
        let curve = slope_over_seeds(&x, &deviations, Average::RootMeanSquare)?;
        let slope = Test::equals("slope of the network's deviation", &curve.fit.slope, -0.5, SLOPE_MARGIN)?;
        let figure = slope_figure(
            "Deviation of a network from the closed form",
            "largest deviation over times and points",
            &[("root mean square over seeds", &curve)],
            (-0.5, "slope −1/2"),
            format!(
                "One hidden layer, {n_train} training and {n_test} test digits (4 and 9), up to \
                 time {HORIZON}, {n_seeds} seeds; bars are pointwise 95 % intervals."
            ),
        );
        let mut series = Vec::new();
        for at in [0, widths.len() - 1] {
            let (_, network, closed) = &rows[0][at];
            let path = |values: &[f64]| -> Vec<(f64, f64)> {
                let h = HORIZON / (values.len() - 1) as f64;
                values.iter().enumerate().map(|(k, f)| (k as f64 * h, *f)).collect()
            };
            let n = widths[at];
            series.push(Series::new(format!("network, n = {n}"), Style::Line, path(network)));
            let name = if at == 0 { "closed form, same start" } else { "" };
            series.push(Series::new(name, Style::Dashed, path(closed)));
        }
        let paths = Figure {
            title: "A test point along training, first seed".to_owned(),
            x: Axis::linear("time t"),
            y: Axis::linear("f"),
            series,
            caption: "Each network and the closed form from its own outputs at time 0.".to_owned(),
        };
        let tables = vec![table, slope_table("Deviation by width", "deviation", &curve)];
        Ok(Outcome { tests: vec![ode, slope], tables, figures: vec![figure, paths], notes: Vec::new() })
    }
}

/// Kernel matrices and targets of one problem.
struct ClosedForm<'a> {
    data: &'a TwoClasses,
    train_train: Mat<f64>,
    test_train: Mat<f64>,
    targets: Mat<f64>,
}

impl<'a> ClosedForm<'a> {
    fn new(data: &'a TwoClasses, limit: &LimitKernel) -> Self {
        let kernel = |i: usize, j: usize| limit.ntk[i * limit.size + j];
        let n = data.n_train;
        Self {
            data,
            train_train: Mat::from_fn(n, n, kernel),
            test_train: Mat::from_fn(data.n_test, n, |i, j| kernel(n + i, j)),
            targets: Mat::from_fn(n, 1, |i, _| data.targets[i]),
        }
    }

    /// The parts of a vector over all points.
    fn split(&self, f: &[f64]) -> (Mat<f64>, Mat<f64>) {
        let n = self.data.n_train;
        let (train, test) = f.split_at(n);
        (Mat::from_fn(n, 1, |i, _| train[i]), Mat::from_fn(test.len(), 1, |i, _| test[i]))
    }

    /// The closed form at time `t` on all points.
    fn at(&self, flow: &GradientFlow, t: f64, f0: &[f64]) -> anyhow::Result<Vec<f64>> {
        let (train, test) = self.split(f0);
        let at_train = flow.train(t, train.as_ref())?;
        let at_test = flow.test(t, self.test_train.as_ref(), train.as_ref(), test.as_ref())?;
        let train = (0..at_train.nrows()).map(|i| at_train[(i, 0)]);
        Ok(train.chain((0..at_test.nrows()).map(|i| at_test[(i, 0)])).collect())
    }

    fn flow(&self) -> anyhow::Result<GradientFlow> {
        Ok(GradientFlow::new(self.train_train.as_ref(), self.targets.as_ref(), &OPTIONS)?)
    }

    /// Largest deviation over all points, and evaluations of the integrator.
    fn against_ode(&self, t: f64, f0: &[f64]) -> anyhow::Result<(f64, usize)> {
        let (train, test) = self.split(f0);
        let (kernel, targets) = (self.train_train.as_ref(), self.targets.as_ref());
        let ode = LossFlow::new(kernel, targets, train.as_ref(), SquaredError, &OPTIONS)?;
        let state = ode.at(t, 1e-12)?;
        let at_test = state.test(self.test_train.as_ref(), test.as_ref())?;
        let closed = self.at(&self.flow()?, t, f0)?;
        let integrated =
            (0..self.data.n_train).map(|i| state.f_train[(i, 0)]).chain((0..self.data.n_test).map(|i| at_test[(i, 0)]));
        let deviation = closed.iter().zip(integrated).map(|(a, b)| (a - b).abs());
        Ok((deviation.fold(0.0, f64::max), state.n_evaluations))
    }

    /// Largest deviation of a network over times and points, and the paths of the first test point.
    ///
    /// Gradient descent with steps h and h/2 gives the network's own flow up to O(h^2) by
    /// Richardson's extrapolation.
    fn against_network(&self, network: &Verified<Network>, steps: usize, n: usize, seed: u64) -> anyhow::Result<Run> {
        let h = HORIZON / steps as f64;
        let coarse = self.descend(network, steps, h, n, seed)?;
        let fine = self.descend(network, 2 * steps, h / 2.0, n, seed)?;
        let flow = self.flow()?;
        let (mut largest, mut network_path, mut closed_path) = (0.0_f64, Vec::new(), Vec::new());
        for (k, coarse_f) in coarse.iter().enumerate() {
            let closed = self.at(&flow, k as f64 * h, &coarse[0])?;
            let own: Vec<f64> = fine[2 * k].iter().zip(coarse_f).map(|(fine, coarse)| 2.0 * fine - coarse).collect();
            for (own, closed) in own.iter().zip(&closed) {
                largest = largest.max((own - closed).abs());
            }
            network_path.push(own[self.data.n_train]);
            closed_path.push(closed[self.data.n_train]);
        }
        Ok((largest, network_path, closed_path))
    }

    /// The outputs of full-batch gradient descent on the sum of squares, before each step and after.
    fn descend(
        &self,
        network: &Verified<Network>,
        steps: usize,
        h: f64,
        n: usize,
        seed: u64,
    ) -> anyhow::Result<Vec<Vec<f64>>> {
        let xi = find(&network.program, "xi")?;
        let inputs = Inputs::new().with(xi, self.data.inputs.clone());
        let mut trainer = Trainer::<f64>::new(network, &inputs, Options::new(n, seed))?;
        let mut path = vec![trainer.outputs()?.remove(0)];
        for _ in 0..steps {
            trainer.step(h, &[self.data.train_residuals(&path[path.len() - 1])])?;
            path.push(trainer.outputs()?.remove(0));
        }
        Ok(path)
    }
}
