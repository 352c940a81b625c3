//! Simulation at growing widths, and the two tests of each number.

use netsor_finite::{Executor, Inputs, Options, State};
use netsor_ir::ValueId;
use netsor_lab::stats::{self, Average, Estimate, Running};
use netsor_lab::{Cancel, Interrupted, Test, Verdict};

use super::CertifyArgs;
use super::case::{Case, Target};

/// The bias of a mean over seeds is `c/n^BIAS`.
const BIAS: f64 = 1.0;
/// Or, where a program says `n^(-1/2)` itself, as one of training does, `c/n^SLOW_BIAS`. What refutes a limit has to
/// refute it with either.
const SLOW_BIAS: f64 = 0.5;
/// Exponent with which the distance from the limit falls: the central limit theorem, and less for a bias.
const RATE: f64 = -0.5;
/// Room above it. A wrong limit has exponent 0 at large widths, so that half of `RATE` divides the two.
const RATE_MARGIN: f64 = 0.25;
/// The fewest draws from which an exponent is taken: with fewer the logarithm of a mean is not Gaussian enough.
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

/// What is kept of the draws of a number at one width.
#[derive(Clone, Copy, Default)]
pub(super) struct Draws {
    /// `x - limit`
    difference: Running,
    /// `|x - limit|`
    distance: Running,
    /// Whether a draw is farther from the limit than by rounding.
    visible: bool,
}

impl Draws {
    fn add(&mut self, target: &Target, value: f64) {
        let difference = value - target.limit;
        self.difference.add(difference);
        self.distance.add(difference.abs());
        self.visible |= ROUNDING * target.scale < difference.abs();
    }
}

impl Number {
    /// Tests one number by its draws at each width. `None` if all draws agree at some widths and not at others, as
    /// those of a rare jump may: then nothing says how far the means can be trusted.
    pub(super) fn test(
        target: Target,
        widths: &[f64],
        draws: &[Draws],
        margin: f64,
    ) -> Result<Option<Self>, stats::StatsError> {
        let Target { name, limit, scale, .. } = &target;
        let (margin, limit) = (margin * scale, *limit);
        let mean = |draws: &Draws| Ok(draws.difference.estimate()?.affine(1.0, limit));
        let means = draws.iter().map(mean).collect::<Result<Vec<Estimate>, _>>()?;
        // A number that no draw enters is the same each time, up to rounding.
        let noisy: Vec<bool> = means.iter().map(|m| ROUNDING * scale < m.standard_error).collect();
        if noisy.contains(&true) && noisy.contains(&false) {
            return Ok(None);
        }
        let noisy = noisy.contains(&true);
        let (value, difference) = if noisy {
            let found = stats::extrapolate(widths, &means, &[BIAS])?.limit;
            let z = (found.value - limit) / found.standard_error;
            let p = 2.0 * found.p_not_below(limit)?.min(found.p_not_above(limit)?);
            let mut value = Test::equals(name, &found, limit, margin)?;
            let slow = stats::extrapolate(widths, &means, &[SLOW_BIAS])?.limit;
            let slow = Test::equals(name, &slow, limit, margin)?;
            value.p_against = value.p_against.zip(slow.p_against).map(|(p, slow)| p.max(slow));
            (value, Some(Difference { z, p: p.min(1.0) }))
        } else {
            let last = means.last().map_or(f64::NAN, |m| m.value);
            (Test::within(name, last, limit, margin)?, None)
        };
        let mut tests = vec![value];
        if noisy && draws.iter().all(|d| d.visible && RATE_SEEDS <= d.distance.count()) {
            let distances = draws.iter().map(|d| d.distance.estimate()).collect::<Result<Vec<_>, _>>()?;
            let slope = stats::slope_of_means(widths, &distances, Average::Mean)?.fit.slope;
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

/// `draws[target][width]`: one run of the program a width and seed gives one draw of every number.
pub(super) fn simulate(
    case: &Case,
    targets: &[Target],
    args: &CertifyArgs,
    cancel: &Cancel,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<Vec<Vec<Draws>>> {
    let inputs = case.given.iter().fold(Inputs::new(), |inputs, (id, numbers)| inputs.with(*id, numbers.clone()));
    let mut wanted: Vec<ValueId> = targets.iter().map(|t| t.value).collect();
    wanted.dedup();
    let mut draws = vec![vec![Draws::default(); args.widths.len()]; targets.len()];
    for (w, &width) in args.widths.iter().enumerate() {
        for seed in 0..args.seeds as u64 {
            if cancel.is_cancelled() {
                return Err(Interrupted.into());
            }
            // Streams of numbers are named by the width, so that widths are independent, as the fits suppose.
            let options = Options::new(width, args.seed.wrapping_add(seed));
            let mut state = State::<f64>::new(&case.program, &inputs, &options)?;
            Executor::new(&case.program, options)?.run(&mut state, &wanted)?;
            let mut rest = &mut draws[..];
            // Numbers of one value stand together.
            for targets in targets.chunk_by(|a, b| a.value == b.value) {
                let (own, others) = std::mem::take(&mut rest).split_at_mut(targets.len());
                rest = others;
                let numbers = state.block(targets[0].value).map(|block| &block.data[..]).unwrap_or_default();
                for (target, draws) in targets.iter().zip(own) {
                    if let Some(&number) = numbers.get(target.flat) {
                        draws[w].add(target, number);
                    }
                }
            }
            bar.inc(1);
        }
    }
    Ok(draws)
}

#[cfg(test)]
mod tests {
    use netsor_ir::Id;

    use super::*;

    const WIDTHS: [f64; 4] = [64.0, 128.0, 256.0, 512.0];

    /// The verdict on a limit of 1 when the mean of the draws at width `n` is `mean(n)`, with standard errors of 1 %.
    fn verdict(mean: impl Fn(f64) -> f64) -> Verdict {
        let target = Target { name: "m".into(), value: Id::new(0), flat: 0, limit: 1.0, scale: 1.0 };
        let mut draws = [Draws::default(); WIDTHS.len()];
        for (draws, n) in draws.iter_mut().zip(WIDTHS) {
            // An even number of draws around the mean, below the number from which rates are tested.
            for k in 0..50 {
                let noise = if k % 2 == 0 { 0.07 } else { -0.07 };
                draws.add(&target, mean(n) + noise);
            }
        }
        let mut number = Number::test(target, &WIDTHS, &draws, 0.05).unwrap().unwrap();
        netsor_lab::verdict::judge(&mut [&mut number.tests[..]]);
        number.verdict()
    }

    #[test]
    fn slow_biases_refute_nothing() {
        assert_eq!(verdict(|n| 1.0 + 2.0 / n), Verdict::Holds);
        // Extrapolated by 1/n these means are 1.12, twelve standard errors from the limit.
        assert_ne!(verdict(|n| 1.0 + 3.0 / n.sqrt()), Verdict::Fails);
        assert_eq!(verdict(|_| 1.3), Verdict::Fails);
        assert_eq!(verdict(|n| 1.3 + 2.0 / n), Verdict::Fails);
    }
}
