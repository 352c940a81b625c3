//! Gradient flow with a fixed kernel and squared loss, in closed form.

use faer::{Mat, MatRef};

use crate::{DiagReg, Normalisation, PredictError, Spectrum, matrix::check};

/// The speed of gradient flow and the regulariser of its kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FlowOptions {
    /// `eta`.
    pub learning_rate: f64,
    /// The divisor `N` of the loss `1/(2N) sum |f - y|^2`.
    pub normalisation: Normalisation,
    /// What is added to the diagonal of the kernel.
    pub diag_reg: DiagReg,
}

impl Default for FlowOptions {
    fn default() -> Self {
        Self { learning_rate: 1.0, normalisation: Normalisation::PerEntry, diag_reg: DiagReg::None }
    }
}

/// The flow `df/dt = -eta/N K (f - y)` on the training points, and what it does to any other point:
///
/// - `f_t(train) = y + exp(-eta K t/N) (f_0 - y)`,
/// - `f_t(x) = f_0(x) + K(x, train) K^{-1} (I - exp(-eta K t/N)) (y - f_0)`.
///
/// With the NTK of the limit this is a network of infinite width under gradient flow (TP IIb §5, NTH eq. 4).
/// `t = infinity` is allowed: the interpolant of least norm.
#[derive(Debug, Clone)]
pub struct GradientFlow {
    spectrum: Spectrum,
    targets: Mat<f64>,
    rate: f64,
}

impl GradientFlow {
    /// A flow towards `targets` (`n x k`) with the kernel `k_train_train` (`n x n`).
    ///
    /// # Errors
    /// Matrices that do not fit or are not finite; a learning rate that is not positive; as [`Spectrum::new`].
    pub fn new(
        k_train_train: MatRef<'_, f64>,
        targets: MatRef<'_, f64>,
        options: &FlowOptions,
    ) -> Result<Self, PredictError> {
        let n = k_train_train.nrows();
        check("targets", targets, (n, targets.ncols()))?;
        let rate = rate(options, n, targets.ncols())?;
        let spectrum = Spectrum::new("the kernel of the training points", k_train_train, options.diag_reg)?;
        Ok(Self { spectrum, targets: targets.to_owned(), rate })
    }

    /// The eigendecomposition of the kernel.
    pub fn spectrum(&self) -> &Spectrum {
        &self.spectrum
    }

    /// `n x k` outputs on the training points at time `t`, from `f0_train` (`n x k`).
    ///
    /// # Errors
    /// [`PredictError::Shape`], [`PredictError::NotFinite`], [`PredictError::Parameter`] for a negative time or NaN.
    pub fn train(&self, t: f64, f0_train: MatRef<'_, f64>) -> Result<Mat<f64>, PredictError> {
        let s = elapsed(self.rate, t)?;
        let residual = self.residual(f0_train)?;
        Ok(&self.targets - self.spectrum.decay(s, residual.as_ref()))
    }

    /// `m x k` outputs at time `t` on points with kernel `k_test_train` (`m x n`), from `f0_train` and `f0_test` (`m x k`).
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn test(
        &self,
        t: f64,
        k_test_train: MatRef<'_, f64>,
        f0_train: MatRef<'_, f64>,
        f0_test: MatRef<'_, f64>,
    ) -> Result<Mat<f64>, PredictError> {
        let s = elapsed(self.rate, t)?;
        self.check_test(k_test_train, f0_test)?;
        let residual = self.residual(f0_train)?;
        Ok(f0_test + k_test_train * self.spectrum.response(s, residual.as_ref()))
    }

    /// `y - f_0` on the training points.
    pub(crate) fn residual(&self, f0_train: MatRef<'_, f64>) -> Result<Mat<f64>, PredictError> {
        check("f0 on the training points", f0_train, self.targets.shape())?;
        Ok(&self.targets - f0_train)
    }

    pub(crate) fn check_test(
        &self,
        k_test_train: MatRef<'_, f64>,
        f0_test: MatRef<'_, f64>,
    ) -> Result<(), PredictError> {
        let (n, k) = self.targets.shape();
        let m = k_test_train.nrows();
        check("the kernel of test against training points", k_test_train, (m, n))?;
        check("f0 on the test points", f0_test, (m, k))
    }
}

/// The largest learning rate at which full-batch gradient descent on the squared loss is stable:
/// `2 (1 + momentum) N / lambda_max`, for heavy-ball momentum below 1.
///
/// # Errors
/// As [`Spectrum::new`]; [`PredictError::Parameter`] for a momentum outside `[0, 1)` or a kernel that is zero.
pub fn max_learning_rate(
    k_train_train: MatRef<'_, f64>,
    n_outputs: usize,
    normalisation: Normalisation,
    momentum: f64,
) -> Result<f64, PredictError> {
    check_momentum(momentum)?;
    let spectrum = Spectrum::new("the kernel of the training points", k_train_train, DiagReg::None)?;
    if spectrum.largest() <= 0.0 {
        return Err(PredictError::Parameter {
            what: "the largest eigenvalue",
            found: spectrum.largest(),
            expected: "a positive number: the kernel is zero, any learning rate is stable",
        });
    }
    let divisor = normalisation.divisor(k_train_train.nrows(), n_outputs);
    Ok(2.0 * (1.0 + momentum) * divisor / spectrum.largest())
}

