//! `gradient-flow`: the closed form of kernel gradient flow, against an integrator and against a
//! wide network (TP IIb §2).

use netsor_finite::{Inputs, Options, Trainer};
use netsor_ir::Network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_predict::{DiagReg, FlowOptions, GradientFlow, LossFlow, Normalisation, SquaredError};
use netsor_zoo::Mlp;

use super::regression::{Comparison, Comparisons, Regression};
use super::setup::{TwoClasses, draws, draws_text, find, limit_kernel, over_draws, slope_table};
use crate::stats::Average;
use crate::{Claim, Context, Outcome, Table, Test};

/// Room around the slope -1/2.
const SLOPE_MARGIN: f64 = 0.15;
/// The integrator is asked for 1e-12 a step and takes some hundred steps.
const ODE_TOLERANCE: f64 = 1e-9;
/// The network is followed up to this time, with two step sizes.
const HORIZON: f64 = 1.0;
const OPTIONS: FlowOptions =
    FlowOptions { learning_rate: 1.0, normalisation: Normalisation::Sum, diag_reg: DiagReg::None };

pub(super) struct Flow;

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
          size 0) deviates from it, from the same $f_0$: the root mean square over times and points,
          relative to that of the motion, has slope $-1/2$ in $n$ up to $0.15$."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/gradient-flow.md")
    }

    fn revision(&self) -> u32 {
        2
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let (n_train, n_test, steps) = ctx.scale.pick((8, 4, 40), (10, 6, 50), (20, 10, 200));
        let draws = ctx.scale.pick(
            draws(&[64, 128, 256, 512], 48),
            draws(&[64, 128, 256, 512, 1024], 96),
            draws(&[64, 128, 256, 512, 1024, 2048, 4096], 200),
        );
        let data = TwoClasses::load(ctx, (4, 9), (n_train, n_test))?;
        let inputs = data.n_points() as u32;
        let network = verify_network(Mlp { inputs, dim: 64, hidden: 1, ..Mlp::default() }.network()?)?;
        let limit = limit_kernel(&network, &data.inputs, n_train, 1e-8)?;
        let flow = ClosedForm { data: &data, problem: Regression::new(&data, &limit) };

        let mut table = Table::new("Closed form against integration", ["$t$", "largest deviation", "evaluations"]);
        let f0: Vec<f64> = (0..data.n_points()).map(|i| (i as f64).sin()).collect();
        let mut largest = 0.0_f64;
        for t in [0.01, 0.1, 1.0, 10.0, 100.0] {
            let (deviation, evaluations) = flow.against_ode(t, &f0)?;
            largest = largest.max(deviation);
            table.push([t, deviation, evaluations as f64]);
        }
        let ode = Test::within("deviation from the integrator", largest, 0.0, ODE_TOLERANCE)?;

        ctx.progress().message("networks");
        let columns = over_draws(ctx, "flow", &draws, |n, seed| flow.compare(&network, steps, n, seed))?;
        let comparisons = Comparisons { draws: &draws, columns };
        let curve = comparisons.curve(Average::RootMeanSquare)?;
        let slope = Test::equals("slope of the network's deviation", &curve.fit.slope, -0.5, SLOPE_MARGIN)?;
        let figures = comparisons.figures(
            "Deviation of a network from the closed form",
            &curve,
            format!(
                "One hidden layer, {n_train} training and {n_test} test digits (4 and 9), up to \
                 time {HORIZON}, {}; bars are pointwise 95 % intervals.",
                draws_text(&draws)
            ),
            ("time t", HORIZON / steps as f64),
        );
        let tables = vec![table, slope_table("Deviation by width", "relative deviation", &curve)];
        Ok(Outcome { tests: vec![ode, slope], tables, figures, notes: Vec::new() })
    }
}

/// The closed form and the integrator for one problem.
struct ClosedForm<'a> {
    data: &'a TwoClasses,
    problem: Regression,
}

impl ClosedForm<'_> {
    /// The closed form at time `t` on all points.
    fn at(&self, flow: &GradientFlow, t: f64, f0: &[f64]) -> anyhow::Result<Vec<f64>> {
        let (train, test) = self.problem.split(f0);
        let at_train = flow.train(t, train.as_ref())?;
        let at_test = flow.test(t, self.problem.test_train.as_ref(), train.as_ref(), test.as_ref())?;
        let train = (0..at_train.nrows()).map(|i| at_train[(i, 0)]);
        Ok(train.chain((0..at_test.nrows()).map(|i| at_test[(i, 0)])).collect())
    }

    fn flow(&self) -> anyhow::Result<GradientFlow> {
        Ok(GradientFlow::new(self.problem.train_train.as_ref(), self.problem.targets.as_ref(), &OPTIONS)?)
    }

    /// Largest deviation over all points, and evaluations of the integrator.
    fn against_ode(&self, t: f64, f0: &[f64]) -> anyhow::Result<(f64, usize)> {
        let (train, test) = self.problem.split(f0);
        let (kernel, targets) = (self.problem.train_train.as_ref(), self.problem.targets.as_ref());
        let ode = LossFlow::new(kernel, targets, train.as_ref(), SquaredError, &OPTIONS)?;
        let state = ode.at(t, 1e-12)?;
        let at_test = state.test(self.problem.test_train.as_ref(), test.as_ref())?;
        let closed = self.at(&self.flow()?, t, f0)?;
        let integrated =
            (0..self.data.n_train).map(|i| state.f_train[(i, 0)]).chain((0..self.data.n_test).map(|i| at_test[(i, 0)]));
        let deviation = closed.iter().zip(integrated).map(|(a, b)| (a - b).abs());
        Ok((deviation.fold(0.0, f64::max), state.n_evaluations))
    }

    /// A network along training beside the closed form from the same start.
    ///
    /// Gradient descent with steps h and h/2 gives the network's own flow up to O(h^2) by
    /// Richardson's extrapolation.
    fn compare(&self, network: &Verified<Network>, steps: usize, n: usize, seed: u64) -> anyhow::Result<Comparison> {
        let h = HORIZON / steps as f64;
        let coarse = self.descend(network, steps, h, n, seed)?;
        let fine = self.descend(network, 2 * steps, h / 2.0, n, seed)?;
        let flow = self.flow()?;
        let (mut own, mut closed) = (Vec::new(), Vec::new());
        for (k, coarse_f) in coarse.iter().enumerate() {
            closed.push(self.at(&flow, k as f64 * h, &coarse[0])?);
            own.push(fine[2 * k].iter().zip(coarse_f).map(|(fine, coarse)| 2.0 * fine - coarse).collect());
        }
        Ok(Comparison::new(&own, &closed, self.data.n_train))
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
