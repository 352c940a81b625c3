//! Random variables `Z^x` as elements of a prime field: functions of the network's own Gaussian variables by their values
//! at a few random points, times at most two of the others.
//!
//! The error signals and what training adds enter linearly, and their variables are independent of those of the forward
//! pass; so that an expectation is one over functions at points and, for a product of two, their covariance.

use std::collections::BTreeMap;

use netsor_ir::ValueId;

use super::rules::Scalar;
use crate::induction::field::{inverse, plus, times};

/// Values at the points.
type At = Vec<u64>;

/// A polynomial of degree two at most in Gaussian variables, with functions as coefficients.
#[derive(Clone, Debug, Default)]
pub(super) struct Polynomial {
    pub(super) constant: At,
    pub(super) linear: BTreeMap<ValueId, At>,
    pub(super) quadratic: BTreeMap<(ValueId, ValueId), At>,
    /// The degree in expectations is at most this.
    pub(super) degree: usize,
}

impl Polynomial {
    /// A function without other variables.
    pub(super) fn function(constant: At) -> Self {
        Self { constant, ..Self::default() }
    }

    /// A number.
    pub(super) fn scalar(value: u64, degree: usize, points: usize) -> Self {
        Self { constant: vec![value; points], degree, ..Self::default() }
    }

    /// A Gaussian variable.
    pub(super) fn variable(id: ValueId, points: usize) -> Self {
        Self { constant: vec![0; points], linear: BTreeMap::from([(id, vec![1; points])]), ..Self::default() }
    }

    /// The number that it is, if it is one.
    pub(super) fn number(&self) -> Scalar {
        Scalar { value: self.constant[0], degree: self.degree }
    }

    /// Whether it is a function of the network's own variables alone.
    pub(super) fn is_function(&self) -> bool {
        self.linear.is_empty() && self.quadratic.is_empty()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.is_function() && self.constant.iter().all(|&c| c == 0)
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let mut sum = self.clone();
        sum.add(other, 1);
        sum
    }

    /// Adds a multiple.
    pub(super) fn add(&mut self, other: &Self, factor: u64) {
        add(&mut self.constant, &other.constant, factor);
        for (&id, at) in &other.linear {
            add(self.linear.entry(id).or_insert_with(|| vec![0; at.len()]), at, factor);
        }
        for (&pair, at) in &other.quadratic {
            add(self.quadratic.entry(pair).or_insert_with(|| vec![0; at.len()]), at, factor);
        }
        self.linear.retain(|_, at| at.iter().any(|&c| c != 0));
        self.quadratic.retain(|_, at| at.iter().any(|&c| c != 0));
        self.degree = self.degree.max(other.degree);
    }

    /// A multiple.
    pub(super) fn scaled(&self, factor: u64, degree: usize) -> Self {
        let mut result = Self::scalar(0, 0, self.constant.len());
        result.add(self, factor);
        Self { degree: self.degree + degree, ..result }
    }

    /// The product; `None` beyond degree two.
    pub(super) fn times(&self, other: &Self) -> Option<Self> {
        let mut result = Self::function(product(&self.constant, &other.constant));
        result.degree = self.degree + other.degree;
        for (a, b) in [(self, other), (other, self)] {
            if a.constant.iter().all(|&c| c == 0) {
                continue;
            }
            for (&id, at) in &b.linear {
                let own = result.linear.entry(id).or_insert_with(|| vec![0; at.len()]);
                add(own, &product(&a.constant, at), 1);
            }
            for (&pair, at) in &b.quadratic {
                let own = result.quadratic.entry(pair).or_insert_with(|| vec![0; at.len()]);
                add(own, &product(&a.constant, at), 1);
            }
        }
        let above = |a: &Self, b: &Self| !a.quadratic.is_empty() && !b.is_function();
        if above(self, other) || above(other, self) {
            return None;
        }
        for (&a, x) in &self.linear {
            for (&b, y) in &other.linear {
                let own = result.quadratic.entry((a.min(b), a.max(b))).or_insert_with(|| vec![0; x.len()]);
                add(own, &product(x, y), 1);
            }
        }
        result.linear.retain(|_, at| at.iter().any(|&c| c != 0));
        result.quadratic.retain(|_, at| at.iter().any(|&c| c != 0));
        Some(result)
    }

    /// `f` of a function of the network's own variables; `None` of anything else.
    pub(super) fn map(&self, mut f: impl FnMut(usize, u64) -> u64) -> Option<Self> {
        let constant = self.constant.iter().enumerate().map(|(m, &c)| f(m, c)).collect();
        self.is_function().then_some(Self { constant, degree: self.degree, ..Self::default() })
    }

    /// As a number times a polynomial whose first coefficient is 1.
    pub(super) fn normalised(&self) -> Option<(u64, Self)> {
        let all = std::iter::once(&self.constant).chain(self.linear.values()).chain(self.quadratic.values());
        let first = all.flatten().copied().find(|&c| c != 0)?;
        Some((first, self.scaled(inverse(first), 0)))
    }
}

fn product(a: &[u64], b: &[u64]) -> At {
    a.iter().zip(b).map(|(&x, &y)| times(x, y)).collect()
}

fn add(total: &mut [u64], term: &[u64], factor: u64) {
    for (sum, &x) in total.iter_mut().zip(term) {
        *sum = plus(*sum, times(factor, x));
    }
}
