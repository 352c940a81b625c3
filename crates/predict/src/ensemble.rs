//! The distribution of networks of infinite width over their random initialisations, at any time of training.

use faer::{Mat, MatRef};

use crate::{
    FlowOptions, PredictError, Spectrum,
    flow::{elapsed, rate},
    matrix::{check, check_kernel},
};

/// The two kernels of an architecture between the same points.
#[derive(Debug, Clone, Copy)]
pub struct Kernels<'a> {
    /// The covariance of the outputs at initialisation.
    pub nngp: MatRef<'a, f64>,
    /// The neural tangent kernel.
    pub ntk: MatRef<'a, f64>,
}

/// Which parameters are trained, hence which kernel drives the flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trained {
    /// The readout: the flow of the NNGP, whose limit `t = infinity` is Bayesian inference.
    Readout,
    /// Everything: the flow of the NTK.
    All,
}

/// Independent outputs with a common covariance over points.
#[derive(Debug, Clone, PartialEq)]
pub struct Gaussian {
    /// `m x k`.
    pub mean: Mat<f64>,
    /// `m x m`, the same for each output.
    pub covariance: Mat<f64>,
}

/// All initialisations of one architecture, trained by gradient flow on the squared loss.
///
/// At initialisation `f_0 ~ N(0, nngp)`. The flow is affine in `f_0`, so `f_t` stays Gaussian; with
/// `P_t = Theta_td Theta^{-1} (I - exp(-eta Theta t/N))` and `Theta` the driving kernel,
///
/// - `E f_t = P_t y`,
/// - `Cov f_t = K_tt - P_t K_dt - K_td P_t^T + P_t K P_t^T`.
///
/// This is what `gradient_descent_mse_ensemble` of neural-tangents computes.
/// The regulariser goes into the driving kernel and, there as here, not into the covariance of `f_0`.
#[derive(Debug, Clone)]
pub struct Ensemble {
    targets: Mat<f64>,
    nngp: Mat<f64>,
    readout: Spectrum,
    all: Spectrum,
    rate: f64,
}

impl Ensemble {
    /// Networks trained towards `targets` (`n x k`) at points with the given kernels (`n x n` each).
    ///
    /// # Errors
    /// Matrices that do not fit or are not finite; a learning rate that is not positive; as [`Spectrum::new`].
    pub fn new(train: Kernels<'_>, targets: MatRef<'_, f64>, options: &FlowOptions) -> Result<Self, PredictError> {
        let n = train.nngp.nrows();
        check("targets", targets, (n, targets.ncols()))?;
        check("the NTK of the training points", train.ntk, (n, n))?;
        Ok(Self {
            rate: rate(options, n, targets.ncols())?,
            readout: Spectrum::new("the NNGP of the training points", train.nngp, options.diag_reg)?,
            all: Spectrum::new("the NTK of the training points", train.ntk, options.diag_reg)?,
            targets: targets.to_owned(),
            nngp: train.nngp.to_owned(),
        })
    }

    /// The outputs on the training points at time `t`.
    ///
    /// For [`Trained::Readout`] the covariance is `Lambda exp(-2 eta Lambda t/N)` with the regularised kernel `Lambda`,
    /// as in neural-tangents.
    ///
    /// # Errors
    /// [`PredictError::Parameter`] for a negative time or NaN.
    pub fn train(&self, t: f64, trained: Trained) -> Result<Gaussian, PredictError> {
        let s = elapsed(self.rate, t)?;
        let spectrum = self.spectrum(trained);
        let mean = &self.targets - spectrum.decay(s, self.targets.as_ref());
        let covariance = match trained {
            Trained::Readout => {
                let identity = Mat::<f64>::identity(self.nngp.nrows(), self.nngp.nrows());
                let decayed = spectrum.decay(2.0 * s, identity.as_ref());
                spectrum.apply(|lambda| lambda.max(0.0), decayed.as_ref())
            }
            Trained::All => {
                let left = spectrum.decay(s, self.nngp.as_ref());
                spectrum.decay(s, left.transpose())
            }
        };
        Ok(Gaussian { mean, covariance: symmetrised(&covariance) })
    }

