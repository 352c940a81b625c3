//! `nth-limit`: the deterministic limits of `m K^(4)`, for more than perceptrons, and what they say about training.

use netsor_finite::{Inputs, Options, Trainer};
use netsor_ir::Network;
use netsor_ir::syntax::parse_network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_limit::Data;
use netsor_nth::{
    Integration, KernelOptions, LimitKernels, Truncated, WidthCorrection, gradient_flow, hierarchy, kernels_at,
    limit_hierarchy, width_correction,
};
use netsor_num::ode::OdeOptions;

use super::nth_setup::SmallDigits;
use super::setup::{abscissae, find, over_seeds, projection};
use crate::stats::{extrapolate_over_seeds, mean};
use crate::{Claim, Context, Outcome, Table, Test};

/// Room around the ratio 1 of simulation and limit.
const MARGIN: f64 = 0.25;
/// Error of the expectations, relative to numbers of order one.
const TOLERANCE: f64 = 1e-4;
/// Points of the cloud that replaces them at the quick size.
const CLOUD: usize = 4096;
/// The targets of the comparison in training, times +1 and -1. What is predicted has a part that is cubic in them, what
/// fluctuates is linear, once the opposite network is averaged.
const TARGET: f64 = 3.0;
/// Times at which the effect of the width on predictions is compared.
const TIMES: [f64; 2] = [0.25, 1.0];

/// Two hidden layers.
const PERCEPTRON: &str = "  x[i] = tanh(h[i])";
/// The same with a skip connection around the second layer.
const RESIDUAL: &str = "  x[i] = z[i] + tanh(h[i])";
/// Layer norm without affine part: Moments whose adjoints enter at order one.
const LAYER_NORM: &str = "  moment mu[i] = mean(h[i])
  moment s[i] = mean((h[i] - mu[i])^2)
  x[i] = tanh((h[i] - mu[i]) / sqrt(s[i] + 1/10))";

pub(super) struct NthLimit;

impl Claim for NthLimit {
    fn id(&self) -> &'static str {
        "nth-limit"
    }

    fn title(&self) -> &str {
        r"$m K^{(4)}$ has the limit that its program says, for any architecture"
    }

    fn source(&self) -> &str {
        "NTH Thm 2.3, eq. (11), and open direction 1; the numbers are ours"
    }

    fn prediction(&self) -> &str {
        r"For a perceptron of two hidden layers, a residual network and a network with layer norm
          (tanh, two digits), the projection of $m K^{(4)}$ at initialisation on the limit that the
          limit engine computes from the program of $K^{(4)}$, extrapolated to infinite width, is 1
          up to 0.25. For one hidden layer with a skip connection and targets $\pm 3$ the mean over initialisations of
          $m (f_t - f_t^{lin})$, where $f^{lin}$ keeps the network's own kernel at initialisation,
          has the limit that follows from $m K^{(4)}$ and $m \operatorname{E} K^{(3)} f_0$: the
          projection is 1 up to 0.25."
    }

    fn revision(&self) -> u32 {
        4
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/nth-limit.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        let mut table = Table::new("Simulation over limit", ["what", "$m$", "projection", "95 % from", "to"]);
        let widths = ctx.scale.pick(vec![64, 128, 256], vec![64, 128, 256, 512], vec![128, 256, 512, 1024]);
        let n_seeds = ctx.scale.pick(128, 512, 2048);
        // A cloud leaves an error of some 1e-3, far below the noise of the quick size, and adaptive integrals most of
        // its time.
        let adaptive = Integration::with_tolerance(TOLERANCE);
        let integration = ctx.scale.pick(Integration::Sampled { points: CLOUD, seed: ctx.seed }, adaptive, adaptive);
        let data = SmallDigits::load(ctx, 2, 0)?;
        for (name, layer) in [("perceptron", PERCEPTRON), ("residual", RESIDUAL), ("layer norm", LAYER_NORM)] {
            let problem = Problem::new(&data, 2, layer)?;
            let limit = problem.limits(&integration)?;
            let fourth = limit.of_order(4)?.packed();
            let program = hierarchy(&problem.network, 4)?;
            let rows = over_seeds(ctx, name, &ctx.seeds(n_seeds), |seed| {
                let at = |&m: &usize| {
                    let found = kernels_at(&program, &problem.inputs, &KernelOptions::new(m, seed))?;
                    let scaled: Vec<f64> = found.of_order(4)?.packed().iter().map(|k| m as f64 * k).collect();
                    Ok(projection(&scaled, fourth))
                };
                widths.iter().map(at).collect::<anyhow::Result<Vec<f64>>>()
            })?;
            self.judge(&mut outcome, &mut table, &format!("$m K^{{(4)}}$, {name}"), &widths, &rows)?;
        }
        let data = SmallDigits::load(ctx, 2, 1)?;
        let problem = Problem::new(&data, 1, "  x[i] = g[i] + z[i]")?;
        let targets: Vec<f64> = data.targets.iter().map(|y| TARGET * y).collect();
        let correction = problem.correction(&targets, &integration)?;
        let widths = ctx.scale.pick(vec![128, 256, 512], vec![128, 256, 512, 1024], vec![256, 512, 1024, 2048]);
        let n_seeds = ctx.scale.pick(48, 256, 1024);
        let rows = over_seeds(ctx, "correction", &ctx.seeds(n_seeds), |seed| {
            widths.iter().map(|&m| problem.measured(&targets, &correction, m, seed)).collect()
        })?;
        self.judge(&mut outcome, &mut table, "$m (f_t - f_t^{lin})$", &widths, &rows)?;
        outcome.tables.push(table);
        Ok(outcome)
    }
}

