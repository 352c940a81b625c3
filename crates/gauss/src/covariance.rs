//! Covariance matrices, checked once, and their factors of full column rank.

use crate::GaussError;
use crate::symmetric::spectrum;

/// The covariance of a Gaussian vector: symmetric, finite, positive semi-definite up to rounding.
#[derive(Clone, Debug, PartialEq)]
pub struct Covariance {
    slots: usize,
    entries: Vec<f64>,
}

/// Violations of symmetry and positivity up to this size, relative to the standard deviations, are taken for rounding and removed.
///
/// Covariances are themselves expectations, known to 1e-10 or so; one that is off by more than this is a mistake of its maker.
const SLACK: f64 = 1e-8;

impl Covariance {
    /// The covariance with these entries, row by row.
    ///
    /// Violations of positivity of up to 1e-8, relative to the standard deviations, count as rounding.
    ///
    /// # Errors
    /// If the number of entries is not `slots * slots`, an entry is not finite, or the matrix is not symmetric or not positive semi-definite; the error names the entry or the eigenvalue.
    pub fn new(slots: usize, entries: Vec<f64>) -> Result<Self, GaussError> {
        Self::with_slack(slots, entries, SLACK)
    }

    /// As [`new`](Self::new), with another bound on the violations that count as rounding: for covariances that were themselves sampled.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_slack(slots: usize, mut entries: Vec<f64>, slack: f64) -> Result<Self, GaussError> {
        if slots.checked_mul(slots) != Some(entries.len()) {
            return Err(GaussError::Shape { slots, found: entries.len() });
        }
        if let Some(i) = entries.iter().position(|value| !value.is_finite()) {
            return Err(GaussError::NotFinite { row: i / slots, column: i % slots, value: entries[i] });
        }
        let largest = (0..slots).map(|k| entries[k * (slots + 1)]).fold(0.0, f64::max);
        for slot in 0..slots {
            let variance = &mut entries[slot * (slots + 1)];
            if *variance < 0.0 {
                if *variance < -slack * largest {
                    return Err(GaussError::NegativeVariance { slot, value: *variance });
                }
                *variance = 0.0;
            }
        }
        let deviation: Vec<f64> = (0..slots).map(|k| libm::sqrt(entries[k * (slots + 1)])).collect();
        for row in 0..slots {
            for column in 0..row {
                let (entry, mirror) = (entries[row * slots + column], entries[column * slots + row]);
                let scale = deviation[row] * deviation[column];
                if slack * scale < (entry - mirror).abs() {
                    return Err(GaussError::NotSymmetric { row, column, entry, mirror });
                }
                let covariance = if entry == mirror { entry } else { 0.5 * entry + 0.5 * mirror };
                // A variance that is exactly zero leaves no covariance, up to rounding of the other scale.
                let constant_slack = if scale == 0.0 { slack * largest } else { 0.0 };
                if scale * (1.0 + slack) + constant_slack < covariance.abs() {
                    return Err(GaussError::Correlation {
                        row,
                        column,
                        covariance,
                        row_variance: entries[row * (slots + 1)],
                        column_variance: entries[column * (slots + 1)],
                    });
                }
                let covariance = if scale == 0.0 { 0.0 } else { covariance };
                entries[row * slots + column] = covariance;
                entries[column * slots + row] = covariance;
            }
        }
        let covariance = Self { slots, entries };
        covariance.check_positive(slack)?;
        Ok(covariance)
    }

    /// Number of slots.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The covariance of two slots.
    ///
    /// # Panics
    /// If there is no such slot.
    pub fn entry(&self, row: usize, column: usize) -> f64 {
        self.entries[row * self.slots + column]
    }

    /// The correlation matrix, with zero rows for constant slots.
    fn correlations(&self) -> Vec<f64> {
        let d = self.slots;
        let deviation: Vec<f64> = (0..d).map(|k| libm::sqrt(self.entry(k, k))).collect();
        let mut r = vec![0.0; d * d];
        for i in 0..d {
            for j in 0..d {
                if deviation[i] != 0.0 && deviation[j] != 0.0 {
                    r[i * d + j] = if i == j { 1.0 } else { self.entry(i, j) / deviation[i] / deviation[j] };
                }
            }
        }
        r
    }

    /// Pivoted Cholesky down to `slack`; what is left must be of that size.
    fn check_positive(&self, slack: f64) -> Result<(), GaussError> {
        let d = self.slots;
        let mut residual = self.correlations();
        let error = |slot: usize, size: f64| {
            let eigenvalue = spectrum(d, self.correlations()).values.into_iter().fold(f64::INFINITY, f64::min);
            // Where the matrix is positive after all, elimination was only unlucky with its rounding.
            if -slack * d as f64 <= eigenvalue {
                return Ok(());
            }
            Err(GaussError::NotPositive { slot, residual: size, eigenvalue })
        };
        loop {
            let Some(pivot) =
                (0..d).max_by(|a, b| residual[a * (d + 1)].total_cmp(&residual[b * (d + 1)]).then(b.cmp(a)))
            else {
                return Ok(());
            };
            let variance = residual[pivot * (d + 1)];
            if variance <= 10.0 * slack {
                for i in 0..d {
                    for j in 0..=i {
                        let left = residual[i * d + j];
                        let bad = if i == j { left < -slack } else { 20.0 * slack < left.abs() };
                        if bad {
                            return error(i, left);
                        }
                    }
                }
                return Ok(());
            }
            let row: Vec<f64> = (0..d).map(|j| residual[pivot * d + j]).collect();
            for i in 0..d {
                for j in 0..d {
                    residual[i * d + j] -= row[i] * row[j] / variance;
                }
            }
            for j in 0..d {
                residual[pivot * d + j] = 0.0;
                residual[j * d + pivot] = 0.0;
            }
            if let Some(i) = (0..d).find(|i| residual[i * (d + 1)] < -10.0 * slack) {
                return error(i, residual[i * (d + 1)]);
            }
        }
    }

    /// `1 - rho^2` of two slots, from the determinant by Kahan's difference of products.
    fn residual_correlation(&self, p: usize, i: usize) -> Option<f64> {
        let (x, y, z) = (self.entry(p, p), self.entry(p, i), self.entry(i, i));
        let (product, square) = (x * z, y * y);
        let det = (product - square) + (libm::fma(x, z, -product) - libm::fma(y, y, -square));
        (product.is_normal() && (y == 0.0 || square.is_normal())).then(|| (det / product).clamp(0.0, 1.0))
    }

    /// The factor `L` with `L L^T = C`, of full column rank.
    ///
    /// Cholesky with pivoting on the correlations, so that slots of very different sizes count the same.
    /// A slot whose residual variance is below rounding is a linear function of the slots before it.
    pub(crate) fn factor(&self) -> Factor {
        let d = self.slots;
        let floor = 8.0 * (d as f64) * f64::EPSILON;
        let mut residual = self.correlations();
        let mut columns: Vec<Vec<f64>> = Vec::new();
        while let Some(pivot) =
            (0..d).max_by(|a, b| residual[a * (d + 1)].total_cmp(&residual[b * (d + 1)]).then(b.cmp(a)))
        {
            let variance = residual[pivot * (d + 1)];
            if variance <= floor {
                break;
            }
            let root = libm::sqrt(variance);
            // No entry may take more than the slot has left: rounding in the covariance must not be amplified.
            let column: Vec<f64> = (0..d)
                .map(|i| {
                    let left = libm::sqrt(residual[i * (d + 1)].max(0.0));
                    if i == pivot { root } else { (residual[i * d + pivot] / root).clamp(-left, left) }
                })
                .collect();
            for i in 0..d {
                for j in 0..d {
                    residual[i * d + j] -= column[i] * column[j];
                }
            }
            if columns.is_empty() {
                // Correlations near 1 leave a difference that the exact products know better.
                for i in 0..d {
                    if let Some(left) = self.residual_correlation(pivot, i) {
                        residual[i * (d + 1)] = left;
                    }
                }
            }
            for j in 0..d {
                residual[pivot * d + j] = 0.0;
                residual[j * d + pivot] = 0.0;
            }
            columns.push(column);
        }
        let rank = columns.len();
        let deviation: Vec<f64> = (0..d).map(|k| libm::sqrt(self.entry(k, k))).collect();
        let relative: Vec<f64> =
            columns.iter().map(|column| column.iter().fold(0.0, |m: f64, x| m.max(x.abs()))).collect();
        let mut entries = vec![0.0; d * rank];
        for (j, column) in columns.iter().enumerate() {
            for k in 0..d {
                entries[k * rank + j] = column[k] * deviation[k];
            }
        }
        Factor { rank, entries, relative }
    }
}

