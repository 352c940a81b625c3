//! Many expectations over one cloud of points.
//!
//! [`crate::expect`] spends what one number needs; a sum of ten thousand expectations, each of moderate accuracy, needs
//! something cheaper. Here the points of the standard normal law are made once for each dimension and shared by all
//! expectations: sixteen Owen scrambles of a Sobol' sequence, so that every answer is unbiased and has an error.
//! Errors of expectations over one cloud are correlated: that of a sum is not the root of the sum of squares.

use netsor_num::normal;
use netsor_num::sobol::Sobol;
use netsor_num::sum::pairwise;

use crate::qmc::{REPLICATES, spread};
use crate::{Covariance, Estimate, GaussError, Integrand, Method};

/// Points evaluated in one batch: a power of two.
const BATCH: usize = 512;

/// Several functions of one vector: from the values of its slots at some points, the values of each function there.
pub type Functions<'f> = dyn FnMut(&[&[f64]], &mut [&mut [f64]]) + 'f;

/// Points that expectations share.
///
/// ```
/// use netsor_gauss::{Cloud, Covariance, Function};
///
/// // E u^2 v^2 for unit variances and correlation 1/2 is 1 + 2 rho^2 = 3/2.
/// let f = Function::new(2, |points, out| {
///     for (j, y) in out.iter_mut().enumerate() {
///         *y = (points[0][j] * points[1][j]).powi(2);
///     }
/// });
/// let c = Covariance::new(2, vec![1.0, 0.5, 0.5, 1.0])?;
/// let found = Cloud::new(65_536, 0).expect(&f, &c)?;
/// // The error is three standard errors.
/// assert!((found.value - 1.5).abs() < found.error && found.error < 0.05, "{found:?}");
/// # Ok::<(), netsor_gauss::GaussError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Cloud {
    per_replicate: usize,
    seed: u64,
    /// For each dimension that was met, its coordinates: replicate after replicate.
    columns: Vec<Option<Vec<Vec<f64>>>>,
    /// Memory for slots and values.
    values: Vec<f64>,
}

impl Cloud {
    /// A cloud of about `points` points, at least 256: a power of two for each of sixteen replicates.
    #[must_use]
    pub fn new(points: usize, seed: u64) -> Self {
        let per_replicate = (points / REPLICATES).clamp(16, 1 << 26).next_power_of_two();
        Self { per_replicate, seed, columns: Vec::new(), values: Vec::new() }
    }

    /// The number of points.
    #[must_use]
    pub fn points(&self) -> usize {
        self.per_replicate * REPLICATES
    }

    /// `E f(Z)` for `Z ~ N(0, C)`: the mean over the cloud, and three standard errors of it.
    ///
    /// # Errors
    /// If the numbers of slots differ, or the function is not finite at a point.
    pub fn expect(&mut self, f: &dyn Integrand, c: &Covariance) -> Result<Estimate, GaussError> {
        if f.slots() != c.slots() {
            return Err(GaussError::Slots { function: f.slots(), covariance: c.slots() });
        }
        let mut single = |points: &[&[f64]], out: &mut [&mut [f64]]| f.eval(points, out[0]);
        Ok(self.expect_all(1, &mut single, c)?.swap_remove(0))
    }

    /// The expectations of several functions of one Gaussian vector: `f(points, out)` writes the values of function `k`
    /// at all points to `out[k]`; `points[s]` has the values of slot `s`.
    ///
    /// # Errors
    /// If a function is not finite at a point.
    pub fn expect_all(
        &mut self,
        functions: usize,
        f: &mut Functions<'_>,
        c: &Covariance,
    ) -> Result<Vec<Estimate>, GaussError> {
        let factor = c.factor();
        let (slots, rank, points) = (c.slots(), factor.rank, self.points());
        // A constant vector has one point.
        let (batch, n) = if rank == 0 { (1, 1) } else { (self.per_replicate.min(BATCH), points) };
        let mut values = std::mem::take(&mut self.values);
        values.resize((slots + functions) * batch, 0.0);
        let (at, out) = values.split_at_mut(slots * batch);
        let mut means = vec![Vec::with_capacity(n / batch); functions];
        for start in (0..n).step_by(batch) {
            for (k, column) in at.chunks_exact_mut(batch).enumerate() {
                column.fill(0.0);
                for (j, x) in self.columns(rank).iter().enumerate() {
                    let l = factor.entry(k, j);
                    column.iter_mut().zip(&x[start..start + batch]).for_each(|(z, x)| *z += l * x);
                }
            }
            let at: Vec<&[f64]> = at.chunks_exact(batch).collect();
            let mut targets: Vec<&mut [f64]> = out.chunks_exact_mut(batch).collect();
            f(&at, &mut targets);
            for (means, y) in means.iter_mut().zip(out.chunks_exact(batch)) {
                if let Some(j) = y.iter().position(|y| !y.is_finite()) {
                    return Err(GaussError::Value { at: at.iter().map(|column| column[j]).collect(), value: y[j] });
                }
                means.push(pairwise(y) / batch as f64);
            }
        }
        self.values = values;
        let estimate = |means: Vec<f64>| {
            if rank == 0 {
                return Ok(Estimate { value: means[0], error: 0.0, method: Method::Exact });
            }
            let per_replicate = means.len() / REPLICATES;
            let of_replicates: Vec<f64> =
                means.chunks_exact(per_replicate).map(|m| pairwise(m) / per_replicate as f64).collect();
            let (value, error) = spread(&of_replicates);
            let method = Method::Qmc { dims: rank, points, replicates: REPLICATES };
            if value.is_finite() { Ok(Estimate { value, error, method }) } else { Err(GaussError::Overflow) }
        };
        means.into_iter().map(estimate).collect()
    }

