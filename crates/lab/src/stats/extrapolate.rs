//! The value at infinite width from values at finite widths: `m + c_1 n^(-p_1) + c_2 n^(-p_2)`.

use super::{Estimate, Reference, StatsError};
use super::{all_positive, at_least, chi2_upper_tail, mean, same_length};

/// Result of an extrapolation to infinite width.
#[derive(Debug, Clone, PartialEq)]
pub struct Extrapolation {
    /// The constant m.
    pub limit: Estimate,
    /// The coefficients c, in the order of the powers given.
    pub coefficients: Vec<Estimate>,
    /// Weighted sum of squared residuals.
    pub chi2: f64,
    /// p-value of "the model is right" from `chi2`; `None` when nothing is left over to test it.
    /// A small one says that more terms or larger widths are needed.
    pub p_model: Option<f64>,
}

/// Fits `m + sum_k c_k n^(-powers[k])` to independent estimates at the given widths by weighted
/// least squares with weights `1 / standard_error^2`.
///
/// `powers` is `[1.0]` for `m + c/n`. When the standard errors are themselves estimates, the law is
/// Student's with the degrees of freedom of Welch and Satterthwaite, which wants at least eight or
/// so seeds behind each value. Widths that share seeds are not independent:
/// see [`extrapolate_over_seeds`].
pub fn extrapolate(widths: &[f64], values: &[Estimate], powers: &[f64]) -> Result<Extrapolation, StatsError> {
    same_length("values", widths.len(), values.len())?;
    let errors: Vec<f64> = values.iter().map(|v| v.standard_error).collect();
    all_positive("standard errors", &errors)?;
    let rows = combinations(widths, &errors, powers)?;
    let estimates = rows
        .iter()
        .map(|row| Estimate {
            value: row.iter().zip(values).map(|(a, v)| a * v.value).sum(),
            standard_error: row.iter().zip(&errors).map(|(a, e)| (a * e).powi(2)).sum::<f64>().sqrt(),
            reference: satterthwaite(row, values),
        })
        .collect();
    let centres: Vec<f64> = values.iter().map(|v| v.value).collect();
    finish(widths, &centres, &errors, powers, estimates)
}

/// As [`extrapolate`] for `samples[seed][i]` at `widths[i]`, where a seed is used at all widths.
///
/// The weights come from the standard errors of the column means. The result is linear in the
/// samples, so each seed gives its own extrapolation, and Student's law with `seeds - 1` degrees of
/// freedom holds whatever the correlation between widths. `p_model` treats the widths as
/// independent and is only a guide here.
pub fn extrapolate_over_seeds(
    widths: &[f64],
    samples: &[Vec<f64>],
    powers: &[f64],
) -> Result<Extrapolation, StatsError> {
    at_least("an extrapolation over seeds", 2, samples.len())?;
    for row in samples {
        same_length("values of one seed", widths.len(), row.len())?;
    }
    let columns = (0..widths.len())
        .map(|i| mean(&samples.iter().map(|row| row[i]).collect::<Vec<_>>()))
        .collect::<Result<Vec<_>, _>>()?;
    let errors: Vec<f64> = columns.iter().map(|c| c.standard_error).collect();
    all_positive("standard errors", &errors)?;
    let rows = combinations(widths, &errors, powers)?;
    let estimates = rows
        .iter()
        .map(|weights| {
            let apply = |row: &Vec<f64>| weights.iter().zip(row).map(|(a, y)| a * y).sum();
            mean(&samples.iter().map(apply).collect::<Vec<f64>>())
        })
        .collect::<Result<Vec<_>, _>>()?;
    let centres: Vec<f64> = columns.iter().map(|c| c.value).collect();
    finish(widths, &centres, &errors, powers, estimates)
}

