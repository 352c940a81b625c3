//! An estimate together with the law of its error.

use super::{StatsError, all_finite, at_least, normal_cdf, normal_quantile, same_length};
use super::{t_cdf, t_quantile};

/// The law of `(estimate - truth) / standard_error`, from which intervals and p-values are read.
#[derive(Debug, Clone, PartialEq)]
pub enum Reference {
    /// Standard Gaussian: the standard error is known.
    Normal,
    /// Student's t: the standard error is itself estimated.
    Student {
        /// Degrees of freedom.
        dof: f64,
    },
    /// The studentised bootstrap: draws of `(estimate* - estimate) / standard_error*`, sorted.
    /// With B draws no p-value is below 1/(B + 1).
    Resampled(Vec<f64>),
}

/// A number, its standard error, and the law of its error.
#[derive(Debug, Clone, PartialEq)]
pub struct Estimate {
    /// The point estimate.
    pub value: f64,
    /// Its standard error; zero for a number that is known exactly.
    pub standard_error: f64,
    /// Law of the studentised error.
    pub reference: Reference,
}

impl Estimate {
    /// A number without error, such as a deterministic computation.
    #[must_use]
    pub fn exact(value: f64) -> Self {
        Self { value, standard_error: 0.0, reference: Reference::Normal }
    }

    /// Two-sided confidence interval at `level` (0.95 for 95 %).
    pub fn interval(&self, level: f64) -> Result<(f64, f64), StatsError> {
        if !(0.0 < level && level < 1.0) {
            return Err(StatsError::OutOfRange {
                what: "confidence level",
                value: level,
                expected: "a number in (0, 1)",
            });
        }
        if self.standard_error == 0.0 {
            return Ok((self.value, self.value));
        }
        let tail = (1.0 - level) / 2.0;
        let upper = self.quantile(1.0 - tail)?;
        let lower = self.quantile(tail)?;
        Ok((self.value - self.standard_error * upper, self.value - self.standard_error * lower))
    }

    /// p-value of the hypothesis `truth >= bound`: small when the truth is surely below.
    pub fn p_not_below(&self, bound: f64) -> Result<f64, StatsError> {
        if self.standard_error == 0.0 {
            return Ok(if self.value < bound { 0.0 } else { 1.0 });
        }
        self.cdf((self.value - bound) / self.standard_error)
    }

    /// p-value of the hypothesis `truth <= bound`: small when the truth is surely above.
    pub fn p_not_above(&self, bound: f64) -> Result<f64, StatsError> {
        if self.standard_error == 0.0 {
            return Ok(if bound < self.value { 0.0 } else { 1.0 });
        }
        self.upper_tail((self.value - bound) / self.standard_error)
    }

    /// The estimate of `factor * truth + offset`.
    #[must_use]
    pub fn affine(&self, factor: f64, offset: f64) -> Self {
        let reference = match &self.reference {
            Reference::Resampled(draws) if factor < 0.0 => {
                Reference::Resampled(draws.iter().rev().map(|d| -d).collect())
            }
            other => other.clone(),
        };
        Self { value: factor * self.value + offset, standard_error: factor.abs() * self.standard_error, reference }
    }

    fn quantile(&self, p: f64) -> Result<f64, StatsError> {
        match &self.reference {
            Reference::Normal => normal_quantile(p),
            Reference::Student { dof } => t_quantile(p, *dof),
            Reference::Resampled(draws) => Ok(sample_quantile(draws, p)),
        }
    }

    fn cdf(&self, x: f64) -> Result<f64, StatsError> {
        match &self.reference {
            Reference::Normal => Ok(normal_cdf(x)),
            Reference::Student { dof } => t_cdf(x, *dof),
            Reference::Resampled(draws) => Ok(tail_share(draws.partition_point(|d| *d <= x), draws)),
        }
    }

    fn upper_tail(&self, x: f64) -> Result<f64, StatsError> {
        match &self.reference {
            // Both laws are symmetric, and the lower tail keeps its digits.
            Reference::Normal => Ok(normal_cdf(-x)),
            Reference::Student { dof } => t_cdf(-x, *dof),
            Reference::Resampled(draws) => Ok(tail_share(draws.len() - draws.partition_point(|d| *d < x), draws)),
        }
    }
}

/// The mean of independent values, with Student's law.
pub fn mean(values: &[f64]) -> Result<Estimate, StatsError> {
    at_least("a mean with its standard error", 2, values.len())?;
    all_finite("sample", values)?;
    let n = values.len() as f64;
    let value = sample_mean(values);
    let sum_of_squares: f64 = values.iter().map(|v| (v - value) * (v - value)).sum();
    Ok(Estimate {
        value,
        standard_error: (sum_of_squares / (n - 1.0) / n).sqrt(),
        reference: Reference::Student { dof: n - 1.0 },
    })
}

/// The mean of values that are met one after another and not kept: the same as [`mean`] up to rounding.
///
/// ```
/// use netsor_lab::stats::{Running, mean};
///
/// let values = [1.0, 2.0, 4.0];
/// let mut running = Running::default();
/// values.iter().for_each(|&x| running.add(x));
/// assert!((running.estimate()?.standard_error - mean(&values)?.standard_error).abs() < 1e-15);
/// # Ok::<(), netsor_lab::stats::StatsError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Running {
    count: usize,
    mean: f64,
    /// Sum of squared deviations from the mean so far.
    squares: f64,
}

