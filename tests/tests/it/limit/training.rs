//! Training by the unrolled program is kernel gradient descent with the limiting tangent kernel (TP IIb Thm 5.3).
//!
//! The two sides share the Z rules and nothing else: one derives the outputs after every step through ZDot, the other
//! takes the kernel at initialisation and descends in numbers. They must agree to the accuracy of the expectations.

use netsor_ir::number::{Number, fraction, integer, to_f64};
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{Loss, Sgd, kernels, unroll_sgd};
use netsor_ir::{Network, Program, ValueId};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};

const INPUTS: usize = 3;

/// Deterministic numbers of size about 1.
fn number(k: usize) -> f64 {
    ((k as f64 + 1.0) * 1.7).sin()
}

/// The network's own data, the same for both programs.
fn data_of(network: &Network) -> Data {
    let p = &network.program;
    p.value_ids().filter(|&v| matches!(p.value(v).instr, netsor_ir::Instr::Data)).fold(Data::new(), |data, v| {
        let coordinates = match p.value(v).ty.kind {
            netsor_ir::Kind::Vector(netsor_ir::Dim::Finite(size)) => size as usize,
            _ => 1,
        };
        let size = p.family_sizes(v).iter().product::<usize>() * coordinates;
        data.with(v, (0..size).map(number).collect())
    })
}

/// The values of scalar families over the inputs.
fn evaluate(program: &Program, data: &Data, wanted: &[ValueId], axes: usize) -> Vec<Vec<f64>> {
    let mut deriver = Deriver::new(program);
    let exprs: Vec<_> = wanted.iter().map(|&v| deriver.scalar(v).unwrap()).collect();
    let graph = deriver.into_graph();
    let tolerance = Tolerance { absolute: 1e-11, relative: 1e-11, ..Tolerance::default() };
    let mut evaluator = Evaluator::new(&graph, program, data, tolerance).unwrap();
    let members: Vec<Vec<u32>> = (0..INPUTS.pow(axes as u32))
        .map(|k| (0..axes).rev().map(|a| (k / INPUTS.pow(a as u32) % INPUTS) as u32).collect())
        .collect();
    exprs.iter().map(|&e| members.iter().map(|at| evaluator.value(e, at).unwrap().value).collect()).collect()
}

/// Checks every output at every time, the derivative of the loss being `slope(f, y)`.
#[track_caller]
fn check(source: &str, sgd: &Sgd, slope: fn(f64, f64) -> f64, tolerance: f64) {
    let network = parse_network(source).unwrap();
    let start: Vec<f64> = (0..INPUTS).map(|i| 0.4 * number(i + 20)).collect();
    let target: Vec<f64> = (0..INPUTS).map(|i| number(i + 40)).collect();

    let training = unroll_sgd(&network, sgd).unwrap();
    let output = &training.outputs[0];
    let mut data = data_of(&network).with(output.target, target.clone());
    for condition in &training.conditions {
        data = data.with(condition.data, start.clone());
    }
    let found = evaluate(&training.program, &data, &output.at, 1);

    let kernel_program = kernels(&network).unwrap();
    let ntk = evaluate(&kernel_program.program, &data_of(&network), &[kernel_program.outputs[0].ntk], 2).remove(0);
    let momentum = to_f64(&sgd.momentum);
    let (mut f, mut velocity) = (start, vec![0.0; INPUTS]);
    for (t, found) in found.iter().enumerate() {
        for (i, (found, expected)) in found.iter().zip(&f).enumerate() {
            let error = (found - expected).abs();
            assert!(error <= tolerance, "f_{t}[{i}] = {found}, kernel descent {expected}, difference {error:e}");
        }
        if t == sgd.steps {
            // The comparison says nothing if nothing moves.
            assert!(f.iter().enumerate().any(|(i, f)| 0.05 < (f - 0.4 * number(i + 20)).abs()));
            break;
        }
        let rate = to_f64(sgd.rates.get(t).or(sgd.rates.last()).unwrap());
        let weight = |i: usize| match sgd.batches.len() {
            0 => 1.0,
            count => to_f64(&sgd.batches[t % count][i]),
        };
        let chi: Vec<f64> = (0..INPUTS).map(|i| weight(i) * slope(f[i], target[i])).collect();
        for i in 0..INPUTS {
            let gradient: f64 = (0..INPUTS).map(|j| ntk[i * INPUTS + j] * chi[j]).sum();
            velocity[i] = momentum * velocity[i] + gradient;
            f[i] -= rate * velocity[i];
        }
    }
}

fn squared(f: f64, y: f64) -> f64 {
    f - y
}

