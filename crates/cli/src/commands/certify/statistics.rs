//! Simulation at growing widths, and the two tests of each number.

use netsor_finite::{Executor, Inputs, Options, State};
use netsor_ir::ValueId;
use netsor_lab::stats::{self, Average, Estimate};
use netsor_lab::{Cancel, Interrupted, Test, Verdict};

use super::CertifyArgs;
use super::case::{Case, Target};

/// Exponent with which the distance from the limit falls: the central limit theorem, and less for a bias.
const RATE: f64 = -0.5;
/// Room above it. A wrong limit has exponent 0 at large widths, so that half of `RATE` divides the two.
const RATE_MARGIN: f64 = 0.25;
/// The fewest draws from which an exponent is taken: with fewer the logarithm of a mean square is not Gaussian enough.
const RATE_SEEDS: usize = 64;
/// Distances below this share of the scale are rounding and have no exponent.
const ROUNDING: f64 = 1e-9;

/// A number with its tests.
pub(super) struct Number {
    pub(super) target: Target,
    /// First its value at infinite width, extrapolated, against the limit; then the exponent of the distance from the
    /// limit, unless there is no distance, or too few draws.
    pub(super) tests: Vec<Test>,
    /// The difference of extrapolation and limit; nothing for a number without noise.
    pub(super) difference: Option<Difference>,
}

/// How far an extrapolation is from the limit, without a margin.
pub(super) struct Difference {
    /// In standard errors.
    pub(super) z: f64,
    /// The p-value, on both sides, of "the limit is exact and the bias is `c/n`".
    pub(super) p: f64,
}

impl Number {
    /// Tests one number; `samples[width]` are its values. `None` if all draws agree at some widths and not at others, as
    /// those of a rare jump may: then nothing says how far the means can be trusted.
    pub(super) fn test(
        target: Target,
        widths: &[f64],
        samples: &[Vec<f64>],
        margin: f64,
    ) -> Result<Option<Self>, stats::StatsError> {
        let Target { name, limit, scale, .. } = &target;
        let (margin, limit) = (margin * scale, *limit);
        let means = samples.iter().map(|s| stats::mean(s)).collect::<Result<Vec<Estimate>, _>>()?;
        // A number that no draw enters is the same each time, up to rounding.
        let noisy: Vec<bool> = means.iter().map(|m| ROUNDING * scale < m.standard_error).collect();
        if noisy.contains(&true) && noisy.contains(&false) {
            return Ok(None);
        }
        let noisy = noisy.contains(&true);
        let (value, difference) = if noisy {
            let found = stats::extrapolate(widths, &means, &[1.0])?.limit;
            let z = (found.value - limit) / found.standard_error;
            let p = 2.0 * found.p_not_below(limit)?.min(found.p_not_above(limit)?);
            (Test::equals(name, &found, limit, margin)?, Some(Difference { z, p: p.min(1.0) }))
        } else {
            let last = means.last().map_or(f64::NAN, |m| m.value);
            (Test::within(name, last, limit, margin)?, None)
        };
        let distances: Vec<Vec<f64>> = samples.iter().map(|s| s.iter().map(|x| x - limit).collect()).collect();
        let visible = |s: &Vec<f64>| s.iter().any(|d| ROUNDING * scale < d.abs());
        let enough = samples.iter().all(|s| RATE_SEEDS <= s.len());
        let mut tests = vec![value];
        if noisy && enough && distances.iter().all(visible) {
            let slope = stats::slope_of_samples(widths, &distances, Average::RootMeanSquare)?.fit.slope;
            tests.push(Test::at_most(format!("{name}: exponent of the distance"), &slope, RATE, RATE_MARGIN)?);
        }
        Ok(Some(Self { target, tests, difference }))
    }

    /// The test of the value.
    pub(super) fn value(&self) -> &Test {
        &self.tests[0]
    }

    /// The test of the exponent.
    pub(super) fn rate(&self) -> Option<&Test> {
        self.tests.get(1)
    }

    pub(super) fn verdict(&self) -> Verdict {
        Verdict::all(self.tests.iter().map(|t| t.verdict))
    }
}

/// `samples[target][width][seed]`
pub(super) fn simulate(
    case: &Case,
    targets: &[Target],
    args: &CertifyArgs,
    cancel: &Cancel,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<Vec<Vec<Vec<f64>>>> {
    let inputs = case.given.iter().fold(Inputs::new(), |inputs, (id, numbers)| inputs.with(*id, numbers.clone()));
    let mut wanted: Vec<ValueId> = targets.iter().map(|t| t.value).collect();
    wanted.dedup();
    let mut samples = vec![vec![Vec::with_capacity(args.seeds); args.widths.len()]; targets.len()];
    for (w, &width) in args.widths.iter().enumerate() {
        for seed in 0..args.seeds as u64 {
            if cancel.is_cancelled() {
                return Err(Interrupted.into());
            }
            // Streams of numbers are named by the width, so that widths are independent, as the fits suppose.
            let options = Options::new(width, args.seed.wrapping_add(seed));
            let mut state = State::<f64>::new(&case.program, &inputs, &options)?;
            Executor::new(&case.program, options)?.run(&mut state, &wanted)?;
            for (target, samples) in targets.iter().zip(&mut samples) {
                let numbers = state.block(target.value).map(|block| &block.data[..]).unwrap_or_default();
                samples[w].extend(numbers.get(target.flat));
            }
            bar.inc(1);
        }
    }
    Ok(samples)
}
