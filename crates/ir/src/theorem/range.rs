//! Exact ranges: between which rational bounds an expression can lie, whatever its vectors are.
//!
//! What makes layer normalisation pseudo-Lipschitz near the limits of its scalars is that `var + eps` cannot come near
//! zero, because `var` is the mean of a square. That is a proof by intervals, and this is its arithmetic. Scalars stand
//! for their limits, so that a negative power of the width is 0.

use num_traits::{One, Signed, ToPrimitive, Zero};

use crate::func::Func;
use crate::number::{Number, Power, integer};

/// Endpoints with more bits than this are given up: an unbounded range is always right.
const MAX_BITS: u64 = 512;

/// An endpoint, and whether it can be attained.
type End = Option<(Number, bool)>;

/// An interval with rational or infinite ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    low: End,
    high: End,
}

impl Range {
    /// All numbers.
    pub(super) const ALL: Range = Range { low: None, high: None };

    fn closed(low: Number, high: Number) -> Self {
        Self { low: Some((low, true)), high: Some((high, true)) }
    }

    fn open(low: i64, high: i64) -> Self {
        Self { low: Some((integer(low), false)), high: Some((integer(high), false)) }
    }

    /// One number.
    pub(super) fn point(value: Number) -> Self {
        Self::closed(value.clone(), value)
    }

    /// Positive numbers.
    pub(super) fn positive() -> Self {
        Self { low: Some((Number::zero(), false)), high: None }
    }

    /// Whether every element is positive, though perhaps as small as one likes.
    pub(super) fn is_positive(&self) -> bool {
        self.low.as_ref().is_some_and(|(low, attained)| low.is_positive() || (low.is_zero() && !attained))
    }

    /// Whether every element is at least 0.
    pub(super) fn is_nonnegative(&self) -> bool {
        self.low.as_ref().is_some_and(|(low, _)| !low.is_negative())
    }

    /// Whether a positive constant lies below every element.
    pub(super) fn is_bounded_below_by_positive(&self) -> bool {
        self.low.as_ref().is_some_and(|(low, _)| low.is_positive())
    }

    /// Whether no element is 0.
    pub(super) fn excludes_zero(&self) -> bool {
        self.is_positive() || self.neg().is_positive()
    }

    /// Whether 0 has a positive distance from the range.
    pub(super) fn keeps_away_from_zero(&self) -> bool {
        self.is_bounded_below_by_positive() || self.neg().is_bounded_below_by_positive()
    }

    /// Whether there is an upper bound.
    pub(super) fn is_bounded_above(&self) -> bool {
        self.high.is_some()
    }

    fn contains_zero(&self) -> bool {
        !self.excludes_zero()
    }

    fn clipped(mut self) -> Self {
        for (end, positive) in [(&mut self.low, true), (&mut self.high, false)] {
            let Some((value, _)) = end else { continue };
            if MAX_BITS < value.numer().bits().max(value.denom().bits()) {
                // The sign is what matters most, and it is kept.
                let keeps_sign = value.is_positive() == positive && !value.is_zero();
                *end = keeps_sign.then(|| (Number::zero(), false));
            }
        }
        self
    }

    pub(super) fn neg(&self) -> Self {
        let flip = |end: &End| end.as_ref().map(|(value, attained)| (-value, *attained));
        Self { low: flip(&self.high), high: flip(&self.low) }
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        let end = |a: &End, b: &End| match (a, b) {
            (Some((x, s)), Some((y, t))) => Some((x + y, *s && *t)),
            _ => None,
        };
        Self { low: end(&self.low, &other.low), high: end(&self.high, &other.high) }.clipped()
    }

