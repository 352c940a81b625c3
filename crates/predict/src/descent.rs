//! Gradient descent in function space with a fixed kernel, step by step, for any loss.

use faer::{Mat, MatRef};

use crate::{PredictError, matrix::check};

/// A loss of one point, by its derivative in the outputs.
///
/// A function or closure `|f, y, out|` is a loss, too: it writes `L'(f, y)` to `out`; all three have `k` entries.
pub trait Loss {
    /// Writes `dL/df` at outputs `f` and targets `y` to `out`.
    fn derivative(&self, f: &[f64], y: &[f64], out: &mut [f64]);
}

/// `L = 1/2 |f - y|^2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SquaredError;

/// `L = -sum_j y_j log softmax(f)_j` for a distribution `y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrossEntropy;

impl Loss for SquaredError {
    fn derivative(&self, f: &[f64], y: &[f64], out: &mut [f64]) {
        for ((out, f), y) in out.iter_mut().zip(f).zip(y) {
            *out = f - y;
        }
    }
}

impl Loss for CrossEntropy {
    fn derivative(&self, f: &[f64], y: &[f64], out: &mut [f64]) {
        let largest = f.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = f.iter().map(|f| (f - largest).exp()).sum();
        let mass: f64 = y.iter().sum();
        for ((out, f), y) in out.iter_mut().zip(f).zip(y) {
            *out = mass * (f - largest).exp() / total - y;
        }
    }
}

impl<F: Fn(&[f64], &[f64], &mut [f64])> Loss for F {
    fn derivative(&self, f: &[f64], y: &[f64], out: &mut [f64]) {
        self(f, y, out);
    }
}

/// Kernel gradient descent from given initial outputs, on training and test points together.
///
/// [`step_at`](Self::step_at) is SGD with batch size 1, the right-hand side of TP IIb Theorem 5.3 (eq. 22):
/// `f_{t+1}(x) = f_t(x) - eta K(x, x_t) L'(f_t(x_t), y_t)`. [`step_full`](Self::step_full) uses all points at once.
///
/// ```
/// use faer::Mat;
/// use netsor_predict::{KernelDescent, SquaredError};
///
/// # fn main() -> Result<(), netsor_predict::PredictError> {
/// let k = Mat::from_fn(2, 2, |i, j| if i == j { 1.0 } else { 0.5 });
/// let k_test = Mat::from_fn(1, 2, |_, _| 0.75);
/// let y = Mat::from_fn(2, 1, |i, _| i as f64);
/// let (f0, f0_test) = (Mat::zeros(2, 1), Mat::zeros(1, 1));
/// let mut descent = KernelDescent::new(
///     k.as_ref(), k_test.as_ref(), y.as_ref(), f0.as_ref(), f0_test.as_ref(), SquaredError,
/// )?;
/// descent.step_at(1.0, 1)?;
/// assert_eq!(descent.f_train()[(0, 0)], 0.5);
/// assert_eq!(descent.f_test()[(0, 0)], 0.75);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct KernelDescent<L> {
    /// Kernels of all points (training points first) against training points, `(n + m) x n`.
    kernel: Mat<f64>,
    /// One column a training point, so that a point's targets are contiguous.
    targets: Mat<f64>,
    /// Outputs of all points, one column a point.
    outputs: Mat<f64>,
    loss: L,
    n_train: usize,
    n_steps: usize,
}

