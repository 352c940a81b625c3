//! `tp_batchnorm.json`: a perceptron with batch norm on two batches, each normalised by itself.

use netsor_ir::Network;
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::kernels;
use netsor_limit::{Data, Deriver, Evaluator};
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
    let batches = [first.finite("batch1")?, second.finite("batch2")?];
    let (sizes, dim, depth) = (batches.each_ref().map(|b| b.shape[0]), batches[0].shape[1], count(case, "depth")?);
    if sizes.contains(&0) || dim == 0 || batches[1].shape[1] != dim {
        return Err(Trouble::not_covered("the batches are empty, or their inputs differ in dimension"));
    }
    let network = parse_network(&source(sizes[0].max(sizes[1]), dim, depth)).map_err(Trouble::not_covered)?;
    let data = data(&network, &batches)?;
    let members: Vec<[u32; 2]> = (0..2).flat_map(|b| (0..sizes[b]).map(move |i| [b as u32, i as u32])).collect();
    let rows = members.len();
    let uncertainty = field(case, "abs_uncertainty")?;
    let (of_gp, of_ntk) = (float(uncertainty, "gp")?, float(uncertainty, "ntk")?);
    let mut checks = Checks::default();

    let gp = Array::shaped(case, "gp_kernels", &[depth + 1, rows, rows])?.numbers;
    for layer in 1..=depth {
        let x = find(&network.program, &format!("x@{layer}"))?;
        let members: Vec<Member> = members.iter().map(|at| (x, at.to_vec())).collect();
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
    let index = |k: usize| [members[k].to_vec(), vec![0; output.indices.len().saturating_sub(2)]].concat();
    for (k, expected) in expected.iter().enumerate() {
        let found = evaluator.value(ntk, &[index(k / rows), index(k % rows)].concat()).map_err(Trouble::failed)?;
        checks.close(|| format!("ntk[{k}]"), found.value, *expected, UNCERTAINTIES * of_ntk);
    }
    Ok(checks)
}

/// The network on two batches of at most `size` inputs. `share[b, i]` is the part that an input has in the mean and in
/// the variance of its batch: 1 over the batch's size, or 0 for an input that only fills the family up.
fn source(size: usize, dim: usize, depth: usize) -> String {
    let mut text = format!(
        "network batch_norm {{
           axis b = 2
           axis i = {size}
           data xi[b, i] : {dim}
           data share[b, i]
           param v : n x 1 ~ N(0, 1/n)\n"
    );
    for layer in 1..=depth {
        let (columns, x) =
            if layer == 1 { (dim.to_string(), "xi".into()) } else { ("n".into(), format!("x@{}", layer - 1)) };
        text += &format!(
            "param W@{layer} : n x {columns} ~ N(0, 1/{columns})
             h@{layer}[b, i] = W@{layer} * {x}[b, i]
             mean@{layer}[b] = sum i share[b, i] * h@{layer}[b, i]
             variance@{layer}[b] = sum i share[b, i] * (h@{layer}[b, i] - mean@{layer}[b])^2
             x@{layer}[b, i] = relu((h@{layer}[b, i] - mean@{layer}[b]) / sqrt(variance@{layer}[b]))\n"
        );
    }
    text + &format!("output f[b, i] = v' * x@{depth}[b, i]\n}}")
}

/// The inputs and their shares. A smaller batch is filled up with its first input.
fn data(network: &Network, batches: &[Array; 2]) -> Result<Data, Trouble> {
    let (dim, largest) = (batches[0].shape[1], batches[0].shape[0].max(batches[1].shape[0]));
    let (mut xi, mut share) = (Vec::new(), Vec::new());
    for batch in batches {
        let size = batch.shape[0];
        xi.extend_from_slice(&batch.numbers);
        xi.extend(batch.numbers[..dim].repeat(largest - size));
        share.extend((0..largest).map(|i| if i < size { 1.0 / size as f64 } else { 0.0 }));
    }
    Ok(Data::new().with(find(&network.program, "xi")?, xi).with(find(&network.program, "share")?, share))
}
