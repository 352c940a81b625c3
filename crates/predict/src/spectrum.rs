//! The eigendecomposition of a kernel matrix and functions of the matrix: the closed form of gradient flow.

use faer::{
    Mat, MatRef, Par,
    diag::Diag,
    dyn_stack::{MemBuffer, MemStack},
    linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch},
};

use crate::{
    DiagReg, PredictError,
    matrix::{check_kernel, with_diagonal},
};

/// `K + c I = U diag(lambda) U^T`, eigenvalues in ascending order.
///
/// Computed on one thread: only then are the bits of faer's eigenvalues a function of the input alone.
#[derive(Debug, Clone)]
pub struct Spectrum {
    eigenvalues: Vec<f64>,
    eigenvectors: Mat<f64>,
    floor: f64,
}

impl Spectrum {
    /// Decomposes `k` plus the regulariser. `what` names the matrix in errors.
    ///
    /// # Errors
    /// A matrix that is empty, not square, not finite or not symmetric;
    /// [`PredictError::NotPositiveSemidefinite`] for an eigenvalue below `-n eps lambda_max`.
    pub fn new(what: &'static str, k: MatRef<'_, f64>, reg: DiagReg) -> Result<Self, PredictError> {
        check_kernel(what, k)?;
        let k = with_diagonal(k, reg.amount(k)?);
        let n = k.nrows();
        let mut eigenvalues = Diag::<f64>::zeros(n);
        let mut eigenvectors = Mat::zeros(n, n);
        let scratch = self_adjoint_evd_scratch::<f64>(n, ComputeEigenvectors::Yes, Par::Seq, Default::default());
        self_adjoint_evd(
            k.as_ref(),
            eigenvalues.as_mut(),
            Some(eigenvectors.as_mut()),
            Par::Seq,
            MemStack::new(&mut MemBuffer::new(scratch)),
            Default::default(),
        )
        .map_err(|_| PredictError::NoConvergence { what })?;
        let eigenvalues: Vec<f64> = eigenvalues.column_vector().iter().copied().collect();
        let (smallest, largest) = (eigenvalues[0], eigenvalues[n - 1]);
        let floor = n as f64 * f64::EPSILON * largest.max(-smallest);
        if smallest < -floor {
            return Err(PredictError::NotPositiveSemidefinite { what, smallest, largest });
        }
        Ok(Self { eigenvalues, eigenvectors, floor })
    }

    /// The eigenvalues in ascending order.
    pub fn eigenvalues(&self) -> &[f64] {
        &self.eigenvalues
    }

    /// The eigenvectors, one a column, in the order of the eigenvalues.
    pub fn eigenvectors(&self) -> MatRef<'_, f64> {
        self.eigenvectors.as_ref()
    }

    /// The largest eigenvalue.
    pub fn largest(&self) -> f64 {
        self.eigenvalues[self.eigenvalues.len() - 1]
    }

    /// Eigenvalues up to here, `n eps lambda_max`, are zero to working precision.
    pub fn floor(&self) -> f64 {
        self.floor
    }

    /// `exp(-s K) b`, for `s` from 0 to infinity (included).
    ///
    /// Directions with eigenvalues up to [`floor`](Self::floor) stay where they are: the kernel does not see them.
    pub fn decay(&self, s: f64, b: MatRef<'_, f64>) -> Mat<f64> {
        self.apply(|lambda| self.decay_at(s, lambda), b)
    }

    /// `K^{-1} (I - exp(-s K)) b`, which is `integral_0^s exp(-u K) du b`, for `s` from 0 to infinity (included).
    ///
    /// Directions with eigenvalues up to [`floor`](Self::floor) give zero, so `s = infinity` is the pseudo-inverse.
    pub fn response(&self, s: f64, b: MatRef<'_, f64>) -> Mat<f64> {
        self.apply(|lambda| self.response_at(s, lambda), b)
    }

    /// `U diag(g(lambda)) U^T b`.
    ///
    /// # Panics
    /// When `b` has another number of rows.
    pub fn apply(&self, g: impl Fn(f64) -> f64, b: MatRef<'_, f64>) -> Mat<f64> {
        let mut coefficients = self.eigenvectors.transpose() * b;
        for (i, &lambda) in self.eigenvalues.iter().enumerate() {
            let factor = g(lambda);
            for j in 0..coefficients.ncols() {
                coefficients[(i, j)] *= factor;
            }
        }
        &self.eigenvectors * coefficients
    }

    fn decay_at(&self, s: f64, lambda: f64) -> f64 {
        if lambda <= self.floor { 1.0 } else { (-lambda * s).exp() }
    }

    fn response_at(&self, s: f64, lambda: f64) -> f64 {
        if lambda <= self.floor { 0.0 } else { -(-lambda * s).exp_m1() / lambda }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(n: usize) -> Mat<f64> {
        Mat::from_fn(n, n, |i, j| (-(i as f64 - j as f64).abs() / 3.0).exp())
    }

    #[test]
    fn the_decomposition_reproduces_the_matrix() {
        let k = kernel(40);
        let spectrum = Spectrum::new("K", k.as_ref(), DiagReg::None).unwrap();
        let identity = Mat::<f64>::identity(40, 40);
        // Backward error of a stable eigensolver: a modest multiple of eps times the norm, here n eps lambda_max.
        assert!((spectrum.apply(|x| x, identity.as_ref()) - &k).norm_max() < spectrum.floor());
        assert!(spectrum.eigenvalues().is_sorted());
    }

    #[test]
    fn decay_and_response_are_consistent() {
        let k = kernel(12);
        let spectrum = Spectrum::new("K", k.as_ref(), DiagReg::None).unwrap();
        let b = Mat::from_fn(12, 2, |i, j| (i * 3 + j) as f64 / 7.0 - 1.0);
        for s in [0.0, 1e-12, 0.3, 20.0, 1e6, f64::INFINITY] {
            // K response = I - decay.
            let left = &k * spectrum.response(s, b.as_ref()) + spectrum.decay(s, b.as_ref());
            // lambda_max of K is about 5 and lambda_min 0.16; entries of b are up to 4.
            assert!((left - &b).norm_max() < 1e3 * f64::EPSILON, "s = {s}");
        }
    }

    #[test]
    fn a_repeated_point_does_not_spoil_the_limit() {
        let k = Mat::from_fn(3, 3, |i, j| if (i < 2) == (j < 2) { 1.0 } else { 0.25 });
        let spectrum = Spectrum::new("K", k.as_ref(), DiagReg::None).unwrap();
        let b = Mat::from_fn(3, 1, |i, _| [1.0, 3.0, 2.0][i]);
        // The twins end at their mean.
        let fitted = &k * spectrum.response(f64::INFINITY, b.as_ref());
        for (i, expected) in [2.0, 2.0, 2.0].into_iter().enumerate() {
            assert!((fitted[(i, 0)] - expected).abs() < 32.0 * f64::EPSILON);
        }
    }

    #[test]
    fn an_indefinite_matrix_is_refused() {
        let k = Mat::from_fn(2, 2, |i, j| if i == j { 1.0 } else { 2.0 });
        let error = Spectrum::new("K", k.as_ref(), DiagReg::None).unwrap_err();
        assert!(matches!(error, PredictError::NotPositiveSemidefinite { .. }));
        assert!(Spectrum::new("K", k.as_ref(), DiagReg::Absolute(1.5)).is_ok());
    }
}
