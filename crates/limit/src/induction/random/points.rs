//! Random points that stand for the law of the Gaussian variables of the forward pass.

use netsor_ir::ValueId;
use rustc_hash::FxHashMap;

use crate::induction::field::{minus, plus, scramble, times};

/// The points of one run, with what else is random in it.
#[derive(Clone, Debug)]
pub(super) struct Points {
    seed: u64,
    weights: Vec<u64>,
    /// How often the value of a variable at a point was drawn again.
    redrawn: FxHashMap<(ValueId, usize), u64>,
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
    /// So many points, at least one.
    pub(super) fn new(seed: u64, count: usize) -> Self {
        let mut weights: Vec<u64> =
            (0..count as u64).map(|point| scramble(&[Draw::Weight as u64, seed, point])).collect();
        // The mean of 1 is 1.
        let rest = weights.iter().skip(1).fold(0, |sum, &w| plus(sum, w));
        if let Some(first) = weights.first_mut() {
            *first = minus(1, rest);
        }
        Self { seed, weights, redrawn: FxHashMap::default() }
    }

    pub(super) fn count(&self) -> usize {
        self.weights.len()
    }

    /// Draws a variable again at the points that are not marked.
    pub(super) fn redraw(&mut self, variable: ValueId, marked: &[bool]) {
        for (point, _) in marked.iter().enumerate().filter(|(_, marked)| !**marked) {
            *self.redrawn.entry((variable, point)).or_insert(0) += 1;
        }
    }

    /// The functional in place of `E`: a weighted sum over the points.
    pub(super) fn mean(&self, at: &[u64]) -> u64 {
        at.iter().zip(&self.weights).fold(0, |sum, (&x, &w)| plus(sum, times(w, x)))
    }

    /// An element of the field that is the same at all points.
    pub(super) fn drawn(&self, what: Draw, parts: [u64; 2]) -> u64 {
        scramble(&[what as u64, self.seed, parts[0], parts[1]])
    }

    /// The values of a variable.
    pub(super) fn variable(&self, id: ValueId) -> Vec<u64> {
        let value = |point: usize| {
            let drawn = self.redrawn.get(&(id, point)).copied().unwrap_or(0);
            scramble(&[Draw::Variable as u64, self.seed, id.index() as u64, point as u64, drawn])
        };
        (0..self.count()).map(value).collect()
    }
}
