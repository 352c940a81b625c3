//! Empirical kernels of a network as it is: `<grad f, grad f'>` and the covariance of its readout, from moments of
//! forward and adjoint vectors. No Jacobian is formed.

use std::borrow::Cow;

use netsor_ir::network::Network;
use netsor_ir::program::ValueId;
use netsor_ir::transform::kernels::OutputKernels;
use netsor_ir::transform::{Kernels, hoist, kernels};
use netsor_ir::verify::Verified;
use rayon::prelude::*;

use crate::gradient::exact_dimensions;
use crate::{Executor, FiniteError, Float, Inputs, Options, State, Trainer};

/// The kernels of one output.
#[derive(Clone, Debug, PartialEq)]
pub struct EmpiricalKernel {
    /// The output.
    pub output: ValueId,
    /// Rows and columns: members of the output times its components, the last index fastest.
    pub size: usize,
    /// The tangent kernel by rows, summed over the trained parameters with their rates.
    pub ntk: Vec<f64>,
    /// The share of each trained parameter.
    pub parts: Vec<(ValueId, Vec<f64>)>,
    /// The covariance of the output over draws of the readout, given everything else; `None` if the output is no sum
    /// of readouts.
    pub nngp: Option<Vec<f64>>,
    /// The output itself.
    pub f: Vec<f64>,
}

/// Empirical kernels at any time: compiled once, evaluated for the parameters and data of a [`Trainer`], or for drawn
/// ones.
#[derive(Clone, Debug)]
pub struct KernelExecutor<T> {
    executor: Executor<'static, T>,
    outputs: Vec<OutputKernels>,
    state: State<T>,
}

impl<T: Float> KernelExecutor<T> {
    /// Prepares the kernels of a network.
    ///
    /// # Errors
    /// If the network has no backward pass, or a width class has no whole number of coordinates.
    pub fn new(network: &Network, options: &Options) -> Result<Self, FiniteError> {
        exact_dimensions(&network.program, options.width)?;
        let Kernels { program, mut outputs, .. } = kernels(network)?;
        // phi' mentions phi: the backward pass takes its values from the forward pass.
        let (program, places) = hoist(&program, network.program.values.len());
        for output in &mut outputs {
            let scalars = output.ntk_parts.values_mut().chain([&mut output.ntk]).chain(&mut output.nngp);
            scalars.for_each(|scalar| *scalar = places[scalar.index()]);
        }
        let state = State::of(&program, &Inputs::new(), options)?;
        Ok(Self { executor: Executor::of(Cow::Owned(program), options.clone())?, outputs, state })
    }

    /// The kernels for what `inputs` supply; everything else is drawn.
    ///
    /// # Errors
    /// As for [`crate::execute()`].
    pub fn drawn(&mut self, inputs: &Inputs) -> Result<Vec<EmpiricalKernel>, FiniteError> {
        self.state.renew(self.executor.program(), inputs, self.executor.options())?;
        self.kernels()
    }

    /// The kernels for the present parameters and data of a trainer of the same network, whose blocks are lent and not
    /// copied.
    ///
    /// # Errors
    /// If the trainer is of another width, or as for [`crate::execute()`].
    pub fn of_trainer(&mut self, trainer: &mut Trainer<T>) -> Result<Vec<EmpiricalKernel>, FiniteError> {
        if trainer.options().width != self.executor.options().width {
            let (what, found) = ("the width of the trainer", trainer.options().width as f64);
            return Err(FiniteError::Option { what, expected: "that of the kernels", found });
        }
        let initial = trainer.initial_values();
        trainer.values(&initial)?;
        self.state.forget_computed(self.executor.program());
        self.exchange(trainer, &initial);
        let result = self.kernels();
        self.exchange(trainer, &initial);
        result
    }

    /// Exchanges blocks with a trainer.
    fn exchange(&mut self, trainer: &mut Trainer<T>, initial: &[ValueId]) {
        let other = trainer.state();
        for k in initial.iter().map(|id| id.index()) {
            std::mem::swap(&mut self.state.blocks[k], &mut other.blocks[k]);
            std::mem::swap(&mut self.state.valid[k], &mut other.valid[k]);
            std::mem::swap(&mut self.state.given[k], &mut other.given[k]);
        }
    }

