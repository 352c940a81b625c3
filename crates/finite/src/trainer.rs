//! A network in training: parameters, the program of the forward and backward pass, and what the optimiser remembers.
//!
//! The gradient of a parameter is a sum of outer products of adjoint and forward vectors, which `backprop` names and the
//! executor computes; [`Optimizer`] makes a step of it.

use netsor_ir::Id;
use netsor_ir::network::Network;
use netsor_ir::number::{power_to_f64, to_f64};
use netsor_ir::program::{Axis, Instr, ValueId};
use netsor_ir::syntax::print_network;
use netsor_ir::verify::Verified;
use netsor_num::Real;

use crate::checkpoint::checksum;
use crate::gradient::{Gathered, exact_dimensions};
use crate::optimizer::{Scales, apply};
use crate::pass::{Output, Pass};
use crate::state::{check_finite, malformed};
use crate::{Block, FiniteError, Float, Inputs, Optimizer, Options, State};

/// A value with a larger root mean square has diverged, unless the caller says otherwise.
const DIVERGED: f64 = 1e12;

/// A network being trained: its parameters, and the program of its forward and backward pass.
///
/// The first step finds out how everything is computed and allocates what it needs; later steps allocate nothing (see
/// [`Trainer::step_with`]): values are computed where the old ones were.
#[derive(Clone, Debug)]
pub struct Trainer<T> {
    network: Network,
    pass: Pass<T>,
    /// Passes for other sizes of the axes; they have no parameters.
    idle: Vec<Pass<T>>,
    trained: Vec<Trained<T>>,
    optimizer: Optimizer,
    /// Memory for one gradient, and for vectors that do not lie side by side.
    memory: (Vec<T>, Gathered<T>),
    /// Outputs and cotangents of a step.
    buffers: (Vec<Vec<f64>>, Vec<Vec<f64>>),
    /// Inputs and targets of a batch.
    pub(crate) batch: (Vec<f64>, Vec<f64>),
    steps: usize,
    /// Of the text of the network as it was given, for check-points.
    pub(crate) fingerprint: u64,
}

/// Sees the outputs and writes the derivatives of the loss in them, which are 0 before.
pub type Cotangents<'a, T, R> = dyn FnMut(&Trainer<T>, &[Vec<f64>], &mut [Vec<f64>]) -> Result<R, FiniteError> + 'a;

/// A trained parameter.
#[derive(Clone, Debug)]
struct Trained<T> {
    value: ValueId,
    /// `multiplier n^-a` and `n^-c`
    scales: Scales,
    /// What the optimiser keeps: nothing, the momentum, or the two means of Adam.
    moments: Vec<Vec<T>>,
    /// The next numbers of a vector that is a factor of gradients itself, and must not change before they are known.
    next: Option<Block<T>>,
}

impl<T: Float> Trainer<T> {
    /// A network at a width with drawn parameters, or with those that `inputs` supply; `inputs` also has the data. It
    /// trains by plain gradient descent, see [`Trainer::with_optimizer`].
    ///
    /// # Errors
    /// If the network has no backward pass, a width class has no whole number of coordinates at this width, or an input
    /// does not fit.
    pub fn new(network: &Verified<Network>, inputs: &Inputs, options: Options) -> Result<Self, FiniteError> {
        exact_dimensions(&network.program, options.width)?;
        let width = options.width as f64;
        let mut pass = Pass::new(network, inputs, options)?;
        pass.executor.largest = DIVERGED;
        let mut trained = Vec::new();
        for parameter in network.parameters.iter().filter(|p| p.trained) {
            let multiplier = to_f64(&parameter.multiplier_squared).sqrt();
            let power = |exponent| Real::powf(width, power_to_f64(exponent));
            let scales = Scales { multiplier: multiplier * power(-parameter.a), eta: power(-parameter.c) };
            let (moments, next) = (Vec::new(), None);
            trained.push(Trained { value: parameter.value, scales, moments, next });
        }
        let values: Vec<ValueId> = trained.iter().map(|t| t.value).collect();
        pass.executor.run(&mut pass.state, &values)?;
        let fingerprint = checksum(print_network(network).as_bytes());
        let (network, memory, optimizer) = (Network::clone(network), Default::default(), Optimizer::default());
        let (buffers, batch, idle) = (Default::default(), Default::default(), Vec::new());
        Ok(Self { network, pass, idle, trained, optimizer, memory, buffers, batch, steps: 0, fingerprint })
    }

