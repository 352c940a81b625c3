//! The limiting kernels of a network on a batch, as matrices.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use netsor_ir::number::from_f64;
use netsor_ir::transform::kernels;
use netsor_ir::{Program, ValueId};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance, Value};
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

/// `E x y` for pairs of members of vector families of a program, each a value and its indices, with the errors that the
/// engine states.
///
/// # Errors
/// What the engine says.
pub(super) fn second_moments(
    program: &Program,
    data: &Data,
    pairs: &[(Member, Member)],
    asked: Tolerance,
) -> Result<Vec<Value>, Trouble> {
    let mut deriver = Deriver::new(program);
    let mut exprs = BTreeMap::new();
    for ((a, _), (b, _)) in pairs {
        if let Entry::Vacant(entry) = exprs.entry((*a, *b)) {
            entry.insert(deriver.second_moment(*a, *b).map_err(Trouble::failed)?);
        }
    }
    let graph = deriver.into_graph();
    let mut evaluator = Evaluator::new(&graph, program, data, asked).map_err(Trouble::failed)?;
    let mut value = |((a, at), (b, there)): &(Member, Member)| {
        let at: Vec<u32> = at.iter().chain(there).copied().collect();
        evaluator.value(exprs[&(*a, *b)], &at).map_err(Trouble::failed)
    };
    pairs.iter().map(&mut value).collect()
}

/// A member of a family: the value and its indices.
pub(super) type Member = (ValueId, Vec<u32>);

/// All pairs of members, row after row.
pub(super) fn all_pairs(members: &[Member]) -> Vec<(Member, Member)> {
    members.iter().flat_map(|a| members.iter().map(move |b| (a.clone(), b.clone()))).collect()
}

/// Takes the gradient with respect to weights that are drawn with their variance, as NTK4A does, instead of standard
/// normal ones with the deviation in front: `variance(name)` is that of the parameter called `name`.
///
/// # Errors
/// If a variance is not finite.
pub(super) fn with_variance(network: &mut Network, variance: impl Fn(&str) -> f64) -> Result<(), Trouble> {
    for parameter in &mut network.parameters {
        let variance = variance(&network.program.value(parameter.value).name);
        if variance != 0.0 {
            let exact = from_f64(variance).ok_or_else(|| Trouble::not_covered("a variance is not finite"))?;
            parameter.multiplier_squared = &parameter.multiplier_squared / exact;
        }
    }
    Ok(())
}

/// The value called `name`.
///
/// # Errors
/// If there is none.
pub(super) fn find(program: &Program, name: &str) -> Result<ValueId, Trouble> {
    program.find(name).ok_or_else(|| Trouble::failed(format!("the network has no value `{name}`")))
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
