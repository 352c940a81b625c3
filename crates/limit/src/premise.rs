//! What a zero presumes, and a product of jumps.
//!
//! An expectation that vanishes by symmetry or by independence is 0 only if it exists, and a number that multiplies such a
//! zero must be one. Where existence is not evident from the structure ([`crate::integrable`]), it depends on numbers: on
//! the rank of a covariance for batch norm, on a variance for `exp(a^2)`. Then the zero stands, so that what is zero by
//! proof stays so, and the value remembers what it presumes ([`crate::provided`]); whoever puts in numbers looks
//! ([`crate::Evaluator`]). So it is with a delta times a step that may be at one place ([`crate::apart`]).

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::Func;
use netsor_ir::index::{Guard, Index};
use netsor_ir::{Axis, Dim, Id, Kind, Program};
use num_traits::Signed;
use rustc_hash::FxHashMap;

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::{DefId, Graph, Leaf};
use crate::provided::Set;
use crate::slots::Slots;
use crate::terms::Term;

/// A condition on numbers under which a zero of the graph is one, or a product of jumps has a meaning.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Premise {
    /// The value on whose behalf it is presumed.
    pub(crate) name: String,
    pub(crate) what: Presumed,
    /// The sizes of the axes of `Var(0), Var(1), ...`.
    pub(crate) sizes: Vec<u32>,
    /// How many of these variables what must exist depends on; the others are in guards alone.
    pub(crate) arity: usize,
    /// Where it matters: where they hold for some positions of the others.
    pub(crate) guards: Vec<Guard>,
}

/// The sum around what was taken to vanish.
#[derive(Clone, Copy, Default)]
pub(crate) struct Scope<'a> {
    pub(crate) variables: &'a [(Index, Id<Axis>)],
    pub(crate) guards: &'a [Guard],
}

impl<'a> From<&'a Term> for Scope<'a> {
    fn from(term: &'a Term) -> Self {
        Self { variables: &term.variables, guards: &term.guards }
    }
}

/// What must exist, or hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Presumed {
    /// The expectation of a function, as in [`crate::graph::Body::Expect`].
    Expectation { integrand: ExprId, covariance: Vec<ExprId>, parameters: Vec<ExprId> },
    /// A finite number.
    Number(ExprId),
    /// A number that is known not to be 0.
    Divisor(ExprId),
    /// A Gaussian variable that is not 0 with certainty, by its mean and its variance; `size` is what the variance was before
    /// it was conditioned on.
    Apart { variance: ExprId, mean: ExprId, size: ExprId },
}

impl Presumed {
    fn exprs(&self) -> Vec<ExprId> {
        match self {
            Self::Expectation { covariance, parameters, .. } => covariance.iter().chain(parameters).copied().collect(),
            Self::Number(expr) | Self::Divisor(expr) => vec![*expr],
            Self::Apart { variance, mean, size } => vec![*variance, *mean, *size],
        }
    }
}

