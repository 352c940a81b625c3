//! What is run again allocates nothing.
//!
//! The guarantee, as it is tested here: after each shape of batch has been seen once, a step of [`Examples::step`] or
//! [`Trainer::step_with`] makes no allocation at all, on any thread, if the loss makes none (the built-in ones), if it is
//! called on a thread of a `rayon` pool (a call from outside is a job in a queue, which grows), and if every thread of
//! the pool has multiplied matrices once (`faer` keeps memory for packing on each thread). The counter counts the whole
//! process, so that this binary has one test.

#[path = "it/everything.rs"]
mod everything;

use std::alloc::System;

use everything::{everything, numbers};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use netsor_finite::{Examples, Float, Inputs, Loss, Optimizer, Options, Trainer};
use netsor_ir::network::Network;
use netsor_ir::syntax::parse_network;
use netsor_ir::verify::{Verified, verify_network};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static GLOBAL: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// Large enough for products in blocks and maps in parts.
const WIDTH: usize = 700;

fn perceptron(batch: usize) -> Verified<Network> {
    let text = format!(
        "network mlp {{
           axis i = {batch}
           data xi[i] : 3
           param U : n x 3 ~ N(0, 1/3)
           param b : n ~ N(0, 1/4)
           param W : n x n ~ N(0, 2/n)
           param v : n x 2 ~ N(0, 1/n)
           g[i] = U * xi[i]
           z[i] = tanh(g[i] + b)
           h[i] = W * z[i]
           x[i] = relu(h[i])
           output f[i] = v' * x[i]
         }}"
    );
    verify_network(parse_network(&text).unwrap()).unwrap()
}

/// Steps on batches of 16 and, at the end of an epoch, 4 examples; allocations after the first epoch.
fn in_batches<T: Float>(optimizer: Optimizer) -> usize {
    let network = perceptron(16);
    let (inputs, targets) = (numbers(36 * 3, 1.7), numbers(36 * 2, 0.9));
    let xi = network.program.find("xi").unwrap();
    let first = Inputs::new().with(xi, inputs[..48].to_vec());
    let trainer = Trainer::<T>::new(&network, &first, Options::new(WIDTH, 5)).unwrap();
    let mut trainer = trainer.with_optimizer(optimizer).unwrap();
    let examples = Examples::new(&network, 36, &inputs, &targets).unwrap();
    let order: Vec<usize> = (0..36).collect();
    let mut epoch = || {
        for batch in order.chunks(16) {
            examples.step(&mut trainer, batch, Loss::Squared, 1e-3).unwrap();
        }
    };
    epoch();
    let region = Region::new(GLOBAL);
    (0..3).for_each(|_| epoch());
    region.change().allocations + region.change().reallocations
}

/// Steps of a network with two widths, a convolution, normalisations, attention, W and W'.
fn of_everything<T: Float>(optimizer: Optimizer) -> usize {
    let e = everything();
    let data = Inputs::new().with(e.xi, numbers(24, 1.7));
    let trainer = Trainer::<T>::new(&e.network, &data, Options::new(6, 11)).unwrap();
    let mut trainer = trainer.with_optimizer(optimizer).unwrap();
    let mut step = || {
        let loss = &mut |_: &Trainer<T>, f: &[Vec<f64>], c: &mut [Vec<f64>]| {
            c[0].iter_mut().zip(&f[0]).for_each(|(c, f)| *c = f - 0.5);
            Ok(())
        };
        trainer.step_with(1e-3, loss).unwrap();
    };
    step();
    let region = Region::new(GLOBAL);
    (0..3).for_each(|_| step());
    region.change().allocations + region.change().reallocations
}

/// A product that needs the memory that `faer` keeps on a thread.
fn multiply<T: Float>() {
    let a = Mat::<T>::from_fn(512, 512, |i, j| T::of((i * 3 + j) as f64 * 1e-4));
    let mut b = Mat::<T>::zeros(512, 512);
    matmul(b.as_mut(), Accum::Replace, a.transpose(), a.as_ref(), T::of(1.0), Par::Seq);
}

#[test]
fn a_step_after_the_first_allocates_nothing() {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
    pool.broadcast(|_| {
        multiply::<f32>();
        multiply::<f64>();
    });
    pool.install(|| {
        for optimizer in [Optimizer::default(), Optimizer::momentum(0.9), Optimizer::adam()] {
            assert_eq!(in_batches::<f32>(optimizer), 0, "{optimizer:?} in f32");
            assert_eq!(in_batches::<f64>(optimizer), 0, "{optimizer:?} in f64");
            assert_eq!(of_everything::<f64>(optimizer), 0, "{optimizer:?}, everything");
        }
    });
}