/// Two training inputs and a test input, which has weight 0.
fn batches() -> Vec<Vec<Number>> {
    let one = |k: usize| (0..INPUTS).map(|i| integer(i64::from(i == k))).collect();
    vec![one(0), one(1)]
}

fn mlp(body: &str) -> String {
    format!(
        "network net {{
  axis i = 3
  data xi[i] : 2
  param U : n x 2 ~ N(0, 1/2)
  param W : n x n ~ N(0, 1/n)
  param b : n ~ N(0, 1/10)
  param v : n x 1 ~ N(0, 1/n)
  g[i] = U * xi[i]
{body}
}}"
    )
}

const TWO_LAYERS: &str = "  z[i] = tanh(g[i])
  h[i] = W * z[i]
  x[i] = tanh(h[i] + b)
  output f[i] = v' * x[i]";

#[test]
fn two_hidden_layers() {
    let sgd = Sgd { steps: 5, rates: vec![fraction(3, 10)], ..Sgd::default() };
    check(&mlp(TWO_LAYERS), &sgd, squared, 1e-10);
}

#[test]
fn schedules_batches_momentum_and_other_losses() {
    let sgd = Sgd {
        steps: 4,
        rates: vec![fraction(1, 2), fraction(1, 4)],
        batches: batches(),
        momentum: fraction(1, 2),
        loss: Loss::Derivative("(f - y)^3 + tanh(f)".to_owned()),
        ..Sgd::default()
    };
    check(&mlp(TWO_LAYERS), &sgd, |f, y| (f - y).powi(3) + f.tanh(), 1e-10);
}

#[test]
fn a_matrix_and_its_transpose() {
    let body = "  z[i] = erf(g[i])
  h[i] = W * z[i]
  y[i] = erf(h[i])
  k[i] = W' * y[i]
  output f[i] = v' * k[i]";
    let sgd = Sgd { steps: 2, rates: vec![fraction(1, 5)], batches: batches(), ..Sgd::default() };
    check(&mlp(body), &sgd, squared, 1e-10);
}

#[test]
fn a_residual_block() {
    let body = "  z[i] = erf(g[i])
  h[i] = W * z[i]
  y[i] = g[i] + h[i]
  x[i] = erf(y[i])
  output f[i] = v' * x[i]";
    let sgd = Sgd { steps: 2, rates: vec![fraction(3, 10)], batches: batches(), ..Sgd::default() };
    check(&mlp(body), &sgd, squared, 1e-10);
}

#[test]
fn a_recurrent_network() {
    let body = "  s1[i] = tanh(g[i])
  h[i] = W * s1[i]
  s2[i] = tanh(h[i] + g[i])
  k[i] = W * s2[i]
  s3[i] = tanh(k[i] + g[i])
  output f[i] = v' * s3[i]";
    let sgd = Sgd { steps: 2, rates: vec![fraction(3, 10)], batches: batches(), ..Sgd::default() };
    check(&mlp(body), &sgd, squared, 1e-10);
}

#[test]
fn layer_normalisation() {
    let body = "  z[i] = relu(g[i])
  h[i] = W * z[i]
  moment mu[i] = mean(h[i])
  moment var[i] = mean((h[i] - mu[i])^2)
  x[i] = erf((h[i] - mu[i]) * (var[i] + 1/100)^(-1/2))
  output f[i] = v' * x[i]";
    let sgd = Sgd { steps: 3, rates: vec![fraction(1, 5)], batches: batches(), ..Sgd::default() };
    check(&mlp(body), &sgd, squared, 1e-10);
}

#[test]
fn a_small_convolution() {
    let source = "network conv {
  axis i = 3
  axis pos = 3
  axis tap = 2
  data xi[i, pos] : 2
  param U[tap] : n x 2 ~ N(0, 1/2)
  param K[tap] : n x n ~ N(0, 1/(2 * n))
  param v : n x 1 ~ N(0, 1/n)
  g[i, pos, tap] = U[tap] * xi[i, pos]
  z[i, pos] = erf(sum tap, pos' [pos' = pos + tap - 1] g[i, pos', tap])
  h[i, pos, tap] = K[tap] * z[i, pos]
  x[i, pos] = erf(sum tap, pos' [pos' = pos + tap - 1] h[i, pos', tap])
  pooled[i] = 1/3 * sum pos x[i, pos]
  output f[i] = v' * pooled[i]
}";
    let sgd = Sgd { steps: 3, rates: vec![integer(4)], batches: batches(), ..Sgd::default() };
    check(source, &sgd, squared, 1e-10);
}
