//! Expressions: hash-consed terms over symbols, with finite reductions as binders.
//!
//! An expression describes a coordinatewise function, a scalar function or the integrand of a Moment; which one is
//! said by the instruction that holds it. Its leaves are [`Symbol`]s, which only the owner of the pool interprets
//! (in a program they are its values; the limit engine has its own). Equal terms share an id, so that equality is
//! integer equality and common subterms are computed once.
//!
//! **Binders.** A sum over finite axes binds index variables. Bound variables are numbered by the height of the
//! binder: a sum whose body contains no other sum binds `Bound(0)`, `Bound(1)`, ... and an enclosing sum continues
//! after the largest number used inside. Two sums that differ only in the names of their variables are therefore the
//! same term. To look inside a sum, [`Exprs::open`] it: its variables become fresh free variables; [`Exprs::sum`]
//! closes them again.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::func::Func;
use crate::id::Id;
use crate::index::{Guard, Index, Indices};
use crate::number::{Number, Power};
use crate::program::{Axis, Table};

/// A leaf that the owner of the pool interprets, such as a value of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Symbol(pub u32);

/// The id of an expression in its pool.
pub type ExprId = Id<Expr>;

/// One node. Children are ids into the same pool.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expr {
    /// An exact constant.
    Const(Number),
    /// The number pi, which derivatives of `erf` and `gelu` bring in.
    Pi,
    /// The width `n` to a rational power.
    Width(Power),
    /// A member of a family of symbols.
    Ref(Symbol, Indices),
    /// An entry of a fixed table of numbers.
    Table(Id<Table>, Indices),
    /// `-a`
    Neg(ExprId),
    /// `a + b`
    Add(ExprId, ExprId),
    /// `a - b`
    Sub(ExprId, ExprId),
    /// `a * b`
    Mul(ExprId, ExprId),
    /// `a / b`
    Div(ExprId, ExprId),
    /// `a ^ p`
    Pow(ExprId, Power),
    /// An elementary function.
    Apply(Func, SmallVec<[ExprId; 2]>),
    /// A sum over finite axes, restricted by guards.
    Sum(Sum),
}

/// A guarded sum over finite axes. It binds `Bound(base) .. Bound(base + axes.len())` in the guards and the body,
/// where `base` is the height of the body.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Sum {
    /// The axes that the bound variables range over.
    pub axes: SmallVec<[Id<Axis>; 2]>,
    /// Conditions that all must hold.
    pub guards: SmallVec<[Guard; 2]>,
    /// The summand.
    pub body: ExprId,
}

/// A sum with its variables free.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The fresh variables and their axes.
    pub variables: SmallVec<[(Index, Id<Axis>); 2]>,
    /// The guards over them.
    pub guards: SmallVec<[Guard; 2]>,
    /// The summand.
    pub body: ExprId,
}

/// A pool of hash-consed expressions.
#[derive(Clone, Debug, Default)]
pub struct Exprs {
    nodes: Vec<Expr>,
    /// One more than the largest bound variable that a sum inside the node binds; 0 without sums.
    heights: Vec<u32>,
    interned: FxHashMap<Expr, ExprId>,
}

impl Exprs {
    /// An empty pool.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of distinct nodes.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the pool is empty.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The node behind an id.
    pub fn node(&self, id: ExprId) -> &Expr {
        &self.nodes[id.index()]
    }

    /// The id of `node`, which is added if it is new. No simplification takes place.
    pub fn intern(&mut self, node: Expr) -> ExprId {
        if let Some(&id) = self.interned.get(&node) {
            return id;
        }
        let mut height = 0;
        for_each_child(&node, |child| height = height.max(self.heights[child.index()]));
        if let Expr::Sum(sum) = &node {
            height += sum.axes.len() as u32;
        }
        let id = ExprId::new(self.nodes.len());
        self.nodes.push(node.clone());
        self.heights.push(height);
        self.interned.insert(node, id);
        id
    }

    /// One more than the largest bound variable that a sum inside the term binds; 0 without sums. A sum with this body
    /// binds `Bound(height)` and the numbers after it.
    pub fn height(&self, id: ExprId) -> u32 {
        self.heights[id.index()]
    }

    /// The first bound variable of the sum `sum`.
    fn base(&self, sum: &Sum) -> u32 {
        self.heights[sum.body.index()]
    }

