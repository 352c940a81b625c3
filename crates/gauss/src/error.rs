//! What can be wrong with a question about a Gaussian vector.

use thiserror::Error;

/// Why an expectation was not taken.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum GaussError {
    /// The entries do not make a square matrix.
    #[error("a covariance of {slots} slots has {} entries, found {found}", slots * slots)]
    Shape {
        /// How many slots were announced.
        slots: usize,
        /// How many entries were given.
        found: usize,
    },
    /// An entry of the covariance is NaN or infinite.
    #[error("entry ({row}, {column}) of the covariance is {value}, expected a finite number")]
    NotFinite {
        /// Row of the entry.
        row: usize,
        /// Column of the entry.
        column: usize,
        /// Its value.
        value: f64,
    },
    /// The two halves of the covariance disagree.
    #[error("the covariance is not symmetric: entry ({row}, {column}) is {entry}, its mirror image is {mirror}")]
    NotSymmetric {
        /// Row of the entry.
        row: usize,
        /// Column of the entry.
        column: usize,
        /// Its value.
        entry: f64,
        /// The value on the other side of the diagonal.
        mirror: f64,
    },
    /// A variance is negative.
    #[error("the variance of slot {slot} is {value}, expected a number that is not negative")]
    NegativeVariance {
        /// The slot.
        slot: usize,
        /// Its variance.
        value: f64,
    },
    /// A covariance is larger than the two variances allow.
    #[error(
        "slots {row} and {column} have covariance {covariance} and variances {row_variance} and {column_variance}: \
         no correlation is larger than 1"
    )]
    Correlation {
        /// The first slot.
        row: usize,
        /// The second slot.
        column: usize,
        /// Their covariance.
        covariance: f64,
        /// The variance of the first slot.
        row_variance: f64,
        /// The variance of the second slot.
        column_variance: f64,
    },
    /// The matrix of correlations has a negative eigenvalue.
    #[error(
        "the covariance is not positive semi-definite: slot {slot} given those before it has variance {residual} \
         of its own, and the smallest eigenvalue of the correlations is {eigenvalue}"
    )]
    NotPositive {
        /// Where the factorisation failed.
        slot: usize,
        /// The relative residual variance or covariance there.
        residual: f64,
        /// The smallest eigenvalue of the correlation matrix.
        eigenvalue: f64,
    },
    /// The function and the covariance have different numbers of slots.
    #[error("the function has {function} slots and the covariance {covariance}")]
    Slots {
        /// Slots of the function.
        function: usize,
        /// Slots of the covariance.
        covariance: usize,
    },
    /// The function is NaN or infinite somewhere.
    #[error("the function is {value} at {at:?}, expected a finite number")]
    Value {
        /// The values of the slots.
        at: Vec<f64>,
        /// The value of the function.
        value: f64,
    },
    /// The sum of finite values is not finite.
    #[error("the expectation is too large for a floating-point number")]
    Overflow,
    /// The expectation does not exist.
    #[error("the expectation is infinite: the variance {variance} times the growth rate {rate} is not below 1/2")]
    Divergent {
        /// Variance of the variable.
        variance: f64,
        /// The `b` of a factor `exp(b u^2)`.
        rate: f64,
    },
    /// A negative power of a quadratic form has no expectation.
    #[error(
        "the expectation is infinite: the power -{power} of a quadratic form in {rank} independent Gaussian variables, \
         times {degree} factors that vanish with it, is finite only for {rank} + {degree} > 2 * {power}; for batch norm \
         take a larger batch or a positive epsilon"
    )]
    DivergentPower {
        /// The sum of the powers in the denominator.
        power: f64,
        /// The rank of the form.
        rank: usize,
        /// How many factors of the numerator vanish where the form does.
        degree: usize,
    },
    /// The expectation does not exist, as far as numbers tell.
    #[error(
        "the expectation does not exist: the function grows as fast as the Gaussian density falls, or faster, in the \
         direction {direction:?} of its variables"
    )]
    Outgrown {
        /// A direction in the space of the slots.
        direction: Vec<f64>,
    },
    /// The integral of the absolute value does not settle.
    #[error(
        "the expectation may not exist: that of the absolute value does not settle ({value:.3e} with an error of \
         {error:.1e}); keep what is divided by away from 0, for example by a positive number that is added"
    )]
    Unsettled {
        /// The last value.
        value: f64,
        /// Its error.
        error: f64,
    },
    /// A tolerance is NaN or negative.
    #[error("the tolerance {value} is not a number that is at least 0")]
    Tolerance {
        /// What was given.
        value: f64,
    },
}
