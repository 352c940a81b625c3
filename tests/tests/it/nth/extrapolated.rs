//! The means of `n K^(4)` and `n K^(3) f` at two widths, extrapolated by their rate `1/n`, are the limits.

use netsor_finite::Inputs;
use netsor_ir::Network;
use netsor_ir::syntax::parse_network;
use netsor_ir::verify::{Verified, verify_network};
use netsor_limit::Data;
use netsor_nth::{HierarchyExecutor, HuangYau, Integration, KernelOptions, Smooth, hierarchy, limit_hierarchy};

use super::limit::{ATTENTION, CONVOLUTION};

/// Widths whose ratio is 4.
const WIDTHS: [usize; 2] = [16, 64];

/// Most standard errors between an extrapolation and its limit: six numbers are compared, so that a right formula fails
/// with probability below 1e-4.
const STANDARD_ERRORS: f64 = 4.5;

/// A mean and its standard error.
fn mean(samples: &[f64]) -> (f64, f64) {
    let n = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / n;
    let variance = samples.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (n - 1.0);
    (mean, (variance / n).sqrt())
}

/// The share of `found` along `limit`, which is 1 at the limit.
fn share(found: &[f64], limit: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    dot(found, limit) / dot(limit, limit)
}

/// Draws networks of both widths. With a mean `1 + b/n + c/n^2` the combination `(4 mean(4n) - mean(n)) / 3` is
/// `1 - c/(4 n^2)`, which is 1 up to the standard errors: 0.005 for `n K^(4)` of a perceptron, below a tenth for the
/// others. A wrong limit leaves all of its error in it; a rate of `n^(-1/2)` a third of the distance at the smaller
/// width, which is seen where that is large.
#[track_caller]
fn check(network: &Verified<Network>, input: &str, x: &[f64], seeds: [u64; 2], integration: &Integration) {
    let xi = network.program.find(input).unwrap();
    let limits = limit_hierarchy(network, 4).unwrap();
    let limits = limits.evaluate(&Data::new().with(xi, x.to_vec()), None, integration).unwrap();
    let (fourth, third) = (limits.kernels[1].packed(), limits.with_output.as_ref().unwrap().packed());
    let program = hierarchy(network, 4).unwrap();
    let inputs = Inputs::new().with(xi, x.to_vec());
    let found = [0, 1].map(|k| {
        let m = WIDTHS[k] as f64;
        let mut executor = HierarchyExecutor::new(&program, &KernelOptions::new(WIDTHS[k], 0)).unwrap();
        let (mut of_fourth, mut of_third) = (Vec::new(), Vec::new());
        for seed in 0..seeds[k] {
            // Seeds of their own for each width: independent draws.
            let kernels = executor.kernels(&inputs, 2 * seed + k as u64).unwrap();
            let scaled: Vec<f64> = kernels.kernels[2].packed().iter().map(|x| m * x).collect();
            of_fourth.push(share(&scaled, fourth));
            let products = kernels.kernels[1].packed().iter();
            let products: Vec<f64> = products.flat_map(|x| kernels.f.iter().map(move |f| m * x * f)).collect();
            of_third.push(share(&products, third));
        }
        [mean(&of_fourth), mean(&of_third)]
    });
    for (which, what) in ["n K4", "n K3 f"].into_iter().enumerate() {
        let [(narrow, e), (wide, f)] = [found[0][which], found[1][which]];
        let (limit, error) = ((4.0 * wide - narrow) / 3.0, (16.0 * f * f + e * e).sqrt() / 3.0);
        println!("{what}: {narrow:.4} +- {e:.4}, {wide:.4} +- {f:.4}, extrapolated {limit:.4} +- {error:.4}");
        assert!((limit - 1.0).abs() < STANDARD_ERRORS * error, "{what}: {limit} +- {error}");
    }
}

#[test]
fn a_perceptron() {
    let paper = HuangYau { points: 1, dim: 2, hidden: 2, activation: Smooth::Tanh, sigma_w: 1.2, sigma_a: 1.0 };
    let exact = Integration::with_tolerance(1e-5);
    check(&paper.network().unwrap(), "x", &[0.9, -0.7], [4000, 2000], &exact);
}

#[test]
fn a_convolution() {
    let network = verify_network(parse_network(CONVOLUTION).unwrap()).unwrap();
    check(&network, "xi", &[1.0, -0.5, 0.3, 1.2], [4000, 2000], &Integration::Sampled { points: 4096, seed: 0 });
}

#[test]
fn attention() {
    let network = verify_network(parse_network(ATTENTION).unwrap()).unwrap();
    check(&network, "xi", &[1.0, -0.5, 0.3, 1.2], [4000, 2000], &Integration::Sampled { points: 4096, seed: 0 });
}