    pub(super) fn mul(&self, other: &Self) -> Self {
        if let (Some(sign), Some(other_sign)) = (self.sign(), other.sign()) {
            // Both keep to one side of zero: reduce to two ranges of nonnegative numbers.
            let (a, b) =
                (if sign { self.clone() } else { self.neg() }, if other_sign { other.clone() } else { other.neg() });
            let product = a.mul_nonnegative(&b);
            return if sign == other_sign { product } else { product.neg() };
        }
        let ends = [&self.low, &self.high, &other.low, &other.high];
        let [Some(a), Some(b), Some(c), Some(d)] = ends else { return Self::ALL };
        let products = [&a.0 * &c.0, &a.0 * &d.0, &b.0 * &c.0, &b.0 * &d.0];
        let low = products.iter().min().cloned().unwrap_or_default();
        let high = products.iter().max().cloned().unwrap_or_default();
        Self::closed(low, high).clipped()
    }

    /// `Some(true)` for a range of nonnegative numbers, `Some(false)` for one of nonpositive numbers.
    fn sign(&self) -> Option<bool> {
        if self.is_nonnegative() { Some(true) } else { self.neg().is_nonnegative().then_some(false) }
    }

    fn mul_nonnegative(&self, other: &Self) -> Self {
        let low = match (&self.low, &other.low) {
            (Some((x, s)), Some((y, t))) => {
                // A product is 0 as soon as one factor is.
                let attained =
                    if x.is_zero() || y.is_zero() { (x.is_zero() && *s) || (y.is_zero() && *t) } else { *s && *t };
                Some((x * y, attained))
            }
            _ => Some((Number::zero(), true)),
        };
        let high = match (&self.high, &other.high) {
            (Some((x, s)), Some((y, t))) => Some((x * y, *s && *t)),
            (Some((x, true)), None) | (None, Some((x, true))) if x.is_zero() => Some((Number::zero(), true)),
            _ => None,
        };
        Self { low, high }.clipped()
    }

    /// `1 / x`; all numbers if 0 is in the range.
    pub(super) fn recip(&self) -> Self {
        match self.sign() {
            _ if self.contains_zero() => Self::ALL,
            Some(false) => self.neg().recip().neg(),
            _ => {
                let invert = |end: &End| match end {
                    Some((value, attained)) if !value.is_zero() => Some((value.recip(), *attained)),
                    _ => None,
                };
                let low = invert(&self.high).or(Some((Number::zero(), false)));
                Self { low, high: invert(&self.low) }.clipped()
            }
        }
    }

    /// `x^p` where it is defined.
    pub(super) fn pow(&self, p: Power) -> Self {
        if p.is_negative() {
            return self.pow(-p).recip();
        }
        if p.is_zero() {
            return Self::point(Number::one());
        }
        let whole = p.is_integer().then(|| p.to_integer().to_u32()).flatten().filter(|&k| k <= 64);
        match whole {
            Some(1) => self.clone(),
            Some(k) if k % 2 == 0 => self.abs().monotone_power(k),
            Some(k) if self.is_nonnegative() => self.monotone_power(k),
            Some(_) => Self::ALL,
            None if self.is_nonnegative() => {
                // A root is not rational; powers of the ends bound it.
                let up = p.ceil().to_integer().to_usize().filter(|&k| k <= 64);
                let power = |x: &Number| up.map(|k| num_traits::pow(x.clone(), k));
                let low = match &self.low {
                    Some((x, _)) if Number::one() <= *x => Some((Number::one(), true)),
                    Some((x, attained)) => power(x).map(|x| (x, *attained)).or(Some((Number::zero(), *attained))),
                    None => None,
                };
                let high = match &self.high {
                    Some((x, _)) if *x <= Number::one() => Some((Number::one(), true)),
                    Some((x, attained)) => power(x).map(|x| (x, *attained)),
                    None => None,
                };
                Self { low, high }.clipped()
            }
            None => Self::ALL,
        }
    }

    fn monotone_power(&self, k: u32) -> Self {
        let power = |end: &End| end.as_ref().map(|(x, attained)| (num_traits::pow(x.clone(), k as usize), *attained));
        Self { low: power(&self.low), high: power(&self.high) }.clipped()
    }

