//! Kernel regression on handwritten digits with the tangent kernel of an infinitely wide network.
//!
//! `cargo run --package netsor --example kernel`

use std::path::Path;

use netsor::data::{Encoding, Matrix, Scaling, load_digits};
use netsor::ir::transform::kernels;
use netsor::kernel::{Inputs, Options, Query, lower};
use netsor::limit::Deriver;
use netsor::predict::{DiagReg, GaussianProcess, Mat, accuracy, row_major};
use netsor::zoo::{Activation, Mlp};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const N_TRAIN: usize = 1_437;
/// Relative to the mean of the kernel's diagonal.
const RIDGE: f64 = 1e-3;

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    let split = load_digits(&folder)?.encoded(Encoding::Centred)?.split(N_TRAIN, 0)?;
    let scaling = Scaling::unit_range(split.train.inputs());
    // Every image gets the norm 8: entries with mean square 1.
    let train = split.train.scaled(&scaling)?.on_sphere()?;
    let test = split.test.scaled(&scaling)?.on_sphere()?;

    let k_train = tangent_kernel(train.inputs(), None)?;
    let k_test = tangent_kernel(test.inputs(), Some(train.inputs()))?;
    let targets = row_major("targets", train.targets().as_slice(), train.n_points(), train.n_outputs())?;
    let process = GaussianProcess::fit(k_train.as_ref(), targets, DiagReg::Relative(RIDGE))?;
    let outputs = process.mean(k_test.as_ref())?;
    let right = accuracy(outputs.as_ref(), test.classes()?)?;
    println!("{} training images, {} test images: {:.1} % right", train.n_points(), test.n_points(), 100.0 * right);
    Ok(())
}

/// The tangent kernel of a ReLU network with three hidden layers, in the limit of infinite width: between the rows of
/// `x1` and those of `x2`, or between `x1` and itself.
fn tangent_kernel(x1: &Matrix, x2: Option<&Matrix>) -> Result<Mat<f64>> {
    let network = Mlp {
        inputs: 1, // a plan takes any number of inputs, whatever the network says
        dim: x1.n_cols() as u32,
        hidden: 3,
        activation: Activation::Relu,
        w_std: std::f64::consts::SQRT_2,
        ..Mlp::default()
    }
    .network()?;
    let kernels = kernels(&network)?;
    let mut deriver = Deriver::new(&kernels.program);
    let ntk = deriver.scalar(kernels.outputs[0].ntk)?;
    let plan = lower(&deriver.into_graph(), &kernels.program, &[Query::new("ntk", ntk)])?;

    let xi = network.program.find("xi").ok_or("the network has data")?;
    let inputs = |x: &Matrix| Inputs::new(x.n_rows()).with(xi, x.as_slice().to_vec());
    let columns = x2.map(inputs);
    let result = plan.run(&inputs(x1), columns.as_ref(), &Options::default())?;
    let entries = result.get("ntk").ok_or("the kernel was asked for")?;
    Ok(Mat::from_fn(result.rows, result.cols, |i, j| entries[i * result.cols + j]))
}