/// The matrix `L` of `Z = L x` with `x` standard normal.
#[derive(Clone, Debug)]
pub(crate) struct Factor {
    /// Number of independent variables.
    pub(crate) rank: usize,
    entries: Vec<f64>,
    /// For each column, its largest entry in units of the standard deviation of the slot.
    pub(crate) relative: Vec<f64>,
}

impl Factor {
    /// The factor with these rows, one a slot.
    pub(crate) fn new(rank: usize, entries: Vec<f64>, relative: Vec<f64>) -> Self {
        Self { rank, entries, relative }
    }

    /// The factor of independent standard normal slots.
    pub(crate) fn identity(rank: usize) -> Self {
        let entries = (0..rank * rank).map(|k| if k % (rank + 1) == 0 { 1.0 } else { 0.0 }).collect();
        Self { rank, entries, relative: vec![1.0; rank] }
    }

    /// The number of slots.
    pub(crate) fn slots(&self) -> usize {
        self.entries.len() / self.rank.max(1)
    }

    /// The coefficient of variable `j` in slot `k`.
    #[inline]
    pub(crate) fn entry(&self, k: usize, j: usize) -> f64 {
        self.entries[k * self.rank + j]
    }

    /// The standard deviation of slot `k`.
    pub(crate) fn deviation(&self, k: usize) -> f64 {
        libm::sqrt((0..self.rank).map(|j| self.entry(k, j) * self.entry(k, j)).sum())
    }

