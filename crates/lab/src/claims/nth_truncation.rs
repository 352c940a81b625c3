//! `nth-truncation`: the truncated hierarchy follows the network (NTH Thm 2.6, its remark corrected).

use super::nth_setup::{SmallDigits, TruncationErrors, in_width};
use super::setup::{draws, draws_text, over_draws, over_seeds};
use crate::stats::{Average, Curve, mean, slope_over_seeds};
use crate::{Axis, Claim, Context, Figure, Outcome, Series, Style, Table, Test};

const N_TRAIN: usize = 4;
const N_TEST: usize = 1;
/// The window of the slopes in time: short against the rate of the flow, which is at most about 1 here.
const SHORT: [f64; 4] = [0.025, 0.05, 0.1, 0.2];
/// The times of the comparison over widths and between orders.
const LONG: [f64; 2] = [1.0, 2.0];
/// Makes other networks of the seeds than those of earlier designs.
const FIFTH_DESIGN: u64 = 5 << 40;
/// Error of a step of the solvers where widths are compared: the errors of p = 4 are above 1e-10.
const TOLERANCE: f64 = 1e-13;
/// Width at which the slopes in time are taken, and orders are compared.
const WIDTH: usize = 256;
/// Room around the slopes in time: corrections are of relative size `t`.
const TIME_MARGIN: f64 = 0.15;
/// Room around the slopes in width.
const WIDTH_MARGIN: f64 = 0.2;
/// Room around the slope -2 of p = 4, whose leading term competes with one of relative size `m^(-1/2)`.
const FOURTH_MARGIN: f64 = 0.35;
/// What p = 3 gains over p = 2, at least, at the first of the long times.
const GAIN: f64 = 2.0;

pub(super) struct NthTruncation;

