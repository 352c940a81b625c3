//! Tensor programs and networks at finite width.
//!
//! [`execute`] runs a program at a width `n`: it draws the initial matrices and vectors, multiplies, applies the
//! coordinatewise functions and takes the means over coordinates. Gradients and tangent kernels need nothing else,
//! because `netsor-ir` turns a network into a program that computes them; a [`Trainer`] does gradient descent with such a
//! program.
//! This crate knows no limits: that its numbers approach those of the limit engine is evidence, not construction.
//!
//! | module | what is in it |
//! | --- | --- |
//! | [`execute()`] and [`Executor`] | running a program, once or many times |
//! | [`Inputs`], [`State`], [`Block`] | numbers in and out |
//! | [`Trainer`] and [`train()`] | training, step by step or as a whole; check-points |
//! | [`Optimizer`], [`Rate`], [`Epochs`], [`Examples`] | rules, schedules, and data in batches |
//! | [`gradient_flow`] | training with infinitely short steps |
//! | [`Loss`], [`ExpressionLoss`] | squared, logistic, cross-entropy, an expression, or the caller's |
//! | [`empirical_kernel`], [`KernelExecutor`], [`mean_kernels`] | kernels of a network as it is, at any time; averages |
//! | [`coordinate_sizes`] | the size of every vector and of its change, for coordinate checks |
//! | [`Taylor`], [`Linearised`] | the network near its parameters, and the kernel as a linear map |
//!
//! Invariants: the same seed gives the same numbers for any number of threads; a value that is drawn depends on the
//! seed, its name and the width, and on nothing else in the program; no number that is NaN or infinite gets past the
//! definition where it is born.
//!
//! ```
//! use netsor_finite::{Inputs, Options, execute};
//! use netsor_ir::number::{integer, power};
//! use netsor_ir::program::{Law, Program, Scale};
//! use netsor_ir::verify::verify_program;
//!
//! // W W' applied to a vector of iid standard normals: the mean of a * W'W a tends to 1.
//! let mut p = Program::new("square");
//! let n = p.width();
//! let w = p.matrix("W", &[], n, n, Scale::new(integer(1), power(-1, 1)));
//! let law = Law::iid(&mut p.exprs, integer(0), integer(1));
//! let a = p.gaussian("a", &[], n, law);
//! let y = p.matmul("y", &[], (w, &[]), false, (a, &[]));
//! let b = p.matmul("b", &[], (w, &[]), true, (y, &[]));
//! let (a, b) = (p.member(a, &[]), p.member(b, &[]));
//! let product = p.exprs.mul(a, b);
//! let m = p.moment("m", &[], product);
//!
//! let p = verify_program(p).unwrap();
//! let state = execute::<f64>(&p, &Inputs::new(), &[m], &Options::new(512, 1)).unwrap();
//! // The standard deviation is sqrt(4 / n); five of them.
//! assert!((state.numbers(m)[0] - 1.0).abs() < 5.0 * (4.0f64 / 512.0).sqrt());
//! ```

mod check;
mod checkpoint;
mod coordinates;
mod dataset;
mod error;
mod execute;
mod float;
mod flow;
mod gather;
mod gradient;
mod kernel;
mod linear;
mod loss;
mod loss_expr;
mod optimizer;
mod pass;
mod pointwise;
mod product;
mod sample;
mod schedule;
mod state;
mod train;
mod trainer;

pub use coordinates::{CoordinateSize, coordinate_sizes, watched};
pub use dataset::{Epochs, Examples};
pub use error::FiniteError;
pub use execute::{Executor, execute};
pub use float::Float;
pub use flow::{FlowPath, gradient_flow};
pub use kernel::{EmpiricalKernel, KernelExecutor, MeanKernel, MeanKernels, empirical_kernel, mean_kernels};
pub use linear::{Change, Linearised, Taylor};
pub use loss::{CustomLoss, Loss};
pub use loss_expr::ExpressionLoss;
pub use optimizer::{Decay, Optimizer, Rule};
pub use schedule::{Order, Rate};
pub use state::{Block, Inputs, State};
pub use train::{History, Snapshot, Training, train};
pub use trainer::{Cotangents, Trainer};

/// How a program is run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The width `n`.
    pub width: usize,
    /// The seed of all draws.
    pub seed: u64,
    /// Most entries that one value may have; 2^30 by default.
    pub max_elements: usize,
}

impl Options {
    /// The options for width `width` and seed `seed`.
    pub fn new(width: usize, seed: u64) -> Self {
        Self { width, seed, max_elements: 1 << 30 }
    }
}

#[cfg(test)]
mod tests;
