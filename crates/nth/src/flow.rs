//! Gradient flow of the network itself: what the truncated hierarchies approximate.

use std::cell::RefCell;

use netsor_finite::{FiniteError, Inputs, Options, Trainer};
use netsor_ir::network::Network;
use netsor_ir::program::ValueId;
use netsor_ir::verify::Verified;
use netsor_num::ode::{OdeOptions, OdeStatistics, solve};

use crate::kernels::n_examples;
use crate::{KernelOptions, NthError};

/// A network along gradient flow.
#[derive(Clone, Debug)]
pub struct NetworkPath {
    /// The times asked for.
    pub times: Vec<f64>,
    /// The output on all points at each time.
    pub f: Vec<Vec<f64>>,
    /// Data and parameters at each time, for [`crate::kernels_at`] with the same width.
    pub inputs: Vec<Inputs>,
    /// The work.
    pub statistics: OdeStatistics,
}

/// A network that can be moved along its gradient.
struct Mover {
    trainer: Trainer<f64>,
    /// Trained parameters and the number of their entries.
    parameters: Vec<(ValueId, usize)>,
    targets: Vec<f64>,
    n_examples: usize,
}

impl Mover {
    fn new(
        network: &Verified<Network>,
        inputs: &Inputs,
        targets: &[f64],
        options: &KernelOptions,
    ) -> Result<Self, NthError> {
        if network.outputs.len() != 1 {
            return Err(NthError::Outputs { found: network.outputs.len() });
        }
        let mut trainer = Trainer::new(network, inputs, Options::new(options.width, options.seed))?;
        let examples = n_examples(&network.program, network.outputs[0]);
        let n_examples = options.n_train(examples)?;
        let points = trainer.outputs()?[0].len();
        check_targets(targets, n_examples * (points / examples))?;
        let trained = network.parameters.iter().filter(|p| p.trained);
        let parameters = trained.map(|p| (p.value, trainer.parameter(p.value).len())).collect();
        Ok(Self { trainer, parameters, targets: targets.to_vec(), n_examples })
    }

    fn state(&self) -> Vec<f64> {
        self.parameters.iter().flat_map(|&(v, _)| self.trainer.parameter(v)).collect()
    }

    fn set(&mut self, mut state: &[f64]) -> Result<(), FiniteError> {
        for &(value, len) in &self.parameters {
            let (numbers, rest) = state.split_at(len);
            self.trainer.supply(value, numbers)?;
            state = rest;
        }
        Ok(())
    }

    fn f(&mut self) -> Result<Vec<f64>, FiniteError> {
        Ok(self.trainer.outputs()?.swap_remove(0))
    }

    /// A step of length `eta` along minus the gradient of `1/(2n) sum (f - y)^2`.
    fn step(&mut self, eta: f64) -> Result<(), FiniteError> {
        let f = self.f()?;
        let mut cotangents = vec![0.0; f.len()];
        for ((c, f), y) in cotangents.iter_mut().zip(&f).zip(&self.targets) {
            *c = (f - y) / self.n_examples as f64;
        }
        self.trainer.step(eta, &[cotangents])
    }

    /// `d theta / dt` at `theta`: the trainer takes a step of length 1, whose difference is exact to the rounding of
    /// the parameters themselves.
    fn slope(&mut self, theta: &[f64], slope: &mut [f64]) -> Result<(), FiniteError> {
        self.set(theta)?;
        self.step(1.0)?;
        for ((s, after), before) in slope.iter_mut().zip(self.state()).zip(theta) {
            *s = after - before;
        }
        Ok(())
    }
}

pub(crate) fn check_targets(targets: &[f64], expected: usize) -> Result<(), NthError> {
    if targets.len() != expected {
        return Err(NthError::Length { what: "the list of targets", expected, found: targets.len() });
    }
    match targets.iter().find(|y| !y.is_finite()) {
        Some(&found) => Err(NthError::Number { what: "a target", expected: "finite", found }),
        None => Ok(()),
    }
}

/// The network under gradient flow of `L = 1/(2n) sum (f - y)^2` over its first training examples, with every
/// parameter moving at its rate; `times` ascend from 0 or later.
///
/// The equation is solved in the parameters, so that nothing is approximated but time: the reference for
/// [`crate::Truncated`]. Steps at which a number overflows are shortened.
///
/// # Errors
/// Inputs or targets that do not fit; the solver gives up.
pub fn gradient_flow(
    network: &Verified<Network>,
    inputs: &Inputs,
    targets: &[f64],
    times: &[f64],
    options: &KernelOptions,
    ode: &OdeOptions,
) -> Result<NetworkPath, NthError> {
    let mover = Mover::new(network, inputs, targets, options)?;
    let start = mover.state();
    let mover = RefCell::new(mover);
    let rhs = |_: f64, theta: &[f64], slope: &mut [f64]| {
        if mover.borrow_mut().slope(theta, slope).is_err() {
            slope.fill(f64::NAN);
        }
    };
    let solution = solve(rhs, &start, times, ode)?;
    let mut mover = mover.into_inner();
    let mut path =
        NetworkPath { times: times.to_vec(), f: Vec::new(), inputs: Vec::new(), statistics: solution.statistics };
    for state in &solution.states {
        mover.set(state)?;
        path.f.push(mover.f()?);
        path.inputs.push(mover.trainer.resume(inputs.clone()));
    }
    Ok(path)
}

/// One step of gradient descent with learning rate `eta` on the same loss: the output after it, and data and
/// parameters.
///
/// # Errors
/// As [`gradient_flow`].
pub fn gradient_step(
    network: &Verified<Network>,
    inputs: &Inputs,
    targets: &[f64],
    eta: f64,
    options: &KernelOptions,
) -> Result<(Vec<f64>, Inputs), NthError> {
    let mut mover = Mover::new(network, inputs, targets, options)?;
    mover.step(eta)?;
    let f = mover.f()?;
    Ok((f, mover.trainer.resume(inputs.clone())))
}
