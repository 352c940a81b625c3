//! Derivatives of kernels against closed forms, homogeneity, and central differences with their rate.

use netsor_gauss::Tolerance;
use netsor_ir::Network;
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{Act, HyperParameter, Kernels, tunable};
use netsor_ir::{Dim, ExprId, Instr, Kind, ValueId};
use netsor_zoo::{Activation, Conv1d, GraphNetwork, LayerNormMlp, Mlp, ResidualMlp, Rnn, Tied};

use super::Datum;
use crate::{Data, Deriver, Evaluator, Graph};

/// Kernels of a network with hyper-parameters, and their derivatives.
struct Tuned {
    kernels: Kernels,
    graph: Graph,
    factors: Vec<ValueId>,
    /// What is asked of integrals.
    tolerance: f64,
    /// By name: the kernel and its derivatives with respect to each factor.
    quantities: Vec<(String, ExprId, Vec<ExprId>)>,
}

impl Tuned {
    fn new(network: &Network, hyper: &[HyperParameter]) -> Self {
        let tunable = tunable(network, hyper).unwrap();
        let (kernels, factors) = (tunable.kernels().unwrap(), tunable.factors);
        Self::of(kernels, factors)
    }

    /// Of kernels with respect to scalar data of theirs.
    fn of(kernels: Kernels, factors: Vec<ValueId>) -> Self {
        let mut deriver = Deriver::new(&kernels.program);
        let output = &kernels.outputs[0];
        let mut quantities = vec![("ntk".to_owned(), deriver.scalar(output.ntk).unwrap(), Vec::new())];
        for (parameter, &part) in &output.ntk_parts {
            let name = format!("ntk of {}", kernels.program.value(*parameter).name);
            quantities.push((name, deriver.scalar(part).unwrap(), Vec::new()));
        }
        if let Some(nngp) = output.nngp {
            quantities.push(("nngp".to_owned(), deriver.scalar(nngp).unwrap(), Vec::new()));
        }
        for &factor in &factors {
            let mut differentiator = deriver.with_respect_to(Datum::scalar(factor)).unwrap();
            for (_, kernel, derivatives) in &mut quantities {
                derivatives.push(differentiator.derivative(*kernel).unwrap());
            }
        }
        let graph = deriver.into_graph();
        Self { kernels, graph, factors, tolerance: 1e-11, quantities }
    }

    /// Every number of the data from `x`, over and over, and the factors at `at`.
    fn data(&self, x: &[f64], at: &[f64]) -> Data {
        let program = &self.kernels.program;
        let mut data = Data::new();
        for id in program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data)) {
            let size = match program.value(id).ty.kind {
                Kind::Vector(Dim::Finite(size)) => size as usize,
                _ => 1,
            };
            let size = size * program.family_sizes(id).iter().product::<usize>();
            data = data.with(id, x.iter().copied().cycle().take(size).collect());
        }
        self.factors.iter().zip(at).fold(data, |data, (&factor, &value)| data.with(factor, vec![value]))
    }

    /// The expressions at a pair of inputs, with factors at `at`.
    fn values(&self, x: &[f64], at: &[f64], exprs: &[ExprId], pair: &[u32]) -> Vec<f64> {
        let data = self.data(x, at);
        let tolerance = Tolerance {
            absolute: self.tolerance,
            relative: self.tolerance,
            max_points: 1 << 17,
            ..Tolerance::default()
        };
        let mut evaluator = Evaluator::new(&self.graph, &self.kernels.program, &data, tolerance).unwrap();
        exprs.iter().map(|&e| evaluator.value(e, pair).unwrap().value).collect()
    }

    /// Every derivative against central differences at two steps: the differences are of second order, so that their
    /// errors fall by four, until those of the kernels, divided by the step, are met.
    #[track_caller]
    fn check(&self, x: &[f64], at: &[f64], pair: &[u32], noise: f64) {
        let kernels: Vec<ExprId> = self.quantities.iter().map(|q| q.1).collect();
        let sizes = self.values(x, at, &kernels, pair);
        for k in 0..self.factors.len() {
            let derivatives: Vec<ExprId> = self.quantities.iter().map(|q| q.2[k]).collect();
            let exact = self.values(x, at, &derivatives, pair);
            let difference = |h: f64| -> Vec<f64> {
                let moved = |h: f64| {
                    let mut at = at.to_vec();
                    at[k] += h;
                    self.values(x, &at, &kernels, pair)
                };
                moved(h).iter().zip(moved(-h)).map(|(a, b)| (a - b) / (2.0 * h)).collect()
            };
            let h = 0.02;
            let (coarse, fine) = (difference(h), difference(h / 2.0));
            for (m, (name, ..)) in self.quantities.iter().enumerate() {
                let (e, f) = (coarse[m] - exact[m], fine[m] - exact[m]);
                let scale = sizes[m].abs().max(1e-3);
                let floor = noise * scale / h;
                // A quarter, but for terms of order h^4.
                assert!(
                    (f - e / 4.0).abs() <= 0.02 * e.abs() + floor,
                    "{name} by {k}: {} errors {e:e}, {f:e}",
                    exact[m]
                );
                assert!(f.abs() <= 0.02 * scale + floor, "{name} by {k}: {} error {f:e}", exact[m]);
            }
        }
    }
}

