//! What can go wrong at finite width.

use netsor_ir::tape::TapeError;
use netsor_ir::transform::TransformError;
use netsor_num::ode::OdeError;
use thiserror::Error;

/// Why a program was not run to its end.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum FiniteError {
    /// The width is zero.
    #[error("the width must be at least 1")]
    ZeroWidth,
    /// Data were not supplied.
    #[error("no data were given for `{value}`")]
    Missing {
        /// The value.
        value: String,
    },
    /// Supplied numbers have the wrong count.
    #[error("`{value}` needs {expected} numbers, {found} were given")]
    Length {
        /// The value.
        value: String,
        /// Entries of a member times members.
        expected: usize,
        /// What was given.
        found: usize,
    },
    /// Numbers were supplied for a value that the program computes.
    #[error("`{value}` is computed by the program and cannot be given")]
    NotInitial {
        /// The value.
        value: String,
    },
    /// A vector was supplied, but another one is drawn jointly with it.
    #[error("`{value}` is drawn jointly with `{given}`, which was given: give both or neither")]
    JointWithGiven {
        /// The value to be drawn.
        value: String,
        /// The value supplied.
        given: String,
    },
    /// A number is NaN or infinite.
    #[error("`{value}`{} is not finite{}", print_member(member), print_step(*step))]
    NotFinite {
        /// The value.
        value: String,
        /// Its member.
        member: Vec<u32>,
        /// The training step, if there is one.
        step: Option<usize>,
    },
    /// Training diverged: a value has become too large.
    #[error(
        "training diverged in step {step}: `{value}` has root mean square {size:e}; a smaller learning rate may help"
    )]
    Diverged {
        /// The value.
        value: String,
        /// The training step, counted from 0.
        step: usize,
        /// Root mean square of its entries; infinite where one is not a finite number.
        size: f64,
    },
    /// The covariance of initial vectors is not positive semi-definite.
    #[error(
        "the covariance of the initial vectors is not positive semi-definite: given the earlier ones, \
         `{value}`{} has variance {variance:e}",
        print_member(member)
    )]
    NotPositive {
        /// The value at which it shows.
        value: String,
        /// Its member.
        member: Vec<u32>,
        /// The conditional variance found.
        variance: f64,
    },
    /// An expression cannot be evaluated.
    #[error("in the definition of `{value}`: {source}")]
    Expression {
        /// The value.
        value: String,
        /// The reason.
        source: TapeError,
    },
    /// The program is not well formed.
    #[error("the definition of `{value}` is not well formed: {problem}")]
    Malformed {
        /// The value.
        value: String,
        /// What is wrong.
        problem: String,
    },
    /// A value has too many entries.
    #[error("`{value}` would have {elements:e} entries; the limit is {limit}")]
    TooLarge {
        /// The value.
        value: String,
        /// Number of entries.
        elements: f64,
        /// The limit in the options.
        limit: usize,
    },
    /// The program has no value of this name.
    #[error("the program has no value called `{name}`")]
    UnknownName {
        /// The name asked for.
        name: String,
    },
    /// A transform of the network failed.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// Gradients at a width at which a width class has no whole number of coordinates.
    #[error("at n = {width} the dimension `{class}` would be {size}, not a whole number; gradients need exact sizes")]
    FractionalDimension {
        /// The width class.
        class: String,
        /// The width `n`.
        width: usize,
        /// `ratio * n`.
        size: f64,
    },
    /// A text is not a loss.
    #[error("the loss `{text}` cannot be used: {problem}")]
    Loss {
        /// What was given.
        text: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A check-point cannot be used.
    #[error("the check-point cannot be used: {problem}")]
    Checkpoint {
        /// What is wrong with it.
        problem: String,
    },
    /// Gradient flow could not be followed.
    #[error(transparent)]
    Ode(#[from] OdeError),
    /// An option of training is out of range.
    #[error("{what} must be {expected}, not {found}")]
    Option {
        /// Which option.
        what: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was given.
        found: f64,
    },
}

fn print_member(member: &[u32]) -> String {
    if member.is_empty() {
        return String::new();
    }
    let positions: Vec<String> = member.iter().map(u32::to_string).collect();
    format!("[{}]", positions.join(", "))
}

fn print_step(step: Option<usize>) -> String {
    step.map(|s| format!(" in step {s}")).unwrap_or_default()
}

impl FiniteError {
    /// The same error, with the training step where it happened. In the first step it is no divergence yet.
    pub(crate) fn in_step(mut self, at: usize) -> Self {
        match &mut self {
            Self::Diverged { step, .. } => *step = at,
            Self::NotFinite { value, .. } if 0 < at => {
                let value = std::mem::take(value);
                return Self::Diverged { value, step: at, size: f64::INFINITY };
            }
            Self::NotFinite { step, .. } => *step = Some(at),
            _ => {}
        }
        self
    }
}
