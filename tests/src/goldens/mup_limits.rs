//! `mup_limits.json`: networks in the maximal update parametrization at infinite width, where features move, trained for
//! some steps: linear ones with exact references, tanh ones by quadrature.
//!
//! Everything comes from the unrolled training program with `r = 0`. It is written out without families, so that like
//! terms meet. Linear networks are exact; for the others whole programs are sampled, with a standard error.

use netsor_ir::number::{integer, power};
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{Sgd, unroll_program, unroll_sgd};
use netsor_limit::sampled::{Sampling, sampled};
use netsor_limit::{Data, Deriver, Evaluator};
use serde_json::Value;

use super::json::{Array, counts, exact, field, float};
use super::limits::{asked, find};
use super::{Case, Checks, Trouble};

/// The linear references are exact, and so is the engine: a few rounding errors of sums of products.
const EXACT: f64 = 1e-10;
/// A standard error that is larger says nothing about trajectories of size one.
const USEFUL: f64 = 0.02;
/// Standard errors allowed: for a few hundred normal numbers 4.5 are exceeded with probability 0.002.
const DEVIATIONS: f64 = 4.5;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Linear,
    Tanh,
}

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    let mut found = Vec::new();
    for (section, kind, layers) in [
        ("linear_1hidden", Kind::Linear, 1),
        ("tanh_1hidden", Kind::Tanh, 1),
        ("linear_2hidden", Kind::Linear, 2),
        ("tanh_2hidden", Kind::Tanh, 2),
    ] {
        let Some(entry) = file.get(section) else { continue };
        let entries = if entry.is_array() { entry.as_array() } else { entry.get("cases").and_then(Value::as_array) };
        for (k, case) in entries.into_iter().flatten().enumerate() {
            let case = case.clone();
            found.push(Case::new(format!("{section} {k}"), move || check(&case, kind, layers)));
        }
    }
    Ok(found)
}

/// The network, with the readout's learning rate and multiplier of the parametrization.
fn source(inputs: usize, dim: usize, kind: Kind, layers: usize) -> String {
    let apply = |x: &str| match kind {
        Kind::Linear => format!("1 * {x}"),
        Kind::Tanh => format!("tanh({x})"),
    };
    let hidden = match layers {
        1 => format!("  x[i] = {}\n", apply("h[i]")),
        _ => format!("  z[i] = {}\n  k[i] = W * z[i]\n  x[i] = {}\n", apply("h[i]"), apply("k[i]")),
    };
    format!(
        "network net {{
  axis i = {inputs}
  data xi[i] : {dim}
  param U : n x {dim} ~ N(0, 1) with a = 0, b = 0, c = -1
  param W : n x n ~ N(0, 1/n) with a = 0, b = 1/2, c = 0
  param v : n x 1 ~ N(0, 1/n^2) with a = 1, b = 0, c = -1
  h[i] = U * xi[i]
{hidden}  output f[i] = v' * x[i]
}}"
    )
}

fn check(case: &Value, kind: Kind, layers: usize) -> Result<Checks, Trouble> {
    let x = Array::field(case, "X", 2)?.finite("X")?;
    let [inputs, dim] = x.shape[..] else { return Err(Trouble::not_covered("`X` has not two axes")) };
    let y = Array::shaped(case, "y", &[inputs])?.finite("y")?;
    let order = counts(case, "order")?;
    if order.iter().any(|&k| inputs <= k) {
        return Err(Trouble::not_covered("`order` names an example that `X` does not have"));
    }
    let expected = Array::shaped(case, "f", &[order.len() + 1, inputs])?.finite("f")?;
    let network = parse_network(&source(inputs, dim, kind, layers)).map_err(Trouble::not_covered)?;
    let sgd = Sgd {
        steps: order.len(),
        rates: vec![exact(float(case, "eta")?, "eta")?],
        batches: order.iter().map(|&t| (0..inputs).map(|i| integer(i64::from(i == t))).collect()).collect(),
        exponent: power(0, 1),
        ..Sgd::default()
    };
    let training = unroll_sgd(&network, &sgd).map_err(Trouble::failed)?;
    let (program, members) = unroll_program(&training.program).map_err(Trouble::failed)?;
    let output = training.outputs.first().ok_or_else(|| Trouble::failed("training has no output"))?;
    let xi = &members[find(&training.program, "xi")?.index()];
    let targets = &members[output.target.index()];
    let mut data = Data::new();
    for (k, (&xi, &target)) in xi.iter().zip(targets).enumerate() {
        data = data.with(xi, x.numbers[k * dim..(k + 1) * dim].to_vec()).with(target, vec![y.numbers[k]]);
    }
    let mut deriver = Deriver::new(&program);
    let mut wanted = Vec::new();
    for f in &output.at {
        for &member in &members[f.index()] {
            wanted.push((deriver.scalar(member).map_err(Trouble::failed)?, Vec::new()));
        }
    }
    let graph = deriver.into_graph();
    let mut checks = Checks::default();
    let what = |k: usize| format!("f_{} of input {}", k / inputs, k % inputs);
    if kind == Kind::Linear {
        let mut evaluator = Evaluator::new(&graph, &program, &data, asked(1e-12)).map_err(Trouble::failed)?;
        for (k, (expr, at)) in wanted.iter().enumerate() {
            let found = evaluator.value(*expr, at).map_err(Trouble::failed)?;
            checks.close(|| what(k), found.value, expected.numbers[k], EXACT);
        }
        return Ok(checks);
    }
    let stated = field(case, "f_abs_err")?.as_f64().unwrap_or(0.0);
    let sampling = Sampling { points: 1 << 9, ..Sampling::default() };
    // Covariances are sampled one by one, and where one variable is nearly a function of others noise may make them
    // no covariances: the engine says so and does not guess.
    let found = sampled(&graph, &program, &data, &wanted, &sampling).map_err(Trouble::not_covered)?;
    for (k, found) in found.iter().enumerate() {
        if USEFUL < found.error() {
            return Err(Trouble::failed(format!("{}: the standard error is {}", what(k), found.error())));
        }
        checks.close(|| what(k), found.value, expected.numbers[k], stated.max(DEVIATIONS * found.error()));
    }
    Ok(checks)
}
