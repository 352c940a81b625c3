//! Training in the maximal update parametrization, where features move: the unrolled program with `r = 0`
//! (TP IIb App. D.1.2) against independently computed trajectories (`tests/goldens/programs/mup_limits.json`).
//!
//! The linear networks have exact references by recursions of finitely many moments (TP IV); here everything comes from
//! the Z rules, with ZDot through `W` and its transpose.

use netsor_ir::number::{from_f64, integer, power};
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{Sgd, unroll_sgd};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};
use serde_json::Value;

use crate::files;

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

/// The network of a case: `layers` between the first pre-activations `h` and the readout of `x`.
fn source(case: &Value, layers: &str) -> String {
    let inputs = case["X"].as_array().unwrap();
    format!(
        "network net {{
  axis i = {}
  data xi[i] : {}
  param U : n x {1} ~ N(0, 1) with a = 0, b = 0, c = -1
  param W : n x n ~ N(0, 1/n) with a = 0, b = 1/2, c = 0
  param v : n x 1 ~ N(0, 1/n^2) with a = 1, b = 0, c = -1
  h[i] = U * xi[i]
{layers}
  output f[i] = v' * x[i]
}}",
        inputs.len(),
        inputs[0].as_array().unwrap().len()
    )
}

/// Compares the outputs after every one of the first `steps` steps, each on one example.
#[track_caller]
fn check(case: &Value, layers: &str, steps: usize, tolerance: f64) {
    let network = parse_network(&source(case, layers)).unwrap();
    let inputs = case["X"].as_array().unwrap().len();
    let order = numbers(&case["order"]);
    let batch = |t: usize| (0..inputs).map(|i| integer(i64::from(i == order[t] as usize))).collect();
    let sgd = Sgd {
        steps,
        rates: vec![from_f64(case["eta"].as_f64().unwrap()).unwrap()],
        batches: (0..steps).map(batch).collect(),
        exponent: power(0, 1),
        ..Sgd::default()
    };
    let training = unroll_sgd(&network, &sgd).unwrap();
    let program = &training.program;
    let output = &training.outputs[0];
    let data =
        Data::new().with(program.find("xi").unwrap(), numbers(&case["X"])).with(output.target, numbers(&case["y"]));
    let mut deriver = Deriver::new(program);
    let exprs: Vec<_> = output.at.iter().map(|&f| deriver.scalar(f).unwrap()).collect();
    let graph = deriver.into_graph();
    let mut evaluator = Evaluator::new(&graph, program, &data, Tolerance::default()).unwrap();
    for (t, &expr) in exprs.iter().enumerate() {
        for i in 0..inputs {
            let found = evaluator.value(expr, &[i as u32]).unwrap();
            let expected = case["f"][t][i].as_f64().unwrap();
            assert!((found.value - expected).abs() <= tolerance, "f_{t}[{i}]: {found:?}, expected {expected}");
        }
    }
}

fn golden() -> Value {
    files::golden("programs/mup_limits.json")
}

#[test]
fn one_hidden_layer_linear() {
    for case in golden()["linear_1hidden"].as_array().unwrap() {
        check(case, "  x[i] = 1 * h[i]", 3, 1e-10);
    }
}

#[test]
fn two_hidden_layers_linear() {
    for case in golden()["linear_2hidden"]["cases"].as_array().unwrap() {
        check(case, "  k[i] = W * h[i]\n  x[i] = 1 * k[i]", 2, 1e-10);
    }
}

/// The first step of a tanh network needs expectations in few variables only.
#[test]
fn one_step_with_tanh() {
    for case in golden()["tanh_1hidden"].as_array().unwrap() {
        check(case, "  x[i] = tanh(h[i])", 1, 1e-9);
    }
}
