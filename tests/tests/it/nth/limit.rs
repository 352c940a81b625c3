//! The limits of the kernels and the effect of the width, against networks.

use std::sync::atomic::{AtomicUsize, Ordering};

use netsor_finite::Inputs;
use netsor_ir::Network;
use netsor_ir::syntax::parse_network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_limit::Data;
use netsor_nth::{
    HuangYau, Integration, KernelOptions, NthError, Smooth, Truncated, gradient_flow, hierarchy, kernels_at,
    limit_hierarchy, predict_at_width, width_correction,
};
use netsor_num::ode::OdeOptions;

/// Most standard errors between a mean over seeds and its limit. Below 60 numbers are compared in this file, and the
/// next order in `1/n` is below a standard error, so that a right formula fails with probability below 1e-3.
const STANDARD_ERRORS: f64 = 4.5;

/// Error of the expectations: far below the standard errors, which are above 1e-3.
fn tolerance() -> Integration {
    Integration::with_tolerance(1e-5)
}

/// Errors of some 1e-3 of a term.
const SAMPLED: Integration = Integration::Sampled { points: 1024, seed: 0 };

/// Shared weights over positions, with a skip connection and an average over positions.
pub(super) const CONVOLUTION: &str = "network residual_cnn {
      axis i = 1
      axis pos = 2
      axis tap = 2
      data xi[i, pos] : 2
      param U : n x 2 ~ N(0, 1/2)
      param K[tap] : n x n ~ N(0, 1/(2 * n))
      param v : n x 1 ~ N(0, 1/n)
      g[i, pos] = U * xi[i, pos]
      z[i, pos] = tanh(g[i, pos])
      h[i, pos, tap] = K[tap] * z[i, pos]
      x[i, pos] = g[i, pos] + tanh(sum tap, pos' [pos' = pos + tap] h[i, pos', tap])
      pooled[i] = 1/2 * sum pos x[i, pos]
      output f[i] = v' * pooled[i]
    }";

/// Softmax over scores that are Moments.
pub(super) const ATTENTION: &str = "network attention {
      axis i = 1
      axis t = 2
      data xi[i, t] : 2
      param U : n x 2 ~ N(0, 1/2)
      param W : n x n ~ N(0, 1/n)
      param v : n x 1 ~ N(0, 1/n)
      k[i, t] = U * xi[i, t]
      moment score[i, t, t'] = mean(k[i, t] * k[i, t'])
      scalar weight[i, t, t'] = exp(score[i, t, t'])
      scalar total[i, t] = sum t' weight[i, t, t']
      a[i, t] = sum t' weight[i, t, t'] / total[i, t] * k[i, t']
      h[i, t] = W * a[i, t]
      y[i, t] = tanh(h[i, t])
      s[i] = 1/2 * sum t y[i, t]
      output f[i] = v' * s[i]
    }";

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
fn check(network: &Verified<Network>, input: &str, x: &[f64], (width, seeds): (usize, u64), integration: &Integration) {
    let xi = network.program.find(input).unwrap();
    let data = Data::new().with(xi, x.to_vec());
    let limits = limit_hierarchy(network, 4).unwrap().evaluate(&data, None, integration).unwrap();
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
    check(&paper.network().unwrap(), "x", &[1.0, 0.0, 0.6, 0.8], (128, 40), &tolerance());
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
    check(&network, "xi", &[1.0, -0.5, 0.3, 1.2], (128, 40), &tolerance());
}

/// Shared weights over positions: every term has a point for each position, and covariances of the second layer are
/// sums of expectations.
#[test]
fn a_residual_convolution() {
    let network = verify_network(parse_network(CONVOLUTION).unwrap()).unwrap();
    check(&network, "xi", &[1.0, -0.5, 0.3, 1.2], (96, 40), &SAMPLED);
}

/// Softmax over scores that are Moments: their adjoints and tangents enter `n K^(4)` at order one.
#[test]
fn attention() {
    let network = verify_network(parse_network(ATTENTION).unwrap()).unwrap();
    check(&network, "xi", &[1.0, -0.5, 0.3, 1.2], (96, 40), &SAMPLED);
}

