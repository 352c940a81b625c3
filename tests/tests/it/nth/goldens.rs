//! Explicit weights against JAX: kernels, dynamics and discrete steps (`nth_goldens.json`).

use netsor_nth::{
    HuangYau, KernelOptions, Smooth, Truncated, bold_hierarchy, discrete_step, gradient_flow, gradient_step, hierarchy,
    kernels_at,
};
use netsor_num::ode::OdeOptions;
use serde_json::Value;

use crate::files::golden_cases;

fn cases() -> Vec<Value> {
    golden_cases("programs/nth_goldens.json")
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
            close(&tensor.dense(), &flat(&case[&name]), KERNELS, &format!("{id} {name}"));
        }
        let layers: Vec<f64> = found.parts.iter().flat_map(|(_, part)| part.dense()).collect();
        close(&layers, &flat(&case["G_layers"]), KERNELS, &format!("{id} layers"));
        let bold = kernels_at(&bold_hierarchy(&network, 4).unwrap(), &inputs, &options).unwrap();
        close(&bold.kernels[2].dense(), &flat(&case["bold_K4"]), KERNELS, &format!("{id} bold K4"));
        close(&bold.kernels[1].dense(), &flat(&case["K3"]), KERNELS, &format!("{id} bold K3"));
    }
}

/// The tolerance that the file states for solutions of differential equations.
const FLOWS: f64 = 1e-8;

fn ode() -> OdeOptions {
    OdeOptions::with_tolerance(1e-12)
}

fn at(path: &Value, key: &str) -> Vec<f64> {
    path.as_array().unwrap().iter().flat_map(|p| flat(&p[key])).collect()
}

fn times(path: &Value) -> Vec<f64> {
    at(path, "t")
}

#[test]
fn dynamics_agree_with_jax() {
    for case in &cases() {
        let id = case["id"].as_str().unwrap();
        let (paper, inputs, options) = paper(case);
        let network = paper.network().unwrap();
        let y = flat(&case["y"]);
        let second = hierarchy(&network, 2).unwrap();
        let kernels = kernels_at(&hierarchy(&network, 4).unwrap(), &inputs, &options).unwrap();

        let flow = &case["gradient_flow"];
        let path = gradient_flow(&network, &inputs, &y, &times(flow), &options, &ode()).unwrap();
        close(&path.f.concat(), &at(flow, "f"), FLOWS, &format!("{id} flow f"));
        let along: Vec<f64> = path
            .inputs
            .iter()
            .flat_map(|inputs| kernels_at(&second, inputs, &options).unwrap().kernels[0].dense())
            .collect();
        close(&along, &at(flow, "K2"), FLOWS, &format!("{id} flow K2"));

        let (df, dk) = Truncated::new(&kernels, &y, 4).unwrap().slopes_at_start();
        close(&df, &flat(&case["dt_f"]), KERNELS, &format!("{id} dt f"));
        close(&dk[0].dense(), &flat(&case["dt_K2"]), KERNELS, &format!("{id} dt K2"));
        close(&dk[1].dense(), &flat(&case["dt_K3"]), KERNELS, &format!("{id} dt K3"));

        for p in 2..=4 {
            let expected = &case["truncated"][format!("p{p}")];
            let system = Truncated::new(&kernels, &y, p).unwrap();
            let path = system.solve(&times(expected), &ode()).unwrap();
            let k2: Vec<f64> = path.kernels.iter().flat_map(|k| k[0].dense()).collect();
            close(&path.f.concat(), &at(expected, "f"), FLOWS, &format!("{id} p = {p} f"));
            close(&k2, &at(expected, "K2"), FLOWS, &format!("{id} p = {p} K2"));
            if p == 3 {
                let reduced = system.solve_reduced(&times(expected), &ode()).unwrap();
                let k2: Vec<f64> = reduced.kernels.iter().flat_map(|k| k[0].dense()).collect();
                close(&reduced.f.concat(), &at(expected, "f"), FLOWS, &format!("{id} reduced f"));
                close(&k2, &at(expected, "K2"), FLOWS, &format!("{id} reduced K2"));
            }
        }
    }
}

#[test]
fn discrete_steps_agree_with_jax() {
    for case in &cases() {
        let id = case["id"].as_str().unwrap();
        let (paper, inputs, options) = paper(case);
        let network = paper.network().unwrap();
        let (y, expected) = (flat(&case["y"]), &case["discrete"]);
        let eta = expected["eta"].as_f64().unwrap();
        let (f, after) = gradient_step(&network, &inputs, &y, eta, &options).unwrap();
        let k2 = kernels_at(&hierarchy(&network, 2).unwrap(), &after, &options).unwrap().kernels.remove(0);
        close(&f, &flat(&expected["f_next"]), KERNELS, &format!("{id} step f"));
        close(&k2.dense(), &flat(&expected["K2_next"]), KERNELS, &format!("{id} step K2"));

        let program = bold_hierarchy(&network, 5).unwrap();
        let bold = kernels_at(&program, &inputs, &options).unwrap();
        let step = |order| discrete_step(&program, &bold, &y, eta, order).unwrap();
        let f: Vec<f64> = (1..=3).flat_map(|order| step(order).0).collect();
        let k2: Vec<f64> = (0..=3).flat_map(|order| step(order).1.dense()).collect();
        close(&f, &flat(&expected["f_taylor_orders_1_2_3"]), KERNELS, &format!("{id} series of f"));
        close(&k2, &flat(&expected["K2_taylor_orders_0_1_2_3"]), KERNELS, &format!("{id} series of K2"));
    }
}