    /// The same network with another optimiser, which starts without a memory of earlier steps.
    ///
    /// # Errors
    /// If a constant of the optimiser is out of range.
    pub fn with_optimizer(mut self, optimizer: Optimizer) -> Result<Self, FiniteError> {
        optimizer.check()?;
        self.optimizer = optimizer;
        let state = &self.pass.state;
        for trained in &mut self.trained {
            let len = state.block(trained.value).map_or(0, |b| b.data.len());
            trained.moments = vec![vec![T::of(0.0); len]; optimizer.moments()];
        }
        Ok(self)
    }

    /// Stops with [`FiniteError::Diverged`] when a value has a larger root mean square; `1e12` by default.
    #[must_use]
    pub fn with_largest(mut self, largest: f64) -> Self {
        self.pass.executor.largest = largest;
        self.idle.iter_mut().for_each(|pass| pass.executor.largest = largest);
        self
    }

    /// Gives an axis another size, for instance that of the last, smaller batch. Parameters and what the optimiser
    /// remembers stay; data over the axis have to be supplied again.
    ///
    /// # Errors
    /// If a parameter or a table is indexed by the axis.
    pub fn resize(&mut self, axis: Id<Axis>, size: u32) -> Result<(), FiniteError> {
        let Some(found) = self.network.program.axes.get(axis.index()) else {
            return Err(FiniteError::UnknownName { name: format!("{axis:?}") });
        };
        if found.size == size {
            return Ok(());
        }
        let program = &self.network.program;
        let of_table = program.tables.iter().any(|table| table.axes.contains(&axis));
        let indexed = |p: &&netsor_ir::Parameter| program.value(p.value).ty.family.contains(&axis);
        if let Some(parameter) = self.network.parameters.iter().find(indexed) {
            return Err(malformed(program, parameter.value, "it is indexed by an axis that changes its size"));
        }
        if size == 0 || of_table {
            let problem = format!("the axis `{}` cannot have the size {size}", found.name);
            return Err(FiniteError::Malformed { value: program.name.clone(), problem });
        }
        self.network.program.axes[axis.index()].size = size;
        let mut pass = match self.idle.iter().position(|pass| pass.fits(&self.network.program)) {
            Some(at) => self.idle.swap_remove(at),
            None => {
                let mut pass = Pass::new(&self.network, &Inputs::new(), self.pass.executor.options().clone())?;
                pass.executor.largest = self.pass.executor.largest;
                pass
            }
        };
        pass.state.forget_computed(pass.executor.program());
        pass.take_initial(&self.network.program, &mut self.pass)?;
        self.idle.push(std::mem::replace(&mut self.pass, pass));
        Ok(())
    }

    /// Replaces data, for instance by the next batch.
    ///
    /// # Errors
    /// If the numbers do not fit or are not finite.
    pub fn supply(&mut self, data: ValueId, numbers: &[f64]) -> Result<(), FiniteError> {
        self.pass.supply(data, numbers)
    }

    /// The outputs for the present parameters and data, one vector an output: members one after the other.
    ///
    /// # Errors
    /// If a number is not finite or data are missing.
    pub fn outputs(&mut self) -> Result<Vec<Vec<f64>>, FiniteError> {
        let mut outputs = Vec::new();
        self.outputs_into(&mut outputs)?;
        Ok(outputs)
    }

    /// The same in the memory of earlier ones.
    fn outputs_into(&mut self, outputs: &mut Vec<Vec<f64>>) -> Result<(), FiniteError> {
        let pass = &mut self.pass;
        pass.executor.run(&mut pass.state, &pass.wanted).map_err(|e| e.in_step(self.steps))?;
        outputs.resize_with(pass.wanted.len(), Vec::new);
        for (numbers, &value) in outputs.iter_mut().zip(&pass.wanted) {
            numbers.clear();
            numbers.extend(pass.state.block(value).into_iter().flat_map(|block| &block.data).map(|x| x.wide()));
        }
        Ok(())
    }

    /// Any values of the network for the present parameters and data.
    ///
    /// # Errors
    /// As for [`Trainer::outputs`].
    pub fn values(&mut self, wanted: &[ValueId]) -> Result<&State<T>, FiniteError> {
        let pass = &mut self.pass;
        pass.executor.run(&mut pass.state, wanted).map_err(|e| e.in_step(self.steps))?;
        Ok(&pass.state)
    }