fn finish(
    widths: &[f64],
    centres: &[f64],
    errors: &[f64],
    powers: &[f64],
    estimates: Vec<Estimate>,
) -> Result<Extrapolation, StatsError> {
    let model = |n: f64| {
        let terms = powers.iter().zip(&estimates[1..]).map(|(p, c)| c.value * n.powf(-p));
        estimates[0].value + terms.sum::<f64>()
    };
    let chi2 = widths.iter().zip(centres).zip(errors).map(|((&n, y), e)| ((y - model(n)) / e).powi(2)).sum();
    let left_over = widths.len() - estimates.len();
    let p_model = if 0 < left_over { Some(chi2_upper_tail(chi2, left_over as f64)?) } else { None };
    let mut estimates = estimates.into_iter();
    let limit = estimates.next().expect("a fit has at least the constant term");
    Ok(Extrapolation { limit, coefficients: estimates.collect(), chi2, p_model })
}

/// The rows of the `A` with `(m, c_1, ..) = A y`.
///
/// Columns are scaled to `(n_min / n)^p`, so that the normal equations stay well conditioned.
fn combinations(widths: &[f64], errors: &[f64], powers: &[f64]) -> Result<Vec<Vec<f64>>, StatsError> {
    all_positive("widths", widths)?;
    all_positive("powers of 1/n", powers)?;
    let n_terms = powers.len() + 1;
    at_least("an extrapolation", n_terms, widths.len())?;
    let smallest = widths.iter().copied().fold(f64::INFINITY, f64::min);
    let best = errors.iter().copied().fold(f64::INFINITY, f64::min);
    let design: Vec<Vec<f64>> = widths
        .iter()
        .map(|n| std::iter::once(1.0).chain(powers.iter().map(|p| (smallest / n).powf(*p))).collect())
        .collect();
    let weights: Vec<f64> = errors.iter().map(|e| (best / e).powi(2)).collect();
    let mut normal = vec![vec![0.0; n_terms]; n_terms];
    for (row, weight) in design.iter().zip(&weights) {
        for j in 0..n_terms {
            for k in 0..n_terms {
                normal[j][k] += weight * row[j] * row[k];
            }
        }
    }
    let inverse = invert(normal).ok_or(StatsError::Singular { what: "extrapolation" })?;
    let unscale = |j: usize| {
        if j == 0 { 1.0 } else { smallest.powf(powers[j - 1]) }
    };
    let rows = (0..n_terms)
        .map(|j| {
            design
                .iter()
                .zip(&weights)
                .map(|(row, weight)| {
                    let inner: f64 = inverse[j].iter().zip(row).map(|(a, x)| a * x).sum();
                    unscale(j) * inner * weight
                })
                .collect()
        })
        .collect();
    Ok(rows)
}

/// Gauss-Jordan with row pivots, for the two to four unknowns of a fit; `None` when singular to
/// rounding.
fn invert(mut a: Vec<Vec<f64>>) -> Option<Vec<Vec<f64>>> {
    let n = a.len();
    let scale = a.iter().flatten().fold(0.0_f64, |acc, v| acc.max(v.abs()));
    let mut inverse: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    for k in 0..n {
        let pivot = (k..n).max_by(|&i, &j| a[i][k].abs().total_cmp(&a[j][k].abs()))?;
        if a[pivot][k].abs() <= 1e3 * f64::EPSILON * scale {
            return None;
        }
        a.swap(k, pivot);
        inverse.swap(k, pivot);
        let head = a[k][k];
        for j in 0..n {
            a[k][j] /= head;
            inverse[k][j] /= head;
        }
        for i in (0..n).filter(|&i| i != k) {
            let factor = a[i][k];
            for j in 0..n {
                a[i][j] -= factor * a[k][j];
                inverse[i][j] -= factor * inverse[k][j];
            }
        }
    }
    Some(inverse)
}

