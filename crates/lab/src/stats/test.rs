//! Tests of an estimate against a prediction.
//!
//! Every test has two one-sided p-values, one for each answer. `p_value` is small when the
//! prediction is confirmed (the hypothesis that it is *wrong* is rejected), `p_against` is small
//! when it is refuted. When neither is, the data do not decide. A margin belongs to the prediction
//! and is stated before the data are seen.

use super::{Estimate, StatsError, all_finite};

/// The two p-values of a test.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evidence {
    /// Of the hypothesis that the prediction is wrong: small confirms the prediction.
    pub p_value: f64,
    /// Of the hypothesis that the prediction is right: small refutes the prediction.
    pub p_against: f64,
}

/// Prediction `|truth - target| < margin`, by two one-sided tests (TOST, Schuirmann 1987).
///
/// Confirmed at level a exactly when the `1 - 2a` interval lies inside the margins.
pub fn p_equals(estimate: &Estimate, target: f64, margin: f64) -> Result<Evidence, StatsError> {
    let (low, high) = margins(target, margin)?;
    let above_low = estimate.p_not_above(low)?;
    let below_high = estimate.p_not_below(high)?;
    let beyond_low = estimate.p_not_below(low)?;
    let beyond_high = estimate.p_not_above(high)?;
    Ok(Evidence {
        p_value: above_low.max(below_high),
        // Both sides are looked at, so the smaller p-value counts twice.
        p_against: (2.0 * beyond_low.min(beyond_high)).min(1.0),
    })
}

/// Prediction `|truth - target| > margin`: [`p_equals`] with its two answers exchanged.
pub fn p_differs(estimate: &Estimate, target: f64, margin: f64) -> Result<Evidence, StatsError> {
    let equals = p_equals(estimate, target, margin)?;
    Ok(Evidence { p_value: equals.p_against, p_against: equals.p_value })
}

/// Prediction `truth < bound + margin`.
///
/// A bound that is attained (an error of order n^(-1/2) exactly) could never be confirmed without a
/// margin; zero is right for strict inequalities.
pub fn p_at_most(estimate: &Estimate, bound: f64, margin: f64) -> Result<Evidence, StatsError> {
    let (_, high) = margins(bound, margin)?;
    Ok(Evidence { p_value: estimate.p_not_below(high)?, p_against: estimate.p_not_above(high)? })
}

/// Prediction `truth > bound - margin`.
pub fn p_at_least(estimate: &Estimate, bound: f64, margin: f64) -> Result<Evidence, StatsError> {
    let (low, _) = margins(bound, margin)?;
    Ok(Evidence { p_value: estimate.p_not_above(low)?, p_against: estimate.p_not_below(low)? })
}

fn margins(target: f64, margin: f64) -> Result<(f64, f64), StatsError> {
    all_finite("prediction", &[target])?;
    if !(margin.is_finite() && 0.0 <= margin) {
        return Err(StatsError::OutOfRange {
            what: "margin",
            value: margin,
            expected: "a finite number that is not negative",
        });
    }
    Ok((target - margin, target + margin))
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    use super::super::{Reference, mean, normal_cdf};
    use super::*;

    fn gaussian(value: f64, standard_error: f64) -> Estimate {
        Estimate { value, standard_error, reference: Reference::Normal }
    }

    /// By hand: estimate 0.2 with error 0.1 against 0 +- 0.5: z = 7 and z = 3.
    #[test]
    fn equivalence_worked_by_hand() {
        let found = p_equals(&gaussian(0.2, 0.1), 0.0, 0.5).unwrap();
        assert_relative_eq!(found.p_value, normal_cdf(-3.0), max_relative = 1e-9);
        assert_relative_eq!(found.p_against, 1.0);
        let outside = p_equals(&gaussian(0.8, 0.1), 0.0, 0.5).unwrap();
        assert_relative_eq!(outside.p_against, 2.0 * normal_cdf(-3.0), max_relative = 1e-9);
        assert!(outside.p_value > 0.99);
    }

    #[test]
    fn equivalence_is_the_interval_inclusion() {
        for value in [0.0, 0.2, 0.33, 0.34, 0.4, 0.6] {
            let estimate = gaussian(value, 0.1);
            let (low, high) = estimate.interval(0.90).unwrap();
            let inside = -0.5 < low && high < 0.5;
            assert_eq!(p_equals(&estimate, 0.0, 0.5).unwrap().p_value < 0.05, inside);
        }
    }

    #[test]
    fn one_sided_tests_mirror() {
        let estimate = gaussian(-0.48, 0.02);
        let below = p_at_most(&estimate, -0.5, 0.1).unwrap();
        assert_relative_eq!(below.p_value, normal_cdf(-4.0), max_relative = 1e-9);
        assert_relative_eq!(below.p_value + below.p_against, 1.0, max_relative = 1e-12);
        let mirrored = p_at_least(&estimate.affine(-1.0, 0.0), 0.5, 0.1).unwrap();
        assert_relative_eq!(below.p_value, mirrored.p_value, max_relative = 1e-12);
    }

    /// At the edge of the margin, where the prediction is just wrong, at most 5 % of 400 data sets
    /// may confirm it: 20, plus four binomial standard deviations, 17.4.
    #[test]
    fn size_at_the_margin() {
        let (mut confirmed, mut refuted) = (0, 0);
        for seed in 0..400 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let sample: Vec<f64> = (0..10)
                .map(|_| {
                    let gauss: f64 = StandardNormal.sample(&mut rng);
                    0.5 + 0.2 * gauss
                })
                .collect();
            let evidence = p_equals(&mean(&sample).unwrap(), 0.0, 0.5).unwrap();
            confirmed += i32::from(evidence.p_value < 0.05);
            refuted += i32::from(evidence.p_against < 0.05);
        }
        assert!(confirmed <= 37, "{confirmed}");
        assert!(refuted <= 37, "{refuted}");
    }

    #[test]
    fn exact_numbers_are_decided() {
        let inside = p_equals(&Estimate::exact(1.0), 1.0, 1e-9).unwrap();
        assert_eq!(inside, Evidence { p_value: 0.0, p_against: 1.0 });
        let outside = p_equals(&Estimate::exact(2.0), 1.0, 1e-9).unwrap();
        assert_eq!(outside, Evidence { p_value: 1.0, p_against: 0.0 });
        assert!(p_equals(&Estimate::exact(2.0), 1.0, -1.0).is_err());
        assert!(p_equals(&Estimate::exact(2.0), f64::NAN, 1.0).is_err());
    }
}
