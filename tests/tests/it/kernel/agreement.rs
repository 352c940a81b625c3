//! Plans against the evaluator of the moment graph, entry by entry.

use netsor_data::load_digits;
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{HyperParameter, Kernels, kernels, tunable};
use netsor_ir::{Network, ValueId};
use netsor_kernel::{Inputs, KernelError, KernelMatrices, Options, Plan, Query, Shared, lower, lower_with};
use netsor_limit::{Data, Datum, Deriver, Evaluator, Graph, Tolerance};
use netsor_num::normal::{cdf, pdf};
use netsor_num::quadrature::gauss_legendre;
use netsor_num::streams::{Streams, fill_normal};
use netsor_zoo::{Activation, Conv1d, Mlp, Padding, Tied};

use crate::files::path;

/// A network's kernels, lowered and as a graph.
struct Lowered {
    kernels: Kernels,
    graph: Graph,
    queries: Vec<Query>,
    /// Numbers of hyper-parameters.
    shared: Shared,
    plan: Plan,
}

fn lowered(network: &Network) -> Lowered {
    let kernels = kernels(network).unwrap();
    let mut deriver = Deriver::new(&kernels.program);
    let output = &kernels.outputs[0];
    let n_axes = output.indices.len();
    let ntk = deriver.scalar(output.ntk).unwrap();
    let mut queries = vec![Query::component("ntk", ntk, n_axes, &[], &[])];
    if let Some(nngp) = output.nngp {
        let nngp = deriver.scalar(nngp).unwrap();
        queries.push(Query::component("nngp", nngp, n_axes, &[], &[]));
    }
    let graph = deriver.into_graph();
    let plan = lower(&graph, &kernels.program, &queries).unwrap();
    Lowered { kernels, graph, queries, shared: Shared::new(), plan }
}

/// The same with factors of all weights and of all biases, which are 1.1 and 0.8, and derivatives with respect to them.
fn lowered_derivatives(network: &Network) -> Lowered {
    let hyper = [HyperParameter::weights(network), HyperParameter::biases(network)];
    let hyper: Vec<HyperParameter> = hyper.into_iter().filter(|h| !h.acts.is_empty()).collect();
    let tunable = tunable(network, &hyper).unwrap();
    let kernels = tunable.kernels().unwrap();
    let mut deriver = Deriver::new(&kernels.program);
    let output = &kernels.outputs[0];
    let n_axes = output.indices.len();
    let all = [("ntk", deriver.scalar(output.ntk).unwrap()), ("nngp", deriver.scalar(output.nngp.unwrap()).unwrap())];
    let mut queries: Vec<Query> = all.iter().map(|(name, e)| Query::component(*name, *e, n_axes, &[], &[])).collect();
    for (&factor, hyper) in tunable.factors.iter().zip(&hyper) {
        let mut by = deriver.with_respect_to(Datum::scalar(factor)).unwrap();
        for (name, expr) in all {
            let name = format!("d {name} / d {}", hyper.name);
            queries.push(Query::component(name, by.derivative(expr).unwrap(), n_axes, &[], &[]));
        }
    }
    let graph = deriver.into_graph();
    let shared: Shared = tunable.factors.iter().zip([1.1, 0.8]).map(|(&f, x)| (f, vec![x])).collect();
    let plan = lower_with(&graph, &kernels.program, &queries, &shared).unwrap();
    Lowered { kernels, graph, queries, shared, plan }
}

impl Lowered {
    fn xi(&self) -> ValueId {
        self.kernels.program.find("xi").unwrap()
    }

    fn run(&self, x: &[f64], rows: usize) -> KernelMatrices {
        self.plan.run(&Inputs::new(rows).with(self.xi(), x), None, &Options::default()).unwrap()
    }
}

fn normal(purpose: &str, n: usize) -> Vec<f64> {
    let mut x = vec![0.0; n];
    fill_normal(&mut Streams::new(11).stream(purpose, 0), &mut x);
    x
}

/// Both kernels on `rows` inputs (the batch of the network) against the evaluator, relative to the diagonal.
#[track_caller]
fn check(network: &Network, x: &[f64], rows: usize, tolerance: f64) {
    check_lowered(&lowered(network), x, rows, tolerance);
}

