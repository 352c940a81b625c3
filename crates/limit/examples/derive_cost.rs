//! Measures what `derive` costs on programs of growing length, on kernels and on training: `cargo run -p netsor-limit --example derive_cost`.

use std::time::Instant;

use netsor_ir::Func;
use netsor_ir::Program;
use netsor_ir::number::{integer, power};
use netsor_ir::program::{Law, Scale};
use netsor_ir::transform::{Sgd, kernels, unroll_sgd};
use netsor_limit::Deriver;
use netsor_zoo::{Mlp, Rnn};

/// `x_{t+1} = tanh(W x_t)`, with `W'` used in every other step if `transposed`.
fn chain(instructions: usize, transposed: bool) -> Program {
    let mut p = Program::new("chain");
    let n = p.width();
    let w = p.matrix("W", &[], n, n, Scale::new(integer(1), power(-1, 1)));
    let law = Law::iid(&mut p.exprs, integer(0), integer(1));
    let mut x = p.gaussian("x@0", &[], n, law);
    for t in 1..=(instructions / 2).max(1) {
        let h = p.matmul(&format!("h@{t}"), &[], (w, &[]), transposed && t % 2 == 0, (x, &[]));
        let h = p.member(h, &[]);
        let y = p.exprs.apply(Func::Tanh, h);
        x = p.map(&format!("x@{t}"), &[], y);
    }
    let last = p.member(x, &[]);
    let square = p.exprs.mul(last, last);
    p.moment("m", &[], square);
    p
}

/// Derives the NNGP and tangent kernels of a network.
fn time_kernels(name: &str, network: &netsor_ir::Network) -> Result<(), Box<dyn std::error::Error>> {
    let kernels = kernels(network)?;
    let start = Instant::now();
    let mut deriver = Deriver::new(&kernels.program);
    deriver.scalar(kernels.outputs[0].ntk)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("kernels of {name}: {seconds:.4} s, {} definitions", deriver.graph().defs.len());
    Ok(())
}

/// Derives the outputs of a network with two hidden layers after each of so many steps of SGD.
fn time_training(steps: usize) -> Result<(), Box<dyn std::error::Error>> {
    let network = Mlp { inputs: 4, dim: 3, hidden: 2, ..Mlp::default() }.network()?;
    let training = unroll_sgd(&network, &Sgd { steps, ..Sgd::default() })?;
    let start = Instant::now();
    let mut deriver = Deriver::new(&training.program);
    for &f in &training.outputs[0].at {
        deriver.scalar(f)?;
    }
    let (seconds, values) = (start.elapsed().as_secs_f64(), training.program.values.len());
    println!("{steps} steps of SGD: {seconds:.4} s, {values} instructions, {} definitions", deriver.graph().defs.len());
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for hidden in [1, 3, 10, 30] {
        let network = Mlp { inputs: 2, dim: 3, hidden, ..Mlp::default() }.network()?;
        time_kernels(&format!("an MLP with {hidden} hidden layers"), &network)?;
    }
    for steps in [2, 5, 10] {
        let network = Rnn { readout: vec![1.0; steps], ..Rnn::default() }.network()?;
        time_kernels(&format!("an RNN over {steps} steps"), &network)?;
    }
    for steps in [1, 2, 5, 10] {
        time_training(steps)?;
    }
    for transposed in [false, true] {
        for instructions in [10, 30, 100, 1_000, 10_000] {
            if transposed && 1_000 <= instructions {
                continue;
            }
            let program = chain(instructions, transposed);
            let m = program.find("m").expect("defined above");
            let start = Instant::now();
            let mut deriver = Deriver::new(&program);
            let result = deriver.scalar(m);
            let seconds = start.elapsed().as_secs_f64();
            let defs = deriver.graph().defs.len();
            println!(
                "transposed {transposed}, {instructions} instructions: {seconds:.4} s, {defs} definitions, {}",
                result.is_ok()
            );
        }
    }
    Ok(())
}
