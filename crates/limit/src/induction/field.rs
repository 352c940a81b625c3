//! Expressions evaluated in a prime field, where zero is exact.
//!
//! References get values that are as good as random, and so does every function by those of its arguments: an expression
//! that is zero as a polynomial in what it mentions is zero there, and one that is not is zero at a point with a chance
//! of its degree over `2^61` (Schwartz and Zippel). Roots and functions are symbols of their own. A constant that is a
//! multiple of `2^61 - 1` counts as zero; no program has one.

use netsor_ir::expr::{Expr, ExprId, Symbol, for_each_child};
use netsor_ir::number::Number;
use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive};
use rustc_hash::FxHashMap;

use crate::graph::Graph;

/// The Mersenne prime `2^61 - 1`.
const P: u64 = (1 << 61) - 1;

/// Points at which an identity is tested: a wrong one passes with a chance of about `(degree / 2^61)^4`.
const POINTS: u64 = 4;

/// Numerators and denominators that are recognised.
const LARGEST: u64 = 1 << 20;

/// Whether the expression is zero as a polynomial in its references and functions, without multiplying it out.
pub(super) fn vanishes(graph: &Graph, id: ExprId) -> bool {
    (0..POINTS).all(|seed| value(graph, id, &|symbol, at| random(seed, symbol, at)) == 0)
}

/// What a reference is worth at a point; members with indices are told apart by the expression.
pub(super) fn random(seed: u64, symbol: Symbol, at: ExprId) -> u64 {
    scramble(&[10, seed, u64::from(symbol.0), at.index() as u64])
}

/// The expression in the field, with the values of its references.
pub(super) fn value(graph: &Graph, root: ExprId, reference: &dyn Fn(Symbol, ExprId) -> u64) -> u64 {
    let mut known: FxHashMap<ExprId, u64> = FxHashMap::default();
    for at in graph.pool.reachable(root) {
        let of = |e: &ExprId| known[e];
        let value = match graph.pool.node(at) {
            Expr::Const(c) => number(c),
            Expr::Ref(symbol, _) => reference(*symbol, at),
            Expr::Neg(a) => P - of(a),
            Expr::Add(a, b) => plus(of(a), of(b)),
            Expr::Sub(a, b) => minus(of(a), of(b)),
            Expr::Mul(a, b) => times(of(a), of(b)),
            Expr::Div(a, b) => times(of(a), inverse(of(b))),
            Expr::Pow(a, p) if p.is_integer() && p.is_positive() => power(of(a), *p.numer() as u64),
            Expr::Pow(a, p) if p.is_integer() => power(inverse(of(a)), p.numer().unsigned_abs()),
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

/// A rational number.
pub(super) fn number(value: &Number) -> u64 {
    let part = |n: &BigInt| {
        let reduced = ((n % P) + P) % P;
        reduced.to_u64().unwrap_or(0)
    };
    times(part(value.numer()), inverse(part(value.denom())))
}

/// The fraction with numerator and denominator below `2^20` that an element is, if there is one (Wang's algorithm: the
/// remainders of Euclid's).
pub(super) fn fraction(element: u64) -> Option<Number> {
    let (mut r, mut next) = (i128::from(P), i128::from(element % P));
    let (mut t, mut next_t) = (0_i128, 1_i128);
    while i128::from(LARGEST) <= next {
        let q = r / next;
        (r, next) = (next, r - q * next);
        (t, next_t) = (next_t, t - q * next_t);
    }
    (next_t != 0 && next_t.unsigned_abs() < u128::from(LARGEST))
        .then(|| Number::new(BigInt::from(next), BigInt::from(next_t)))
}

pub(super) fn plus(a: u64, b: u64) -> u64 {
    (a % P + b % P) % P
}

pub(super) fn minus(a: u64, b: u64) -> u64 {
    plus(a, P - b % P)
}

pub(super) fn times(a: u64, b: u64) -> u64 {
    (u128::from(a % P) * u128::from(b % P) % u128::from(P)) as u64
}

/// `1 / a`, and 0 for 0.
pub(super) fn inverse(a: u64) -> u64 {
    power(a, P - 2)
}

/// A square root of `x` or of `-x`, whichever has one: `p = 3 mod 4`. Roots of products are products of roots.
pub(super) fn root(x: u64) -> u64 {
    power(x, (P + 1) / 4)
}

/// Whether there is an element whose square is `x`.
pub(super) fn is_square(x: u64) -> bool {
    let half = root(x);
    times(half, half) == x
}

/// `base^exponent`.
pub(super) fn power(mut base: u64, mut exponent: u64) -> u64 {
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
pub(super) fn scramble(parts: &[u64]) -> u64 {
    let mut state: u64 = 0x9e37_79b9_7f4a_7c15;
    for &part in parts {
        state = state.wrapping_add(part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state % P
}

#[cfg(test)]
mod tests {
    use netsor_ir::Program;
    use netsor_ir::number::{fraction as ratio, power as exponent};

    use super::*;

    #[test]
    fn fractions_come_back() {
        for c in [ratio(0, 1), ratio(-3, 7), ratio(5, 12), ratio(1_000, 999)] {
            assert_eq!(fraction(number(&c)), Some(c));
        }
        assert_eq!(fraction(scramble(&[1])), None);
    }

    /// `(x + y)^3 - x^3 - 3 x y (x + y) - y^3` is zero, with one coefficient changed it is not; `x / x` is 1.
    #[test]
    fn identities_are_seen_without_multiplying_out() {
        let mut graph = Graph::new(&Program::new("p"));
        let [x, y] = [0, 1].map(|k| graph.pool.reference(Graph::slot_symbol(k), []));
        let three = graph.pool.integer(3);
        let mut difference = |c: ExprId| {
            let pool = &mut graph.pool;
            let sum = pool.add(x, y);
            let [a, b, d] = [sum, x, y].map(|e| pool.pow(e, exponent(3, 1)));
            let mixed = pool.mul_all([c, x, y, sum]);
            let rest = pool.add_all([b, mixed, d]);
            pool.sub(a, rest)
        };
        let (zero, other) = (difference(three), difference(x));
        assert!(vanishes(&graph, zero) && !vanishes(&graph, other));
    }
}
