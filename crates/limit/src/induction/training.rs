//! What the induction is about: a network, its training as a program, and its backward passes at initialisation.

use std::collections::{BTreeMap, BTreeSet};

use netsor_ir::transform::{Seed, Training, backprop, unroll_network, unroll_program, unroll_sgd};
use netsor_ir::{Dim, Instr, Kind, Network, Program, ValueId};

use super::{InductionError, Steps};

/// A network and its training, written out without families.
pub(super) struct Unrolled {
    pub(super) network: Network,
    pub(super) steps: Steps,
    training: Training,
    /// The training program. Its first values are those of the network.
    pub(super) program: Program,
    /// The values of the program that each value of the training program became: one for each component.
    members: Vec<Vec<ValueId>>,
    /// One for each component of each output.
    pub(super) signals: Vec<Signals>,
}

/// The backward pass of one component of one output.
pub(super) struct Signals {
    pub(super) output: ValueId,
    pub(super) component: usize,
    /// The derivative of the loss at each step.
    pub(super) chi: Vec<ValueId>,
    /// The output at each time.
    pub(super) at: Vec<ValueId>,
    /// `dg` of every G-var at initialisation.
    pub(super) adjoints: BTreeMap<ValueId, ValueId>,
}

impl Unrolled {
    /// Writes a network and its training out.
    ///
    /// # Errors
    /// [`InductionError`] without steps, and for what cannot be trained as a program.
    pub(super) fn new(network: &Network, steps: &Steps) -> Result<Self, InductionError> {
        if steps.steps == 0 {
            return Err(InductionError::NoSteps);
        }
        let (plain, _) = unroll_network(network)?;
        let training = unroll_sgd(&plain, &steps.sgd())?;
        let adjoints = backprop(&plain, Seed::Components)?.outputs;
        // Only outputs with several components have families left. What comes before the first of them keeps its id, and
        // so do all values of the network.
        let (program, members) = unroll_program(&training.program)?;
        let mut signals = Vec::new();
        for (output, trained) in adjoints.iter().zip(&training.outputs) {
            for component in 0..members[trained.target.index()].len() {
                let of = |v: ValueId| members[v.index()].get(component).or(members[v.index()].first()).copied();
                signals.push(Signals {
                    output: output.output,
                    component,
                    chi: trained.chi.iter().filter_map(|&v| of(v)).collect(),
                    at: trained.at.iter().filter_map(|&v| of(v)).collect(),
                    adjoints: output.adjoints.iter().filter_map(|(&v, &d)| Some((v, of(d)?))).collect(),
                });
            }
        }
        Ok(Self { network: plain, steps: steps.clone(), training, program, members, signals })
    }

    /// `delta g` after `t` steps, for a G-var that training moves.
    pub(super) fn deviation(&self, g: ValueId, t: usize) -> Option<ValueId> {
        let value = self.network.program.value(g);
        let wide = matches!(value.ty.kind, Kind::Vector(Dim::Width(_)));
        if !wide || !matches!(value.instr, Instr::MatMul { .. } | Instr::Gaussian(_)) {
            return None;
        }
        let delta = self.training.deviations[t].get(&g)?;
        self.members[delta.index()].first().copied()
    }

    /// The values of the backward pass at all times.
    pub(super) fn error_signals(&self) -> BTreeSet<ValueId> {
        let count = self.network.program.values.len();
        let versions = self.training.times.iter().chain(&self.training.deviations);
        let backward = versions.flat_map(|t| t.iter().filter(|(old, _)| count <= old.index()).map(|(_, &new)| new));
        let initial = self.signals.iter().flat_map(|s| s.adjoints.values().copied());
        backward.flat_map(|v| self.members[v.index()].iter().copied()).chain(initial).collect()
    }
}
