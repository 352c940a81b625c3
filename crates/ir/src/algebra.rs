//! The simplifying constructors: what every transform builds expressions with.
//!
//! The parser interns terms exactly as they were written, so that printing gives them back. Transforms build with the
//! methods here, which fold constants, drop zeros and ones, and solve guards that fix a bound variable. They are not a
//! normal form: two equal functions may still be two terms.

use num_traits::{One, Signed, Zero};
use smallvec::{SmallVec, smallvec};

use crate::expr::{Expr, ExprId, Exprs, Symbol};
use crate::func::Func;
use crate::id::Id;
use crate::index::{Guard, Index, Indices, Truth};
use crate::number::{Number, Power, integer};
use crate::program::{Axis, Table};

impl Exprs {
    /// An exact constant.
    pub fn constant(&mut self, value: Number) -> ExprId {
        self.intern(Expr::Const(value))
    }

    /// An integer constant.
    pub fn integer(&mut self, value: i64) -> ExprId {
        self.constant(integer(value))
    }

    /// `n^power`; one if the power is zero.
    pub fn width(&mut self, power: Power) -> ExprId {
        if power.is_zero() { self.integer(1) } else { self.intern(Expr::Width(power)) }
    }

    /// A reference to a member of a family.
    pub fn reference(&mut self, symbol: Symbol, indices: impl IntoIterator<Item = Index>) -> ExprId {
        self.intern(Expr::Ref(symbol, indices.into_iter().collect::<Indices>()))
    }

    /// An entry of a table.
    pub fn table(&mut self, table: Id<Table>, indices: impl IntoIterator<Item = Index>) -> ExprId {
        self.intern(Expr::Table(table, indices.into_iter().collect::<Indices>()))
    }

    /// The constant behind an id, if it is one.
    pub fn as_const(&self, id: ExprId) -> Option<&Number> {
        match self.node(id) {
            Expr::Const(value) => Some(value),
            _ => None,
        }
    }

    /// Whether the term is the constant 0.
    pub fn is_zero(&self, id: ExprId) -> bool {
        self.as_const(id).is_some_and(Zero::is_zero)
    }

    /// Whether the term is the constant 1.
    pub fn is_one(&self, id: ExprId) -> bool {
        self.as_const(id).is_some_and(One::is_one)
    }

    /// `-a`
    pub fn neg(&mut self, a: ExprId) -> ExprId {
        match self.node(a).clone() {
            Expr::Const(value) => self.constant(-value),
            Expr::Neg(inner) => inner,
            _ => self.intern(Expr::Neg(a)),
        }
    }

    /// `a + b`
    pub fn add(&mut self, a: ExprId, b: ExprId) -> ExprId {
        if self.is_zero(a) {
            return b;
        }
        if self.is_zero(b) {
            return a;
        }
        match (self.as_const(a), self.as_const(b), self.node(b).clone()) {
            (Some(x), Some(y), _) => {
                let sum = x + y;
                self.constant(sum)
            }
            (_, _, Expr::Neg(inner)) => self.sub(a, inner),
            _ => self.intern(Expr::Add(a, b)),
        }
    }

    /// `a - b`
    pub fn sub(&mut self, a: ExprId, b: ExprId) -> ExprId {
        if a == b {
            return self.integer(0);
        }
        if self.is_zero(b) {
            return a;
        }
        if self.is_zero(a) {
            return self.neg(b);
        }
        match (self.as_const(a), self.as_const(b), self.node(b).clone()) {
            (Some(x), Some(y), _) => {
                let difference = x - y;
                self.constant(difference)
            }
            (_, _, Expr::Neg(inner)) => self.add(a, inner),
            _ => self.intern(Expr::Sub(a, b)),
        }
    }

    /// `a * b`; constants and powers of the width are joined and move to the front, signs out of the product.
    pub fn mul(&mut self, a: ExprId, b: ExprId) -> ExprId {
        if self.is_zero(a) || self.is_one(b) {
            return a;
        }
        if self.is_zero(b) || self.is_one(a) {
            return b;
        }
        let (left, right) = (self.leading_factors(a), self.leading_factors(b));
        let constant = left.constant * right.constant;
        let power = left.power + right.power;
        let mut product = match (left.rest, right.rest) {
            (Some(x), Some(y)) => Some(self.intern(Expr::Mul(x, y))),
            (x, y) => x.or(y),
        };
        if !power.is_zero() {
            let width = self.width(power);
            product = Some(match product {
                Some(rest) => self.intern(Expr::Mul(width, rest)),
                None => width,
            });
        }
        let Some(rest) = product else { return self.constant(constant) };
        if constant.is_one() {
            rest
        } else if constant == -Number::one() {
            self.intern(Expr::Neg(rest))
        } else {
            let constant = self.constant(constant);
            self.intern(Expr::Mul(constant, rest))
        }
    }

