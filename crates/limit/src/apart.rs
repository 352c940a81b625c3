//! Other jumps at the place of a delta.
//!
//! `delta(a) step(a)` has no meaning: a perturbation that carries `a` across 0 sees the step before or after it, according
//! to its own sign. Where both have one argument by name the product is refused at once. Members of a family are one for
//! some positions of their indices only, as in `delta(a[i]) (sum j step(a[j]))`, and vectors for some data: then the value
//! presumes that they are not ([`crate::premise`]).

use netsor_ir::Index;
use netsor_ir::expr::{Expr, ExprId, for_each_child};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::number::Power;
use rustc_hash::FxHashSet;

use crate::closed_form::slots_of;
use crate::derive::Deriver;
use crate::error::LimitError;
use crate::expectation::Factor;
use crate::graph::{Graph, Leaf};
use crate::premise::{Presumed, Scope};
use crate::price::Law;
use crate::slots::Slots;

/// `constant + sum_k coefficients[k] Z_slots[k]`, with values for parameters.
struct Affine {
    slots: Vec<usize>,
    coefficients: Vec<ExprId>,
    constant: ExprId,
}

impl Deriver<'_> {
    /// Remembers that where a delta among the factors is, no other jump is with certainty.
    pub(crate) fn presume_apart(&mut self, factors: &[Factor], scope: Scope<'_>, name: &str) -> Result<(), LimitError> {
        for (at, delta) in factors.iter().enumerate() {
            let &Expr::Apply(Func::Delta, ref args) = self.graph.pool.node(delta.expr) else { continue };
            let argument = args[0];
            let others = factors.iter().enumerate().filter(|&(k, _)| k != at).map(|(_, f)| f.expr);
            let others: Vec<ExprId> = others.filter(|&f| !self.jumps(f).is_empty()).collect();
            if others.is_empty() {
                continue;
            }
            let mut slots = Slots::default();
            let argument = self.slotted(argument, &mut slots, name)?;
            let mut jumps = Vec::new();
            for other in others {
                let slotted = self.slotted(other, &mut slots, name)?;
                jumps.extend(self.jumps(slotted));
            }
            let law = self.law_of(slots, name)?;
            let place = self.affine(argument, &law);
            for jump in jumps {
                match (self.affine(jump, &law), &place) {
                    (Some(other), Some(place)) => self.presume_not_determined(&other, place, &law, scope, name),
                    _ => self.presume_not_equal(jump, argument, &law, scope, name),
                }
            }
        }
        Ok(())
    }

    /// Remembers that `other` is not 0 with certainty where `place` is.
    fn presume_not_determined(&mut self, other: &Affine, place: &Affine, law: &Law, scope: Scope<'_>, name: &str) {
        let (spread, spread_size) = self.variance_of(&place.slots, &place.coefficients, law);
        let (own, size) = self.variance_of(&other.slots, &other.coefficients, law);
        let mut covariance = self.graph.pool.integer(0);
        for (&k, &coefficient) in other.slots.iter().zip(&other.coefficients) {
            let with = self.covariance_with(k, &place.slots, &place.coefficients, law);
            let term = self.graph.pool.mul(coefficient, with);
            covariance = self.graph.pool.add(covariance, term);
        }
        if self.graph.pool.is_zero(covariance) {
            return;
        }
        let one = Power::from_integer(1);
        let explained = self.graph.pool.mul(covariance, covariance);
        let explained = self.quotient(explained, spread, spread_size, one);
        let shift = self.graph.pool.mul(place.constant, covariance);
        let shift = self.quotient(shift, spread, spread_size, one);
        let variance = self.graph.pool.sub(own, explained);
        let mean = self.graph.pool.sub(other.constant, shift);
        self.presume(Presumed::Apart { variance, mean, size }, scope, name);
    }

    /// Remembers that arguments which are one function of different variables have variables that differ.
    fn presume_not_equal(&mut self, other: ExprId, place: ExprId, law: &Law, scope: Scope<'_>, name: &str) {
        let mut slots = Vec::new();
        if !self.alike(other, place, &mut slots) {
            return;
        }
        let zero = self.graph.pool.integer(0);
        let (mut variance, mut size) = (zero, zero);
        for (k, l) in slots {
            let pool = &mut self.graph.pool;
            let own = pool.add(law.covariance[k][k], law.covariance[l][l]);
            let common = pool.add(law.covariance[k][l], law.covariance[l][k]);
            let difference = pool.sub(own, common);
            variance = pool.add(variance, difference);
            size = pool.add(size, own);
        }
        self.presume(Presumed::Apart { variance, mean: zero, size }, scope, name);
    }

    /// Whether expressions over slots are one function, parameters apart; and the slots that correspond.
    fn alike(&self, a: ExprId, b: ExprId, slots: &mut Vec<(usize, usize)>) -> bool {
        let mut seen = FxHashSet::default();
        let mut stack = vec![(a, b)];
        while let Some((a, b)) = stack.pop() {
            if !seen.insert((a, b)) {
                continue;
            }
            let (x, y) = (self.graph.pool.node(a), self.graph.pool.node(b));
            let one = match (x, y) {
                (Expr::Ref(s, _), Expr::Ref(t, _)) => match (self.graph.leaf(*s), self.graph.leaf(*t)) {
                    (Leaf::Slot(k), Leaf::Slot(l)) => {
                        slots.push((k, l));
                        true
                    }
                    (Leaf::Parameter(_), Leaf::Parameter(_)) => true,
                    _ => a == b,
                },
                (Expr::Pow(_, p), Expr::Pow(_, q)) => p == q,
                (Expr::Apply(f, _), Expr::Apply(g, _)) => f == g,
                (Expr::Neg(_) | Expr::Add(..) | Expr::Sub(..) | Expr::Mul(..) | Expr::Div(..), _) => {
                    std::mem::discriminant(x) == std::mem::discriminant(y)
                }
                _ => a == b,
            };
            if !one {
                return false;
            }
            let (mut of_x, mut of_y) = (Vec::new(), Vec::new());
            for_each_child(x, |child| of_x.push(child));
            for_each_child(y, |child| of_y.push(child));
            stack.extend(of_x.into_iter().zip(of_y));
        }
        true
    }

    /// Whether two jumps in the expressions are of members of one family, which meet at some positions of their indices.
    /// Stein's lemma would take such a product apart, into parts that have no meaning there.
    pub(crate) fn jumps_may_meet(&mut self, exprs: &[ExprId]) -> bool {
        let mut arguments: Vec<ExprId> = exprs.iter().flat_map(|&expr| self.jumps(expr)).collect();
        arguments.sort_unstable();
        arguments.dedup();
        let mut families: Vec<ExprId> =
            arguments.iter().map(|&a| self.graph.pool.map_indices(a, &mut |_| Index::At(0))).collect();
        families.sort_unstable();
        families.dedup();
        families.len() < arguments.len()
    }

    /// What the jumps in an expression are taken of, deltas apart: two of these have a joint density, which is infinite
    /// where they meet.
    fn jumps(&self, expr: ExprId) -> Vec<ExprId> {
        let mut found = Vec::new();
        self.graph.pool.visit(expr, &mut |node| {
            if let Expr::Apply(func, args) = node
                && func.facts().smoothness == Smoothness::Jump
                && *func != Func::Delta
                && !found.contains(&args[0])
            {
                found.push(args[0]);
            }
        });
        found
    }

    fn affine(&mut self, expr: ExprId, law: &Law) -> Option<Affine> {
        let slots = slots_of(&self.graph, expr);
        let coefficients = self.linear(expr, &slots).filter(|c| !c.is_empty())?;
        let coefficients = coefficients.into_iter().map(|a| self.with_parameters(a, &law.parameters)).collect();
        let zero = self.graph.pool.integer(0);
        let constant = slots.iter().fold(expr, |constant, &k| {
            let slot = self.graph.pool.reference(Graph::slot_symbol(k), []);
            self.graph.pool.replace_term(constant, slot, zero)
        });
        let constant = self.with_parameters(constant, &law.parameters);
        Some(Affine { slots, coefficients, constant })
    }
}
