//! Sums whose order is part of their definition.
//!
//! Floating-point addition is not associative, so a parallel sum that adds whatever is ready first differs from run to run.
//! Here the terms are cut into chunks of a fixed size, each chunk is summed pairwise, and the chunk sums are combined pairwise in the order of their index: the bits do not depend on the number of threads.
//! Pairwise summation of n terms has a relative error of about `eps * log2(n)` of the sum of the absolute values.

use std::ops::Range;

use rayon::prelude::*;

/// Number of terms in a chunk of [`chunked`].
pub const CHUNK: usize = 4096;

/// The sum of `terms` by halves.
pub fn pairwise(terms: &[f64]) -> f64 {
    if terms.len() <= 16 {
        return terms.iter().sum();
    }
    let (left, right) = terms.split_at(terms.len().next_power_of_two() / 2);
    pairwise(left) + pairwise(right)
}

/// The sum of `chunk_sum` over `0..n` cut into pieces of [`CHUNK`], in parallel, combined in index order.
pub fn chunked(n: usize, chunk_sum: impl Fn(Range<usize>) -> f64 + Sync) -> f64 {
    let sums: Vec<f64> = (0..n.div_ceil(CHUNK))
        .into_par_iter()
        .map(|chunk| chunk_sum(chunk * CHUNK..((chunk + 1) * CHUNK).min(n)))
        .collect();
    pairwise(&sums)
}

/// The sum of `terms`, in parallel.
pub fn parallel(terms: &[f64]) -> f64 {
    chunked(terms.len(), |range| pairwise(&terms[range]))
}

/// A running sum with the rounding errors carried along (Neumaier 1974): twice the working precision.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    /// Adds one term.
    #[inline]
    pub fn add(&mut self, term: f64) {
        let next = self.sum + term;
        self.lost += if term.abs() <= self.sum.abs() { (self.sum - next) + term } else { (term - next) + self.sum };
        self.sum = next;
    }

    /// The sum of all terms so far.
    pub fn value(&self) -> f64 {
        // An overflowed sum has lost the meaning of its corrections.
        if self.sum.is_finite() { self.sum + self.lost } else { self.sum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_does_not_depend_on_threads() {
        let terms: Vec<f64> = (0..100_001).map(|i| crate::Real::sin(f64::from(i)) * 1e3).collect();
        let at = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| parallel(&terms)).to_bits()
        };
        assert_eq!(at(1), at(2));
        assert_eq!(at(1), at(7));
    }

    #[test]
    fn compensated_keeps_small_terms() {
        let mut acc = Compensated::default();
        for term in [1e16, 1.0, -1e16, 1.0] {
            acc.add(term);
        }
        assert_eq!(acc.value(), 2.0);
        assert_eq!(pairwise(&[]), 0.0);
    }
}
