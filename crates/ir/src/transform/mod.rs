//! Transforms: programs to programs.
//!
//! Each is a total function in its own file whose result is a program like any other, to be printed, verified, run at
//! width `n` or taken to its limit.

pub mod backprop;
mod copy;
pub mod cse;
pub mod dce;
pub mod hoist;
pub mod jets;
pub mod kernels;
pub mod parametrize;
pub mod reduce;
pub mod sgd;
pub mod tangent;
pub mod tunable;
pub mod unroll;

#[cfg(test)]
mod tests;

use crate::program::{Dim, Kind, Program, ValueId};

pub use backprop::{Backprop, Gradient, Seed, backprop};
pub use cse::{Image, cse, cse_network};
pub use dce::{dce, dce_network};
pub use hoist::hoist;
pub use jets::{Jets, jets};
pub use kernels::{Kernels, joint_kernels, kernels};
pub use parametrize::{Constant, Parametrization, parametrize};
pub use reduce::{is_reduced, reduce, reduce_network};
pub use sgd::{Condition, Decay, Loss, Readouts, Sgd, TrainedOutput, Training, unroll_sgd};
pub use tangent::{Direction, DirectionMode, Tangents};
pub use tunable::{Act, HyperParameter, Tunable, tunable, tuned};
pub use unroll::{unroll_network, unroll_program};

/// Why a network cannot be transformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransformError {
    /// The network has no output.
    #[error("the network has no output; mark a scalar or a vector of constant dimension with `output`")]
    NoOutput,
    /// An output is a matrix or a vector whose dimension is a width.
    #[error("output `{name}` is neither a scalar nor a vector of constant dimension")]
    NotAnOutput {
        /// The output.
        name: String,
    },
    /// A value that training would change defines the law of another.
    #[error("`{name}` is drawn from a law that depends on a trained value; laws must be fixed")]
    TrainedLaw {
        /// The initial vector.
        name: String,
    },
    /// The outputs do not converge to a Gaussian process by the central limit theorem for a readout.
    #[error("`{name}` is not a sum of readouts `v' x` with scalar coefficients, so it has no NNGP kernel: {reason}")]
    NoGaussianProcess {
        /// The output or a value it is made of.
        name: String,
        /// What is in the way.
        reason: String,
    },
    /// Collapsing chains of Nonlin would create too many terms.
    #[error("reducing the program makes more than {limit} terms at `{name}`; unroll its families first")]
    TooManyTerms {
        /// The definition at which it happens.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// An option of a training run does not fit.
    #[error("training cannot be written out: {reason}")]
    Training {
        /// What does not fit, and what would.
        reason: String,
    },
    /// A loss is no expression in `f` and `y`.
    #[error("the loss `{text}` is not an expression in `f` and `y`: {reason}")]
    Loss {
        /// The text.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The initial value of a readout cannot be made data.
    #[error("training cannot be conditioned on the initial value of `{name}`: {reason}")]
    NotConditioned {
        /// The readout.
        name: String,
        /// What is in the way.
        reason: String,
    },
    /// Unrolling would create more values than allowed.
    #[error("unrolling `{name}` needs {needed} plain values, more than the limit of {limit}")]
    TooLarge {
        /// The program.
        name: String,
        /// Number of members of all families.
        needed: u64,
        /// The limit.
        limit: u64,
    },
    /// An output or readout has too many components to be taken one by one.
    #[error("`{name}` has {components} components; at most {limit} can be taken one by one")]
    TooManyComponents {
        /// The output or readout.
        name: String,
        /// Its dimension.
        components: u32,
        /// The limit.
        limit: u32,
    },
    /// A parametrization has no exponents for a parameter.
    #[error("there are no exponents for the parameter `{name}`: {reason}")]
    NoExponents {
        /// The parameter.
        name: String,
        /// Why.
        reason: String,
    },
    /// A hyper-parameter has nothing to act on.
    #[error("the hyper-parameter `{name}` cannot be tuned: {reason}")]
    NotTunable {
        /// The hyper-parameter.
        name: String,
        /// What is in the way.
        reason: String,
    },
    /// A definition refers to something that does not exist.
    #[error("`{name}` is not well formed: {reason}; verify the program first")]
    IllFormed {
        /// The value.
        name: String,
        /// What is wrong.
        reason: String,
    },
}

/// The number of components of an output: a scalar or a vector of constant dimension.
fn components(program: &Program, id: ValueId) -> Result<u32, TransformError> {
    let value = program.value(id);
    match value.ty.kind {
        Kind::Scalar => Ok(1),
        Kind::Vector(Dim::Finite(size)) => Ok(size),
        _ => Err(TransformError::NotAnOutput { name: value.name.clone() }),
    }
}

/// As [`components`], if they are few enough to be taken one by one.
fn single_components(program: &Program, id: ValueId) -> Result<u32, TransformError> {
    // Their unit vectors are a table with as many rows and columns.
    let limit = 4096;
    let components = components(program, id)?;
    if limit < components {
        let name = program.value(id).name.clone();
        return Err(TransformError::TooManyComponents { name, components, limit });
    }
    Ok(components)
}
