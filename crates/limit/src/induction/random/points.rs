//! Random points that stand for the law of the Gaussian variables of the forward pass.

use crate::induction::field::{minus, plus, scramble, times};

/// The points of one run, with what else is random in it.
#[derive(Clone, Debug)]
pub(super) struct Points {
    seed: u64,
    /// Names of the points.
    names: Vec<u64>,
    weights: Vec<u64>,
}

/// What is drawn for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Draw {
    Weight = 20,
    Data = 21,
    Variable = 22,
    Fluctuation = 23,
    Pi = 24,
    Power = 25,
}

impl Points {
    /// The first `count` points, of any kind.
    pub(super) fn candidates(seed: u64, count: usize) -> Self {
        Self::named(seed, (0..count as u64).collect())
    }

    fn named(seed: u64, names: Vec<u64>) -> Self {
        let mut points = Self { seed, names, weights: Vec::new() };
        points.weights = points.each(Draw::Weight, 0);
        // The mean of 1 is 1.
        let rest = points.weights.iter().skip(1).fold(0, |sum, &w| plus(sum, w));
        if let Some(first) = points.weights.first_mut() {
            *first = minus(1, rest);
        }
        points
    }

    /// Those of the points that are marked, and not more than `count`; where none is, for a reason that is not the point,
    /// any.
    pub(super) fn among(&self, marked: &[bool], count: usize) -> Self {
        let any = !marked.contains(&true);
        let names = self.names.iter().zip(marked).filter(|(_, m)| any || **m).map(|(&name, _)| name);
        Self::named(self.seed, names.take(count).collect())
    }

    pub(super) fn count(&self) -> usize {
        self.names.len()
    }

    /// The functional in place of `E`: a weighted sum over the points.
    pub(super) fn mean(&self, at: &[u64]) -> u64 {
        at.iter().zip(&self.weights).fold(0, |sum, (&x, &w)| plus(sum, times(w, x)))
    }

    /// An element of the field that is the same at all points.
    pub(super) fn drawn(&self, what: Draw, parts: [u64; 2]) -> u64 {
        scramble(&[what as u64, self.seed, parts[0], parts[1]])
    }

    /// One for each point.
    pub(super) fn each(&self, what: Draw, of: u64) -> Vec<u64> {
        self.names.iter().map(|&point| scramble(&[what as u64, self.seed, of, point])).collect()
    }
}