/// The two ways to integrate, on tuples of up to three points of a perceptron: within the error that is stated, and that is
/// moderate.
#[test]
fn a_cloud_agrees_with_quadrature() {
    let paper = HuangYau { points: 3, dim: 3, hidden: 1, activation: Smooth::Tanh, sigma_w: 1.2, sigma_a: 0.8 };
    let network = paper.network().unwrap();
    let x = network.program.find("x").unwrap();
    let data = Data::new().with(x, vec![1.0, 0.0, 0.2, 0.6, 0.8, -0.1, -0.3, 0.5, 0.9]);
    let limits = limit_hierarchy(&network, 4).unwrap();
    let exact = limits.evaluate(&data, Some(1), &tolerance()).unwrap();
    let sampled = limits.evaluate(&data, Some(1), &Integration::Sampled { points: 2048, seed: 1 }).unwrap();
    let scale = exact.kernels[1].norm_max();
    let pairs = exact.kernels[1].packed().iter().zip(sampled.kernels[1].packed());
    let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= sampled.error + exact.error && worst < 0.01 * scale, "{worst} {} {scale}", sampled.error);
    // Two points and fewer are not sampled.
    for (a, b) in exact.kernels[0].packed().iter().zip(sampled.kernels[0].packed()) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    let entries = AtomicUsize::new(0);
    let count = || {
        entries.fetch_add(1, Ordering::Relaxed);
    };
    limits.evaluate_with(&data, Some(1), &tolerance(), &count).unwrap();
    assert_eq!(entries.into_inner(), limits.n_entries(Some(1)).unwrap());
}

/// More entries than one part has, on one thread and on three.
#[test]
fn a_cloud_does_not_depend_on_threads() {
    let paper = HuangYau { points: 7, dim: 2, hidden: 1, activation: Smooth::Erf, sigma_w: 1.2, sigma_a: 0.8 };
    let network = paper.network().unwrap();
    let x = network.program.find("x").unwrap();
    let data = Data::new().with(x, (0..14).map(|k| (0.7 * f64::from(k)).sin()).collect());
    let limits = limit_hierarchy(&network, 4).unwrap();
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let cloud = Integration::Sampled { points: 64, seed: 1 };
        pool.install(|| limits.evaluate(&data, None, &cloud).unwrap())
    };
    assert!(1024 < limits.n_entries(None).unwrap());
    assert_eq!(on(1), on(3));
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
    let (targets, times, width) = ([1.5, -1.0], [3.0], 96);
    let ode = OdeOptions::with_tolerance(1e-9);
    let limits = limit_hierarchy(&network, 4).unwrap();
    let limits = limits.evaluate(&Data::new().with(x, numbers.clone()), Some(2), &tolerance()).unwrap();
    let predicted = width_correction(&limits, &targets, &times, &ode).unwrap();

    let second = hierarchy(&network, 2).unwrap();
    let inputs = Inputs::new().with(x, numbers);
    let (mut shift, mut moved, mut trained) = (Vec::new(), Vec::new(), Vec::new());
    for seed in 0..100 {
        let options = KernelOptions::new(width, seed).with_train(2);
        let start = kernels_at(&second, &inputs, &options).unwrap();
        let truth = gradient_flow(&network, &inputs, &targets, &times, &options, &ode).unwrap();
        let fixed = Truncated::new(&start, &targets, 2).unwrap().solve(&times, &ode).unwrap();
        let end = kernels_at(&second, &truth.inputs[0], &options).unwrap();
        let times_width = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| width as f64 * (a - b)).collect();
        shift.push(times_width(&truth.f[0], &fixed.f[0]));
        moved.push(times_width(end.kernels[0].packed(), start.kernels[0].packed()));
        trained.push(truth.f[0].clone());
    }
    compare("n (f - f_lin)", &shift, &predicted.shift[0]);
    compare("n (K2_t - K2_0)", &moved, predicted.kernel_shift[0].packed());

    // Mean and spread of the trained networks, from draws of others that are not trained.
    let options = KernelOptions::new(width, 1_000).with_train(2);
    let draws = 128;
    let bars = predict_at_width(&network, &inputs, &limits, &targets, &times, (&options, draws), &ode).unwrap();
    let n = trained.len() as f64;
    for a in 0..3 {
        let mean = trained.iter().map(|f| f[a]).sum::<f64>() / n;
        let deviation = (trained.iter().map(|f| (f[a] - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
        let error = (deviation * deviation / n + bars.initial_error[0][a].powi(2)).sqrt();
        let z = (mean - bars.mean(0, a)) / error;
        assert!(z.abs() < STANDARD_ERRORS, "mean of f[{a}]: {mean}, predicted {}, z = {z:.1}", bars.mean(0, a));
        // The logarithm of a standard deviation over n draws has error 1/sqrt(2 n); what is left out of it is of
        // relative size 1/width.
        let z = (deviation / bars.deviation[0][a]).ln() / (0.5 / n + 0.5 / draws as f64).sqrt();
        assert!(z.abs() < STANDARD_ERRORS, "spread of f[{a}]: {deviation}, predicted {}", bars.deviation[0][a]);
    }
    let few = predict_at_width(&network, &inputs, &limits, &targets, &times, (&options, 1), &ode);
    assert!(matches!(few, Err(NthError::Order { found: 1, .. })));
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