/// Welch and Satterthwaite: `(sum v)^2 / sum v^2/dof` over the variances `v = (a e)^2` of the terms
/// whose standard error is estimated; Gaussian when none is.
pub(super) fn satterthwaite(row: &[f64], values: &[Estimate]) -> Reference {
    let (mut total, mut scaled) = (0.0, 0.0);
    for (a, value) in row.iter().zip(values) {
        let variance = (a * value.standard_error).powi(2);
        total += variance;
        if let Reference::Student { dof } = value.reference {
            scaled += variance * variance / dof;
        }
    }
    if scaled == 0.0 { Reference::Normal } else { Reference::Student { dof: total * total / scaled } }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::SeedableRng;
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    const WIDTHS: [f64; 5] = [32.0, 64.0, 128.0, 256.0, 512.0];

    #[test]
    fn exact_models_are_recovered() {
        let noisy = |value: f64, k: usize| Estimate {
            value,
            standard_error: 0.1 / (1.0 + k as f64),
            reference: Reference::Normal,
        };
        let exact = |n: f64| 2.0 - 3.0 / n + 5.0 / (n * n);
        let values: Vec<_> = WIDTHS.iter().enumerate().map(|(k, &n)| noisy(exact(n), k)).collect();
        let fit = extrapolate(&WIDTHS, &values, &[1.0, 2.0]).unwrap();
        // Rounding, times the condition of three terms on five widths (about 1e3) and n_min^2.
        assert_relative_eq!(fit.limit.value, 2.0, max_relative = 1e-12);
        assert_relative_eq!(fit.coefficients[0].value, -3.0, max_relative = 1e-10);
        assert_relative_eq!(fit.coefficients[1].value, 5.0, max_relative = 1e-8);
        assert!(fit.p_model.unwrap() > 0.999);
        // Leaving out a term that is there moves the limit by far more than rounding.
        let short = extrapolate(&WIDTHS, &values, &[1.0]).unwrap();
        assert!((short.limit.value - 2.0).abs() > 1e-6);
    }

    /// Two widths determine m and c: m = (n2 y2 - n1 y1)/(n2 - n1), the textbook form of
    /// Richardson, with its error by propagation.
    #[test]
    fn two_widths_are_richardson() {
        let estimate = |value, standard_error| Estimate { value, standard_error, reference: Reference::Normal };
        let values = [estimate(1.2, 0.1), estimate(1.1, 0.3)];
        let fit = extrapolate(&[10.0, 30.0], &values, &[1.0]).unwrap();
        assert_relative_eq!(fit.limit.value, (33.0 - 12.0) / 20.0, max_relative = 1e-13);
        let error = ((30.0 * 0.3_f64).powi(2) + (10.0 * 0.1_f64).powi(2)).sqrt() / 20.0;
        assert_relative_eq!(fit.limit.standard_error, error, max_relative = 1e-13);
        assert_eq!(fit.p_model, None);
    }

    /// Over 400 data sets, 95 % intervals hold the truth 380 times up to four binomial standard
    /// deviations (17.4). Seeds are shared between widths, with correlation 1/2.
    #[test]
    fn intervals_cover_the_limit() {
        let mut covered = 0;
        for seed in 0..400 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let mut gauss = || -> f64 { StandardNormal.sample(&mut rng) };
            let samples: Vec<Vec<f64>> = (0..12)
                .map(|_| {
                    let common = gauss();
                    WIDTHS.iter().map(|n| 1.0 + 4.0 / n + (common + gauss()) / n.sqrt()).collect()
                })
                .collect();
            let fit = extrapolate_over_seeds(&WIDTHS, &samples, &[1.0]).unwrap();
            let (low, high) = fit.limit.interval(0.95).unwrap();
            covered += i32::from(low <= 1.0 && 1.0 <= high);
        }
        assert!((363..=397).contains(&covered), "covers {covered} of 400");
    }

    #[test]
    fn bad_designs_are_errors() {
        let one = Estimate { value: 1.0, standard_error: 0.1, reference: Reference::Normal };
        let same = extrapolate(&[8.0, 8.0, 8.0], &vec![one.clone(); 3], &[1.0]);
        assert!(matches!(same, Err(StatsError::Singular { .. })));
        assert!(extrapolate(&[8.0], std::slice::from_ref(&one), &[1.0]).is_err());
        assert!(extrapolate(&[8.0, 9.0], &[one, Estimate::exact(1.0)], &[1.0]).is_err());
    }
}
