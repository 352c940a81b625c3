//! Networks: programs with parameters, data and readouts.
//!
//! A network is not a program: under the NTK parametrization its output `f = v'x` converges to a Gaussian process, not
//! to a number, so it is not a scalar of NETSOR⊤⁺. What *is* a program is everything that a transform makes of it: its
//! adjoints, its tangent kernel, its training.

use num_traits::Zero;

use crate::number::{Number, Power, power};
use crate::program::{Dim, Instr, Kind, Program, Scale, ValueId};

/// A trainable or frozen tensor and its (a, b, c)-parametrization.
///
/// The effective tensor is `W = multiplier * n^(-a) * w` with `w ~ N(0, n^(-2b) * variance / multiplier^2)` and learning
/// rate `eta * n^(-c)` (Talk, "abc-parametrizations"). What training sees of this is only the variance of `W` and the
/// weight `multiplier^2 n^(-2a-c)` of its gradient, which is why `(a + t, b - t, c - 2t)` is the same network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// The initial matrix or vector.
    pub value: ValueId,
    /// Square of the constant factor between `W` and `w`.
    pub multiplier_squared: Number,
    /// Multiplier exponent.
    pub a: Power,
    /// Initialisation exponent.
    pub b: Power,
    /// Learning-rate exponent.
    pub c: Power,
    /// Whether it is trained.
    pub trained: bool,
}

impl Parameter {
    /// The NTK parametrization of a tensor with entries of variance `variance`: the whole standard deviation, with its
    /// power of `n`, is a factor in the forward pass, and `w` is standard normal.
    pub fn ntk(value: ValueId, variance: &Scale) -> Self {
        Self {
            value,
            multiplier_squared: variance.coefficient.clone(),
            a: -variance.power / Power::from_integer(2),
            b: Power::zero(),
            c: Power::zero(),
            trained: true,
        }
    }

    /// The weight of this parameter's gradient in training and in the tangent kernel: `multiplier^2 n^(-2a - c)`.
    pub fn rate(&self) -> Scale {
        Scale::new(self.multiplier_squared.clone(), -(self.a * 2 + self.c))
    }
}

/// The part that a tensor plays: which of its dimensions are widths, and from which side it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Maps a constant dimension to a width: input weights and biases.
    InputLike,
    /// Maps a width to a width.
    Hidden,
    /// Maps a width to a constant dimension: readouts.
    OutputLike,
    /// No dimension is a width.
    Finite,
}

/// A program with parameters and outputs.
#[derive(Clone, Debug, Default)]
pub struct Network {
    /// The forward pass.
    pub program: Program,
    /// Its parameters, in order of definition.
    pub parameters: Vec<Parameter>,
    /// Its outputs: scalars, or vectors of constant dimension.
    pub outputs: Vec<ValueId>,
}

impl Network {
    /// The parameter whose tensor is `value`.
    pub fn parameter(&self, value: ValueId) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.value == value)
    }

    /// The part that the initial tensor `value` plays. An `n x k` matrix is input-like when it multiplies a vector of
    /// constant dimension and output-like when its transpose multiplies a vector of width `n`.
    pub fn role(&self, value: ValueId) -> Role {
        let used_transposed = self
            .program
            .values
            .iter()
            .any(|v| matches!(&v.instr, Instr::MatMul { matrix, transposed: true, .. } if matrix.value == value));
        match self.program.value(value).ty.kind {
            Kind::Matrix { rows: Dim::Width(_), cols: Dim::Width(_) } => Role::Hidden,
            Kind::Matrix { rows: Dim::Width(_), cols: Dim::Finite(_) } if used_transposed => Role::OutputLike,
            Kind::Matrix { rows: Dim::Finite(_), cols: Dim::Width(_) } if !used_transposed => Role::OutputLike,
            Kind::Matrix { rows: Dim::Finite(_), cols: Dim::Finite(_) } => Role::Finite,
            Kind::Vector(Dim::Width(_)) | Kind::Matrix { .. } => Role::InputLike,
            _ => Role::Finite,
        }
    }

    /// The exponent of `n` that makes the adjoint of a value of this kind of order one: the adjoint of a vector of
    /// width `n` is `dx = sqrt(n) df/dx` (TP IIb App., notations), that of a scalar or constant-size vector `df/dx`.
    pub fn adjoint_power(kind: Kind) -> Power {
        match kind {
            Kind::Vector(Dim::Width(_)) => power(1, 2),
            _ => Power::zero(),
        }
    }
}
