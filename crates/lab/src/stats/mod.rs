//! Statistics of experiments: from repeated measurements to an estimate with an interval, from an
//! estimate and a prediction to p-values, from many p-values to verdicts.
//!
//! | question | answer |
//! | --- | --- |
//! | how fast does an error fall with the width? | [`fit_power`], [`slope_over_seeds`], [`slope_of_samples`] |
//! | what is the value at infinite width? | [`extrapolate`], [`extrapolate_over_seeds`] |
//! | is A better than B on the same seeds? | [`paired_difference`] |
//! | how sure are we? | [`Estimate::interval`], [`bootstrap_mean`], [`bootstrap_slope`] |
//! | does it agree with the prediction? | [`p_equals`], [`p_at_most`], [`p_at_least`] |
//! | how many tests may be wrong by luck? | [`holm`] |
//!
//! Everything is a function of its arguments: the bootstrap takes its seed, and sums run in index
//! order.
//! A sample that is too small, has the wrong shape or holds a number that is not finite is a
//! [`StatsError`] and never a silent NaN.

mod estimate;
mod extrapolate;
mod independent;
mod multiple;
mod over_seeds;
mod quantile;
mod slope;
mod test;

pub use estimate::{Estimate, Reference, Running, mean, paired_difference};
pub use extrapolate::{Extrapolation, extrapolate, extrapolate_over_seeds};
pub use independent::{slope_of_means, slope_of_samples};
pub use multiple::holm;
pub use over_seeds::{Average, Bootstrap, Curve, CurvePoint, bootstrap_mean, bootstrap_slope, slope_over_seeds};
pub use quantile::{chi2_cdf, chi2_quantile, chi2_upper_tail, normal_cdf, normal_quantile, t_cdf, t_quantile};
pub use slope::{PowerFit, fit_line, fit_power};
pub use test::{Evidence, p_at_least, p_at_most, p_differs, p_equals};

/// Why a statistic could not be computed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// The sample is too small for the statistic.
    #[error("{what} needs at least {expected} values, found {found}")]
    TooFew {
        /// What was being computed.
        what: &'static str,
        /// Smallest number of values that would do.
        expected: usize,
        /// Number of values given.
        found: usize,
    },
    /// Two lists that go together differ in length.
    #[error("{what} has {found} values where {expected} were expected")]
    Length {
        /// The list in question.
        what: &'static str,
        /// Length of its partner.
        expected: usize,
        /// Its own length.
        found: usize,
    },
    /// A NaN or an infinite number.
    #[error("{what}: value {index} is {value}, expected a finite number")]
    NotFinite {
        /// The list in question.
        what: &'static str,
        /// Position of the value.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A value that must be positive (a width, an error on a logarithmic scale, a variance) is not.
    #[error("{what}: value {index} is {value}, expected a positive number")]
    NotPositive {
        /// The list in question.
        what: &'static str,
        /// Position of the value.
        index: usize,
        /// The value.
        value: f64,
    },
    /// All abscissae coincide, or the terms of a fit cannot be told apart on the given widths.
    #[error("{what}: the design is singular, more distinct abscissae are needed")]
    Singular {
        /// The fit in question.
        what: &'static str,
    },
    /// A probability, level or count outside its range.
    #[error("{what} is {value}, expected {expected}")]
    OutOfRange {
        /// The argument.
        what: &'static str,
        /// Its value.
        value: f64,
        /// The permitted range in words.
        expected: &'static str,
    },
}

pub(crate) fn all_finite(what: &'static str, values: &[f64]) -> Result<(), StatsError> {
    match values.iter().position(|v| !v.is_finite()) {
        Some(index) => Err(StatsError::NotFinite { what, index, value: values[index] }),
        None => Ok(()),
    }
}

pub(crate) fn all_positive(what: &'static str, values: &[f64]) -> Result<(), StatsError> {
    all_finite(what, values)?;
    match values.iter().position(|&v| v <= 0.0) {
        Some(index) => Err(StatsError::NotPositive { what, index, value: values[index] }),
        None => Ok(()),
    }
}

pub(crate) fn at_least(what: &'static str, expected: usize, found: usize) -> Result<(), StatsError> {
    if found < expected { Err(StatsError::TooFew { what, expected, found }) } else { Ok(()) }
}

pub(crate) fn same_length(what: &'static str, expected: usize, found: usize) -> Result<(), StatsError> {
    if found == expected { Ok(()) } else { Err(StatsError::Length { what, expected, found }) }
}
