//! Curves measured over seeds, where one seed gives a whole row.
//!
//! The same seeds are used at every abscissa (width, time, order), so the values of one row are
//! correlated and the rows are the independent units. Everything here therefore works row by row:
//! the standard error comes from one influence value a row, and the bootstrap draws whole rows.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::estimate::sample_mean;
use super::slope::slope_weights;
use super::{Estimate, PowerFit, Reference, StatsError};
use super::{all_finite, all_positive, at_least, mean, same_length};

/// How the values of all seeds at one abscissa become one number before a power law is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Average {
    /// `mean y`.
    Mean,
    /// `sqrt(mean y^2)`: the usual choice for errors that scatter around zero.
    RootMeanSquare,
    /// `exp(mean ln y)`: the slope is then the mean of the slopes of the seeds.
    Geometric,
}

impl Average {
    /// `u(y)`, whose mean over seeds is taken.
    pub(super) fn inner(self, y: f64) -> f64 {
        match self {
            Self::Mean => y,
            Self::RootMeanSquare => y * y,
            Self::Geometric => y.ln(),
        }
    }

    /// `ln` of the average and its derivative, both as functions of `mean u`.
    pub(super) fn log_outer(self, mean_u: f64) -> (f64, f64) {
        match self {
            Self::Mean => (mean_u.ln(), 1.0 / mean_u),
            Self::RootMeanSquare => (0.5 * mean_u.ln(), 0.5 / mean_u),
            Self::Geometric => (mean_u, 1.0),
        }
    }
}

/// Size and seed of a bootstrap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bootstrap {
    /// Number of resamples B; no p-value is below 1/(B + 1).
    pub resamples: usize,
    /// Seed of the resampling.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self { resamples: 9999, seed: 0 }
    }
}

/// A power law fitted to averages over seeds, and these averages.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// The fitted law.
    pub fit: PowerFit,
    /// The averages at each abscissa.
    pub points: Vec<CurvePoint>,
}

/// The average over seeds at one abscissa.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CurvePoint {
    /// Abscissa.
    pub x: f64,
    /// Average over seeds.
    pub y: f64,
    /// Pointwise 95 % interval (Student, on the logarithmic scale).
    pub interval: (f64, f64),
}

/// Exponent of a power law through averages over seeds; `samples[seed][i]` belongs to `x[i]`.
///
/// The standard error is that of the delta method: seed s has the influence
/// `psi_s = sum_i w_i d(ln average_i)/d(mean u_i) (u_si - mean u_i)` with `w` the least-squares
/// weights over `ln x`, and the slope has the variance of `mean psi`. Student's law with
/// `seeds - 1` degrees of freedom. Values must be positive ([`Average::RootMeanSquare`] takes either
/// sign), and their averages too.
pub fn slope_over_seeds(x: &[f64], samples: &[Vec<f64>], average: Average) -> Result<Curve, StatsError> {
    let table = Table::new(x, samples, average)?;
    let all: Vec<usize> = (0..samples.len()).collect();
    let (slope, log_prefactor) = table.slope(&all);
    let fit = PowerFit { slope, log_prefactor };
    let points = x.iter().enumerate().map(|(i, &x)| table.point(i, x)).collect::<Result<_, _>>()?;
    Ok(Curve { fit, points })
}

/// As [`slope_over_seeds`], with the law of the error from the studentised bootstrap over seeds:
/// whole rows are drawn with replacement, and each resample brings its own standard error.
///
/// Better than Student's law when the values are skewed and the seeds are not few (10 or more).
pub fn bootstrap_slope(
    x: &[f64],
    samples: &[Vec<f64>],
    average: Average,
    bootstrap: Bootstrap,
) -> Result<Estimate, StatsError> {
    let table = Table::new(x, samples, average)?;
    let all: Vec<usize> = (0..samples.len()).collect();
    let (estimate, _) = table.slope(&all);
    resample(estimate, samples.len(), bootstrap, |rows| table.slope(rows).0)
}

/// The mean of independent values with the law of its error from the studentised bootstrap.
pub fn bootstrap_mean(values: &[f64], bootstrap: Bootstrap) -> Result<Estimate, StatsError> {
    let estimate = mean(values)?;
    resample(estimate, values.len(), bootstrap, |rows| mean_of_rows(values, rows))
}

/// Inner values `u[i][seed]` and slope weights.
struct Table {
    u: Vec<Vec<f64>>,
    weights: Vec<f64>,
    log_x_mean: f64,
    average: Average,
}