#[track_caller]
fn check_lowered(lowered: &Lowered, x: &[f64], rows: usize, tolerance: f64) {
    let matrices = lowered.run(x, rows);
    let data = lowered.shared.iter().fold(Data::new(), |data, (&value, numbers)| data.with(value, numbers.clone()));
    let data = data.with(lowered.xi(), x.to_vec());
    let asked = Tolerance { absolute: 0.1 * tolerance, relative: 0.1 * tolerance, ..Tolerance::default() };
    let program = &lowered.kernels.program;
    let mut evaluator = Evaluator::new(&lowered.graph, program, &data, asked).unwrap();
    for query in &lowered.queries {
        let found = matrices.get(&query.name).unwrap();
        let mut at = |i: usize, j: usize| {
            let half = query.at.len() / 2;
            let mut at = vec![0; query.at.len()];
            (at[0], at[half]) = (i as u32, j as u32);
            evaluator.value(query.expr, &at).unwrap().value
        };
        let diagonal: Vec<f64> = (0..rows).map(|i| at(i, i)).collect();
        for i in 0..rows {
            for j in 0..rows {
                let (expected, found) = (at(i, j), found[i * rows + j]);
                let size = (diagonal[i] * diagonal[j]).sqrt();
                assert!(
                    (found - expected).abs() <= tolerance * size,
                    "{} [{i}, {j}]: {found} against {expected}, relative to {size}",
                    query.name
                );
            }
        }
    }
}

fn mlp(activation: Activation, hidden: u32, inputs: u32) -> Mlp {
    Mlp { inputs, dim: 5, hidden, activation, ..Mlp::default() }
}

#[test]
fn rectified_networks_agree_to_rounding() {
    let activations = [Activation::Relu, Activation::LeakyRelu { slope: 0.2 }, Activation::Abs, Activation::Identity];
    for activation in activations {
        for hidden in 1..=4 {
            // A few dozen roundings, amplified by 1/sin of the angle: the closest pair of these inputs is 20 degrees
            // apart.
            check(&mlp(activation, hidden, 6).network().unwrap(), &normal("relu", 30), 6, 1e-12);
        }
    }
}

#[test]
fn error_function_networks_agree_to_rounding() {
    for hidden in 1..=3 {
        check(&mlp(Activation::Erf, hidden, 6).network().unwrap(), &normal("erf", 30), 6, 1e-12);
    }
}

#[test]
fn smooth_networks_agree() {
    for (activation, hidden) in [
        (Activation::Tanh, 1),
        (Activation::Tanh, 3),
        (Activation::Gelu, 2),
        (Activation::Sigmoid, 2),
        (Activation::Sin, 2),
        (Activation::Silu, 1),
    ] {
        // The series leave 1e-9 an expectation, and an error passes through the few that follow.
        check(&mlp(activation, hidden, 4).network().unwrap(), &normal("smooth", 20), 4, 3e-8);
    }
}

/// Derivatives of error functions and Gaussians stay in their family: neither series nor integrals are left.
#[test]
fn derivatives_have_closed_forms() {
    for activation in [Activation::Erf, Activation::Gelu, Activation::Relu, Activation::Sin] {
        let size = lowered_derivatives(&mlp(activation, 2, 2).network().unwrap()).plan.size();
        assert_eq!((size.series, size.integrals), (0, 0), "{activation:?}: {size:?}");
        // Inner products of inputs and of nothing else.
        assert_eq!(size.grams, 1, "{activation:?}: {size:?}");
    }
}

/// Inputs of deviations from 0.3 to 12, nearly parallel, parallel and opposite: long series, grids, and one dimension.
#[test]
fn correlations_near_one_agree() {
    let direction = normal("direction", 5);
    let aside = normal("aside", 5);
    let scaled =
        |c: f64, bend: f64| direction.iter().zip(&aside).map(move |(x, y)| c * (x + bend * y)).collect::<Vec<_>>();
    let x: Vec<f64> = [(0.3, 0.0), (0.9, 1e-3), (1.0, 0.1), (1.0, 0.0), (-1.0, 1e-9), (4.0, 0.02), (12.0, 0.0)]
        .into_iter()
        .flat_map(|(c, bend)| scaled(c, bend))
        .collect();
    check(&mlp(Activation::Tanh, 1, 7).network().unwrap(), &x, 7, 3e-8);
}

#[test]
fn what_has_neither_form_nor_series_is_integrated() {
    check(&mlp(Activation::Elu, 1, 3).network().unwrap(), &normal("elu", 15), 3, 1e-8);
    let tied = Tied { inputs: 2, dim: 3, ..Tied::default() }.network().unwrap();
    check(&tied, &normal("tied", 6), 2, 1e-6);
}

