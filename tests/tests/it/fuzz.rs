//! The corpus, everything that ever broke, and a few seconds of mutation.

use netsor_fuzz::mutate::Mutator;
use netsor_fuzz::{TARGETS, inputs};

#[test]
fn corpus_and_regressions_hold() {
    for target in &TARGETS {
        let inputs = inputs(target).unwrap();
        assert!(!inputs.is_empty(), "{} has no inputs", target.name);
        for (path, bytes) in inputs {
            eprintln!("{}: {}", target.name, path.display());
            (target.run)(&bytes);
        }
    }
}

/// A panic prints the input before it.
#[test]
fn mutants_hold() {
    for target in &TARGETS {
        let seeds: Vec<Vec<u8>> = inputs(target).unwrap().into_iter().map(|(_, bytes)| bytes).collect();
        let mut mutator = Mutator::new(20_211_021);
        let runs = if target.name == "transforms" { 300 } else { 1000 };
        for _ in 0..runs {
            let input = mutator.mutant(&seeds);
            let shown = String::from_utf8_lossy(&input).into_owned();
            if let Err(cause) = std::panic::catch_unwind(|| (target.run)(&input)) {
                eprintln!("{}: {shown}", target.name);
                std::panic::resume_unwind(cause);
            }
        }
    }
}
