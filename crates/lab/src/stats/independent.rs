//! Curves measured with samples of their own at each abscissa.
//!
//! Where a draw at one width says nothing about the draw at another, a seed need not serve all widths, and the wide
//! networks, which cost most, need not have as many draws as the narrow ones. The variance of a fitted slope is
//! `sum_i w_i^2 s_i^2 / N_i`, and at a cost of `n_i^2` a draw it is least for `N_i` proportional to `|w_i| / n_i`.

use super::estimate::sample_mean;
use super::extrapolate::satterthwaite;
use super::over_seeds::{Average, Curve, CurvePoint};
use super::slope::slope_weights;
use super::{Estimate, PowerFit, StatsError};
use super::{all_finite, all_positive, at_least, mean, same_length};

/// Exponent of a power law through averages of independent samples; `samples[i]` belongs to `x[i]`, and may have any
/// number of values from 2 on.
///
/// The standard error is that of the delta method, and the law Student's with the degrees of freedom of Welch and
/// Satterthwaite. Values as for [`super::slope_over_seeds`].
pub fn slope_of_samples(x: &[f64], samples: &[Vec<f64>], average: Average) -> Result<Curve, StatsError> {
    same_length("samples", x.len(), samples.len())?;
    let means = samples.iter().map(|values| inner_mean(values, average)).collect::<Result<Vec<_>, _>>()?;
    slope_of_means(x, &means, average)
}

/// As [`slope_of_samples`], from the means of `y`, of `y^2` or of `ln y` (as `average` has it) alone: for numbers so many
/// that their draws cannot be kept.
pub fn slope_of_means(x: &[f64], means: &[Estimate], average: Average) -> Result<Curve, StatsError> {
    same_length("means", x.len(), means.len())?;
    at_least("a slope", 2, x.len())?;
    all_positive("abscissae of a power law", x)?;
    let logs = means.iter().map(|mean| log_average(mean, average)).collect::<Result<Vec<_>, _>>()?;
    let log_x: Vec<f64> = x.iter().map(|x| x.ln()).collect();
    let weights = slope_weights(&log_x)?;
    let value: f64 = weights.iter().zip(&logs).map(|(w, log)| w * log.value).sum();
    let variance: f64 = weights.iter().zip(&logs).map(|(w, log)| (w * log.standard_error).powi(2)).sum();
    let reference = satterthwaite(&weights, &logs);
    let slope = Estimate { value, standard_error: variance.sqrt(), reference };
    let centres: Vec<f64> = logs.iter().map(|log| log.value).collect();
    let log_prefactor = sample_mean(&centres) - value * sample_mean(&log_x);
    let point = |(&x, log): (&f64, &Estimate)| {
        let (low, high) = log.interval(0.95)?;
        Ok(CurvePoint { x, y: log.value.exp(), interval: (low.exp(), high.exp()) })
    };
    let points = x.iter().zip(&logs).map(point).collect::<Result<_, _>>()?;
    Ok(Curve { fit: PowerFit { slope, log_prefactor }, points })
}

/// The mean that an average is a function of.
fn inner_mean(values: &[f64], average: Average) -> Result<Estimate, StatsError> {
    match average {
        Average::RootMeanSquare | Average::Mean => all_finite("values at one abscissa", values)?,
        Average::Geometric => all_positive("values at one abscissa", values)?,
    }
    mean(&values.iter().map(|&y| average.inner(y)).collect::<Vec<_>>())
}

/// The logarithm of an average with the standard error of the delta method.
fn log_average(inner: &Estimate, average: Average) -> Result<Estimate, StatsError> {
    if average != Average::Geometric {
        all_positive("averages over seeds", &[inner.value])?;
    }
    let (log, derivative) = average.log_outer(inner.value);
    Ok(Estimate { value: log, ..inner.affine(derivative, 0.0) })
}

#[cfg(test)]
mod tests {
    use approx::{assert_abs_diff_eq, assert_relative_eq};
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;
    use crate::stats::{Reference, slope_over_seeds};

    #[test]
    fn exact_slopes_are_recovered_from_samples_of_any_size() {
        let x = [64.0, 128.0, 256.0_f64];
        for average in [Average::Mean, Average::RootMeanSquare, Average::Geometric] {
            let samples: Vec<Vec<f64>> = x.iter().zip([9, 4, 2]).map(|(n, k)| vec![3.0 * n.powf(-0.5); k]).collect();
            let curve = slope_of_samples(&x, &samples, average).unwrap();
            // Rounding: a few eps of logarithms of size 10.
            assert_abs_diff_eq!(curve.fit.slope.value, -0.5, epsilon = 1e-14);
            assert_abs_diff_eq!(curve.fit.slope.standard_error, 0.0, epsilon = 1e-14);
            assert_relative_eq!(curve.fit.at(100.0), 0.3, max_relative = 1e-12);
        }
    }

