//! Activations by name.

use netsor_ir::number::from_f64;
use netsor_ir::{ExprId, Exprs, Func};
use serde::{Deserialize, Serialize};

use crate::builder::ZooError;
use crate::layers::Layer;

/// A coordinatewise nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// The identity.
    Identity,
    /// `max(x, 0)`
    Relu,
    /// `x` above 0, `slope * x` below.
    LeakyRelu {
        /// The slope below 0.
        slope: f64,
    },
    /// Absolute value.
    Abs,
    /// Hyperbolic tangent.
    Tanh,
    /// Error function.
    Erf,
    /// Logistic function.
    Sigmoid,
    /// `log(1 + exp(x))`
    Softplus,
    /// `x Phi(x)`
    Gelu,
    /// `x sigmoid(x)`
    Silu,
    /// `x` above 0, `exp(x) - 1` below.
    Elu,
    /// Sine.
    Sin,
    /// Cosine.
    Cos,
    /// Exponential.
    Exp,
    /// Heaviside step.
    Step,
    /// Sign.
    Sign,
}

impl Activation {
    /// The activation called `name`, as in the text format; `None` if there is none.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match Func::from_name(name) {
            None if name == "identity" => Self::Identity,
            Some(Func::Relu) => Self::Relu,
            Some(Func::LeakyRelu) => Self::LeakyRelu { slope: 0.01 },
            Some(Func::Abs) => Self::Abs,
            Some(Func::Tanh) => Self::Tanh,
            Some(Func::Erf) => Self::Erf,
            Some(Func::Sigmoid) => Self::Sigmoid,
            Some(Func::Softplus) => Self::Softplus,
            Some(Func::Gelu) => Self::Gelu,
            Some(Func::Silu) => Self::Silu,
            Some(Func::Elu) => Self::Elu,
            Some(Func::Sin) => Self::Sin,
            Some(Func::Cos) => Self::Cos,
            Some(Func::Exp) => Self::Exp,
            Some(Func::Step) => Self::Step,
            Some(Func::Sign) => Self::Sign,
            _ => return None,
        })
    }

    /// The activation as a layer of a list.
    pub fn layer(self) -> Layer {
        let name = match self {
            Self::Identity => return Layer::Identity {},
            Self::LeakyRelu { slope } => return Layer::LeakyRelu { alpha: slope },
            Self::Relu => return Layer::Relu {},
            Self::Abs => return Layer::Abs {},
            Self::Sign => return Layer::Sign {},
            Self::Erf => return Layer::Erf { a: 1.0, b: 1.0, c: 0.0 },
            Self::Gelu => return Layer::Gelu {},
            Self::Sin => return Layer::Sin { a: 1.0, b: 1.0, c: 0.0 },
            Self::Cos => return Layer::Cos { a: 1.0, b: 1.0, c: 0.0 },
            Self::Exp => return Layer::Exp { a: 1.0, b: 1.0 },
            Self::Tanh => "tanh",
            Self::Sigmoid => "sigmoid",
            Self::Softplus => "softplus",
            Self::Silu => "silu",
            Self::Elu => "elu",
            Self::Step => "step",
        };
        Layer::Elementwise { function: name.to_owned() }
    }

    /// The activation applied to an expression.
    ///
    /// # Errors
    /// If a parameter of the activation is not finite.
    pub fn apply(self, exprs: &mut Exprs, x: ExprId) -> Result<ExprId, ZooError> {
        let func = match self {
            Self::Identity => return Ok(x),
            Self::LeakyRelu { slope } => {
                let slope = from_f64(slope).ok_or(ZooError::NotFinite { what: "slope", value: slope })?;
                let slope = exprs.constant(slope);
                return Ok(exprs.apply2(Func::LeakyRelu, x, slope));
            }
            Self::Relu => Func::Relu,
            Self::Abs => Func::Abs,
            Self::Tanh => Func::Tanh,
            Self::Erf => Func::Erf,
            Self::Sigmoid => Func::Sigmoid,
            Self::Softplus => Func::Softplus,
            Self::Gelu => Func::Gelu,
            Self::Silu => Func::Silu,
            Self::Elu => Func::Elu,
            Self::Sin => Func::Sin,
            Self::Cos => Func::Cos,
            Self::Exp => Func::Exp,
            Self::Step => Func::Step,
            Self::Sign => Func::Sign,
        };
        Ok(exprs.apply(func, x))
    }
}
