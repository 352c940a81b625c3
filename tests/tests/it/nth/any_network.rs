//! The hierarchy of other networks than MLPs, against differences of kernels along steps of gradient descent.

use netsor_finite::Inputs;
use netsor_ir::syntax::parse_network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_ir::{Network, ValueId};
use netsor_nth::{
    Hierarchy, HuangYau, KernelOptions, NthError, Smooth, Truncated, bold_hierarchy, estimated_bytes, gradient_flow,
    gradient_step, hierarchy, kernels_at,
};
use netsor_num::ode::OdeOptions;
use netsor_zoo::{Activation, Conv1d, Mlp, Tied};

use crate::everything::{self, numbers};

/// Length of a step. A five-point rule is exact up to the fourth power; rounding gives 1e-16 / ETA times the ratio of
/// value and slope.
const ETA: f64 = 1e-4;
/// A thousand times that, relative to the largest slope.
const TOLERANCE: f64 = 1e-9;

/// `d/dt` of `f` and `K^(2) .. K^(order-1)` along gradient flow, from `K^(2) .. K^(order)` and from differences.
#[track_caller]
fn check(network: &Verified<Network>, x: ValueId, width: usize, order: usize) {
    let sizes = network.program.family_sizes(x);
    let dim = match network.program.value(x).ty.kind {
        netsor_ir::Kind::Vector(netsor_ir::Dim::Finite(dim)) => dim as usize,
        kind => panic!("{kind:?}"),
    };
    let inputs = Inputs::new().with(x, numbers(sizes.iter().product::<usize>() * dim, 1.7));
    let options = KernelOptions::new(width, 3).with_train(2);
    let all = hierarchy(network, order).unwrap();
    let start = kernels_at(&all, &inputs, &options).unwrap();
    let targets: Vec<f64> = numbers(start.kernels[0].n_train(), 2.3);
    let (df, dk) = Truncated::new(&start, &targets, order).unwrap().slopes_at_start();

    let lower = hierarchy(network, order - 1).unwrap();
    let after = |eta: f64| -> Vec<Vec<f64>> {
        let (f, inputs) = gradient_step(network, &inputs, &targets, eta, &options).unwrap();
        let kernels = kernels_at(&lower, &inputs, &options).unwrap().kernels;
        [f].into_iter().chain(kernels.iter().map(|k| k.packed().to_vec())).collect()
    };
    let steps = [-2.0 * ETA, -ETA, ETA, 2.0 * ETA].map(after);
    let found = [&df[..]].into_iter().chain(dk.iter().map(|k| k.packed()));
    for (k, found) in found.enumerate() {
        let scale = found.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        assert!(0.0 < scale, "nothing moves");
        for (i, slope) in found.iter().enumerate() {
            let [a, b, c, d] = [0, 1, 2, 3].map(|s: usize| steps[s][k][i]);
            let difference = (a - d + 8.0 * (c - b)) / (12.0 * ETA);
            assert!((slope - difference).abs() < TOLERANCE * scale, "{k}[{i}]: {slope} {difference}");
        }
    }
}

#[track_caller]
fn check_zoo(network: Network, width: usize) {
    let x = network.program.find("xi").unwrap();
    check(&verified(network), x, width, 4);
}

fn verified(network: Network) -> Verified<Network> {
    verify_network(network).unwrap()
}

#[test]
fn a_network_with_biases() {
    let mlp = Mlp { inputs: 3, dim: 2, hidden: 2, outputs: 2, b_std: 0.5, ..Mlp::default() };
    check_zoo(mlp.network().unwrap(), 5);
}

#[test]
fn a_convolution_with_pooling() {
    let conv = Conv1d { inputs: 3, hidden: 2, channels: 2, activation: Activation::Erf, ..Conv1d::default() };
    check_zoo(conv.network().unwrap(), 4);
}

#[test]
fn a_matrix_and_its_transpose() {
    let tied = Tied { inputs: 3, dim: 2, activation: Activation::Softplus, ..Tied::default() };
    check_zoo(tied.network().unwrap(), 5);
}