const X: [f64; 6] = [1.0, 0.3, -0.4, 0.9, 0.2, 1.1];

fn hypers(network: &Network) -> Vec<HyperParameter> {
    let mut all = vec![HyperParameter::weights(network)];
    let biases = HyperParameter::biases(network);
    if !biases.acts.is_empty() {
        all.push(biases);
    }
    all.push(HyperParameter::std(network, &network.parameters[0]));
    all.push(HyperParameter::rate(network, &network.parameters[1]));
    all
}

#[track_caller]
fn check_network(network: &Network, x: &[f64], noise: f64) {
    check_network_at(network, x, &[0, 1], noise);
    check_network_at(network, x, &[1, 1], noise);
}

#[track_caller]
fn check_network_at(network: &Network, x: &[f64], pair: &[u32], noise: f64) {
    let hyper = hypers(network);
    let tuned = Tuned::new(network, &hyper);
    let at: Vec<f64> = (0..hyper.len()).map(|k| 1.0 + 0.1 * k as f64).collect();
    tuned.check(x, &at, pair, noise);
}

/// A kernel of `network` and its derivatives by hyper-parameters at 1, for a pair of inputs.
fn at_one(network: &Network, hyper: &[HyperParameter], x: &[f64], pair: &[u32]) -> Vec<(f64, Vec<f64>)> {
    let tuned = Tuned::new(network, hyper);
    let at = vec![1.0; hyper.len()];
    let value = |exprs: &[ExprId]| tuned.values(x, &at, exprs, pair);
    tuned.quantities.iter().map(|(_, kernel, derivatives)| (value(&[*kernel])[0], value(derivatives))).collect()
}

#[test]
fn perceptrons_with_and_without_kinks_and_jumps() {
    for (activation, noise) in [
        (Activation::Relu, 1e-13),
        (Activation::LeakyRelu { slope: 0.2 }, 1e-13),
        (Activation::Abs, 1e-13),
        (Activation::Erf, 1e-13),
        (Activation::Tanh, 1e-10),
        (Activation::Gelu, 1e-10),
        (Activation::Elu, 1e-10),
    ] {
        let mlp = Mlp { inputs: 3, dim: 2, hidden: 2, activation, w_std: 1.3, b_std: 0.4, ..Mlp::default() };
        check_network(&mlp.network().unwrap(), &X, noise);
    }
}

#[test]
fn other_architectures() {
    let conv =
        Conv1d { inputs: 2, positions: 3, channels: 1, hidden: 2, activation: Activation::Relu, ..Conv1d::default() };
    check_network(&conv.network().unwrap(), &X, 1e-13);
    let rnn = Rnn { inputs: 2, readout: vec![0.0, 1.0], dim: 1, activation: Activation::Erf, ..Rnn::default() };
    check_network(&rnn.network().unwrap(), &X, 1e-9);
    let residual = ResidualMlp { inputs: 2, dim: 2, activation: Activation::Erf, b_std: 0.5, ..ResidualMlp::default() };
    check_network(&residual.network().unwrap(), &X, 1e-13);
    let norm = LayerNormMlp { inputs: 2, dim: 3, b_std: 0.3, ..LayerNormMlp::default() };
    check_network(&norm.network().unwrap(), &X, 1e-13);
    let graph = GraphNetwork { inputs: 2, dim: 2, ..GraphNetwork::default() };
    check_network(&graph.network().unwrap(), &X, 1e-13);
}