impl Table {
    fn new(x: &[f64], samples: &[Vec<f64>], average: Average) -> Result<Self, StatsError> {
        at_least("a slope over seeds", 2, samples.len())?;
        at_least("a slope", 2, x.len())?;
        all_positive("abscissae of a power law", x)?;
        for row in samples {
            same_length("values of one seed", x.len(), row.len())?;
            match average {
                Average::RootMeanSquare | Average::Mean => all_finite("values of one seed", row)?,
                Average::Geometric => all_positive("values of one seed", row)?,
            }
        }
        let u: Vec<Vec<f64>> =
            (0..x.len()).map(|i| samples.iter().map(|row| average.inner(row[i])).collect()).collect();
        if average != Average::Geometric {
            let means: Vec<f64> = u.iter().map(|column| sample_mean(column)).collect();
            all_positive("averages over seeds", &means)?;
        }
        let log_x: Vec<f64> = x.iter().map(|x| x.ln()).collect();
        Ok(Self { u, weights: slope_weights(&log_x)?, log_x_mean: sample_mean(&log_x), average })
    }

    /// Slope and `ln prefactor` from the given rows (a row may occur several times).
    fn slope(&self, rows: &[usize]) -> (Estimate, f64) {
        let mut influence = vec![0.0; rows.len()];
        let mut slope = 0.0;
        let mut log_average_sum = 0.0;
        for (column, weight) in self.u.iter().zip(&self.weights) {
            let mean_u = rows.iter().map(|&s| column[s]).sum::<f64>() / rows.len() as f64;
            let (log_average, derivative) = self.average.log_outer(mean_u);
            slope += weight * log_average;
            log_average_sum += log_average;
            for (psi, &s) in influence.iter_mut().zip(rows) {
                *psi += weight * derivative * (column[s] - mean_u);
            }
        }
        let n_seeds = rows.len() as f64;
        let square: f64 = influence.iter().map(|psi| psi * psi).sum();
        let estimate = Estimate {
            value: slope,
            standard_error: (square / (n_seeds - 1.0) / n_seeds).sqrt(),
            reference: Reference::Student { dof: n_seeds - 1.0 },
        };
        let log_prefactor = log_average_sum / self.u.len() as f64 - slope * self.log_x_mean;
        (estimate, log_prefactor)
    }

    fn point(&self, i: usize, x: f64) -> Result<CurvePoint, StatsError> {
        let inner = mean(&self.u[i])?;
        let (log_average, derivative) = self.average.log_outer(inner.value);
        let log = Estimate { value: log_average, ..inner.affine(derivative, 0.0) };
        let (low, high) = log.interval(0.95)?;
        Ok(CurvePoint { x, y: log_average.exp(), interval: (low.exp(), high.exp()) })
    }
}

/// Draws rows with replacement and collects the studentised deviations.
///
/// A resample without spread (all draws equal) or without a finite value has no studentised
/// deviation and is drawn again, a bounded number of times: with two seeds half of the resamples
/// are of that kind.
fn resample(
    estimate: Estimate,
    n_rows: usize,
    bootstrap: Bootstrap,
    statistic: impl Fn(&[usize]) -> Estimate,
) -> Result<Estimate, StatsError> {
    at_least("a bootstrap", 39, bootstrap.resamples)?;
    if estimate.standard_error == 0.0 {
        return Ok(estimate);
    }
    let mut rng = ChaCha8Rng::seed_from_u64(bootstrap.seed);
    let mut rows = vec![0; n_rows];
    let mut draws = Vec::with_capacity(bootstrap.resamples);
    for _ in 0..20 * bootstrap.resamples {
        for row in &mut rows {
            *row = ((u128::from(rng.next_u64()) * n_rows as u128) >> 64) as usize;
        }
        let drawn = statistic(&rows);
        let deviation = (drawn.value - estimate.value) / drawn.standard_error;
        if deviation.is_finite() {
            draws.push(deviation);
            if draws.len() == bootstrap.resamples {
                break;
            }
        }
    }
    at_least("a bootstrap with spread", bootstrap.resamples, draws.len())?;
    draws.sort_by(f64::total_cmp);
    Ok(Estimate { reference: Reference::Resampled(draws), ..estimate })
}

fn mean_of_rows(values: &[f64], rows: &[usize]) -> Estimate {
    let n = rows.len() as f64;
    let value = rows.iter().map(|&s| values[s]).sum::<f64>() / n;
    let square: f64 = rows.iter().map(|&s| (values[s] - value).powi(2)).sum();
    Estimate { value, standard_error: (square / (n - 1.0) / n).sqrt(), reference: Reference::Student { dof: n - 1.0 } }
}

#[cfg(test)]
mod tests {
    use approx::{assert_abs_diff_eq, assert_relative_eq};
    use rand_distr::{Distribution, StandardNormal};

    use super::*;

    const WIDTHS: [f64; 5] = [64.0, 128.0, 256.0, 512.0, 1024.0];

