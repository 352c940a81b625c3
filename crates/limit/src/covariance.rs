//! Covariances of base variables: ZINIT, and ZHAT (TP IIb App. eq. 64).

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::program::{own_indices, value_of};
use netsor_ir::{Dim, Index, Indices, Instr, ValueId};

use crate::derive::{Deriver, SameMember};
use crate::error::LimitError;
use crate::expectation::Mention;
use crate::graph::{Body, Def};
use crate::product::Product;

impl Deriver<'_> {
    /// The covariance of two base variables (ZINIT, ZHAT eq. 64); 0 by proof when they are independent. Members of a
    /// family of matrices are independent: the pairs of indices that say which member must be equal, too.
    pub(crate) fn base_covariance(
        &mut self,
        a: Mention<'_>,
        b: Mention<'_>,
        name: &str,
    ) -> Result<(ExprId, SameMember), LimitError> {
        let (first, second) = if a.0 <= b.0 { (a, b) } else { (b, a) };
        let (v, w) = (value_of(first.0), value_of(second.0));
        let key = (v, w);
        let known = match self.base_covariances.get(&key) {
            Some(&known) => known,
            None => {
                let found = self.noting(|deriver| deriver.define_base_covariance(v, w, name))?;
                self.base_covariances.insert(key, found);
                found
            }
        };
        let body = self.recall(known);
        let indices: Vec<Index> = first.1.iter().chain(second.1).copied().collect();
        let same = match (&self.program.value(v).instr, &self.program.value(w).instr) {
            (Instr::MatMul { matrix: p, .. }, Instr::MatMul { matrix: q, .. }) => {
                let at = |index: Index, own: &Indices| match index {
                    Index::Var(k) => own.get(k as usize).copied().unwrap_or(index),
                    other => other,
                };
                p.indices.iter().zip(&q.indices).map(|(&i, &j)| (at(i, first.1), at(j, second.1))).collect()
            }
            _ => Vec::new(),
        };
        Ok((self.instantiate(body, &indices), same))
    }

    /// The covariance over the indices of `v`, then those of `w`, given that matrices are the same member.
    fn define_base_covariance(&mut self, v: ValueId, w: ValueId, name: &str) -> Result<ExprId, LimitError> {
        let program = self.program;
        let k = program.value(v).ty.family.len() as u32;
        let l = program.value(w).ty.family.len() as u32;
        let zero = self.graph.pool.integer(0);
        let expr = match (&program.value(v).instr, &program.value(w).instr) {
            (Instr::Gaussian(law), Instr::Gaussian(_)) if v == w => law.covariance,
            (Instr::Gaussian(_), Instr::Gaussian(law)) => {
                // The later law names the earlier vector, its own indices first.
                match law.cross.iter().find(|(other, _)| *other == v) {
                    Some(&(_, covariance)) => {
                        let swap: Vec<Index> = (k..k + l).chain(0..k).map(Index::Var).collect();
                        self.instantiate(covariance, &swap)
                    }
                    None => zero,
                }
            }
            (
                Instr::MatMul { matrix: p, transposed: s, vector: x },
                Instr::MatMul { matrix: q, transposed: t, vector: y },
            ) if p.value == q.value && s == t => {
                let first = Product::new(program, p, *s, x)?;
                let second = Product::new(program, q, *t, y)?;
                let shift: Vec<Index> = (k..k + l).map(Index::Var).collect();
                let core = match first.in_dim {
                    Dim::Finite(size) => {
                        let variable = self.fresh();
                        let x = self.operand(first.vector, Some(variable))?.coefficient;
                        let y = self.operand(second.vector, Some(variable))?.coefficient;
                        let y = self.instantiate(y, &shift);
                        let product = self.graph.pool.mul(x, y);
                        self.sum_of_coordinates(variable, size, product)
                    }
                    Dim::Width(_) => {
                        let x = self.operand(first.vector, None)?.coefficient;
                        let y = self.operand(second.vector, None)?.coefficient;
                        let y = self.instantiate(y, &shift);
                        let product = self.graph.pool.mul(x, y);
                        self.expectation(product, name)?
                    }
                };
                let strength = self.graph.pool.constant(first.strength);
                self.graph.pool.mul(strength, core)
            }
            _ => zero,
        };
        Ok(self.named(expr, (k + l) as usize))
    }

    /// The expression, or a definition for it where it is long: scalars that feed into one another, as those of
    /// training do, would otherwise be written out in each other.
    pub(crate) fn named_if_large(&mut self, expr: ExprId, arity: usize) -> ExprId {
        const LARGE: usize = 40;
        let mut nodes = 0;
        self.graph.pool.visit(expr, &mut |_| nodes += 1);
        if nodes < LARGE { expr } else { self.named(expr, arity) }
    }

    /// A definition for an expression over `Var(0..arity)`, unless it is small enough to stand for itself.
    pub(crate) fn named(&mut self, expr: ExprId, arity: usize) -> ExprId {
        match self.graph.pool.node(expr) {
            Expr::Const(_) | Expr::Ref(..) | Expr::Table(..) => expr,
            _ => {
                let def = self.define(Def { arity, body: Body::Scalar(expr) });
                let symbol = self.graph.def_symbol(def);
                self.graph.pool.reference(symbol, own_indices(arity))
            }
        }
    }
}
