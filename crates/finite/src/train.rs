//! Stochastic gradient descent at finite width.
//!
//! The gradient of a parameter is a sum of outer products of adjoint and forward vectors, which `backprop` names and the
//! executor computes; a step is `W <- W - eta * rate(n) * dL/dW` with the rate of the parameter's
//! (a, b, c)-parametrization (Talk, "abc-parametrizations").

use std::borrow::Cow;
use std::ops::ControlFlow;

use netsor_ir::index::{Guard, Index, Indices, Truth};
use netsor_ir::network::Network;
use netsor_ir::number::{power_to_f64, to_f64};
use netsor_ir::program::{Dim, Program, ValueId};
use netsor_ir::transform::{Gradient, Seed, backprop};
use netsor_ir::verify::Verified;
use netsor_num::Real;

use crate::product::add_outer;
use crate::state::{locate, malformed};
use crate::{Executor, FiniteError, Float, Inputs, Loss, Options, State};

/// Most terms in the gradient of one use of a parameter.
const TERMS: usize = 1 << 24;

/// A network being trained: its parameters, and the program of its forward and backward pass.
#[derive(Clone, Debug)]
pub struct Trainer<T> {
    executor: Executor<'static, T>,
    state: State<T>,
    outputs: Vec<Output>,
    uses: Vec<Use>,
    trained: Vec<ValueId>,
    steps: usize,
}

#[derive(Clone, Debug)]
struct Output {
    value: ValueId,
    cotangent: ValueId,
    /// Positions of the first axis of its family, which count examples; 1 without a family.
    examples: usize,
}

/// One use of a parameter: its gradient is `factor` times the sum over `terms` of `rows * cols'`.
#[derive(Clone, Debug)]
struct Use {
    parameter: ValueId,
    rows: ValueId,
    cols: Option<ValueId>,
    /// The rate of the parameter times the normalisation of the adjoint.
    factor: f64,
    terms: Vec<Term>,
}

/// Members of the parameter, of the rows and of the columns.
#[derive(Clone, Copy, Debug)]
struct Term {
    parameter: usize,
    rows: usize,
    cols: usize,
}

impl<T: Float> Trainer<T> {
    /// A network at a width with drawn parameters, or with those that `inputs` supply; `inputs` also has the data.
    ///
    /// # Errors
    /// If the network has no backward pass, a width class has no whole number of coordinates at this width, or an input
    /// does not fit.
    pub fn new(network: &Verified<Network>, inputs: &Inputs, options: Options) -> Result<Self, FiniteError> {
        exact_dimensions(&network.program, options.width)?;
        let backprop = backprop(network, Seed::Cotangents)?;
        let program = backprop.program;
        let mut state = State::of(&program, inputs, &options)?;
        let mut uses = Vec::new();
        let mut outputs = Vec::new();
        for output in &backprop.outputs {
            let examples = program.family_sizes(output.output).first().copied().unwrap_or(1);
            if let Some(cotangent) = output.cotangent {
                outputs.push(Output { value: output.output, cotangent, examples });
            }
            for gradient in &output.gradients {
                let rate = network.parameter(gradient.parameter).map(|p| p.rate());
                let rate = rate
                    .map_or(0.0, |r| to_f64(&r.coefficient) * Real::powf(options.width as f64, power_to_f64(r.power)));
                uses.push(Use::new(&program, gradient, rate, options.width)?);
            }
        }
        let trained: Vec<ValueId> = network.parameters.iter().filter(|p| p.trained).map(|p| p.value).collect();
        let mut executor = Executor::of(Cow::Owned(program), options)?;
        executor.run(&mut state, &trained)?;
        Ok(Self { executor, state, outputs, uses, trained, steps: 0 })
    }

    /// Replaces data, for instance by the next batch.
    ///
    /// # Errors
    /// If the numbers do not fit or are not finite.
    pub fn supply(&mut self, data: ValueId, numbers: &[f64]) -> Result<(), FiniteError> {
        self.state.supply(self.executor.program(), data, numbers, self.executor.options())?;
        self.state.forget_computed(self.executor.program());
        Ok(())
    }

    /// The outputs for the present parameters and data, one vector an output: members one after the other.
    ///
    /// # Errors
    /// If a number is not finite or data are missing.
    pub fn outputs(&mut self) -> Result<Vec<Vec<f64>>, FiniteError> {
        let values: Vec<ValueId> = self.outputs.iter().map(|o| o.value).collect();
        self.executor.run(&mut self.state, &values).map_err(|e| e.in_step(self.steps))?;
        Ok(values.iter().map(|&v| self.state.numbers(v)).collect())
    }

