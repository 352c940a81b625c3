//! Kernels of wide networks over data sets, compiled from moment graphs.
//!
//! The limit engine knows a kernel as an expression over the indices of two inputs. [`lower`] reads that expression and
//! the definitions behind it once, and makes a [`Plan`]: what to compute for each input, and for each pair of them.
//! [`Plan::run`] carries it out over data sets, tile by tile. Nothing here knows an architecture: a perceptron, a
//! convolution with pooling and a network with tied weights are different expressions, no more.
//!
//! ```
//! use netsor_ir::transform::kernels;
//! use netsor_kernel::{Inputs, Options, Query, lower};
//! use netsor_limit::Deriver;
//! use netsor_zoo::{Activation, Mlp};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Mlp { dim: 2, hidden: 3, activation: Activation::Relu, ..Mlp::default() }.network()?;
//! let kernels = kernels(&network)?;
//! let mut deriver = Deriver::new(&kernels.program);
//! let ntk = deriver.scalar(kernels.outputs[0].ntk)?;
//! let graph = deriver.into_graph();
//!
//! let plan = lower(&graph, &kernels.program, &[Query::new("ntk", ntk)])?;
//! let xi = kernels.program.find("xi").ok_or("the input is called xi")?;
//! let x = [1.0, 0.0, 0.0, 1.0, 0.6, 0.8];
//! let matrices = plan.run(&Inputs::new(3).with(xi, &x[..]), None, &Options::default())?;
//! let ntk = &matrices.values[0];
//! assert_eq!((matrices.rows, matrices.cols), (3, 3));
//! // Theta(x, x) = |x|^2 / 2 in each of four layers over 2^3: E relu(u)^2 is half of E u^2.
//! assert!((ntk[0] - 4.0 * 0.5 / 8.0).abs() < 1e-15);
//! assert_eq!(ntk[1], ntk[3]);
//! # Ok(()) }
//! ```
//!
//! | an expectation of | becomes |
//! | --- | --- |
//! | relu, leaky relu, abs, step, sign and multiples | arc-cosine kernels, vectorised; rounding |
//! | erf, Gaussians | the arcsine kernel and its derivative, vectorised; rounding |
//! | gelu, sin, exp, Gaussians with polynomials, and products and derivatives of these, smooth | Mehler's series below 1e-11, and where it converges slowly the closed forms of [`netsor_gauss::dual`] |
//! | polynomials on each side of zero with a kink or a jump there, and products of these with the above | the closed forms; rounding |
//! | two functions of one Gaussian variable each, smooth away from zero | Mehler's series with Parseval's remainder below [`Options::tolerance`], relative to `sqrt(E f^2 E g^2)`; entries for which no number of terms is enough are integrated on a grid |
//! | anything else | the general integrator, once a distinct covariance |
//!
//! Invariants:
//!
//! * The recognised forms are short cuts. Tests compare every entry with `netsor_limit::Evaluator`.
//! * What depends on one input is computed once an input. Equal inputs have correlation 1 to the last bit.
//! * A kernel is computed by half only if exchanging its inputs gives the same plan.
//! * The same inputs give the same bits for any number of threads.
//! * The size of the program's own batch axis plays no role; a kernel that depends on it is refused.

mod duals;
mod error;
mod execute;
mod expectation;
mod function;
mod grid;
mod inputs;
mod lower;
mod plan;
mod run;
mod series;
mod tunable;

pub use error::KernelError;
pub use inputs::{Inputs, KernelMatrices, Options, Statistics};
pub use lower::{At, Query, Shared, lower, lower_with};
pub use plan::{Plan, PlanSize};
pub use tunable::{TunableKernel, Which};
