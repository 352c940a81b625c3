//! `unroll_sgd`: a network and its training to the program of `T` steps (TP IIb App. D.1.2, Algorithm 1).
//!
//! Weights are never changed. A gradient is a sum of rank-one terms, so that
//!
//! ```text
//! W_t x = D_t W_0 x - sum over s < t of C_ts (rate of W) sum over j of chi_s[j] rows_s[j] <cols_s[j], x>
//! ```
//!
//! is one product with the initial matrix and vectors times moments (eq. 73, 80, 81, 89); the same holds for `W'` with
//! rows and columns exchanged, for vector parameters, and in the backward pass. Here `chi_s[j]` is the derivative of the
//! loss in the output `j`, times its weight in the batch; `C_ts` are exact numbers that contain learning rates and
//! momentum; `D_t` is 1 unless there is weight decay. All powers of `n` come from the parametrization and are explicit.
//!
//! **Deviations.** A value `x` that training moves by `O(n^-r)` is written as its value in a *reference pass*, with
//! weights `D_t W_0`, plus a deviation `x_t = ref + n^-r delta_x_t`. The deviation of a Map is
//! `n^r (E(ref + n^-r delta) - E(ref))` (eq. 82), or the linear expression itself where `E` is affine in what moves;
//! Moments and scalars have deviations in the same way. In the NTK parametrization, `r = 1/2`, all deviations have
//! limits of order one, and all vectors keep theirs (eq. 94). With `r = 0` there are no deviations: every pass is
//! written out, which is right where features are learned.
//!
//! Deviations from a reference, and not from the previous step as in the paper, make one Map and one product a value
//! and step, need no sum over steps to get `x_t` back (eq. 86), and allow weight decay, which moves the reference itself.
//! For the first step both are the same.
//!
//! **Readouts.** A product `f = V' x` from width `n` to a constant dimension is written as a Moment with the vectors
//! `V e_c`. With entries of variance `1/n` its initial value is Gaussian in the limit and no scalar of a program; under
//! [`Readouts::Conditioned`] it becomes data, that is, everything is conditioned on it (eq. 69 to 72; the conditioned
//! readout vector differs from `V` by vectors times coefficients that tend to 0, so that `Z` is the same). Later values
//! are `f_t = f_0 + n^(1-r) mean(V e_c * delta_x_t) - ...` (eq. 85).
//!
//! The first axis of an output's family counts examples: a batch is a table of weights over it, and test inputs are
//! members with weight 0.
//!
//! Cost: for each step, one pass as long as the network's forward and backward pass, and for each earlier step and use of
//! a parameter one Moment and one rank-one term: `O(T^2)` terms in all. For the output after the last step only the
//! forward pass is written.

mod loss;
mod optimizer;
mod readout;
mod unroller;
mod update;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use num_traits::Signed;

use super::{TransformError, cse, dce};
use crate::id::Id;
use crate::network::Network;
use crate::number::{Number, Power, integer, power};
use crate::program::{Axis, Program, ValueId};

pub use loss::Loss;
pub use optimizer::Decay;

/// How a network is trained. See [`unroll_sgd`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sgd {
    /// Number of steps.
    pub steps: usize,
    /// The learning rate of each step, before the rates of the parameters; the last one goes on.
    pub rates: Vec<Number>,
    /// The weights of the examples in each step; after the last the first comes again. None for weight 1 throughout.
    pub batches: Vec<Vec<Number>>,
    /// Heavy-ball momentum.
    pub momentum: Number,
    /// Weight decay.
    pub decay: Decay,
    /// The loss.
    pub loss: Loss,
    /// The exponent `r` of deviations, not negative: 1/2 for the NTK parametrization, 0 for no deviations.
    pub exponent: Power,
    /// What the initial outputs are.
    pub readouts: Readouts,
}

impl Default for Sgd {
    /// One step of gradient descent on the squared loss with rate 1, in the form for the NTK parametrization.
    fn default() -> Self {
        Self {
            steps: 1,
            rates: vec![integer(1)],
            batches: Vec::new(),
            momentum: integer(0),
            decay: Decay::None,
            loss: Loss::Squared,
            exponent: power(1, 2),
            readouts: Readouts::Conditioned,
        }
    }
}

/// What the initial value of a readout `f = V' x` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readouts {
    /// Data where the central limit theorem gives it a law and no limit (entries of variance `1/n`), the program's own
    /// where it has a limit. So are initial vectors of constant dimension. For the limit.
    Conditioned,
    /// The program's own. For finite width.
    Computed,
}

/// A training run as a program.
#[derive(Clone, Debug)]
pub struct Training {
    /// The program: the network and its backward pass unchanged, then the steps.
    pub program: Program,
    /// One entry an output, in the network's order.
    pub outputs: Vec<TrainedOutput>,
    /// What the program is conditioned on, with the step that each belongs to.
    pub conditions: Vec<Condition>,
    /// For each time, the value that each value of the network's forward and backward pass has then, where the program
    /// has it: ids of [`super::backprop()`] with [`super::Seed::Components`] to ids of the program.
    pub times: Vec<BTreeMap<ValueId, ValueId>>,
    /// For each time, the deviation `n^r (x_t - ref)` of each such value that has one.
    pub deviations: Vec<BTreeMap<ValueId, ValueId>>,
}

