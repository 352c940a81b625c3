//! A step of training and an empirical tangent kernel against their floors: the matrix products that they consist of.
//!
//! `cargo bench --package netsor-benches --bench step [-- width batch]`
//!
//! The count, for `L = 3` hidden layers of width `n`, `N` inputs of dimension `d`, in multiplications and additions:
//!
//! | part | step | kernel |
//! | --- | --- | --- |
//! | forward products | `2 N n d + 2 (L - 1) N n^2` | the same |
//! | backward products | `2 (L - 1) N n^2` | the same |
//! | gradients, added to the weights where they are | `2 N n d + 2 (L - 1) N n^2` | none |
//! | two Gram matrices a layer | none | `2 N^2 (d + (2 L - 1) n)` and the readout's |
//!
//! At `n = 2048, N = 64, d = 784` the kernel has 2.4 GFLOP, and reads the two square matrices of 17 MB twice: it is
//! bound by memory. What comes on top of the products is `L N n` hyperbolic tangents (in the backward pass `phi'` is
//! taken from the values of `phi`, see `ir::transform::hoist`), two multiplications for each entry of an adjoint, a
//! look at each vector for numbers that are not finite, and `N^2` products of the entries of Gram matrices a layer.
//! Nothing is drawn, transposed, copied or allocated in the timed part.

use std::hint::black_box;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use netsor_benches::medians;
use netsor_finite::{Inputs, KernelExecutor, Options, Trainer};
use netsor_ir::verify::verify_network;
use netsor_zoo::Mlp;

const DIM: usize = 784;
const HIDDEN: usize = 3;
const RUNS: usize = 5;

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let (width, batch) = (sizes.first().copied().unwrap_or(4096), sizes.get(1).copied().unwrap_or(256));
    println!("problem/width/batch: seconds in f32 (median of {RUNS}), in units of the bare products of the same run");
    step(width, batch);
    kernel(width / 2, batch / 4);
}

/// A trainer of a tanh perceptron with `HIDDEN` hidden layers.
fn trainer(width: usize, batch: usize) -> Trainer<f32> {
    let inputs = batch as u32;
    let network = Mlp { inputs, dim: DIM as u32, hidden: HIDDEN as u32, ..Mlp::default() }.network();
    let network = verify_network(network.expect("a perceptron")).expect("a network of the library verifies");
    let xi = network.program.find("xi").expect("the data of a perceptron");
    let data = (0..batch * DIM).map(|k| (k as f64 * 0.7).sin()).collect();
    Trainer::new(&network, &Inputs::new().with(xi, data), Options::new(width, 0)).expect("it fits")
}

/// Matrices for the products of one layer: weights, forward vectors, adjoints.
struct Layer {
    weights: Mat<f32>,
    inputs: Mat<f32>,
    outputs: Mat<f32>,
}

fn layers(width: usize, batch: usize) -> Vec<Layer> {
    let filled = |rows: usize, cols: usize| Mat::from_fn(rows, cols, |i, j| ((i * 31 + j * 17) as f32 * 0.1).sin());
    let layer = |l: usize| {
        let fan_in = if l == 0 { DIM } else { width };
        Layer { weights: filled(width, fan_in), inputs: filled(fan_in, batch), outputs: filled(width, batch) }
    };
    (0..HIDDEN).map(layer).collect()
}

/// Forward products, and backward ones where a layer is below.
fn forward_and_backward(layers: &mut [Layer]) {
    let par = Par::rayon(0);
    for layer in layers.iter_mut() {
        matmul(layer.outputs.as_mut(), Accum::Replace, layer.weights.as_ref(), layer.inputs.as_ref(), 1.0, par);
    }
    for layer in layers.iter_mut().skip(1) {
        matmul(layer.inputs.as_mut(), Accum::Replace, layer.weights.transpose(), layer.outputs.as_ref(), 1e-9, par);
    }
}

fn step(width: usize, batch: usize) {
    let mut layers = layers(width, batch);
    let mut trainer = trainer(width, batch);
    let mut one = || {
        let f = trainer.outputs().expect("a small step").swap_remove(0);
        let residuals = f.iter().map(|f| (f - 1.0) / batch as f64).collect();
        trainer.step(1e-3, &[residuals]).expect("a small step");
    };
    one();
    let times = medians(
        RUNS,
        &mut [
            ("products", &mut || {
                forward_and_backward(&mut layers);
                for Layer { weights, inputs, outputs } in &mut layers {
                    let (rows, cols) = (outputs.as_ref(), inputs.transpose());
                    matmul(weights.as_mut(), Accum::Add, rows, cols, 1e-9, Par::rayon(0));
                }
                black_box(&layers);
            }),
            ("step", &mut one),
        ],
    );
    println!("step/{width}/{batch}: products {:.4} s, step {:.4} s = {:.2}", times[0], times[1], times[1] / times[0]);
}

fn kernel(width: usize, points: usize) {
    let mut layers = layers(width, points);
    let mut trainer = trainer(width, points);
    let mut kernels = KernelExecutor::new(trainer.network(), trainer.options()).expect("it has a backward pass");
    let mut one = || drop(black_box(kernels.of_trainer(&mut trainer).expect("it fits")));
    one();
    let times = medians(
        RUNS,
        &mut [
            ("products", &mut || {
                forward_and_backward(&mut layers);
                let mut gram = Mat::<f32>::zeros(points, points);
                for Layer { inputs, outputs, .. } in &layers {
                    for x in [inputs, outputs] {
                        matmul(gram.as_mut(), Accum::Replace, x.transpose(), x.as_ref(), 1.0, Par::rayon(0));
                    }
                }
                black_box(gram);
            }),
            ("kernel", &mut one),
        ],
    );
    println!("ntk/{width}/{points}: products {:.4} s, kernel {:.4} s = {:.2}", times[0], times[1], times[1] / times[0]);
}
