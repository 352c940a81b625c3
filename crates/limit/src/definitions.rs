//! Definitions of the moment graph: what is equal up to the names of its indices is defined once.

use netsor_ir::Index;
use netsor_ir::expr::{Expr, ExprId};
use rustc_hash::FxHashSet;

use crate::derive::Deriver;
use crate::graph::{Body, Def, DefId, Graph};

impl Deriver<'_> {
    /// Defines `E integrand` and returns a mention of it; the integrand itself if no slot is left in it.
    pub(crate) fn define_expect(
        &mut self,
        integrand: ExprId,
        covariance: Vec<ExprId>,
        parameters: Vec<ExprId>,
    ) -> ExprId {
        if self.graph.pool.as_const(integrand).is_some() {
            return integrand;
        }
        let n_covariance = covariance.len();
        let all: Vec<ExprId> = covariance.into_iter().chain(parameters).collect();
        let (all, variables) = self.canonical(&all);
        let body = Body::Expect {
            integrand,
            covariance: all[..n_covariance].to_vec(),
            parameters: all[n_covariance..].to_vec(),
        };
        let def = self.define(Def { arity: variables.len(), body });
        let symbol = self.graph.def_symbol(def);
        self.graph.pool.reference(symbol, variables)
    }

    /// Adds a definition, or finds it.
    pub(crate) fn define(&mut self, def: Def) -> DefId {
        if let Some(&known) = self.known_defs.get(&def) {
            return known;
        }
        let id = DefId::new(self.graph.defs.len());
        self.graph.defs.push(def.clone());
        self.known_defs.insert(def, id);
        id
    }

    /// The expressions with their free variables renamed to `Var(0), Var(1), ...` in order of appearance, and the
    /// variables that these stand for.
    pub(crate) fn canonical(&mut self, exprs: &[ExprId]) -> (Vec<ExprId>, Vec<Index>) {
        let variables = appearing(&self.graph, exprs, &mut self.closed);
        if variables.iter().enumerate().all(|(k, &v)| v == Index::Var(k as u32)) {
            return (exprs.to_vec(), variables);
        }
        let rename = |index: Index| match variables.iter().position(|&v| v == index) {
            Some(k) => Index::Var(k as u32),
            None => index,
        };
        let renamed = exprs.iter().map(|&e| self.graph.pool.map_indices(e, &mut |i| rename(i))).collect();
        (renamed, variables)
    }

    /// The expression with `Var(k)` replaced by `indices[k]`.
    pub(crate) fn instantiate(&mut self, expr: ExprId, indices: &[Index]) -> ExprId {
        if indices.iter().enumerate().all(|(k, &i)| i == Index::Var(k as u32)) {
            return expr;
        }
        self.graph.pool.map_indices(expr, &mut |index| match index {
            Index::Var(k) => indices.get(k as usize).copied().unwrap_or(index),
            other => other,
        })
    }
}

/// The free index variables of expressions, in order of appearance. Those in `closed` are known to have none, and others
/// are added to it: without families every expression is looked through once, however often it is mentioned.
fn appearing(graph: &Graph, exprs: &[ExprId], closed: &mut FxHashSet<ExprId>) -> Vec<Index> {
    let mut variables: Vec<Index> = Vec::new();
    let mut seen: FxHashSet<ExprId> = FxHashSet::default();
    let mut stack: Vec<ExprId> = exprs.iter().rev().copied().collect();
    let mut note = |index: Index| {
        if matches!(index, Index::Var(_)) && !variables.contains(&index) {
            variables.push(index);
        }
    };
    while let Some(id) = stack.pop() {
        if closed.contains(&id) || !seen.insert(id) {
            continue;
        }
        let node = graph.pool.node(id);
        match node {
            Expr::Ref(_, indices) | Expr::Table(_, indices) => indices.iter().for_each(|&i| note(i)),
            Expr::Sum(sum) => {
                sum.guards.iter().for_each(|g| g.terms().iter().for_each(|&(_, i)| note(i)));
            }
            _ => {}
        }
        let start = stack.len();
        netsor_ir::expr::for_each_child(node, |child| stack.push(child));
        stack[start..].reverse();
    }
    if variables.is_empty() {
        closed.extend(seen);
    }
    variables
}

/// The numbers of the free index variables of an expression.
pub(crate) fn variables(graph: &Graph, expr: ExprId) -> Vec<u32> {
    let number = |index: Index| match index {
        Index::Var(k) => Some(k),
        Index::Bound(_) | Index::At(_) => None,
    };
    appearing(graph, &[expr], &mut FxHashSet::default()).into_iter().filter_map(number).collect()
}
