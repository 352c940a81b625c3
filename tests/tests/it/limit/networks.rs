//! The NNGP and tangent kernels of networks against independently computed goldens (`tests/goldens/programs`).

use netsor_ir::transform::kernels;
use netsor_limit::{Data, Deriver, Evaluator, LimitError, Tolerance};
use netsor_zoo::layers::LayerList;
use netsor_zoo::{Activation, BatchNormMlp, Mlp, Network, Tied};
use serde_json::Value;

use crate::files;

fn golden(name: &str) -> Value {
    files::golden(&format!("programs/{name}.json"))
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

/// Scores of 10,000 against -5,000 choose one position each, so that the kernels are those of three linear layers on the
/// inputs themselves; so do all others in a batch of very different norms.
#[test]
fn attention_with_large_scores_chooses() {
    let list = r#"
        input = { inputs = 2, positions = [2], channels = 1 }
        layers = [{ op = "global_self_attention" }, { op = "flatten" }, { op = "dense" }]"#;
    let network = LayerList::from_toml(list).unwrap().network().unwrap();
    let kernels = kernels(&network).unwrap();
    let program = &kernels.program;
    let x = [[100.0, -50.0], [1e6, -2e5]];
    let data = Data::new().with(program.find("xi").unwrap(), x.concat());
    let mut deriver = Deriver::new(program);
    let output = &kernels.outputs[0];
    let (nngp, ntk) = (deriver.scalar(output.nngp.unwrap()).unwrap(), deriver.scalar(output.ntk).unwrap());
    let graph = deriver.into_graph();
    let mut evaluator = Evaluator::new(&graph, program, &data, Tolerance::default()).unwrap();
    for i in 0..2 {
        for j in 0..2 {
            let expected = (x[i][0] * x[j][0] + x[i][1] * x[j][1]) / 2.0;
            for (expr, expected) in [(nngp, expected), (ntk, 3.0 * expected)] {
                let found = evaluator.value(expr, &[i as u32, j as u32]).unwrap().value;
                // A dozen operations, each rounded.
                assert!((found - expected).abs() <= 12.0 * f64::EPSILON * expected, "{found}, expected {expected}");
            }
        }
    }
}

/// The NTK of batch norm on one batch between its first two members, by the Gamma integral or without it.
fn batch_norm(size: u32, epsilon: f64, closed_forms: bool, tol: Tolerance) -> Result<netsor_limit::Value, LimitError> {
    let activation = Activation::Relu;
    let network = BatchNormMlp { size, dim: 5, epsilon, activation, ..BatchNormMlp::default() }.network().unwrap();
    let kernels = kernels(&network).unwrap();
    let numbers = (0..5 * size).map(|k| (1.3 * f64::from(k) + 0.1 * f64::from(k * k)).sin()).collect();
    let data = Data::new().with(kernels.program.find("xi").unwrap(), numbers);
    let mut deriver = Deriver::new(&kernels.program);
    let ntk = deriver.scalar(kernels.outputs[0].ntk).unwrap();
    let graph = deriver.into_graph();
    let mut evaluator = Evaluator::new(&graph, &kernels.program, &data, tol).unwrap();
    if !closed_forms {
        evaluator = evaluator.without_closed_forms();
    }
    evaluator.value(ntk, &[0, 0, 0, 1])
}

/// Against randomised points of the same integrands: two roads to one kernel.
#[test]
fn batch_norm_without_its_integral() {
    let exact = batch_norm(4, 0.5, true, Tolerance::default()).unwrap();
    assert!(exact.error < 1e-8, "{exact:?}");
    let tol = Tolerance { absolute: 1e-3, relative: 0.0, max_points: 1 << 14, seed: 1 };
    let sampled = batch_norm(4, 0.5, false, tol).unwrap();
    // The errors of all integrals are added up, each an interval of 99.7 %.
    assert!((exact.value - sampled.value).abs() <= sampled.error, "{exact:?} {sampled:?}");
    assert!(sampled.error < 0.2, "{sampled:?}");
}

/// The inverse variance of a batch of three has no expectation, with `epsilon` it has.
#[test]
fn batch_norm_of_small_batches() {
    let error = batch_norm(3, 0.0, true, Tolerance::default()).unwrap_err().to_string();
    assert!(error.contains("the expectation is infinite") && error.contains("larger batch"), "{error}");
    let value = batch_norm(3, 1e-6, true, Tolerance::default()).unwrap();
    assert!(value.value.is_finite());
    let value = batch_norm(4, 0.0, true, Tolerance::default()).unwrap();
    assert!(value.error < 1e-8, "{value:?}");
}
