//! Losses: functions of an output and its target, with the derivative in the output.

use netsor_num::Real;

use crate::{ExpressionLoss, FiniteError};

/// The loss of one member of an output: a number for a scalar, `k` components for a vector.
#[derive(Clone, Copy)]
pub enum Loss<'a> {
    /// `sum over components of (f - y)^2 / 2`.
    Squared,
    /// `sum over components of log(1 + exp(-y f))` with labels `y = 1` or `-1`.
    Logistic,
    /// `- sum over components of y log softmax(f)` with probabilities `y`, for instance one-hot labels.
    CrossEntropy,
    /// An expression of the language.
    Expression(&'a ExpressionLoss),
    /// The caller's.
    Custom(&'a CustomLoss),
}

/// A loss of the caller's: from `f` and `y` the loss, and its derivative in `f` into the third argument.
pub type CustomLoss = dyn Fn(&[f64], &[f64], &mut [f64]) -> f64 + Sync;

impl std::fmt::Debug for Loss<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Squared => "Squared",
            Self::Logistic => "Logistic",
            Self::CrossEntropy => "CrossEntropy",
            Self::Expression(_) => "Expression(..)",
            Self::Custom(_) => "Custom(..)",
        })
    }
}

impl Loss<'_> {
    /// The loss at `f` for the target `y`; the derivative in `f` goes into `gradient`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn eval(&self, f: &[f64], y: &[f64], gradient: &mut [f64]) -> f64 {
        assert!(
            f.len() == y.len() && f.len() == gradient.len(),
            "an output, its target and the gradient have one length"
        );
        match self {
            Self::Squared => {
                let mut total = 0.0;
                for ((g, f), y) in gradient.iter_mut().zip(f).zip(y) {
                    *g = f - y;
                    total += *g * *g / 2.0;
                }
                total
            }
            Self::Logistic => {
                let mut total = 0.0;
                for ((g, f), y) in gradient.iter_mut().zip(f).zip(y) {
                    // log(1 + exp(-m)) without overflow.
                    let margin = y * f;
                    let small = Real::exp(-margin.abs());
                    total += (-margin).max(0.0) + Real::ln_1p(small);
                    let sigmoid = if 0.0 <= margin { small / (1.0 + small) } else { 1.0 / (1.0 + small) };
                    *g = -y * sigmoid;
                }
                total
            }
            Self::CrossEntropy => {
                let largest = f.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let exps: f64 = f.iter().map(|x| Real::exp(x - largest)).sum();
                let log_sum = largest + Real::ln(exps);
                let mass: f64 = y.iter().sum();
                let mut total = 0.0;
                for ((g, f), y) in gradient.iter_mut().zip(f).zip(y) {
                    total -= y * (f - log_sum);
                    *g = mass * Real::exp(f - log_sum) - y;
                }
                total
            }
            Self::Expression(loss) => loss.eval(f, y, gradient),
            Self::Custom(loss) => loss(f, y, gradient),
        }
    }

    /// Refuses targets that the loss has no meaning for.
    pub(crate) fn check_target(&self, y: f64) -> Result<(), FiniteError> {
        let (fits, expected) = match self {
            Self::Squared | Self::Expression(_) | Self::Custom(_) => (y.is_finite(), "a finite number"),
            Self::Logistic => (y == 1.0 || y == -1.0, "1 or -1 for the logistic loss"),
            Self::CrossEntropy => ((0.0..=1.0).contains(&y), "a probability for the cross-entropy"),
        };
        if fits { Ok(()) } else { Err(FiniteError::Option { what: "a target", expected, found: y }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Central differences of step 1e-5 have an error of about 1e-10; the losses are of order one.
    #[test]
    fn gradients_are_derivatives() {
        let custom = |f: &[f64], y: &[f64], g: &mut [f64]| {
            g[0] = y[0] * f[1];
            g[1] = y[0] * f[0];
            g[2] = 0.0;
            y[0] * f[0] * f[1]
        };
        let cases: [(Loss<'_>, [f64; 3]); 4] = [
            (Loss::Squared, [0.3, -1.0, 2.0]),
            (Loss::Logistic, [1.0, -1.0, 1.0]),
            (Loss::CrossEntropy, [0.0, 0.25, 0.75]),
            (Loss::Custom(&custom), [2.0, 0.0, 0.0]),
        ];
        let f = [0.7, -0.4, 1.1];
        for (loss, y) in cases {
            let mut gradient = [0.0; 3];
            loss.eval(&f, &y, &mut gradient);
            for k in 0..3 {
                let at = |h: f64| {
                    let mut moved = f;
                    moved[k] += h;
                    loss.eval(&moved, &y, &mut [0.0; 3])
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                assert!((slope - gradient[k]).abs() < 1e-9, "{loss:?} {k}: {slope} {}", gradient[k]);
            }
        }
    }

    #[test]
    fn large_outputs_do_not_overflow() {
        let mut g = [0.0];
        assert_eq!(Loss::Logistic.eval(&[-1e4], &[1.0], &mut g), 1e4);
        assert_eq!(g, [-1.0]);
        let mut g = [0.0; 2];
        assert_eq!(Loss::CrossEntropy.eval(&[1e4, 0.0], &[0.0, 1.0], &mut g), 1e4);
        assert_eq!(g, [1.0, -1.0]);
    }
}
