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

    /// `a * b`; constants move to the front and powers of the width are joined.
    pub fn mul(&mut self, a: ExprId, b: ExprId) -> ExprId {
        if self.is_zero(a) || self.is_one(b) {
            return a;
        }
        if self.is_zero(b) || self.is_one(a) {
            return b;
        }
        match (self.node(a).clone(), self.node(b).clone()) {
            (Expr::Const(x), Expr::Const(y)) => self.constant(x * y),
            (Expr::Neg(x), Expr::Neg(y)) => self.mul(x, y),
            (Expr::Neg(x), _) => {
                let product = self.mul(x, b);
                self.neg(product)
            }
            (_, Expr::Neg(y)) => {
                let product = self.mul(a, y);
                self.neg(product)
            }
            (Expr::Const(x), _) if x == -Number::one() => self.neg(b),
            (Expr::Const(x), Expr::Mul(l, r)) if self.as_const(l).is_some() => {
                let y = self.as_const(l).cloned().unwrap_or_else(Number::one);
                let front = self.constant(x * y);
                self.mul(front, r)
            }
            (_, Expr::Const(_)) => self.mul(b, a),
            (Expr::Width(p), Expr::Width(q)) => self.width(p + q),
            (Expr::Width(p), Expr::Mul(l, r)) => match *self.node(l) {
                Expr::Width(q) => {
                    let front = self.width(p + q);
                    self.mul(front, r)
                }
                _ => self.intern(Expr::Mul(a, b)),
            },
            (_, Expr::Width(_)) => self.mul(b, a),
            _ => self.intern(Expr::Mul(a, b)),
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
    /// A guard that never holds gives 0; a guard that equates a summed variable with another index of the same axis
    /// substitutes it. Substituting a position assumes that it lies on the axis, which the verifier checks for
    /// programs and transforms keep.
    pub fn sum(
        &mut self,
        variables: &[(Index, Id<Axis>)],
        guards: impl IntoIterator<Item = Guard>,
        body: ExprId,
    ) -> ExprId {
        let mut variables: SmallVec<[(Index, Id<Axis>); 2]> = variables.iter().copied().collect();
        let mut guards: SmallVec<[Guard; 2]> = guards.into_iter().collect();
        let mut body = body;
        loop {
            if self.is_zero(body) || guards.iter().any(|g| g.truth() == Truth::Never) {
                return self.integer(0);
            }
            guards.retain(|g| g.truth() != Truth::Always);
            let solved = guards.iter().enumerate().find_map(|(at, guard)| {
                let (a, b) = guard.as_equality()?;
                let summed = |i: Index| variables.iter().any(|&(v, _)| v == i);
                // Prefer to eliminate the younger variable, so that what remains is named by the outer one.
                if summed(b) && !matches!(a, Index::At(_)) {
                    Some((at, b, a))
                } else if summed(a) {
                    Some((at, a, b))
                } else {
                    None
                }
            });
            let Some((at, variable, replacement)) = solved else { break };
            guards.remove(at);
            variables.retain(|&mut (v, _)| v != variable);
            let rename = |i: Index| if i == variable { replacement } else { i };
            guards = guards.iter().map(|g| g.map(rename)).collect();
            body = self.map_indices(body, &mut |i| rename(i));
        }
        guards.sort();
        guards.dedup();
        if variables.is_empty() && guards.is_empty() {
            return body;
        }
        // Pull signs and numeric factors out, and join directly nested sums.
        match self.node(body).clone() {
            Expr::Neg(inner) => {
                let sum = self.sum(&variables, guards, inner);
                self.neg(sum)
            }
            Expr::Mul(a, b) if matches!(self.node(a), Expr::Const(_) | Expr::Width(_)) => {
                let sum = self.sum(&variables, guards, b);
                self.mul(a, sum)
            }
            _ => self.sum_exact(&variables, guards, body),
        }
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
            Expr::Apply(func, ref args) => match (func, self.as_const(args[0])) {
                // Values at zero that are exact.
                (
                    Func::Tanh | Func::Relu | Func::Abs | Func::Erf | Func::Sqrt | Func::Sin | Func::Gelu | Func::Silu
                    | Func::Elu | Func::Step | Func::Sign | Func::LeakyRelu,
                    Some(x),
                ) if x.is_zero() => args[0],
                (Func::Exp | Func::Cos, Some(x)) if x.is_zero() => self.integer(1),
                _ => self.intern(node),
            },
            _ => self.intern(node),
        }
    }
}
