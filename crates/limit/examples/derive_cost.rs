//! Measures what `derive` costs on programs of growing length: `cargo run -p netsor-limit --example derive_cost`.

use std::time::Instant;

use netsor_ir::Func;
use netsor_ir::Program;
use netsor_ir::number::{integer, power};
use netsor_ir::program::{Law, Scale};
use netsor_limit::Deriver;

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

fn main() {
    for transposed in [false, true] {
        for instructions in [10, 100, 1_000, 10_000] {
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
}