    /// One step of the optimiser: `cotangents` are the derivatives of the loss in the outputs, in their layout.
    ///
    /// # Errors
    /// If a cotangent does not fit, or a number is not finite.
    pub fn step(&mut self, eta: f64, cotangents: &[Vec<f64>]) -> Result<(), FiniteError> {
        self.backward(cotangents)?;
        let Self { pass, trained, optimizer, memory: (gradient, gathered), steps, .. } = self;
        for Trained { value, scales, moments, next } in trained.iter_mut() {
            let k = value.index();
            if pass.factors.contains(value) {
                copy(pass.state.block(*value), next);
            } else {
                *next = pass.state.blocks[k].take();
            }
            let Some(block) = next else { continue };
            let mut add = |target: &mut [T], factor: f64| {
                for of in pass.uses.iter().filter(|u| u.parameter == *value) {
                    of.add_to(target, factor, pass.executor.program(), &pass.state, gathered)?;
                }
                Ok(())
            };
            let scales = Scales { eta: eta * scales.eta, ..*scales };
            let result = apply(optimizer, (&mut block.data, moments, gradient), scales, *steps, &mut add);
            if !pass.factors.contains(value) {
                pass.state.blocks[k] = next.take();
            }
            result?;
        }
        for Trained { value, next, .. } in trained.iter_mut().filter(|t| pass.factors.contains(&t.value)) {
            if let (Some(block), Some(next)) = (&mut pass.state.blocks[value.index()], next) {
                std::mem::swap(block, next);
            }
        }
        *steps += 1;
        pass.state.forget_computed(pass.executor.program());
        Ok(())
    }

    /// One step with the cotangents that `loss` writes when it sees the outputs; what it returns comes back.
    ///
    /// After the first step on data of a shape nothing is allocated, if `loss` allocates nothing, on a thread of a
    /// `rayon` pool, and once every thread of the pool has multiplied matrices: `faer` keeps memory for each thread.
    ///
    /// # Errors
    /// As for [`Trainer::outputs`] and [`Trainer::step`], and those of `loss`.
    pub fn step_with<R>(&mut self, eta: f64, loss: &mut Cotangents<'_, T, R>) -> Result<R, FiniteError> {
        let (mut outputs, mut cotangents) = std::mem::take(&mut self.buffers);
        let result = self.outputs_into(&mut outputs).and_then(|()| {
            cotangents.resize_with(outputs.len(), Vec::new);
            for (cotangent, output) in cotangents.iter_mut().zip(&outputs) {
                cotangent.clear();
                cotangent.resize(output.len(), 0.0);
            }
            let result = loss(self, &outputs, &mut cotangents)?;
            self.step(eta, &cotangents)?;
            Ok(result)
        });
        self.buffers = (outputs, cotangents);
        result
    }

    /// Computes the vectors of all gradients for these cotangents.
    fn backward(&mut self, cotangents: &[Vec<f64>]) -> Result<(), FiniteError> {
        let Pass { executor, state, outputs, factors, .. } = &mut self.pass;
        if cotangents.len() != outputs.len() {
            let (expected, found) = (outputs.len(), cotangents.len());
            return Err(FiniteError::Length { value: "the list of cotangents".into(), expected, found });
        }
        for (output, cotangent) in outputs.iter().zip(cotangents) {
            executor.supply(state, output.cotangent, cotangent).map_err(|e| e.in_step(self.steps))?;
        }
        executor.run(state, factors).map_err(|e| e.in_step(self.steps))
    }

    /// The derivatives `s dL/dW = dL/dw` of the loss in the tensors `w` of all trained parameters, one block a parameter
    /// in order, for given derivatives of the loss in the outputs; the parameters stay as they are.
    ///
    /// # Errors
    /// As for [`Trainer::step`].
    pub fn gradients(&mut self, cotangents: &[Vec<f64>]) -> Result<Vec<(ValueId, Vec<f64>)>, FiniteError> {
        self.backward(cotangents)?;
        let Self { pass, trained, memory: (_, gathered), .. } = self;
        let mut all = Vec::new();
        for Trained { value, scales, .. } in trained {
            let mut gradient = vec![T::of(0.0); pass.state.block(*value).map_or(0, |b| b.data.len())];
            for of in pass.uses.iter().filter(|u| u.parameter == *value) {
                of.add_to(&mut gradient, scales.multiplier, pass.executor.program(), &pass.state, gathered)?;
            }
            all.push((*value, gradient.iter().map(|x| x.wide()).collect()));
        }
        // The cotangents of the next step are others.
        pass.state.forget_computed(pass.executor.program());
        Ok(all)
    }