/// With `W` and its transpose in the forward pass integrals have four variables, and jumps are taken of
/// `k + c relu(g)`, which is linear on pieces.
#[test]
fn tied_weights() {
    let tied = Tied { inputs: 1, dim: 3, activation: Activation::Relu, ..Tied::default() };
    let network = tied.network().unwrap();
    let hyper = [HyperParameter::std(&network, &network.parameters[0])];
    let tuned = Tuned { tolerance: 3e-4, ..Tuned::new(&network, &hyper) };
    // Kinks in four variables are integrated to about 1e-4, here on purpose.
    tuned.check(&X, &[1.1], &[0, 0], 1e-3);
}

/// `K = (2 / pi) asin(2 c / sqrt((1 + 2 a) (1 + 2 b)))` for one hidden layer of error functions (Williams 1997), with
/// `a, b, c` proportional to the square of the input weights' deviation.
#[test]
fn error_functions_by_hand() {
    let network = Mlp { inputs: 2, dim: 2, activation: Activation::Erf, ..Mlp::default() }.network().unwrap();
    let hyper = [HyperParameter::std(&network, &network.parameters[0])];
    let found = at_one(&network, &hyper, &X[..4], &[0, 1]);
    let (nngp, slope) = (&found[found.len() - 1].0, found[found.len() - 1].1[0]);
    let dot = |i: usize, j: usize| (X[2 * i] * X[2 * j] + X[2 * i + 1] * X[2 * j + 1]) / 2.0;
    let (a, b, c) = (dot(0, 0), dot(1, 1), dot(0, 1));
    let scale = (1.0 + 2.0 * a) * (1.0 + 2.0 * b);
    let sine = 2.0 * c / scale.sqrt();
    assert!((nngp - std::f64::consts::FRAC_2_PI * sine.asin()).abs() < 1e-14);
    // Along the logarithm of the deviation da = 2 a, db = 2 b, dc = 2 c.
    let d_sine = sine * (2.0 - 2.0 * a / (1.0 + 2.0 * a) - 2.0 * b / (1.0 + 2.0 * b));
    let expected = std::f64::consts::FRAC_2_PI * d_sine / (1.0 - sine * sine).sqrt();
    assert!((slope - expected).abs() < 1e-14, "{slope} {expected}");
}

/// The arc-cosine kernels: with `t` the angle, `E relu relu = sqrt(a b) (sin t + (pi - t) cos t) / (2 pi)` and
/// `E step step = (pi - t) / (2 pi)` (Cho and Saul 2009). Biases move the angle.
#[test]
fn rectifiers_by_hand() {
    let network = Mlp { inputs: 2, dim: 2, activation: Activation::Relu, b_std: 0.7, ..Mlp::default() };
    let network = network.network().unwrap();
    // The bias of the hidden layer.
    let bias = network.parameters.iter().find(|p| network.program.value(p.value).name == "b@1").unwrap();
    let hyper = [HyperParameter::std(&network, bias)];
    let kernels = |s: f64| {
        let dot = |i: usize, j: usize| (X[2 * i] * X[2 * j] + X[2 * i + 1] * X[2 * j + 1]) / 2.0 + 0.49 * s * s;
        let (a, b, c) = (dot(0, 0), dot(1, 1), dot(0, 1));
        let t = (c / (a * b).sqrt()).acos();
        let (dc, da) = (2.0 * 0.49 * s, 2.0 * 0.49 * s);
        let pi = std::f64::consts::PI;
        let step = (pi - t) / (2.0 * pi);
        let relu = (a * b).sqrt() * (t.sin() + (pi - t) * t.cos()) / (2.0 * pi);
        // dE relu relu = step dc + sin t / (4 pi) (sqrt(b / a) da + sqrt(a / b) db)
        let d_relu = step * dc + t.sin() / (4.0 * pi) * ((b / a).sqrt() + (a / b).sqrt()) * da;
        let d_cosine = dc / (a * b).sqrt() - 0.5 * t.cos() * (da / a + da / b);
        let d_step = d_cosine / t.sin() / (2.0 * pi);
        // The tangent kernel: readout, its bias, and the first layer with its own bias.
        (relu + 0.49, d_relu, relu + 0.49 + step * c, d_relu + step * dc + d_step * c)
    };
    let found = at_one(&network, &hyper, &X[..4], &[0, 1]);
    let (nngp, d_nngp, ntk, d_ntk) = kernels(1.0);
    let (last, first) = (&found[found.len() - 1], &found[0]);
    for (found, expected) in [(last.0, nngp), (last.1[0], d_nngp), (first.0, ntk), (first.1[0], d_ntk)] {
        assert!((found - expected).abs() < 1e-14, "{found} {expected}");
    }
}