    /// Opens a sum: its bound variables become `Var(fresh)`, `Var(fresh + 1)`, ... and `fresh` moves past them.
    pub fn open(&mut self, sum: &Sum, fresh: &mut u32) -> Opened {
        let base = self.base(sum);
        let first = *fresh;
        *fresh += sum.axes.len() as u32;
        let rename = |index: Index| match index {
            Index::Bound(b) if b >= base => Index::Var(first + (b - base)),
            other => other,
        };
        let variables = sum.axes.iter().enumerate().map(|(k, &axis)| (Index::Var(first + k as u32), axis)).collect();
        let guards = sum.guards.iter().map(|g| g.map(rename)).collect();
        let body = self.map_indices(sum.body, &mut |i| rename(i));
        Opened { variables, guards, body }
    }

    /// Closes a sum over the free `variables`, exactly as given; [`Exprs::sum`] also simplifies.
    pub fn sum_exact(
        &mut self,
        variables: &[(Index, Id<Axis>)],
        guards: impl IntoIterator<Item = Guard>,
        body: ExprId,
    ) -> ExprId {
        let base = self.heights[body.index()];
        let rename = |index: Index| match variables.iter().position(|&(v, _)| v == index) {
            Some(k) => Index::Bound(base + k as u32),
            None => index,
        };
        let guards = guards.into_iter().map(|g| g.map(rename)).collect();
        let body = self.map_indices(body, &mut |i| rename(i));
        let axes = variables.iter().map(|&(_, axis)| axis).collect();
        self.intern(Expr::Sum(Sum { axes, guards, body }))
    }

    /// The expression with every index of every reference and guard replaced by `f(index)`.
    ///
    /// `f` must map free variables to free variables or positions; bound variables are only renamed by opening and
    /// closing a sum, which is how capture is ruled out.
    pub fn map_indices(&mut self, id: ExprId, f: &mut dyn FnMut(Index) -> Index) -> ExprId {
        self.rebuild(id, &mut FxHashMap::default(), &mut |pool, node| match node {
            Expr::Ref(symbol, indices) => {
                let indices = indices.iter().map(|&i| f(i)).collect();
                pool.intern(Expr::Ref(*symbol, indices))
            }
            Expr::Table(table, indices) => {
                let indices = indices.iter().map(|&i| f(i)).collect();
                pool.intern(Expr::Table(*table, indices))
            }
            Expr::Sum(sum) => {
                let guards = sum.guards.iter().map(|g| g.map(&mut *f)).collect();
                pool.intern(Expr::Sum(Sum { axes: sum.axes.clone(), guards, body: sum.body }))
            }
            other => pool.intern(other.clone()),
        })
    }

    /// Rebuilds a term from its leaves up: `finish` receives each node with its children already rebuilt.
    ///
    /// Iterative, so that a deep term cannot overflow the stack; each shared node is rebuilt once.
    pub(crate) fn rebuild(
        &mut self,
        root: ExprId,
        done: &mut FxHashMap<ExprId, ExprId>,
        finish: &mut dyn FnMut(&mut Self, &Expr) -> ExprId,
    ) -> ExprId {
        let mut stack = vec![root];
        while let Some(&id) = stack.last() {
            if done.contains_key(&id) {
                stack.pop();
                continue;
            }
            let before = stack.len();
            for_each_child(&self.nodes[id.index()], |child| {
                if !done.contains_key(&child) {
                    stack.push(child);
                }
            });
            if stack.len() == before {
                let node = with_children(&self.nodes[id.index()], |child| done[&child]);
                let rebuilt = finish(self, &node);
                done.insert(id, rebuilt);
                stack.pop();
            }
        }
        done[&root]
    }

    /// The expression with references replaced: `f` may return a term for a reference, or `None` to keep it.
    ///
    /// Sums are opened on the way with variables from `fresh`, so that the term returned may itself contain sums and
    /// may mention the indices that it was given. Everything is rebuilt with the simplifying constructors.
    pub fn replace_refs(
        &mut self,
        root: ExprId,
        fresh: &mut u32,
        f: &mut dyn FnMut(&mut Self, Symbol, &Indices, &mut u32) -> Option<ExprId>,
    ) -> ExprId {
        self.replace_refs_from(&[root], fresh, f)[0]
    }

    /// [`Exprs::replace_refs`] on several terms that share subterms.
    pub fn replace_refs_from(
        &mut self,
        roots: &[ExprId],
        fresh: &mut u32,
        f: &mut dyn FnMut(&mut Self, Symbol, &Indices, &mut u32) -> Option<ExprId>,
    ) -> Vec<ExprId> {
        let mut done: FxHashMap<ExprId, ExprId> = FxHashMap::default();
        let reachable = self.reachable_from(roots, |id| !matches!(self.node(id), Expr::Sum(_)));
        for id in reachable {
            let node = self.nodes[id.index()].clone();
            let new = match &node {
                Expr::Ref(symbol, indices) => f(self, *symbol, indices, fresh).unwrap_or(id),
                Expr::Sum(sum) => {
                    let opened = self.open(sum, fresh);
                    let body = self.replace_refs(opened.body, fresh, f);
                    self.sum(&opened.variables, opened.guards, body)
                }
                _ => {
                    let node = with_children(&node, |child| done[&child]);
                    self.simplified(node)
                }
            };
            done.insert(id, new);
        }
        roots.iter().map(|root| done[root]).collect()
    }