    fn abs(&self) -> Self {
        match self.sign() {
            Some(true) => self.clone(),
            Some(false) => self.neg(),
            None => {
                let high = match (&self.low, &self.high) {
                    (Some((a, _)), Some((b, _))) => Some(((-a).max(b.clone()), true)),
                    _ => None,
                };
                Self { low: Some((Number::zero(), true)), high }
            }
        }
    }

    /// The smallest range that contains both.
    pub(super) fn hull(&self, other: &Self) -> Self {
        let low = match (&self.low, &other.low) {
            (Some(a), Some(b)) => Some(if a.0 == b.0 { (a.0.clone(), a.1 || b.1) } else { a.min(b).clone() }),
            _ => None,
        };
        let high = match (&self.high, &other.high) {
            (Some(a), Some(b)) => Some(if a.0 == b.0 { (a.0.clone(), a.1 || b.1) } else { a.max(b).clone() }),
            _ => None,
        };
        Self { low, high }
    }

    fn max(&self, other: &Self) -> Self {
        let low = match (&self.low, &other.low) {
            (Some(a), Some(b)) if a.0 == b.0 => Some((a.0.clone(), a.1 && b.1)),
            (Some(a), Some(b)) => Some(a.max(b).clone()),
            (a, b) => a.clone().or(b.clone()),
        };
        Self { low, high: self.hull(other).high }
    }

