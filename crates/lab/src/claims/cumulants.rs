//! `nngp-cumulants`: a wide network is a Gaussian process, up to joint cumulants of order `1/n` (Neal; TP I).

use anyhow::Context as _;
use netsor_finite::{Inputs, Options, execute};
use netsor_ir::transform::kernels;
use netsor_ir::verify::{Verified, verify_program};
use netsor_ir::{Network, Program, ValueId};
use netsor_zoo::{Activation, Conv1d, Mlp};

use super::setup::{abscissae, column, digits, find, limits, over_seeds, slope_figure, slope_table};
use crate::stats::{Average, slope_over_seeds};
use crate::{Claim, Context, Outcome, Test};

/// Room around the slope -1.
const SLOPE_MARGIN: f64 = 0.15;
/// Error asked of each integral of the limit.
const TOLERANCE: f64 = 1e-7;
const N_POINTS: u32 = 4;

pub(super) struct NngpCumulants;

impl Claim for NngpCumulants {
    fn id(&self) -> &'static str {
        "nngp-cumulants"
    }

    fn title(&self) -> &str {
        r"Joint fourth cumulants of the outputs fall like $1/n$"
    }

    fn source(&self) -> &str {
        "Neal 1996; Yang 2019 (TP I); TP IIb §2"
    }

    fn prediction(&self) -> &str {
        r"Given the last hidden layer the outputs are Gaussian with a random covariance $\Sigma_n$, so the joint fourth
          cumulants of the outputs are covariances of the entries of $\Sigma_n$ (law of total cumulance). Their sum over
          pairs of inputs, $\sum_{i,j} \kappa(f_i, f_i, f_j, f_j)$, has slope $-1$ in $n$ up to $0.15$, for an
          MLP and a convolutional network on digits."
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/nngp-cumulants.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let xi = digits(ctx, &[0, 1, 2, 3], 1)?;
        let widths: Vec<usize> = ctx.scale.pick(
            vec![32, 64, 128, 256],
            vec![64, 128, 256, 512, 1024],
            vec![64, 128, 256, 512, 1024, 2048, 4096],
        );
        let n_seeds = ctx.scale.pick(1024, 1024, 2048);
        let mlp = Mlp { inputs: N_POINTS, dim: 64, hidden: 2, activation: Activation::Relu, ..Mlp::default() };
        let conv = Conv1d { inputs: N_POINTS, positions: 8, channels: 8, hidden: 2, ..Conv1d::default() };
        let mut outcome = Outcome::default();
        let mut curves = Vec::new();
        let x = abscissae(&widths);
        for (name, network) in [("MLP", mlp.network()?), ("convolutional network", conv.network()?)] {
            ctx.progress().message(format!("{name}: limit"));
            let covariance = Covariance::of(&network, &xi)?;
            ctx.progress().message(format!("{name}: {n_seeds} seeds"));
            let rows = over_seeds(ctx, name, &ctx.seeds(n_seeds), |seed| {
                widths.iter().map(|&n| Ok(vec![covariance.cumulant(&xi, n, seed)?])).collect()
            })?;
            let curve = slope_over_seeds(&x, &column(&rows, 0), Average::Mean)?;
            outcome.tests.push(Test::equals(format!("slope, {name}"), &curve.fit.slope, -1.0, SLOPE_MARGIN)?);
            let title = format!("Sum of fourth cumulants over the square of the trace of the kernel, {name}");
            outcome.tables.push(slope_table(&title, "cumulants", &curve));
            curves.push((name, curve));
        }
        let curves: Vec<(&str, _)> = curves.iter().map(|(name, curve)| (*name, curve)).collect();
        outcome.figures.push(slope_figure(
            "Joint fourth cumulants of the outputs",
            "relative sum of cumulants",
            &curves,
            (-1.0, "slope −1"),
            format!("{N_POINTS} digits, {n_seeds} seeds, the mean over seeds; bars are pointwise 95 % intervals."),
        ));
        Ok(outcome)
    }
}

/// The covariance of the outputs given the last hidden layer, at a width and in the limit.
struct Covariance {
    program: Verified<Program>,
    nngp: ValueId,
    limit: Vec<f64>,
}

impl Covariance {
    fn of(network: &Network, xi: &[f64]) -> anyhow::Result<Self> {
        let kernels = kernels(network)?;
        let nngp = kernels.outputs[0].nngp.context("the output is a readout")?;
        let (mut limit, _) = limits(&kernels.program, &[nngp], xi, N_POINTS as usize, TOLERANCE)?;
        Ok(Self { program: verify_program(kernels.program)?, nngp, limit: limit.remove(0) })
    }

    /// One seed's part in `sum over i, j of cum(f_i, f_i, f_j, f_j)`, relative to `(tr Sigma)^2`.
    ///
    /// With `D = Sigma_n - Sigma` the cumulant is `E D_ii D_jj + 2 E D_ij^2`. The mean of `Sigma_n` differs from its
    /// limit by `O(1/n)`, which enters squared.
    fn cumulant(&self, xi: &[f64], n: usize, seed: u64) -> anyhow::Result<f64> {
        let inputs = Inputs::new().with(find(&self.program, "xi")?, xi.to_vec());
        let state = execute::<f64>(&self.program, &inputs, &[self.nngp], &Options::new(n, seed))?;
        let d: Vec<f64> = state.numbers(self.nngp).iter().zip(&self.limit).map(|(a, b)| a - b).collect();
        let size = N_POINTS as usize;
        let trace = |m: &[f64]| (0..size).map(|i| m[i * size + i]).sum::<f64>();
        let square: f64 = d.iter().map(|d| d * d).sum();
        Ok((trace(&d).powi(2) + 2.0 * square) / trace(&self.limit).powi(2))
    }
}