impl Claim for NthTruncation {
    fn id(&self) -> &'static str {
        "nth-truncation"
    }

    fn title(&self) -> &str {
        r"Truncated at $p = 3$ the hierarchy follows the network better than the fixed kernel"
    }

    fn source(&self) -> &str {
        "NTH Thm 2.6, eqs. (15), (20), (21), and the remark after it, corrected"
    }

    fn prediction(&self) -> &str {
        r"With the $f_0$ and kernels of the same network (one hidden layer, tanh, 4 digits), the
          error of $f$ truncated at $p$ falls like $t^p$ and that of $K^{(2)}$ like $t^{p-1}$ for
          $p = 2, 3$ at $t \le 0.2$ (slopes up to $0.15$). At $t = 1$ the error of $f$ has slope
          $-\lfloor p/2 \rfloor$ in $m$, in the geometric mean over networks and at widths from 1024 on
          (from 256 with --quick): $-1$, $-1$ (up to $0.2$) and $-2$ (up to $0.35$) for $p = 2, 3, 4$;
          the paper's remark has $-3/2$ for $p = 3$. At $t = 1$ the error with $p = 3$ is, in the geometric
          mean over seeds, less than half of that with $p = 2$, and smaller at $t = 2$."
    }

    fn revision(&self) -> u32 {
        5
    }

    fn page(&self) -> Option<&str> {
        Some("src/experiments/nth-truncation.md")
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        let widths = ctx.scale.pick(
            vec![256, 512, 1024, 2048],
            vec![1024, 2048, 4096, 8192],
            vec![1024, 2048, 4096, 8192, 16384],
        );
        let draws = draws(&widths, ctx.scale.pick(12, 96, 192));
        let n_seeds = ctx.scale.pick(24, 64, 128);
        let data = SmallDigits::load(ctx, N_TRAIN, N_TEST)?;
        let (network, inputs) = data.network(1)?;
        let experiment = TruncationErrors::new(&data, network, inputs, 4)?;
        let times: Vec<f64> = SHORT.into_iter().chain(LONG).collect();
        // seed, time: errors of f for p = 2, 3, 4, then of K2.
        let rows = over_seeds(ctx, "errors", &ctx.seeds(n_seeds), |seed| experiment.at(WIDTH, seed, &times))?;
        let found =
            over_draws(ctx, "widths", &draws, |m, seed| experiment.of_f(m, seed ^ FIFTH_DESIGN, LONG[0], TOLERANCE))?;

        let mut outcome = Outcome::default();
        let mut in_time = Vec::new();
        for (what, name, slope) in
            [(0, "f, p = 2", 2.0), (1, "f, p = 3", 3.0), (3, "K⁽²⁾, p = 2", 1.0), (4, "K⁽²⁾, p = 3", 2.0)]
        {
            let samples: Vec<Vec<f64>> =
                rows.iter().map(|row| row[..SHORT.len()].iter().map(|at| at[what]).collect()).collect();
            let curve = slope_over_seeds(&SHORT, &samples, Average::RootMeanSquare)?;
            let title = format!("slope in t, {name}");
            outcome.tests.push(Test::equals(title, &curve.fit.slope, slope, TIME_MARGIN)?);
            in_time.push((name, curve));
        }
        let predicted = [("p = 2", -1.0, WIDTH_MARGIN), ("p = 3", -1.0, WIDTH_MARGIN), ("p = 4", -2.0, FOURTH_MARGIN)];
        let mut over_widths = Vec::new();
        for ((name, slope, margin), curve) in predicted.into_iter().zip(in_width(&widths, &found)?) {
            outcome.tests.push(Test::equals(format!("slope in $m$, {name}"), &curve.fit.slope, slope, margin)?);
            over_widths.push((name, curve));
        }
        let mut gains =
            Table::new("Error with $p = 3$ over error with $p = 2$", ["$t$", "$m$", "ratio", "95 % from", "to"]);
        for (k, t) in LONG.into_iter().enumerate() {
            let ratio = |row: &Vec<Vec<f64>>| (row[SHORT.len() + k][1] / row[SHORT.len() + k][0]).ln();
            let gain = mean(&rows.iter().map(ratio).collect::<Vec<_>>())?;
            let (low, high) = gain.interval(0.95)?;
            gains.push([t, WIDTH as f64, gain.value.exp(), low.exp(), high.exp()]);
            let bound = if k == 0 { -GAIN.ln() } else { 0.0 };
            let name = format!("$\\ln$ of the ratio of errors at $t = {t}$, $m = {WIDTH}$");
            outcome.tests.push(Test::at_most(name, &gain, bound, 0.0)?);
        }
        outcome.tables.push(gains);
        let caption =
            format!("Root mean square over {n_seeds} seeds and the points; bars are pointwise 95 % intervals.");
        let of_widths = format!(
            "Geometric mean over networks, {}, of root mean squares over the points; bars are pointwise 95 % intervals.",
            draws_text(&draws)
        );
        outcome.figures.push(figure(
            &format!("Errors over time, m = {WIDTH}"),
            Axis::log("time t"),
            &in_time,
            &[(2.0, 0), (3.0, 1), (1.0, 2)],
            &caption,
        ));
        outcome.figures.push(figure(
            "Error of f at t = 1",
            Axis::log("width m"),
            &over_widths,
            &[(-1.0, 0), (-2.0, 2)],
            &of_widths,
        ));
        Ok(outcome)
    }
}

/// Measured curves beside lines of the predicted slopes through the middle of the curve named.
fn figure(title: &str, x: Axis, curves: &[(&str, Curve)], slopes: &[(f64, usize)], caption: &str) -> Figure {
    let mut series = Vec::new();
    for &(slope, of) in slopes {
        let curve = &curves[of].1;
        if let (Some(first), Some(last)) = (curve.points.first(), curve.points.last()) {
            let middle = (first.x * last.x).sqrt();
            let name = format!("slope {}", slope.to_string().replace('-', "−"));
            series.push(Series::reference_slope(name, slope, (middle, curve.fit.at(middle)), (first.x, last.x)));
        }
    }
    for (name, curve) in curves {
        let points = curve.points.iter().map(|p| (p.x, p.y));
        let intervals = curve.points.iter().map(|p| p.interval);
        series.push(Series::new(*name, Style::Markers, points).with_interval(intervals));
    }
    Figure { title: title.to_owned(), x, y: Axis::log("error"), series, caption: caption.to_owned() }
}
