//! Variances of weights, biases and noise by the marginal likelihood of the data.
//!
//! `cargo run --package netsor --example tune`

use std::path::Path;

use netsor::data::{Scaling, load_shipped};
use netsor::ir::transform::{HyperParameter, tunable};
use netsor::kernel::{Inputs, Options, TunableKernel, Which};
use netsor::predict::{DiagReg, GaussianProcess, Mat, MatRef, Search, minimise, row_major};
use netsor::zoo::{Activation, Mlp};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const N_TRAIN: usize = 150;

fn main() -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data");
    let data = load_shipped(&folder, "diabetes")?.split(N_TRAIN, 0)?.train;
    let scaling = Scaling::standard(data.inputs());
    let data = data.scaled(&scaling)?;
    let targets = Scaling::standard(data.targets()).apply("targets", data.targets())?;
    let y = row_major("targets", targets.as_slice(), N_TRAIN, 1)?;

    let dim = data.n_features() as u32;
    let network = Mlp { dim, hidden: 2, activation: Activation::Relu, b_std: 0.5, ..Mlp::default() }.network()?;
    let tunable = tunable(&network, &[HyperParameter::weights(&network), HyperParameter::biases(&network)])?;
    let kernels = tunable.kernels()?;
    let kernel = TunableKernel::new(&kernels, Which::Nngp, &tunable.factors)?;
    let xi = kernels.program.find("xi").ok_or("the network has data")?;
    let inputs = Inputs::new(N_TRAIN).with(xi, data.inputs().as_slice().to_vec());

    // Minus the log likelihood and its gradient, in the logarithms of two factors and of the variance of the noise.
    let objective = |at: &[f64]| -> Result<Option<(f64, Vec<f64>)>> {
        let numbers: Vec<f64> = at.iter().map(|u| u.exp()).collect();
        let matrices = kernel.plan(&numbers[..2])?.run(&inputs, None, &Options::default())?;
        let matrix = |k: usize| Mat::from_fn(N_TRAIN, N_TRAIN, |i, j| matrices.values[k][i * N_TRAIN + j]);
        let (k, changes) = (matrix(0), [matrix(1), matrix(2)]);
        let process = GaussianProcess::fit(k.as_ref(), y, DiagReg::Absolute(numbers[2]))?;
        let changes: Vec<MatRef<'_, f64>> = changes.iter().map(Mat::as_ref).collect();
        let (mut gradient, by_noise) = process.likelihood_gradient(&changes)?;
        gradient.push(by_noise);
        let gradient = gradient.iter().zip(&numbers).map(|(g, x)| -g * x).collect();
        Ok(Some((-process.log_marginal_likelihood(), gradient)))
    };
    let report = |step: usize, at: &[f64], value: f64| {
        let [weights, biases, noise] = [0, 1, 2].map(|k: usize| at[k].exp());
        println!("{step:3}  log likelihood {:9.4}  weights {weights:.4}  biases {biases:.4}  noise {noise:.4}", -value);
    };
    let start = [0.0, 0.0, 0.1_f64.ln()];
    let found = minimise(&start, &Search::default(), objective, report)?.ok_or("the start is singular")?;
    println!("{} after {} evaluations", if found.converged { "converged" } else { "stopped" }, found.evaluations);
    Ok(())
}
