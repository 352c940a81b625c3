//! The neural tangent hierarchy (Huang and Yau 2020, "NTH") of any network, and its truncated dynamics.
//!
//! At finite width the tangent kernel moves along training. Its velocity is made of a kernel of third order, whose
//! velocity is made of one of fourth order, and so on: `K^(2)(a, b) = <grad f_a, grad f_b>` and
//! `K^(r+1)(.., b) = <grad K^(r)(..), grad f_b>`. Under gradient flow of `L = 1/(2n) sum (f - y)^2`,
//! `d/dt f_a = -1/n sum_b K^(2)(a, b) r_b` and `d/dt K^(r)(..) = -1/n sum_b K^(r+1)(.., b) r_b` with `r = f - y`.
//! Freezing `K^(p)` closes the system; `p = 2` is the kernel regime.
//!
//! The paper proves this for fully connected networks. Here the operator is a transform of programs
//! ([`netsor_ir::transform::Tangents`]), so it is there for every network.
//!
//! ```
//! use netsor_finite::Inputs;
//! use netsor_nth::{HuangYau, KernelOptions, Smooth, Truncated, gradient_flow, hierarchy, kernels_at};
//! use netsor_num::ode::OdeOptions;
//!
//! // Two training points and a test point on the circle; one hidden layer of width 64.
//! let paper = HuangYau { points: 3, dim: 2, hidden: 1, activation: Smooth::Tanh, sigma_w: 1.0, sigma_a: 1.0 };
//! let network = paper.network()?;
//! let x = network.program.find("x").expect("the network's data");
//! let inputs = Inputs::new().with(x, vec![1.0, 0.0, 0.0, 1.0, 0.6, 0.8]);
//! let options = KernelOptions::new(64, 1).with_train(2);
//! let (targets, times, ode) = ([1.0, -1.0], [0.01], OdeOptions::default());
//!
//! let start = kernels_at(&hierarchy(&network, 3)?, &inputs, &options)?;
//! let truth = gradient_flow(&network, &inputs, &targets, &times, &options, &ode)?;
//! let error = |p| -> Result<f64, netsor_nth::NthError> {
//!     let path = Truncated::new(&start, &targets, p)?.solve(&times, &ode)?;
//!     Ok((0..3).map(|a| (path.f[0][a] - truth.f[0][a]).abs()).fold(0.0, f64::max))
//! };
//! // At short times the error of f is of order t^p: a kernel that moves linearly follows the network better.
//! assert!(error(3)? < 0.5 * error(2)?);
//! # Ok::<(), netsor_nth::NthError>(())
//! ```
//!
//! | item | what it is |
//! | --- | --- |
//! | [`hierarchy()`], [`bold_hierarchy`] | the program of the kernels, with directions that move or stay |
//! | [`kernels_at`], [`HierarchyExecutor`] | all kernels of a network as it is, on all tuples of points; once or many times |
//! | [`gradient_flow`], [`gradient_step`] | the network itself |
//! | [`Truncated`] | the closed systems, at given times or as [`DensePath`], and the reduced one for `p = 3` |
//! | [`discrete_step`] | a step of gradient descent from the bold kernels |
//! | [`limit_hierarchy`] | the deterministic limits of `n^(r/2-1) K^(r)`, for even `r`; [`Integration`] says how |
//! | [`width_correction`] | the leading effect of the width on the mean prediction of the kernel regime |
//! | [`predict_at_width`] | mean and spread of the predictions of networks of a width, none of them trained |
//! | [`HuangYau`] | the paper's networks and weights |
//! | [`check_smooth`], [`parallel_points`] | the paper's assumptions |
//!
//! Invariants: activations with kinks are refused; memory is estimated before it is taken; the first arguments run
//! over all points, later ones over training points, which come first; kernels are symmetric in the first two
//! arguments, bold ones in the others too, and stored once.

mod assumptions;
mod at_width;
mod discrete;
mod error;
mod fast;
mod flow;
mod hierarchy;
mod kernels;
mod limit;
mod paper;
mod semi_implicit;
mod tensor;
mod truncated;
mod width_correction;

pub use assumptions::{check_smooth, parallel_points};
pub use at_width::{WidthPrediction, predict_at_width};
pub use discrete::discrete_step;
pub use error::NthError;
pub use flow::{NetworkPath, gradient_flow, gradient_step};
pub use hierarchy::{Hierarchy, bold_hierarchy, hierarchy};
pub use kernels::{HierarchyExecutor, KernelOptions, Kernels, estimated_bytes, kernels_at};
pub use limit::{Integration, LimitHierarchy, LimitKernels, limit_hierarchy};
pub use paper::{HuangYau, Smooth};
pub use tensor::{KernelTensor, Later};
pub use truncated::{DensePath, Truncated, TruncatedPath};
pub use width_correction::{WidthCorrection, width_correction};
