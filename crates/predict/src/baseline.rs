//! Kernels that need no network: what a network's kernel should be compared with.

use faer::{Mat, MatRef};

use crate::{PredictError, matrix::check};

/// `x.x'/d` between the rows of `x` (`m x d`) and `z` (`n x d`): linear regression.
///
/// # Errors
/// [`PredictError::Shape`], [`PredictError::NotFinite`], [`PredictError::Empty`].
pub fn linear_kernel(x: MatRef<'_, f64>, z: MatRef<'_, f64>) -> Result<Mat<f64>, PredictError> {
    check_inputs(x, z)?;
    Ok(x * z.transpose() * faer::Scale(1.0 / x.ncols() as f64))
}

/// `exp(-gamma |x - x'|^2)` between the rows of `x` (`m x d`) and `z` (`n x d`).
///
/// # Errors
/// As [`linear_kernel`]; [`PredictError::Parameter`] unless `gamma` is positive and finite.
pub fn rbf_kernel(x: MatRef<'_, f64>, z: MatRef<'_, f64>, gamma: f64) -> Result<Mat<f64>, PredictError> {
    check_inputs(x, z)?;
    if !(gamma.is_finite() && 0.0 < gamma) {
        return Err(PredictError::Parameter { what: "gamma", found: gamma, expected: "a positive finite number" });
    }
    // The distance is summed directly: from |x|^2 + |z|^2 - 2 x.z it would cancel for close points.
    let distance = |i: usize, j: usize| (0..x.ncols()).map(|c| (x[(i, c)] - z[(j, c)]).powi(2)).sum::<f64>();
    Ok(Mat::from_fn(x.nrows(), z.nrows(), |i, j| (-gamma * distance(i, j)).exp()))
}

fn check_inputs(x: MatRef<'_, f64>, z: MatRef<'_, f64>) -> Result<(), PredictError> {
    if x.ncols() == 0 {
        return Err(PredictError::Empty { what: "inputs" });
    }
    check("inputs", x, x.shape())?;
    check("inputs", z, (z.nrows(), x.ncols()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let x = MatRef::from_row_major_slice(&[1.0, 2.0, 0.0, 0.0], 2, 2);
        let z = MatRef::from_row_major_slice(&[3.0, 1.0], 1, 2);
        assert_eq!(linear_kernel(x, z).unwrap().col_as_slice(0), [2.5, 0.0]);
        let rbf = rbf_kernel(x, z, 0.5).unwrap();
        assert_eq!(rbf.col_as_slice(0), [(-2.5_f64).exp(), (-5.0_f64).exp()]);
        assert!(rbf_kernel(x, z, 0.0).is_err());
        assert!(linear_kernel(x, x.subcols(0, 1)).is_err());
    }
}
