//! The kernels of the neural tangent hierarchy on all index tuples, at the sizes of `peers/hierarchy.py`.
//!
//! `cargo bench --package netsor-benches --bench hierarchy [-- growth]`
//!
//! A run is compared with its floor, the bare matrix products that its program consists of, timed in the same rounds: for
//! `L = 2` hidden layers of width `m` and `n` points, `4 m^2 (n + n^2 + .. + n^(r-1))` operations for the hidden matrix
//! and its transpose, and Gram matrices of `2 m n^k` each, of which there are a few for every `k <= r`. At
//! `m = 256, n = 16` that is 71 and 10 MFLOP for K3. What comes on top is pointwise: some ten vectors for each tuple of
//! `r - 1` points, each written, looked at for numbers that are not finite, and read. Weights are explicit and
//! copied; nothing is drawn, and from the second run on nothing of the size of a vector is allocated.

use std::hint::black_box;
use std::time::SystemTime;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};
use netsor_benches::medians;
use netsor_finite::Inputs;
use netsor_ir::Network;
use netsor_ir::program::{Instr, Kind, Program, ValueId};
use netsor_ir::verify::Verified;
use netsor_nth::{Hierarchy, HierarchyExecutor, HuangYau, KernelOptions, Smooth, hierarchy};
use netsor_num::streams::{Streams, fill_normal};

const DIM: usize = 10;
const RUNS: usize = 21;

/// Seconds that a measurement of growth takes at least.
const GROWTH_SECONDS: f64 = 0.3;

fn main() {
    println!("hierarchy/kernel/points/width: seconds (median of {RUNS}), two hidden layers of tanh, {DIM} inputs");
    compare(3, 16, 256);
    compare(4, 6, 256);
    if std::env::args().any(|arg| arg == "growth") {
        growth();
    }
}

/// Exponents of the run time in the number of points, the width and the order.
fn growth() {
    println!("growth: processor time of a run, with the exponent between the last two");
    for (order, points) in [(2, [32, 64, 128, 256]), (3, [8, 16, 32, 64]), (4, [4, 8, 12, 16])] {
        report(&format!("K{order}, width 256, points"), &points, |n| time(order, n, 256));
    }
    for (order, points) in [(2, 32), (3, 16), (4, 6)] {
        report(&format!("K{order}, {points} points, width"), &[128, 256, 512, 1024], |m| time(order, points, m));
    }
    let orders: Vec<f64> = (2..=6).map(|order| time(order, 4, 128)).collect();
    let factors: Vec<String> = orders.windows(2).map(|w| format!("{:.1}", w[1] / w[0])).collect();
    println!("4 points, width 128: {:.3} ms for K2, each order takes times {}", 1e3 * orders[0], factors.join(", "));
}

fn report(what: &str, at: &[usize], time: impl Fn(usize) -> f64) {
    let times: Vec<f64> = at.iter().map(|&x| time(x)).collect();
    let cells: Vec<String> = at.iter().zip(&times).map(|(x, t)| format!("{x}: {:.3} ms", 1e3 * t)).collect();
    let [.., (x0, t0), (x1, t1)] = at.iter().zip(&times).collect::<Vec<_>>()[..] else { return };
    let exponent = (t1 / t0).ln() / (*x1 as f64 / *x0 as f64).ln();
    println!("{what} {}; exponent {exponent:.2}", cells.join(", "));
}

/// The time of all kernels up to an order.
fn time(order: usize, points: usize, width: usize) -> f64 {
    let (network, inputs) = problem(points, width);
    let program = hierarchy(&network, order).expect("the network is smooth");
    let mut executor = executor(&program, width);
    let (start, mut runs) = (clock(), 0);
    loop {
        drop(black_box(executor.kernels(&inputs, 0)));
        runs += 1;
        let passed = clock() - start;
        if GROWTH_SECONDS < passed {
            return passed / f64::from(runs);
        }
    }
}

