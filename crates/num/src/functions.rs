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

/// A function of all numbers of a slice, into another one.
pub type SliceFunction<T> = fn(&[T], &mut [T]);

macro_rules! unary_functions {
    ($($name:literal $f:ident),*) => {
        /// The function of one argument with this name; `None` if there is none.
        pub fn unary<T: Real>(name: &str) -> Option<fn(T) -> T> {
            Some(match name {
                $($name => special::$f,)*
                _ => return None,
            })
        }

        /// The same function of all numbers of a slice, into another one, with the same bits as one at a time.
        pub fn unary_slice<T: Real>(name: &str) -> Option<SliceFunction<T>> {
            // A loop with the function in it, which the compiler may turn into vector instructions.
            let loops: SliceFunction<T> = match name {
                $($name => |x, y| y.iter_mut().zip(x).for_each(|(y, &x)| *y = special::$f(x)),)*
                _ => return None,
            };
            Some(loops)
        }
    };
}

unary_functions!(
    "tanh" tanh, "relu" relu, "abs" abs, "erf" erf, "exp" exp, "log" ln, "sqrt" sqrt, "sin" sin, "cos" cos,
    "sigmoid" sigmoid, "softplus" softplus, "gelu" gelu, "silu" silu, "elu" elu, "step" step, "sign" sign
);

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
    fn slices_have_the_bits_of_single_numbers() {
        let x: Vec<f32> = (0..1000).map(|k| (k as f32 - 500.0) * 0.021).collect();
        for name in UNARY {
            let (one, many) = (unary::<f32>(name).unwrap(), unary_slice::<f32>(name).unwrap());
            let mut y = vec![0.0; x.len()];
            many(&x, &mut y);
            assert!(x.iter().zip(&y).all(|(&x, y)| one(x).to_bits() == y.to_bits()), "{name}");
        }
        assert!(unary_slice::<f64>("max").is_none());
    }

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
