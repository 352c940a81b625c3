//! Cholesky with a stated policy: the diagonal regulariser is what the caller says and nothing more,
//! and a pivot that is zero to working precision is an error that names it.

use faer::{
    Mat, MatRef, Par, Side,
    linalg::{solvers::Llt, triangular_solve},
    prelude::Solve,
};

use crate::{
    DiagReg, PredictError,
    matrix::{check_kernel, with_diagonal},
};

/// The factorisation `K + c I = L L^T` of a kernel matrix.
#[derive(Debug, Clone)]
pub struct Cholesky {
    llt: Llt<f64>,
    added: f64,
    smallest_pivot: f64,
}

impl Cholesky {
    /// Factorises `k` plus the regulariser. `what` names the matrix in errors.
    ///
    /// # Errors
    /// A matrix that is empty, not square, not finite or not symmetric;
    /// [`PredictError::NotPositiveDefinite`] when a pivot is at most `n eps max diag`:
    /// below that its digits are rounding, and so would be those of every solution.
    pub fn new(what: &'static str, k: MatRef<'_, f64>, reg: DiagReg) -> Result<Self, PredictError> {
        check_kernel(what, k)?;
        let added = reg.amount(k)?;
        let k = with_diagonal(k, added);
        let n = k.nrows();
        let largest = (0..n).fold(0.0_f64, |acc, i| acc.max(k[(i, i)]));
        let floor = n as f64 * f64::EPSILON * largest;
        let refuse = |index, pivot| PredictError::NotPositiveDefinite { what, index, pivot, floor };
        let llt = match Llt::new(k.as_ref(), Side::Lower) {
            Ok(llt) => llt,
            Err(faer::linalg::solvers::LltError::NonPositivePivot { index }) => {
                return Err(refuse(index, failed_pivot(k.as_ref(), index)));
            }
        };
        // Entries near the largest double overflow, so a pivot may be NaN.
        let worse = |a: f64, b: f64| a < b || a.is_nan();
        let (index, smallest_pivot) = (0..n)
            .map(|i| (i, llt.L()[(i, i)].powi(2)))
            .fold((0, f64::INFINITY), |acc, it| if worse(it.1, acc.1) { it } else { acc });
        if smallest_pivot <= floor || smallest_pivot.is_nan() {
            return Err(refuse(index, smallest_pivot));
        }
        Ok(Self { llt, added, smallest_pivot })
    }

    /// What was added to the diagonal.
    pub fn added(&self) -> f64 {
        self.added
    }

    /// The smallest pivot: the least variance of a point given the points before it.
    pub fn smallest_pivot(&self) -> f64 {
        self.smallest_pivot
    }

    /// `(K + c I)^{-1} b`.
    ///
    /// # Panics
    /// When `b` has another number of rows.
    pub fn solve(&self, b: MatRef<'_, f64>) -> Mat<f64> {
        self.llt.solve(b)
    }

    /// `L^{-1} b`, whose Gram matrix is `b^T (K + c I)^{-1} b`: symmetric to the last bit.
    ///
    /// # Panics
    /// When `b` has another number of rows.
    pub fn half_solve(&self, b: MatRef<'_, f64>) -> Mat<f64> {
        let mut out = b.to_owned();
        triangular_solve::solve_lower_triangular_in_place(self.llt.L(), out.as_mut(), Par::Seq);
        out
    }

    /// `log det (K + c I)`.
    pub fn log_det(&self) -> f64 {
        let l = self.llt.L();
        2.0 * (0..l.nrows()).map(|i| l[(i, i)].ln()).sum::<f64>()
    }
}

/// The pivot at which the factorisation stopped: the Schur complement of the leading block, which is positive definite.
fn failed_pivot(k: MatRef<'_, f64>, index: usize) -> f64 {
    let pivot = k[(index, index)];
    if index == 0 {
        return pivot;
    }
    let row = k.submatrix(0, 0, index, index);
    let column = k.submatrix(index, 0, 1, index).transpose();
    match Llt::new(row, Side::Lower) {
        Ok(leading) => pivot - (column.transpose() * leading.solve(column))[(0, 0)],
        Err(_) => pivot,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_factor() {
        // L = [[2, 0], [1, 3]].
        let k = MatRef::from_row_major_slice(&[4.0, 2.0, 2.0, 10.0], 2, 2);
        let factor = Cholesky::new("K", k, DiagReg::None).unwrap();
        assert_eq!(factor.smallest_pivot(), 4.0);
        assert!((factor.log_det() - 36.0_f64.ln()).abs() < 4.0 * f64::EPSILON * 36.0_f64.ln());
        let b = MatRef::from_row_major_slice(&[2.0, 10.0], 2, 1);
        // A handful of roundings of numbers up to 10.
        let close = |x: f64, expected: f64| (x - expected).abs() < 16.0 * f64::EPSILON;
        let (half, whole) = (factor.half_solve(b), factor.solve(b));
        assert!(close(half[(0, 0)], 1.0) && close(half[(1, 0)], 3.0));
        assert!(close(whole[(0, 0)], 0.0) && close(whole[(1, 0)], 1.0));
        let shifted = Cholesky::new("K", k, DiagReg::Relative(0.5)).unwrap();
        assert_eq!(shifted.added(), 3.5);
    }

    #[test]
    fn the_smallest_pivot_is_named() {
        // The third point has negative variance given the first two: 0.1 - 1/2.
        let k = [2.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.1];
        let k = MatRef::from_row_major_slice(&k, 3, 3);
        match Cholesky::new("K", k, DiagReg::None).unwrap_err() {
            PredictError::NotPositiveDefinite { index: 2, pivot, .. } => {
                assert!((pivot + 0.4).abs() < 4.0 * f64::EPSILON);
            }
            other => panic!("{other}"),
        }
        assert!(Cholesky::new("K", k, DiagReg::Absolute(0.5)).is_ok());
        // A repeated point.
        let k = MatRef::from_row_major_slice(&[1.0; 4], 2, 2);
        let error = Cholesky::new("the NTK", k, DiagReg::None).unwrap_err().to_string();
        assert!(error.starts_with("the NTK is not positive definite: pivot 0e0 at point 1"), "{error}");
        let zero = MatRef::from_row_major_slice(&[0.0], 1, 1);
        assert!(Cholesky::new("K", zero, DiagReg::None).is_err());
    }
}
