//! The limits of the kernels and the effect of the width, against networks.

use netsor_finite::Inputs;
use netsor_ir::Network;
use netsor_ir::syntax::parse_network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_limit::{Data, Tolerance};
use netsor_nth::{
    HuangYau, KernelOptions, NthError, Smooth, Truncated, gradient_flow, hierarchy, kernels_at, limit_hierarchy,
    width_correction,
};
use netsor_num::ode::OdeOptions;

/// Most standard errors between a mean over seeds and its limit. Below 60 numbers are compared in this file, and the
/// next order in `1/n` is below a standard error, so that a right formula fails with probability below 1e-3.
const STANDARD_ERRORS: f64 = 4.5;

/// Error of the expectations: far below the standard errors, which are above 1e-3.
fn tolerance() -> Tolerance {
    Tolerance { absolute: 1e-5, relative: 1e-5, ..Tolerance::default() }
}

#[track_caller]
fn compare(what: &str, samples: &[Vec<f64>], expected: &[f64]) {
    let n = samples.len() as f64;
    for (k, limit) in expected.iter().enumerate() {
        let mean = samples.iter().map(|s| s[k]).sum::<f64>() / n;
        let variance = samples.iter().map(|s| (s[k] - mean).powi(2)).sum::<f64>() / (n - 1.0);
        let z = (mean - limit) / (variance / n).sqrt();
        assert!(z.abs() < STANDARD_ERRORS, "{what}[{k}]: mean {mean}, limit {limit}, {z:.1} standard errors");
    }
}

/// `K^(2)`, `n K^(4)` and `n K^(3) f` of drawn networks against the limits.
#[track_caller]
fn check(network: &Verified<Network>, input: &str, x: &[f64], (width, seeds): (usize, u64)) {
    let xi = network.program.find(input).unwrap();
    let data = Data::new().with(xi, x.to_vec());
    let limits = limit_hierarchy(network, 4).unwrap().evaluate(&data, None, &tolerance()).unwrap();
    let program = hierarchy(network, 4).unwrap();
    let inputs = Inputs::new().with(xi, x.to_vec());
    let m = width as f64;
    let (mut second, mut fourth, mut with_output) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..seeds {
        let found = kernels_at(&program, &inputs, &KernelOptions::new(width, seed)).unwrap();
        second.push(found.kernels[0].packed().to_vec());
        fourth.push(found.kernels[2].packed().iter().map(|k| m * k).collect());
        let third = found.kernels[1].packed();
        with_output.push(third.iter().flat_map(|k| found.f.iter().map(move |f| m * k * f)).collect());
    }
    compare("K2", &second, limits.kernels[0].packed());
    compare("n K4", &fourth, limits.kernels[1].packed());
    compare("n K3 f", &with_output, limits.with_output.as_ref().unwrap().packed());
}

#[test]
fn a_perceptron() {
    let paper = HuangYau { points: 2, dim: 2, hidden: 2, activation: Smooth::Tanh, sigma_w: 1.2, sigma_a: 0.8 };
    check(&paper.network().unwrap(), "x", &[1.0, 0.0, 0.6, 0.8], (192, 60));
}

#[test]
fn a_residual_network() {
    let text = "network residual {
      axis i = 2
      data xi[i] : 2
      param U : n x 2 ~ N(0, 1/2)
      param W : n x n ~ N(0, 1/n)
      param v : n x 1 ~ N(0, 1/n)
      g[i] = U * xi[i]
      z[i] = tanh(g[i])
      h[i] = W * z[i]
      x[i] = g[i] + tanh(h[i])
      output f[i] = v' * x[i]
    }";
    let network = verify_network(parse_network(text).unwrap()).unwrap();
    check(&network, "xi", &[1.0, -0.5, 0.3, 1.2], (192, 60));
}

