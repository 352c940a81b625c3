//! From kernel matrices to predictions.
//!
//! A network of infinite width is a kernel. Given the matrices of that kernel between training and test points,
//! this crate answers what the network does: at initialisation, at any time of gradient flow, after any number of
//! steps of (stochastic) gradient descent, and in the end. It knows matrices only: where they come from is not its concern.
//!
//! ```
//! use netsor_predict::{DiagReg, FlowOptions, GaussianProcess, GradientFlow, Mat, row_major};
//!
//! # fn main() -> Result<(), netsor_predict::PredictError> {
//! let k = [2.0, 1.0, 1.0, 2.0]; // training points against themselves, row after row
//! let k_test = [1.0, 1.0]; // one test point against the training points
//! let y = [1.0, 3.0];
//! let (k, k_test) = (row_major("K", &k, 2, 2)?, row_major("K", &k_test, 1, 2)?);
//! let y = row_major("y", &y, 2, 1)?;
//!
//! let gp = GaussianProcess::fit(k, y, DiagReg::None)?;
//! assert!((gp.mean(k_test)?[(0, 0)] - 4.0 / 3.0).abs() < 1e-14);
//!
//! // Gradient flow from zero has the same limit.
//! let flow = GradientFlow::new(k, y, &FlowOptions::default())?;
//! let zeros = Mat::zeros(2, 1);
//! let end = flow.test(f64::INFINITY, k_test, zeros.as_ref(), zeros.as_ref().subrows(0, 1))?;
//! assert!((end[(0, 0)] - 4.0 / 3.0).abs() < 1e-14);
//! # Ok(()) }
//! ```
//!
//! | question | answer |
//! | --- | --- |
//! | kernel ridge regression, Bayesian inference | [`GaussianProcess`] |
//! | gradient flow from given outputs, squared loss | [`GradientFlow`] |
//! | the same with heavy-ball momentum | [`MomentumFlow`] |
//! | gradient flow, any loss (integrated) | [`LossFlow`] with a [`Loss`] |
//! | the distribution over initialisations along the flow | [`Ensemble`] |
//! | (stochastic) gradient descent, any loss | [`KernelDescent`] with a [`Loss`] |
//! | the largest stable learning rate | [`max_learning_rate`] |
//! | hyper-parameters by marginal likelihood | [`GaussianProcess::likelihood_gradient`], [`minimise`] |
//! | accuracy, error | [`accuracy`], [`mean_squared_error`] |
//! | kernels to compare with | [`linear_kernel`], [`rbf_kernel`] |
//!
//! Invariants: nothing is added to a diagonal but what a [`DiagReg`] says;
//! a matrix that is singular or indefinite beyond rounding is an error that says by how much;
//! the same inputs give the same bits for any number of threads (eigendecompositions run on one).

mod baseline;
mod bfgs;
mod cholesky;
mod descent;
mod ensemble;
mod error;
mod flow;
mod gp;
mod loss_flow;
mod matrix;
mod momentum;
mod score;
mod spectrum;

pub use faer::{Mat, MatRef};

pub use crate::{
    baseline::{linear_kernel, rbf_kernel},
    bfgs::{Minimum, Search, minimise},
    cholesky::Cholesky,
    descent::{CrossEntropy, KernelDescent, Loss, SquaredError},
    ensemble::{Ensemble, Gaussian, Kernels, Trained},
    error::PredictError,
    flow::{FlowOptions, GradientFlow, max_learning_rate},
    gp::GaussianProcess,
    loss_flow::{FlowState, LossFlow},
    matrix::{DiagReg, Normalisation, row_major, to_row_major},
    momentum::MomentumFlow,
    score::{accuracy, mean_squared_error, predicted_classes},
    spectrum::Spectrum,
};