impl NthLimit {
    /// A row of the table a width, and the test of the extrapolation.
    fn judge(
        &self,
        outcome: &mut Outcome,
        table: &mut Table,
        what: &str,
        widths: &[usize],
        rows: &[Vec<f64>],
    ) -> anyhow::Result<()> {
        for (k, &m) in widths.iter().enumerate() {
            let average = mean(&rows.iter().map(|row| row[k]).collect::<Vec<_>>())?;
            let (low, high) = average.interval(0.95)?;
            let cells: [crate::Cell; 5] =
                [what.into(), (m as f64).into(), average.value.into(), low.into(), high.into()];
            table.push(cells);
        }
        let fit = extrapolate_over_seeds(&abscissae(widths), rows, &[1.0])?;
        outcome.tests.push(Test::equals(format!("{what} over its limit"), &fit.limit, 1.0, MARGIN)?);
        Ok(())
    }
}

/// A network with its data.
struct Problem {
    network: Verified<Network>,
    inputs: Inputs,
    data: Data,
    n_train: usize,
}

impl Problem {
    fn new(data: &SmallDigits, hidden: usize, layer: &str) -> anyhow::Result<Self> {
        let second = if hidden == 2 { "  param W : n x n ~ N(0, 1/n)\n  h[i] = W * z[i]\n" } else { "" };
        let text = format!(
            "network n {{\n  axis i = {}\n  data xi[i] : {}\n  param U : n x {} ~ N(0, 2)\n  param v : n x 1 ~ N(0, 1/n)\n  \
             g[i] = U * xi[i]\n  z[i] = tanh(g[i])\n{second}{layer}\n  output f[i] = v' * x[i]\n}}\n",
            data.n_points(),
            data.dim(),
            data.dim(),
        );
        let network = verify_network(parse_network(&text)?)?;
        let xi = find(&network.program, "xi")?;
        let numbers = data.numbers().to_vec();
        let inputs = Inputs::new().with(xi, numbers.clone());
        Ok(Self { network, inputs, data: Data::new().with(xi, numbers), n_train: data.n_train })
    }

    fn limits(&self, integration: &Integration) -> anyhow::Result<LimitKernels> {
        Ok(limit_hierarchy(&self.network, 4)?.evaluate(&self.data, Some(self.n_train), integration)?)
    }

    fn correction(&self, targets: &[f64], integration: &Integration) -> anyhow::Result<WidthCorrection> {
        Ok(width_correction(&self.limits(integration)?, targets, &TIMES, &OdeOptions::with_tolerance(1e-8))?)
    }

    /// The projection of `m (f - f_lin)` on its predicted mean: the average of a network and the one with the
    /// opposite readout, which has the same law and opposite `f_0` and `K^(3)`. Of what fluctuates at order one, half
    /// cancels.
    fn measured(&self, targets: &[f64], predicted: &WidthCorrection, m: usize, seed: u64) -> anyhow::Result<f64> {
        let options = KernelOptions::new(m, seed).with_train(self.n_train);
        let second = hierarchy(&self.network, 2)?;
        let ode = OdeOptions::with_tolerance(1e-8);
        let v = find(&self.network.program, "v")?;
        let trainer = Trainer::<f64>::new(&self.network, &self.inputs, Options::new(m, seed))?;
        let drawn = trainer.resume(self.inputs.clone());
        let opposite = drawn.clone().with(v, trainer.parameter(v).into_iter().map(|x| -x).collect());
        let mut total = 0.0;
        for inputs in [drawn, opposite] {
            let start = kernels_at(&second, &inputs, &options)?;
            let truth = gradient_flow(&self.network, &inputs, targets, &TIMES, &options, &ode)?;
            let fixed = Truncated::new(&start, targets, 2)?.solve(&TIMES, &ode)?;
            let (truth, fixed) = (truth.f.concat(), fixed.f.concat());
            let moved: Vec<f64> = truth.iter().zip(&fixed).map(|(a, b)| m as f64 * (a - b)).collect();
            total += projection(&moved, &predicted.shift.concat()) / 2.0;
        }
        Ok(total)
    }
}
