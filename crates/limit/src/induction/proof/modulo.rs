//! Equality of Z-expressions modulo `Zhat^{W u}` (TP IIb App. Def. D.4).

use indexmap::IndexMap;
use netsor_ir::Instr;
use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::program::value_of;

use super::canonical::{Canonical, Forms, Split};
use super::roots::normal_form;
use crate::derive::Deriver;
use crate::error::LimitError;
use crate::induction::InductionError;
use crate::induction::field::vanishes;
use crate::induction::sides::{Equality, Side};
use crate::terms::scalar_part;
use crate::widths::identically_zero;

/// Canonical forms met so far, for both ways to split.
#[derive(Debug)]
pub(super) struct Comparison {
    by_scalars: Forms,
    fully: Forms,
    /// Most monomials for each.
    limit: usize,
}

impl Comparison {
    pub(super) fn new(limit: usize) -> Self {
        Self { by_scalars: Forms::new(limit), fully: Forms::new(limit), limit }
    }

    fn check(&self, name: &str) -> Result<(), InductionError> {
        if self.by_scalars.exceeded() || self.fully.exceeded() {
            return Err(InductionError::TooLong { name: name.to_owned(), limit: self.limit });
        }
        Ok(())
    }
}

impl Equality<Deriver<'_>> for Comparison {
    type Left = Option<ExprId>;

    fn modulo(
        &mut self,
        deriver: &mut Deriver<'_>,
        difference: ExprId,
        side: Option<Side>,
        name: &str,
    ) -> Result<Option<ExprId>, InductionError> {
        deriver.left_modulo(difference, side, self, name)
    }

    fn of_scalars(
        &mut self,
        deriver: &mut Deriver<'_>,
        difference: ExprId,
        name: &str,
    ) -> Result<Option<ExprId>, InductionError> {
        deriver.left_modulo(difference, None, self, name)
    }
}

impl Deriver<'_> {
    /// What is left of an expression when every scalar multiple of a base variable `Zhat^{W u}`, for the matrix and side
    /// of `side`, is dropped and all like terms are joined; `None` if nothing is.
    ///
    /// Sound: what is dropped or joined is so identically. `None` is therefore a proof (where products of sums are too
    /// long to be multiplied out, an evaluation at random points of a large field, [`crate::induction::field`]); an expression that
    /// is left may still be zero by an identity that is not seen.
    ///
    /// # Errors
    /// [`InductionError::TooLong`] once the integrands that were compared so far have very many monomials.
    fn left_modulo(
        &mut self,
        expr: ExprId,
        side: Option<Side>,
        comparison: &mut Comparison,
        name: &str,
    ) -> Result<Option<ExprId>, InductionError> {
        let grouped = Canonical::new(self, Split::ByScalars, &mut comparison.by_scalars).of(expr);
        comparison.check(name)?;
        let Some(rest) = self.left_over(grouped, side, name)? else { return Ok(None) };
        let split = Canonical::new(self, Split::Fully, &mut comparison.fully).of(rest);
        comparison.check(name)?;
        Ok(self.left_over(split, side, name)?.map(|_| rest))
    }

    fn left_over(&mut self, expr: ExprId, side: Option<Side>, name: &str) -> Result<Option<ExprId>, LimitError> {
        let terms = self.expander.expand(&mut self.graph, expr, name)?;
        let mut scalars: IndexMap<(Vec<ExprId>, Vec<ExprId>), ExprId> = IndexMap::new();
        let mut sums = Vec::new();
        for term in &terms {
            if let ([single], []) = (&term.bare[..], &term.opaque[..])
                && self.is_product_of(*single, side)
            {
                continue;
            }
            let scalar = scalar_part(&mut self.graph, term);
            if !term.variables.is_empty() {
                let random = self.graph.pool.mul_all(term.bare.iter().chain(&term.opaque).copied());
                let body = self.graph.pool.mul(scalar, random);
                sums.push(self.graph.pool.sum(&term.variables, term.guards.iter().cloned(), body));
                continue;
            }
            let (mut bare, mut opaque) = (term.bare.clone(), term.opaque.clone());
            bare.sort_unstable();
            opaque.sort_unstable();
            let zero = self.graph.pool.integer(0);
            let total = scalars.entry((bare, opaque)).or_insert(zero);
            *total = self.graph.pool.add(*total, scalar);
        }
        for ((bare, opaque), scalar) in scalars {
            let scalar = normal_form(&mut self.graph, scalar);
            if !identically_zero(&mut self.graph, scalar) && !vanishes(&self.graph, scalar) {
                let random = self.graph.pool.mul_all(bare.into_iter().chain(opaque));
                sums.push(self.graph.pool.mul(scalar, random));
            }
        }
        // Functions that were kept whole may still cancel when they are multiplied out.
        let rest = self.graph.pool.add_all(sums);
        let gone = identically_zero(&mut self.graph, rest) || vanishes(&self.graph, rest);
        Ok((!gone).then_some(rest))
    }

    fn is_product_of(&self, base: ExprId, side: Option<Side>) -> bool {
        let (Some((of, from_left)), Expr::Ref(symbol, _)) = (side, self.graph.pool.node(base)) else { return false };
        match &self.program.value(value_of(*symbol)).instr {
            Instr::MatMul { matrix, transposed, .. } => matrix.value == of && *transposed == from_left,
            _ => false,
        }
    }
}
