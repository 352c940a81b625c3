//! Hypotheses that fail: what, where, and what is known nevertheless.

use std::fmt;

use serde::Serialize;

use super::Theorem;

/// What a theorem says of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// All hypotheses hold.
    Covered,
    /// All hypotheses hold if limits that only numbers can tell keep away from a singular point.
    Conditional,
    /// A hypothesis fails, but the conclusion is supported by simulation (TP IIb App. Remark B.6).
    Supported,
    /// A hypothesis fails.
    Outside,
}

impl Status {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Status::Covered => "covered",
            Status::Conditional => "covered under a condition",
            Status::Supported => "numerically supported, not proved",
            Status::Outside => "not covered",
        }
    }
}

/// A hypothesis that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "hypothesis", rename_all = "snake_case")]
pub enum Missing {
    /// Functions of vectors are continuous.
    Continuity {
        /// The first value where it fails.
        value: String,
        /// The function that jumps.
        function: &'static str,
    },
    /// Functions of vectors have pseudo-Lipschitz derivatives.
    LipschitzDerivative {
        /// The first value where it fails.
        value: String,
        /// The function with a kink.
        function: &'static str,
    },
    /// Functions of vectors are bounded by polynomials.
    PolynomialGrowth {
        /// The first value where it fails.
        value: String,
        /// The function that grows faster.
        function: &'static str,
    },
    /// Functions of vectors are Lipschitz on bounded sets.
    NoSingularity {
        /// The first value where it fails.
        value: String,
        /// The function that is singular where its argument may come.
        function: &'static str,
    },
    /// Functions of scalars are regular at the scalars' limits.
    RegularLimit {
        /// The first value for which it is open.
        value: String,
        /// The function that is singular where a limit could be.
        function: &'static str,
    },
    /// Scalars have deterministic limits.
    DeterministicScalars {
        /// The scalar or vector of constant dimension, or the vector that is too large.
        value: String,
        /// The power of the width by which it is known to be bounded.
        power: String,
    },
    /// Matrices between widths have entries of variance `sigma^2 / n`.
    EntryVariance {
        /// The matrix.
        matrix: String,
        /// The power of the width in the variance of its entries.
        power: String,
    },
    /// Outputs are linear in independent centred weights that are used for nothing else.
    FreeReadout {
        /// The output, or the weights that are used elsewhere.
        output: String,
        /// What is in the way.
        reason: String,
    },
    /// Parameters scale as in the NTK parametrization.
    NtkParametrization {
        /// The parameter.
        parameter: String,
        /// The power of the width in the variance of its entries.
        variance: String,
        /// The power of the width in the weight of its gradient, `n^(-2a-c)`.
        rate: String,
        /// What both should be.
        expected: String,
    },
    /// No matrix multiplies vectors from both sides in the forward pass.
    OneDirection {
        /// The matrix.
        matrix: String,
        /// A product with it.
        plain: String,
        /// A product with its transpose.
        transposed: String,
    },
    /// The network is fully connected.
    FullyConnected {
        /// Where it is not.
        value: String,
        /// What is there.
        reason: String,
    },
    /// All derivatives of the activation are bounded.
    BoundedDerivatives {
        /// The first value where it fails.
        value: String,
        /// The function or operation.
        function: &'static str,
    },
}

impl Missing {
    /// What is left of a theorem without this hypothesis.
    pub fn status(&self, theorem: Theorem) -> Status {
        match self {
            Missing::RegularLimit { .. } => Status::Conditional,
            // Training moves preactivations by n^(-1/2) across a jump, for n^(1/2) of n neurons: an effect of order one.
            Missing::Continuity { .. } if theorem == Theorem::NtkTrain => Status::Outside,
            Missing::Continuity { .. } | Missing::LipschitzDerivative { .. } if theorem != Theorem::Hierarchy => {
                Status::Supported
            }
            _ => Status::Outside,
        }
    }

    /// Where the hypothesis stands.
    pub fn source(&self) -> &'static str {
        match self {
            Missing::Continuity { .. } => "TP IIb App. Assumption B.8 and Remark B.6",
            Missing::PolynomialGrowth { .. } | Missing::NoSingularity { .. } => "TP IIb App. Assumption B.8",
            Missing::RegularLimit { .. } => "TP IIb App. Assumption B.8, read near the limits of the scalars",
            Missing::LipschitzDerivative { .. } => "TP IIb Setup 5.2 and App. eq. 84, corrected",
            Missing::DeterministicScalars { .. } => "TP IIb App. Setup B.2 and D.1.1",
            Missing::EntryVariance { .. } => "TP IIb App. Setup B.2",
            Missing::FreeReadout { .. } => "TP IIb Def. 4.2; Simple GIA Check (Yang 2020a)",
            Missing::NtkParametrization { .. } => "TP IIb Setup 5.2 and App. Setup D.1",
            Missing::OneDirection { .. } => "TP IIb App. Setup D.1 (A2); D.4.2, corrected",
            Missing::FullyConnected { .. } => "NTH eqs. 1 and 2",
            Missing::BoundedDerivatives { .. } => "NTH Assumption 2.1",
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Missing::Continuity { value, function } => write!(
                f,
                "`{function}` in `{value}` jumps, so that it is not pseudo-Lipschitz; with derivatives by Stein's lemma \
                 the rules still give the right numbers, but what training moves across the jump no gradient sees"
            ),
            Missing::LipschitzDerivative { value, function } => {
                write!(f, "`{function}` in `{value}` has a kink, so that its derivative is not pseudo-Lipschitz")
            }
            Missing::PolynomialGrowth { value, function } => write!(
                f,
                "`{function}` in `{value}` may grow faster than every polynomial of the vectors: nothing bounds its \
                 argument from above"
            ),
            Missing::NoSingularity { value, function } => write!(
                f,
                "`{function}` in `{value}` is singular where its argument may come: no positive constant keeps the \
                 argument away from 0"
            ),
            Missing::RegularLimit { value, function } => write!(
                f,
                "`{function}` in `{value}` is singular at 0, where the limit of a scalar could be: the theorem holds \
                 if it is elsewhere"
            ),
            Missing::DeterministicScalars { value, power } if power == "0" => write!(
                f,
                "`{value}` is a sum over the width that stays random, so that it is no scalar of a program; condition \
                 on it and make it data"
            ),
            Missing::DeterministicScalars { value, power } => write!(
                f,
                "`{value}` is of order n^({power}) unless it cancels: it stays random or diverges, as attention scores \
                 at 1/sqrt(d) do; divide by the width where the power comes from"
            ),
            Missing::EntryVariance { matrix, power } => {
                write!(f, "the entries of `{matrix}` have a variance of order n^({power}) and not n^(-1)")
            }
            Missing::FreeReadout { reason, .. } => write!(f, "{reason}"),
            Missing::NtkParametrization { parameter, variance, rate, expected } => write!(
                f,
                "`{parameter}` has variance n^({variance}) and learning rate n^({rate}); in the NTK parametrization both \
                 are n^({expected})"
            ),
            Missing::OneDirection { matrix, plain, transposed } => write!(
                f,
                "`{matrix}` multiplies from both sides, in `{plain}` and transposed in `{transposed}`; the exact kernel \
                 has return paths"
            ),
            Missing::FullyConnected { value, reason } => {
                write!(f, "the network is not fully connected at `{value}`: {reason}")
            }
            Missing::BoundedDerivatives { value, function } => {
                write!(f, "`{function}` in `{value}` leaves a derivative that is not bounded")
            }
        }
    }
}
