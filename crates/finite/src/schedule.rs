//! Schedules: the learning rate of a step, and the examples it uses.

use netsor_num::Real;
use serde::{Deserialize, Serialize};

use crate::FiniteError;

/// The learning rate of a step, before the rates of the parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rate {
    /// The same in every step.
    Constant(f64),
    /// One a step; the last one goes on.
    Schedule(Vec<f64>),
    /// `initial * factor^k` after `k` times `every` steps.
    Decay {
        /// The first rate.
        initial: f64,
        /// What it is multiplied by.
        factor: f64,
        /// After how many steps; at least 1.
        every: usize,
    },
    /// From `first` to `last` along a straight line in `steps` steps, then `last`.
    Linear {
        /// The first rate.
        first: f64,
        /// The last one.
        last: f64,
        /// Number of steps between them.
        steps: usize,
    },
    /// From `first` to `last` along half a period of the cosine in `steps` steps, then `last`.
    Cosine {
        /// The first rate.
        first: f64,
        /// The last one.
        last: f64,
        /// Number of steps between them.
        steps: usize,
    },
    /// From 0 up to the first rate of another schedule along a straight line, whose steps count from there.
    Warmup {
        /// Number of steps of the way up; the rate of step `k` is `(k + 1) / (steps + 1)` of the goal.
        steps: usize,
        /// What comes after.
        then: Box<Rate>,
    },
}

impl Rate {
    /// The rate of a step, counted from 0.
    pub fn at(&self, step: usize) -> f64 {
        let part = |steps: usize| if step < steps { step as f64 / steps as f64 } else { 1.0 };
        match self {
            Self::Constant(eta) => *eta,
            Self::Schedule(etas) => etas.get(step).or(etas.last()).copied().unwrap_or(0.0),
            Self::Decay { initial, factor, every } => initial * Real::powf(*factor, (step / (*every).max(1)) as f64),
            Self::Linear { first, last, steps } => first + (last - first) * part(*steps),
            Self::Cosine { first, last, steps } => {
                last + (first - last) * (1.0 + Real::cos(std::f64::consts::PI * part(*steps))) / 2.0
            }
            Self::Warmup { steps, then } if step < *steps => then.at(0) * (step + 1) as f64 / (steps + 1) as f64,
            Self::Warmup { steps, then } => then.at(step - steps),
        }
    }

    /// Refuses rates that are not finite, and schedules without a rate.
    pub(crate) fn check(&self) -> Result<(), FiniteError> {
        let numbers: &[f64] = match self {
            Self::Constant(eta) => &[*eta],
            Self::Schedule(etas) => etas,
            Self::Decay { initial, factor, .. } => &[*initial, *factor],
            Self::Linear { first, last, .. } | Self::Cosine { first, last, .. } => &[*first, *last],
            Self::Warmup { then, .. } => return then.check(),
        };
        if numbers.is_empty() {
            let (what, expected) = ("the number of learning rates", "at least 1");
            return Err(FiniteError::Option { what, expected, found: 0.0 });
        }
        match numbers.iter().find(|eta| !eta.is_finite()) {
            Some(&found) => Err(FiniteError::Option { what: "the learning rate", expected: "finite", found }),
            None => Ok(()),
        }
    }
}

/// Which examples a step uses. Examples are the positions of the first axis of an output's family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// All of them: gradient descent.
    All,
    /// A batch a step; after the last the first comes again.
    Batches(Vec<Vec<usize>>),
}

impl Order {
    /// One example a step, in this order.
    pub fn single(examples: &[usize]) -> Self {
        Self::Batches(examples.iter().map(|&e| vec![e]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(rate: &Rate, steps: usize) -> Vec<f64> {
        (0..steps).map(|step| rate.at(step)).collect()
    }

    #[test]
    fn schedules_have_their_shapes() {
        assert_eq!(rates(&Rate::Schedule(vec![3.0, 2.0]), 4), [3.0, 2.0, 2.0, 2.0]);
        assert_eq!(rates(&Rate::Decay { initial: 8.0, factor: 0.5, every: 2 }, 5), [8.0, 8.0, 4.0, 4.0, 2.0]);
        assert_eq!(rates(&Rate::Linear { first: 1.0, last: 0.0, steps: 4 }, 6), [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]);
        let then = Box::new(Rate::Constant(4.0));
        assert_eq!(rates(&Rate::Warmup { steps: 3, then }, 5), [1.0, 2.0, 3.0, 4.0, 4.0]);
        let cosine = rates(&Rate::Cosine { first: 3.0, last: 1.0, steps: 2 }, 4);
        // Half a period: the cosine of a right angle has an error of one rounding.
        assert!((cosine[0] - 3.0).abs() + (cosine[1] - 2.0).abs() + (cosine[2] - 1.0).abs() < 1e-15);
        assert_eq!(cosine[3], 1.0);
        let bad = Rate::Warmup { steps: 1, then: Box::new(Rate::Schedule(vec![])) };
        assert!(matches!(bad.check(), Err(FiniteError::Option { .. })));
    }
}