    /// 20 seeds of `y = n^(-1/2) g`, with the g of one seed correlated (1/2) between widths.
    fn noisy_curves(seed: u64) -> Vec<Vec<f64>> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut gauss = || -> f64 { StandardNormal.sample(&mut rng) };
        (0..20)
            .map(|_| {
                let common = gauss();
                let value = |n: f64, own: f64| (common + own) * 0.5_f64.sqrt() / n.sqrt();
                WIDTHS.iter().map(|&n| value(n, gauss())).collect()
            })
            .collect()
    }

    #[test]
    fn exact_slopes_are_recovered_by_every_average() {
        let samples: Vec<Vec<f64>> =
            [1.0, 2.0, 5.0].iter().map(|c| WIDTHS.iter().map(|n: &f64| c * n.powf(-0.5)).collect()).collect();
        for average in [Average::Mean, Average::RootMeanSquare, Average::Geometric] {
            let curve = slope_over_seeds(&WIDTHS, &samples, average).unwrap();
            // Rounding: a few eps of logarithms of size 10. All seeds agree, so no error is left.
            assert_abs_diff_eq!(curve.fit.slope.value, -0.5, epsilon = 1e-14);
            assert_abs_diff_eq!(curve.fit.slope.standard_error, 0.0, epsilon = 1e-14);
        }
    }

    /// Under `Geometric` the slope is the mean of the seeds' own slopes, which `fit_power` gives.
    #[test]
    fn geometric_slope_is_the_mean_of_slopes() {
        let samples: Vec<Vec<f64>> =
            noisy_curves(3).into_iter().map(|row| row.into_iter().map(f64::abs).collect()).collect();
        let slopes: Vec<f64> =
            samples.iter().map(|row| super::super::fit_power(&WIDTHS, row).unwrap().slope.value).collect();
        let expected = mean(&slopes).unwrap();
        let slope = slope_over_seeds(&WIDTHS, &samples, Average::Geometric).unwrap().fit.slope;
        assert_relative_eq!(slope.value, expected.value, max_relative = 1e-12);
        assert_relative_eq!(slope.standard_error, expected.standard_error, max_relative = 1e-12);
    }

    /// Over 400 data sets the number of 95 % intervals that hold the truth is Binomial(400, c).
    /// For a coverage c = 0.95 four standard deviations are 17.4, so 363 to 397 must hold it; the
    /// lower end leaves room for c = 0.94, the known error of second order of a delta method with
    /// 20 seeds (380 - 4 - 17.4 > 357).
    #[test]
    fn intervals_cover_the_slope() {
        let bootstrap = Bootstrap { resamples: 399, seed: 7 };
        let (mut student, mut resampled) = (0, 0);
        let holds = |estimate: &Estimate| {
            let (low, high) = estimate.interval(0.95).unwrap();
            i32::from(low <= -0.5 && -0.5 <= high)
        };
        for seed in 0..400 {
            let samples = noisy_curves(seed);
            let average = Average::RootMeanSquare;
            student += holds(&slope_over_seeds(&WIDTHS, &samples, average).unwrap().fit.slope);
            resampled += holds(&bootstrap_slope(&WIDTHS, &samples, average, bootstrap).unwrap());
        }
        assert!((357..=397).contains(&student), "Student covers {student} of 400");
        assert!((357..=397).contains(&resampled), "bootstrap covers {resampled} of 400");
    }

    /// The mean of 15 exponential variables: skewed, where Student's interval is known to cover
    /// less than it says and the studentised bootstrap mends most of it.
    #[test]
    fn bootstrap_mends_skewness() {
        let bootstrap = Bootstrap { resamples: 399, seed: 1 };
        let (mut student, mut resampled) = (0, 0);
        for seed in 0..400 {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let values: Vec<f64> = (0..15).map(|_| rand_distr::Exp1.sample(&mut rng)).collect();
            let covers = |estimate: Estimate| {
                let (low, high) = estimate.interval(0.95).unwrap();
                i32::from(low <= 1.0 && 1.0 <= high)
            };
            student += covers(mean(&values).unwrap());
            resampled += covers(bootstrap_mean(&values, bootstrap).unwrap());
        }
        // 380 - 17.4 is the lower end of four binomial standard deviations.
        assert!((363..=397).contains(&resampled), "bootstrap covers {resampled} of 400");
        assert!(student < resampled, "Student {student}, bootstrap {resampled}");
    }

    #[test]
    fn the_bootstrap_is_a_function_of_its_seed() {
        let samples = noisy_curves(0);
        let run = |seed| {
            let bootstrap = Bootstrap { resamples: 199, seed };
            bootstrap_slope(&WIDTHS, &samples, Average::RootMeanSquare, bootstrap).unwrap()
        };
        assert_eq!(run(5), run(5));
        assert_ne!(run(5), run(6));
    }

    #[test]
    fn bad_samples_are_errors() {
        let short = vec![vec![1.0; 5], vec![1.0; 4]];
        assert!(slope_over_seeds(&WIDTHS, &short, Average::Mean).is_err());
        assert!(slope_over_seeds(&WIDTHS, &[vec![1.0; 5]], Average::Mean).is_err());
        let zero = vec![vec![0.0; 5], vec![0.0; 5]];
        assert!(slope_over_seeds(&WIDTHS, &zero, Average::RootMeanSquare).is_err());
        assert!(slope_over_seeds(&WIDTHS, &zero, Average::Geometric).is_err());
        let few = Bootstrap { resamples: 3, seed: 0 };
        assert!(bootstrap_mean(&[1.0, 2.0, 3.0], few).is_err());
    }
}