    /// The term with every occurrence of the subterm `from` replaced by `to`, built again by the simplifying
    /// constructors; neither may mention variables that a sum in the term binds.
    pub fn replace_term(&mut self, root: ExprId, from: ExprId, to: ExprId) -> ExprId {
        let mut done: FxHashMap<ExprId, ExprId> = FxHashMap::default();
        done.insert(from, to);
        self.rebuild(root, &mut done, &mut |pool, node| pool.simplified(node.clone()))
    }

    /// Every reference in the term, each syntactically distinct one once, in a fixed order; sums are looked into
    /// without opening them, so indices may be bound.
    pub fn refs(&self, root: ExprId) -> Vec<(Symbol, Indices)> {
        let mut found = Vec::new();
        self.visit(root, &mut |node| {
            if let Expr::Ref(symbol, indices) = node {
                found.push((*symbol, indices.clone()));
            }
        });
        found
    }

    /// Every distinct node of the term, children before parents.
    pub fn reachable(&self, root: ExprId) -> Vec<ExprId> {
        self.reachable_from(&[root], |_| true)
    }

    /// Every distinct node of the term down to its leaves and sums, children before parents.
    pub fn outside_sums(&self, root: ExprId) -> Vec<ExprId> {
        self.reachable_from(&[root], |id| !matches!(self.node(id), Expr::Sum(_)))
    }

    /// Every distinct node that is reached from the roots, children before parents; of those that are not entered the
    /// children are not followed.
    pub fn reachable_from(&self, roots: &[ExprId], enters: impl Fn(ExprId) -> bool) -> Vec<ExprId> {
        let mut reachable = Vec::new();
        let mut seen: FxHashSet<ExprId> = FxHashSet::default();
        let mut stack = roots.to_vec();
        while let Some(id) = stack.pop() {
            if seen.insert(id) {
                reachable.push(id);
                if enters(id) {
                    for_each_child(self.node(id), |child| stack.push(child));
                }
            }
        }
        // Children have smaller ids than their parents.
        reachable.sort_unstable();
        reachable
    }

    /// Calls `f` on every distinct node of the term, children before parents.
    pub fn visit(&self, root: ExprId, f: &mut dyn FnMut(&Expr)) {
        for id in self.reachable(root) {
            f(&self.nodes[id.index()]);
        }
    }
}

/// Calls `f` on the children of a node, left to right.
pub fn for_each_child(node: &Expr, mut f: impl FnMut(ExprId)) {
    match node {
        Expr::Const(_) | Expr::Pi | Expr::Width(_) | Expr::Ref(..) | Expr::Table(..) => {}
        Expr::Neg(a) | Expr::Pow(a, _) => f(*a),
        Expr::Add(a, b) | Expr::Sub(a, b) | Expr::Mul(a, b) | Expr::Div(a, b) => {
            f(*a);
            f(*b);
        }
        Expr::Apply(_, args) => args.iter().for_each(|&a| f(a)),
        Expr::Sum(sum) => f(sum.body),
    }
}

/// The node with its children replaced by `f(child)`.
pub(crate) fn with_children(node: &Expr, mut f: impl FnMut(ExprId) -> ExprId) -> Expr {
    match node {
        Expr::Const(_) | Expr::Pi | Expr::Width(_) | Expr::Ref(..) | Expr::Table(..) => node.clone(),
        Expr::Neg(a) => Expr::Neg(f(*a)),
        Expr::Pow(a, p) => Expr::Pow(f(*a), *p),
        Expr::Add(a, b) => Expr::Add(f(*a), f(*b)),
        Expr::Sub(a, b) => Expr::Sub(f(*a), f(*b)),
        Expr::Mul(a, b) => Expr::Mul(f(*a), f(*b)),
        Expr::Div(a, b) => Expr::Div(f(*a), f(*b)),
        Expr::Apply(func, args) => Expr::Apply(*func, args.iter().map(|&a| f(a)).collect()),
        Expr::Sum(sum) => Expr::Sum(Sum { axes: sum.axes.clone(), guards: sum.guards.clone(), body: f(sum.body) }),
    }
}
