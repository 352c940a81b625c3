//! Sums of monomials in which products of square roots of numbers are one root: `2^(1/2) 2^(-1/2)` is 1.
//!
//! Such roots come from ratios of widths, by which adjoints are scaled.

use std::collections::BTreeMap;

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::number::{Number, power};
use num_bigint::BigInt;
use num_traits::{One, Signed, Zero};

use crate::graph::Graph;
use crate::widths::monomials;

/// The expression multiplied out with roots joined; itself if it is too long.
pub(super) fn normal_form(graph: &mut Graph, id: ExprId) -> ExprId {
    let Some(terms) = monomials(graph, id) else { return id };
    let mut joined: BTreeMap<(Vec<ExprId>, Number), Number> = BTreeMap::new();
    for (factors, coefficient) in terms {
        let mut rest = Vec::new();
        let mut square = Number::one();
        for factor in factors {
            match square_of_root(graph, factor) {
                Some(value) => square *= value,
                None => rest.push(factor),
            }
        }
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
