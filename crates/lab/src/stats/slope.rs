//! Straight lines and power laws by ordinary least squares, Student's law for the slope.

use super::estimate::sample_mean;
use super::{Estimate, Reference, StatsError, all_finite, all_positive, at_least, same_length};

/// A fitted power law `y = prefactor * x^slope`.
#[derive(Debug, Clone, PartialEq)]
pub struct PowerFit {
    /// The exponent.
    pub slope: Estimate,
    /// `ln prefactor`.
    pub log_prefactor: f64,
}

impl PowerFit {
    /// Value of the fitted law at x.
    #[must_use]
    pub fn at(&self, x: f64) -> f64 {
        (self.log_prefactor + self.slope.value * x.ln()).exp()
    }
}

/// Least-squares line through (x, y): `(intercept, slope)`.
///
/// The slope's error is Student's with `len - 2` degrees of freedom: deviations from the line are
/// taken as independent noise of one variance. When each point is a mean over seeds that are shared
/// between abscissae they are not independent: use [`super::slope_over_seeds`].
///
/// At least three points with two distinct abscissae.
pub fn fit_line(x: &[f64], y: &[f64]) -> Result<(f64, Estimate), StatsError> {
    same_length("ordinates", x.len(), y.len())?;
    at_least("a line with its standard error", 3, x.len())?;
    all_finite("abscissae", x)?;
    all_finite("ordinates", y)?;
    let weights = slope_weights(x)?;
    let slope: f64 = weights.iter().zip(y).map(|(w, y)| w * y).sum();
    let intercept = sample_mean(y) - slope * sample_mean(x);
    let dof = x.len() as f64 - 2.0;
    let residual_square: f64 = x.iter().zip(y).map(|(x, y)| (y - intercept - slope * x).powi(2)).sum();
    // The slope is `sum w y` with independent y, so its variance is `sum w^2` times theirs.
    let leverage: f64 = weights.iter().map(|w| w * w).sum();
    let slope = Estimate {
        value: slope,
        standard_error: (leverage * residual_square / dof).sqrt(),
        reference: Reference::Student { dof },
    };
    Ok((intercept, slope))
}

/// Fits `y = C x^slope` to positive data by a line through `(ln x, ln y)`; see [`fit_line`].
pub fn fit_power(x: &[f64], y: &[f64]) -> Result<PowerFit, StatsError> {
    all_positive("abscissae of a power law", x)?;
    all_positive("ordinates of a power law", y)?;
    let log = |v: &[f64]| v.iter().map(|v| v.ln()).collect::<Vec<_>>();
    let (log_prefactor, slope) = fit_line(&log(x), &log(y))?;
    Ok(PowerFit { slope, log_prefactor })
}

/// The w with `sum w_i y_i` = least-squares slope of y over x.
pub(crate) fn slope_weights(x: &[f64]) -> Result<Vec<f64>, StatsError> {
    let centre = sample_mean(x);
    let spread: f64 = x.iter().map(|x| (x - centre).powi(2)).sum();
    let scale = x.iter().fold(0.0_f64, |acc, x| acc.max(x.abs()));
    // Spread that is rounding of the abscissae themselves is no spread.
    if spread <= (x.len() as f64) * (4.0 * f64::EPSILON * scale).powi(2) {
        return Err(StatsError::Singular { what: "slope" });
    }
    Ok(x.iter().map(|x| (x - centre) / spread).collect())
}

#[cfg(test)]
mod tests {
    use approx::{assert_abs_diff_eq, assert_relative_eq};

    use super::*;

    #[test]
    fn exact_power_laws_are_recovered() {
        let widths = [64.0, 128.0, 256.0, 512.0, 1024.0_f64];
        for exponent in [-2.0, -0.5, 0.0, 1.5] {
            let y = widths.map(|n| 3.0 * n.powf(exponent));
            let fit = fit_power(&widths, &y).unwrap();
            // Rounding: a few eps of logarithms of size 10.
            assert_abs_diff_eq!(fit.slope.value, exponent, epsilon = 1e-14);
            assert_abs_diff_eq!(fit.slope.standard_error, 0.0, epsilon = 1e-14);
            assert_relative_eq!(fit.at(300.0), 3.0 * 300f64.powf(exponent), max_relative = 1e-12);
        }
    }

    /// By hand for (1,2), (2,3), (3,5), (4,4): slope 4/5, intercept 3/2, residual sum of squares
    /// 9/5, standard error of the slope sqrt((9/5)/2/5) = sqrt(0.18).
    #[test]
    fn a_line_worked_by_hand() {
        let (intercept, slope) = fit_line(&[1.0, 2.0, 3.0, 4.0], &[2.0, 3.0, 5.0, 4.0]).unwrap();
        assert_relative_eq!(slope.value, 0.8, max_relative = 1e-14);
        assert_relative_eq!(intercept, 1.5, max_relative = 1e-14);
        assert_relative_eq!(slope.standard_error, 0.18_f64.sqrt(), max_relative = 1e-14);
        assert_eq!(slope.reference, Reference::Student { dof: 2.0 });
    }

    #[test]
    fn bad_data_are_errors() {
        assert!(matches!(fit_power(&[1.0, 2.0], &[1.0, 2.0]), Err(StatsError::TooFew { .. })));
        assert!(matches!(fit_power(&[1.0, 2.0, 3.0], &[1.0, 0.0, 2.0]), Err(StatsError::NotPositive { index: 1, .. })));
        assert!(matches!(fit_line(&[0.1; 3], &[1.0, 2.0, 3.0]), Err(StatsError::Singular { .. })));
        assert!(fit_line(&[1.0, 2.0, f64::NAN], &[1.0, 2.0, 3.0]).is_err());
        assert!(fit_line(&[1.0, 2.0, 3.0], &[1.0, 2.0]).is_err());
    }
}
