//! Views of row-major data as faer matrices, and the checks that every entry point makes.

use faer::{Mat, MatRef};

use crate::PredictError;

/// Largest relative asymmetry taken for rounding: single precision sums leave about 1e-7 a term.
/// Beyond it the matrix is more likely to be the wrong one, for example test against train.
const ASYMMETRY: f64 = 1e-5;

/// A view of `rows * columns` numbers, row after row. `what` names the matrix in errors.
///
/// # Errors
/// [`PredictError::Entries`] when the length differs.
pub fn row_major<'a>(
    what: &'static str,
    entries: &'a [f64],
    rows: usize,
    columns: usize,
) -> Result<MatRef<'a, f64>, PredictError> {
    if rows.checked_mul(columns) != Some(entries.len()) {
        return Err(PredictError::Entries { what, rows, columns, found: entries.len() });
    }
    Ok(MatRef::from_row_major_slice(entries, rows, columns))
}

/// The entries of a matrix, row after row.
pub fn to_row_major(matrix: MatRef<'_, f64>) -> Vec<f64> {
    (0..matrix.nrows()).flat_map(|i| (0..matrix.ncols()).map(move |j| matrix[(i, j)])).collect()
}

/// What is added to the diagonal of a kernel matrix. Nothing is ever added in silence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum DiagReg {
    /// The matrix as it is.
    None,
    /// `K + c I`: for a Gaussian process, observation noise of variance `c`.
    Absolute(f64),
    /// `K + c mean(diag K) I`, so that `c` has no units.
    Relative(f64),
}

impl DiagReg {
    /// The number that is added to the diagonal of `k`.
    ///
    /// # Errors
    /// [`PredictError::Parameter`] when the constant is negative or not finite.
    pub fn amount(self, k: MatRef<'_, f64>) -> Result<f64, PredictError> {
        let (c, scale) = match self {
            Self::None => return Ok(0.0),
            Self::Absolute(c) => (c, 1.0),
            Self::Relative(c) => (c, (0..k.nrows()).map(|i| k[(i, i)]).sum::<f64>() / k.nrows() as f64),
        };
        if !(c.is_finite() && 0.0 <= c) {
            return Err(PredictError::Parameter {
                what: "the diagonal regulariser",
                found: c,
                expected: "a finite number from 0 up",
            });
        }
        Ok(c * scale)
    }
}

/// What the divisor `N` of a loss is: the loss is `1/N sum_i sum_j l(f_ij, y_ij)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalisation {
    /// `N = n k`, points times outputs: the mean over all entries, as in neural-tangents.
    PerEntry,
    /// `N = n`: the mean over points, as in the Neural Tangent Hierarchy.
    PerPoint,
    /// `N = 1`: the sum.
    Sum,
}

impl Normalisation {
    /// `N` for `n` points and `k` outputs.
    pub fn divisor(self, n: usize, k: usize) -> f64 {
        match self {
            Self::PerEntry => n as f64 * k as f64,
            Self::PerPoint => n as f64,
            Self::Sum => 1.0,
        }
    }
}

/// Checks the shape and that every entry is finite.
pub(crate) fn check(what: &'static str, m: MatRef<'_, f64>, expected: (usize, usize)) -> Result<(), PredictError> {
    if m.shape() != expected {
        let found = m.shape();
        return Err(PredictError::Shape { what, expected, found });
    }
    for column in 0..m.ncols() {
        for row in 0..m.nrows() {
            let value = m[(row, column)];
            if !value.is_finite() {
                return Err(PredictError::NotFinite { what, row, column, value });
            }
        }
    }
    Ok(())
}

/// Checks a kernel matrix between the same points: square, not empty, finite, symmetric.
pub(crate) fn check_kernel(what: &'static str, k: MatRef<'_, f64>) -> Result<(), PredictError> {
    let n = k.nrows();
    if n == 0 {
        return Err(PredictError::Empty { what });
    }
    check(what, k, (n, n))?;
    let scale = (0..n).fold(0.0_f64, |acc, i| acc.max(k[(i, i)].abs()));
    let mut worst = (0.0, 0, 0);
    for j in 0..n {
        for i in j + 1..n {
            let difference = (k[(i, j)] - k[(j, i)]).abs();
            if worst.0 < difference {
                worst = (difference, i, j);
            }
        }
    }
    let (difference, row, column) = worst;
    if ASYMMETRY * scale < difference {
        return Err(PredictError::NotSymmetric { what, row, column, difference });
    }
    Ok(())
}

/// `K + c I` as a new matrix.
pub(crate) fn with_diagonal(k: MatRef<'_, f64>, c: f64) -> Mat<f64> {
    let mut out = k.to_owned();
    for i in 0..k.nrows() {
        out[(i, i)] += c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_and_checks() {
        let m = row_major("m", &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2, 3).unwrap();
        assert_eq!((m[(0, 2)], m[(1, 0)]), (3.0, 4.0));
        assert_eq!(to_row_major(m), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let error = row_major("m", &[1.0], 2, 3).unwrap_err();
        assert_eq!(error.to_string(), "m: 2 x 3 entries expected, found 1");
        let error = check_kernel("K", m).unwrap_err();
        assert_eq!(error.to_string(), "K is 2 x 3, expected 2 x 2");
        let error = check_kernel("K", MatRef::from_row_major_slice(&[1.0, 0.5, 0.4, 1.0], 2, 2)).unwrap_err();
        assert!(matches!(error, PredictError::NotSymmetric { row: 1, column: 0, .. }));
        let error = check_kernel("K", MatRef::from_row_major_slice(&[f64::NAN], 1, 1)).unwrap_err();
        assert_eq!(error.to_string(), "K[0, 0] is NaN, expected a finite number");
        assert!(check_kernel("K", MatRef::from_row_major_slice(&[], 0, 0)).is_err());
    }

    #[test]
    fn regularisers() {
        let k = MatRef::from_row_major_slice(&[1.0, 0.0, 0.0, 3.0], 2, 2);
        assert_eq!(DiagReg::Relative(0.5).amount(k), Ok(1.0));
        assert_eq!(DiagReg::Absolute(0.5).amount(k), Ok(0.5));
        assert!(DiagReg::Absolute(-1.0).amount(k).is_err());
        assert!(DiagReg::Relative(f64::NAN).amount(k).is_err());
    }
}
