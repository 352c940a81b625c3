//! The scalars that programs run on: [`Real`], which is `f32` or `f64`.
//!
//! The elementary functions are those of `libm`, and one of module `branchless`, so they give the same bits on every
//! platform.

use std::fmt::{Debug, Display};
use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

/// `f32` or `f64`, with arithmetic and the elementary functions that programs use.
///
/// The trait is sealed: a third scalar would need its own accuracy statements.
pub trait Real:
    sealed::Sealed
    + Copy
    + Send
    + Sync
    + 'static
    + PartialOrd
    + Default
    + Debug
    + Display
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + Sum
{
    /// The number 0.
    const ZERO: Self;
    /// The number 1.
    const ONE: Self;
    /// The distance from 1 to the next larger number.
    const EPSILON: Self;

    /// The nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// The value as an `f64`, exactly.
    fn to_f64(self) -> f64;
    /// Whether the value is neither infinite nor NaN.
    fn is_finite(self) -> bool;
    /// The absolute value.
    fn abs(self) -> Self;
    /// The square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// The exponential.
    fn exp(self) -> Self;
    /// `exp(self) - 1` without cancellation.
    fn exp_m1(self) -> Self;
    /// The natural logarithm.
    fn ln(self) -> Self;
    /// `ln(1 + self)` without cancellation.
    fn ln_1p(self) -> Self;
    /// The sine.
    fn sin(self) -> Self;
    /// The cosine.
    fn cos(self) -> Self;
    /// The hyperbolic tangent.
    fn tanh(self) -> Self;
    /// The error function.
    fn erf(self) -> Self;
    /// The complementary error function.
    fn erfc(self) -> Self;
    /// `self` to a real power.
    fn powf(self, exponent: Self) -> Self;

    /// `self` to an integer power, by repeated squaring in a fixed order.
    fn powi(self, exponent: i32) -> Self {
        let mut base = self;
        let mut left = exponent.unsigned_abs();
        let mut acc = Self::ONE;
        while 0 < left {
            if left & 1 == 1 {
                acc *= base;
            }
            base *= base;
            left >>= 1;
        }
        if exponent < 0 { Self::ONE / acc } else { acc }
    }
}

macro_rules! real {
    ($type:ty, $sqrt:ident $exp:ident $expm1:ident $ln:ident $ln1p:ident $sin:ident $cos:ident $erf:ident $erfc:ident $pow:ident, $tanh:path) => {
        impl Real for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const EPSILON: Self = <$type>::EPSILON;

            #[inline]
            fn from_f64(x: f64) -> Self {
                x as $type
            }
            #[inline]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline]
            fn is_finite(self) -> bool {
                <$type>::is_finite(self)
            }
            #[inline]
            fn abs(self) -> Self {
                <$type>::abs(self)
            }
            #[inline]
            fn sqrt(self) -> Self {
                libm::$sqrt(self)
            }
            #[inline]
            fn exp(self) -> Self {
                libm::$exp(self)
            }
            #[inline]
            fn exp_m1(self) -> Self {
                libm::$expm1(self)
            }
            #[inline]
            fn ln(self) -> Self {
                libm::$ln(self)
            }
            #[inline]
            fn ln_1p(self) -> Self {
                libm::$ln1p(self)
            }
            #[inline]
            fn sin(self) -> Self {
                libm::$sin(self)
            }
            #[inline]
            fn cos(self) -> Self {
                libm::$cos(self)
            }
            #[inline]
            fn tanh(self) -> Self {
                $tanh(self)
            }
            #[inline]
            fn erf(self) -> Self {
                libm::$erf(self)
            }
            #[inline]
            fn erfc(self) -> Self {
                libm::$erfc(self)
            }
            #[inline]
            fn powf(self, exponent: Self) -> Self {
                libm::$pow(self, exponent)
            }
        }
    };
}

real!(f32, sqrtf expf expm1f logf log1pf sinf cosf erff erfcf powf, crate::branchless::tanh);
real!(f64, sqrt exp expm1 log log1p sin cos erf erfc pow, libm::tanh);

#[cfg(test)]
mod tests {
    use super::Real;

    #[test]
    fn integer_powers() {
        assert_eq!(Real::powi(3.0_f64, 5), 243.0);
        assert_eq!(Real::powi(2.0_f32, -3), 0.125);
        assert_eq!(Real::powi(0.0_f64, 0), 1.0);
        assert_eq!(Real::powi(-2.0_f64, 3), -8.0);
    }
}
