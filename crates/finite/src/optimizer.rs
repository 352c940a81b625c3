//! Optimisers: how a gradient becomes a step.
//!
//! Training acts on the tensor `w` of an (a, b, c)-parametrization, `W = s w` with `s = multiplier n^-a`, with the
//! learning rate `eta l`, `l = n^-c` (Talk, "abc-parametrizations"). What is stored is `W`. With `G = dL/dW`, so that
//! `dL/dw = s G`, a step is in terms of `W`:
//!
//! | rule | step |
//! | --- | --- |
//! | gradient descent | `W -= eta l s^2 G` |
//! | momentum `mu` | `M = mu M + s^2 G`, `W -= eta l M` |
//! | Adam | `m, v` are the moving means of `s G` and its square, `W -= eta l s m / (sqrt(v) + epsilon)` |
//! | weight decay, coupled | `s^2 G + lambda W` in place of `s^2 G`; for Adam `s G + lambda W / s` in place of `s G` |
//! | weight decay, decoupled | `W -= eta l lambda W` besides |
//!
//! Hence `(a + t, b - t, c - 2t)` is the same network under gradient descent and momentum, and `(a + t, b - t, c - t)`
//! is the same under Adam when `epsilon` is multiplied by `n^-t`: `s` is, and `m / (sqrt(v) + epsilon)` stays. A
//! constant `epsilon` therefore fixes the shift, and a good one gives `s G` the order one.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{FiniteError, Float};

/// Entries that one task changes.
const CHUNK: usize = 1 << 15;

/// An optimiser.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Optimizer {
    /// The rule.
    pub rule: Rule,
    /// Weight decay.
    pub decay: Decay,
}

/// How a gradient becomes a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rule {
    /// Gradient descent with heavy-ball momentum; 0 is plain.
    Sgd {
        /// The momentum `mu`, at least 0 and less than 1.
        momentum: f64,
    },
    /// Adam, with bias correction.
    Adam {
        /// Decay of the mean of gradients, at least 0 and less than 1.
        beta1: f64,
        /// Decay of the mean of their squares, at least 0 and less than 1.
        beta2: f64,
        /// What is added to the root of that mean, positive.
        epsilon: f64,
    },
}

/// Weight decay, on the tensors `w`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Decay {
    /// None.
    None,
    /// `lambda |w|^2 / 2` is added to the loss.
    Coupled(f64),
    /// A step shrinks `w` by `eta n^-c lambda w` (as in AdamW).
    Decoupled(f64),
}

impl Default for Optimizer {
    /// Plain gradient descent.
    fn default() -> Self {
        Self { rule: Rule::Sgd { momentum: 0.0 }, decay: Decay::None }
    }
}

impl Optimizer {
    /// Gradient descent with momentum.
    pub fn momentum(momentum: f64) -> Self {
        Self { rule: Rule::Sgd { momentum }, ..Self::default() }
    }

    /// Adam with the usual constants 0.9, 0.999 and `epsilon = 1e-8`.
    pub fn adam() -> Self {
        Self { rule: Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }, ..Self::default() }
    }

    /// The same with weight decay.
    #[must_use]
    pub fn with_decay(self, decay: Decay) -> Self {
        Self { decay, ..self }
    }

    pub(crate) fn check(&self) -> Result<(), FiniteError> {
        let range = |what: &'static str, found: f64| match found {
            0.0..1.0 => Ok(()),
            _ => Err(FiniteError::Option { what, expected: "at least 0 and less than 1", found }),
        };
        match self.rule {
            Rule::Sgd { momentum } => range("the momentum", momentum)?,
            Rule::Adam { beta1, beta2, epsilon } => {
                range("beta1", beta1)?;
                range("beta2", beta2)?;
                if !(0.0 < epsilon && epsilon.is_finite()) {
                    return Err(FiniteError::Option { what: "epsilon", expected: "positive", found: epsilon });
                }
            }
        }
        match self.decay {
            Decay::Coupled(found) | Decay::Decoupled(found) if !(0.0 <= found && found.is_finite()) => {
                Err(FiniteError::Option { what: "the weight decay", expected: "finite and not negative", found })
            }
            _ => Ok(()),
        }
    }

    /// How many numbers of its own the rule keeps for each entry of a parameter.
    pub(crate) fn moments(&self) -> usize {
        match self.rule {
            Rule::Sgd { momentum: 0.0 } => 0,
            Rule::Sgd { .. } => 1,
            Rule::Adam { .. } => 2,
        }
    }
}

