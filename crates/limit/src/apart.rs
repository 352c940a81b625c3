//! Other jumps at the place of a delta.
//!
//! `delta(a) step(a)` has no meaning: a perturbation that carries `a` across 0 sees the step before or after it, according
//! to its own sign. Where both have one argument by name the product is refused at once. Members of a family are one for
//! some positions of their indices only, as in `delta(a[i]) (sum j step(a[j]))`, and vectors for some data: then the value
//! presumes that they are not ([`crate::premise`]).

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::number::Power;

use crate::closed_form::slots_of;
use crate::derive::Deriver;
use crate::error::LimitError;
use crate::expectation::Factor;
use crate::graph::Graph;
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
            let Some(place) = self.affine(argument, &law) else { continue };
            for jump in jumps {
                if let Some(other) = self.affine(jump, &law) {
                    self.presume_not_determined(&other, &place, &law, scope, name);
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
