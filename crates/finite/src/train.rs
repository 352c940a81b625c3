//! Training on data that are all in the program: losses, targets, schedules and the order of examples.

use std::ops::ControlFlow;

use crate::{FiniteError, Float, Loss, Order, Rate, Trainer};

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
/// If targets, rates or batches do not fit the network, or training diverges ([`FiniteError::Diverged`]).
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
    /// One step.
    pub(crate) fn step<T: Float>(&self, trainer: &mut Trainer<T>) -> Result<(), FiniteError> {
        let eta = self.rate.at(trainer.steps());
        trainer.step_with(eta, &mut |trainer, outputs, cotangents| {
            self.loss_into(outputs, trainer, cotangents)?;
            self.restrict(cotangents, trainer);
            Ok(())
        })
    }

    /// Number of different batches.
    pub(crate) fn n_batches(&self) -> usize {
        match &self.order {
            Order::All => 1,
            Order::Batches(batches) => batches.len(),
        }
    }

    pub(crate) fn check<T: Float>(&self, trainer: &Trainer<T>) -> Result<(), FiniteError> {
        self.rate.check()?;
        let outputs = trainer.output_list();
        let examples = outputs.iter().map(|o| o.examples).max().unwrap_or(0);
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
        if self.targets.len() != outputs.len() {
            let (expected, found) = (outputs.len(), self.targets.len());
            return Err(FiniteError::Length { value: "the list of targets".into(), expected, found });
        }
        self.targets.iter().flatten().try_for_each(|&y| self.loss.check_target(y))
    }

    /// The loss of all members, and its derivatives in the outputs.
    pub(crate) fn loss_and_cotangents<T: Float>(
        &self,
        outputs: &[Vec<f64>],
        trainer: &Trainer<T>,
    ) -> Result<(f64, Vec<Vec<f64>>), FiniteError> {
        let mut cotangents: Vec<Vec<f64>> = outputs.iter().map(|f| vec![0.0; f.len()]).collect();
        let loss = self.loss_into(outputs, trainer, &mut cotangents)?;
        Ok((loss, cotangents))
    }

    /// The same with memory for the derivatives.
    fn loss_into<T: Float>(
        &self,
        outputs: &[Vec<f64>],
        trainer: &Trainer<T>,
        cotangents: &mut [Vec<f64>],
    ) -> Result<f64, FiniteError> {
        let mut total = 0.0;
        let targets = self.targets.iter().zip(trainer.output_list());
        for ((f, cotangent), (y, output)) in outputs.iter().zip(cotangents).zip(targets) {
            if f.len() != y.len() {
                let value = format!("the targets of {}", trainer.network().program.value(output.value).name);
                return Err(FiniteError::Length { value, expected: f.len(), found: y.len() });
            }
            let k = output.components;
            for ((f, y), g) in f.chunks(k).zip(y.chunks(k)).zip(cotangent.chunks_mut(k)) {
                total += self.loss.eval(f, y, g);
            }
        }
        Ok(total)
    }

    /// Sets the cotangents of examples outside the step's batch to zero; an example that occurs twice counts twice.
    pub(crate) fn restrict<T: Float>(&self, cotangents: &mut [Vec<f64>], trainer: &Trainer<T>) {
        let Order::Batches(batches) = &self.order else { return };
        let batch = &batches[trainer.steps() % batches.len()];
        for (cotangent, output) in cotangents.iter_mut().zip(trainer.output_list()) {
            let each = (cotangent.len() / output.examples.max(1)).max(1);
            for (example, part) in cotangent.chunks_mut(each).enumerate() {
                let count = batch.iter().filter(|e| **e == example).count();
                part.iter_mut().for_each(|c| *c = if count == 0 { 0.0 } else { *c * count as f64 });
            }
        }
    }
}