/// Two widths, shared weights, layer norm, batch statistics, attention, W and W', several outputs: Moments are
/// differentiated at every order.
#[test]
fn a_network_that_has_everything() {
    let everything = everything::everything();
    check(&everything.network, everything.xi, 4, 4);
}

/// The truncations themselves against gradient flow in the parameters: the error of `f` begins like `t^p`, up to `p = 4`,
/// for a residual network and a convolution.
#[test]
fn truncations_follow_other_networks() {
    let residual = "network residual {
      axis i = 3
      data xi[i] : 2
      param U : n x 2 ~ N(0, 1/2)
      param W : n x n ~ N(0, 1/n)
      param v : n x 1 ~ N(0, 1/n)
      g[i] = U * xi[i]
      z[i] = tanh(g[i])
      h[i] = W * z[i]
      x[i] = z[i] + tanh(h[i])
      output f[i] = v' * x[i]
    }";
    let conv = Conv1d { inputs: 3, hidden: 2, channels: 2, activation: Activation::Erf, ..Conv1d::default() };
    for network in [verified(parse_network(residual).unwrap()), verified(conv.network().unwrap())] {
        let x = network.program.find("xi").unwrap();
        let numbers_needed = network.program.family_sizes(x).iter().product::<usize>() * 2;
        let inputs = Inputs::new().with(x, numbers(numbers_needed, 1.7));
        let options = KernelOptions::new(6, 3).with_train(2);
        let start = kernels_at(&hierarchy(&network, 4).unwrap(), &inputs, &options).unwrap();
        let targets: Vec<f64> = numbers(start.kernels[0].n_train(), 2.3);
        // Short against the rates of the flow, whose sum is the trace of the kernel over the number of examples.
        let trace: f64 = (0..targets.len()).map(|a| start.kernels[0].get(&[a, a])).sum();
        let times = [0.05, 0.1].map(|t| t * 2.0 / trace);
        let ode = OdeOptions::with_tolerance(1e-14);
        let truth = gradient_flow(&network, &inputs, &targets, &times, &options, &ode).unwrap();
        for p in 2..=4 {
            let path = Truncated::new(&start, &targets, p).unwrap().solve(&times, &ode).unwrap();
            let error = |k: usize| {
                let pairs = path.f[k].iter().zip(&truth.f[k]);
                pairs.map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
            };
            let slope = (error(1) / error(0)).log2();
            // The next term is smaller by the time in units of the rates, which are below one here.
            assert!((slope - p as f64).abs() < 0.3, "{}, p = {p}: {slope}", network.program.name);
        }
    }
}

/// Orders above those of the golden files.
#[test]
fn kernels_of_fifth_and_sixth_order() {
    let mlp = Mlp { inputs: 2, dim: 2, hidden: 1, ..Mlp::default() };
    let network = verified(mlp.network().unwrap());
    check(&network, network.program.find("xi").unwrap(), 3, 6);
    let deep = verified(Mlp { hidden: 2, ..mlp }.network().unwrap());
    check(&deep, deep.program.find("xi").unwrap(), 3, 5);
}

/// The paper's network and the perceptron of the NTK parametrization are one network up to the constants `sigma` and
/// `1/sqrt(d)`: with standard normal weights and inputs that are longer by `sqrt(d)`, every kernel is the same.
#[test]
fn the_map_between_the_parametrizations() {
    let (dim, width) = (3, 7);
    let paper = HuangYau { points: 3, dim, hidden: 2, activation: Smooth::Tanh, sigma_w: 1.0, sigma_a: 1.0 };
    let ntp = Mlp { inputs: 3, dim, hidden: 2, activation: Activation::Tanh, w_std: 1.0, b_std: 0.0, ..Mlp::default() };
    let (paper, ntp) = (paper.network().unwrap(), verified(ntp.network().unwrap()));
    let root = f64::from(dim).sqrt();
    let x = numbers(9, 1.1);
    let weights = [numbers(7 * 3, 0.7), numbers(49, 1.9).iter().map(|w| w / 7f64.sqrt()).collect(), numbers(7, 0.4)];
    let kernels = |network: &Verified<Network>, data: &str, names: [&str; 3], scale: f64| {
        let value = |name: &str| network.program.find(name).unwrap();
        let mut inputs = Inputs::new().with(value(data), x.iter().map(|x| x * scale).collect());
        for (name, numbers) in names.into_iter().zip(&weights) {
            let first = if name == names[0] { 1.0 / scale } else { 1.0 };
            inputs.set(value(name), numbers.iter().map(|w| w * first).collect());
        }
        kernels_at(&hierarchy(network, 4).unwrap(), &inputs, &KernelOptions::new(width, 0)).unwrap()
    };
    let one = kernels(&paper, "x", ["W@1", "W@2", "a"], 1.0);
    let other = kernels(&ntp, "xi", ["W@1", "W@2", "v"], root);
    for (a, b) in one.kernels.iter().zip(&other.kernels) {
        for (x, y) in a.packed().iter().zip(b.packed()) {
            assert!((x - y).abs() < 1e-13 * a.norm_max(), "K^({}): {x} {y}", a.order());
        }
    }
    assert!((one.f[0] - other.f[0]).abs() < 1e-14);
}