impl<L: Loss> KernelDescent<L> {
    /// A run on `n` training points with `k` outputs and `m >= 0` test points.
    /// Shapes: `k_train_train` `n x n`, `k_test_train` `m x n`, `targets` and `f0_train` `n x k`, `f0_test` `m x k`.
    ///
    /// # Errors
    /// [`PredictError::Shape`], [`PredictError::NotFinite`], [`PredictError::Empty`].
    pub fn new(
        k_train_train: MatRef<'_, f64>,
        k_test_train: MatRef<'_, f64>,
        targets: MatRef<'_, f64>,
        f0_train: MatRef<'_, f64>,
        f0_test: MatRef<'_, f64>,
        loss: L,
    ) -> Result<Self, PredictError> {
        let (n, k) = targets.shape();
        let m = k_test_train.nrows();
        if n == 0 || k == 0 {
            return Err(PredictError::Empty { what: "targets" });
        }
        check("targets", targets, (n, k))?;
        check("the kernel of the training points", k_train_train, (n, n))?;
        check("the kernel of test against training points", k_test_train, (m, n))?;
        check("f0 on the training points", f0_train, (n, k))?;
        check("f0 on the test points", f0_test, (m, k))?;
        let stacked = |top: MatRef<'_, f64>, bottom: MatRef<'_, f64>, i: usize, j: usize| {
            if i < n { top[(i, j)] } else { bottom[(i - n, j)] }
        };
        Ok(Self {
            kernel: Mat::from_fn(n + m, n, |i, j| stacked(k_train_train, k_test_train, i, j)),
            targets: targets.transpose().to_owned(),
            outputs: Mat::from_fn(k, n + m, |j, i| stacked(f0_train, f0_test, i, j)),
            loss,
            n_train: n,
            n_steps: 0,
        })
    }

    /// `f <- f - eta K(., x_t) L'(f(x_t), y_t)` for the training point `point`.
    ///
    /// # Errors
    /// [`PredictError::Shape`] for a point that does not exist, [`PredictError::Diverged`].
    pub fn step_at(&mut self, eta: f64, point: usize) -> Result<(), PredictError> {
        if self.n_train <= point {
            return Err(PredictError::Parameter {
                what: "the training point",
                found: point as f64,
                expected: "an index below the number of training points",
            });
        }
        let mut gradient = vec![0.0; self.targets.nrows()];
        self.loss.derivative(self.outputs.col_as_slice(point), self.targets.col_as_slice(point), &mut gradient);
        for i in 0..self.outputs.ncols() {
            let weight = eta * self.kernel[(i, point)];
            for (f, g) in self.outputs.col_as_slice_mut(i).iter_mut().zip(&gradient) {
                *f -= weight * g;
            }
        }
        self.finish_step()
    }

    /// `f <- f - eta sum_i K(., x_i) L'(f(x_i), y_i)`. For a mean of the loss divide `eta` by
    /// [`Normalisation::divisor`](crate::Normalisation::divisor).
    ///
    /// # Errors
    /// [`PredictError::Diverged`].
    pub fn step_full(&mut self, eta: f64) -> Result<(), PredictError> {
        let mut gradients = Mat::zeros(self.targets.nrows(), self.n_train);
        for i in 0..self.n_train {
            self.loss.derivative(
                self.outputs.col_as_slice(i),
                self.targets.col_as_slice(i),
                gradients.col_as_slice_mut(i),
            );
        }
        self.outputs -= gradients * self.kernel.transpose() * faer::Scale(eta);
        self.finish_step()
    }

    /// The number of steps taken.
    pub fn n_steps(&self) -> usize {
        self.n_steps
    }

