//! Limits of a program's values, to be added, multiplied and averaged.
//!
//! What a theorem says of a program is a formula in such limits, and is written once over this trait. The deriver makes
//! expressions of it, of which equality is proved; random points of a field make numbers, of which it is seen
//! ([`crate::induction`]).

use netsor_ir::expr::{Exprs, for_each_child};
use netsor_ir::number::power;
use netsor_ir::paths::PathError;
use netsor_ir::program::value_of;
use netsor_ir::{Dim, Expr, ExprId, Index, Kind, Number, ValueId};
use rustc_hash::{FxHashMap, FxHashSet};

use super::PathFormulaError;
use crate::derive::Deriver;
use crate::rules::Rules;

/// Limits of the values of one program.
pub(crate) trait Limits {
    /// The limit of a scalar.
    type Scalar: Clone;
    /// `Z^x` of a vector whose dimension is a width, or a function of such.
    type Vector: Clone;
    /// Why a limit is not known.
    type Error: From<PathError>;

    /// A rational number.
    fn number(&mut self, value: &Number) -> Self::Scalar;
    /// `value^(-1/2)` of a positive number.
    fn inverse_root(&mut self, value: &Number) -> Self::Scalar;
    /// `a + b`.
    fn sum(&mut self, a: &Self::Scalar, b: &Self::Scalar) -> Self::Scalar;
    /// `a - b`.
    fn difference(&mut self, a: &Self::Scalar, b: &Self::Scalar) -> Self::Scalar;
    /// `a b`.
    fn product(&mut self, a: &Self::Scalar, b: &Self::Scalar) -> Self::Scalar;
    /// Whether a scalar is zero for certain.
    fn is_zero(&self, a: &Self::Scalar) -> bool;

    /// The vector 0.
    fn zero_vector(&mut self) -> Self::Vector;
    /// `x - factor y`.
    fn minus_multiple(&mut self, x: Self::Vector, factor: &Self::Scalar, y: &Self::Vector) -> Self::Vector;
    /// `E[x y]`.
    fn mean_of_product(&mut self, x: &Self::Vector, y: &Self::Vector) -> Result<Self::Scalar, Self::Error>;

    /// The limit of a scalar of the program.
    fn scalar(&mut self, value: ValueId) -> Result<Self::Scalar, Self::Error>;
    /// `Z` of a vector of the program whose dimension is a width: 0 if it vanishes.
    fn vector(&mut self, value: ValueId) -> Result<Self::Vector, Self::Error>;
    /// `E[Z^x Z^y]` of vectors whose dimension is a width, and the inner product of those of constant dimension.
    fn moment(&mut self, x: ValueId, y: ValueId) -> Result<Self::Scalar, Self::Error>;
    /// A term over the program's values, in any pool, as a function of their `Z`; `of` is what it belongs to.
    fn function(&mut self, exprs: &Exprs, term: ExprId, of: &str) -> Result<Self::Vector, Self::Error>;
    /// The same of a term over scalars.
    fn coefficient(&mut self, exprs: &Exprs, term: ExprId, of: &str) -> Result<Self::Scalar, Self::Error>;
}

