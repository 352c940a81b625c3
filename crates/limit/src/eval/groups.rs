//! Products of factors under one Gaussian law, split where its covariance vanishes.
//!
//! `derive` splits an expectation where a covariance is 0 by proof. Others are 0 for some values of the indices only, as
//! between noise that is drawn for every input, or for some data.

use netsor_gauss::{Estimate, Method};

use super::integrand::CompiledFactor;

/// Covariances below this, relative to the standard deviations, are 0, and slots that differ by less are the same: both
/// are known no better.
const ROUNDING: f64 = 2.0 * f64::EPSILON;

/// How a product splits.
pub(super) struct Split {
    /// For each slot, the slot that it is equal to: itself or an earlier one.
    pub(super) same: Vec<usize>,
    /// The factors of each independent group.
    pub(super) groups: Vec<Vec<usize>>,
}

/// Joins factors that share a slot or have correlated ones.
pub(super) fn split(factors: &[CompiledFactor], slots: usize, entry: &dyn Fn(usize, usize) -> f64) -> Split {
    let together = |k: usize, l: usize| factors.iter().any(|f| f.slots.contains(&k) && f.slots.contains(&l));
    let mut same: Vec<usize> = (0..slots).collect();
    for k in 0..slots {
        let (own, close) = (entry(k, k), ROUNDING * entry(k, k));
        let equal = |&l: &usize| {
            same[l] == l && (own - entry(l, l)).abs() <= close && (own - entry(k, l)).abs() <= close && 0.0 < own
        };
        // A factor that has both would have one slot twice; so would one that has a slot already found equal.
        let apart = |&l: &usize| (0..k).all(|m| same[m] != l || !together(k, m));
        if let Some(l) = (0..k).filter(equal).find(apart) {
            same[k] = l;
        }
    }
    let correlated = |k: usize, l: usize| {
        let (k, l) = (same[k], same[l]);
        k == l || ROUNDING * (entry(k, k) * entry(l, l)).sqrt() < entry(k, l).abs()
    };
    let mut group: Vec<usize> = (0..factors.len()).collect();
    for i in 0..factors.len() {
        for j in 0..i {
            let joined = |a: &CompiledFactor, b: &CompiledFactor| {
                a.slots.iter().any(|&k| b.slots.iter().any(|&l| correlated(k, l)))
            };
            if group[i] != group[j] && joined(&factors[i], &factors[j]) {
                let (from, to) = (group[i].max(group[j]), group[i].min(group[j]));
                group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
            }
        }
    }
    let members = |leader: usize| (0..factors.len()).filter(|&k| group[k] == leader).collect::<Vec<_>>();
    let groups = (0..factors.len()).map(members).filter(|members| !members.is_empty()).collect();
    Split { same, groups }
}

/// The product of two independent expectations, found by the less certain of their methods.
pub(super) fn times(a: &Estimate, b: &Estimate) -> Estimate {
    let rank = |method: &Method| match method {
        Method::Exact => 0,
        Method::ClosedForm => 1,
        Method::Quadrature { .. } => 2,
        Method::Qmc { .. } => 3,
    };
    let method = if rank(&a.method) < rank(&b.method) { b.method } else { a.method };
    let error = a.error * b.value.abs() + b.error * a.value.abs() + a.error * b.error;
    Estimate { value: a.value * b.value, error, method }
}