/// One hidden layer with this function, on inputs whose preactivations have the Gram matrix of the inputs.
fn one_hidden(function: &str, inputs: usize) -> Network {
    let text = format!(
        "network kinked {{
           axis i = {inputs}
           data xi[i] : 2
           param U : n x 2 ~ N(0, 1)
           param v : n x 1 ~ N(0, 1/n)
           h[i] = U * xi[i]
           x[i] = {function}
           output f[i] = v' * x[i]
         }}"
    );
    parse_network(&text).unwrap()
}

/// Kinks and jumps away from zero, which no series and no rule about zero resolves; symmetric to the last bit.
#[test]
fn kinks_away_from_zero_agree() {
    let x = [1.0, 0.0, 0.6, 0.8, 2.0, -1.5];
    let functions = [
        "abs(h[i] - 1/3)",
        "relu(h[i] - 1)",
        "step(h[i] - 1/2)",
        "max(h[i], 3/10)",
        "min(relu(h[i]), 1)",
        "relu(tanh(h[i]) - 1/5)",
        "sign(h[i] - 1/2) * h[i]",
    ];
    for function in functions {
        let lowered = lowered(&one_hidden(function, 3));
        check_lowered(&lowered, &x, 3, 1e-9);
        let found = lowered.run(&x, 3);
        for query in &lowered.queries {
            let entries = found.get(&query.name).unwrap();
            for (i, j) in (0..3).flat_map(|i| (0..i).map(move |j| (i, j))) {
                assert_eq!(entries[i * 3 + j], entries[j * 3 + i], "{function}: {} [{i}, {j}]", query.name);
            }
        }
    }
}

/// `E relu(u - 1) relu(v - 1)` without the engine: the law of `v` given `u` in closed form, Gauss' rule in `u` from the
/// kink to 12 deviations, where the density is 1e-32.
#[test]
fn a_shifted_relu_against_an_integral_by_hand() {
    let x = [1.0, 0.0, 0.6, 0.8, 2.0, -1.5];
    let entries = lowered(&one_hidden("relu(h[i] - 1)", 3)).run(&x, 3).get("nngp").unwrap().to_vec();
    let rule = gauss_legendre(20);
    for (i, j) in [(0, 1), (0, 2), (1, 2)] {
        let gram = |a: usize, b: usize| x[2 * a] * x[2 * b] + x[2 * a + 1] * x[2 * b + 1];
        let (s, slope) = (gram(i, i).sqrt(), gram(i, j) / gram(i, i));
        let c = (gram(j, j) - slope * gram(i, j)).sqrt();
        let given = |u: f64| {
            let z = (slope * u - 1.0) / c;
            (u - 1.0) * c * (pdf(z) + z * cdf(z)) * pdf(u / s) / s
        };
        let width = (12.0 * s - 1.0) / 200.0;
        let panel = |k: i32| rule.integrate(1.0 + width * f64::from(k), 1.0 + width * f64::from(k + 1), given);
        let exact: f64 = (0..200).map(panel).sum();
        assert!(
            (entries[i * 3 + j] - exact).abs() <= 1e-10 * exact.max(0.1),
            "[{i}, {j}]: {} {exact}",
            entries[i * 3 + j]
        );
    }
}

#[test]
fn several_outputs_have_the_kernel_of_one() {
    for outputs in [1, 3] {
        let network = Mlp { outputs, ..mlp(Activation::Relu, 2, 4) }.network().unwrap();
        check(&network, &normal("outputs", 20), 4, 1e-12);
    }
}

#[test]
fn weights_and_biases_have_variances() {
    for b_std in [0.0, 0.3] {
        for activation in [Activation::Relu, Activation::Erf] {
            let network = Mlp { w_std: 1.4, b_std, ..mlp(activation, 3, 4) }.network().unwrap();
            check(&network, &normal("biases", 20), 4, 1e-12);
        }
    }
}

#[test]
fn convolutions_agree() {
    for (padding, activation, tolerance) in [
        (Padding::Same, Activation::Relu, 1e-12),
        (Padding::Circular, Activation::Erf, 1e-12),
        (Padding::Same, Activation::Tanh, 3e-8),
    ] {
        let conv = Conv1d { inputs: 3, positions: 4, channels: 2, hidden: 2, padding, activation, ..Conv1d::default() };
        check(&conv.network().unwrap(), &normal("conv", 24), 3, tolerance);
    }
}