/// A linear network with `L` layers has `K = x.x' / d` and the tangent kernel `L K`, each with the square of every
/// layer's deviation in front; so has the learning rate, with its first power, its own part only.
#[test]
fn linear_networks_by_hand() {
    let mlp = Mlp { inputs: 2, dim: 2, hidden: 2, activation: Activation::Identity, ..Mlp::default() };
    let network = mlp.network().unwrap();
    let mut hyper: Vec<HyperParameter> = network.parameters.iter().map(|p| HyperParameter::std(&network, p)).collect();
    hyper.extend(network.parameters.iter().map(|p| HyperParameter::rate(&network, p)));
    let found = at_one(&network, &hyper, &X[..4], &[0, 1]);
    let k = (X[0] * X[2] + X[1] * X[3]) / 2.0;
    let ntk = [6.0 * k, 6.0 * k, 6.0 * k, k, k, k];
    assert!(found[0].1.iter().zip(ntk).all(|(d, e)| (d - e).abs() < 1e-14), "{:?}", found[0]);
    let nngp = [2.0 * k, 2.0 * k, 2.0 * k, 0.0, 0.0, 0.0];
    assert!(found[found.len() - 1].1.iter().zip(nngp).all(|(d, e)| (d - e).abs() < 1e-14));
}

/// Under the standard parametrization a deviation is in the law: the gradient in the weights does not know it, so the
/// share of a layer does not change with its own deviation.
#[test]
fn deviations_in_the_law() {
    let text = "network sp {
      axis i = 2
      data xi[i] : 2
      param U : n x 2 ~ N(0, 1/2) with multiplier^2 = 1
      param v : n x 1 ~ N(0, 1/n)
      g[i] = U * xi[i]
      output f[i] = v' * g[i]
    }";
    let network = parse_network(text).unwrap();
    assert_eq!(Act::of_std(&network, &network.parameters[0]), Act::Law);
    assert_eq!(Act::of_std(&network, &network.parameters[1]), Act::Multiplier);
    let hyper = [HyperParameter::std(&network, &network.parameters[0])];
    let found = at_one(&network, &hyper, &X[..4], &[0, 1]);
    let k = X[0] * X[2] + X[1] * X[3];
    // The whole kernel, the share of U, which is x.x', and that of v, which is x.x' / 2.
    for ((value, slope), expected) in found.iter().zip([(1.5, 1.0), (1.0, 0.0), (0.5, 1.0)]) {
        assert!((value - expected.0 * k).abs() < 1e-14 && (slope[0] - expected.1 * k).abs() < 1e-14, "{found:?}");
    }
}

