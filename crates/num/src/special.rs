//! The functions of the language, for `f32` and `f64`.
//!
//! All of them pass NaN on, and none overflows before its value does: `softplus(1000)` is 1000, `sigmoid(-1000)` is 0.
//! At a jump the value is the one that the language fixes: `step(0) = 0` and `sign(0) = 0`.

use crate::Real;

/// The error function, `2/sqrt(pi)` times the integral of `exp(-t^2)` from 0 to `x`.
#[inline]
pub fn erf<T: Real>(x: T) -> T {
    x.erf()
}

/// `1 - erf(x)`, accurate in the right tail.
#[inline]
pub fn erfc<T: Real>(x: T) -> T {
    x.erfc()
}

/// The hyperbolic tangent.
#[inline]
pub fn tanh<T: Real>(x: T) -> T {
    x.tanh()
}

/// The exponential.
#[inline]
pub fn exp<T: Real>(x: T) -> T {
    x.exp()
}

/// The natural logarithm; NaN for negative arguments, minus infinity at 0.
#[inline]
pub fn ln<T: Real>(x: T) -> T {
    x.ln()
}

/// The square root; NaN for negative arguments.
#[inline]
pub fn sqrt<T: Real>(x: T) -> T {
    x.sqrt()
}

/// The sine.
#[inline]
pub fn sin<T: Real>(x: T) -> T {
    x.sin()
}

/// The cosine.
#[inline]
pub fn cos<T: Real>(x: T) -> T {
    x.cos()
}

/// The logistic function `1 / (1 + exp(-x))`, accurate in both tails.
#[inline]
pub fn sigmoid<T: Real>(x: T) -> T {
    let e = (-x.abs()).exp();
    if x < T::ZERO { e / (T::ONE + e) } else { T::ONE / (T::ONE + e) }
}

/// `ln(1 + exp(x))`, accurate in both tails.
#[inline]
pub fn softplus<T: Real>(x: T) -> T {
    relu(x) + (-x.abs()).exp().ln_1p()
}

/// `x * Phi(x)` with the normal distribution function `Phi` (the exact form, not the tanh approximation).
#[inline]
pub fn gelu<T: Real>(x: T) -> T {
    let tail = (-x * T::from_f64(std::f64::consts::FRAC_1_SQRT_2)).erfc();
    let value = T::from_f64(0.5) * x * tail;
    // At minus infinity the product is infinity times zero; the limit is 0.
    if tail == T::ZERO { T::ZERO } else { value }
}

/// `x * sigmoid(x)`.
#[inline]
pub fn silu<T: Real>(x: T) -> T {
    let s = sigmoid(x);
    if s == T::ZERO { T::ZERO } else { x * s }
}

/// `x` for positive `x`, else `exp(x) - 1` (the exponential linear unit with alpha = 1).
#[inline]
pub fn elu<T: Real>(x: T) -> T {
    if T::ZERO < x { x } else { x.exp_m1() }
}

/// `max(x, 0)`.
#[inline]
pub fn relu<T: Real>(x: T) -> T {
    if x <= T::ZERO { T::ZERO } else { x }
}

/// `x` for positive `x`, else `slope * x`.
#[inline]
pub fn leaky_relu<T: Real>(x: T, slope: T) -> T {
    if T::ZERO < x { x } else { slope * x }
}

/// The absolute value.
#[inline]
pub fn abs<T: Real>(x: T) -> T {
    x.abs()
}

/// -1, 0 or 1 as `x` is negative, zero or positive.
#[inline]
pub fn sign<T: Real>(x: T) -> T {
    if T::ZERO < x {
        T::ONE
    } else if x < T::ZERO {
        -T::ONE
    } else if x == T::ZERO {
        T::ZERO
    } else {
        x
    }
}

/// The Heaviside function: 1 for `x > 0`, else 0 (so `step(0) = 0`, as the derivative of [`relu`]).
#[inline]
pub fn step<T: Real>(x: T) -> T {
    if T::ZERO < x {
        T::ONE
    } else if x <= T::ZERO {
        T::ZERO
    } else {
        x
    }
}

/// The larger of two numbers; NaN if either is NaN.
#[inline]
pub fn max<T: Real>(a: T, b: T) -> T {
    if b <= a {
        a
    } else if a < b {
        b
    } else {
        a + b
    }
}

/// The smaller of two numbers; NaN if either is NaN.
#[inline]
pub fn min<T: Real>(a: T, b: T) -> T {
    if a <= b {
        a
    } else if b < a {
        b
    } else {
        a + b
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values with 17 digits from tables (Abramowitz and Stegun 7.1, 26.2) and exact arguments;
    /// the tolerance is two units in the last place, what `libm` promises for each factor.
    #[test]
    fn known_values() {
        let close = |x: f64, y: f64| assert!((x - y).abs() <= 2.0 * f64::EPSILON * y.abs(), "{x} {y}");
        close(erf(0.5), 0.520_499_877_813_046_5);
        close(erfc(3.0), 2.209_049_699_858_544e-5);
        close(gelu(1.0), 0.841_344_746_068_542_9);
        close(softplus(0.0), std::f64::consts::LN_2);
        close(sigmoid(1.0), 0.731_058_578_630_004_9);
        close(silu(-1.0), -0.268_941_421_369_995_1);
        close(elu(-1.0), -0.632_120_558_828_557_7);
        close(leaky_relu(-2.0, 0.125), -0.25);
    }

    #[test]
    fn tails_and_jumps() {
        assert_eq!(softplus(1000.0_f64), 1000.0);
        assert_eq!(softplus(-1000.0_f64), 0.0);
        assert_eq!(sigmoid(-1000.0_f32), 0.0);
        assert_eq!(gelu(f64::NEG_INFINITY), 0.0);
        assert_eq!(silu(f64::NEG_INFINITY), 0.0);
        assert_eq!((step(0.0_f64), sign(-0.0_f64), relu(-3.0_f64)), (0.0, 0.0, 0.0));
        assert_eq!((step(1e-300_f64), sign(-1e-300_f64)), (1.0, -1.0));
    }

    #[test]
    fn nan_is_passed_on() {
        let unary: [fn(f64) -> f64; 9] = [sigmoid, softplus, gelu, silu, elu, relu, abs, sign, step];
        for f in unary {
            assert!(f(f64::NAN).is_nan());
        }
        for f in [max::<f64>, min::<f64>, leaky_relu::<f64>] {
            assert!(f(f64::NAN, 1.0).is_nan());
            assert!(f(-1.0, f64::NAN).is_nan());
        }
    }
}
