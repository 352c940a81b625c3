//! The empirical tangent kernel: `<grad f, grad f'>` of a network as it is, from moments of forward and adjoint vectors.

use netsor_ir::network::Network;
use netsor_ir::program::ValueId;
use netsor_ir::transform::kernels;
use netsor_ir::verify::Verified;

use crate::execute::execute_unverified;
use crate::gradient::exact_dimensions;
use crate::{FiniteError, Float, Inputs, Options};

/// The tangent kernel of one output.
#[derive(Clone, Debug, PartialEq)]
pub struct EmpiricalKernel {
    /// The output.
    pub output: ValueId,
    /// Rows and columns: members of the output times its components, the last index fastest.
    pub size: usize,
    /// The kernel by rows, summed over the trained parameters with their rates.
    pub ntk: Vec<f64>,
    /// The share of each trained parameter.
    pub parts: Vec<(ValueId, Vec<f64>)>,
    /// The output itself.
    pub f: Vec<f64>,
}

/// The tangent kernels of a network, one an output: with drawn parameters, or with those that `inputs` supply.
///
/// # Errors
/// If the network has no backward pass, or as for [`crate::execute()`].
pub fn empirical_kernel<T: Float>(
    network: &Verified<Network>,
    inputs: &Inputs,
    options: &Options,
) -> Result<Vec<EmpiricalKernel>, FiniteError> {
    exact_dimensions(&network.program, options.width)?;
    let kernels = kernels(network)?;
    let wanted: Vec<ValueId> =
        kernels.outputs.iter().flat_map(|o| o.ntk_parts.values().copied().chain([o.ntk, o.output])).collect();
    let state = execute_unverified::<T>(&kernels.program, inputs, &wanted, options)?;
    let of_output = |o: &netsor_ir::transform::kernels::OutputKernels| {
        let f = state.numbers(o.output);
        let parts = o.ntk_parts.iter().map(|(&parameter, &part)| (parameter, state.numbers(part))).collect();
        EmpiricalKernel { output: o.output, size: f.len(), ntk: state.numbers(o.ntk), parts, f }
    };
    Ok(kernels.outputs.iter().map(of_output).collect())
}