    /// The same law in other coordinates: the leading variables along these orthonormal axes, the others as they are.
    pub(crate) fn turned(&self, axes: &[Vec<f64>]) -> Self {
        let turn = |l: &[f64]| -> Vec<f64> {
            let along = |axis: &Vec<f64>| axis.iter().zip(l).map(|(a, l)| a * l).sum();
            axes.iter().map(along).chain(l[axes.len()..].iter().copied()).collect()
        };
        let entries = self.entries.chunks_exact(self.rank).flat_map(turn).collect();
        Self { rank: self.rank, entries, relative: vec![1.0; self.rank] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `L L^T` gives the covariance back to rounding.
    #[track_caller]
    fn check_factor(d: usize, entries: &[f64], rank: usize) {
        let c = Covariance::new(d, entries.to_vec()).unwrap();
        let l = c.factor();
        assert_eq!(l.rank, rank);
        for i in 0..d {
            for j in 0..d {
                let product: f64 = (0..rank).map(|k| l.entry(i, k) * l.entry(j, k)).sum();
                let scale = libm::sqrt(c.entry(i, i) * c.entry(j, j));
                assert!((product - c.entry(i, j)).abs() <= 100.0 * f64::EPSILON * scale, "{i} {j}");
            }
        }
    }

    #[test]
    fn ranks() {
        check_factor(0, &[], 0);
        check_factor(2, &[0.0; 4], 0);
        check_factor(1, &[3.0], 1);
        check_factor(2, &[0.3, 0.3, 0.3, 0.3], 1);
        check_factor(2, &[1.0, -2.0, -2.0, 4.0], 1);
        check_factor(2, &[1e-30, 0.5, 0.5, 1e30], 2);
        check_factor(3, &[1.0, 0.5, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0], 2);
        check_factor(3, &[1.0, 0.5, 0.5, 0.5, 1.0, 1.0, 0.5, 1.0, 1.0], 2);
        let nearly = 1.0 - 1e-9;
        check_factor(2, &[1.0, nearly, nearly, 1.0], 2);
    }

    #[test]
    fn many_slots_of_low_rank() {
        let d = 40;
        let vector = |k: usize| [libm::sin(k as f64), libm::cos(2.0 * k as f64)];
        let entries: Vec<f64> = (0..d * d).map(|i| (0..2).map(|a| vector(i / d)[a] * vector(i % d)[a]).sum()).collect();
        check_factor(d, &entries, 2);
    }

    #[track_caller]
    fn check_error(d: usize, entries: &[f64], message: &str) {
        let error = Covariance::new(d, entries.to_vec()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }

    #[test]
    fn errors_name_the_place() {
        check_error(2, &[1.0], "has 4 entries, found 1");
        check_error(2, &[1.0, f64::NAN, 0.0, 1.0], "entry (0, 1) of the covariance is NaN");
        check_error(2, &[1.0, 0.5, 0.4, 1.0], "not symmetric: entry (1, 0) is 0.4");
        check_error(2, &[1.0, 0.0, 0.0, -0.1], "variance of slot 1 is -0.1");
        check_error(2, &[1.0, 1.1, 1.1, 1.0], "slots 1 and 0 have covariance 1.1");
        check_error(2, &[0.0, 0.5, 0.5, 1.0], "slots 1 and 0 have covariance 0.5");
        let c = -0.6;
        check_error(3, &[1.0, c, c, c, 1.0, c, c, c, 1.0], "smallest eigenvalue of the correlations is -0.19999");
    }

    /// A covariance that is wrong by less than its maker's tolerance is repaired.
    #[test]
    fn small_violations_are_rounding() {
        let c = Covariance::new(2, vec![1.0, 1.0 + 1e-10, 1.0 + 1e-10, 1.0]).unwrap();
        assert_eq!(c.factor().rank, 1);
        assert_eq!(Covariance::new(2, vec![1.0, 0.0, 0.0, -1e-12]).unwrap().factor().rank, 1);
        let e = 1e-10;
        let c = [1.0, 1.0 + e, 0.5 - e, 1.0 + e, 1.0, 0.5 + e, 0.5 - e, 0.5 + e, 1.0];
        let l = Covariance::new(3, c.to_vec()).unwrap().factor();
        assert!((0..3).all(|k| { (0..l.rank).map(|j| l.entry(k, j) * l.entry(k, j)).sum::<f64>() <= 1.0 + 1e-9 }));
    }
}
