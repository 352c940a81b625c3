//! Gradient flow: training with infinitely short steps, by an adaptive integrator in the parameters.

use netsor_num::ode::{OdeOptions, OdeStatistics, solve};

use crate::{FiniteError, Float, Rate, Snapshot, Trainer, Training};

/// A network along gradient flow.
#[derive(Clone, Debug, PartialEq)]
pub struct FlowPath {
    /// The times.
    pub times: Vec<f64>,
    /// Loss and outputs at each time; `step` counts the times.
    pub snapshots: Vec<Snapshot>,
    /// The work.
    pub statistics: OdeStatistics,
}

/// Moves a network along `dw/dt = -eta n^-c dL/dw` to the given times, which ascend from 0 or later; it stays where it
/// is at the last one.
///
/// Of `training`, the loss, the targets, a constant rate and the examples count: all of them, or those of a single
/// batch. The optimiser is not asked. Memory: some ten times that of the parameters. In single precision the rounding of
/// parameters is an error that the integrator meets in every step: ask for tolerances of `1e-5` or more.
///
/// # Errors
/// If targets or examples do not fit, the rate is not constant, or the integrator gives up
/// ([`FiniteError::Ode`], or the error of the network that made it give up).
pub fn gradient_flow<T: Float>(
    trainer: &mut Trainer<T>,
    training: &Training<'_>,
    times: &[f64],
    options: &OdeOptions,
) -> Result<FlowPath, FiniteError> {
    training.check(trainer)?;
    let Rate::Constant(eta) = training.rate else {
        return Err(FiniteError::Option { what: "the rate of a flow", expected: "constant", found: f64::NAN });
    };
    if 1 < training.n_batches() {
        let (what, expected) = ("the number of batches of a flow", "1");
        return Err(FiniteError::Option { what, expected, found: training.n_batches() as f64 });
    }
    let parameters: Vec<_> = trainer.trained().collect();
    let start: Vec<f64> = parameters.iter().flat_map(|&p| trainer.parameter(p)).collect();
    let steps = trainer.steps();
    trainer.set_steps(0);
    let mut failure = None;
    let slope = |_: f64, state: &[f64], slope: &mut [f64]| {
        if let Err(error) = velocity(trainer, training, eta, state, slope) {
            // The step is tried again with a shorter one.
            slope.fill(f64::NAN);
            failure = Some(error);
        }
    };
    let solution = solve(slope, &start, times, options);
    let solution = solution.map_err(|e| failure.unwrap_or(FiniteError::Ode(e)));
    trainer.set_steps(steps);
    let solution = solution?;
    let mut snapshots = Vec::new();
    for (step, state) in solution.states.iter().enumerate() {
        place(trainer, state)?;
        let outputs = trainer.outputs()?;
        let (loss, _) = training.loss_and_cotangents(&outputs, trainer)?;
        snapshots.push(Snapshot { step, loss, outputs });
    }
    Ok(FlowPath { times: solution.times, snapshots, statistics: solution.statistics })
}

/// `dW/dt = -eta n^-c s^2 dL/dW` at the parameters `state`.
fn velocity<T: Float>(
    trainer: &mut Trainer<T>,
    training: &Training<'_>,
    eta: f64,
    state: &[f64],
    slope: &mut [f64],
) -> Result<(), FiniteError> {
    place(trainer, state)?;
    let outputs = trainer.outputs()?;
    let (_, mut cotangents) = training.loss_and_cotangents(&outputs, trainer)?;
    training.restrict(&mut cotangents, trainer);
    let mut rest = slope;
    for (parameter, gradient) in trainer.gradients(&cotangents)? {
        let (own, later) = rest.split_at_mut(gradient.len());
        let factor = trainer.scales(parameter).map_or(0.0, |s| -eta * s.eta * s.multiplier);
        own.iter_mut().zip(gradient).for_each(|(d, g)| *d = factor * g);
        rest = later;
    }
    Ok(())
}

/// Puts the parameters where `state` says.
fn place<T: Float>(trainer: &mut Trainer<T>, state: &[f64]) -> Result<(), FiniteError> {
    let parameters: Vec<_> = trainer.trained().collect();
    let mut rest = state;
    for parameter in parameters {
        let (own, later) = rest.split_at(trainer.len_of(parameter));
        trainer.set_parameter(parameter, own)?;
        rest = later;
    }
    Ok(())
}
