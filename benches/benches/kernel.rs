//! Kernel matrices of perceptrons against their floor: the one product of the data that they need.
//!
//! `cargo bench --package netsor-benches --bench kernel [-- rows ...]`

use std::hint::black_box;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatRef, Par};
use netsor_benches::medians;
use netsor_ir::ValueId;
use netsor_ir::transform::kernels;
use netsor_kernel::{Inputs, Options, Plan, Query, lower};
use netsor_limit::Deriver;
use netsor_num::streams::{Streams, fill_normal};
use netsor_zoo::{Activation, Mlp};

const DIM: usize = 784;
const RUNS: usize = 5;

fn main() {
    let sizes: Vec<usize> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![1000, 2000, 4000] } else { sizes };
    println!("kernel/problem/rows: seconds (median of {RUNS}), in units of the product X X' of {DIM} columns");
    for &rows in &sizes {
        for hidden in [3, 10] {
            compare(&format!("relu-{hidden}"), Activation::Relu, hidden, rows);
        }
    }
    compare("erf-3", Activation::Erf, 3, sizes[0]);
    compare("tanh-3", Activation::Tanh, 3, sizes[0]);
}

/// The tangent kernel of a perceptron, half and whole, beside the product.
fn compare(name: &str, activation: Activation, hidden: u32, rows: usize) {
    let (plan, xi) = plan(activation, hidden);
    let mut x = vec![0.0; rows * DIM];
    fill_normal(&mut Streams::new(0).stream("bench", 0), &mut x);
    let inputs = Inputs::new(rows).with(xi, &x[..]);
    let options = Options::default();
    let data = MatRef::from_row_major_slice(&x, rows, DIM);
    let times = medians(
        RUNS,
        &mut [
            ("product", &mut || {
                let mut gram = Mat::<f64>::zeros(rows, rows);
                matmul(gram.as_mut(), Accum::Replace, data, data.transpose(), 1.0, Par::rayon(0));
                black_box(gram);
            }),
            ("half", &mut || drop(black_box(plan.run(&inputs, None, &options)))),
            ("whole", &mut || drop(black_box(plan.run(&inputs, Some(&inputs), &options)))),
        ],
    );
    let [product, half, whole] = times[..] else { unreachable!("one time a task") };
    println!(
        "kernel/{name}/{rows}: product {product:.4} s; symmetric {half:.4} s = {:.2}; rectangular {whole:.4} s = {:.2}",
        half / product,
        whole / product
    );
}

fn plan(activation: Activation, hidden: u32) -> (Plan, ValueId) {
    let mlp = Mlp { inputs: 2, dim: DIM as u32, hidden, activation, ..Mlp::default() };
    let network = mlp.network().expect("the sizes are positive");
    let kernels = kernels(&network).expect("a perceptron has kernels");
    let mut deriver = Deriver::new(&kernels.program);
    let ntk = deriver.scalar(kernels.outputs[0].ntk).expect("a perceptron has a limit");
    let graph = deriver.into_graph();
    let plan = lower(&graph, &kernels.program, &[Query::new("ntk", ntk)]).expect("it has a plan");
    (plan, kernels.program.find("xi").expect("the input has this name"))
}
