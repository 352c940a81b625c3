//! Normal forms: sums of monomials, also inside of functions, in which products of square roots of numbers are one root.
//!
//! Such roots, as in `2^(1/2) 2^(-1/2) = 1`, come from ratios of widths, by which adjoints are scaled.

use std::collections::BTreeMap;

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::number::{Number, power};
use num_bigint::BigInt;
use num_traits::{One, Signed, Zero};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::graph::Graph;
use crate::widths::monomials;

/// The expression multiplied out with roots joined, and what functions are taken of, too; what is too long stays as it
/// is.
pub(super) fn normal_form(graph: &mut Graph, id: ExprId) -> ExprId {
    let id = normal_inside(graph, id);
    multiplied_out(graph, id)
}

/// The expression with every argument of a function and every divisor in normal form: renamed variables leave sums in
/// another order.
fn normal_inside(graph: &mut Graph, root: ExprId) -> ExprId {
    let mut known: FxHashMap<ExprId, ExprId> = FxHashMap::default();
    for at in graph.pool.reachable(root) {
        let node = graph.pool.node(at).clone();
        let of = |e: ExprId| known[&e];
        let new = match node {
            Expr::Const(_) | Expr::Pi | Expr::Width(_) | Expr::Ref(..) | Expr::Table(..) | Expr::Sum(_) => at,
            Expr::Neg(a) => graph.pool.neg(of(a)),
            Expr::Add(a, b) => graph.pool.add(of(a), of(b)),
            Expr::Sub(a, b) => graph.pool.sub(of(a), of(b)),
            Expr::Mul(a, b) => graph.pool.mul(of(a), of(b)),
            Expr::Pow(a, p) if p.is_integer() && p.is_positive() => graph.pool.pow(of(a), p),
            Expr::Div(a, b) => {
                let divisor = multiplied_out(graph, of(b));
                graph.pool.div(of(a), divisor)
            }
            Expr::Pow(a, p) => {
                let base = multiplied_out(graph, of(a));
                graph.pool.pow(base, p)
            }
            Expr::Apply(func, args) => {
                let args: SmallVec<[ExprId; 2]> = args.iter().map(|&a| multiplied_out(graph, of(a))).collect();
                match args[..] {
                    [a] => graph.pool.apply(func, a),
                    [a, b] => graph.pool.apply2(func, a, b),
                    _ => at,
                }
            }
        };
        known.insert(at, new);
    }
    known[&root]
}

fn multiplied_out(graph: &mut Graph, id: ExprId) -> ExprId {
    let Some(terms) = monomials(graph, id) else { return id };
    let mut joined: BTreeMap<(Vec<ExprId>, Number), Number> = BTreeMap::new();
    for (factors, coefficient) in terms {
        let mut rest = Vec::new();
        let mut square = Number::one();
        for factor in factors {
            match square_of_root(graph, factor) {
                Some(value) => square *= value,
                None => match inverse_power(graph, factor) {
                    Some((inverse, k)) => rest.extend(std::iter::repeat_n(inverse, k)),
                    None => rest.push(factor),
                },
            }
        }
        rest.sort_unstable();
        let (rational, root) = root_of(&square);
        *joined.entry((rest, root)).or_insert_with(Number::zero) += coefficient * rational;
    }
    let pool = &mut graph.pool;
    let mut total = pool.integer(0);
    for ((factors, root), coefficient) in joined.into_iter().filter(|(_, c)| !c.is_zero()) {
        let coefficient = pool.constant(coefficient);
        let root = pool.constant(root);
        let root = pool.pow(root, power(1, 2));
        let product = pool.mul_all(factors);
        let term = pool.mul_all([coefficient, root, product]);
        total = pool.add(total, term);
    }
    total
}

/// A factor `x^(-k)` as `x^(-1)` and `k`.
fn inverse_power(graph: &mut Graph, factor: ExprId) -> Option<(ExprId, usize)> {
    let Expr::Pow(base, p) = *graph.pool.node(factor) else { return None };
    let k = usize::try_from(-*p.numer()).ok().filter(|&k| p.is_integer() && (2..=16).contains(&k))?;
    Some((graph.pool.pow(base, power(-1, 1)), k))
}

/// `c^(2 p)` of a factor `c^p` with a positive number `c` and an odd multiple `p` of 1/2.
fn square_of_root(graph: &Graph, factor: ExprId) -> Option<Number> {
    let Expr::Pow(base, p) = graph.pool.node(factor) else { return None };
    let base = graph.pool.as_const(*base).filter(|c| c.is_positive())?;
    let double = p * 2;
    let exponent = i32::try_from(*double.numer()).ok().filter(|e| double.is_integer() && e.abs() <= 64)?;
    Some(base.pow(exponent))
}

/// `sqrt(value) = rational * sqrt(root)` with an integer root without small square factors.
fn root_of(value: &Number) -> (Number, Number) {
    /// Squares of larger primes stay under the root, in the same way each time.
    const LARGEST: u32 = 1_000;
    let mut outside = Number::new(BigInt::one(), value.denom().clone());
    let mut inside = value.numer() * value.denom();
    for k in 2..=LARGEST {
        let square = BigInt::from(k) * k;
        if inside < square {
            break;
        }
        while (&inside % &square).is_zero() {
            inside /= &square;
            outside *= Number::from_integer(BigInt::from(k));
        }
    }
    (outside, Number::from_integer(inside))
}

#[cfg(test)]
mod tests {
    use netsor_ir::number::fraction;

    use super::root_of;

    #[test]
    fn square_factors_come_out() {
        assert_eq!(root_of(&fraction(12, 1)), (fraction(2, 1), fraction(3, 1)));
        assert_eq!(root_of(&fraction(9, 8)), (fraction(3, 4), fraction(2, 1)));
        assert_eq!(root_of(&fraction(1, 1)), (fraction(1, 1), fraction(1, 1)));
    }
}