/// A network that is homogeneous of degree `m` in its weights has `c dK/dc = m K` and `c^2 d^2 K/dc^2 = m (m - 1) K`.
#[test]
fn higher_derivatives() {
    for activation in [Activation::Relu, Activation::Tanh] {
        let mlp = Mlp { inputs: 2, dim: 2, hidden: 1, activation, b_std: 0.3, ..Mlp::default() };
        let network = mlp.network().unwrap();
        let tunable = tunable(&network, &[HyperParameter::biases(&network)]).unwrap();
        let (kernels, factors) = (tunable.kernels().unwrap(), tunable.factors);
        let tuned = {
            let mut deriver = Deriver::new(&kernels.program);
            let mut expr = deriver.scalar(kernels.outputs[0].ntk).unwrap();
            let mut quantities = Vec::new();
            for order in 0..2 {
                let mut by = deriver.with_respect_to(Datum::scalar(factors[0])).unwrap();
                let next = by.derivative(expr).unwrap();
                quantities.push((format!("order {order}"), expr, vec![next]));
                expr = next;
            }
            Tuned { graph: deriver.into_graph(), kernels, factors, tolerance: 1e-11, quantities }
        };
        for pair in [[0, 1], [0, 0]] {
            tuned.check(&X[..4], &[1.1], &pair, 1e-10);
        }
    }
    let network = Mlp { inputs: 2, dim: 2, hidden: 2, activation: Activation::Relu, ..Mlp::default() };
    let network = network.network().unwrap();
    let tunable = tunable(&network, &[HyperParameter::weights(&network)]).unwrap();
    let kernels = tunable.kernels().unwrap();
    let mut deriver = Deriver::new(&kernels.program);
    let ntk = deriver.scalar(kernels.outputs[0].ntk).unwrap();
    let mut by = deriver.with_respect_to(Datum::scalar(tunable.factors[0])).unwrap();
    let first = by.derivative(ntk).unwrap();
    let second = by.derivative(first).unwrap();
    let tuned = Tuned {
        graph: deriver.into_graph(),
        kernels,
        factors: tunable.factors,
        tolerance: 1e-11,
        quantities: Vec::new(),
    };
    for pair in [[0, 1], [1, 1]] {
        let found = tuned.values(&X[..4], &[1.0], &[ntk, first, second], &pair);
        assert!((found[1] - 6.0 * found[0]).abs() < 1e-13 && (found[2] - 30.0 * found[0]).abs() < 1e-12, "{found:?}");
    }
}

/// A kink away from 0: its tangent kernel has jumps there, which for one input coincide.
#[test]
fn kinks_away_from_zero() {
    let text = "network offset {
      axis i = 2
      data xi[i] : 2
      param U : n x 2 ~ N(0, 1/2)
      param v : n x 1 ~ N(0, 1/n)
      h[i] = U * xi[i]
      x[i] = relu(h[i] - 0.3)
      output f[i] = v' * x[i]
    }";
    let network = parse_network(text).unwrap();
    let tuned = Tuned::new(&network, &[HyperParameter::std(&network, &network.parameters[0])]);
    let tuned = Tuned { tolerance: 1e-5, ..tuned };
    for pair in [[0, 1], [1, 1]] {
        // Kinks that are not at 0 are asked for to 1e-5, and the kernel here is 0.02.
        tuned.check(&X[..4], &[1.2], &pair, 1e-3);
    }
}

/// Numbers of formulas, and coordinates of inputs: a slope, the offset of a jump, a kink between two sums.
#[test]
fn numbers_of_the_program() {
    let text = "network slopes {
      axis i = 2
      data xi[i] : 2
      data slope
      data offset
      param U : n x 2 ~ N(0, 1/2)
      param b : n ~ N(0, 1/4)
      param v : n x 1 ~ N(0, 1/n)
      h[i] = U * xi[i]
      x[i] = leaky_relu(h[i], slope) + max(h[i], offset * b) * step(h[i] - offset)
      output f[i] = v' * x[i]
    }";
    let network = parse_network(text).unwrap();
    let kernels = netsor_ir::transform::kernels(&network).unwrap();
    let [slope, offset, xi] = ["slope", "offset", "xi"].map(|name| kernels.program.find(name).unwrap());
    let mut deriver = Deriver::new(&kernels.program);
    let nngp = deriver.scalar(kernels.outputs[0].nngp.unwrap()).unwrap();
    let data = [Datum::scalar(slope), Datum::scalar(offset), Datum { value: xi, at: vec![1, 0] }];
    let derivatives: Vec<ExprId> =
        data.iter().map(|d| deriver.with_respect_to(d.clone()).unwrap().derivative(nngp).unwrap()).collect();
    let graph = deriver.into_graph();
    let value = |expr: ExprId, at: [f64; 3], pair: [u32; 2]| {
        let x = [X[0], X[1], at[2], X[3]];
        let data = Data::new().with(slope, vec![at[0]]).with(offset, vec![at[1]]).with(xi, x.to_vec());
        let tolerance = Tolerance { absolute: 1e-4, relative: 1e-4, max_points: 1 << 19, ..Tolerance::default() };
        Evaluator::new(&graph, &kernels.program, &data, tolerance).unwrap().value(expr, &pair).unwrap().value
    };
    let at = [0.2, 0.4, X[2]];
    for (k, &derivative) in derivatives.iter().enumerate() {
        let pair = [1, 1];
        let exact = value(derivative, at, pair);
        let difference = |h: f64| {
            let moved = |h: f64| {
                let mut at = at;
                at[k] += h;
                value(nngp, at, pair)
            };
            (moved(h) - moved(-h)) / (2.0 * h)
        };
        // The kernel is integrated to 1e-4, as are its derivatives; differences divide that by the step.
        let error = difference(0.05) - exact;
        assert!(error.abs() < 4e-3, "{k}: {exact} {error:e}");
    }
}