    /// The outputs on the training points, `n x k`.
    pub fn f_train(&self) -> MatRef<'_, f64> {
        self.outputs.subcols(0, self.n_train).transpose()
    }

    /// The outputs on the test points, `m x k`.
    pub fn f_test(&self) -> MatRef<'_, f64> {
        let n_test = self.outputs.ncols() - self.n_train;
        self.outputs.subcols(self.n_train, n_test).transpose()
    }

    fn finish_step(&mut self) -> Result<(), PredictError> {
        self.n_steps += 1;
        if self.outputs.is_all_finite() { Ok(()) } else { Err(PredictError::Diverged { step: self.n_steps }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiagReg, FlowOptions, GradientFlow, Normalisation, max_learning_rate};

    fn problem() -> (Mat<f64>, Mat<f64>, Mat<f64>) {
        let k = Mat::from_fn(4, 4, |i, j| (-(i as f64 - j as f64).abs()).exp());
        let y = Mat::from_fn(4, 2, |i, j| if i % 2 == j { 1.0 } else { 0.0 });
        let f0 = Mat::from_fn(4, 2, |i, j| ((i + 3 * j) as f64).sin());
        (k, y, f0)
    }

    fn descent<L: Loss>(loss: L) -> KernelDescent<L> {
        let (k, y, f0) = problem();
        KernelDescent::new(k.as_ref(), k.as_ref(), y.as_ref(), f0.as_ref(), f0.as_ref(), loss).unwrap()
    }

    #[test]
    fn one_point_after_the_other_is_written_out() {
        let (k, y, f0) = problem();
        let mut descent = descent(SquaredError);
        let mut by_hand = f0;
        for point in [2, 0, 2, 3] {
            let residual = [0, 1].map(|j| by_hand[(point, j)] - y[(point, j)]);
            by_hand = Mat::from_fn(4, 2, |i, j| by_hand[(i, j)] - 0.3 * k[(i, point)] * residual[j]);
            descent.step_at(0.3, point).unwrap();
        }
        // The same operations up to their order: a few roundings of numbers of order one.
        assert!((descent.f_train() - &by_hand).norm_max() < 16.0 * f64::EPSILON);
        assert_eq!(descent.f_train(), descent.f_test());
        assert_eq!(descent.n_steps(), 4);
        assert!(descent.step_at(0.3, 4).is_err());
    }

    #[test]
    fn small_steps_approach_the_flow_at_first_order() {
        let (k, y, f0) = problem();
        let options = FlowOptions { learning_rate: 1.0, normalisation: Normalisation::Sum, diag_reg: DiagReg::None };
        let flow = GradientFlow::new(k.as_ref(), y.as_ref(), &options).unwrap();
        let end = flow.train(1.0, f0.as_ref()).unwrap();
        let error = |n_steps: usize| {
            let mut descent = descent(SquaredError);
            for _ in 0..n_steps {
                descent.step_full(1.0 / n_steps as f64).unwrap();
            }
            (descent.f_train() - &end).norm_max()
        };
        let ratio = error(200) / error(400);
        // Euler's method: halving the step halves the error, up to a relative O(1/200).
        assert!((ratio - 2.0).abs() < 0.02, "{ratio}");
    }

    #[test]
    fn cross_entropy_is_the_derivative_of_its_loss() {
        let (f, y) = ([0.3, -1.2, 2.0], [0.2, 0.5, 0.3]);
        let loss = |f: &[f64]| {
            let log_sum = f.iter().map(|f| f.exp()).sum::<f64>().ln();
            f.iter().zip(&y).map(|(f, y)| -y * (f - log_sum)).sum::<f64>()
        };
        let mut gradient = [0.0; 3];
        CrossEntropy.derivative(&f, &y, &mut gradient);
        for j in 0..3 {
            let h = 1e-5;
            let moved = |step: f64| {
                let mut f = f;
                f[j] += step;
                loss(&f)
            };
            // Central difference: h^2/6 = 2e-11 and rounding eps/h = 2e-11.
            assert!((gradient[j] - (moved(h) - moved(-h)) / (2.0 * h)).abs() < 2e-10);
        }
        CrossEntropy.derivative(&[1e4, -1e4, 0.0], &[0.0, 1.0, 0.0], &mut gradient);
        assert_eq!(gradient, [1.0, -1.0, 0.0]);
    }

    #[test]
    fn the_largest_stable_rate_is_sharp() {
        let (k, ..) = problem();
        let largest = max_learning_rate(k.as_ref(), 2, Normalisation::Sum, 0.0).unwrap();
        let run = |eta: f64| {
            let mut descent = descent(|f: &[f64], y: &[f64], out: &mut [f64]| SquaredError.derivative(f, y, out));
            (0..40_000).try_for_each(|_| descent.step_full(eta)).map(|()| descent)
        };
        assert!(run(0.99 * largest).is_ok());
        // 1.02^40000 overflows.
        assert!(matches!(run(1.01 * largest), Err(PredictError::Diverged { .. })));
    }
}
