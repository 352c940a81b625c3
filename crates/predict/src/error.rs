//! The one error type of the crate.

/// Why a prediction was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PredictError {
    /// A matrix of the wrong shape.
    #[error("{what} is {} x {}, expected {} x {}", found.0, found.1, expected.0, expected.1)]
    Shape {
        /// Which matrix.
        what: &'static str,
        /// Rows and columns that fit.
        expected: (usize, usize),
        /// Rows and columns that were given.
        found: (usize, usize),
    },
    /// A matrix without entries.
    #[error("{what} is empty")]
    Empty {
        /// Which matrix.
        what: &'static str,
    },
    /// A slice that does not fill a matrix.
    #[error("{what}: {rows} x {columns} entries expected, found {found}")]
    Entries {
        /// Which matrix.
        what: &'static str,
        /// Its rows.
        rows: usize,
        /// Its columns.
        columns: usize,
        /// The length of the slice.
        found: usize,
    },
    /// NaN or infinity.
    #[error("{what}[{row}, {column}] is {value}, expected a finite number")]
    NotFinite {
        /// Which matrix.
        what: &'static str,
        /// Row of the first such entry.
        row: usize,
        /// Column of the first such entry.
        column: usize,
        /// The entry.
        value: f64,
    },
    /// A kernel matrix between the same points that is not symmetric.
    #[error("{what} is not symmetric: [{row}, {column}] and its mirror image differ by {difference:e}")]
    NotSymmetric {
        /// Which matrix.
        what: &'static str,
        /// Row of the worst entry.
        row: usize,
        /// Column of the worst entry.
        column: usize,
        /// Its distance from its mirror image.
        difference: f64,
    },
    /// Cholesky met a pivot that is negative, or zero to working precision.
    #[error(
        "{what} is not positive definite: pivot {pivot:e} at point {index} where more than {floor:e} is needed; \
         repeated points? add a diagonal regulariser, for example DiagReg::Relative(1e-10)"
    )]
    NotPositiveDefinite {
        /// Which matrix.
        what: &'static str,
        /// The point at which the factorisation stopped or the pivot is smallest, counted from 0.
        index: usize,
        /// The smallest pivot met.
        pivot: f64,
        /// What counts as zero: `n eps max diag`.
        floor: f64,
    },
    /// An eigenvalue below zero by more than rounding.
    #[error(
        "{what} is not positive semi-definite: eigenvalue {smallest:e} beside {largest:e}; \
         add a diagonal regulariser of at least DiagReg::Absolute({})", -smallest
    )]
    NotPositiveSemidefinite {
        /// Which matrix.
        what: &'static str,
        /// The smallest eigenvalue.
        smallest: f64,
        /// The largest eigenvalue.
        largest: f64,
    },
    /// A number outside its domain.
    #[error("{what} is {found}, expected {expected}")]
    Parameter {
        /// Which number.
        what: &'static str,
        /// What was given.
        found: f64,
        /// The domain in words.
        expected: &'static str,
    },
    /// The eigenvalue iteration did not converge.
    #[error("the eigendecomposition of {what} did not converge")]
    NoConvergence {
        /// Which matrix.
        what: &'static str,
    },
    /// The differential equation of a flow was not solved up to the time asked for.
    #[error("the flow was not solved up to time {t}: {problem}")]
    Unsolved {
        /// The time asked for.
        t: f64,
        /// What the solver said.
        problem: String,
    },
    /// Discrete descent left the finite numbers.
    #[error("descent diverged at step {step}: the learning rate is above the largest stable one")]
    Diverged {
        /// The step after which an output was not finite, counted from 1.
        step: usize,
    },
    /// A class without a column.
    #[error("row {row} has class {class}, but there are {n_classes} outputs")]
    NoSuchClass {
        /// The row, counted from 0.
        row: usize,
        /// Its class.
        class: usize,
        /// How many columns there are.
        n_classes: usize,
    },
}
