//! Why a limit does not exist, is not covered, or could not be computed.

/// The error of the limit engine.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LimitError {
    /// A positive power of the width in front of what does not cancel, or a fluctuation of order 1.
    #[error(
        "`{name}` is of order n^({power}) and has no deterministic limit: under a positive power of the width only \
         what cancels identically is dropped, and the fluctuations of moments, of order n^(-1/2), are brought back \
         (under the NTK parametrization outputs converge to a Gaussian process; condition on f_0 or ask for kernels \
         instead)"
    )]
    NotAScalar {
        /// The value.
        name: String,
        /// The exponent of its size.
        power: String,
    },
    /// The expansion in powers of the width does not settle the leading term.
    #[error(
        "the expansion of `{name}` in powers of the width does not settle its leading term within {order} orders; \
         use powers that are multiples of 1/2, or write the difference as a derivative"
    )]
    Expansion {
        /// The value.
        name: String,
        /// The most orders of a Taylor series.
        order: usize,
    },
    /// A power of the width in the law of an initial vector.
    #[error("the law of `{name}` depends on the width; give it variance 1 and put the power of n in front of `{name}`")]
    LawOfWidth {
        /// The value.
        name: String,
    },
    /// A readout, which converges in law only.
    #[error(
        "`{name}` is a readout: it converges in law to a Gaussian process, not to a number; ask for its covariance \
         (the NNGP kernel) or condition on f_0"
    )]
    Readout {
        /// The value.
        name: String,
    },
    /// The leading part of a readout vanishes, and the vector that it reads has lower ones.
    #[error(
        "the leading part of the readout `{name}` vanishes, and what it reads has terms of several orders in n; read them \
         out one by one"
    )]
    MixedReadout {
        /// The value.
        name: String,
    },
    /// The value has no limit of its own.
    #[error("`{name}` is a matrix; matrices have no limit of their own")]
    Matrix {
        /// The value.
        name: String,
    },
    /// A jump at a point where another factor jumps too.
    #[error(
        "in `{name}` the derivative of a step is multiplied by another function that jumps at the same point, if not always \
         then for some positions of its indices or for these data: what the product is depends on the side it is seen from"
    )]
    JumpTimesJump {
        /// The value.
        name: String,
    },
    /// A jump where no Gaussian variable crosses it at one point.
    #[error(
        "in `{name}` the derivative of a step is needed whose argument is linear in none of its Gaussian variables, or is \
         determined by the others; write the step as a function of one linear combination of vectors"
    )]
    JumpAlongCurve {
        /// The value.
        name: String,
    },
    /// Something that is no number of the data.
    #[error("there is no derivative with respect to `{name}`: {reason}; expected a number of the program's data")]
    NoDatum {
        /// The value.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// The expansion into monomials grew too large.
    #[error("the expectation of `{name}` expands to more than {limit} terms")]
    TooManyTerms {
        /// The value.
        name: String,
        /// The limit.
        limit: usize,
    },
    /// A definition refers to something that does not exist.
    #[error("`{name}` is not well formed: {reason}; verify the program first")]
    IllFormed {
        /// The value.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// Data that the evaluation needs is missing or has the wrong shape.
    #[error("data `{name}`: expected {expected} numbers, found {found}")]
    Data {
        /// The data value.
        name: String,
        /// Numbers expected.
        expected: usize,
        /// Numbers given; 0 when absent.
        found: usize,
    },
    /// Data that is NaN or infinite.
    #[error("data `{name}` has the value {value} at position {position}; give finite numbers")]
    NotFinite {
        /// The data value.
        name: String,
        /// Position in the flat array.
        position: usize,
        /// The number found.
        value: f64,
    },
    /// Too few replicates to know an error.
    #[error("{found} replicates have no scatter: expected at least 2")]
    Replicates {
        /// Replicates asked for.
        found: usize,
    },
    /// An index outside of its axis.
    #[error("position {position} is outside of an axis of size {size}")]
    OutOfRange {
        /// The position asked for.
        position: usize,
        /// The size of the axis.
        size: usize,
    },
    /// A scalar function was evaluated outside of its domain.
    #[error("the limit is not a finite number: {what} gives {value}")]
    Domain {
        /// The operation.
        what: String,
        /// Its result.
        value: f64,
    },
    /// An expectation could not be computed.
    #[error("in the expectation of {integrand}: {source}")]
    Expectation {
        /// The integrand as text.
        integrand: String,
        /// The cause.
        source: netsor_gauss::GaussError,
    },
    /// What vanishes by symmetry or by independence has no expectation.
    #[error("`{name}` has a part that is 0 only if the expectation of {integrand} exists: {source}")]
    Existence {
        /// The value.
        name: String,
        /// The integrand as text.
        integrand: String,
        /// The cause.
        source: netsor_gauss::GaussError,
    },
    /// A zero is multiplied by what is no number.
    #[error("`{name}` has a part that is 0 only if what multiplies it is finite: {what} gives {value}")]
    Multiplier {
        /// The value.
        name: String,
        /// The operation.
        what: String,
        /// Its result.
        value: f64,
    },
    /// An integrand could not be compiled.
    #[error("integrand cannot be evaluated: {0}")]
    Tape(String),
}