/// Two neurons' worth of algebra: for `f = v' x / sqrt(m)` with a linear hidden layer of one input,
/// `K^(2) = (v.v + w.w)/m`, `K^(3) = 4 v.w / m^(3/2)` and `K^(4) = 4 (v.v + w.w) / m^2`, so that `m K^(4) -> 8`, and
/// `f = v.w / sqrt(m)`, so that `m E K^(3) f -> 4`. `m^2 K^(6) -> 32`.
#[test]
fn a_linear_network_by_hand() {
    let text = "network linear {
      axis i = 1
      data xi[i] : 1
      param w : n x 1 ~ N(0, 1)
      param v : n x 1 ~ N(0, 1/n)
      h[i] = w * xi[i]
      output f[i] = v' * h[i]
    }";
    let network = verify_network(parse_network(text).unwrap()).unwrap();
    let xi = network.program.find("xi").unwrap();
    let data = Data::new().with(xi, vec![1.0]);
    let limits = limit_hierarchy(&network, 6).unwrap().evaluate(&data, None, &tolerance()).unwrap();
    let sizes: Vec<f64> = limits.kernels.iter().map(|k| k.packed()[0]).collect();
    for (size, expected) in sizes.iter().zip([2.0, 8.0, 32.0]) {
        assert!((size - expected).abs() < 1e-9, "{sizes:?}");
    }
    let with_output = limits.with_output.unwrap().packed()[0];
    assert!((with_output - 4.0).abs() < 1e-9, "{with_output}");
}

/// The mean of what the movement of the kernel adds to predictions on training and test points, and of the movement.
#[test]
fn the_effect_of_the_width() {
    let paper = HuangYau { points: 3, dim: 2, hidden: 1, activation: Smooth::Tanh, sigma_w: 1.5, sigma_a: 1.0 };
    let network = paper.network().unwrap();
    let x = network.program.find("x").unwrap();
    let numbers = vec![1.0, 0.0, -0.6, 0.8, 0.3, -1.0];
    let (targets, times, width) = ([1.5, -1.0], [3.0], 128);
    let ode = OdeOptions::with_tolerance(1e-9);
    let limits = limit_hierarchy(&network, 4).unwrap();
    let limits = limits.evaluate(&Data::new().with(x, numbers.clone()), Some(2), &tolerance()).unwrap();
    let predicted = width_correction(&limits, &targets, &times, &ode).unwrap();

    let second = hierarchy(&network, 2).unwrap();
    let inputs = Inputs::new().with(x, numbers);
    let (mut shift, mut moved) = (Vec::new(), Vec::new());
    for seed in 0..150 {
        let options = KernelOptions::new(width, seed).with_train(2);
        let start = kernels_at(&second, &inputs, &options).unwrap();
        let truth = gradient_flow(&network, &inputs, &targets, &times, &options, &ode).unwrap();
        let fixed = Truncated::new(&start, &targets, 2).unwrap().solve(&times, &ode).unwrap();
        let end = kernels_at(&second, &truth.inputs[0], &options).unwrap();
        let times_width = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| width as f64 * (a - b)).collect();
        shift.push(times_width(&truth.f[0], &fixed.f[0]));
        moved.push(times_width(end.kernels[0].packed(), start.kernels[0].packed()));
    }
    compare("n (f - f_lin)", &shift, &predicted.shift[0]);
    compare("n (K2_t - K2_0)", &moved, predicted.kernel_shift[0].packed());
}

#[test]
fn refusals() {
    let paper = HuangYau { points: 1, dim: 1, hidden: 1, activation: Smooth::Tanh, sigma_w: 1.0, sigma_a: 1.0 };
    let network = paper.network().unwrap();
    let odd = limit_hierarchy(&network, 3).unwrap_err();
    assert!(matches!(odd, NthError::OddLimit { order: 3 }) && odd.to_string().contains("in law"), "{odd}");
    let x = network.program.find("x").unwrap();
    let second = limit_hierarchy(&network, 2).unwrap();
    assert!(second.evaluate(&Data::new().with(x, vec![1.0, 2.0]), None, &tolerance()).is_err());
    assert!(matches!(second.evaluate(&Data::new(), Some(2), &tolerance()), Err(NthError::Order { found: 2, .. })));
    let limits = second.evaluate(&Data::new().with(x, vec![1.0]), None, &tolerance()).unwrap();
    assert!(limits.of_order(3).is_err() && limits.of_order(4).is_err() && limits.of_order(0).is_err());
    let missing = width_correction(&limits, &[1.0], &[1.0], &OdeOptions::default()).unwrap_err();
    assert!(matches!(missing, NthError::Missing { .. }), "{missing}");
}