    /// The numeric factor of a product, with its sign, and the rest.
    pub fn constant_factor(&mut self, id: ExprId) -> (Number, ExprId) {
        let factors = self.leading_factors(id);
        match factors.rest {
            Some(rest) if !factors.constant.is_zero() => {
                let power = self.width(factors.power);
                (factors.constant, self.mul(power, rest))
            }
            _ => (Number::one(), id),
        }
    }

    /// Takes the sign, the constant and the power of the width off the front of a product.
    fn leading_factors(&self, mut id: ExprId) -> Factors {
        let mut factors = Factors { constant: Number::one(), power: Power::zero(), rest: None };
        loop {
            match self.node(id) {
                Expr::Neg(inner) => {
                    factors.constant = -factors.constant;
                    id = *inner;
                }
                Expr::Const(value) => {
                    factors.constant *= value;
                    return factors;
                }
                Expr::Width(power) => {
                    factors.power += power;
                    return factors;
                }
                Expr::Mul(a, b) => match self.node(*a) {
                    Expr::Const(value) => {
                        factors.constant *= value;
                        id = *b;
                    }
                    Expr::Width(power) => {
                        factors.power += power;
                        id = *b;
                    }
                    _ => {
                        factors.rest = Some(id);
                        return factors;
                    }
                },
                _ => {
                    factors.rest = Some(id);
                    return factors;
                }
            }
        }
    }

    /// `a / b`
    pub fn div(&mut self, a: ExprId, b: ExprId) -> ExprId {
        if self.is_one(b) || (self.is_zero(a) && !self.is_zero(b)) {
            return a;
        }
        match (self.node(a).clone(), self.node(b).clone()) {
            (Expr::Const(x), Expr::Const(y)) if !y.is_zero() => self.constant(x / y),
            (_, Expr::Const(y)) if !y.is_zero() => {
                let inverse = self.constant(y.recip());
                self.mul(inverse, a)
            }
            (_, Expr::Width(p)) => {
                let inverse = self.width(-p);
                self.mul(inverse, a)
            }
            _ => self.intern(Expr::Div(a, b)),
        }
    }

    /// `a ^ p`
    pub fn pow(&mut self, a: ExprId, p: Power) -> ExprId {
        if p.is_zero() {
            return self.integer(1);
        }
        if p.is_one() {
            return a;
        }
        match self.node(a).clone() {
            Expr::Const(x) if p.is_integer() && p.numer().unsigned_abs() <= 64 && (!x.is_zero() || p.is_positive()) => {
                let value = num_traits::pow(x, p.numer().unsigned_abs() as usize);
                self.constant(if p.is_negative() { value.recip() } else { value })
            }
            Expr::Const(x) if x.is_one() => a,
            Expr::Width(q) => self.width(p * q),
            _ => self.intern(Expr::Pow(a, p)),
        }
    }

    /// `func(a)`
    pub fn apply(&mut self, func: Func, a: ExprId) -> ExprId {
        self.simplified(Expr::Apply(func, smallvec![a]))
    }

    /// `func(a, b)`
    pub fn apply2(&mut self, func: Func, a: ExprId, b: ExprId) -> ExprId {
        self.simplified(Expr::Apply(func, smallvec![a, b]))
    }

    /// The sum of the terms, in order; 0 if there are none.
    pub fn add_all(&mut self, terms: impl IntoIterator<Item = ExprId>) -> ExprId {
        let mut total = self.integer(0);
        for term in terms {
            total = self.add(total, term);
        }
        total
    }

    /// The product of the factors, in order; 1 if there are none.
    pub fn mul_all(&mut self, factors: impl IntoIterator<Item = ExprId>) -> ExprId {
        let mut total = self.integer(1);
        for factor in factors {
            total = self.mul(total, factor);
        }
        total
    }

    /// The guarded sum of `body` over the free `variables`, simplified.
    ///
    /// A guard that never holds gives 0, one that always holds is dropped, and signs and numeric factors come out. An
    /// equation between two variables is left alone: they may range over different axes.
    pub fn sum(
        &mut self,
        variables: &[(Index, Id<Axis>)],
        guards: impl IntoIterator<Item = Guard>,
        body: ExprId,
    ) -> ExprId {
        let mut guards: SmallVec<[Guard; 2]> = guards.into_iter().collect();
        if self.is_zero(body) || guards.iter().any(|g| g.truth() == Truth::Never) {
            return self.integer(0);
        }
        guards.retain(|g| g.truth() != Truth::Always);
        guards.sort();
        guards.dedup();
        if variables.is_empty() && guards.is_empty() {
            return body;
        }
        match self.node(body).clone() {
            Expr::Neg(inner) => {
                let sum = self.sum(variables, guards, inner);
                self.neg(sum)
            }
            Expr::Mul(a, b) if matches!(self.node(a), Expr::Const(_) | Expr::Width(_)) => {
                let sum = self.sum(variables, guards, b);
                self.mul(a, sum)
            }
            _ => self.sum_exact(variables, guards, body),
        }
    }

