//! Explicit weights against JAX: kernels, dynamics and discrete steps (`nth_goldens.json`).

use netsor_nth::{HuangYau, KernelOptions, KernelTensor, Smooth, bold_hierarchy, hierarchy, kernels_at};
use serde_json::Value;

fn cases() -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/goldens/programs/nth_goldens.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file["cases"].as_array().unwrap().clone()
}

/// All numbers of a nested list, in order.
fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

fn rows(value: &Value) -> Vec<Vec<f64>> {
    value.as_array().unwrap().iter().map(flat).collect()
}

fn paper(case: &Value) -> (HuangYau, netsor_finite::Inputs, KernelOptions) {
    let x = rows(&case["X"]);
    let activation = match case["activation"].as_str().unwrap() {
        "tanh" => Smooth::Tanh,
        "erf" => Smooth::Erf,
        "softplus" => Smooth::Softplus { sharpness: 1.0 },
        "softplus5" => Smooth::Softplus { sharpness: 5.0 },
        other => panic!("{other}"),
    };
    let paper = HuangYau {
        points: x.len() as u32,
        dim: x[0].len() as u32,
        hidden: case["H"].as_u64().unwrap() as u32,
        activation,
        sigma_w: case["sigma_w"].as_f64().unwrap(),
        sigma_a: case["sigma_a"].as_f64().unwrap(),
    };
    let weights: Vec<Vec<Vec<f64>>> = case["W"].as_array().unwrap().iter().map(rows).collect();
    let inputs = paper.inputs(&x, &weights, &flat(&case["a"])).unwrap();
    let n_train = case["n_train"].as_u64().unwrap() as usize;
    let width = case["m"].as_u64().unwrap() as usize;
    (paper, inputs, KernelOptions::new(width, 0).with_train(n_train))
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (k, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() < tolerance, "{what}[{k}]: {a}, the file has {b}");
    }
}

/// All entries `K(a, b, ..)` in the order of the file.
fn full(tensor: &KernelTensor) -> Vec<f64> {
    let n = tensor.n_points();
    (0..n * n).flat_map(|k| tensor.block(k / n, k % n).to_vec()).collect()
}

/// The tolerance that the file states.
const KERNELS: f64 = 1e-10;

#[test]
fn kernels_agree_with_jax() {
    let cases = cases();
    assert_eq!(cases.len(), 10);
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let (paper, inputs, options) = paper(case);
        let network = paper.network().unwrap();
        let order = if case.get("K5").is_some() { 5 } else { 4 };
        let found = kernels_at(&hierarchy(&network, order).unwrap(), &inputs, &options).unwrap();
        close(&found.f, &flat(&case["f"]), KERNELS, &format!("{id} f"));
        for tensor in &found.kernels {
            let name = format!("K{}", tensor.order());
            close(&full(tensor), &flat(&case[&name]), KERNELS, &format!("{id} {name}"));
        }
        let layers: Vec<f64> = found.parts.iter().flat_map(|(_, part)| full(part)).collect();
        close(&layers, &flat(&case["G_layers"]), KERNELS, &format!("{id} layers"));
        let bold = kernels_at(&bold_hierarchy(&network, 4).unwrap(), &inputs, &options).unwrap();
        close(&full(&bold.kernels[2]), &flat(&case["bold_K4"]), KERNELS, &format!("{id} bold K4"));
        close(&full(&bold.kernels[1]), &flat(&case["K3"]), KERNELS, &format!("{id} bold K3"));
    }
}