/// Expressions of the moment graph, to go on with: what they presume is not part of them.
impl Limits for Deriver<'_> {
    type Scalar = ExprId;
    type Vector = ExprId;
    type Error = PathFormulaError;

    fn number(&mut self, value: &Number) -> ExprId {
        self.graph.pool.constant(value.clone())
    }

    fn inverse_root(&mut self, value: &Number) -> ExprId {
        let base = self.graph.pool.constant(value.clone());
        self.graph.pool.pow(base, power(-1, 2))
    }

    fn sum(&mut self, &a: &ExprId, &b: &ExprId) -> ExprId {
        self.graph.pool.add(a, b)
    }

    fn difference(&mut self, &a: &ExprId, &b: &ExprId) -> ExprId {
        self.graph.pool.sub(a, b)
    }

    fn product(&mut self, &a: &ExprId, &b: &ExprId) -> ExprId {
        self.graph.pool.mul(a, b)
    }

    fn is_zero(&self, &a: &ExprId) -> bool {
        self.graph.pool.is_zero(a)
    }

    fn zero_vector(&mut self) -> ExprId {
        self.graph.pool.integer(0)
    }

    fn minus_multiple(&mut self, x: ExprId, &factor: &ExprId, &y: &ExprId) -> ExprId {
        let term = self.graph.pool.mul(factor, y);
        self.graph.pool.sub(x, term)
    }

    fn mean_of_product(&mut self, &x: &ExprId, &y: &ExprId) -> Result<ExprId, PathFormulaError> {
        let product = self.graph.pool.mul(x.min(y), x.max(y));
        Ok(self.expectation(product, "a product of derivatives along paths")?)
    }

    fn scalar(&mut self, value: ValueId) -> Result<ExprId, PathFormulaError> {
        Ok(self.scalar_limit(value)?)
    }

    fn vector(&mut self, value: ValueId) -> Result<ExprId, PathFormulaError> {
        Ok(self.limit(value)?)
    }

    fn moment(&mut self, x: ValueId, y: ValueId) -> Result<ExprId, PathFormulaError> {
        let size = match self.program.value(x).ty.kind {
            Kind::Vector(Dim::Width(_)) => return Ok(self.second_moment_limit(x, y)?),
            Kind::Vector(Dim::Finite(size)) => size,
            Kind::Scalar | Kind::Matrix { .. } => 1,
        };
        let (a, b) = (self.limit(x)?, self.limit(y)?);
        let product = self.graph.pool.mul(a, b);
        // The coordinate is the first index of a plain vector of constant dimension.
        Ok(self.sum_of_coordinates(Index::Var(0), size, product))
    }

    fn function(&mut self, exprs: &Exprs, term: ExprId, of: &str) -> Result<ExprId, PathFormulaError> {
        let mut order = Vec::new();
        let mut stack = vec![term];
        let mut seen = FxHashSet::default();
        while let Some(next) = stack.pop() {
            if seen.insert(next) {
                order.push(next);
                for_each_child(exprs.node(next), |child| stack.push(child));
            }
        }
        // Children have smaller ids than their parents.
        order.sort_unstable();
        let mut done: FxHashMap<ExprId, ExprId> = FxHashMap::default();
        for at in order {
            let copy = match exprs.node(at).clone() {
                Expr::Ref(symbol, _) => {
                    let value = value_of(symbol);
                    match self.program.value(value).ty.kind {
                        Kind::Scalar => self.scalar_limit(value)?,
                        _ => self.z(value)?.expr,
                    }
                }
                Expr::Sum(_) | Expr::Table(..) => return Err(PathError::Family { name: of.to_owned() }.into()),
                leaf @ (Expr::Const(_) | Expr::Pi | Expr::Width(_)) => self.graph.pool.intern(leaf),
                Expr::Neg(a) => self.graph.pool.neg(done[&a]),
                Expr::Add(a, b) => self.graph.pool.add(done[&a], done[&b]),
                Expr::Sub(a, b) => self.graph.pool.sub(done[&a], done[&b]),
                Expr::Mul(a, b) => self.graph.pool.mul(done[&a], done[&b]),
                Expr::Div(a, b) => self.graph.pool.div(done[&a], done[&b]),
                Expr::Pow(a, p) => self.graph.pool.pow(done[&a], p),
                Expr::Apply(func, args) => {
                    let args = args.iter().map(|a| done[a]).collect();
                    self.graph.pool.intern(Expr::Apply(func, args))
                }
            };
            done.insert(at, copy);
        }
        Ok(done[&term])
    }

    fn coefficient(&mut self, exprs: &Exprs, term: ExprId, of: &str) -> Result<ExprId, PathFormulaError> {
        self.function(exprs, term, of)
    }
}
