//! Functions that are a polynomial on each side of zero.
//!
//! Every operation gives `None` instead of a coefficient that is not finite, or that has become zero or subnormal by
//! underflow.

use netsor_gauss::dual::Rectified;

/// The most coefficients of a polynomial.
const MAX_TERMS: usize = 16;

/// Polynomials for positive and for negative arguments, constant terms first, and the value at zero.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sides {
    pub(super) right: Vec<f64>,
    pub(super) left: Vec<f64>,
    pub(super) zero: f64,
}

impl Sides {
    /// A polynomial.
    pub(super) fn polynomial(p: Vec<f64>) -> Self {
        let p = trimmed(p);
        let zero = p.first().copied().unwrap_or(0.0);
        Self { right: p.clone(), left: p, zero }
    }

    pub(super) fn constant(value: f64) -> Self {
        Self::polynomial(vec![value])
    }

    /// The polynomial, if it is the same one on both sides.
    pub(super) fn as_polynomial(&self) -> Option<&[f64]> {
        let at_zero = self.right.first().copied().unwrap_or(0.0);
        (self.right == self.left && self.zero == at_zero).then_some(&self.right)
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self.as_polynomial()? {
            [] => Some(0.0),
            [c] => Some(*c),
            _ => None,
        }
    }

    pub(super) fn plus(&self, other: &Self) -> Option<Self> {
        let zero = finite(self.zero + other.zero)?;
        Some(Self { right: add(&self.right, &other.right)?, left: add(&self.left, &other.left)?, zero })
    }

    pub(super) fn negated(&self) -> Self {
        let negated = |p: &[f64]| p.iter().map(|c| -c).collect();
        Self { right: negated(&self.right), left: negated(&self.left), zero: -self.zero }
    }

    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let zero = product(self.zero, other.zero)?;
        Some(Self { right: multiply(&self.right, &other.right)?, left: multiply(&self.left, &other.left)?, zero })
    }

    pub(super) fn over(&self, divisor: f64) -> Option<Self> {
        let over = |p: &[f64]| p.iter().map(|&c| quotient(c, divisor)).collect::<Option<Vec<_>>>();
        Some(Self { right: over(&self.right)?, left: over(&self.left)?, zero: quotient(self.zero, divisor)? })
    }

    /// `f` of this function, for an `f` that is homogeneous on each side and 0 at zero; `None` unless this function is a
    /// multiple of `u` on each side.
    pub(super) fn inside(&self, f: &Self) -> Option<Self> {
        let rate = |p: &[f64]| match p {
            [] => Some(0.0),
            [zero, c] if *zero == 0.0 => Some(*c),
            _ => None,
        };
        if self.zero != 0.0 {
            return None;
        }
        // On the right the argument is c u with u > 0, so its sign is that of c; on the left it is the other one.
        let side = |c: f64, positive: bool| {
            let f = match c {
                _ if c == 0.0 => return Some(Vec::new()),
                _ if (0.0 < c) == positive => &f.right,
                _ => &f.left,
            };
            let scaled = f.iter().enumerate().map(|(k, &a)| product(a, c.powi(k as i32)));
            scaled.collect::<Option<Vec<_>>>().map(trimmed)
        };
        Some(Self { right: side(rate(&self.right)?, true)?, left: side(rate(&self.left)?, false)?, zero: 0.0 })
    }

    pub(super) fn to_rectified(&self) -> Rectified {
        Rectified::from_sides(&self.right, &self.left, self.zero)
    }
}

/// `x y`, unless it over- or underflows.
pub(super) fn product(x: f64, y: f64) -> Option<f64> {
    let product = x * y;
    (product.is_normal() || (product.is_finite() && (x == 0.0 || y == 0.0))).then_some(product)
}

/// `x / y`, unless it over- or underflows.
pub(super) fn quotient(x: f64, y: f64) -> Option<f64> {
    let quotient = x / y;
    (quotient.is_normal() || (quotient == 0.0 && x == 0.0)).then_some(quotient)
}

fn finite(x: f64) -> Option<f64> {
    x.is_finite().then_some(x)
}

fn trimmed(mut p: Vec<f64>) -> Vec<f64> {
    while p.last() == Some(&0.0) {
        p.pop();
    }
    p
}

fn add(a: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    let at = |p: &[f64], k: usize| p.get(k).copied().unwrap_or(0.0);
    let sums = (0..a.len().max(b.len())).map(|k| finite(at(a, k) + at(b, k)));
    sums.collect::<Option<Vec<_>>>().map(trimmed)
}

fn multiply(a: &[f64], b: &[f64]) -> Option<Vec<f64>> {
    if a.is_empty() || b.is_empty() {
        return Some(Vec::new());
    }
    if MAX_TERMS < a.len() + b.len() - 1 {
        return None;
    }
    let mut all = vec![0.0; a.len() + b.len() - 1];
    for (i, &x) in a.iter().enumerate() {
        for (j, &y) in b.iter().enumerate() {
            all[i + j] = finite(all[i + j] + product(x, y)?)?;
        }
    }
    Some(trimmed(all))
}