/// One output during training. All families are over the output's family, then its component if it has more than one.
#[derive(Clone, Debug)]
pub struct TrainedOutput {
    /// The network's output, an id of the network.
    pub output: ValueId,
    /// The axes of the families.
    pub indices: Vec<(String, Id<Axis>)>,
    /// Targets, scalar data.
    pub target: ValueId,
    /// The output after `0, 1, ..., T` steps, scalars.
    pub at: Vec<ValueId>,
    /// The derivative of the loss in each step, times the weight in the batch, scalars.
    pub chi: Vec<ValueId>,
}

/// Data that stand for a random initial value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    /// The readout or initial vector, an id of the network, whose value with weights `D_t W_0` is meant.
    pub value: ValueId,
    /// The time `t`: 0 unless there is weight decay.
    pub time: usize,
    /// The data: scalars over the family and the component for a readout, vectors for an initial vector.
    pub data: ValueId,
}

/// Writes training as a program.
///
/// ```
/// use netsor_ir::number::{fraction, integer};
/// use netsor_ir::syntax::parse_network;
/// use netsor_ir::transform::{Sgd, unroll_sgd};
///
/// let network = parse_network("network shallow {
///   axis i = 3
///   data xi[i] : 2
///   param U : n x 2 ~ N(0, 1/2)
///   param v : n x 1 ~ N(0, 1/n)
///   h[i] = U * xi[i]
///   x[i] = tanh(h[i])
///   output f[i] = v' * x[i]
/// }")?;
/// // Two steps, first on the input 0 and then on the input 1; the input 2 is for testing.
/// let batches = vec![vec![integer(1), integer(0), integer(0)], vec![integer(0), integer(1), integer(0)]];
/// let training = unroll_sgd(&network, &Sgd { steps: 2, rates: vec![fraction(1, 2)], batches, ..Sgd::default() })?;
/// let f = &training.outputs[0];
/// assert_eq!(training.program.value(f.at[2]).name, "f_2");
/// assert_eq!(training.conditions[0].data, f.at[0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Those of [`super::backprop()`]; [`TransformError::Training`] if an option does not fit; [`TransformError::Loss`] if the
/// loss cannot be read; [`TransformError::NotConditioned`] if a readout cannot be conditioned on.
pub fn unroll_sgd(network: &Network, sgd: &Sgd) -> Result<Training, TransformError> {
    sgd.check()?;
    unroller::unroll(network, sgd)
}

impl Training {
    /// The same with equal instructions merged ([`super::cse()`]) and without what the outputs and the derivatives of the
    /// loss do not need ([`super::dce()`]). Of `times`, what is left as a whole family stays.
    ///
    /// # Errors
    /// Those of the two transforms, which a program that was not changed since does not have.
    pub fn simplified(&self) -> Result<Self, TransformError> {
        let outputs = self.outputs.iter();
        let mut keep: Vec<ValueId> =
            outputs.flat_map(|o| o.at.iter().chain(&o.chi).copied().chain([o.target])).collect();
        keep.extend(self.conditions.iter().map(|c| c.data));
        let (merged, images) = cse(&self.program, &keep)?;
        let kept: Vec<ValueId> = keep.iter().map(|v| images[v.index()].value).collect();
        let (program, map) = dce(&merged, &kept)?;
        let whole = |v: ValueId| {
            let image = &images[v.index()];
            let rank = self.program.value(v).ty.family.len();
            image.is_whole(rank).then(|| map[image.value.index()]).flatten()
        };
        let axis = |axis: Id<Axis>| {
            let name = &self.program.axes[axis.index()].name;
            program.find_axis(name).unwrap_or(axis)
        };
        // What is kept has an image with all its indices.
        let at = |v: ValueId| whole(v).unwrap_or(v);
        let all = |list: &[ValueId]| list.iter().map(|&v| at(v)).collect::<Vec<_>>();
        let outputs = self.outputs.iter().map(|o| TrainedOutput {
            output: o.output,
            indices: o.indices.iter().map(|(name, a)| (name.clone(), axis(*a))).collect(),
            target: at(o.target),
            at: all(&o.at),
            chi: all(&o.chi),
        });
        let conditions = self.conditions.iter().map(|c| Condition { data: at(c.data), ..*c }).collect();
        let left = |times: &[BTreeMap<ValueId, ValueId>]| {
            times.iter().map(|t| t.iter().filter_map(|(&old, &v)| Some((old, whole(v)?))).collect()).collect()
        };
        let (times, deviations) = (left(&self.times), left(&self.deviations));
        Ok(Self { outputs: outputs.collect(), conditions, times, deviations, program })
    }
}

impl Sgd {
    fn check(&self) -> Result<(), TransformError> {
        let wrong = |reason: &str| Err(TransformError::Training { reason: reason.to_owned() });
        if self.rates.is_empty() && 0 < self.steps {
            return wrong("there is no learning rate; give at least one, the last goes on");
        }
        if self.exponent.is_negative() {
            return wrong("the exponent of deviations is negative; use 1/2 for the NTK parametrization, 0 for none");
        }
        Ok(())
    }

    /// The learning rates of all steps.
    fn schedule(&self) -> Vec<Number> {
        (0..self.steps).filter_map(|t| self.rates.get(t).or(self.rates.last()).cloned()).collect()
    }
}