impl Deriver<'_> {
    /// Remembers that a function of these slots has an expectation, unless that is evident.
    pub(crate) fn presume_expectation(
        &mut self,
        integrand: ExprId,
        slots: &Slots,
        scope: Scope<'_>,
        name: &str,
    ) -> Result<(), LimitError> {
        // A delta stands for a density, and what multiplies it for a conditional expectation, which asks for itself.
        if self.has_moments(integrand) || self.graph.pool.has_delta_of(integrand, &|_| true) {
            return Ok(());
        }
        let covariance = self.lower_triangle(&slots.forms, name)?;
        let parameters = slots.parameters.clone();
        self.presume(Presumed::Expectation { integrand, covariance, parameters }, scope, name);
        Ok(())
    }

    /// Remembers that what a term is multiplied by is finite: that nothing is divided by 0 in it.
    pub(crate) fn presume_scalars(&mut self, term: &Term, name: &str) {
        for &scalar in &term.scalars {
            let all = self.graph.pool.reachable(scalar);
            // Powers of the width are compared before anything is evaluated.
            if all.iter().any(|&id| matches!(self.graph.pool.node(id), Expr::Width(_))) {
                continue;
            }
            if all.iter().any(|&id| divisor(&self.graph, id).is_some()) {
                self.presume(Presumed::Number(scalar), term.into(), name);
            }
            // Inside of sums they mention what these bind, and show in the number only.
            for id in self.graph.pool.outside_sums(scalar) {
                if let Some(divisor) = divisor(&self.graph, id) {
                    self.presume(Presumed::Divisor(divisor), term.into(), name);
                }
            }
        }
    }

    pub(crate) fn presume(&mut self, what: Presumed, scope: Scope<'_>, name: &str) {
        let (exprs, mut variables) = self.canonical(&what.exprs());
        let what = match what {
            Presumed::Expectation { integrand, covariance, .. } => Presumed::Expectation {
                integrand,
                covariance: exprs[..covariance.len()].to_vec(),
                parameters: exprs[covariance.len()..].to_vec(),
            },
            Presumed::Number(_) => Presumed::Number(exprs[0]),
            Presumed::Divisor(_) => Presumed::Divisor(exprs[0]),
            Presumed::Apart { .. } => Presumed::Apart { variance: exprs[0], mean: exprs[1], size: exprs[2] },
        };
        let arity = variables.len();
        let mut sizes = Sizes { graph: &self.graph, program: self.program, known: FxHashMap::default() };
        let mut sizes = sizes.of(&exprs, arity);
        // What guards say of these variables they may say by way of others.
        for &(variable, axis) in scope.variables {
            if !variables.contains(&variable) && scope.guards.iter().any(|guard| guard.mentions(variable)) {
                variables.push(variable);
                sizes.push(self.graph.axis_size(axis));
            }
        }
        let place = |index: Index| variables.iter().position(|&v| v == index);
        let known =
            |guard: &&Guard| guard.terms().iter().all(|&(_, i)| !matches!(i, Index::Var(_)) || place(i).is_some());
        let rename = |i: Index| place(i).map_or(i, |k| Index::Var(k as u32));
        let guards = scope.guards.iter().filter(known).map(|g| g.map(rename)).collect();
        let premise = Premise { name: name.to_owned(), what, sizes, arity, guards };
        let premises = self.graph.intern_premises(Set::One(premise));
        self.rely_on(Some(premises));
    }
}

/// What must not be 0 in a quotient, a negative power or a logarithm; `None` for other nodes, and where it is a positive
/// constant.
fn divisor(graph: &Graph, id: ExprId) -> Option<ExprId> {
    let base = match graph.pool.node(id) {
        Expr::Div(_, b) => *b,
        Expr::Pow(a, p) if p.is_negative() => *a,
        Expr::Apply(Func::Log, args) => args[0],
        _ => return None,
    };
    graph.pool.as_const(base).is_none_or(|value| !value.is_positive()).then_some(base)
}

/// The axes that index variables run over, from where they are used.
struct Sizes<'a> {
    graph: &'a Graph,
    program: &'a Program,
    known: FxHashMap<DefId, Vec<u32>>,
}

impl Sizes<'_> {
    /// The sizes for `Var(0..n)`.
    fn of(&mut self, exprs: &[ExprId], n: usize) -> Vec<u32> {
        let mut sizes = vec![1; n];
        let mut mentions = Vec::new();
        for &expr in exprs {
            self.graph.pool.visit(expr, &mut |node| match node {
                Expr::Ref(symbol, indices) => mentions.push((Some(*symbol), None, indices.clone())),
                Expr::Table(table, indices) => mentions.push((None, Some(*table), indices.clone())),
                _ => {}
            });
        }
        for (symbol, table, indices) in mentions {
            let axes = match (symbol.map(|s| self.graph.leaf(s)), table) {
                (Some(Leaf::Def(def)), _) => self.of_def(def),
                (Some(Leaf::Value(value)), _) => {
                    let mut axes: Vec<u32> = self.program.family_sizes(value).iter().map(|&s| s as u32).collect();
                    if let Kind::Vector(Dim::Finite(size)) = self.program.value(value).ty.kind {
                        axes.push(size);
                    }
                    axes
                }
                (_, Some(table)) => {
                    self.program.tables[table.index()].axes.iter().map(|&a| self.graph.axis_size(a)).collect()
                }
                _ => continue,
            };
            for (index, size) in indices.iter().zip(axes) {
                if let Index::Var(k) = index
                    && let Some(own) = sizes.get_mut(*k as usize)
                {
                    *own = (*own).max(size);
                }
            }
        }
        sizes
    }

    fn of_def(&mut self, id: DefId) -> Vec<u32> {
        if let Some(known) = self.known.get(&id) {
            return known.clone();
        }
        let def = self.graph.def(id);
        let sizes = stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || self.of(&def.body.exprs(), def.arity));
        self.known.insert(id, sizes.clone());
        sizes
    }
}
