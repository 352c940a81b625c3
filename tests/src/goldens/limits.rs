//! The limiting kernels of a network on a batch, as matrices.

use std::collections::BTreeMap;

use netsor_ir::ValueId;
use netsor_ir::transform::kernels;
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};
use netsor_zoo::Network;

use super::Trouble;

/// Kernels of the first output, by rows.
pub struct LimitKernels {
    /// The covariance of the output at initialisation.
    pub nngp: Vec<f64>,
    /// The tangent kernel.
    pub ntk: Vec<f64>,
    /// The share of each trained parameter.
    pub parts: BTreeMap<ValueId, Vec<f64>>,
}

/// The tolerance that asks `absolute` of every integral, with work that ends in seconds.
pub fn asked(absolute: f64) -> Tolerance {
    Tolerance { absolute, relative: 0.0, max_points: 1 << 20, ..Tolerance::default() }
}

/// The kernels of a network with one output `f[i]` on the inputs in `data`, whose values have the ids of the network.
///
/// # Errors
/// What the transform or the engine say.
pub fn limit_kernels(network: &Network, data: &Data, asked: Tolerance) -> Result<LimitKernels, Trouble> {
    let kernels = kernels(network).map_err(Trouble::failed)?;
    let output = kernels.outputs.first().ok_or_else(|| Trouble::failed("the network has no output"))?;
    let program = &kernels.program;
    let inputs = output.indices.first().map_or(1, |(_, axis)| program.axis_size(*axis));
    if output.indices.iter().skip(1).any(|(_, axis)| program.axis_size(*axis) != 1) {
        return Err(Trouble::failed("the output has more indices than the inputs"));
    }
    let mut deriver = Deriver::new(program);
    let mut derive = |id: ValueId| deriver.scalar(id).map_err(Trouble::failed);
    let reason = || {
        let reason = output.nngp_reason.as_ref().map(ToString::to_string);
        Trouble::failed(reason.unwrap_or_else(|| "the output has no NNGP kernel".into()))
    };
    let nngp = derive(output.nngp.ok_or_else(reason)?)?;
    let ntk = derive(output.ntk)?;
    let parts =
        output.ntk_parts.iter().map(|(&p, &part)| Ok((p, derive(part)?))).collect::<Result<Vec<_>, Trouble>>()?;
    let graph = deriver.into_graph();
    let mut evaluator = Evaluator::new(&graph, program, data, asked).map_err(Trouble::failed)?;
    let further = vec![0; output.indices.len().saturating_sub(1)];
    let mut matrix = |expr| -> Result<Vec<f64>, Trouble> {
        let mut entries = Vec::new();
        for i in 0..inputs {
            for j in 0..inputs {
                let at: Vec<u32> = [i].into_iter().chain(further.iter().copied()).collect();
                let at: Vec<u32> = at.into_iter().chain([j]).chain(further.iter().copied()).collect();
                entries.push(evaluator.value(expr, &at).map_err(Trouble::failed)?.value);
            }
        }
        Ok(entries)
    };
    let (nngp, ntk) = (matrix(nngp)?, matrix(ntk)?);
    let parts = parts.into_iter().map(|(p, part)| Ok((p, matrix(part)?))).collect::<Result<_, Trouble>>()?;
    Ok(LimitKernels { nngp, ntk, parts })
}