#[test]
fn programs_grow_as_stated() {
    let network = |inputs| verified(Mlp { inputs, dim: 2, hidden: 2, ..Mlp::default() }.network().unwrap());
    let bytes = |inputs, order, width| estimated_bytes(&hierarchy(&network(inputs), order).unwrap(), width) as f64;
    // K^(r) has tangents along r - 2 directions: n^(r-1) vectors of width m.
    for order in 3..=5 {
        let ratio = bytes(64, order, 1000) / bytes(32, order, 1000);
        assert!((ratio.log2() - (order as f64 - 1.0)).abs() < 0.3, "{order}: {ratio}");
    }
}

#[test]
fn refusals() {
    let program: Hierarchy =
        hierarchy(&verified(Mlp { inputs: 100, dim: 2, hidden: 2, ..Mlp::default() }.network().unwrap()), 4).unwrap();
    let error = kernels_at(&program, &Inputs::new(), &KernelOptions::new(1000, 0)).unwrap_err();
    assert!(matches!(error, NthError::Memory { order: 4, points: 100, width: 1000, .. }), "{error}");
    assert!(error.to_string().contains("raise it"), "{error}");

    let relu = verified(Mlp { activation: Activation::Relu, ..Mlp::default() }.network().unwrap());
    assert!(matches!(hierarchy(&relu, 3), Err(NthError::NotSmooth { function: "relu", .. })));
    let tanh = verified(Mlp { inputs: 2, dim: 1, ..Mlp::default() }.network().unwrap());
    for order in [0, 1, 8] {
        assert!(matches!(hierarchy(&tanh, order), Err(NthError::Order { .. })));
    }
    let xi = tanh.program.find("xi").unwrap();
    let inputs = Inputs::new().with(xi, vec![1.0, -0.5]);
    let program = hierarchy(&tanh, 3).unwrap();
    for train in [0, 3] {
        let options = KernelOptions::new(4, 0).with_train(train);
        assert!(matches!(kernels_at(&program, &inputs, &options), Err(NthError::Order { .. })));
    }
    let kernels = kernels_at(&program, &inputs, &KernelOptions::new(4, 0)).unwrap();
    assert!(matches!(Truncated::new(&kernels, &[0.0, 1.0], 4), Err(NthError::Order { found: 4, .. })));
    assert!(matches!(Truncated::new(&kernels, &[0.0], 3), Err(NthError::Length { expected: 2, .. })));
    assert!(matches!(Truncated::new(&kernels, &[0.0, f64::NAN], 3), Err(NthError::Number { .. })));
    let two = Truncated::new(&kernels, &[0.0, 1.0], 2).unwrap();
    assert!(two.solve_reduced(&[1.0], &OdeOptions::default()).is_err());
    let bold = kernels_at(&bold_hierarchy(&tanh, 4).unwrap(), &inputs, &KernelOptions::new(4, 0)).unwrap();
    assert!(matches!(Truncated::new(&bold, &[0.0, 1.0], 4), Err(NthError::FrozenKernels { p: 4 })));
    assert!(Truncated::new(&bold, &[0.0, 1.0], 3).is_ok(), "bold K^(3) is K^(3)");
    assert!(two.solve(&[-1.0], &OdeOptions::default()).is_err());
}