/// Processor time of this process where the system tells (in hundredths of a second), so that other processes do not
/// count; otherwise the time of day.
fn clock() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name in parentheses: time in user mode and in the kernel are the 12th and 13th fields.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    let ticks: Vec<f64> = fields.filter_map(|field| field.parse().ok()).collect();
    match ticks[..] {
        [user, kernel] => (user + kernel) / 100.0,
        _ => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0.0, |t| t.as_secs_f64()),
    }
}

fn executor(program: &Hierarchy, width: usize) -> HierarchyExecutor<'_> {
    HierarchyExecutor::new(program, &KernelOptions::new(width, 0)).expect("it fits into memory")
}

/// All kernels up to an order: the program made once, and run on explicit weights.
fn compare(order: usize, points: usize, width: usize) {
    let (network, inputs) = problem(points, width);
    let program = hierarchy(&network, order).expect("the network is smooth");
    let mut executor = executor(&program, width);
    let mut products = products(&program.program, width);
    let times = medians(
        RUNS,
        &mut [
            ("program", &mut || drop(black_box(hierarchy(&network, order)))),
            ("run", &mut || drop(black_box(executor.kernels(&inputs, 0)))),
            ("products", &mut || products.iter_mut().for_each(Product::run)),
        ],
    );
    println!(
        "hierarchy/K{order}/{points}/{width}: program {:.5} s, run {:.5} s, {:.2} times its bare products \
         ({:.1} MFLOP in matrices, {:.1} in Gram matrices; {:.1} MB in vectors)",
        times[0],
        times[1],
        times[1] / times[2],
        operations(&products, false),
        operations(&products, true),
        megabytes(&program.program, width),
    );
}

/// A matrix product of the shape of one in the program.
struct Product {
    gram: bool,
    left: Mat<f64>,
    right: Mat<f64>,
    result: Mat<f64>,
}

impl Product {
    fn new(gram: bool, rows: usize, inner: usize, cols: usize) -> Self {
        let filled = |rows: usize, cols: usize| Mat::from_fn(rows, cols, |i, j| ((i * 31 + j * 17) as f64 * 0.1).sin());
        Self { gram, left: filled(rows, inner), right: filled(inner, cols), result: Mat::zeros(rows, cols) }
    }

    fn run(&mut self) {
        matmul(&mut self.result, Accum::Replace, &self.left, &self.right, 1.0, Par::rayon(0));
        black_box(&self.result);
    }
}

/// All products of a program: those with matrices, and Moments as Gram matrices, the first index against the others.
fn products(program: &Program, width: usize) -> Vec<Product> {
    let of = |id: ValueId| {
        let sizes = program.family_sizes(id);
        let members: usize = sizes.iter().product();
        match &program.value(id).instr {
            Instr::MatMul { matrix, transposed, .. } => {
                let Kind::Matrix { rows, cols } = program.value(matrix.value).ty.kind else { return None };
                let (rows, cols) = (program.dim_size(rows, width), program.dim_size(cols, width));
                let (rows, inner) = if *transposed { (cols, rows) } else { (rows, cols) };
                Some(Product::new(false, rows, inner, members))
            }
            Instr::Moment(expr) => {
                let inner = program.expr_dim(*expr).map_or(1, |dim| program.dim_size(dim, width));
                let rows = sizes.first().copied().unwrap_or(1);
                Some(Product::new(true, rows, inner, members / rows))
            }
            _ => None,
        }
    };
    program.value_ids().filter_map(of).collect()
}

/// Millions of multiplications and additions.
fn operations(products: &[Product], gram: bool) -> f64 {
    let of = |p: &Product| 2.0 * (p.left.nrows() * p.left.ncols() * p.right.ncols()) as f64;
    products.iter().filter(|p| p.gram == gram).map(of).sum::<f64>() / 1e6
}

/// The size of all vectors of a program.
fn megabytes(program: &Program, width: usize) -> f64 {
    let of = |id: ValueId| match program.value(id).ty.kind {
        Kind::Vector(dim) => 8 * program.dim_size(dim, width) * program.family_sizes(id).iter().product::<usize>(),
        _ => 0,
    };
    program.value_ids().map(of).sum::<usize>() as f64 / 1e6
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