    /// A function of arguments in these ranges.
    pub(super) fn apply(func: Func, args: &[Self]) -> Self {
        let zero = || Self::point(Number::zero());
        let Some(x) = args.first() else { return Self::ALL };
        let other = args.get(1).unwrap_or(x);
        let (up, down) = (x.is_nonnegative(), x.neg().is_nonnegative());
        let by_sign = |range: Self| match (up, down) {
            // An increasing function with f(0) = 0.
            (true, _) => Self { low: Some((Number::zero(), !x.is_positive())), ..range },
            (_, true) => Self { high: Some((Number::zero(), !x.neg().is_positive())), ..range },
            _ => range,
        };
        match func {
            Func::Tanh | Func::Erf => by_sign(Self::open(-1, 1)),
            Func::Relu => x.max(&zero()),
            Func::LeakyRelu => x.hull(&x.mul(other)),
            Func::Abs => x.abs(),
            Func::Exp => Self {
                low: Some(match &x.low {
                    Some((a, _)) if !a.is_negative() => (Number::one(), true),
                    // exp(a) > 3^(-ceil(-a))
                    Some((a, _)) => match (-a).ceil().to_integer().to_usize().filter(|&k| k <= 64) {
                        Some(k) => (num_traits::pow(integer(3), k).recip(), false),
                        None => (Number::zero(), false),
                    },
                    None => (Number::zero(), false),
                }),
                high: match &x.high {
                    Some((b, _)) if !b.is_positive() => Some((Number::one(), true)),
                    Some((b, _)) => {
                        let k = b.ceil().to_integer().to_usize().filter(|&k| k <= 64);
                        k.map(|k| (num_traits::pow(integer(3), k), false))
                    }
                    None => None,
                },
            },
            Func::Log => {
                if x.low.as_ref().is_some_and(|(a, _)| Number::one() <= *a) {
                    Self { low: Some((Number::zero(), true)), high: None }
                } else {
                    Self::ALL
                }
            }
            Func::Sqrt => x.pow(Power::new(1, 2)),
            Func::Sin | Func::Cos => Self::closed(integer(-1), integer(1)),
            Func::Sigmoid => Self::open(0, 1),
            Func::Softplus => Self {
                low: Some((Number::zero(), false)),
                high: x.max(&zero()).high.map(|(b, _)| (b + Number::one(), false)),
            },
            // Their minima are about -0.17 and -0.28.
            Func::Gelu | Func::Silu => {
                let low = if up { zero() } else { Self::point(integer(-1)) };
                Self { low: low.low, high: x.max(&zero()).high }
            }
            Func::Elu => {
                let low = if up { x.low.clone() } else { Some((integer(-1), false)) };
                Self { low, high: x.max(&zero()).high }
            }
            Func::Step if x.is_positive() => Self::point(Number::one()),
            Func::Step => Self::closed(Number::zero(), Number::one()),
            Func::Sign => Self::closed(integer(-1), integer(1)),
            Func::Max => x.max(other),
            Func::Min => x.neg().max(&other.neg()).neg(),
            Func::Delta => Self { low: Some((Number::zero(), true)), high: None },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::fraction;

    fn range(low: i64, high: i64) -> Range {
        Range::closed(integer(low), integer(high))
    }

    #[test]
    fn products_know_their_signs() {
        assert_eq!(range(-2, 3).mul(&range(-1, 4)), range(-8, 12));
        assert_eq!(range(-3, -2).mul(&range(1, 4)), range(-12, -2));
        assert!(Range::positive().mul(&Range::positive()).is_positive());
        assert!(!Range::positive().mul(&Range::ALL.pow(Power::from_integer(2))).is_positive());
        assert_eq!(Range::ALL.mul(&range(1, 2)), Range::ALL);
    }

    #[test]
    fn a_square_plus_something_keeps_away_from_zero() {
        let square = Range::ALL.pow(Power::from_integer(2));
        assert!(square.is_nonnegative() && !square.excludes_zero());
        let shifted = square.add(&Range::point(fraction(1, 100_000)));
        assert!(shifted.keeps_away_from_zero());
        assert!(shifted.pow(Power::new(-1, 2)).is_bounded_above());
        assert!(shifted.pow(Power::new(-1, 2)).is_positive());
    }

    #[test]
    fn a_strict_bound_of_zero_is_no_gap() {
        let exp = Range::apply(Func::Exp, &[Range::ALL]);
        assert!(exp.is_positive() && !exp.keeps_away_from_zero());
        let bump = Range::apply(Func::Exp, &[Range::ALL.pow(Power::from_integer(2)).neg()]);
        assert!(bump.is_bounded_above());
        assert!(Range::apply(Func::Exp, &[range(-2, 0)]).keeps_away_from_zero());
        assert!(range(-1, 1).recip() == Range::ALL);
    }

    /// Every function stays in its range at a grid of points.
    #[test]
    fn numerical_values_are_inside() {
        let points = [(-5, -2), (-2, 0), (0, 3), (-1, 1), (1, 4)];
        let value = |func: Func, x: f64| match func {
            Func::Tanh => x.tanh(),
            Func::Relu => x.max(0.0),
            Func::Abs => x.abs(),
            Func::Exp => x.exp(),
            Func::Sin => x.sin(),
            Func::Cos => x.cos(),
            Func::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Func::Softplus => (1.0 + x.exp()).ln(),
            Func::Silu => x / (1.0 + (-x).exp()),
            Func::Elu => x.max(x.exp() - 1.0).min(if x > 0.0 { x } else { 0.0 }),
            Func::Step => f64::from(u8::from(x > 0.0)),
            _ => f64::NAN,
        };
        for func in Func::ALL {
            for (a, b) in points {
                let bounds = Range::apply(func, &[range(a, b), range(a, b)]);
                for k in 0..=20 {
                    let y = value(func, f64::from(a as i32) + f64::from((b - a) as i32) * f64::from(k) / 20.0);
                    let above = bounds.low.as_ref().is_none_or(|(l, _)| y.is_nan() || l.to_f64().unwrap() <= y + 1e-12);
                    let below =
                        bounds.high.as_ref().is_none_or(|(h, _)| y.is_nan() || y - 1e-12 <= h.to_f64().unwrap());
                    assert!(above && below, "{func:?} on [{a}, {b}]: {y} in {bounds:?}");
                }
            }
        }
    }
}