#[test]
fn derivatives_agree() {
    for (activation, tolerance) in [
        (Activation::Relu, 1e-12),
        (Activation::LeakyRelu { slope: 0.2 }, 1e-12),
        (Activation::Erf, 1e-9),
        // What the series leave, as for the kernels.
        (Activation::Tanh, 3e-8),
        (Activation::Gelu, 3e-8),
    ] {
        for b_std in [0.0, 0.3] {
            let network = Mlp { b_std, ..mlp(activation, 2, 4) }.network().unwrap();
            check_lowered(&lowered_derivatives(&network), &normal("derivatives", 20), 4, tolerance);
        }
    }
    let conv = Conv1d { inputs: 3, positions: 3, channels: 2, activation: Activation::Relu, ..Conv1d::default() };
    check_lowered(&lowered_derivatives(&conv.network().unwrap()), &normal("conv", 18), 3, 1e-12);
}

/// A ReLU network without biases is homogeneous in its weights, also where inputs are 0, repeated and opposite.
#[test]
fn derivatives_at_degenerate_inputs() {
    let lowered = lowered_derivatives(&mlp(Activation::Relu, 2, 1).network().unwrap());
    let mut x = normal("edges", 20);
    x[5..10].fill(0.0);
    for k in 0..5 {
        x[10 + k] = x[k];
        x[15 + k] = -x[k];
    }
    let matrices = lowered.run(&x, 4);
    assert!(lowered.plan.symmetric().all(|s| s));
    for kernel in ["ntk", "nngp"] {
        let (value, slope) = (matrices.get(kernel).unwrap(), matrices.get(&format!("d {kernel} / d weights")).unwrap());
        for (value, slope) in value.iter().zip(slope) {
            // Three layers of weights, each squared, at the factor 1.1.
            assert!((1.1 * slope - 6.0 * value).abs() <= 1e-13 * value.abs(), "{kernel}: {value} {slope}");
        }
    }
}

#[test]
fn shared_numbers_are_checked() {
    let network = mlp(Activation::Relu, 1, 2).network().unwrap();
    let Lowered { kernels, graph, queries, shared, .. } = lowered_derivatives(&network);
    let refused = |shared: &Shared| lower_with(&graph, &kernels.program, &queries, shared).unwrap_err();
    assert!(matches!(refused(&Shared::new()), KernelError::Shared { .. }));
    let with = |numbers: Vec<f64>| shared.keys().map(|&k| (k, numbers.clone())).collect::<Shared>();
    assert!(matches!(refused(&with(vec![1.0, 2.0])), KernelError::DataSize { columns: 1, found: 2, .. }));
    assert!(matches!(refused(&with(vec![f64::NAN])), KernelError::NotFinite { .. }));
}

#[test]
fn zero_parallel_and_repeated_inputs() {
    let mut x = normal("edges", 30);
    x[5..10].fill(0.0);
    for k in 0..5 {
        x[10 + k] = 3.0 * x[k];
        x[15 + k] = -x[k];
        x[20 + k] = x[k];
    }
    for activation in [Activation::Relu, Activation::Erf] {
        // Rounding of 3 x may leave an angle of 1e-8, which the evaluator takes for real.
        check(&mlp(activation, 3, 6).network().unwrap(), &x, 6, 1e-7);
    }
    check(&mlp(Activation::Tanh, 2, 6).network().unwrap(), &x, 6, 3e-8);
    // The plan knows repeated inputs for what they are.
    let lowered = lowered(&mlp(Activation::Relu, 3, 6).network().unwrap());
    let ntk = &lowered.run(&x, 6).values[0];
    assert!((ntk[4] - ntk[0]).abs() <= 1e-14 * ntk[0], "{} {}", ntk[4], ntk[0]);
}