/// The numbers `s` and `eta l` of a parameter in a step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scales {
    /// `s = multiplier n^-a`
    pub(crate) multiplier: f64,
    /// `eta n^-c`
    pub(crate) eta: f64,
}

/// Adds a multiple of the gradient to a block.
pub(crate) type AddGradient<'a, T> = dyn FnMut(&mut [T], f64) -> Result<(), FiniteError> + 'a;

/// One step of one parameter. `add_gradient(target, factor)` adds `factor * G` to the target; `gradient` is memory that
/// only Adam uses. `step` counts from 0.
pub(crate) fn apply<T: Float>(
    optimizer: &Optimizer,
    (weights, moments, gradient): (&mut [T], &mut [Vec<T>], &mut Vec<T>),
    Scales { multiplier: s, eta }: Scales,
    step: usize,
    add_gradient: &mut AddGradient<'_, T>,
) -> Result<(), FiniteError> {
    let (coupled, decoupled) = match optimizer.decay {
        Decay::None => (0.0, 0.0),
        Decay::Coupled(lambda) => (lambda, 0.0),
        Decay::Decoupled(lambda) => (0.0, lambda),
    };
    match (optimizer.rule, moments) {
        (Rule::Adam { beta1, beta2, epsilon }, [first, second]) => {
            gradient.clear();
            gradient.resize(weights.len(), T::of(0.0));
            add_gradient(gradient, s)?;
            let power = |beta: f64| netsor_num::Real::powf(beta, (step + 1) as f64);
            let corrections = (1.0 - power(beta1), 1.0 - power(beta2));
            let rates = (T::of(eta * s / corrections.0), T::of(1.0 / corrections.1.sqrt()));
            let [b1, b2, c1, c2] = [beta1, beta2, 1.0 - beta1, 1.0 - beta2].map(T::of);
            let (lambda, shrink, epsilon) = (T::of(coupled / s), T::of(1.0 - eta * decoupled), T::of(epsilon));
            let chunks = weights.par_chunks_mut(CHUNK).zip(first.par_chunks_mut(CHUNK));
            chunks.zip(second.par_chunks_mut(CHUNK)).zip(gradient.par_chunks(CHUNK)).for_each(|(((w, m), v), g)| {
                for (((w, m), v), g) in w.iter_mut().zip(m).zip(v).zip(g) {
                    let g = *g + lambda * *w;
                    *m = b1 * *m + c1 * g;
                    *v = b2 * *v + c2 * g * g;
                    let root = netsor_num::Real::sqrt(*v) * rates.1 + epsilon;
                    *w = shrink * *w - rates.0 * *m / root;
                }
            });
        }
        (Rule::Sgd { momentum }, [moment]) => {
            let (mu, lambda) = (T::of(momentum), T::of(coupled));
            let chunks = moment.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK));
            chunks.for_each(|(m, w)| m.iter_mut().zip(w).for_each(|(m, w)| *m = mu * *m + lambda * *w));
            add_gradient(moment, s * s)?;
            let (eta, shrink) = (T::of(eta), T::of(1.0 - eta * decoupled));
            let chunks = weights.par_chunks_mut(CHUNK).zip(moment.par_chunks(CHUNK));
            chunks.for_each(|(w, m)| w.iter_mut().zip(m).for_each(|(w, m)| *w = shrink * *w - eta * *m));
        }
        _ => {
            if coupled != 0.0 || decoupled != 0.0 {
                let shrink = T::of(1.0 - eta * (coupled + decoupled));
                weights.par_chunks_mut(CHUNK).for_each(|w| w.iter_mut().for_each(|w| *w = shrink * *w));
            }
            add_gradient(weights, -eta * s * s)?;
        }
    }
    Ok(())
}
