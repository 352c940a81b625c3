//! Fuzzing by random mutation: `cargo run -p netsor-fuzz -- [SECONDS] [SEED] [TARGET ...]`.
//!
//! Inputs that break a target are written to `fuzz/regressions/TARGET/`, where the tests replay them.

use std::panic::catch_unwind;
use std::path::Path;
use std::time::{Duration, Instant};

use netsor_fuzz::mutate::Mutator;
use netsor_fuzz::{TARGETS, Target, inputs, target};

/// An input that takes longer than this is a finding, too.
const SLOW: Duration = Duration::from_secs(5);

fn main() {
    let mut args = std::env::args().skip(1);
    let seconds = args.next().and_then(|s| s.parse().ok()).unwrap_or(10.0);
    let seed = args.next().and_then(|s| s.parse().ok()).unwrap_or(0);
    let mut chosen: Vec<&Target> = args.filter_map(|name| target(&name)).collect();
    if chosen.is_empty() {
        chosen = TARGETS.iter().collect();
    }
    let share = Duration::from_secs_f64(seconds / chosen.len() as f64);
    let found: usize = chosen.into_iter().map(|target| fuzz(target, share, seed)).sum();
    if 0 < found {
        eprintln!("{found} findings");
        std::process::exit(1);
    }
}

fn fuzz(target: &Target, share: Duration, seed: u64) -> usize {
    let seeds: Vec<Vec<u8>> = inputs(target).map(|all| all.into_iter().map(|(_, b)| b).collect()).unwrap_or_default();
    let mut mutator = Mutator::new(seed);
    let start = Instant::now();
    let (mut runs, mut found) = (0u64, 0);
    while start.elapsed() < share {
        let input = mutator.mutant(&seeds);
        let begun = Instant::now();
        let outcome = catch_unwind(|| (target.run)(&input));
        let took = begun.elapsed();
        runs += 1;
        if outcome.is_err() || SLOW < took {
            found += 1;
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("regressions").join(target.name);
            let path = folder.join(format!("seed-{seed}-run-{runs}"));
            let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&path, &input));
            eprintln!("{}: {} after {took:?}, written: {written:?}", target.name, path.display());
            if 20 <= found {
                break;
            }
        }
    }
    println!("{}: {runs} runs, {found} findings", target.name);
    found
}
