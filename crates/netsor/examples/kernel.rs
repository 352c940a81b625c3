//! Kernel regression on handwritten digits with the tangent kernel of an infinitely wide network.
//!
//! `cargo run --package netsor --example kernel`

use std::path::Path;

use netsor::data::{Dataset, Encoding, Scaling, load_digits};
use netsor::ir::transform::kernels;
use netsor::limit::{Data, Deriver, Evaluator, Tolerance};
use netsor::predict::{DiagReg, GaussianProcess, Mat, accuracy};
use netsor::zoo::{Activation, Mlp};

const N_TRAIN: usize = 200;
const N_TEST: usize = 100;
/// Relative to the mean of the kernel's diagonal.
const RIDGE: f64 = 1e-3;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    let (inputs, digits) = images(&folder)?;
    let k = tangent_kernel(&inputs)?;

    let train = k.as_ref().submatrix(0, 0, N_TRAIN, N_TRAIN);
    let test = k.as_ref().submatrix(N_TRAIN, 0, N_TEST, N_TRAIN);
    let targets = Mat::from_fn(N_TRAIN, digits.n_outputs(), |i, c| digits.targets().row(i)[c]);
    let process = GaussianProcess::fit(train, targets.as_ref(), DiagReg::Relative(RIDGE))?;
    let outputs = process.mean(test)?;
    let right = accuracy(outputs.as_ref(), &digits.classes()?[N_TRAIN..])?;
    println!("{N_TRAIN} training images, {N_TEST} test images: {:.1} % right", 100.0 * right);
    Ok(())
}

/// The images, each of norm 8 (mean square 1), training images first: flat, and with their classes.
fn images(folder: &Path) -> Result<(Vec<f64>, Dataset), Box<dyn std::error::Error>> {
    let digits = load_digits(folder)?.encoded(Encoding::Centred)?;
    let order = netsor::data::permutation(digits.n_points(), 0);
    let digits = digits.select(&order[..N_TRAIN + N_TEST])?;
    let scaling = Scaling::unit_range(digits.inputs());
    let digits = digits.scaled(&scaling)?.on_sphere()?;
    Ok((digits.inputs().as_slice().to_vec(), digits))
}

/// The tangent kernel of a ReLU network with three hidden layers, in the limit of infinite width.
fn tangent_kernel(inputs: &[f64]) -> Result<Mat<f64>, Box<dyn std::error::Error>> {
    let n_points = N_TRAIN + N_TEST;
    let network = Mlp {
        inputs: n_points as u32,
        dim: 64,
        hidden: 3,
        activation: Activation::Relu,
        w_std: std::f64::consts::SQRT_2,
        ..Mlp::default()
    }
    .network()?;
    let kernels = kernels(&network)?;
    let program = &kernels.program;
    let mut deriver = Deriver::new(program);
    let ntk = deriver.scalar(kernels.outputs[0].ntk)?;
    let graph = deriver.into_graph();
    let data = Data::new().with(program.find("xi").ok_or("the network has data")?, inputs.to_vec());
    let mut evaluator = Evaluator::new(&graph, program, &data, Tolerance::default())?;
    let mut k = Mat::zeros(n_points, n_points);
    for i in 0..n_points {
        for j in 0..=i {
            let entry = evaluator.value(ntk, &[i as u32, j as u32])?.value;
            k[(i, j)] = entry;
            k[(j, i)] = entry;
        }
    }
    Ok(k)
}
