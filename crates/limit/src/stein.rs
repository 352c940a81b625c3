//! Stein's lemma, `E[Z F] = sum_b Cov(Z, b) E[d_b F]`, which removes Gaussian factors from an expectation.

use netsor_ir::calculus::{Derivative, Occurrence};
use netsor_ir::expr::{Expr, ExprId, Symbol};
use netsor_ir::func::{Func, Parity, Smoothness};
use num_traits::Signed;

use crate::closed_form::slots_of;
use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::Graph;
use crate::premise::Scope;
use crate::slots::Slots;

impl Deriver<'_> {
    /// `E[Z rest] = sum over occurrences of base variables b in rest of Cov(Z, b) E[d rest / d b]`.
    pub(crate) fn stein(&mut self, bare: ExprId, rest: &[ExprId], name: &str) -> Result<ExprId, LimitError> {
        let Expr::Ref(symbol, indices) = self.graph.pool.node(bare).clone() else {
            unreachable!("bare factors are references to base variables")
        };
        let product = self.graph.pool.mul_all(rest.iter().copied());
        let mut total = self.graph.pool.integer(0);
        for occurrence in self.random_occurrences(product) {
            let (covariance, same) =
                self.base_covariance((symbol, &indices), (occurrence.symbol, &occurrence.indices), name)?;
            if self.graph.pool.is_zero(covariance) {
                continue;
            }
            let mean = self.expectation(occurrence.coefficient, name)?;
            let pool = &mut self.graph.pool;
            let value = pool.mul(covariance, mean);
            let value = pool.sum_matching(&occurrence.variables, same, occurrence.guards.iter().cloned(), value);
            total = pool.add(total, value);
        }
        Ok(total)
    }

    /// The weak derivative of an expression in all base variables.
    pub(crate) fn random_occurrences(&mut self, expr: ExprId) -> Vec<Occurrence> {
        let random: Vec<bool> =
            (0..self.program.values.len() as u32).map(|s| self.graph.is_random(Symbol(s))).collect();
        let wanted = |s: Symbol| random.get(s.0 as usize).copied().unwrap_or(false);
        self.graph.pool.occurrences(expr, Derivative::Weak, &mut self.expander.fresh, &wanted)
    }

    /// Whether the derivative of an expression has Gaussian factors again, as that of `exp(-y^2)` has `y`: then
    /// [`Deriver::stein`], which multiplies out between its steps, would not end.
    pub(crate) fn brings_factors_back(&mut self, expr: ExprId) -> bool {
        let mut bases = Vec::new();
        self.graph.pool.visit(expr, &mut |node| match node {
            Expr::Apply(Func::Exp | Func::Sqrt | Func::Log, args) => bases.push(args[0]),
            Expr::Div(_, b) => bases.push(*b),
            Expr::Pow(a, p) if !p.is_integer() || p.is_negative() => bases.push(*a),
            _ => {}
        });
        bases.into_iter().any(|base| !self.expander.shape(&self.graph, base).is_scalar())
    }

    /// Whether kinked functions meet powers of polynomials that are no polynomials, as the activations of batch norm meet
    /// a standard deviation. Stein's lemma would differentiate both, again and again, and multiply jumps by deltas; with
    /// their factors left in place such integrands have an integral of their own (`netsor_gauss::expect_powers`).
    pub(crate) fn divides_by_forms(&mut self, exprs: &[ExprId]) -> bool {
        let mut bases = Vec::new();
        for &expr in exprs {
            self.graph.pool.visit(expr, &mut |node| match node {
                Expr::Apply(Func::Sqrt, args) => bases.push(args[0]),
                Expr::Div(_, b) => bases.push(*b),
                Expr::Pow(a, p) if !p.is_integer() || p.is_negative() => bases.push(*a),
                _ => {}
            });
        }
        bases.into_iter().any(|base| self.expander.shape(&self.graph, base).is_nonlinear_polynomial())
            && !self.all_smooth(exprs)
    }

    /// Whether all functions in the expressions are smooth.
    pub(crate) fn all_smooth(&self, exprs: &[ExprId]) -> bool {
        let mut smooth = true;
        for &expr in exprs {
            self.graph.pool.visit(expr, &mut |node| {
                smooth &= !matches!(node, Expr::Apply(f, _) if f.facts().smoothness != Smoothness::Smooth);
            });
        }
        smooth
    }

    /// `E[prod bare F]` with `F` a function of slots, which the lemma differentiates as such:
    /// `E[Z F] = sum_m Cov(Z, L_m) E[d_m F]` over its linear forms `L_m`.
    pub(crate) fn stein_in_slots(
        &mut self,
        bare: &[ExprId],
        integrand: ExprId,
        slots: &Slots,
        scope: Scope<'_>,
        name: &str,
    ) -> Result<ExprId, LimitError> {
        if self.graph.pool.is_zero(integrand) {
            return Ok(integrand);
        }
        let odd = bare.len() % 2 == 1;
        if matches!((self.parity(integrand), odd), (Parity::Odd, false) | (Parity::Even, true)) {
            self.presume_expectation(integrand, slots, scope, name)?;
            return Ok(self.graph.pool.integer(0));
        }
        let Some((&first, others)) = bare.split_first() else { return self.define_used(integrand, slots, name) };
        let mut total = self.graph.pool.integer(0);
        for (k, &other) in others.iter().enumerate().filter(|&(k, other)| !others[..k].contains(other)) {
            let covariance = self.named_covariance(first, other, name)?;
            if self.graph.pool.is_zero(covariance) {
                continue;
            }
            let mut rest = others.to_vec();
            rest.remove(k);
            let mean = self.stein_in_slots(&rest, integrand, slots, scope, name)?;
            let times = self.graph.pool.integer(others.iter().filter(|&&o| o == other).count() as i64);
            let value = self.graph.pool.mul_all([times, covariance, mean]);
            total = self.graph.pool.add(total, value);
        }
        for (m, &form) in slots.forms.iter().enumerate() {
            let covariance = self.covariance_of_forms(first, form, name)?;
            if self.graph.pool.is_zero(covariance) {
                continue;
            }
            let wanted = |symbol| symbol == Graph::slot_symbol(m);
            let found = self.graph.pool.occurrences(integrand, Derivative::Weak, &mut self.expander.fresh, &wanted);
            let derivative = self.graph.pool.add_all(found.into_iter().map(|o| o.coefficient));
            let mean = self.stein_in_slots(others, derivative, slots, scope, name)?;
            let value = self.graph.pool.mul(covariance, mean);
            total = self.graph.pool.add(total, value);
        }
        Ok(total)
    }

    /// Defines `E integrand` over the slots that occur in it.
    fn define_used(&mut self, integrand: ExprId, slots: &Slots, name: &str) -> Result<ExprId, LimitError> {
        let used = slots_of(&self.graph, integrand);
        let mut fresh = self.expander.fresh;
        let integrand = self.graph.pool.replace_refs(integrand, &mut fresh, &mut |pool, symbol, _, _| {
            let k = used.iter().position(|&k| Graph::slot_symbol(k) == symbol)?;
            Some(pool.reference(Graph::slot_symbol(k), []))
        });
        self.expander.fresh = fresh;
        let mut covariance = Vec::new();
        for (i, &a) in used.iter().enumerate() {
            for &b in &used[..=i] {
                covariance.push(self.covariance_of_forms(slots.forms[a], slots.forms[b], name)?);
            }
        }
        Ok(self.define_expect(integrand, covariance, slots.parameters.clone()))
    }
}
