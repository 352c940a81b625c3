//! The functions of [`special`], looked up by the name that a program uses for them.
//!
//! An expression compiled elsewhere knows its functions by name only; this is where the names get their meaning, once for `f32` and `f64`.

use crate::{Real, special};

/// Names that [`unary`] knows, in the order of the language reference.
pub const UNARY: [&str; 16] = [
    "tanh", "relu", "abs", "erf", "exp", "log", "sqrt", "sin", "cos", "sigmoid", "softplus", "gelu", "silu", "elu",
    "step", "sign",
];

/// Names that [`binary`] knows.
pub const BINARY: [&str; 3] = ["max", "min", "leaky_relu"];

/// The function of one argument with this name; `None` if there is none.
pub fn unary<T: Real>(name: &str) -> Option<fn(T) -> T> {
    Some(match name {
        "tanh" => special::tanh,
        "relu" => special::relu,
        "abs" => special::abs,
        "erf" => special::erf,
        "exp" => special::exp,
        "log" => special::ln,
        "sqrt" => special::sqrt,
        "sin" => special::sin,
        "cos" => special::cos,
        "sigmoid" => special::sigmoid,
        "softplus" => special::softplus,
        "gelu" => special::gelu,
        "silu" => special::silu,
        "elu" => special::elu,
        "step" => special::step,
        "sign" => special::sign,
        _ => return None,
    })
}

/// The function of two arguments with this name; `leaky_relu` takes the argument first and the slope second.
pub fn binary<T: Real>(name: &str) -> Option<fn(T, T) -> T> {
    Some(match name {
        "max" => special::max,
        "min" => special::min,
        "leaky_relu" => special::leaky_relu,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_known_and_no_other() {
        for name in UNARY {
            let (f, g) = (unary::<f64>(name).unwrap(), unary::<f32>(name).unwrap());
            // f32 functions are good to a few units of 2^-24.
            assert!((f(0.7) - f64::from(g(0.7))).abs() < 1e-6, "{name}");
        }
        for name in BINARY {
            assert_eq!(binary::<f64>(name).unwrap()(0.5, 0.25), f64::from(binary::<f32>(name).unwrap()(0.5, 0.25)));
        }
        assert!(unary::<f64>("max").is_none() && binary::<f64>("tanh").is_none() && unary::<f64>("").is_none());
    }
}