    /// One step of gradient descent: `cotangents` are the derivatives of the loss in the outputs, in their layout.
    ///
    /// # Errors
    /// If a cotangent does not fit, or a number is not finite.
    pub fn step(&mut self, eta: f64, cotangents: &[Vec<f64>]) -> Result<(), FiniteError> {
        if cotangents.len() != self.outputs.len() {
            let (expected, found) = (self.outputs.len(), cotangents.len());
            return Err(FiniteError::Length { value: "the list of cotangents".into(), expected, found });
        }
        let (program, options) = (self.executor.program(), self.executor.options());
        for (output, cotangent) in self.outputs.iter().zip(cotangents) {
            self.state.supply(program, output.cotangent, cotangent, options).map_err(|e| e.in_step(self.steps))?;
        }
        let wanted: Vec<ValueId> = self.uses.iter().flat_map(|u| u.cols.into_iter().chain([u.rows])).collect();
        self.executor.run(&mut self.state, &wanted).map_err(|e| e.in_step(self.steps))?;
        // A vector of one gradient may be a parameter that another one changes: gather first, change then.
        let gathered: Vec<Vec<Outer<T>>> =
            self.uses.iter().map(|u| u.gather(self.executor.program(), &self.state)).collect::<Result<_, _>>()?;
        for (of, outers) in self.uses.iter().zip(gathered) {
            if let Some(block) = &mut self.state.blocks[of.parameter.index()] {
                for outer in outers {
                    outer.add_to(block.member_mut(outer.parameter), -eta * of.factor);
                }
            }
        }
        self.steps += 1;
        self.state.forget_computed(self.executor.program());
        Ok(())
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

    /// The numbers of a trained parameter, in the layout of [`Inputs`]; empty if it is none.
    pub fn parameter(&self, value: ValueId) -> Vec<f64> {
        if self.trained.contains(&value) { self.state.numbers(value) } else { Vec::new() }
    }

    /// `inputs` with the present numbers of the trained parameters: to go on later, or to ask for the tangent kernel.
    #[must_use]
    pub fn resume(&self, mut inputs: Inputs) -> Inputs {
        for &value in &self.trained {
            inputs.set(value, self.state.numbers(value));
        }
        inputs
    }
}

impl Use {
    fn new(program: &Program, gradient: &Gradient, rate: f64, width: usize) -> Result<Self, FiniteError> {
        let size = match gradient.normalisation {
            Some(dim @ Dim::Width(_)) => program.dim_size(dim, width) as f64,
            _ => 1.0,
        };
        let parameter = gradient.parameter;
        let mut terms = Vec::new();
        for assignment in assignments(program, gradient)? {
            // Every variable of the gradient has a position now.
            let at = |indices: &Indices| -> Indices {
                let position = |i: Index| gradient.variables.iter().position(|&(v, _)| v == i);
                indices.iter().map(|&i| position(i).map_or(i, |k| Index::At(assignment[k]))).collect()
            };
            let member = |value: ValueId, indices: &Indices| locate(program, parameter, value, &at(indices), &[]);
            terms.push(Term {
                parameter: member(parameter, &gradient.member)?,
                rows: member(gradient.rows.value, &gradient.rows.indices)?,
                cols: gradient.cols.as_ref().map_or(Ok(0), |c| member(c.value, &c.indices))?,
            });
        }
        terms.sort_by_key(|t| t.parameter);
        let cols = gradient.cols.as_ref().map(|c| c.value);
        Ok(Self { parameter, rows: gradient.rows.value, cols, factor: rate / size.sqrt(), terms })
    }

