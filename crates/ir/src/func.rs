//! The elementary functions of the language and what is known about each: one table, read by everyone.

use serde::{Deserialize, Serialize};

/// A named elementary function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Func {
    /// Hyperbolic tangent.
    Tanh,
    /// `max(x, 0)`.
    Relu,
    /// `x` for positive `x`, `slope * x` otherwise; the slope is the second argument.
    LeakyRelu,
    /// Absolute value.
    Abs,
    /// Error function.
    Erf,
    /// Exponential.
    Exp,
    /// Natural logarithm.
    Log,
    /// Square root.
    Sqrt,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Logistic function `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `log(1 + exp(x))`.
    Softplus,
    /// `x Phi(x)` with the normal distribution function `Phi`.
    Gelu,
    /// `x sigmoid(x)`.
    Silu,
    /// `x` for positive `x`, `exp(x) - 1` otherwise.
    Elu,
    /// Heaviside step: 1 for positive arguments, 0 otherwise.
    Step,
    /// Sign, with `sign(0) = 0`.
    Sign,
    /// Dirac's delta: the weak derivative of `step`. It is not part of the text format; it appears only where an
    /// expectation is about to be taken, which turns it into a density.
    Delta,
    /// The larger of two arguments.
    Max,
    /// The smaller of two arguments.
    Min,
}

/// How smooth a function is, in the sense that matters for exchanging derivative and expectation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Smoothness {
    /// It jumps: its weak derivative has an atom, and only Stein's lemma gives `E dphi` (TP IIb App. Remark B.6).
    Jump,
    /// Continuous with kinks: the first derivative may be taken pointwise, the second may not.
    Kink,
    /// Infinitely differentiable where it is defined.
    Smooth,
}

/// Behaviour under `x -> -x`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parity {
    /// `f(-x) = f(x)`.
    Even,
    /// `f(-x) = -f(x)`.
    Odd,
    /// Neither.
    Neither,
}

/// What the table says of one function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The name in the text format and in tables of numerical functions.
    pub name: &'static str,
    /// Number of arguments.
    pub arity: usize,
    /// Smoothness in the arguments.
    pub smoothness: Smoothness,
    /// Parity in the first argument, the others fixed.
    pub parity: Parity,
    /// Degree `k` with `f(c x) = c^k f(x)` for `c > 0`, if there is one.
    pub homogeneity: Option<u32>,
    /// Whether the function is bounded by a polynomial together with its derivative (pseudo-Lipschitz when continuous,
    /// TP IIb App. Def. B.7).
    pub polynomially_bounded: bool,
}

impl Func {
    /// All functions of the text format, in the order of the reference.
    pub const ALL: [Func; 19] = [
        Func::Tanh,
        Func::Relu,
        Func::LeakyRelu,
        Func::Abs,
        Func::Erf,
        Func::Exp,
        Func::Log,
        Func::Sqrt,
        Func::Sin,
        Func::Cos,
        Func::Sigmoid,
        Func::Softplus,
        Func::Gelu,
        Func::Silu,
        Func::Elu,
        Func::Step,
        Func::Sign,
        Func::Max,
        Func::Min,
    ];

    /// The function called `name` in the text format.
    pub fn from_name(name: &str) -> Option<Func> {
        Self::ALL.into_iter().find(|f| f.name() == name)
    }

    /// The name in the text format.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// The row of the table for this function.
    pub fn facts(self) -> Facts {
        use Parity::{Even, Neither, Odd};
        use Smoothness::{Jump, Kink, Smooth};
        let row = |name, arity, smoothness, parity, homogeneity, polynomially_bounded| Facts {
            name,
            arity,
            smoothness,
            parity,
            homogeneity,
            polynomially_bounded,
        };
        match self {
            Func::Tanh => row("tanh", 1, Smooth, Odd, None, true),
            Func::Relu => row("relu", 1, Kink, Neither, Some(1), true),
            Func::LeakyRelu => row("leaky_relu", 2, Kink, Neither, Some(1), true),
            Func::Abs => row("abs", 1, Kink, Even, Some(1), true),
            Func::Erf => row("erf", 1, Smooth, Odd, None, true),
            Func::Exp => row("exp", 1, Smooth, Neither, None, false),
            Func::Log => row("log", 1, Smooth, Neither, None, false),
            Func::Sqrt => row("sqrt", 1, Smooth, Neither, None, false),
            Func::Sin => row("sin", 1, Smooth, Odd, None, true),
            Func::Cos => row("cos", 1, Smooth, Even, None, true),
            Func::Sigmoid => row("sigmoid", 1, Smooth, Neither, None, true),
            Func::Softplus => row("softplus", 1, Smooth, Neither, None, true),
            Func::Gelu => row("gelu", 1, Smooth, Neither, None, true),
            Func::Silu => row("silu", 1, Smooth, Neither, None, true),
            Func::Elu => row("elu", 1, Kink, Neither, None, true),
            Func::Step => row("step", 1, Jump, Neither, Some(0), true),
            Func::Sign => row("sign", 1, Jump, Odd, Some(0), true),
            Func::Delta => row("delta", 1, Jump, Even, None, false),
            Func::Max => row("max", 2, Kink, Neither, Some(1), true),
            Func::Min => row("min", 2, Kink, Neither, Some(1), true),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_read_back() {
        for f in Func::ALL {
            assert_eq!(Func::from_name(f.name()), Some(f));
        }
        assert_eq!(Func::from_name("tan"), None);
    }
}
