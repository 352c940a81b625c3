//! Gradient flow with a fixed kernel and any loss, integrated numerically.

use faer::{Mat, MatRef};
use netsor_num::ode::{OdeOptions, solve};

use crate::{
    FlowOptions, Loss, PredictError,
    flow::{elapsed, rate},
    matrix::{check, check_kernel, with_diagonal},
};

/// The flow `df/dt = -eta/N K L'(f)` on the training points for a loss `1/N sum L(f_i, y_i)`.
///
/// For the squared loss use [`GradientFlow`](crate::GradientFlow), which is closed and exact; this is for
/// [`CrossEntropy`](crate::CrossEntropy) and losses of one's own.
/// What is integrated is `G(t) = integral_0^t L'(f(u)) du`, since `f_t(x) = f_0(x) - eta/N K(x, train) G(t)` for every point.
#[derive(Debug, Clone)]
pub struct LossFlow<L> {
    kernel: Mat<f64>,
    /// One column a training point.
    targets: Mat<f64>,
    /// One column a training point.
    start: Mat<f64>,
    loss: L,
    rate: f64,
}

/// Where a [`LossFlow`] is at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct FlowState {
    /// The outputs on the training points, `n x k`.
    pub f_train: Mat<f64>,
    /// `eta/N G(t)`, `n x k`.
    displacement: Mat<f64>,
    /// How often the solver evaluated the loss on all points.
    pub n_evaluations: usize,
}

impl<L: Loss> LossFlow<L> {
    /// A flow with the kernel `k_train_train` (`n x n`) from outputs `f0_train` towards `targets` (`n x k` each).
    ///
    /// # Errors
    /// Matrices that do not fit or are not finite; a learning rate that is not positive; a negative regulariser.
    pub fn new(
        k_train_train: MatRef<'_, f64>,
        targets: MatRef<'_, f64>,
        f0_train: MatRef<'_, f64>,
        loss: L,
        options: &FlowOptions,
    ) -> Result<Self, PredictError> {
        check_kernel("the kernel of the training points", k_train_train)?;
        let (n, k) = (k_train_train.nrows(), targets.ncols());
        check("targets", targets, (n, k))?;
        check("f0 on the training points", f0_train, (n, k))?;
        let added = options.diag_reg.amount(k_train_train)?;
        Ok(Self {
            kernel: with_diagonal(k_train_train, added),
            targets: targets.transpose().to_owned(),
            start: f0_train.transpose().to_owned(),
            loss,
            rate: rate(options, n, k)?,
        })
    }

    /// The state at the finite time `t`, to a relative and absolute error of `tolerance` a step
    /// (Dormand and Prince, order 8).
    ///
    /// # Errors
    /// [`PredictError::Parameter`] for a time or a tolerance outside its domain;
    /// [`PredictError::Unsolved`] when the solver gives up or leaves the finite numbers.
    pub fn at(&self, t: f64, tolerance: f64) -> Result<FlowState, PredictError> {
        let s = elapsed(self.rate, t)?;
        let domain = |what, found, expected| PredictError::Parameter { what, found, expected };
        if !s.is_finite() {
            return Err(domain("the time of an integrated flow", t, "a finite number"));
        }
        if !(1e-14..1.0).contains(&tolerance) {
            return Err(domain("the tolerance", tolerance, "a number from 1e-14 up to and without 1"));
        }
        let (k, n) = self.targets.shape();
        let options = OdeOptions::with_tolerance(tolerance);
        let solution = solve(|_, accumulated, slope| self.slope(accumulated, slope), &vec![0.0; k * n], &[s], &options)
            .map_err(|error| PredictError::Unsolved { t, problem: error.to_string() })?;
        let accumulated = &solution.states[0];
        let displacement = Mat::from_fn(n, k, |i, j| accumulated[i * k + j]);
        Ok(FlowState {
            f_train: self.start.transpose() - &self.kernel * &displacement,
            displacement,
            n_evaluations: solution.statistics.evaluations,
        })
    }
}

impl FlowState {
    /// `m x k` outputs on points with kernel `k_test_train` (`m x n`) and initial outputs `f0_test` (`m x k`).
    ///
    /// # Errors
    /// [`PredictError::Shape`], [`PredictError::NotFinite`].
    pub fn test(&self, k_test_train: MatRef<'_, f64>, f0_test: MatRef<'_, f64>) -> Result<Mat<f64>, PredictError> {
        let (n, k) = self.displacement.shape();
        let m = k_test_train.nrows();
        check("the kernel of test against training points", k_test_train, (m, n))?;
        check("f0 on the test points", f0_test, (m, k))?;
        Ok(f0_test - k_test_train * &self.displacement)
    }
}

impl<L: Loss> LossFlow<L> {
    /// `dG/ds = L'(f_0 - K G)` in the time `s = eta t/N`; one column a point, stacked.
    fn slope(&self, accumulated: &[f64], slope: &mut [f64]) {
        let (k, n) = self.targets.shape();
        let accumulated = MatRef::from_column_major_slice(accumulated, k, n);
        let outputs = &self.start - accumulated * &self.kernel;
        for (i, out) in slope.chunks_exact_mut(k).enumerate() {
            self.loss.derivative(outputs.col_as_slice(i), self.targets.col_as_slice(i), out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiagReg, GradientFlow, SquaredError};

    #[test]
    fn the_squared_loss_agrees_with_its_closed_form() {
        let k = Mat::from_fn(5, 5, |i, j| (-(i as f64 - j as f64).abs()).exp());
        let y = Mat::from_fn(5, 2, |i, j| ((i + 2 * j) as f64).cos());
        let f0 = Mat::from_fn(5, 2, |i, j| ((i + 7 * j) as f64).sin());
        let options = FlowOptions { diag_reg: DiagReg::Absolute(0.25), ..FlowOptions::default() };
        let closed = GradientFlow::new(k.as_ref(), y.as_ref(), &options).unwrap();
        let flow = LossFlow::new(k.as_ref(), y.as_ref(), f0.as_ref(), SquaredError, &options).unwrap();
        for t in [0.0, 1e-3, 1.0, 50.0] {
            let state = flow.at(t, 1e-11).unwrap();
            let test = state.test(k.as_ref(), f0.as_ref()).unwrap();
            // Tens of steps at 1e-11 each, on a flow that contracts.
            assert!((&state.f_train - closed.train(t, f0.as_ref()).unwrap()).norm_max() < 1e-9, "t = {t}");
            let expected = closed.test(t, k.as_ref(), f0.as_ref(), f0.as_ref()).unwrap();
            assert!((test - expected).norm_max() < 1e-9, "t = {t}");
        }
        for (t, tolerance) in [(-1.0, 1e-8), (f64::NAN, 1e-8), (f64::INFINITY, 1e-8), (1.0, 0.0), (1.0, f64::NAN)] {
            assert!(flow.at(t, tolerance).is_err(), "{t} {tolerance}");
        }
    }

    #[test]
    fn a_flow_that_explodes_is_refused() {
        let one = Mat::from_fn(1, 1, |_, _| 1.0);
        let explode = |f: &[f64], _: &[f64], out: &mut [f64]| out[0] = -f[0] * f[0];
        let flow = LossFlow::new(one.as_ref(), one.as_ref(), one.as_ref(), explode, &FlowOptions::default()).unwrap();
        // f' = f^2 from 1 reaches infinity at t = 1.
        assert!(matches!(flow.at(2.0, 1e-8), Err(PredictError::Unsolved { .. })));
    }
}
