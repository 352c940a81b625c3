//! Copies of terms and instructions from one pool to another, exactly as they are written.

use rustc_hash::FxHashMap;

use crate::expr::{Expr, ExprId, Exprs, Sum, Symbol, for_each_child, with_children};
use crate::id::Id;
use crate::index::{Index, Indices};
use crate::program::{Axis, Instr, Law, Operand, Program, Table, ValueId, symbol_of, value_of};

/// What becomes of the leaves of a copy.
pub(super) struct Leaves<'a> {
    /// The mention that stands for a mention of a symbol with these indices.
    pub(super) mention: &'a dyn Fn(Symbol, Indices) -> (Symbol, Indices),
    /// Free variables; applied before `mention`.
    pub(super) index: &'a dyn Fn(Index) -> Index,
    /// Axes that sums range over.
    pub(super) axis: &'a dyn Fn(Id<Axis>) -> Id<Axis>,
    /// Tables.
    pub(super) table: &'a dyn Fn(Id<Table>) -> Id<Table>,
}

/// The copy of a term. Nothing is simplified, so that it prints as it did.
pub(super) fn copy_expr(from: &Exprs, into: &mut Exprs, root: ExprId, leaves: &Leaves<'_>) -> ExprId {
    let mut reachable = Vec::new();
    let mut done: FxHashMap<ExprId, ExprId> = FxHashMap::default();
    let mut stack = vec![root];
    while let Some(id) = stack.pop() {
        if done.insert(id, id).is_none() {
            reachable.push(id);
            for_each_child(from.node(id), |child| stack.push(child));
        }
    }
    // Children have smaller ids than their parents.
    reachable.sort_unstable();
    let renamed = |indices: &Indices| indices.iter().map(|&i| (leaves.index)(i)).collect::<Indices>();
    for id in reachable {
        let node = match from.node(id) {
            Expr::Ref(symbol, indices) => {
                let (symbol, indices) = (leaves.mention)(*symbol, renamed(indices));
                Expr::Ref(symbol, indices)
            }
            Expr::Table(table, indices) => Expr::Table((leaves.table)(*table), renamed(indices)),
            Expr::Sum(sum) => Expr::Sum(Sum {
                axes: sum.axes.iter().map(|&axis| (leaves.axis)(axis)).collect(),
                guards: sum.guards.iter().map(|g| g.map(leaves.index)).collect(),
                body: done[&sum.body],
            }),
            node => with_children(node, |child| done[&child]),
        };
        let copy = into.intern(node);
        done.insert(id, copy);
    }
    done[&root]
}

/// The copy of an instruction of `from`. Matrices must be mentioned as whole families or single members.
pub(super) fn copy_instr(from: &Program, into: &mut Exprs, instr: &Instr, leaves: &Leaves<'_>) -> Instr {
    let renamed = |indices: &Indices| indices.iter().map(|&i| (leaves.index)(i)).collect::<Indices>();
    let operand = |o: &Operand| {
        let (symbol, indices) = (leaves.mention)(symbol_of(o.value), renamed(&o.indices));
        Operand { value: value_of(symbol), indices }
    };
    let value = |v: ValueId| value_of((leaves.mention)(symbol_of(v), Indices::new()).0);
    let mut expr = |e: ExprId| copy_expr(&from.exprs, into, e, leaves);
    match instr {
        Instr::Data => Instr::Data,
        Instr::Matrix { variance } => Instr::Matrix { variance: variance.clone() },
        Instr::Constant(table, indices) => Instr::Constant((leaves.table)(*table), renamed(indices)),
        Instr::Gaussian(law) => Instr::Gaussian(Law {
            mean: expr(law.mean),
            covariance: expr(law.covariance),
            cross: law.cross.iter().map(|&(v, e)| (value(v), expr(e))).collect(),
        }),
        Instr::MatMul { matrix, transposed, vector } => {
            Instr::MatMul { matrix: operand(matrix), transposed: *transposed, vector: operand(vector) }
        }
        Instr::Map(e) => Instr::Map(expr(*e)),
        Instr::Moment(e) => Instr::Moment(expr(*e)),
        Instr::Scalar(e) => Instr::Scalar(expr(*e)),
    }
}