impl Running {
    /// Takes one more value (Welford's update, which does not cancel).
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        let before = value - self.mean;
        self.mean += before / self.count as f64;
        self.squares += before * (value - self.mean);
    }

    /// The number of values so far.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Their mean, with Student's law.
    ///
    /// # Errors
    /// For fewer than two values, and if one was not finite.
    pub fn estimate(&self) -> Result<Estimate, StatsError> {
        at_least("a mean with its standard error", 2, self.count)?;
        all_finite("mean and sum of squares", &[self.mean, self.squares])?;
        let n = self.count as f64;
        Ok(Estimate {
            value: self.mean,
            standard_error: (self.squares / (n - 1.0) / n).sqrt(),
            reference: Reference::Student { dof: n - 1.0 },
        })
    }
}

/// The mean of `a[k] - b[k]`, where k is a seed used for both.
pub fn paired_difference(a: &[f64], b: &[f64]) -> Result<Estimate, StatsError> {
    same_length("second half of the pairs", a.len(), b.len())?;
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| a - b).collect();
    mean(&differences)
}

/// Mean in index order.
pub(crate) fn sample_mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Quantile of sorted draws with the rule `k = p (B + 1)`, linear in between, clamped at the ends:
/// with B + 1 a multiple of 40 the 95 % limits are draws themselves.
fn sample_quantile(draws: &[f64], p: f64) -> f64 {
    let position = (p * (draws.len() as f64 + 1.0) - 1.0).clamp(0.0, draws.len() as f64 - 1.0);
    let below = position.floor() as usize;
    let above = (below + 1).min(draws.len() - 1);
    draws[below] + (position - below as f64) * (draws[above] - draws[below])
}

/// Share of draws in a tail; the observed value counts as one more draw, so it is never zero.
fn tail_share(count: usize, draws: &[f64]) -> f64 {
    (count as f64 + 1.0) / (draws.len() as f64 + 1.0)
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    /// By hand: mean 3, variance 2.5, standard error sqrt(1/2), t(0.975, 4) = 2.776445.
    #[test]
    fn mean_of_one_to_five() {
        let estimate = mean(&[1.0, 2.0, 3.0, 4.0, 5.0]).unwrap();
        assert_relative_eq!(estimate.value, 3.0);
        assert_relative_eq!(estimate.standard_error, 0.5_f64.sqrt(), max_relative = 1e-15);
        let (low, high) = estimate.interval(0.95).unwrap();
        assert_relative_eq!(low, 3.0 - 2.776_445_105 * 0.5_f64.sqrt(), max_relative = 1e-9);
        assert_relative_eq!(high, 3.0 + 2.776_445_105 * 0.5_f64.sqrt(), max_relative = 1e-9);
    }

    /// The 95 % interval ends exactly where the one-sided p-values are 2.5 %.
    #[test]
    fn intervals_and_p_values_agree() {
        let draws: Vec<f64> = (1..=999).map(|k| (f64::from(k) / 1000.0 - 0.4) * 5.0).collect();
        let laws = [
            (Reference::Normal, 1e-10),
            (Reference::Student { dof: 6.0 }, 1e-10),
            (Reference::Resampled(draws), 1.5e-3), // one draw of 999
        ];
        for (reference, tolerance) in laws {
            let estimate = Estimate { value: 2.0, standard_error: 0.3, reference };
            let (low, high) = estimate.interval(0.95).unwrap();
            assert!((estimate.p_not_above(low).unwrap() - 0.025).abs() < tolerance);
            assert!((estimate.p_not_below(high).unwrap() - 0.025).abs() < tolerance);
        }
    }

    /// Far from zero, where a sum of squares minus the square of the sum would have no digits.
    #[test]
    fn a_running_mean_is_the_mean() {
        let values: Vec<f64> = (0..500).map(|k| 1e8 + f64::from(k * 7919 % 501)).collect();
        let mut running = Running::default();
        assert!(running.estimate().is_err());
        values.iter().for_each(|&x| running.add(x));
        let (found, expected) = (running.estimate().unwrap(), mean(&values).unwrap());
        assert_eq!((running.count(), &found.reference), (500, &expected.reference));
        assert_relative_eq!(found.value, expected.value, max_relative = 1e-14);
        // Half a unit in the last place of 1e8, beside deviations of 145.
        assert_relative_eq!(found.standard_error, expected.standard_error, max_relative = 5e-11);
        running.add(f64::INFINITY);
        assert!(running.estimate().is_err());
    }

    #[test]
    fn a_negative_factor_mirrors_the_law() {
        let draws: Vec<f64> = (0..99).map(|k| f64::from(k).powi(2) / 1000.0 - 1.0).collect();
        let reference = Reference::Resampled(draws);
        let estimate = Estimate { value: 2.0, standard_error: 0.3, reference };
        let (low, high) = estimate.interval(0.9).unwrap();
        let (mirrored_low, mirrored_high) = estimate.affine(-2.0, 1.0).interval(0.9).unwrap();
        assert_relative_eq!(mirrored_low, 1.0 - 2.0 * high, max_relative = 1e-12);
        assert_relative_eq!(mirrored_high, 1.0 - 2.0 * low, max_relative = 1e-12);
    }

    #[test]
    fn exact_numbers_decide_without_a_law() {
        let exact = Estimate::exact(1.0);
        assert_eq!(exact.interval(0.95).unwrap(), (1.0, 1.0));
        assert_eq!(exact.p_not_below(1.5).unwrap(), 0.0);
        assert_eq!(exact.p_not_below(1.0).unwrap(), 1.0);
        assert_eq!(exact.p_not_above(0.5).unwrap(), 0.0);
    }

    #[test]
    fn bad_samples_are_errors() {
        assert!(mean(&[1.0]).is_err());
        assert!(mean(&[1.0, f64::NAN]).is_err());
        assert!(paired_difference(&[1.0, 2.0], &[1.0]).is_err());
        assert!(Estimate::exact(1.0).interval(1.0).is_err());
    }
}