/// Powers of a jump: `E (1 + 2 step(c + s a))^2 = 1 + 8 P(c + s a > 0)`, with derivative `-8 c phi(c/s) / s^2` in `s`.
#[test]
fn powers_of_jumps() {
    let text = "program powers {
      data c
      data s
      vector a ~ N(0, 1)
      moment m = mean((1 + 2 * step(c + s * a))^2)
    }";
    let program = netsor_ir::syntax::parse_program(text).unwrap();
    let [c, s, m] = ["c", "s", "m"].map(|name| program.find(name).unwrap());
    let mut deriver = Deriver::new(&program);
    let m = deriver.scalar(m).unwrap();
    let derivative = deriver.with_respect_to(Datum::scalar(s)).unwrap().derivative(m).unwrap();
    let graph = deriver.into_graph();
    let (at_c, at_s) = (0.6_f64, 1.7_f64);
    let data = Data::new().with(c, vec![at_c]).with(s, vec![at_s]);
    let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap();
    let z = at_c / at_s;
    let phi = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let found = evaluator.value(derivative, &[]).unwrap().value;
    assert!((found + 8.0 * at_c * phi / (at_s * at_s)).abs() < 1e-13, "{found}");
}

/// Inputs that coincide, nearly coincide or are 0: the angle does not move, or moves with what it is.
#[test]
fn degenerate_inputs() {
    let mlp = Mlp { inputs: 2, dim: 2, hidden: 2, activation: Activation::Relu, b_std: 0.4, ..Mlp::default() };
    let network = mlp.network().unwrap();
    let hyper = [HyperParameter::biases(&network)];
    let at_angle = |angle: f64| at_one(&network, &hyper, &[1.0, 0.0, angle.cos(), angle.sin()], &[0, 1])[0].1[0];
    let coincident = at_angle(0.0);
    // E step step depends on the angle linearly, about 0.4 times here; rounding of a cosine is an angle of 1e-8.
    for (angle, tolerance) in [(1e-9, 1e-7), (1e-8, 1e-7), (1e-7, 2e-7), (1e-5, 2e-5), (1e-3, 2e-3)] {
        let found = at_angle(angle);
        assert!((found - coincident).abs() < tolerance, "{angle}: {found} {coincident}");
    }
    let without = Mlp { b_std: 0.0, ..mlp }.network().unwrap();
    let hyper = [HyperParameter::weights(&without)];
    for pair in [[0, 0], [0, 1], [1, 1]] {
        for (value, slopes) in at_one(&without, &hyper, &[0.0, 0.0, 0.6, 0.8], &pair) {
            assert!((slopes[0] - 6.0 * value).abs() < 1e-13, "{pair:?} {value} {slopes:?}");
        }
    }
}

#[test]
fn what_is_no_datum_is_refused() {
    let network = Mlp { inputs: 2, dim: 2, ..Mlp::default() }.network().unwrap();
    let mut deriver = Deriver::new(&network.program);
    let [xi, w] = ["xi", "W@1"].map(|name| network.program.find(name).unwrap());
    for datum in [Datum::scalar(w), Datum::scalar(xi), Datum { value: xi, at: vec![0, 2] }] {
        assert!(matches!(deriver.with_respect_to(datum), Err(crate::LimitError::NoDatum { .. })));
    }
    assert!(deriver.with_respect_to(Datum { value: xi, at: vec![1, 1] }).is_ok());
    let empty = HyperParameter::biases(&network);
    assert!(tunable(&network, &[empty]).unwrap_err().to_string().contains("no parameter"));
}
