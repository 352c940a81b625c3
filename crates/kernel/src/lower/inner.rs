//! Inner products of data, which become matrix products.

use netsor_ir::expr::{Expr, ExprId, Sum};
use netsor_ir::{Axis, Dim, Id, Index, Indices, Kind, ValueId};
use netsor_limit::Graph;
use netsor_limit::closed_form;
use netsor_limit::graph::Leaf;

use super::{At, Lowering, Value, resolve};
use crate::error::KernelError;
use crate::plan::{Arg, Block, Op, Side};

/// A sum whose body is a product of two data vectors at the same coordinate and of factors without it.
pub(super) struct InnerProduct {
    /// The bound variable of the coordinate.
    pub(super) variable: usize,
    vectors: Vec<(ValueId, Indices)>,
    others: Vec<ExprId>,
    sign: f64,
}

/// The most products that a body is multiplied out to.
const MAX_SUMMANDS: usize = 16;

impl InnerProduct {
    /// The body as a sum of inner products, if it is one.
    pub(super) fn find_all(lowering: &Lowering<'_>, sum: &Sum) -> Option<Vec<Self>> {
        let graph = lowering.graph;
        let base = graph.pool.height(sum.body) as usize;
        let bound: Vec<Index> = (base..base + sum.axes.len()).map(|k| Index::Bound(k as u32)).collect();
        let mut open = vec![closed_form::factors(graph, sum.body)];
        let mut found = Vec::new();
        while let Some((factors, sign)) = open.pop() {
            if let Some(product) = Self::find(lowering, sum, base, &factors, sign) {
                found.push(product);
                continue;
            }
            // A sum among the factors is multiplied out.
            let (at, a, b, other) = factors.iter().enumerate().find_map(|(at, &factor)| {
                let (a, b, other) = match *graph.pool.node(factor) {
                    Expr::Add(a, b) => (a, b, 1.0),
                    Expr::Sub(a, b) => (a, b, -1.0),
                    _ => return None,
                };
                bound.iter().any(|&index| mentions(graph, factor, index)).then_some((at, a, b, other))
            })?;
            for (term, own) in [(a, 1.0), (b, other)] {
                let mut all = factors.clone();
                let (more, turned) = closed_form::factors(graph, term);
                all.splice(at..=at, more);
                open.push((all, sign * own * turned));
            }
            if MAX_SUMMANDS < open.len() + found.len() {
                return None;
            }
        }
        Some(found)
    }

    fn find(lowering: &Lowering<'_>, sum: &Sum, base: usize, factors: &[ExprId], sign: f64) -> Option<Self> {
        let graph = lowering.graph;
        (base..base + sum.axes.len()).find_map(|variable| {
            let coordinate = Index::Bound(variable as u32);
            if sum.guards.iter().any(|g| g.mentions(coordinate)) {
                return None;
            }
            let (mut vectors, mut others) = (Vec::new(), Vec::new());
            for &factor in factors {
                if !mentions(graph, factor, coordinate) {
                    others.push(factor);
                    continue;
                }
                let Expr::Ref(symbol, indices) = graph.pool.node(factor) else { return None };
                let Leaf::Value(value) = graph.leaf(*symbol) else { return None };
                if lowering.shared.contains_key(&value) {
                    return None;
                }
                let Kind::Vector(Dim::Finite(size)) = lowering.program.value(value).ty.kind else { return None };
                let once = indices.iter().filter(|&&i| i == coordinate).count() == 1;
                let axis: Id<Axis> = sum.axes[variable - base];
                if !once || indices.last() != Some(&coordinate) || graph.axis_size(axis) != size {
                    return None;
                }
                vectors.push((value, indices.clone()));
            }
            (vectors.len() == 2).then_some(Self { variable, vectors, others, sign })
        })
    }
}

impl Lowering<'_> {
    pub(super) fn inner_product(
        &mut self,
        found: &InnerProduct,
        at: &[At],
        bound: &[u32],
    ) -> Result<Value, KernelError> {
        let mut sides = Vec::new();
        for (value, indices) in &found.vectors {
            let all = resolve(indices, at, bound)?;
            let (data, side, rest) = self.data(*value, &all)?;
            let position = self.flat(*value, &rest[..rest.len() - 1]);
            sides.push((side, Block { data, position }));
        }
        sides.sort_unstable();
        let gram = match (sides[0], sides[1]) {
            ((Side::Row, a), (Side::Col, b)) => self.op(Op::Gram(a, b))?,
            ((side, a), (_, b)) => Arg::One(self.ones.intern(Op::Gram(a, b)), side),
        };
        let mut product = Value::of(gram).scaled(found.sign);
        for &factor in &found.others {
            let factor = self.expr(factor, at, bound)?;
            product = self.multiply(product, factor)?;
        }
        Ok(product)
    }
}

fn mentions(graph: &Graph, id: ExprId, index: Index) -> bool {
    let mut found = false;
    graph.pool.visit(id, &mut |node| match node {
        Expr::Ref(_, indices) | Expr::Table(_, indices) => found |= indices.contains(&index),
        Expr::Sum(sum) => found |= sum.guards.iter().any(|g| g.mentions(index)),
        _ => {}
    });
    found
}
