//! Gaussian-process inference. Its mean is kernel (ridge) regression.

use std::f64::consts::TAU;

use faer::{Mat, MatRef};

use crate::{Cholesky, DiagReg, PredictError, matrix::check};

/// The posterior of a centred Gaussian process with kernel `K`, given noisy or exact targets at the training points;
/// independent outputs share the kernel.
///
/// With the NNGP this is a network of infinite width of which only the readout is trained (Talk, Tensor Programs I).
/// With any kernel, [`mean`](Self::mean) is kernel ridge regression with the regulariser as the ridge.
#[derive(Debug, Clone)]
pub struct GaussianProcess {
    factor: Cholesky,
    /// `(K + c I)^{-1} y`, `n x k`.
    weights: Mat<f64>,
    /// `y^T (K + c I)^{-1} y` summed over outputs.
    quadratic: f64,
}

impl GaussianProcess {
    /// Conditions on `targets` (`n x k`) at points with kernel `k_train_train` (`n x n`).
    ///
    /// # Errors
    /// Matrices that do not fit or are not finite; as [`Cholesky::new`].
    pub fn fit(k_train_train: MatRef<'_, f64>, targets: MatRef<'_, f64>, reg: DiagReg) -> Result<Self, PredictError> {
        let factor = Cholesky::new("the kernel of the training points", k_train_train, reg)?;
        check("targets", targets, (k_train_train.nrows(), targets.ncols()))?;
        let half = factor.half_solve(targets);
        Ok(Self { weights: factor.solve(targets), quadratic: half.squared_norm_l2(), factor })
    }

    /// The factorised kernel: the regulariser in use and the smallest pivot.
    pub fn factor(&self) -> &Cholesky {
        &self.factor
    }

    /// `m x k` posterior means `K_td (K + c I)^{-1} y` at points with kernel `k_test_train` (`m x n`).
    ///
    /// # Errors
    /// [`PredictError::Shape`], [`PredictError::NotFinite`].
    pub fn mean(&self, k_test_train: MatRef<'_, f64>) -> Result<Mat<f64>, PredictError> {
        self.check_cross(k_test_train)?;
        Ok(k_test_train * &self.weights)
    }

    /// `m x m` posterior covariance `K_tt - K_td (K + c I)^{-1} K_dt` of each output, without observation noise.
    ///
    /// # Errors
    /// [`PredictError::Shape`], [`PredictError::NotFinite`].
    pub fn covariance(
        &self,
        k_test_train: MatRef<'_, f64>,
        k_test_test: MatRef<'_, f64>,
    ) -> Result<Mat<f64>, PredictError> {
        self.check_cross(k_test_train)?;
        let m = k_test_train.nrows();
        check("the kernel of the test points", k_test_test, (m, m))?;
        let half = self.factor.half_solve(k_test_train.transpose());
        Ok(k_test_test - half.transpose() * &half)
    }

    /// `log p(y) = -1/2 sum_j y_j^T (K + c I)^{-1} y_j - k/2 log det (K + c I) - n k/2 log 2 pi`.
    pub fn log_marginal_likelihood(&self) -> f64 {
        let (n, k) = (self.weights.nrows() as f64, self.weights.ncols() as f64);
        -0.5 * (self.quadratic + k * self.factor.log_det() + n * k * TAU.ln())
    }

