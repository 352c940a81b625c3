//! Why a hierarchy was not computed.

use netsor_finite::FiniteError;
use netsor_ir::transform::TransformError;
use netsor_num::ode::OdeError;
use thiserror::Error;

/// The error type of the crate.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum NthError {
    /// An activation with a kink or a jump.
    #[error(
        "`{value}` uses `{function}`, which has a {what}: the hierarchy needs bounded derivatives of every order \
         (Huang and Yau 2020, Assumption 2.1); use softplus(a x)/a, which tends to relu as a grows, or another smooth \
         activation"
    )]
    NotSmooth {
        /// The value whose definition has it.
        value: String,
        /// The function.
        function: &'static str,
        /// `kink` or `jump`.
        what: &'static str,
    },
    /// The hierarchy is about one function.
    #[error("the hierarchy is defined for one output, the network has {found}")]
    Outputs {
        /// How many there are.
        found: usize,
    },
    /// The order of a kernel or of a truncation.
    #[error("{what} must be {expected}, not {found}")]
    Order {
        /// Which order.
        what: &'static str,
        /// What is allowed.
        expected: String,
        /// What was given.
        found: usize,
    },
    /// The limit of a kernel of odd order.
    #[error(
        "K^({order}) has no deterministic limit: kernels of odd order are odd in the readout weights, and \
         n^(({order}-1)/2) K^({order}) converges in law only; take an even order, or simulate"
    )]
    OddLimit {
        /// The order.
        order: usize,
    },
    /// Limits without something that is asked of them.
    #[error("the limits have no {what}; {help}")]
    Missing {
        /// What is missing.
        what: &'static str,
        /// How to get it.
        help: &'static str,
    },
    /// Kernels of the hierarchy where bold ones are needed.
    #[error("a discrete step needs the bold kernels, whose directions are fixed; take `bold_hierarchy`")]
    LiveKernels,
    /// Bold kernels where those of the hierarchy are needed.
    #[error("truncation at p = {p} needs kernels whose directions move; these are bold ones: take `hierarchy`")]
    FrozenKernels {
        /// The order of the truncation.
        p: usize,
    },
    /// A list of numbers of the wrong length.
    #[error("{what} needs {expected} numbers, {found} were given")]
    Length {
        /// Which list.
        what: &'static str,
        /// How many it needs.
        expected: usize,
        /// How many were given.
        found: usize,
    },
    /// A number that is out of range.
    #[error("{what} must be {expected}, not {found}")]
    Number {
        /// Which number.
        what: &'static str,
        /// What is allowed.
        expected: &'static str,
        /// What was given.
        found: f64,
    },
    /// A truncation with rates of very different size, asked for in a form that takes an explicit method.
    #[error(
        "the truncated hierarchy is stiff at time {t}: the kernel drives some residuals at a rate of about {rate:.3e}, \
         and an explicit method has to follow it however smooth the solution; ask for the solution at given times \
         (`Truncated::solve`, which has a method for that), or stop earlier"
    )]
    Stiff {
        /// When it was noticed.
        t: f64,
        /// The trace of the kernel over the number of training examples: the largest rate is at most this.
        rate: f64,
    },
    /// The computation would need more memory than allowed.
    #[error(
        "K^({order}) of {points} points at width {width} needs {}, the limit is {}; raise it in the options, or take \
         fewer points, a smaller width or a lower order",
        size(*bytes),
        size(*limit)
    )]
    Memory {
        /// The highest order asked for.
        order: usize,
        /// Points times components.
        points: usize,
        /// The width.
        width: usize,
        /// What would be needed.
        bytes: u128,
        /// What is allowed.
        limit: u128,
    },
    /// The program made of the network breaks an invariant: an error of this library.
    #[error("the program of the hierarchy is not valid:\n{0}")]
    Invalid(String),
    /// A transform of the network failed.
    #[error(transparent)]
    Transform(#[from] TransformError),
    /// A limit does not exist or was not computed.
    #[error(transparent)]
    Limit(#[from] netsor_limit::LimitError),
    /// The network was not run.
    #[error(transparent)]
    Finite(#[from] FiniteError),
    /// The differential equation was not solved.
    #[error(transparent)]
    Ode(#[from] OdeError),
}

/// Bytes with a unit in which they are at least 1, with four digits.
fn size(bytes: u128) -> String {
    let units = [(1_000_000_000_000, "TB"), (1_000_000_000, "GB"), (1_000_000, "MB"), (1_000, "kB")];
    match units.into_iter().find(|(unit, _)| *unit <= bytes) {
        Some((unit, name)) => {
            let number = bytes as f64 / unit as f64;
            let digits = 3 - (number.log10().floor() as usize).min(3);
            format!("{number:.digits$} {name}")
        }
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_never_zero() {
        let sizes = [0, 999, 1_000, 123_456, 4_000_000_000, 98_765_432_100_000_000].map(size);
        assert_eq!(sizes.join(", "), "0 bytes, 999 bytes, 1.000 kB, 123.5 kB, 4.000 GB, 98765 TB");
    }
}
