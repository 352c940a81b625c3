//! The kernels of a network: those of every output, and on request those between every two.

use std::collections::BTreeMap;

use netsor_ir::transform::{joint_kernels, kernels};
use netsor_ir::{Network, ValueId};
use netsor_limit::independence::Counterexample;
use netsor_limit::{Deriver, Tolerance};

use super::independence;
use super::numbers::{Missing, Number, Of, Wanted, evaluate};

/// NNGP and tangent kernel of every output, with the share of each parameter; with `joint`, between every two outputs,
/// too. A kernel without a limit is named among `missing`.
pub(super) fn network_kernels(
    network: &Network,
    given: &[(ValueId, Vec<f64>)],
    joint: bool,
    missing: &mut Vec<Missing>,
    tolerance: Tolerance,
) -> anyhow::Result<(Vec<Number>, Option<Counterexample>)> {
    let kernels = if joint { joint_kernels(network)? } else { kernels(network)? };
    let program = &kernels.program;
    let name = |id: ValueId| program.value(id).name.as_str();
    let mut deriver = Deriver::new(program);
    let mut wanted = Vec::new();
    let mut add = |label: String, id: ValueId, symmetric: bool, missing: &mut Vec<Missing>| match deriver.scalar(id) {
        Ok(expr) => {
            let (sizes, of) = (program.family_sizes(id), Some(Of::Scalar(id)));
            wanted.push(Wanted { name: label, expr, sizes, of, symmetric });
        }
        Err(error) => missing.push(Missing::new(&label, &error.into())),
    };
    let mut all = |suffix: &str,
                   (nngp, reason): (Option<ValueId>, Option<String>),
                   (ntk, parts): (ValueId, &BTreeMap<ValueId, ValueId>),
                   symmetric: bool| {
        if let Some(nngp) = nngp {
            add(format!("NNGP{suffix}"), nngp, symmetric, missing);
        } else if let Some(reason) = reason {
            missing.push(Missing { name: format!("NNGP{suffix}"), at: Vec::new(), reason, domain: false });
        }
        add(format!("NTK{suffix}"), ntk, symmetric, missing);
        for (&parameter, &part) in parts {
            add(format!("NTK from {}{suffix}", name(parameter)), part, symmetric, missing);
        }
    };
    for output in &kernels.outputs {
        let suffix = if kernels.outputs.len() == 1 { String::new() } else { format!(" of {}", name(output.output)) };
        let reason = output.nngp_reason.as_ref().map(ToString::to_string);
        all(&suffix, (output.nngp, reason), (output.ntk, &output.ntk_parts), true);
    }
    for pair in &kernels.between {
        let suffix = format!(" between {} and {}", name(pair.outputs.0), name(pair.outputs.1));
        let reason = pair.nngp_reason.as_ref().map(ToString::to_string);
        all(&suffix, (pair.nngp, reason), (pair.ntk, &pair.ntk_parts), false);
    }
    let returns = deriver.has_returns();
    let mut found = evaluate(deriver, program, given, &mut wanted, missing, tolerance)?;
    let smallest = match returns {
        true => independence::compare(program, given, &wanted, &mut found, tolerance)?,
        false => None,
    };
    Ok((found, smallest))
}