    /// The same gradients as changes of the tensors `W` with the rates of the parameters, `s^2 n^-c dL/dW`: what a step
    /// of gradient descent with `eta = -1` adds.
    pub(crate) fn rated_gradients(&mut self, cotangents: &[Vec<f64>]) -> Result<Vec<(ValueId, Vec<f64>)>, FiniteError> {
        let mut gradients = self.gradients(cotangents)?;
        for (value, gradient) in &mut gradients {
            let factor = self.scales(*value).map_or(0.0, |s| s.eta * s.multiplier);
            gradient.iter_mut().for_each(|g| *g *= factor);
        }
        Ok(gradients)
    }

    /// Everything that is not computed: data, constants, drawn tensors.
    pub(crate) fn initial_values(&self) -> Vec<ValueId> {
        let program = &self.network.program;
        let initial = |id: &ValueId| {
            let instr = &program.value(*id).instr;
            !matches!(instr, Instr::MatMul { .. } | Instr::Map(_) | Instr::Moment(_) | Instr::Scalar(_))
        };
        program.value_ids().filter(initial).collect()
    }

    /// Counts from `steps` on: schedules and batches of a run that is resumed go on where they were.
    #[must_use]
    pub fn after(self, steps: usize) -> Self {
        Self { steps, ..self }
    }

    /// Steps taken.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// The optimiser.
    pub fn optimizer(&self) -> &Optimizer {
        &self.optimizer
    }

    /// The network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// Width, seed and limits.
    pub fn options(&self) -> &Options {
        self.pass.executor.options()
    }

    pub(crate) fn output_list(&self) -> &[Output] {
        &self.pass.outputs
    }

    pub(crate) fn state(&mut self) -> &mut State<T> {
        &mut self.pass.state
    }

    /// The trained parameters in order.
    pub fn trained(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.trained.iter().map(|t| t.value)
    }

    /// What the optimiser remembers of a trained parameter.
    pub(crate) fn moments(&mut self, value: ValueId) -> Option<&mut Vec<Vec<T>>> {
        self.trained.iter_mut().find(|t| t.value == value).map(|t| &mut t.moments)
    }

    /// Goes on counting from `steps`; see [`Trainer::after`].
    pub fn set_steps(&mut self, steps: usize) {
        self.steps = steps;
    }

    /// `multiplier n^-a` and `n^-c` of a trained parameter.
    pub(crate) fn scales(&self, value: ValueId) -> Option<Scales> {
        self.trained.iter().find(|t| t.value == value).map(|t| t.scales)
    }

    /// Number of entries of a value that has been computed.
    pub(crate) fn len_of(&self, value: ValueId) -> usize {
        self.pass.state.block(value).map_or(0, |b| b.data.len())
    }

    /// Forgets everything that follows from parameters and data.
    pub(crate) fn forget_computed(&mut self) {
        self.pass.state.forget_computed(self.pass.executor.program());
    }

    /// The numbers of a trained parameter, in the layout of [`Inputs`]; empty if it is none.
    pub fn parameter(&self, value: ValueId) -> Vec<f64> {
        if self.trained().any(|t| t == value) { self.pass.state.numbers(value) } else { Vec::new() }
    }

    /// Replaces the numbers of a trained parameter.
    ///
    /// # Errors
    /// If it is not trained, or the numbers do not fit or are not finite.
    pub fn set_parameter(&mut self, value: ValueId, numbers: &[f64]) -> Result<(), FiniteError> {
        if self.trained().all(|t| t != value) {
            return Err(FiniteError::UnknownName { name: format!("{value:?}") });
        }
        self.supply(value, numbers)
    }

    /// `inputs` with the present numbers of the trained parameters: to go on later, or to ask for the tangent kernel.
    #[must_use]
    pub fn resume(&self, mut inputs: Inputs) -> Inputs {
        for value in self.trained() {
            inputs.set(value, self.pass.state.numbers(value));
        }
        inputs
    }

    /// Refuses parameters that are not finite, which the next forward pass would find.
    ///
    /// # Errors
    /// [`FiniteError::Diverged`], with the parameter.
    pub fn check_parameters(&self) -> Result<(), FiniteError> {
        for value in self.trained() {
            if let Some(block) = self.pass.state.block(value) {
                check_finite(self.pass.executor.program(), value, block).map_err(|e| e.in_step(self.steps.max(1)))?;
            }
        }
        Ok(())
    }
}

/// Copies a block, into the memory of an earlier copy if there is one.
fn copy<T: Float>(from: Option<&Block<T>>, to: &mut Option<Block<T>>) {
    match (from, to) {
        (Some(from), Some(to)) => to.data.clone_from(&from.data),
        (from, to) => *to = from.cloned(),
    }
}
