//! `nth-softplus`: the hierarchy towards a kink: softplus of growing sharpness.

use netsor_finite::Inputs;
use netsor_ir::Network;
use netsor_ir::syntax::parse_network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_limit::Data;
use netsor_nth::{HuangYau, Integration, KernelOptions, Smooth, hierarchy, kernels_at, limit_hierarchy};

use super::nth_setup::SmallDigits;
use super::setup::{find, limit_kernel, over_seeds};
use crate::stats::{fit_power, mean, paired_difference};
use crate::{Claim, Context, Outcome, Table, Test};

const N_TRAIN: usize = 3;
/// Sharpnesses of the limits.
const SHARP: [u32; 5] = [2, 4, 8, 16, 32];
/// Sharpnesses of the networks.
const SIMULATED: [f64; 3] = [1.0, 8.0, 64.0];
const WIDTH: usize = 256;
/// What the ratio of the kernels grows by, at least.
const GROWTH: f64 = 2.0;
/// Seeds before these were used by the first design.
const FIRST_SEED: usize = 1_000;
/// Room around the slope of the distance from relu's kernel: corrections are of relative size `1/a`.
const MARGIN: f64 = 0.15;
/// Room around the slope of `m K4` in the sharpness, relative.
const SLOPE: f64 = 0.05;
/// `-6 E[phi'^2 phi''^2]` for a sharp softplus and a standard normal: `-6 a pdf(0) int s^3 (1 - s) ds`.
const K4_SLOPE: f64 = -0.3 * 0.398_942_280_401_432_7;
/// Error of the expectations: far below the smallest difference, which is about 1e-2.
const TOLERANCE: f64 = 1e-7;

pub(super) struct NthSoftplus;

impl Claim for NthSoftplus {
    fn id(&self) -> &'static str {
        "nth-softplus"
    }

    fn title(&self) -> &str {
        r"Towards relu the tangent kernel converges and the hierarchy does not"
    }

    fn source(&self) -> &str {
        "NTH Assumption 2.1 and the remark that softplus approximates relu; the rates are ours"
    }

    fn prediction(&self) -> &str {
        r"One hidden layer with the activation $\ln(1 + e^{a x})/a$. As $a$ grows, the limiting kernel tends to that of
          relu like $1/a$ (slope up to $0.15$ over $a = 8, 16, 32$), while the limit of $m K^{(4)}$ at one point of norm 1 grows without bound,
          by $-6 E[\phi'^2 \phi''^2] \to -0.3 a / \sqrt{2 \pi}$ (the increase from $a = 16$ to $32$, over $16$, up to 5 %): the
          constants of the theorems are those of the activation's derivatives. In networks of width 256 the kernels of
          higher order grow, too: the mean over seeds of $\ln$ of the ratio of the root mean squares of $K^{(4)}$ and
          $K^{(2)}$ is larger for $a = 64$ than for $a = 1$ by more than $\ln 2$. (A first design asked whether $p = 3$
          gains less over $p = 2$ at $t = 1$ there, and 128 seeds did not decide it.)"
    }

    fn revision(&self) -> u32 {
        2
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/nth-softplus.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        limits(&mut outcome)?;
        simulated(ctx, &mut outcome)?;
        Ok(outcome)
    }
}

/// One hidden layer on two points of the circle.
fn network(activation: &str) -> anyhow::Result<Verified<Network>> {
    let text = format!(
        "network n {{\n axis i = 2\n data xi[i] : 2\n param U : n x 2 ~ N(0, 1)\n param v : n x 1 ~ N(0, 1/n)\n \
         g[i] = U * xi[i]\n x[i] = {activation}\n output f[i] = v' * x[i]\n}}\n"
    );
    Ok(verify_network(parse_network(&text)?)?)
}

fn limits(outcome: &mut Outcome) -> anyhow::Result<()> {
    let xi = [1.0, 0.0, 0.6, 0.8];
    let relu = network("relu(g[i])")?;
    let relu = limit_kernel(&relu, &xi, 2, TOLERANCE)?;
    let mut table = Table::new("Limits", ["$a$", "distance of $K^{(2)}$ from relu's", "$m K^{(4)}$ at one point"]);
    let (mut distances, mut fourth) = (Vec::new(), Vec::new());
    for a in SHARP {
        let network = network(&format!("softplus({a} * g[i]) / {a}"))?;
        let data = Data::new().with(find(&network.program, "xi")?, xi.to_vec());
        let limit = limit_hierarchy(&network, 4)?.evaluate(&data, Some(1), &Integration::with_tolerance(TOLERANCE))?;
        let k2 = limit.of_order(2)?;
        let squares = (0..4).map(|k| (k2.block(k / 2, k % 2)[0] - relu.ntk[k]).powi(2));
        distances.push(squares.sum::<f64>().sqrt());
        fourth.push(limit.of_order(4)?.get(&[0, 0, 0, 0]));
        table.push([f64::from(a), distances[distances.len() - 1], fourth[fourth.len() - 1]]);
    }
    let large: Vec<f64> = SHARP[2..].iter().map(|&a| f64::from(a)).collect();
    let slope = fit_power(&large, &distances[2..])?.slope.value;
    outcome.tests.push(Test::within("slope in $a$ of the distance from relu's kernel", slope, -1.0, MARGIN)?);
    let last = SHARP.len() - 1;
    let rise = (fourth[last] - fourth[last - 1]) / f64::from(SHARP[last] - SHARP[last - 1]);
    let name = "increase of $m K^{(4)}$ with $a$, over its prediction";
    outcome.tests.push(Test::within(name, rise / K4_SLOPE, 1.0, SLOPE)?);
    outcome.tables.push(table);
    Ok(())
}

fn simulated(ctx: &Context, outcome: &mut Outcome) -> anyhow::Result<()> {
    let data = SmallDigits::load(ctx, N_TRAIN, 0)?;
    let mut logs = Vec::new();
    let mut table = Table::new(
        format!("Root mean square of $K^{{(4)}}$ over that of $K^{{(2)}}$ at initialisation, $m = {WIDTH}$"),
        ["$a$", "ratio", "95 % from", "to"],
    );
    let seeds = ctx.seeds(FIRST_SEED + ctx.scale.pick(32, 128, 256)).split_off(FIRST_SEED);
    for sharpness in SIMULATED {
        let paper = HuangYau {
            points: data.n_points() as u32,
            dim: data.dim() as u32,
            hidden: 1,
            activation: Smooth::Softplus { sharpness },
            sigma_w: 1.0,
            sigma_a: 1.0,
        };
        let network = paper.network()?;
        let inputs = Inputs::new().with(find(&network.program, "x")?, data.numbers().to_vec());
        let program = hierarchy(&network, 4)?;
        let of_seeds = over_seeds(ctx, &format!("a = {sharpness}"), &seeds, |seed| {
            let found = kernels_at(&program, &inputs, &KernelOptions::new(WIDTH, seed))?;
            Ok((found.of_order(4)?.norm_rms() / found.of_order(2)?.norm_rms()).ln())
        })?;
        let average = mean(&of_seeds)?;
        let (low, high) = average.interval(0.95)?;
        table.push([sharpness, average.value.exp(), low.exp(), high.exp()]);
        logs.push(of_seeds);
    }
    outcome.tables.push(table);
    let difference = paired_difference(&logs[SIMULATED.len() - 1], &logs[0])?;
    let name = "$\\ln$ of the ratio of $K^{(4)}$ and $K^{(2)}$, $a = 64$ less $a = 1$";
    outcome.tests.push(Test::at_least(name, &difference, GROWTH.ln(), 0.0)?);
    Ok(())
}