#[test]
fn symmetric_rectangular_and_any_number_of_threads() {
    let rows = 300;
    for activation in [Activation::Relu, Activation::Tanh] {
        let lowered = lowered(&mlp(activation, 2, 2).network().unwrap());
        assert!(lowered.plan.symmetric().all(|s| s));
        let x = normal("rows", rows * 5);
        let inputs = Inputs::new(rows).with(lowered.xi(), &x[..]);
        let run = |x2: Option<&Inputs<'_>>, threads| {
            lowered.plan.run(&inputs, x2, &Options { threads, ..Options::default() }).unwrap()
        };
        let half = run(None, 1);
        assert_eq!(half.values, run(None, 2).values);
        assert_eq!(half.values, run(None, 3).values);
        let all = run(Some(&inputs), 2);
        for (a, b) in half.values.iter().flatten().zip(all.values.iter().flatten()) {
            // Off the diagonal the same operations with operands exchanged; on it the series, which leave up to 1e-9
            // in each of five expectations, against a rule in one variable.
            assert!((a - b).abs() <= 1e-8 * a.abs().max(0.1), "{a} {b}");
        }
        let part = Inputs::new(7).with(lowered.xi(), &x[..35]);
        let few = lowered.plan.run(&part, Some(&inputs), &Options::default()).unwrap();
        let same = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-8 * a.abs().max(0.1);
        assert!(few.values[0].iter().zip(&all.values[0]).all(same));
    }
}

/// Inputs whose functions no rule of the series resolves, alone on one side, are integrated like any others.
#[test]
fn large_inputs_agree_in_rectangles() {
    let lowered = lowered(&mlp(Activation::Tanh, 1, 4).network().unwrap());
    let mut x = normal("sizes", 20);
    x[10..].iter_mut().for_each(|x| *x *= 100.0);
    let run = |x: &[f64], x2: &[f64]| {
        let [rows, columns] = [x, x2].map(|x| Inputs::new(x.len() / 5).with(lowered.xi(), x));
        lowered.plan.run(&rows, Some(&columns), &Options::default()).unwrap()
    };
    let (all, part) = (run(&x[..], &x[..]), run(&x[..10], &x[10..]));
    for (all, part) in all.values.iter().zip(&part.values) {
        for i in 0..2 {
            for j in 0..2 {
                let (a, b) = (part[i * 2 + j], all[i * 4 + 2 + j]);
                assert!(0.0 < a.abs() && (a - b).abs() <= 1e-8 * b.abs(), "[{i}, {j}]: {a} {b}");
            }
        }
    }
}

#[test]
fn the_pooled_convolution_is_symmetric_by_its_form() {
    let lowered = lowered(&Conv1d { inputs: 2, ..Conv1d::default() }.network().unwrap());
    assert!(lowered.plan.symmetric().all(|s| s));
    assert_eq!(lowered.plan.size().grams, 16);
}

#[test]
fn digits() {
    let data = load_digits(&path("data")).unwrap();
    let rows = 12;
    let x: Vec<f64> = data.inputs().as_slice()[..rows * 64].iter().map(|x| x / 16.0).collect();
    for (activation, tolerance) in [(Activation::Relu, 1e-12), (Activation::Erf, 1e-12), (Activation::Tanh, 3e-8)] {
        let network = Mlp { dim: 64, ..mlp(activation, 3, rows as u32) }.network().unwrap();
        check(&network, &x, rows, tolerance);
    }
}

#[test]
fn what_is_wrong_is_said() {
    let lowered = lowered(&mlp(Activation::Relu, 1, 2).network().unwrap());
    let run = |x: &[f64], rows, options: &Options<'_>| {
        lowered.plan.run(&Inputs::new(rows).with(lowered.xi(), x.to_vec()), None, options).unwrap_err()
    };
    let options = Options::default();
    let mut x = normal("wrong", 10);
    assert!(matches!(run(&x, 3, &options), KernelError::DataSize { rows: 3, columns: 5, found: 10, .. }));
    assert!(matches!(run(&[], 0, &options), KernelError::NoInputs));
    assert!(matches!(run(&x, 2, &Options { memory: 1 << 10, ..options }), KernelError::Memory { .. }));
    assert!(matches!(run(&x, 2, &Options { tolerance: f64::NAN, ..options }), KernelError::Tolerance { .. }));
    let cancel = std::sync::atomic::AtomicBool::new(true);
    assert_eq!(run(&x, 2, &Options { cancel: Some(&cancel), ..options }), KernelError::Cancelled);
    x[7] = f64::NAN;
    assert!(matches!(run(&x, 2, &options), KernelError::NotFinite { row: 1, column: 2, .. }));
    x[7] = 1e200;
    // The variance of the second input overflows.
    let error = run(&x, 2, &options);
    assert!(matches!(error, KernelError::Expectation { row: 1, column: 1, .. }), "{error:?}");
    let missing = lowered.plan.run(&Inputs::new(1), None, &options).unwrap_err();
    assert_eq!(missing.to_string(), "the inputs have no numbers for data `xi`");
}