pub(crate) fn check_momentum(momentum: f64) -> Result<(), PredictError> {
    if (0.0..1.0).contains(&momentum) {
        return Ok(());
    }
    Err(PredictError::Parameter {
        what: "the momentum",
        found: momentum,
        expected: "a number from 0 up to and without 1",
    })
}

/// `eta / N`.
pub(crate) fn rate(options: &FlowOptions, n: usize, k: usize) -> Result<f64, PredictError> {
    let eta = options.learning_rate;
    if !(eta.is_finite() && 0.0 < eta) {
        return Err(PredictError::Parameter {
            what: "the learning rate",
            found: eta,
            expected: "a positive finite number",
        });
    }
    if k == 0 {
        return Err(PredictError::Empty { what: "targets" });
    }
    Ok(eta / options.normalisation.divisor(n, k))
}

/// `eta t / N`.
pub(crate) fn elapsed(rate: f64, t: f64) -> Result<f64, PredictError> {
    if t.is_nan() || t < 0.0 {
        return Err(PredictError::Parameter { what: "the time", found: t, expected: "a number from 0 up to infinity" });
    }
    Ok(rate * t)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem() -> (Mat<f64>, Mat<f64>, Mat<f64>) {
        let k = Mat::from_fn(6, 6, |i, j| (-(i as f64 - j as f64).abs() / 2.0).exp());
        let y = Mat::from_fn(6, 2, |i, j| ((i * 2 + j) as f64).cos());
        let f0 = Mat::from_fn(6, 2, |i, j| ((i + 5 * j) as f64).sin());
        (k, y, f0)
    }

    /// A second way to the same numbers: the classical Runge-Kutta method on `df/dt = -K (f - y)`.
    #[test]
    fn flow_agrees_with_runge_kutta() {
        let (k, y, f0) = problem();
        let options = FlowOptions { learning_rate: 0.5, normalisation: Normalisation::Sum, diag_reg: DiagReg::None };
        let flow = GradientFlow::new(k.as_ref(), y.as_ref(), &options).unwrap();
        let closed = flow.train(2.0, f0.as_ref()).unwrap();
        let slope = |f: &Mat<f64>| &k * (&y - f) * faer::Scale(0.5);
        let (mut f, h) = (f0.clone(), 2.0 / 400.0);
        for _ in 0..400 {
            let k1 = slope(&f);
            let k2 = slope(&(&f + &k1 * faer::Scale(h / 2.0)));
            let k3 = slope(&(&f + &k2 * faer::Scale(h / 2.0)));
            let k4 = slope(&(&f + &k3 * faer::Scale(h)));
            f += (k1 + k4 + (k2 + k3) * faer::Scale(2.0)) * faer::Scale(h / 6.0);
        }
        // Global error of order t lambda (lambda h)^4 / 120 with lambda = 0.5 * 3.4: about 1e-10.
        assert!((closed - f).norm_max() < 1e-9);
    }

    #[test]
    fn training_points_as_test_points_agree() {
        let (k, y, f0) = problem();
        let flow = GradientFlow::new(k.as_ref(), y.as_ref(), &FlowOptions::default()).unwrap();
        for t in [0.0, 0.1, 10.0, 1e4, f64::INFINITY] {
            let train = flow.train(t, f0.as_ref()).unwrap();
            let test = flow.test(t, k.as_ref(), f0.as_ref(), f0.as_ref()).unwrap();
            // lambda_max / lambda_min is about 14.
            assert!((train - test).norm_max() < 1e3 * f64::EPSILON, "t = {t}");
        }
    }

    #[test]
    fn arguments_are_checked() {
        let (k, y, f0) = problem();
        let with_rate = |learning_rate| {
            let options = FlowOptions { learning_rate, ..FlowOptions::default() };
            GradientFlow::new(k.as_ref(), y.as_ref(), &options)
        };
        assert!(with_rate(0.0).is_err() && with_rate(f64::NAN).is_err());
        let flow = with_rate(1.0).unwrap();
        assert_eq!(
            flow.train(-1.0, f0.as_ref()).unwrap_err().to_string(),
            "the time is -1, expected a number from 0 up to infinity"
        );
        assert!(flow.train(f64::NAN, f0.as_ref()).is_err());
        assert!(flow.train(1.0, k.as_ref()).is_err());
        let nothing = Mat::<f64>::zeros(6, 0);
        assert!(GradientFlow::new(k.as_ref(), nothing.as_ref(), &FlowOptions::default()).is_err());
        for momentum in [-0.1, 1.0, f64::NAN] {
            assert!(max_learning_rate(k.as_ref(), 1, Normalisation::Sum, momentum).is_err());
        }
    }
}
