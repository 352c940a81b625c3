//! An order of the Gaussian variables of an expectation that does not depend on how they were numbered.
//!
//! As for isomorphism of graphs: variables get colours from their variances, then from the covariances with others and
//! from their places in the integrand, until no more are told apart. Colours are evaluations in a prime field, which
//! know that sums and products commute. They only propose orders: two expectations count as equal when what is written
//! in that order is the same term.

use netsor_ir::expr::ExprId;
use rustc_hash::FxHashMap;

use crate::graph::{Graph, Leaf};
use crate::induction::field::{plus, scramble, value};

/// The most orders that are proposed when colours do not tell variables apart.
const ORDERS: usize = 24;

/// Orders of the variables `used`: all that agree with the colours, or one of them if these are too many.
pub(super) fn orders(
    graph: &Graph,
    integrand: ExprId,
    used: &[usize],
    covariance: &dyn Fn(usize, usize) -> ExprId,
    parameters: &[ExprId],
) -> Vec<Vec<usize>> {
    let id = |expr: ExprId| scramble(&[1, expr.index() as u64]);
    let mut colours: FxHashMap<usize, u64> = used.iter().map(|&k| (k, id(covariance(k, k)))).collect();
    let mut classes = count(&colours);
    loop {
        let refined: FxHashMap<usize, u64> = used
            .iter()
            .map(|&k| {
                let neighbours = used.iter().filter(|&&j| j != k);
                let around = neighbours.fold(0, |sum, &j| plus(sum, scramble(&[2, id(covariance(k, j)), colours[&j]])));
                let mut marked = colours.clone();
                marked.insert(k, scramble(&[3, colours[&k]]));
                let place = evaluated(graph, integrand, &marked, parameters);
                (k, scramble(&[4, colours[&k], around, place]))
            })
            .collect();
        let now = count(&refined);
        colours = refined;
        if now == classes {
            break;
        }
        classes = now;
    }
    let mut sorted = used.to_vec();
    sorted.sort_by_key(|k| (colours[k], *k));
    let groups: Vec<&[usize]> = sorted.chunk_by(|a, b| colours[a] == colours[b]).collect();
    let number = groups.iter().map(|g| (1..=g.len()).product::<usize>()).fold(1, usize::saturating_mul);
    if ORDERS < number {
        return vec![sorted];
    }
    let mut all = vec![Vec::new()];
    for group in groups {
        let ways = permutations(group);
        all = all.iter().flat_map(|start: &Vec<usize>| ways.iter().map(|way| [&start[..], way].concat())).collect();
    }
    all
}

fn count(colours: &FxHashMap<usize, u64>) -> usize {
    let mut values: Vec<u64> = colours.values().copied().collect();
    values.sort_unstable();
    values.dedup();
    values.len()
}

/// The integrand in the field, with a colour for each slot and the value's id for each parameter.
fn evaluated(graph: &Graph, root: ExprId, colours: &FxHashMap<usize, u64>, parameters: &[ExprId]) -> u64 {
    value(graph, root, &|symbol, at| match graph.leaf(symbol) {
        Leaf::Slot(k) => colours.get(&k).copied().unwrap_or(0),
        Leaf::Parameter(k) => scramble(&[5, parameters.get(k).map_or(0, |e| e.index() as u64)]),
        _ => scramble(&[6, at.index() as u64]),
    })
}

/// All orders of a few items.
fn permutations(items: &[usize]) -> Vec<Vec<usize>> {
    let Some((&first, rest)) = items.split_first() else { return vec![Vec::new()] };
    let mut all = Vec::new();
    for shorter in permutations(rest) {
        for at in 0..=shorter.len() {
            let mut longer = shorter.clone();
            longer.insert(at, first);
            all.push(longer);
        }
    }
    all
}