    /// The outer products, one a member of the parameter. Terms with a zero vector are left out, which makes a batch of
    /// few examples cheap.
    fn gather<T: Float>(&self, program: &Program, state: &State<T>) -> Result<Vec<Outer<T>>, FiniteError> {
        let rows = state.operand(program, self.parameter, self.rows)?;
        let cols = self.cols.map(|c| state.operand(program, self.parameter, c)).transpose()?;
        let mut outers: Vec<Outer<T>> = Vec::new();
        let zero = |x: &[T]| x.iter().all(|x| x.wide() == 0.0);
        for term in &self.terms {
            let (row, col) = (rows.member(term.rows), cols.map(|c| c.member(term.cols)));
            if zero(row) || col.is_some_and(zero) {
                continue;
            }
            if outers.last().is_none_or(|o| o.parameter != term.parameter) {
                outers.push(Outer { parameter: term.parameter, n: 0, rows: Vec::new(), cols: Vec::new() });
            }
            if let Some(outer) = outers.last_mut() {
                outer.n += 1;
                outer.rows.extend_from_slice(row);
                // A vector parameter is a matrix of one column.
                outer.cols.extend_from_slice(col.unwrap_or(&[T::of(1.0)]));
            }
        }
        Ok(outers)
    }
}

/// `rows * cols'` with `n` columns each, for one member of a parameter.
struct Outer<T> {
    parameter: usize,
    n: usize,
    rows: Vec<T>,
    cols: Vec<T>,
}

impl<T: Float> Outer<T> {
    fn add_to(&self, target: &mut [T], factor: f64) {
        add_outer(target, &self.rows, &self.cols, self.n, factor);
    }
}

/// The positions of the summed variables of a gradient that its guards admit.
fn assignments(program: &Program, gradient: &Gradient) -> Result<Vec<Vec<u32>>, FiniteError> {
    let sizes: Vec<u32> = gradient.variables.iter().map(|&(_, axis)| program.axis_size(axis)).collect();
    let total = sizes.iter().try_fold(1usize, |t, &s| t.checked_mul(s as usize)).filter(|t| *t <= TERMS);
    let Some(total) = total else {
        let elements = sizes.iter().map(|&s| f64::from(s)).product();
        let value = program.value(gradient.parameter).name.clone();
        return Err(FiniteError::TooLarge { value, elements, limit: TERMS });
    };
    let sizes: Vec<usize> = sizes.into_iter().map(|s| s as usize).collect();
    let mut admitted = Vec::new();
    for number in 0..total {
        let positions = crate::state::positions(&sizes, number);
        let holds = |guard: &Guard| {
            let position = |i: Index| gradient.variables.iter().position(|&(v, _)| v == i);
            guard.map(|i| position(i).map_or(i, |k| Index::At(positions[k]))).truth()
        };
        let mut all = true;
        for guard in &gradient.guards {
            match holds(guard) {
                Truth::Always => {}
                Truth::Never => all = false,
                Truth::Depends => return Err(malformed(program, gradient.parameter, "its gradient has a free index")),
            }
        }
        if all {
            admitted.push(positions);
        }
    }
    Ok(admitted)
}

/// Refuses widths at which a width class has no whole number of coordinates: the powers of `n` in adjoints are exact.
pub(crate) fn exact_dimensions(program: &Program, width: usize) -> Result<(), FiniteError> {
    if width == 0 {
        return Err(FiniteError::ZeroWidth);
    }
    for class in &program.classes {
        let size = &class.ratio * netsor_ir::number::integer(width as i64);
        if !size.is_integer() {
            let class = class.name.clone();
            return Err(FiniteError::FractionalDimension { class, width, size: to_f64(&size) });
        }
    }
    Ok(())
}

/// The learning rate of a step, before the rates of the parameters.
#[derive(Clone, Debug, PartialEq)]
pub enum Rate {
    /// The same in every step.
    Constant(f64),
    /// One a step; the last one goes on.
    Schedule(Vec<f64>),
}

impl Rate {
    fn at(&self, step: usize) -> f64 {
        match self {
            Self::Constant(eta) => *eta,
            Self::Schedule(etas) => etas.get(step).or(etas.last()).copied().unwrap_or(0.0),
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

/// A training run.
#[derive(Clone, Debug)]
pub struct Training<'a> {
    /// The loss of one member of an output; a batch has the sum over its members, and the sum over outputs.
    pub loss: Loss<'a>,
    /// The targets of each output, in its layout.
    pub targets: Vec<Vec<f64>>,
    /// The learning rate.
    pub rate: Rate,
    /// The order of examples.
    pub order: Order,
    /// Number of steps.
    pub steps: usize,
}

/// What is seen before a step, and after the last one.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Steps taken.
    pub step: usize,
    /// The loss over all members of all outputs, whatever the batches.
    pub loss: f64,
    /// The outputs.
    pub outputs: Vec<Vec<f64>>,
}

/// A finished or interrupted training run.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct History {
    /// One entry before each step and one at the end.
    pub snapshots: Vec<Snapshot>,
}

/// Trains a network that has been set up, and records its outputs; `observe` sees each snapshot and may stop.
///
/// # Errors
/// If targets, rates or batches do not fit the network, or training diverges ([`FiniteError::NotFinite`] with the step).
pub fn train<T: Float>(
    trainer: &mut Trainer<T>,
    training: &Training<'_>,
    observe: &mut dyn FnMut(&Snapshot) -> ControlFlow<()>,
) -> Result<History, FiniteError> {
    let mut history = History::default();
    training.check(trainer)?;
    for step in 0..=training.steps {
        let outputs = trainer.outputs()?;
        let (loss, mut cotangents) = training.loss_and_cotangents(&outputs, trainer)?;
        let snapshot = Snapshot { step: trainer.steps(), loss, outputs };
        let flow = observe(&snapshot);
        history.snapshots.push(snapshot);
        if step == training.steps || flow.is_break() {
            break;
        }
        training.restrict(&mut cotangents, trainer);
        trainer.step(training.rate.at(trainer.steps()), &cotangents)?;
    }
    Ok(history)
}

impl Training<'_> {
    fn check<T: Float>(&self, trainer: &Trainer<T>) -> Result<(), FiniteError> {
        let etas: &[f64] = match &self.rate {
            Rate::Constant(eta) => &[*eta],
            Rate::Schedule(etas) => etas,
        };
        if etas.is_empty() {
            let (what, expected) = ("the number of learning rates", "at least 1");
            return Err(FiniteError::Option { what, expected, found: 0.0 });
        }
        if let Some(&found) = etas.iter().find(|eta| !eta.is_finite()) {
            return Err(FiniteError::Option { what: "the learning rate", expected: "finite", found });
        }
        let examples = trainer.outputs.iter().map(|o| o.examples).max().unwrap_or(0);
        if let Order::Batches(batches) = &self.order {
            if batches.is_empty() {
                let (what, expected) = ("the number of batches", "at least 1");
                return Err(FiniteError::Option { what, expected, found: 0.0 });
            }
            if let Some(&bad) = batches.iter().flatten().find(|e| examples <= **e) {
                let (what, expected) = ("an example of a batch", "a position on the first axis of the outputs");
                return Err(FiniteError::Option { what, expected, found: bad as f64 });
            }
        }
        if self.targets.len() != trainer.outputs.len() {
            let (expected, found) = (trainer.outputs.len(), self.targets.len());
            return Err(FiniteError::Length { value: "the list of targets".into(), expected, found });
        }
        self.targets.iter().flatten().try_for_each(|&y| self.loss.check_target(y))
    }

