//! The NNGP and tangent kernels of networks against independently computed goldens (`tests/goldens/programs`).

use netsor_ir::transform::kernels;
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};
use netsor_zoo::{Mlp, Network, Tied};
use serde_json::Value;

fn golden(name: &str) -> Value {
    let path = format!("{}/../../tests/goldens/programs/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(numbers).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

/// Checks NNGP and NTK of `network` on the golden's inputs to the golden's tolerance.
fn check(name: &str, network: &Network, tolerance: f64) {
    let golden = golden(name);
    let kernels = kernels(network).unwrap();
    let program = &kernels.program;
    let xi = program.find("xi").unwrap();
    let data = Data::new().with(xi, numbers(&golden["X"]));
    let mut deriver = Deriver::new(program);
    let output = &kernels.outputs[0];
    let ntk = deriver.scalar(output.ntk).unwrap();
    let nngp = deriver.scalar(output.nngp.unwrap()).unwrap();
    let graph = deriver.into_graph();
    // A tenth of the golden's tolerance is asked of every integral.
    let asked = Tolerance { absolute: tolerance / 10.0, relative: 0.0, ..Tolerance::default() };
    let mut evaluator = Evaluator::new(&graph, program, &data, asked).unwrap();
    for (key, expr) in [("limit_nngp", nngp), ("limit_ntk", ntk)] {
        let expected = numbers(&golden[key]);
        let inputs = (expected.len() as f64).sqrt() as u32;
        for (at, expected) in expected.iter().enumerate() {
            let (i, j) = (at as u32 / inputs, at as u32 % inputs);
            if j < i {
                // Kernels are symmetric; the goldens store both halves.
                continue;
            }
            let found = evaluator.value(expr, &[i, j]).unwrap();
            assert!((found.value - expected).abs() <= tolerance, "{name} {key}[{i},{j}]: {found:?} against {expected}");
        }
    }
    assert_eq!(evaluator.statistics().not_met, 0);
}

#[test]
fn mlps_agree_with_their_goldens() {
    for hidden in 1..=3 {
        let network = Mlp { inputs: 4, dim: 3, hidden, ..Mlp::default() }.network().unwrap();
        check(&format!("ntk_train_mlp{hidden}"), &network, 1e-8);
    }
}

#[test]
fn a_matrix_and_its_transpose_have_a_return_path() {
    let network = Tied { inputs: 4, dim: 3, ..Tied::default() }.network().unwrap();
    check("ntk_train_tied", &network, 1e-6);
}
