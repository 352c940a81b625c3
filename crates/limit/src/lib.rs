//! The infinite-width limit of tensor programs.
//!
//! A tensor program at width `n` has matrices with Gaussian entries, vectors with roughly iid coordinates, and scalars
//! that converge (TP IIb App. Thm B.4). This crate says to what, in three stages that are values of their own:
//!
//! 1. [`Deriver`] applies the Z rules *symbolically*: every vector `x` becomes a random variable `Z^x`, an expression
//!    in Gaussian variables, and every scalar an expression over Gaussian expectations. No floats, no data, no
//!    thresholds: what is zero is zero by proof.
//! 2. The expectations form a [`Graph`] of definitions, shared and indexed by the axes of families.
//! 3. [`Evaluator`] puts in numbers: closed forms where [`netsor_gauss`] has them, quadrature or randomised points
//!    elsewhere, each with an error.
//!
//! Kernels need nothing else: `netsor_ir::transform::kernels` turns a network into a program whose scalars they are.
//!
//! ```
//! use netsor_ir::transform::kernels;
//! use netsor_limit::{Data, Deriver, Evaluator, Tolerance};
//! use netsor_zoo::{Activation, Mlp};
//!
//! // The arc-cosine kernels of a ReLU network with one hidden layer, for orthogonal unit inputs in dimension 2.
//! let network = Mlp { inputs: 2, dim: 2, activation: Activation::Relu, ..Mlp::default() }.network()?;
//! let kernels = kernels(&network)?;
//! let program = &kernels.program;
//! let mut deriver = Deriver::new(program);
//! let ntk = deriver.scalar(kernels.outputs[0].ntk)?;
//! let graph = deriver.into_graph();
//! let xi = program.find("xi").expect("the network's data");
//! let data = Data::new().with(xi, vec![1.0, 0.0, 0.0, 1.0]);
//! let mut evaluator = Evaluator::new(&graph, program, &data, Tolerance::default())?;
//! // Off the diagonal: E relu(u) relu(v) = 1/(4 pi) with variances 1/2 and covariance 0; the other share is 0.
//! let value = evaluator.value(ntk, &[0, 1])?.value;
//! assert!((value - 0.25 / std::f64::consts::PI).abs() < 1e-14);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! | module | subject |
//! | --- | --- |
//! | `rules` | the rules ZInit, ZNonlin+, ZMoment, ZMatMul, over any values |
//! | [`derive`](mod@derive) | the same over expressions, with ZHat and ZDot in `product` |
//! | [`graph`] | the moment graph |
//! | [`eval`] | numbers |
//! | [`closed_form`] | integrands that have closed forms, recognised |
//! | [`ztable`] | the limit of every value, with its rule |
//! | [`derivative`](mod@derivative) | exact derivatives with respect to hyper-parameters and other data |
//! | [`paths`] | the path formula for the tangent kernel, a second witness |
//! | [`independence`] | the answer under gradient independence, and the smallest program that shows the difference |
//! | [`induction`] | the induction of the proof of Theorem 5.3, checked for a network |
//! | [`sampled`] | numbers of programs with many variables, by replicates |
//! | [`show`] | expressions as text and LaTeX |
//!
//! It knows nothing of finite width: that its numbers agree with simulation is evidence, not construction.

mod apart;
pub mod closed_form;
pub mod contraction;
mod covariance;
mod curve;
mod definitions;
mod delta;
mod density;
pub mod derivative;
pub mod derive;
mod error;
pub mod eval;
mod expectation;
pub mod graph;
pub mod independence;
pub mod induction;
mod integrable;
pub mod landmarks;
mod order;
pub mod paths;
mod powers;
mod premise;
mod price;
mod product;
mod provided;
mod rules;
pub mod sampled;
mod sensitivity;
pub mod show;
mod slots;
mod stein;
mod tables;
mod terms;
mod widths;
pub mod ztable;

pub use derivative::{Datum, Differentiator};
pub use derive::Deriver;
pub use error::LimitError;
pub use eval::{Data, Evaluator, Value};
pub use graph::Graph;
pub use netsor_gauss::Tolerance;