    /// The coordinates of the points in `rank` dimensions.
    fn columns(&mut self, rank: usize) -> &[Vec<f64>] {
        if self.columns.len() <= rank {
            self.columns.resize(rank + 1, None);
        }
        let (count, seed) = (self.per_replicate, self.seed);
        self.columns[rank].get_or_insert_with(|| {
            let mut columns = vec![Vec::with_capacity(count * REPLICATES); rank];
            let mut point = vec![0.0; rank];
            for replicate in 0..REPLICATES {
                let sobol = Sobol::new(rank, seed, replicate as u64);
                for k in 0..count {
                    sobol.point(k as u64, &mut point);
                    columns.iter_mut().zip(&point).for_each(|(column, u)| column.push(normal::quantile(*u)));
                }
            }
            columns
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Function, Tolerance, expect};

    /// Against quadrature, in full rank, with a repeated slot and a constant: within the error that is stated, which is
    /// three standard errors, and the error falls with the number of points.
    #[test]
    fn a_cloud_agrees_with_quadrature() {
        let f = Function::new(3, |x, out| {
            for (j, y) in out.iter_mut().enumerate() {
                *y = x[0][j].tanh() * x[1][j].tanh() * (1.0 - x[2][j].tanh().powi(2));
            }
        });
        let full = vec![1.0, 0.6, -0.2, 0.6, 1.5, 0.3, -0.2, 0.3, 0.7];
        let repeated = vec![1.0, 1.0, 0.5, 1.0, 1.0, 0.5, 0.5, 0.5, 2.0];
        for entries in [full, repeated, vec![0.0; 9]] {
            let c = Covariance::new(3, entries).unwrap();
            let exact = expect(&f, &c, &Tolerance::default()).unwrap();
            let (coarse, fine) =
                (Cloud::new(512, 3).expect(&f, &c).unwrap(), Cloud::new(1 << 15, 3).expect(&f, &c).unwrap());
            for found in [&coarse, &fine] {
                assert!((found.value - exact.value).abs() <= found.error + exact.error, "{found:?} {exact:?}");
            }
            assert!(fine.error <= 0.2 * coarse.error, "{coarse:?} {fine:?}");
        }
    }

    #[test]
    fn the_same_cloud_gives_the_same_bits_in_any_order() {
        let f = Function::new(2, |x, out| out.iter_mut().enumerate().for_each(|(j, y)| *y = x[0][j] * x[1][j].sin()));
        let g = Function::new(1, |x, out| out.iter_mut().enumerate().for_each(|(j, y)| *y = x[0][j].cos()));
        let (c, d) = (Covariance::new(2, vec![1.0, 0.5, 0.5, 1.0]).unwrap(), Covariance::new(1, vec![2.0]).unwrap());
        let (mut one, mut other) = (Cloud::new(1000, 1), Cloud::new(1000, 1));
        let first = (one.expect(&f, &c).unwrap(), one.expect(&g, &d).unwrap());
        let second = (other.expect(&g, &d).unwrap(), other.expect(&f, &c).unwrap());
        assert_eq!(first, (second.1, second.0));
        assert!(one.expect(&g, &c).is_err());
        let bad = Function::new(1, |_, out| out.fill(f64::NAN));
        assert!(one.expect(&bad, &d).is_err());
    }
}
