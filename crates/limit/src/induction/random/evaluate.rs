//! Terms over random variables, evaluated at the points.

use std::rc::Rc;

use netsor_ir::expr::{Expr, ExprId, Exprs};
use netsor_ir::number::Power;
use netsor_ir::program::value_of;
use netsor_ir::{Func, ValueId};
use num_traits::{Signed, ToPrimitive};
use rustc_hash::FxHashMap;

use super::points::{Draw, Points};
use super::polynomial::Polynomial;
use crate::induction::InductionError;
use crate::induction::field::{inverse, is_square, minus, number, power, root, scramble};

/// Evaluates terms of one pool.
pub(super) struct Evaluation<'a> {
    pub(super) exprs: &'a Exprs,
    pub(super) points: &'a Points,
    /// Marks of the points at which every square root so far was one.
    pub(super) rooted: &'a mut [bool],
    /// What a reference to a value is worth.
    pub(super) reference: &'a dyn Fn(ValueId) -> Result<Rc<Polynomial>, InductionError>,
    /// What the term belongs to.
    pub(super) name: &'a str,
}

impl Evaluation<'_> {
    /// The value of a term.
    ///
    /// # Errors
    /// [`InductionError::NotAtPoints`] where an error signal is inside of a function, beyond degree two, or under a sum.
    pub(super) fn of(&mut self, root: ExprId) -> Result<Rc<Polynomial>, InductionError> {
        let mut known: FxHashMap<ExprId, Rc<Polynomial>> = FxHashMap::default();
        for at in self.exprs.reachable(root) {
            let value = self.node(at, &|e| known[&e].clone())?;
            known.insert(at, value);
        }
        Ok(known[&root].clone())
    }

    fn node(&mut self, at: ExprId, of: &dyn Fn(ExprId) -> Rc<Polynomial>) -> Result<Rc<Polynomial>, InductionError> {
        let name = self.name;
        let too_high = || InductionError::not_at_points(name, "it is no polynomial of degree two in error signals");
        let points = self.points.count();
        let value = match self.exprs.node(at) {
            Expr::Const(c) => Polynomial::scalar(number(c), 0, points),
            Expr::Pi => Polynomial::scalar(self.points.drawn(Draw::Pi, [0, 0]), 0, points),
            Expr::Ref(symbol, _) => return (self.reference)(value_of(*symbol)),
            Expr::Neg(a) => of(*a).scaled(minus(0, 1), 0),
            Expr::Add(a, b) => of(*a).plus(&of(*b)),
            Expr::Sub(a, b) => {
                let mut difference = (*of(*a)).clone();
                difference.add(&of(*b), minus(0, 1));
                difference
            }
            Expr::Mul(a, b) => of(*a).times(&of(*b)).ok_or_else(too_high)?,
            Expr::Div(a, b) => {
                let divisor = of(*b).map(|_, x| inverse(x)).ok_or_else(too_high)?;
                of(*a).times(&divisor).ok_or_else(too_high)?
            }
            Expr::Pow(a, p) if p.is_integer() && p.is_positive() && !of(*a).is_function() => {
                let base = of(*a);
                let mut product = (*base).clone();
                for _ in 1..*p.numer() {
                    product = product.times(&base).ok_or_else(too_high)?;
                }
                product
            }
            Expr::Pow(a, p) => {
                self.check_root(*a, *p.denom())?;
                let mut raised = self.raised(&of(*a), *p).ok_or_else(too_high)?;
                raised.degree = raised.degree.saturating_mul(p.numer().unsigned_abs() as usize);
                raised
            }
            Expr::Apply(Func::Sqrt, args) => {
                self.check_root(args[0], 2)?;
                self.raised(&of(args[0]), Power::new(1, 2)).ok_or_else(too_high)?
            }
            Expr::Apply(func, args) => {
                let args: Vec<Rc<Polynomial>> = args.iter().map(|&a| of(a)).collect();
                applied(*func, &args).ok_or_else(too_high)?
            }
            Expr::Width(_) | Expr::Table(..) | Expr::Sum(_) => {
                let reason = "it has a sum or a power of the width inside";
                return Err(InductionError::not_at_points(name, reason));
            }
        };
        Ok(Rc::new(value))
    }

    /// A number that has no square root in the field gets none by drawing again.
    fn check_root(&self, of: ExprId, degree: i64) -> Result<(), InductionError> {
        match self.exprs.node(of) {
            Expr::Const(c) if degree == 2 && !is_square(number(c)) => {
                Err(InductionError::not_at_points(self.name, &format!("the field has no square root of {c}")))
            }
            _ => Ok(()),
        }
    }

    /// `x^p`. A square root has a sign that products respect; it is marked where its square is not `x`.
    fn raised(&mut self, x: &Polynomial, p: Power) -> Option<Polynomial> {
        let integer = |base: u64, k: i64| match k {
            0.. => power(base, k.unsigned_abs()),
            _ => power(inverse(base), k.unsigned_abs()),
        };
        x.map(|point, x| match (p.denom().to_u64(), *p.numer()) {
            (Some(1), k) => integer(x, k),
            (Some(2), k) => {
                self.rooted[point] &= is_square(x);
                integer(root(x), k)
            }
            (Some(d), k) => integer(self.points.drawn(Draw::Power, [x, d]), k),
            (None, _) => 0,
        })
    }
}

/// An elementary function: a random one of the field.
fn applied(func: Func, args: &[Rc<Polynomial>]) -> Option<Polynomial> {
    let name = func.name().bytes().fold(8, |sum, byte| scramble(&[sum, u64::from(byte)]));
    if args.iter().any(|a| !a.is_function()) {
        return None;
    }
    let mut value = args.first()?.map(|m, _| {
        let values = args.iter().map(|a| a.constant[m]);
        scramble(&std::iter::once(name).chain(values).collect::<Vec<_>>())
    })?;
    value.degree = args.iter().map(|a| a.degree).max().unwrap_or(0);
    Some(value)
}
