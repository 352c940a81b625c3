//! An order of the Gaussian variables of an expectation that does not depend on how they were numbered.
//!
//! As for isomorphism of graphs: variables get colours from their variances, then from the covariances with others and
//! from their places in the integrand, until no more are told apart. Colours are evaluations in a prime field, which
//! know that sums and products commute. They only propose orders: two expectations count as equal when what is written
//! in that order is the same term.

use netsor_ir::expr::{Expr, ExprId, for_each_child};
use netsor_ir::number::Number;
use num_traits::{Signed, ToPrimitive};
use rustc_hash::FxHashMap;

use crate::graph::{Graph, Leaf};

/// The Mersenne prime `2^61 - 1`.
const P: u64 = (1 << 61) - 1;

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
    let mut known: FxHashMap<ExprId, u64> = FxHashMap::default();
    for at in graph.pool.reachable(root) {
        let of = |e: &ExprId| known[e];
        let value = match graph.pool.node(at) {
            Expr::Const(c) => number(c),
            Expr::Ref(symbol, _) => match graph.leaf(*symbol) {
                Leaf::Slot(k) => colours.get(&k).copied().unwrap_or(0),
                Leaf::Parameter(k) => scramble(&[5, parameters.get(k).map_or(0, |e| e.index() as u64)]),
                _ => scramble(&[6, at.index() as u64]),
            },
            Expr::Neg(a) => P - of(a),
            Expr::Add(a, b) => plus(of(a), of(b)),
            Expr::Sub(a, b) => plus(of(a), P - of(b)),
            Expr::Mul(a, b) => times(of(a), of(b)),
            Expr::Div(a, b) => times(of(a), power(of(b), P - 2)),
            Expr::Pow(a, p) if p.is_integer() && p.is_positive() => power(of(a), *p.numer() as u64),
            Expr::Pow(a, p) => scramble(&[7, of(a), *p.numer() as u64, *p.denom() as u64]),
            Expr::Apply(func, args) => {
                let args = args.iter().map(of);
                let name = func.name().bytes().fold(8, |sum, byte| scramble(&[sum, u64::from(byte)]));
                scramble(&std::iter::once(name).chain(args).collect::<Vec<_>>())
            }
            node @ (Expr::Pi | Expr::Width(_) | Expr::Table(..) | Expr::Sum(_)) => {
                let mut children = vec![9, at.index() as u64];
                for_each_child(node, |child| children.push(known[&child]));
                scramble(&children)
            }
        };
        known.insert(at, value % P);
    }
    known[&root]
}

fn number(value: &Number) -> u64 {
    let part = |n: &num_bigint::BigInt| {
        let reduced = ((n % P) + P) % P;
        reduced.to_u64().unwrap_or(0)
    };
    times(part(value.numer()), power(part(value.denom()), P - 2))
}

fn plus(a: u64, b: u64) -> u64 {
    (a % P + b % P) % P
}

fn times(a: u64, b: u64) -> u64 {
    (u128::from(a % P) * u128::from(b % P) % u128::from(P)) as u64
}

fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while 0 < exponent {
        if exponent % 2 == 1 {
            result = times(result, base);
        }
        base = times(base, base);
        exponent /= 2;
    }
    result
}

/// A fixed function of several numbers without algebraic structure (SplitMix64 on each in turn).
fn scramble(parts: &[u64]) -> u64 {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for &part in parts {
        state = state.wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state % P
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