    /// Two points and the geometric mean, by hand: `ln 4` apart, so weights are -+1/ln 4; logarithms 0, 2 and -1, 1, 0.
    #[test]
    fn two_samples_worked_by_hand() {
        let e = |k: f64| k.exp();
        let curve =
            slope_of_samples(&[1.0, 4.0], &[vec![e(0.0), e(2.0)], vec![e(-1.0), e(1.0), e(0.0)]], Average::Geometric);
        let slope = curve.unwrap().fit.slope;
        let log4 = 4.0_f64.ln();
        assert_relative_eq!(slope.value, -1.0 / log4, max_relative = 1e-14);
        // Variances of the means: 2/2 = 1 and 1/3.
        assert_relative_eq!(slope.standard_error, (4.0_f64 / 3.0).sqrt() / log4, max_relative = 1e-14);
        // (1 + 1/3)^2 / (1/1 + (1/9)/2)
        let Reference::Student { dof } = slope.reference else { panic!("{slope:?}") };
        assert_relative_eq!(dof, (16.0 / 9.0) / (19.0 / 18.0), max_relative = 1e-12);
    }

    /// Of 400 experiments with few and unequal numbers of values, a 95 % interval misses the truth in 20; four binomial
    /// standard deviations more or less are 17.4. Means of squares of 16 Gaussian numbers are close to Gaussian.
    #[test]
    fn intervals_cover() {
        let x = [64.0, 128.0, 256.0_f64];
        let mut missed = 0;
        for seed in 0..400 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut norm = || {
                let square: f64 = (0..16).map(|_| StandardNormal.sample(&mut rng)).map(|z: f64| z * z).sum();
                square.sqrt()
            };
            let samples: Vec<Vec<f64>> =
                x.iter().zip([64, 24, 12]).map(|(n, k)| (0..k).map(|_| n.powf(-0.5) * norm()).collect()).collect();
            let slope = slope_of_samples(&x, &samples, Average::RootMeanSquare).unwrap().fit.slope;
            let (low, high) = slope.interval(0.95).unwrap();
            missed += i32::from(!(low..=high).contains(&-0.5));
        }
        assert!((3..=37).contains(&missed), "{missed}");
    }

    /// With equal sizes and independent columns both ways give the same slope, and nearly the same error.
    #[test]
    fn agrees_with_rows_of_seeds() {
        let x = [64.0, 256.0, 1024.0_f64];
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut gauss = || -> f64 { StandardNormal.sample(&mut rng) };
        let rows: Vec<Vec<f64>> = (0..400).map(|_| x.iter().map(|n| n.powf(-0.5) * gauss()).collect()).collect();
        let columns: Vec<Vec<f64>> = (0..3).map(|k| rows.iter().map(|row| row[k]).collect()).collect();
        let by_rows = slope_over_seeds(&x, &rows, Average::RootMeanSquare).unwrap().fit.slope;
        let by_columns = slope_of_samples(&x, &columns, Average::RootMeanSquare).unwrap().fit.slope;
        assert_relative_eq!(by_rows.value, by_columns.value, max_relative = 1e-12);
        // The sample covariance of two columns of 400 is a twentieth of their variances.
        assert_relative_eq!(by_rows.standard_error, by_columns.standard_error, max_relative = 0.1);
    }

    #[test]
    fn bad_samples_are_errors() {
        let slope = |samples: &[Vec<f64>]| slope_of_samples(&[1.0, 2.0], samples, Average::RootMeanSquare);
        assert!(matches!(slope(&[vec![1.0, 2.0]]), Err(StatsError::Length { .. })));
        assert!(matches!(slope(&[vec![1.0, 2.0], vec![1.0]]), Err(StatsError::TooFew { .. })));
        assert!(matches!(slope(&[vec![1.0, f64::NAN], vec![1.0, 2.0]]), Err(StatsError::NotFinite { index: 1, .. })));
        assert!(matches!(slope(&[vec![0.0, 0.0], vec![1.0, 2.0]]), Err(StatsError::NotPositive { .. })));
    }
}
