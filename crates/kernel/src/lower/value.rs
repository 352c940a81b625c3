//! Numbers during lowering.

use crate::plan::Arg;

/// A number during lowering: an affine combination of operands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) constant: f64,
    pub(crate) terms: Vec<(f64, Arg)>,
}

impl Value {
    pub(crate) fn constant(constant: f64) -> Self {
        Self { constant, terms: Vec::new() }
    }

    pub(crate) fn of(arg: Arg) -> Self {
        match arg {
            Arg::Const(c) => Self::constant(c.0),
            arg => Self { constant: 0.0, terms: vec![(1.0, arg)] },
        }
    }

    pub(crate) fn as_constant(&self) -> Option<f64> {
        self.terms.is_empty().then_some(self.constant)
    }

    /// `c a` or a constant `c`.
    pub(crate) fn as_multiple(&self) -> Option<(f64, Option<Arg>)> {
        match self.terms[..] {
            [] => Some((self.constant, None)),
            [(c, a)] if self.constant == 0.0 => Some((c, Some(a))),
            _ => None,
        }
    }

    pub(crate) fn scaled(mut self, factor: f64) -> Self {
        if factor == 0.0 {
            return Self::constant(0.0);
        }
        self.constant *= factor;
        self.terms.iter_mut().for_each(|(c, _)| *c *= factor);
        self
    }

    pub(crate) fn plus(mut self, other: Self) -> Self {
        self.constant += other.constant;
        self.terms.extend(other.terms);
        self
    }

    /// Like terms collected.
    pub(crate) fn collected(mut self) -> Self {
        self.terms.sort_by_key(|&(_, a)| a);
        let mut kept: Vec<(f64, Arg)> = Vec::with_capacity(self.terms.len());
        for (c, a) in self.terms {
            match kept.last_mut() {
                Some((sum, last)) if *last == a => *sum += c,
                _ => kept.push((c, a)),
            }
        }
        kept.retain(|(c, _)| *c != 0.0);
        Self { constant: self.constant, terms: kept }
    }

    /// `c` if this is `c base`, up to relative errors of `rounding` in the coefficients; both have like terms collected.
    pub(crate) fn ratio(&self, base: &Self, rounding: f64) -> Option<f64> {
        let same = self.terms.len() == base.terms.len() && self.terms.iter().zip(&base.terms).all(|(a, b)| a.1 == b.1);
        if !same {
            return None;
        }
        let constants = [(self.constant, base.constant)];
        let pairs = || self.terms.iter().zip(&base.terms).map(|(a, b)| (a.0, b.0)).chain(constants);
        let (x, y) = pairs().find(|&(_, y)| y != 0.0)?;
        let ratio = x / y;
        pairs().all(|(x, y)| (x - ratio * y).abs() <= rounding * (ratio * y).abs()).then_some(ratio)
    }

    /// A multiple and a value whose first coefficient is 1: values that are proportional have the latter in common.
    pub(crate) fn normalised(self) -> (f64, Self) {
        match self.terms.first().map(|t| t.0) {
            Some(first) if first != 1.0 && (1.0 / first).is_normal() => {
                let terms = self.terms.into_iter().map(|(c, a)| (c / first, a)).collect();
                (first, Self { constant: self.constant / first, terms })
            }
            _ => (1.0, self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proportional_values() {
        let value = |c: f64| Value { constant: 0.3 * c, terms: vec![(0.1 * c, Arg::Pair(1)), (0.7 * c, Arg::Pair(4))] };
        let (a, b) = (value(1.0), value(-2.0));
        assert_eq!(b.ratio(&a, 1e-15), Some(-2.0));
        assert_eq!(a.normalised().1.ratio(&b.normalised().1, 1e-15), Some(1.0));
        let shifted = Value { constant: 0.4, ..value(1.0) };
        assert_eq!(shifted.ratio(&value(1.0), 1e-13), None);
        assert_eq!(Value::of(Arg::Pair(1)).ratio(&Value::of(Arg::Pair(4)), 1e-13), None);
        assert_eq!(Value::constant(1.0).ratio(&Value::constant(0.0), 1e-13), None);
        assert_eq!(Value::constant(0.0).ratio(&Value::constant(2.0), 1e-13), Some(0.0));
    }
}
