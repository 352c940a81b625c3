//! `nth-gap`: the gap between the limiting kernel and a network on the digits, closed in steps (NTH eqs. 10, 22 and open
//! direction 3).

use netsor_limit::Data;
use netsor_nth::{
    Integration, KernelOptions, Kernels, LimitKernels, Truncated, gradient_flow, hierarchy, kernels_at, limit_hierarchy,
};
use netsor_num::ode::OdeOptions;

use super::nth_setup::{SmallDigits, in_width};
use super::setup::{draws, draws_text, find, over_draws, slope_figure};
use crate::stats::mean;
use crate::{Claim, Context, Outcome, Table, Test};

const N_TRAIN: usize = 4;
const N_TEST: usize = 4;
/// The loss has fallen by about `exp(-2)` then.
const TIME: f64 = 8.0;
/// Room around the slopes.
const MARGIN: f64 = 0.2;
/// The share of the squared gap that the network's own kernel closes, at least.
const SHARE: f64 = 0.8;
/// Makes other networks of the seeds than those of earlier designs.
const FOURTH_DESIGN: u64 = 4 << 40;
/// The width of the shares.
const WIDTH: usize = 256;
/// Error of a step of the solvers: far below the smallest gap.
const TOLERANCE: f64 = 1e-12;
/// Error of the limiting kernel: far below a gap of order `m^(-1/2)`.
const LIMIT: f64 = 1e-9;

/// What is put for the network, in the order of the gaps.
const STEPS: [&str; 4] = ["limit kernel", "own kernel at start (p = 2)", "p = 3", "p = 4"];

pub(super) struct NthGap;

impl Claim for NthGap {
    fn id(&self) -> &'static str {
        "nth-gap"
    }

    fn title(&self) -> &str {
        r"Between the limiting kernel and a network: the kernel at initialisation first, then the hierarchy"
    }

    fn source(&self) -> &str {
        "NTH eq. (22) and open direction 3; the decomposition is ours"
    }

    fn prediction(&self) -> &str {
        r"Digits, 4 training and 4 test points, one hidden layer, tanh, $t = 8$, everything from the same $f_0$. The
          distance of the network's outputs on the test points from the flow of the limiting kernel falls like
          $m^{-1/2}$, that from the flow of its own kernel at initialisation like $m^{-1}$, and with $p = 3$ like
          $m^{-1}$ (slopes of geometric means over networks, up to $0.2$); with $p = 4$ at least as fast as $m^{-3/2}$. At $m = 256$ the network's own
          kernel closes at least 80 % of the squared gap, the movement of the kernel the rest."
    }

    fn revision(&self) -> u32 {
        4
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/nth-gap.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let data = SmallDigits::load(ctx, N_TRAIN, N_TEST)?;
        let (network, inputs) = data.network(1)?;
        let x = find(&network.program, "x")?;
        let limit = limit_hierarchy(&network, 2)?.evaluate(
            &Data::new().with(x, data.numbers().to_vec()),
            Some(N_TRAIN),
            &Integration::with_tolerance(LIMIT),
        )?;
        let program = hierarchy(&network, 4)?;
        let widths =
            ctx.scale.pick(vec![64, 128, 256], vec![256, 512, 1024, 2048], vec![256, 512, 1024, 2048, 4096, 8192]);
        let draws = draws(&widths, ctx.scale.pick(24, 64, 192));
        let ode = OdeOptions::with_tolerance(TOLERANCE);
        let found = over_draws(ctx, "gaps", &draws, |m, seed| {
            let options = KernelOptions::new(m, seed ^ FOURTH_DESIGN).with_train(N_TRAIN);
            let own = kernels_at(&program, &inputs, &options)?;
            let truth = gradient_flow(&network, &inputs, &data.targets, &[TIME], &options, &ode)?;
            let mut gaps = vec![gap(&with_limit(&own, &limit), 2, &data, &truth.f[0], &ode)?];
            for p in 2..=4 {
                gaps.push(gap(&own, p, &data, &truth.f[0], &ode)?);
            }
            Ok(gaps)
        })?;

        let mut outcome = Outcome::default();
        let curves = in_width(&widths, &found)?;
        for (k, slope) in [-0.5, -1.0, -1.0, -1.5].into_iter().enumerate() {
            let curve = &curves[k];
            let name = format!("slope in $m$ of the gap, {}", STEPS[k]);
            let test = match k {
                3 => Test::at_most(name, &curve.fit.slope, slope, 0.0)?,
                _ => Test::equals(name, &curve.fit.slope, slope, MARGIN)?,
            };
            outcome.tests.push(test);
        }
        let at = widths.iter().position(|&m| m == WIDTH).unwrap_or(0);
        // The share for the root mean squares over seeds, by the delta method: one influence a seed.
        let square = |k: usize| -> Vec<f64> { found[at].iter().map(|gaps| gaps[k].powi(2)).collect() };
        let all = mean(&square(0))?.value;
        let left = mean(&square(1))?.value / all;
        let influence: Vec<f64> =
            square(0).iter().zip(square(1)).map(|(gap, rest)| 1.0 - left - (rest - left * gap) / all).collect();
        let name = format!("share of the squared gap that the kernel at initialisation closes, $m = {WIDTH}$");
        outcome.tests.push(Test::at_least(name, &mean(&influence)?, SHARE, 0.0)?);

        let mut table = Table::new("Gap on the test points, geometric mean", ["what", "$m$", "gap", "95 % from", "to"]);
        for (name, curve) in STEPS.iter().zip(&curves) {
            for point in &curve.points {
                let (low, high) = point.interval;
                let cells: [crate::Cell; 5] = [(*name).into(), point.x.into(), point.y.into(), low.into(), high.into()];
                table.push(cells);
            }
        }
        outcome.tables.push(table);
        let series: Vec<_> = STEPS.iter().copied().zip(&curves).collect();
        let caption = format!(
            "Geometric mean over networks, {}, of root mean squares over {N_TEST} test digits; bars are pointwise 95 % \
             intervals.",
            draws_text(&draws)
        );
        outcome.figures.push(slope_figure("Gap to the network", "gap", &series, (-0.5, "slope −1/2"), caption));
        Ok(outcome)
    }
}

/// The network's output and the limit of its kernel.
fn with_limit(own: &Kernels, limit: &LimitKernels) -> Kernels {
    Kernels { kernels: limit.kernels.clone(), parts: Vec::new(), derivatives: Vec::new(), ..own.clone() }
}

/// The root mean square distance on the test points.
fn gap(kernels: &Kernels, p: usize, data: &SmallDigits, truth: &[f64], ode: &OdeOptions) -> anyhow::Result<f64> {
    let found = Truncated::new(kernels, &data.targets, p)?.solve(&[TIME], ode)?;
    let squares = found.f[0][N_TRAIN..].iter().zip(&truth[N_TRAIN..]).map(|(a, b)| (a - b).powi(2));
    Ok((squares.sum::<f64>() / N_TEST as f64).sqrt())
}
