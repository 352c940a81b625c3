//! Why a kernel cannot be planned or computed.

use netsor_gauss::GaussError;
use netsor_limit::LimitError;

/// The error of planning and running kernels.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum KernelError {
    /// A query gives another number of indices than its expression has.
    #[error("`{query}`: index variable {variable} has no meaning; {found} were given")]
    Variable {
        /// The query.
        query: String,
        /// The number of the variable.
        variable: u32,
        /// How many were given.
        found: usize,
    },
    /// The kernel of two inputs depends on other inputs of the batch.
    #[error(
        "`{name}` is used at position {position} of the batch: a kernel entry may depend on its own two inputs only \
         (a network that mixes inputs of a batch has no kernel function)"
    )]
    MixesInputs {
        /// The data value.
        name: String,
        /// The position in the batch.
        position: u32,
    },
    /// A guard or a table depends on where in the batch an input stands.
    #[error("a {what} depends on the position of an input in the batch, which a kernel function does not know")]
    DependsOnPosition {
        /// `guard` or `table`.
        what: &'static str,
    },
    /// Data whose batch axis is not the first.
    #[error("data `{name}` must have the batch as its first axis and nowhere else")]
    BatchAxis {
        /// The data value.
        name: String,
    },
    /// Data that no input gives numbers for.
    #[error("the inputs have no numbers for data `{name}`")]
    MissingData {
        /// The data value.
        name: String,
    },
    /// Data that has no batch axis and no numbers.
    #[error("data `{name}` is shared by all inputs: give its numbers when the kernel is lowered")]
    Shared {
        /// The data value.
        name: String,
    },
    /// Data of the wrong size.
    #[error("data `{name}`: expected {rows} rows of {columns} numbers, found {found} numbers")]
    DataSize {
        /// The data value.
        name: String,
        /// Rows expected.
        rows: usize,
        /// Numbers an input.
        columns: usize,
        /// Numbers given.
        found: usize,
    },
    /// Data that is NaN or infinite.
    #[error("data `{name}` has the value {value} in row {row}, column {column}; give finite numbers")]
    NotFinite {
        /// The data value.
        name: String,
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The number found.
        value: f64,
    },
    /// There are no inputs.
    #[error("there are no inputs; give at least one row")]
    NoInputs,
    /// An entry that is not a finite number.
    #[error("entry ({row}, {column}) of `{query}` is {value}; the kernel does not exist or overflows there")]
    Entry {
        /// The query.
        query: String,
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The number found.
        value: f64,
    },
    /// An expectation that could not be taken.
    #[error("in the expectation for inputs {row} and {column}: {source}")]
    Expectation {
        /// The row.
        row: usize,
        /// The column.
        column: usize,
        /// The cause.
        source: GaussError,
    },
    /// An expectation without data that could not be taken.
    #[error("in an expectation that does not depend on the inputs: {0}")]
    Constant(GaussError),
    /// A zero, or a product of jumps, that depends on numbers.
    #[error(
        "`{name}` has a part that vanishes only if an expectation exists, or that has a meaning only if two jumps are not at \
         one place, which depends on the inputs and is not looked at here; evaluate the limit instead"
    )]
    Existence {
        /// The value.
        name: String,
    },
    /// An integrand that could not be compiled, or an expression that is not part of limits.
    #[error("the graph cannot be lowered: {0}")]
    Lower(String),
    /// More memory than allowed.
    #[error(
        "the kernel needs about {} MiB and the limit is {} MiB; raise the limit or ask for fewer rows at a time",
        needed >> 20, limit >> 20
    )]
    Memory {
        /// Bytes needed.
        needed: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The plan has more operations than allowed.
    #[error("the plan has more than {limit} operations an entry")]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// A tolerance that is not a positive number.
    #[error("the tolerance is {found}, expected a positive number")]
    Tolerance {
        /// The tolerance given.
        found: f64,
    },
    /// The kernel has no limit, or its derivative does not exist.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The output has no such kernel.
    #[error("the first output of the network has no {which} kernel")]
    NoKernel {
        /// `ntk` or `nngp`.
        which: String,
    },
    /// Numbers for hyper-parameters that are too many or too few.
    #[error("{found} numbers are given for {expected} hyper-parameters")]
    Numbers {
        /// The number of hyper-parameters.
        expected: usize,
        /// How many numbers were given.
        found: usize,
    },
    /// Threads could not be started.
    #[error("threads could not be started: {0}")]
    Threads(String),
    /// The run was cancelled.
    #[error("cancelled")]
    Cancelled,
}
