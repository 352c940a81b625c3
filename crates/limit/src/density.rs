//! Dirac's delta, the weak derivative of a step, as a factor of an expectation over base variables.

use netsor_ir::expr::{Expr, ExprId, Exprs};
use netsor_ir::func::Func;
use netsor_ir::number::{Number, Power};

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::Graph;
use crate::price::Law;
use crate::slots::Slots;

impl Deriver<'_> {
    /// `E[delta(argument) rest]`: a density times a conditional expectation ([`crate::delta`]).
    pub(crate) fn density(&mut self, delta: ExprId, rest: &[ExprId], name: &str) -> Result<ExprId, LimitError> {
        let Expr::Apply(_, args) = self.graph.pool.node(delta).clone() else {
            unreachable!("called with an application of delta")
        };
        let mut slots = Slots::default();
        let argument = self.slotted(args[0], &mut slots, name)?;
        let mut factors = Vec::with_capacity(rest.len());
        for &factor in rest {
            factors.push(self.slotted(factor, &mut slots, name)?);
        }
        let rest = self.graph.pool.mul_all(factors);
        let (argument, rest) = self.without_multiples(argument, rest, &slots);
        let law = self.law_of(slots, name)?;
        let delta = self.graph.pool.apply(Func::Delta, argument);
        let one = self.graph.pool.integer(1);
        self.expect_delta(one, delta, rest, &law, name)
    }

    /// Both expressions with every slot that is a multiple of an earlier one written as that.
    fn without_multiples(&mut self, mut argument: ExprId, mut rest: ExprId, slots: &Slots) -> (ExprId, ExprId) {
        let mut bases: Vec<(Number, ExprId)> = Vec::new();
        for (k, &form) in slots.forms.iter().enumerate() {
            let (factor, base) = self.graph.pool.constant_factor(form);
            if let Some(earlier) = bases.iter().position(|(_, b)| *b == base) {
                let ratio = self.graph.pool.constant(&factor / &bases[earlier].0);
                let slot = self.graph.pool.reference(Graph::slot_symbol(earlier), []);
                let value = self.graph.pool.mul(ratio, slot);
                argument = self.with_slot(argument, k, value);
                rest = self.with_slot(rest, k, value);
            }
            bases.push((factor, base));
        }
        (argument, rest)
    }

    /// The joint law of slots.
    pub(crate) fn law_of(&mut self, slots: Slots, name: &str) -> Result<Law, LimitError> {
        let mut covariance = Vec::with_capacity(slots.forms.len());
        for &a in &slots.forms {
            let row: Result<Vec<ExprId>, _> =
                slots.forms.iter().map(|&b| self.covariance_of_forms(a, b, name)).collect();
            covariance.push(row?);
        }
        let sizes = covariance.iter().enumerate().map(|(k, row)| row[k]).collect();
        Ok(Law { covariance, sizes, parameters: slots.parameters })
    }

    /// The expression with a value in place of a slot.
    pub(crate) fn with_slot(&mut self, expr: ExprId, slot: usize, value: ExprId) -> ExprId {
        let reference = self.graph.pool.reference(Graph::slot_symbol(slot), []);
        self.graph.pool.replace_term(expr, reference, value)
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