    /// The loss of all members, and its derivatives in the outputs.
    fn loss_and_cotangents<T: Float>(
        &self,
        outputs: &[Vec<f64>],
        trainer: &Trainer<T>,
    ) -> Result<(f64, Vec<Vec<f64>>), FiniteError> {
        let mut total = 0.0;
        let mut cotangents = Vec::new();
        for ((f, y), output) in outputs.iter().zip(&self.targets).zip(&trainer.outputs) {
            if f.len() != y.len() {
                let value = format!("the targets of {}", trainer.executor.program().value(output.value).name);
                return Err(FiniteError::Length { value, expected: f.len(), found: y.len() });
            }
            let components = trainer.state.block(output.value).map_or(1, |b| b.rows).max(1);
            let mut cotangent = vec![0.0; f.len()];
            for ((f, y), g) in f.chunks(components).zip(y.chunks(components)).zip(cotangent.chunks_mut(components)) {
                total += self.loss.eval(f, y, g);
            }
            cotangents.push(cotangent);
        }
        Ok((total, cotangents))
    }

    /// Sets the cotangents of examples outside the step's batch to zero; an example that occurs twice counts twice.
    fn restrict<T: Float>(&self, cotangents: &mut [Vec<f64>], trainer: &Trainer<T>) {
        let Order::Batches(batches) = &self.order else { return };
        let batch = &batches[trainer.steps() % batches.len()];
        for (cotangent, output) in cotangents.iter_mut().zip(&trainer.outputs) {
            let each = (cotangent.len() / output.examples.max(1)).max(1);
            for (example, part) in cotangent.chunks_mut(each).enumerate() {
                let count = batch.iter().filter(|e| **e == example).count();
                part.iter_mut().for_each(|c| *c = if count == 0 { 0.0 } else { *c * count as f64 });
            }
        }
    }
}
