//! How an expression of the graph is evaluated, worked out once: its nodes in order.

use netsor_ir::expr::{Expr, ExprId, for_each_child};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::graph::Graph;

/// The nodes of an expression down to its leaves and sums.
#[derive(Debug)]
pub(super) struct Plan {
    /// Children before parents, the expression itself last; for each the places of its children.
    pub(super) nodes: Vec<(ExprId, SmallVec<[u32; 2]>)>,
}

impl Plan {
    pub(super) fn new(graph: &Graph, root: ExprId) -> Self {
        let inner = |id| !matches!(graph.pool.node(id), Expr::Sum(_));
        let order = graph.pool.outside_sums(root);
        let place: FxHashMap<ExprId, u32> = order.iter().enumerate().map(|(k, &id)| (id, k as u32)).collect();
        let nodes = order
            .into_iter()
            .map(|id| {
                let mut children = SmallVec::new();
                if inner(id) {
                    for_each_child(graph.pool.node(id), |child| children.push(place[&child]));
                }
                (id, children)
            })
            .collect();
        Self { nodes }
    }
}