    /// As [`Exprs::sum`], where the equations in `same` are known to be between indices of one axis: two mentions of the
    /// same position of a family. They are solved for summed variables, and kept as guards where there are none.
    pub fn sum_matching(
        &mut self,
        variables: &[(Index, Id<Axis>)],
        same: impl IntoIterator<Item = (Index, Index)>,
        guards: impl IntoIterator<Item = Guard>,
        body: ExprId,
    ) -> ExprId {
        let mut variables: SmallVec<[(Index, Id<Axis>); 2]> = variables.iter().copied().collect();
        let mut guards: SmallVec<[Guard; 2]> = guards.into_iter().collect();
        let mut same: SmallVec<[(Index, Index); 4]> = same.into_iter().collect();
        let mut body = body;
        let mut kept: SmallVec<[Guard; 2]> = SmallVec::new();
        while let Some((a, b)) = same.pop() {
            let summed = |i: Index| variables.iter().any(|&(v, _)| v == i);
            let (variable, replacement) = match (summed(a), summed(b)) {
                _ if a == b => continue,
                (_, true) => (b, a),
                (true, false) => (a, b),
                (false, false) => {
                    kept.push(Guard::equal(a, b));
                    continue;
                }
            };
            variables.retain(|&mut (v, _)| v != variable);
            let rename = |i: Index| if i == variable { replacement } else { i };
            guards.iter_mut().chain(&mut kept).for_each(|g| *g = g.map(rename));
            same.iter_mut().for_each(|(x, y)| (*x, *y) = (rename(*x), rename(*y)));
            body = self.map_indices(body, &mut |i| rename(i));
        }
        guards.extend(kept);
        self.sum(&variables, guards, body)
    }

    /// The node built again by the simplifying constructors; sums are left as they are.
    pub(crate) fn simplified(&mut self, node: Expr) -> ExprId {
        match node {
            Expr::Neg(a) => self.neg(a),
            Expr::Add(a, b) => self.add(a, b),
            Expr::Sub(a, b) => self.sub(a, b),
            Expr::Mul(a, b) => self.mul(a, b),
            Expr::Div(a, b) => self.div(a, b),
            Expr::Pow(a, p) => self.pow(a, p),
            Expr::Apply(func, ref args) => match self.composed(func, args) {
                Some(simpler) => simpler,
                None => self.intern(node),
            },
            _ => self.intern(node),
        }
    }
}

/// A product taken apart.
struct Factors {
    constant: Number,
    power: Power,
    /// The other factors; `None` if there are none.
    rest: Option<ExprId>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::power;

    #[test]
    fn constants_and_powers_of_the_width_are_joined() {
        let mut e = Exprs::new();
        let x = e.reference(Symbol(0), []);
        let (two, half, n) = (e.integer(2), e.constant(crate::number::fraction(1, 2)), e.width(power(1, 1)));
        let root = e.width(power(-1, 2));
        for (a, b) in [(two, n), (n, two)] {
            let front = e.mul(a, b);
            let back = e.mul(x, front);
            let product = e.mul(back, half);
            assert_eq!(product, e.mul(n, x));
        }
        let a = e.mul(root, x);
        let minus = e.neg(a);
        let square = e.mul(a, minus);
        let inverse = e.width(power(-1, 1));
        let (xx, negative) = (e.mul(x, x), e.integer(-1));
        let expected = e.mul(inverse, xx);
        assert_eq!(square, e.mul(negative, expected));
    }

    #[test]
    fn sums_solve_trusted_equations_only() {
        let mut e = Exprs::new();
        let axis: Id<Axis> = Id::new(0);
        let (i, q) = (Index::Var(0), Index::Var(7));
        let body = e.reference(Symbol(0), [q]);
        assert_eq!(e.sum_matching(&[(q, axis)], [(q, i)], [], body), e.reference(Symbol(0), [i]));
        let at = Index::At(2);
        assert_eq!(e.sum_matching(&[(q, axis)], [(at, q)], [], body), e.reference(Symbol(0), [at]));
        let guarded = e.sum(&[(q, axis)], [Guard::equal(q, i)], body);
        assert!(matches!(e.node(guarded), Expr::Sum(_)));
        let never = Guard::equal(Index::At(1), Index::At(2));
        let zero = e.integer(0);
        assert_eq!(e.sum(&[(q, axis)], [never], body), zero);
    }
}
