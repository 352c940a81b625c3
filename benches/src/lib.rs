//! What the benchmarks share: timing several things in turn, so that a loaded machine slows all of them.

use std::time::Instant;

/// The median seconds of each task over `runs` rounds; in a round every task runs once.
pub fn medians(runs: usize, tasks: &mut [(&str, &mut dyn FnMut())]) -> Vec<f64> {
    let mut times = vec![Vec::with_capacity(runs); tasks.len()];
    for _ in 0..runs {
        for ((_, task), times) in tasks.iter_mut().zip(&mut times) {
            let start = Instant::now();
            task();
            times.push(start.elapsed().as_secs_f64());
        }
    }
    times
        .into_iter()
        .map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[runs / 2]
        })
        .collect()
}