    /// The derivatives of [`log_marginal_likelihood`](Self::log_marginal_likelihood) along changes of the kernel of the
    /// training points, and the derivative in the variance `c` of the noise:
    /// `1/2 sum_j a_j^T dK a_j - k/2 tr((K + c I)^{-1} dK)` with `a = (K + c I)^{-1} y` (Rasmussen and Williams 2006,
    /// eq. 5.9).
    ///
    /// # Errors
    /// [`PredictError::Shape`], [`PredictError::NotFinite`].
    pub fn likelihood_gradient(&self, changes: &[MatRef<'_, f64>]) -> Result<(Vec<f64>, f64), PredictError> {
        let (n, k) = (self.weights.nrows(), self.weights.ncols() as f64);
        let inverse = self.factor.solve(Mat::<f64>::identity(n, n).as_ref());
        // The matrix that a change is multiplied with, entry by entry: a a^T - k (K + c I)^{-1}.
        let outer = &self.weights * self.weights.transpose();
        let entry = |i: usize, j: usize| 0.5 * (outer[(i, j)] - k * inverse[(i, j)]);
        let mut gradient = Vec::with_capacity(changes.len());
        for change in changes {
            check("the change of the kernel", *change, (n, n))?;
            let column = |j: usize| (0..n).map(|i| entry(i, j) * change[(i, j)]).sum::<f64>();
            gradient.push((0..n).map(column).sum());
        }
        Ok((gradient, (0..n).map(|i| entry(i, i)).sum()))
    }

    fn check_cross(&self, k_test_train: MatRef<'_, f64>) -> Result<(), PredictError> {
        let expected = (k_test_train.nrows(), self.weights.nrows());
        check("the kernel of test against training points", k_test_train, expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_point_by_hand() {
        // K = 2, y = 3, noise 1: mean at a point with k = 1 is 1 * 3 / 3 = 1, variance 2 - 1/3.
        let one = |x: f64| Mat::from_fn(1, 1, |_, _| x);
        let gp = GaussianProcess::fit(one(2.0).as_ref(), one(3.0).as_ref(), DiagReg::Absolute(1.0)).unwrap();
        let mean = gp.mean(one(1.0).as_ref()).unwrap()[(0, 0)];
        let variance = gp.covariance(one(1.0).as_ref(), one(2.0).as_ref()).unwrap()[(0, 0)];
        // Two roundings of square roots and quotients.
        assert!((mean - 1.0).abs() < 4.0 * f64::EPSILON);
        assert!((variance - 5.0 / 3.0).abs() < 8.0 * f64::EPSILON);
        // log N(3; 0, 3).
        let expected = -0.5 * (3.0 + 3.0_f64.ln() + TAU.ln());
        assert!((gp.log_marginal_likelihood() - expected).abs() < 16.0 * f64::EPSILON);
    }

    #[test]
    fn the_gradient_of_the_likelihood() {
        let kernel = |scale: f64, length: f64| {
            Mat::from_fn(6, 6, |i, j| scale * (-(i as f64 - j as f64).powi(2) / (2.0 * length * length)).exp())
        };
        let y = Mat::from_fn(6, 2, |i, j| (1.3 * i as f64).sin() + 0.3 * j as f64);
        let fit = |scale: f64, length: f64, noise: f64| {
            GaussianProcess::fit(kernel(scale, length).as_ref(), y.as_ref(), DiagReg::Absolute(noise)).unwrap()
        };
        let (scale, length, noise) = (0.9, 1.4, 0.2);
        let by_scale = kernel(1.0, length);
        let by_length =
            Mat::from_fn(6, 6, |i, j| kernel(scale, length)[(i, j)] * (i as f64 - j as f64).powi(2) / length.powi(3));
        let gp = fit(scale, length, noise);
        let (gradient, by_noise) = gp.likelihood_gradient(&[by_scale.as_ref(), by_length.as_ref()]).unwrap();
        let value = |s: f64, l: f64, c: f64| fit(s, l, c).log_marginal_likelihood();
        let difference = |h: f64| {
            [
                (value(scale + h, length, noise) - value(scale - h, length, noise)) / (2.0 * h),
                (value(scale, length + h, noise) - value(scale, length - h, noise)) / (2.0 * h),
                (value(scale, length, noise + h) - value(scale, length, noise - h)) / (2.0 * h),
            ]
        };
        let exact = [gradient[0], gradient[1], by_noise];
        for ((exact, coarse), fine) in exact.into_iter().zip(difference(1e-2)).zip(difference(5e-3)) {
            // Central differences are of second order; a tenth is left to the fourth.
            let (coarse, fine) = (coarse - exact, fine - exact);
            assert!(
                fine.abs() < 0.05 && (fine - coarse / 4.0).abs() < 0.03 * coarse.abs() + 1e-9,
                "{exact} {coarse:e} {fine:e}"
            );
        }
        assert!(gp.likelihood_gradient(&[y.as_ref()]).is_err());
    }

    #[test]
    fn without_noise_the_targets_are_met() {
        let k = Mat::from_fn(5, 5, |i, j| (-(i as f64 - j as f64).powi(2) / 2.0).exp());
        let y = Mat::from_fn(5, 2, |i, j| (i as f64 + 1.0).sin() - j as f64);
        let gp = GaussianProcess::fit(k.as_ref(), y.as_ref(), DiagReg::None).unwrap();
        // The condition number of K is about 1e2.
        assert!((gp.mean(k.as_ref()).unwrap() - &y).norm_max() < 1e3 * f64::EPSILON);
        assert!(gp.covariance(k.as_ref(), k.as_ref()).unwrap().norm_max() < 1e3 * f64::EPSILON);
        let error = gp.mean(y.as_ref()).unwrap_err();
        assert!(matches!(error, PredictError::Shape { expected: (5, 5), .. }));
    }
}
