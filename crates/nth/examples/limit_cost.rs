//! What the limit of `n K^(4)` costs for a network in a file: `limit_cost FILE [POINTS]`, with data drawn at random.
//!
//! `cargo run -p netsor-nth --example limit_cost -- examples/conv.netsor 4096`

use std::time::Instant;

use netsor_ir::program::{Dim, Instr, Kind};
use netsor_ir::syntax::parse_network;
use netsor_ir::verify::verify_network;
use netsor_limit::Data;
use netsor_nth::{Integration, limit_hierarchy};
use netsor_num::streams::{Streams, fill_normal};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("which file?")?;
    let points = args.next().map_or(Ok(4096), |n| n.parse())?;
    let network = verify_network(parse_network(&std::fs::read_to_string(file)?).map_err(|d| d.to_string())?)
        .map_err(|d| d.to_string())?;
    let program = &network.program;
    let mut data = Data::new();
    let mut stream = Streams::new(0).stream("data", 0);
    for id in program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data)) {
        let coordinates = match program.value(id).ty.kind {
            Kind::Vector(Dim::Finite(size)) => size as usize,
            _ => 1,
        };
        let mut numbers = vec![0.0; program.family_sizes(id).iter().product::<usize>() * coordinates];
        fill_normal(&mut stream, &mut numbers);
        data = data.with(id, numbers);
    }
    let start = Instant::now();
    let limits = limit_hierarchy(&network, 4)?;
    println!("derived in {:.3} s", start.elapsed().as_secs_f64());
    let start = Instant::now();
    let found = limits.evaluate(&data, None, &Integration::Sampled { points, seed: 0 })?;
    println!("evaluated in {:.3} s, error at most {:.1e}", start.elapsed().as_secs_f64(), found.error);
    for kernel in &found.kernels {
        println!("n^{} K^({}): largest entry {:.5}", kernel.order() / 2 - 1, kernel.order(), kernel.norm_max());
    }
    Ok(())
}
