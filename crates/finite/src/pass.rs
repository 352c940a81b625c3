//! The program of the forward and backward pass of a network in training, for given sizes of its axes.

use std::borrow::Cow;

use netsor_ir::network::Network;
use netsor_ir::program::{Instr, Program, ValueId};
use netsor_ir::transform::{Backprop, Seed, backprop, hoist};

use crate::gradient::Use;
use crate::state::Shape;
use crate::{Block, Executor, FiniteError, Float, Inputs, Options, State};

/// The forward and backward program for given sizes of the axes.
#[derive(Clone, Debug)]
pub(crate) struct Pass<T> {
    pub(crate) sizes: Vec<u32>,
    pub(crate) executor: Executor<'static, T>,
    pub(crate) state: State<T>,
    pub(crate) outputs: Vec<Output>,
    /// The values of the outputs.
    pub(crate) wanted: Vec<ValueId>,
    pub(crate) uses: Vec<Use>,
    /// The vectors that gradients are made of.
    pub(crate) factors: Vec<ValueId>,
}

#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) value: ValueId,
    pub(crate) cotangent: ValueId,
    /// Positions of the first axis of its family, which count examples; 1 without a family.
    pub(crate) examples: usize,
    /// Numbers of a member.
    pub(crate) components: usize,
}

impl<T: Float> Pass<T> {
    pub(crate) fn new(network: &Network, inputs: &Inputs, options: Options) -> Result<Self, FiniteError> {
        let Backprop { program, outputs: adjoints } = backprop(network, Seed::Cotangents)?;
        // phi' mentions phi: the backward pass takes its values from the forward pass.
        let (program, places) = hoist(&program, network.program.values.len());
        let state = State::of(&program, inputs, &options)?;
        let mut uses = Vec::new();
        let mut outputs = Vec::new();
        for output in adjoints {
            let value = output.output;
            let examples = program.family_sizes(value).first().copied().unwrap_or(1);
            let components = crate::dataset::components(network, value).max(1);
            if let Some(cotangent) = output.cotangent {
                outputs.push(Output { value, cotangent: places[cotangent.index()], examples, components });
            }
            for mut gradient in output.gradients {
                for factor in [Some(&mut gradient.rows), gradient.cols.as_mut()].into_iter().flatten() {
                    factor.value = places[factor.value.index()];
                }
                uses.push(Use::new(&program, &gradient, options.width)?);
            }
        }
        let sizes = network.program.axes.iter().map(|axis| axis.size).collect();
        let executor = Executor::of(Cow::Owned(program), options)?;
        let wanted = outputs.iter().map(|o| o.value).collect();
        let factors = uses.iter().flat_map(|u: &Use| u.cols.into_iter().chain([u.rows])).collect();
        Ok(Self { sizes, executor, state, outputs, wanted, uses, factors })
    }

    /// Whether the pass was made for the present sizes of the axes.
    pub(crate) fn fits(&self, program: &Program) -> bool {
        self.sizes.iter().copied().eq(program.axes.iter().map(|axis| axis.size))
    }

    /// Replaces an initial value and forgets what follows from it.
    pub(crate) fn supply(&mut self, id: ValueId, numbers: &[f64]) -> Result<(), FiniteError> {
        self.executor.supply(&mut self.state, id, numbers)?;
        self.state.forget_computed(self.executor.program());
        Ok(())
    }

    /// Moves what is drawn or supplied from another pass, where its shape is the same.
    pub(crate) fn take_initial(&mut self, program: &Program, from: &mut Self) -> Result<(), FiniteError> {
        for id in program.value_ids() {
            let instr = &program.value(id).instr;
            if matches!(instr, Instr::MatMul { .. } | Instr::Map(_) | Instr::Moment(_) | Instr::Scalar(_)) {
                continue;
            }
            let shape = self.executor.shape(id)?;
            let fits = |b: &Block<T>| shape == Shape { rows: b.rows, cols: b.cols, members: b.members };
            let k = id.index();
            if from.state.block(id).is_some_and(fits) {
                self.state.blocks[k] = from.state.blocks[k].take();
                (self.state.valid[k], self.state.given[k]) = (true, from.state.given[k]);
            } else {
                self.state.valid[k] = false;
            }
            from.state.valid[k] = false;
        }
        Ok(())
    }
}
