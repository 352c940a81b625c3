//! The kernels of the neural tangent hierarchy on all index tuples, at the sizes of `peers/hierarchy.py`.
//!
//! `cargo bench --package netsor-benches --bench hierarchy [-- growth]`

use std::hint::black_box;

use netsor_benches::medians;
use netsor_finite::Inputs;
use netsor_ir::Network;
use netsor_ir::verify::Verified;
use netsor_nth::{HuangYau, KernelOptions, Smooth, hierarchy, kernels_at};
use netsor_num::streams::{Streams, fill_normal};

const DIM: usize = 10;
const RUNS: usize = 21;

fn main() {
    println!("hierarchy/kernel/points/width: seconds (median of {RUNS}), two hidden layers of tanh, {DIM} inputs");
    compare(3, 16, 256);
    compare(4, 6, 256);
    if std::env::args().any(|arg| arg == "growth") {
        println!("growth in the points");
        [8, 32].into_iter().for_each(|points| compare(3, points, 256));
        [3, 12].into_iter().for_each(|points| compare(4, points, 256));
        println!("growth in the width");
        [64, 1024].into_iter().for_each(|width| compare(3, 16, width));
        [64, 1024].into_iter().for_each(|width| compare(4, 6, width));
        println!("growth in the order");
        (2..=6).for_each(|order| compare(order, 4, 128));
    }
}

/// All kernels up to an order: the program made once, and run on explicit weights.
fn compare(order: usize, points: usize, width: usize) {
    let (network, inputs) = problem(points, width);
    let program = hierarchy(&network, order).expect("the network is smooth");
    let options = KernelOptions::new(width, 0);
    let times = medians(
        RUNS,
        &mut [
            ("program", &mut || drop(black_box(hierarchy(&network, order)))),
            ("run", &mut || drop(black_box(kernels_at(&program, &inputs, &options)))),
        ],
    );
    println!("hierarchy/K{order}/{points}/{width}: program {:.5} s, run {:.5} s", times[0], times[1]);
}

/// The paper's network of two hidden layers with standard normal weights and data.
fn problem(points: usize, width: usize) -> (Verified<Network>, Inputs) {
    let paper = HuangYau {
        points: points as u32,
        dim: DIM as u32,
        hidden: 2,
        activation: Smooth::Tanh,
        sigma_w: 1.0,
        sigma_a: 1.0,
    };
    let mut stream = Streams::new(0).stream("bench", 0);
    let mut normal = |rows: usize, cols: usize| -> Vec<Vec<f64>> {
        (0..rows)
            .map(|_| {
                let mut row = vec![0.0; cols];
                fill_normal(&mut stream, &mut row);
                row
            })
            .collect()
    };
    let x = normal(points, DIM);
    let weights = [normal(width, DIM), normal(width, width)];
    let a = normal(1, width).concat();
    let inputs = paper.inputs(&x, &weights, &a).expect("the weights fit the network");
    (paper.network().expect("the sizes are positive"), inputs)
}
