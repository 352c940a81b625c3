//! `nth-scaling`: the sizes of the kernels of the hierarchy at initialisation (NTH eq. 11).

use netsor_nth::{KernelOptions, KernelTensor, hierarchy, kernels_at};

use super::nth_setup::SmallDigits;
use super::setup::{abscissae, column, over_seeds, slope_figure, slope_table};
use crate::stats::{Average, slope_over_seeds};
use crate::{Claim, Context, Outcome, Test};

/// Room around the predicted slopes.
const MARGIN: f64 = 0.15;
const POINTS: usize = 4;
/// Networks a seed and width, at most.
const MAX_REPEATS: usize = 16;

pub(super) struct NthScaling;

impl Claim for NthScaling {
    fn id(&self) -> &'static str {
        "nth-scaling"
    }

    fn title(&self) -> &str {
        r"The kernels $K^{(r)}$ of the hierarchy shrink with the width as predicted"
    }

    fn source(&self) -> &str {
        "NTH Thm 2.3, eq. (11)"
    }

    fn prediction(&self) -> &str {
        r"At initialisation $K^{(r)}$ has size $m^{-(r/2-1)}$ for even $r$, where
          $m^{r/2-1} K^{(r)}$ has a deterministic limit, and $m^{-(r-1)/2}$ for odd $r$: slopes
          $0$, $-1$, $-1$ in $m$ for $r = 2, 3, 4$, each up to $0.15$, for networks of one and two
          hidden layers with tanh on digits. (The theorem bounds the distance from the limit up to
          powers of $\ln m$; that the rates are attained is our prediction.)"
    }

    fn revision(&self) -> u32 {
        3
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/nth-scaling.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let mut outcome = Outcome::default();
        let data = SmallDigits::load(ctx, POINTS, 0)?;
        let cases = [
            (
                1,
                ctx.scale.pick(
                    vec![128, 256, 512, 1024],
                    vec![128, 256, 512, 1024, 2048, 4096],
                    vec![128, 256, 512, 1024, 2048, 4096, 8192, 16384],
                ),
            ),
            (2, ctx.scale.pick(vec![128, 256, 512], vec![128, 256, 512, 1024], vec![128, 256, 512, 1024, 2048])),
        ];
        let n_seeds = ctx.scale.pick(64, 192, 256);
        for (hidden, widths) in cases {
            let (network, inputs) = data.network(hidden)?;
            let program = hierarchy(&network, 4)?;
            let rows = over_seeds(ctx, &format!("sizes, H = {hidden}"), &ctx.seeds(n_seeds), |seed| {
                let at = |&m: &usize| {
                    // Relative fluctuations are of order m^(-1/2): narrow networks are drawn more often, so that no
                    // width has more noise than the largest.
                    let repeats = (widths.iter().max().map_or(1, |max| max / m)).clamp(1, MAX_REPEATS);
                    let mut sizes = vec![0.0; 3];
                    for k in 0..repeats as u64 {
                        let found = kernels_at(&program, &inputs, &KernelOptions::new(m, seed ^ (k << 48)))?;
                        for (size, kernel) in sizes.iter_mut().zip(&found.kernels) {
                            *size += size_of(kernel) / repeats as f64;
                        }
                    }
                    sizes[1] = sizes[1].sqrt();
                    Ok(sizes)
                };
                widths.iter().map(at).collect::<anyhow::Result<Vec<Vec<f64>>>>()
            })?;
            let x = abscissae(&widths);
            let mut curves = Vec::new();
            for (k, slope) in [0.0, -1.0, -1.0].into_iter().enumerate() {
                let (samples, average) = if k == 1 {
                    (column(&rows, k), Average::RootMeanSquare)
                } else {
                    (with_positive_mean(column(&rows, k)), Average::Mean)
                };
                let curve = slope_over_seeds(&x, &samples, average)?;
                let name = format!("slope of $K^{{({})}}$, $H = {hidden}$", k + 2);
                outcome.tests.push(Test::equals(name, &curve.fit.slope, slope, MARGIN)?);
                let title = format!("Size of $K^{{({})}}$, $H = {hidden}$", k + 2);
                outcome.tables.push(slope_table(&title, "size", &curve));
                curves.push(curve);
            }
            outcome.figures.push(slope_figure(
                &format!("Sizes at initialisation, {hidden} hidden"),
                "size",
                &[("K⁽³⁾", &curves[1]), ("K⁽²⁾", &curves[0]), ("K⁽⁴⁾", &curves[2])],
                (-1.0, "slope −1"),
                format!(
                    "Mean ($K^{{(3)}}$: root mean square) over all tuples of {POINTS} digits and {n_seeds} seeds; bars are pointwise 95 % intervals. \
                     $H = {hidden}$."
                ),
            ));
        }
        Ok(outcome)
    }
}

/// For odd orders, which are random with mean zero, the mean square; for even ones, whose limit is deterministic, the
/// mean over tuples, which does not see the fluctuations: they are of relative size 1 at these widths.
fn size_of(kernel: &KernelTensor) -> f64 {
    if kernel.order() % 2 == 1 { kernel.norm_rms().powi(2) } else { kernel.mean() }
}

/// All samples with the sign that makes the mean at the largest width positive.
fn with_positive_mean(mut samples: Vec<Vec<f64>>) -> Vec<Vec<f64>> {
    if samples.iter().filter_map(|row| row.last()).sum::<f64>() < 0.0 {
        samples.iter_mut().flatten().for_each(|x| *x = -*x);
    }
    samples
}
