//! `netsor limit --paths`: the tangent kernel once more, by the path formula.

use netsor_ir::transform::unroll_network;
use netsor_ir::{Dim, Kind, Network, ValueId};
use netsor_limit::paths::{PathFormula, PathRule};
use netsor_limit::{Deriver, Tolerance};

use super::numbers::{Missing, Number, Wanted, evaluate};

/// The tangent kernel of every output by both forms of the path formula, over the outputs' families: the first component
/// of each.
pub(super) fn path_kernels(
    network: &Network,
    given: &[(ValueId, Vec<f64>)],
    missing: &mut Vec<Missing>,
    tolerance: Tolerance,
) -> anyhow::Result<Vec<Number>> {
    let (plain, members) = unroll_network(network)?;
    let mut on_members = Vec::new();
    for (family, numbers) in given {
        let size = match network.program.value(*family).ty.kind {
            Kind::Vector(Dim::Finite(size)) => size as usize,
            _ => 1,
        };
        let all = members[family.index()].iter().copied().zip(numbers.chunks(size.max(1)));
        on_members.extend(all.map(|(member, numbers)| (member, numbers.to_vec())));
    }
    let mut found = Vec::new();
    for (rule, label) in [(PathRule::Printed, "paths, as printed"), (PathRule::WithReturns, "paths, with returns")] {
        let mut deriver = Deriver::new(&plain.program);
        let mut formula = PathFormula::new(&plain, &mut deriver, rule)?;
        let mut wanted = Vec::new();
        let mut at = Vec::new();
        for &output in &network.outputs {
            let suffix = if network.outputs.len() == 1 {
                String::new()
            } else {
                format!(" of {}", network.program.value(output).name)
            };
            for (i, &first) in members[output.index()].iter().enumerate() {
                for (j, &second) in members[output.index()].iter().enumerate() {
                    let (a, b) = (first.min(second), first.max(second));
                    let expr = formula.kernel(a, b)?.total;
                    wanted.push(Wanted {
                        name: format!("NTK by {label}{suffix}"),
                        expr,
                        sizes: Vec::new(),
                        of: None,
                        symmetric: false,
                    });
                    at.push(vec![i as u32, j as u32]);
                }
            }
        }
        let (n_wanted, before) = (wanted.len(), missing.len());
        let numbers = evaluate(deriver, &plain.program, &on_members, &mut wanted, missing, tolerance)?;
        if wanted.len() < n_wanted {
            // One entry that has no limit is named for all.
            missing.truncate(before + 1);
            continue;
        }
        found.extend(numbers.into_iter().zip(at).map(|(number, at)| Number { at, ..number }));
    }
    Ok(found)
}
