//! `tp_transformer.json`: transformers with tied keys and queries, in the convention of NTK4A, where weights are drawn
//! with their variance and the gradient is taken with respect to them.

use netsor_ir::{Program, ValueId};
use netsor_limit::Data;
use netsor_zoo::{Network, Transformer};
use serde_json::Value;

use super::json::{Array, count, field, float, named_cases, text};
use super::limits::{Member, all_pairs, asked, find, limit_kernels, second_moments, with_variance};
use super::{Case, Checks, Trouble};

/// Closed forms on both sides. The reference takes the arc cosine of correlations of tokens with themselves, which are 1
/// up to rounding: an error of 1e-16 becomes one of 1e-8.
const TOLERANCE: f64 = 1e-7;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "cases", check)
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    match text(case, "kind")? {
        "transformer" => check_ntk(case),
        "transformer_gp_causal" => check_causal(case),
        other => Err(Trouble::not_covered(format!("unknown kind `{other}`"))),
    }
}

/// A variance of the field `hyper`.
fn variance(case: &Value, name: &str) -> Result<f64, Trouble> {
    match float(field(case, "hyper")?, name)? {
        v if v.is_finite() && 0.0 <= v => Ok(v),
        v => Err(Trouble::not_covered(format!("`{name}` is {v}, not a variance"))),
    }
}

fn size(s: usize) -> Result<u32, Trouble> {
    u32::try_from(s).map_err(Trouble::not_covered)
}

fn check_ntk(case: &Value) -> Result<Checks, Trouble> {
    let x = Array::field(case, "X", 3)?.finite("X")?;
    let (inputs, tokens, dim) = (x.shape[0], x.shape[1], x.shape[2]);
    let [vw, vu, vv] = [variance(case, "vw")?, variance(case, "vu")?, variance(case, "vv")?];
    let transformer = Transformer {
        inputs: size(inputs)?,
        tokens: size(tokens)?,
        dim: size(dim)?,
        blocks: size(count(case, "depth")?)?,
        epsilon: 0.0,
        u_std: vu.sqrt(),
        w_std: vw.sqrt(),
        v_std: vv.sqrt(),
        ..Transformer::default()
    };
    let mut network = transformer.network().map_err(Trouble::not_covered)?;
    // Each block has the matrices U, W1 and W2.
    with_variance(&mut network, |name| match name.strip_prefix("W@").and_then(|k| k.parse::<usize>().ok()) {
        Some(k) if k % 3 == 1 => vu,
        Some(_) => vw,
        None => vv,
    })?;
    let data = Data::new().with(find(&network.program, "xi")?, x.numbers);
    let mut checks = Checks::default();
    let expected = Array::shaped(case, "ntk", &[inputs, inputs])?.numbers;
    let found = limit_kernels(&network, &data, asked(TOLERANCE / 100.0))?;
    for (k, (found, expected)) in found.ntk.iter().zip(expected).enumerate() {
        checks.close(|| format!("ntk[{k}]"), *found, expected, TOLERANCE * expected.abs().max(1.0));
    }
    let states = last_states(&network)?;
    let members: Vec<Member> =
        (0..inputs * tokens).map(|k| (states, vec![(k / tokens) as u32, (k % tokens) as u32])).collect();
    compare_states(case, "gp_kernel_final_x", &network.program, &data, &members, &mut checks)?;
    Ok(checks)
}

fn check_causal(case: &Value) -> Result<Checks, Trouble> {
    let sequences = [Array::field(case, "X1", 2)?.finite("X1")?, Array::field(case, "X2", 2)?.finite("X2")?];
    if sequences[0].shape[1] != sequences[1].shape[1] || sequences.iter().any(|s| s.shape.contains(&0)) {
        return Err(Trouble::not_covered("the tokens of the sequences differ in dimension, or there are none"));
    }
    let dim = sequences[0].shape[1];
    let tokens = sequences[0].shape[0].max(sequences[1].shape[0]);
    let transformer = Transformer {
        inputs: 2,
        tokens: size(tokens)?,
        dim: size(dim)?,
        blocks: size(count(case, "depth")?)?,
        temperature: float(field(case, "hyper")?, "temp")?,
        causal: true,
        epsilon: 0.0,
        u_std: variance(case, "vu")?.sqrt(),
        w_std: variance(case, "vw")?.sqrt(),
        b_std: variance(case, "vb")?.sqrt(),
        ..Transformer::default()
    };
    let network = transformer.network().map_err(Trouble::not_covered)?;
    // A shorter sequence goes on with its last token, which those before do not see.
    let padded = sequences.iter().flat_map(|s| {
        let rows: Vec<&[f64]> = s.numbers.chunks(dim).collect();
        (0..tokens).flat_map(|t| rows[t.min(rows.len() - 1)].to_vec()).collect::<Vec<f64>>()
    });
    let data = Data::new().with(find(&network.program, "xi")?, padded.collect());
    let states = last_states(&network)?;
    let members: Vec<Member> = (0..2)
        .flat_map(|i: usize| (0..sequences[i].shape[0]).map(move |t| (states, vec![i as u32, t as u32])))
        .collect();
    let mut checks = Checks::default();
    compare_states(case, "kernel", &network.program, &data, &members, &mut checks)?;
    Ok(checks)
}

/// What the readout averages: the states after the last block.
fn last_states(network: &Network) -> Result<ValueId, Trouble> {
    let average = network
        .program
        .value_ids()
        .rfind(|&v| network.program.value(v).name.starts_with("s@"))
        .ok_or_else(|| Trouble::failed("the network has no average over tokens"))?;
    let arguments = network.program.arguments(average);
    arguments.first().copied().ok_or_else(|| Trouble::failed("the average is of nothing"))
}

fn compare_states(
    case: &Value,
    name: &str,
    program: &Program,
    data: &Data,
    members: &[Member],
    checks: &mut Checks,
) -> Result<(), Trouble> {
    let expected = Array::shaped(case, name, &[members.len(), members.len()])?.numbers;
    let found = second_moments(program, data, &all_pairs(members), asked(TOLERANCE / 100.0))?;
    for (k, (found, expected)) in found.iter().zip(expected).enumerate() {
        checks.close(|| format!("{name}[{k}]"), found.value, expected, TOLERANCE);
    }
    Ok(())
}
