//! `tp_batchnorm.json`: a perceptron with batch norm on two batches, each normalised by itself.

use netsor_ir::transform::kernels;
use netsor_limit::{Data, Deriver, Evaluator};
use netsor_zoo::{Activation, BatchNormMlp};
use serde_json::Value;

use super::json::{Array, count, field, float, named_cases, text};
use super::limits::{Member, all_pairs, asked, find, second_moments};
use super::{Case, Checks, Trouble};

/// The reference's own uncertainty comes from comparing two orders of quadrature, which estimates the error of the
/// lower; three of it leave room for the higher.
const UNCERTAINTIES: f64 = 3.0;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "cases", check)
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    if text(case, "kind")? != "batchnorm_relu_mlp" {
        return Err(Trouble::not_covered(format!("unknown kind `{}`", text(case, "kind")?)));
    }
    let (first, second) = (Array::field(case, "batch1", 2)?, Array::field(case, "batch2", 2)?);
    let (first, second) = (first.finite("batch1")?, second.finite("batch2")?);
    if first.shape != second.shape {
        return Err(Trouble::not_covered("batches of different sizes"));
    }
    let (size, dim, depth) = (first.shape[0], first.shape[1], count(case, "depth")?);
    let count = |s: usize| u32::try_from(s).map_err(Trouble::not_covered);
    let network = BatchNormMlp {
        batches: 2,
        size: count(size)?,
        dim: count(dim)?,
        hidden: count(depth)?,
        activation: Activation::Relu,
        epsilon: 0.0,
        w_std: 1.0,
    };
    let network = network.network().map_err(Trouble::not_covered)?;
    let uncertainty = field(case, "abs_uncertainty")?;
    let (of_gp, of_ntk) = (float(uncertainty, "gp")?, float(uncertainty, "ntk")?);
    let rows = 2 * size;
    let numbers = [first.numbers, second.numbers].concat();
    let data = Data::new().with(find(&network.program, "xi")?, numbers);
    let mut checks = Checks::default();

    let gp = Array::shaped(case, "gp_kernels", &[depth + 1, rows, rows])?.numbers;
    let at = |k: usize| vec![(k / size) as u32, (k % size) as u32];
    for layer in 1..=depth {
        let x = find(&network.program, &format!("x@{layer}"))?;
        let members: Vec<Member> = (0..rows).map(|k| (x, at(k))).collect();
        let found = second_moments(&network.program, &data, &all_pairs(&members), asked(of_gp / 10.0))?;
        for (k, found) in found.iter().enumerate() {
            let expected = gp[layer * rows * rows + k];
            checks.close(|| format!("gp_kernels[{layer}, {k}]"), found.value, expected, UNCERTAINTIES * of_gp);
        }
    }

    let kernels = kernels(&network).map_err(Trouble::failed)?;
    let output = kernels.outputs.first().ok_or_else(|| Trouble::failed("the network has no output"))?;
    let mut deriver = Deriver::new(&kernels.program);
    let ntk = deriver.scalar(output.ntk).map_err(Trouble::failed)?;
    let graph = deriver.into_graph();
    let mut evaluator =
        Evaluator::new(&graph, &kernels.program, &data, asked(of_ntk / 10.0)).map_err(Trouble::failed)?;
    let expected = Array::shaped(case, "ntk", &[rows, rows])?.numbers;
    // The readout's own indices, and 0 for its one component.
    let index = |k: usize| [at(k), vec![0; output.indices.len().saturating_sub(2)]].concat();
    for (k, expected) in expected.iter().enumerate() {
        let found = evaluator.value(ntk, &[index(k / rows), index(k % rows)].concat()).map_err(Trouble::failed)?;
        checks.close(|| format!("ntk[{k}]"), found.value, *expected, UNCERTAINTIES * of_ntk);
    }
    Ok(checks)
}
