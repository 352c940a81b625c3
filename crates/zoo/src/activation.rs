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

    /// Its name, which [`Activation::from_name`] reads.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.func().map_or("identity", Func::name)
    }

    /// The function of the language; `None` for the identity.
    fn func(self) -> Option<Func> {
        Some(match self {
            Self::Identity => return None,
            Self::LeakyRelu { .. } => Func::LeakyRelu,
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
        })
    }

    /// The activation as a layer of a list.
    pub fn layer(self) -> Layer {
        match self {
            Self::Identity => Layer::Identity {},
            Self::LeakyRelu { slope } => Layer::LeakyRelu { alpha: slope },
            Self::Relu => Layer::Relu {},
            Self::Abs => Layer::Abs {},
            Self::Sign => Layer::Sign {},
            Self::Erf => Layer::Erf { a: 1.0, b: 1.0, c: 0.0 },
            Self::Gelu => Layer::Gelu {},
            Self::Sin => Layer::Sin { a: 1.0, b: 1.0, c: 0.0 },
            Self::Cos => Layer::Cos { a: 1.0, b: 1.0, c: 0.0 },
            Self::Exp => Layer::Exp { a: 1.0, b: 1.0 },
            Self::Tanh | Self::Sigmoid | Self::Softplus | Self::Silu | Self::Elu | Self::Step => {
                Layer::Elementwise { function: self.name().to_owned() }
            }
        }
    }

    /// The activation applied to an expression.
    ///
    /// # Errors
    /// If a parameter of the activation is not finite.
    pub fn apply(self, exprs: &mut Exprs, x: ExprId) -> Result<ExprId, ZooError> {
        Ok(match (self, self.func()) {
            (_, None) => x,
            (Self::LeakyRelu { slope }, Some(func)) => {
                let slope = from_f64(slope).ok_or(ZooError::NotFinite { what: "slope", value: slope })?;
                let slope = exprs.constant(slope);
                exprs.apply2(func, x, slope)
            }
            (_, Some(func)) => exprs.apply(func, x),
        })
    }
}
