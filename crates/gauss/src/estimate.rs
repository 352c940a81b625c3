//! Answers: a value, how well it is known, and how it was found.

use crate::GaussError;

/// An expectation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// The expectation.
    pub value: f64,
    /// A bound on the absolute error that holds by the analysis of the method: rounding for closed forms, the last change under refinement for quadrature, a 99.7 % interval for randomised points.
    pub error: f64,
    /// How it was found.
    pub method: Method,
}

impl Estimate {
    /// Whether the error is within what was asked: `error <= max(absolute, relative * |value|)`.
    pub fn met(&self, tol: &Tolerance) -> bool {
        self.error <= tol.allowed(self.value)
    }
}

/// How an expectation was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The Gaussian vector is constant: the function was evaluated once.
    Exact,
    /// A formula.
    ClosedForm,
    /// A rule of quadrature on a grid.
    Quadrature {
        /// Independent Gaussian variables.
        dims: usize,
        /// Evaluations of the function.
        points: usize,
    },
    /// Randomised quasi-Monte-Carlo points.
    Qmc {
        /// Independent Gaussian variables.
        dims: usize,
        /// Evaluations of the function, over all replicates.
        points: usize,
        /// Independent randomisations.
        replicates: usize,
    },
}

/// How well an expectation should be known, and what may be spent on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Absolute error that is small enough.
    pub absolute: f64,
    /// Relative error that is small enough.
    pub relative: f64,
    /// About the largest number of evaluations of the function.
    pub max_points: usize,
    /// Seed of the randomised points.
    pub seed: u64,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { absolute: 1e-10, relative: 1e-10, max_points: 1 << 22, seed: 0 }
    }
}

impl Tolerance {
    /// The error that is small enough for this value.
    pub(crate) fn allowed(&self, value: f64) -> f64 {
        self.absolute.max(self.relative * value.abs())
    }

    pub(crate) fn check(&self) -> Result<(), GaussError> {
        for value in [self.absolute, self.relative] {
            if value.is_nan() || value < 0.0 {
                return Err(GaussError::Tolerance { value });
            }
        }
        Ok(())
    }
}