    fn kernels(&mut self) -> Result<Vec<EmpiricalKernel>, FiniteError> {
        let of = |o: &OutputKernels| o.ntk_parts.values().copied().chain([o.ntk, o.output]).chain(o.nngp).collect();
        let wanted: Vec<Vec<ValueId>> = self.outputs.iter().map(of).collect();
        self.executor.run(&mut self.state, &wanted.concat())?;
        let state = &self.state;
        let of_output = |o: &OutputKernels| {
            let f = state.numbers(o.output);
            let parts = o.ntk_parts.iter().map(|(&parameter, &part)| (parameter, state.numbers(part))).collect();
            let nngp = o.nngp.map(|nngp| state.numbers(nngp));
            EmpiricalKernel { output: o.output, size: f.len(), ntk: state.numbers(o.ntk), parts, nngp, f }
        };
        Ok(self.outputs.iter().map(of_output).collect())
    }
}

/// The kernels of a network, one an output: with drawn parameters, or with those that `inputs` supply.
///
/// # Errors
/// If the network has no backward pass, or as for [`crate::execute()`].
pub fn empirical_kernel<T: Float>(
    network: &Verified<Network>,
    inputs: &Inputs,
    options: &Options,
) -> Result<Vec<EmpiricalKernel>, FiniteError> {
    KernelExecutor::<T>::new(network, options)?.drawn(inputs)
}

/// The mean of a kernel over independent draws of the parameters, entry by entry, and its standard error.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanKernel {
    /// Mean over the draws.
    pub mean: Vec<f64>,
    /// Standard error of the mean; NaN for a single draw.
    pub standard_error: Vec<f64>,
}

/// The means of the empirical kernels of the first output.
#[derive(Clone, Debug, PartialEq)]
pub struct MeanKernels {
    /// Number of draws.
    pub draws: usize,
    /// Rows and columns.
    pub size: usize,
    /// The tangent kernel.
    pub ntk: MeanKernel,
    /// The shares of the trained parameters.
    pub parts: Vec<(ValueId, MeanKernel)>,
    /// The readout covariance, if there is one.
    pub nngp: Option<MeanKernel>,
}

/// Averages the kernels of the first output over `draws` draws, whose seeds are `options.seed`, `options.seed + 1`, ...
///
/// # Errors
/// If there are no draws, or as for [`empirical_kernel`].
pub fn mean_kernels<T: Float>(
    network: &Verified<Network>,
    inputs: &Inputs,
    options: &Options,
    draws: usize,
) -> Result<MeanKernels, FiniteError> {
    if draws == 0 {
        return Err(FiniteError::Option { what: "the number of draws", expected: "at least 1", found: 0.0 });
    }
    let draw = |k: usize| {
        let options = Options { seed: options.seed.wrapping_add(k as u64), ..options.clone() };
        empirical_kernel::<T>(network, inputs, &options).map(|mut kernels| kernels.swap_remove(0))
    };
    let all: Vec<EmpiricalKernel> = (0..draws).into_par_iter().map(draw).collect::<Result<_, _>>()?;
    Ok(MeanKernels::of(&all))
}

impl MeanKernels {
    /// The averages of the kernels of one output and network, one a draw; all empty without draws.
    pub fn of(draws: &[EmpiricalKernel]) -> Self {
        let ntk: Vec<&[f64]> = draws.iter().map(|k| &k.ntk[..]).collect();
        let part = |at: usize| {
            let of: Vec<&[f64]> = draws.iter().map(|k| &k.parts[at].1[..]).collect();
            (draws[0].parts[at].0, mean(&of))
        };
        let nngp: Option<Vec<&[f64]>> = draws.iter().map(|k| k.nngp.as_deref()).collect();
        let parts = (0..draws.first().map_or(0, |k| k.parts.len())).map(part).collect();
        let size = draws.first().map_or(0, |k| k.size);
        Self { draws: draws.len(), size, ntk: mean(&ntk), parts, nngp: nngp.map(|of| mean(&of)) }
    }
}

/// Mean and standard error of each entry.
fn mean(draws: &[&[f64]]) -> MeanKernel {
    let count = draws.len() as f64;
    let entries = draws.first().map_or(0, |d| d.len());
    let mean: Vec<f64> = (0..entries).map(|k| draws.iter().map(|d| d[k]).sum::<f64>() / count).collect();
    let error = |k: usize| {
        let squares: f64 = draws.iter().map(|d| (d[k] - mean[k]).powi(2)).sum();
        (squares / (count - 1.0) / count).sqrt()
    };
    let standard_error = (0..entries).map(error).collect();
    MeanKernel { mean, standard_error }
}