    /// The outputs at time `t` on points with kernels `test_train` (`m x n` each) and NNGP `nngp_test_test` (`m x m`).
    ///
    /// # Errors
    /// Matrices that do not fit or are not finite; [`PredictError::Parameter`] for a negative time or NaN.
    pub fn test(
        &self,
        t: f64,
        trained: Trained,
        test_train: Kernels<'_>,
        nngp_test_test: MatRef<'_, f64>,
    ) -> Result<Gaussian, PredictError> {
        let s = elapsed(self.rate, t)?;
        let (m, n) = (test_train.nngp.nrows(), self.targets.nrows());
        check("the NNGP of test against training points", test_train.nngp, (m, n))?;
        check("the NTK of test against training points", test_train.ntk, (m, n))?;
        check_kernel("the NNGP of the test points", nngp_test_test)?;
        check("the NNGP of the test points", nngp_test_test, (m, m))?;
        let spectrum = self.spectrum(trained);
        let driving = match trained {
            Trained::Readout => test_train.nngp,
            Trained::All => test_train.ntk,
        };
        let mean = driving * spectrum.response(s, self.targets.as_ref());
        let covariance = match trained {
            // The general formula with Theta = K collapses to twice the time, also with the regulariser left in place.
            Trained::Readout => nngp_test_test - driving * spectrum.response(2.0 * s, driving.transpose()),
            Trained::All => {
                let propagator = spectrum.response(s, driving.transpose());
                let cross = test_train.nngp * &propagator;
                nngp_test_test - &cross - cross.transpose() + propagator.transpose() * (&self.nngp * &propagator)
            }
        };
        Ok(Gaussian { mean, covariance: symmetrised(&covariance) })
    }

    fn spectrum(&self, trained: Trained) -> &Spectrum {
        match trained {
            Trained::Readout => &self.readout,
            Trained::All => &self.all,
        }
    }
}

/// Removes the rounding that products in another order leave.
fn symmetrised(m: &Mat<f64>) -> Mat<f64> {
    Mat::from_fn(m.nrows(), m.ncols(), |i, j| 0.5 * (m[(i, j)] + m[(j, i)]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiagReg, GaussianProcess, Normalisation};

    fn kernels(n: usize) -> (Mat<f64>, Mat<f64>) {
        let nngp = Mat::from_fn(n, n, |i, j| (-(i as f64 - j as f64).abs() / 2.0).exp());
        let ntk = Mat::from_fn(n, n, |i, j| 2.0 * nngp[(i, j)] + nngp[(i, j)].powi(2));
        (nngp, ntk)
    }

    #[test]
    fn readout_training_ends_at_bayes() {
        let (nngp, ntk) = kernels(7);
        let block = |m: &Mat<f64>, i, j, rows, columns| m.submatrix(i, j, rows, columns).to_owned();
        let y = Mat::from_fn(5, 1, |i, _| (i as f64).sin());
        let (dd, td, tt) = (block(&nngp, 0, 0, 5, 5), block(&nngp, 5, 0, 2, 5), block(&nngp, 5, 5, 2, 2));
        let (ntk_dd, ntk_td) = (block(&ntk, 0, 0, 5, 5), block(&ntk, 5, 0, 2, 5));
        let train = Kernels { nngp: dd.as_ref(), ntk: ntk_dd.as_ref() };
        let test = Kernels { nngp: td.as_ref(), ntk: ntk_td.as_ref() };
        let ensemble = Ensemble::new(train, y.as_ref(), &FlowOptions::default()).unwrap();
        let end = ensemble.test(f64::INFINITY, Trained::Readout, test, tt.as_ref()).unwrap();
        let gp = GaussianProcess::fit(dd.as_ref(), y.as_ref(), DiagReg::None).unwrap();
        // Two stable ways through a matrix of condition about 14.
        let tolerance = 1e3 * f64::EPSILON;
        assert!((end.mean - gp.mean(td.as_ref()).unwrap()).norm_max() < tolerance);
        assert!((end.covariance - gp.covariance(td.as_ref(), tt.as_ref()).unwrap()).norm_max() < tolerance);
        let start = ensemble.test(0.0, Trained::All, test, tt.as_ref()).unwrap();
        assert!((start.covariance - &tt).norm_max() < tolerance && start.mean.norm_max() == 0.0);
    }

    #[test]
    fn training_points_as_test_points_agree() {
        let (nngp, ntk) = kernels(6);
        let kernels = Kernels { nngp: nngp.as_ref(), ntk: ntk.as_ref() };
        let y = Mat::from_fn(6, 2, |i, j| ((i + j) as f64).cos());
        let options = FlowOptions { normalisation: Normalisation::PerPoint, ..FlowOptions::default() };
        let ensemble = Ensemble::new(kernels, y.as_ref(), &options).unwrap();
        for trained in [Trained::Readout, Trained::All] {
            for t in [0.0, 0.5, 30.0, f64::INFINITY] {
                let train = ensemble.train(t, trained).unwrap();
                let test = ensemble.test(t, trained, kernels, nngp.as_ref()).unwrap();
                // Conditions of the two kernels are below 20.
                assert!((train.mean - test.mean).norm_max() < 1e3 * f64::EPSILON);
                assert!((train.covariance - test.covariance).norm_max() < 1e3 * f64::EPSILON);
            }
        }
    }
}
