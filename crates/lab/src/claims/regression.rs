//! What the claims about training share: a regression problem with the limit kernel, and networks along training beside
//! what is predicted from their own start.

use netsor_predict::{KernelDescent, Mat, SquaredError};
use serde::{Deserialize, Serialize};

use super::setup::{LimitKernel, TwoClasses, abscissae, slope_figure};
use crate::stats::{Average, Curve, StatsError, slope_of_samples};
use crate::{Axis, Figure, Series, Style};

/// Kernel matrices and targets of two classes of digits.
pub(super) struct Regression {
    pub(super) train_train: Mat<f64>,
    pub(super) test_train: Mat<f64>,
    pub(super) targets: Mat<f64>,
}

impl Regression {
    /// `limit` has the rows of the training points at least.
    pub(super) fn new(data: &TwoClasses, limit: &LimitKernel) -> Self {
        let n = data.n_train;
        let kernel = |i: usize, j: usize| limit.ntk[i * limit.size + j];
        Self {
            train_train: Mat::from_fn(n, n, kernel),
            test_train: Mat::from_fn(data.n_test, n, |i, j| kernel(n + i, j)),
            targets: Mat::from_fn(n, 1, |i, _| data.targets[i]),
        }
    }

    /// A vector over all points as columns over training and over test points.
    pub(super) fn split(&self, f: &[f64]) -> (Mat<f64>, Mat<f64>) {
        let (train, test) = f.split_at(self.train_train.nrows());
        (Mat::from_fn(train.len(), 1, |i, _| train[i]), Mat::from_fn(test.len(), 1, |i, _| test[i]))
    }

    /// Kernel gradient descent from `f0` on the examples in `order` (squared loss, one example a step): the outputs on
    /// all points before each step and at the end.
    pub(super) fn descent(&self, f0: &[f64], eta: f64, order: &[usize]) -> anyhow::Result<Vec<Vec<f64>>> {
        let (train, test) = self.split(f0);
        let (kernel, cross) = (self.train_train.as_ref(), self.test_train.as_ref());
        let (targets, start) = (self.targets.as_ref(), (train.as_ref(), test.as_ref()));
        let mut descent = KernelDescent::new(kernel, cross, targets, start.0, start.1, SquaredError)?;
        let mut path = vec![f0.to_vec()];
        for &example in order {
            descent.step_at(eta, example)?;
            let (train, test) = (descent.f_train(), descent.f_test());
            let train = (0..train.nrows()).map(|i| train[(i, 0)]);
            path.push(train.chain((0..test.nrows()).map(|i| test[(i, 0)])).collect());
        }
        Ok(path)
    }
}

/// A network along training beside the prediction from its own `f_0`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Comparison {
    /// See [`relative_deviation`].
    pub(super) deviation: f64,
    /// One output of the network at each time.
    network: Vec<f64>,
    /// What is predicted of it.
    theory: Vec<f64>,
}

impl Comparison {
    /// Compares the outputs on all points at each time, and keeps the paths of the point `shown`.
    pub(super) fn new(network: &[Vec<f64>], theory: &[Vec<f64>], shown: usize) -> Self {
        let path = |outputs: &[Vec<f64>]| outputs.iter().map(|f| f[shown]).collect();
        Self { deviation: relative_deviation(network, theory), network: path(network), theory: path(theory) }
    }
}

/// The root mean square over all times and points of `f_t - theory_t`, relative to that of `theory_t - f_0`.
///
/// Both are proportional to the residuals at the start, which the Gaussian `f_0` makes large in some draws and small in
/// others; their quotient is not, so that a mean over draws is not carried by a few.
pub(super) fn relative_deviation(network: &[Vec<f64>], theory: &[Vec<f64>]) -> f64 {
    let square = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
    let deviation: f64 = network.iter().zip(theory).map(|(f, theory)| square(f, theory)).sum();
    let motion: f64 = theory.iter().map(|f| square(f, &theory[0])).sum();
    (deviation / motion).sqrt()
}

/// Comparisons over widths.
pub(super) struct Comparisons<'a> {
    /// Widths and numbers of draws.
    pub(super) draws: &'a [(usize, usize)],
    /// The comparisons at each width.
    pub(super) columns: Vec<Vec<Comparison>>,
}

impl Comparisons<'_> {
    /// The average over draws of the deviations.
    pub(super) fn curve(&self, average: Average) -> Result<Curve, StatsError> {
        let widths: Vec<usize> = self.draws.iter().map(|d| d.0).collect();
        let of_column = |runs: &Vec<Comparison>| runs.iter().map(|run| run.deviation).collect();
        let deviations: Vec<Vec<f64>> = self.columns.iter().map(of_column).collect();
        slope_of_samples(&abscissae(&widths), &deviations, average)
    }

    /// The deviation over widths, and the paths of the first seed at the smallest and at the largest width, whose times
    /// are `step` apart.
    pub(super) fn figures(&self, title: &str, curve: &Curve, caption: String, time: (&str, f64)) -> Vec<Figure> {
        let deviation = slope_figure(
            title,
            "relative deviation over times and points",
            &[("root mean square over draws", curve)],
            (-0.5, "slope −1/2"),
            caption,
        );
        let (label, step) = time;
        let path = |values: &[f64]| -> Vec<(f64, f64)> {
            values.iter().enumerate().map(|(t, f)| (t as f64 * step, *f)).collect()
        };
        let mut series = Vec::new();
        for at in [0, self.draws.len() - 1] {
            let (run, n) = (&self.columns[at][0], self.draws[at].0);
            series.push(Series::new(format!("network, n = {n}"), Style::Line, path(&run.network)));
            let name = if at == 0 { "predicted from the same start" } else { "" };
            series.push(Series::new(name, Style::Dashed, path(&run.theory)));
        }
        let paths = Figure {
            title: "A test point along training, first seed".to_owned(),
            x: Axis::linear(label),
            y: Axis::linear("output f"),
            series,
            caption: "Each network, and what is predicted from its own outputs at the start.".to_owned(),
        };
        vec![deviation, paths]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two points and one step of size 1/2 with the identity as kernel: the example moves half the way to its target.
    #[test]
    fn a_step_by_hand() {
        let data = TwoClasses { inputs: Vec::new(), targets: vec![1.0, -1.0, 0.0], n_train: 2, n_test: 1 };
        let ntk = vec![1.0, 0.0, 0.5, 0.0, 1.0, 0.5, 0.5, 0.5, 1.0];
        let limit = LimitKernel { size: 3, ntk, parts: Default::default(), error: 0.0 };
        let path = Regression::new(&data, &limit).descent(&[0.0, 0.0, 0.0], 0.5, &[0, 1]).unwrap();
        assert_eq!(path, [[0.0, 0.0, 0.0], [0.5, 0.0, 0.25], [0.5, -0.5, 0.0]]);
        // A network that moves twice as far deviates by all of the motion.
        let twice: Vec<Vec<f64>> = path.iter().map(|f| f.iter().map(|f| 2.0 * f).collect()).collect();
        assert_eq!(Comparison::new(&twice, &path, 2).deviation, 1.0);
    }
}
