//! Softmax that does not overflow: `exp(s - L)` over its sum, with `L = log sum exp(s)` built up pair by pair.
//!
//! The sum is 1 up to the rounding of `L`, which is that of the scores: for scores of `1e10` this is a part in a million.

use netsor_ir::{Axis, ExprId, Func, Guard, Id, Index, Relation, ValueId};

use super::Compiler;
use crate::builder::own;

/// Scores `s[i, p, ..., p', ...]`, a query at `p` and a key at `p'`.
pub(super) struct Softmax<'a> {
    /// A family of scalars over the inputs, the positions of queries, and those of keys.
    pub(super) scores: ValueId,
    /// The axes of positions, which keys and queries have in common.
    pub(super) positions: &'a [Id<Axis>],
    /// Whether a query sees only keys at its own position and before it; there is one axis then.
    pub(super) causal: bool,
}

impl Compiler {
    /// `log sum exp(s[i, p, p'])` over the positions `p'`, at the indices `i, p` of a family of scores.
    ///
    /// Neighbours are joined by `log(exp a + exp b) = a + softplus(b - a)`, pair by pair and axis by axis. No exponential
    /// is larger than its result, so that scores may be as large as numbers get. A largest score, which is the usual
    /// offset, would do that too, but has kinks: the hierarchy of a network with attention would not exist.
    pub(super) fn log_sum_exp(&mut self, of: &Softmax<'_>) -> ExprId {
        let mut value = of.scores;
        let mut keys = of.positions.to_vec();
        for axis in 0..keys.len() {
            // The positions that a member covers.
            let mut covered = 1;
            while 1 < self.b.program.axis_size(keys[axis]) {
                value = self.join_neighbours(of, value, &mut keys, axis, covered);
                covered *= 2;
            }
        }
        let queries = (0..=of.positions.len() as u32).map(Index::Var);
        let indices: Vec<Index> = queries.chain(keys.iter().map(|_| Index::At(0))).collect();
        self.b.program.member(value, &indices)
    }

    /// A weight for each pair of positions over the sum of a query's weights.
    pub(super) fn normalised(&mut self, weight: ExprId, pairs: &[(&str, Id<Axis>)], positions: &[Id<Axis>]) -> ExprId {
        let name = self.name("e");
        let (rank, queries) = (pairs.len(), positions.len() + 1);
        let p = &mut self.b.program;
        let weights = p.scalar(&name, pairs, weight);
        let keys: Vec<(Index, Id<Axis>)> =
            positions.iter().enumerate().map(|(k, &axis)| (Index::Var((rank + k) as u32), axis)).collect();
        let seen: Vec<Index> = own(queries).into_iter().chain(keys.iter().map(|k| k.0)).collect();
        let member = p.member(weights, &seen);
        let total = p.exprs.sum(&keys, [], member);
        let member = p.member(weights, &own(rank));
        p.exprs.div(member, total)
    }

    /// Members `2 b` and `2 b + 1` along an axis of keys become member `b` of a new family, with a new axis in the place
    /// of the old one.
    fn join_neighbours(
        &mut self,
        of: &Softmax<'_>,
        value: ValueId,
        keys: &mut [Id<Axis>],
        axis: usize,
        covered: i64,
    ) -> ValueId {
        let old = keys[axis];
        let size = self.b.program.axis_size(old);
        keys[axis] = self.axis("b", size.div_ceil(2));
        let axes: Vec<Id<Axis>> = of.positions.iter().chain(&*keys).copied().collect();
        let family = self.family(&axes, &[]);
        let names: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let name = self.name("l");
        let rank = family.len();
        let at = 1 + of.positions.len() + axis;
        let (joined, reached) = (Index::Var(at as u32), Index::Var(rank as u32));
        let p = &mut self.b.program;
        let mut indices = own(rank);
        indices[at] = reached;
        let member = p.member(value, &indices);
        let mut neighbour = |which: i64| {
            let here = Guard::new(Relation::Eq, [(1, reached), (-2, joined)], -which);
            p.exprs.sum(&[(reached, old)], [here], member)
        };
        let (first, second) = (neighbour(0), neighbour(1));
        // The second one is inside: `2 b + 1 < size`; and seen: its first position `(2 b + 1) covered` is not after p.
        let inside = Guard::new(Relation::Le, [(2, joined)], 2 - i64::from(size));
        let seen = Guard::new(Relation::Le, [(2 * covered, joined), (-1, Index::Var(1))], covered);
        let guards = [inside].into_iter().chain(of.causal.then_some(seen));
        let above = p.exprs.sub(second, first);
        let above = p.exprs.apply(Func::Softplus, above);
        let above = p.exprs.sum(&[], guards, above);
        let sum = p.exprs.add(first, above);
        p.scalar(&name, &names, sum)
    }
}
