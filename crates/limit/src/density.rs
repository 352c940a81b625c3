//! Dirac's delta, the weak derivative of a step, as a density and a conditional law.

use netsor_ir::expr::{Expr, ExprId, Exprs};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::number::Power;

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::Graph;
use crate::slots::Slots;

impl Deriver<'_> {
    /// `E[delta(c + L) G] = density of L at -c times E[G | L = -c]`.
    pub(crate) fn density(&mut self, delta: ExprId, rest: &[ExprId], name: &str) -> Result<ExprId, LimitError> {
        let Expr::Apply(_, args) = self.graph.pool.node(delta).clone() else {
            unreachable!("called with an application of delta")
        };
        let mut slots = Slots::default();
        let argument = self.slotted(args[0], &mut slots, name)?;
        let mut factors = Vec::with_capacity(rest.len());
        for &factor in rest {
            if self.jumps_at(factor, args[0]) {
                return Err(LimitError::JumpTimesJump { name: name.to_owned() });
            }
            factors.push(self.slotted(factor, &mut slots, name)?);
        }
        let mut integrand = self.graph.pool.mul_all(factors);
        let first = self.graph.pool.reference(Graph::slot_symbol(0), []);
        let constant = match *self.graph.pool.node(argument) {
            Expr::Add(c, s) if s == first => c,
            _ if argument == first => self.graph.pool.integer(0),
            _ => return self.density_along_curve(argument, integrand, slots, name),
        };
        let form = slots.forms[0];
        let variance = self.covariance_of_forms(form, form, name)?;
        let mut with_form = Vec::new();
        for k in 0..slots.forms.len() {
            with_form.push(self.covariance_of_forms(slots.forms[k], form, name)?);
        }
        let mut covariance = Vec::new();
        for i in 0..slots.forms.len() {
            for j in 0..=i {
                let joint = self.covariance_of_forms(slots.forms[i], slots.forms[j], name)?;
                let pool = &mut self.graph.pool;
                let explained = pool.mul(with_form[i], with_form[j]);
                let explained = pool.div(explained, variance);
                // The delta's own slot is known exactly.
                covariance.push(if i == 0 || j == 0 { pool.integer(0) } else { pool.sub(joint, explained) });
            }
        }
        // Conditional means: slot k becomes slot k - c Cov(k, L) / Var(L); they enter as parameters.
        if !self.graph.pool.is_zero(constant) {
            let mut shifted = Vec::new();
            for &with in &with_form {
                let pool = &mut self.graph.pool;
                let ratio = pool.div(with, variance);
                let shift = pool.mul(constant, ratio);
                shifted.push(pool.neg(shift));
            }
            integrand = self.shift_slots(integrand, &shifted, &mut slots);
        }
        let mean = self.define_expect(integrand, covariance, slots.parameters);
        let pool = &mut self.graph.pool;
        let density = normal_density(pool, constant, variance);
        Ok(pool.mul(density, mean))
    }

    /// Whether a factor has a jump, or another delta, in exactly the argument of a delta.
    fn jumps_at(&self, factor: ExprId, argument: ExprId) -> bool {
        let mut found = false;
        self.graph.pool.visit(factor, &mut |node| {
            if let Expr::Apply(func, args) = node {
                found |= func.facts().smoothness == Smoothness::Jump && (args[0] == argument || *func == Func::Delta);
            }
        });
        found
    }

    /// Replaces slot `k` by slot `k` plus a new parameter with the value `shifts[k]`.
    fn shift_slots(&mut self, integrand: ExprId, shifts: &[ExprId], slots: &mut Slots) -> ExprId {
        let first = slots.parameters.len();
        slots.parameters.extend_from_slice(shifts);
        let mut fresh = self.expander.fresh;
        let result = self.graph.pool.replace_refs(integrand, &mut fresh, &mut |pool, symbol, _, _| {
            let k = (0..shifts.len()).find(|&k| Graph::slot_symbol(k) == symbol)?;
            let slot = pool.reference(symbol, []);
            let parameter = pool.reference(Graph::parameter_symbol(first + k), []);
            Some(pool.intern(Expr::Add(parameter, slot)))
        });
        self.expander.fresh = fresh;
        result
    }
}

/// The density of a centred Gaussian of the given variance.
pub(crate) fn normal_density(pool: &mut Exprs, at: ExprId, variance: ExprId) -> ExprId {
    let pi = pool.intern(Expr::Pi);
    let two = pool.integer(2);
    let scale = pool.mul(two, pi);
    let scale = pool.mul(scale, variance);
    let norm = pool.pow(scale, Power::new(-1, 2));
    let square = pool.mul(at, at);
    let doubled = pool.mul(two, variance);
    let exponent = pool.div(square, doubled);
    let exponent = pool.neg(exponent);
    let bump = pool.apply(Func::Exp, exponent);
    pool.mul(norm, bump)
}
