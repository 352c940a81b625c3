//! Expressions: scopes, indices, and what may be mentioned where.

use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use super::{Place, Problem, Verifier};
use crate::expr::{Expr as Node, ExprId, Symbol, for_each_child};
use crate::id::Id;
use crate::index::{Guard, Index, Relation};
use crate::number::Number;
use crate::program::{Axis, Dim, Instr, Kind, ValueId, value_of};
use crate::syntax::{MAX_COEFFICIENT, MAX_DEPTH, MAX_INDEX_LITERAL, Target};

/// What the expression is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// A coordinatewise function with values in a vector of this dimension.
    Map(Dim),
    /// The mean of a coordinatewise function.
    Moment,
    /// A function of scalars.
    Scalar,
    /// A mean or covariance of initial vectors.
    Law,
}

/// The axes of the index variables in scope.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Context {
    free: SmallVec<[Id<Axis>; 4]>,
    bound: Bound,
}

/// Bound variables and their axes.
type Bound = SmallVec<[(u32, Id<Axis>); 4]>;

impl Context {
    /// Only the free variables `Var(0), Var(1), ...` over the given axes.
    pub(super) fn free(axes: &[Id<Axis>]) -> Self {
        Self { free: axes.iter().copied().collect(), bound: SmallVec::new() }
    }

    fn axis(&self, index: Index) -> Option<Id<Axis>> {
        match index {
            Index::Var(v) => self.free.get(v as usize).copied(),
            Index::Bound(b) => self.bound.iter().find(|(k, _)| *k == b).map(|&(_, axis)| axis),
            Index::At(_) => None,
        }
    }
}

impl Verifier<'_> {
    /// Checks an expression in the definition of `id` with free variables over the axes `free`.
    pub(super) fn expression(&mut self, id: ValueId, root: ExprId, free: &[Id<Axis>], role: Role) {
        if !self.known(id, root) || self.too_deep(id, root) {
            return;
        }
        let bound_in = self.bound_mentions(root);
        let mut seen: FxHashSet<(ExprId, Bound)> = FxHashSet::default();
        let mut stack = vec![(root, Context::free(free))];
        let mut mentioned: Vec<Symbol> = Vec::new();
        while let Some((e, mut context)) = stack.pop() {
            // A subterm that does not mention a bound variable is the same in every scope.
            let used = &bound_in[&e];
            context.bound.retain(|(b, _)| used.contains(b));
            if !seen.insert((e, context.bound.clone())) {
                continue;
            }
            let node = self.program.exprs.node(e);
            self.node(id, node, &context, &mut mentioned);
            if let Node::Sum(sum) = node {
                let base = self.program.exprs.height(sum.body);
                context.bound.extend(sum.axes.iter().enumerate().map(|(k, &axis)| (base + k as u32, axis)));
                for guard in &sum.guards {
                    self.guard(id, guard, &context);
                }
            }
            let mut children: SmallVec<[ExprId; 2]> = SmallVec::new();
            for_each_child(node, |child| children.push(child));
            stack.extend(children.into_iter().map(|child| (child, context.clone())));
        }
        mentioned.sort_unstable();
        mentioned.dedup();
        self.mentions(id, &mentioned, role);
    }

    /// The bound variables that each subterm mentions, whether bound inside it or not.
    fn bound_mentions(&self, root: ExprId) -> FxHashMap<ExprId, SmallVec<[u32; 4]>> {
        let mut order = vec![root];
        let mut seen: FxHashSet<ExprId> = order.iter().copied().collect();
        let mut at = 0;
        while let Some(&e) = order.get(at) {
            for_each_child(self.program.exprs.node(e), |child| {
                if seen.insert(child) {
                    order.push(child);
                }
            });
            at += 1;
        }
        // Children have smaller ids.
        order.sort_unstable();
        let mut found: FxHashMap<ExprId, SmallVec<[u32; 4]>> = FxHashMap::default();
        for e in order {
            let node = self.program.exprs.node(e);
            let mut used: SmallVec<[u32; 4]> = SmallVec::new();
            let mut see = |index: &Index| {
                if let Index::Bound(b) = index {
                    used.push(*b);
                }
            };
            match node {
                Node::Ref(_, indices) | Node::Table(_, indices) => indices.iter().for_each(&mut see),
                Node::Sum(sum) => sum.guards.iter().flat_map(Guard::terms).for_each(|(_, i)| see(i)),
                _ => {}
            }
            for_each_child(node, |child| used.extend(found[&child].iter().copied()));
            used.sort_unstable();
            used.dedup();
            found.insert(e, used);
        }
        found
    }

    /// Whether the text of the term is nested too deep; operators of one precedence in a row are flat.
    fn too_deep(&mut self, id: ValueId, root: ExprId) -> bool {
        let exprs = &self.program.exprs;
        let mut depths: FxHashMap<ExprId, usize> = FxHashMap::default();
        let mut order = Vec::new();
        let mut stack = vec![root];
        let mut seen: FxHashSet<ExprId> = stack.iter().copied().collect();
        while let Some(e) = stack.pop() {
            order.push(e);
            for_each_child(exprs.node(e), |child| {
                if seen.insert(child) {
                    stack.push(child);
                }
            });
        }
        order.sort_unstable();
        for e in order {
            let node = exprs.node(e);
            let flat = match *node {
                Node::Add(a, _) | Node::Sub(a, _) => {
                    matches!(exprs.node(a), Node::Add(..) | Node::Sub(..)).then_some(a)
                }
                Node::Mul(a, _) | Node::Div(a, _) => {
                    matches!(exprs.node(a), Node::Mul(..) | Node::Div(..)).then_some(a)
                }
                _ => None,
            };
            let mut depth = 0;
            for_each_child(node, |child| depth = depth.max(depths[&child] + usize::from(Some(child) != flat)));
            depths.insert(e, depth);
        }
        // Two levels for the definition around it.
        let deep = MAX_DEPTH < depths[&root] + 2;
        if deep {
            let message = format!(
                "the expression of `{}` is nested more than {} deep",
                self.program.value(id).name,
                MAX_DEPTH - 2
            );
            self.report(
                Problem::new("too-deep", message, Place::Value(id)).help("give an inner part a name of its own"),
            );
        }
        deep
    }

    fn node(&mut self, id: ValueId, node: &Node, context: &Context, mentioned: &mut Vec<Symbol>) {
        match node {
            Node::Const(value) => self.printable(id, value, num_traits::Zero::zero()),
            Node::Width(power) | Node::Pow(_, power) => self.printable(id, &Number::from_integer(0.into()), *power),
            Node::Ref(symbol, indices) => {
                let value = value_of(*symbol);
                let family = self.earlier(id, value).map(|v| v.ty.family.clone());
                if let Some(family) = family {
                    mentioned.push(*symbol);
                    self.indices(id, Target::Value(*symbol), indices, &family, context);
                }
            }
            Node::Table(table, indices) => match self.table(*table).map(|t| t.axes.clone()) {
                Some(axes) => self.indices(id, Target::Table(*table), indices, &axes, context),
                None => {
                    let message = format!("`{}` mentions a table that does not exist", self.program.value(id).name);
                    self.report(Problem::new("unknown-id", message, Place::Value(id)));
                }
            },
            Node::Apply(func, args) => {
                let arity = func.facts().arity;
                if args.len() != arity {
                    let message = format!("`{}` takes {arity} arguments, but {} are given", func.name(), args.len());
                    self.report(Problem::new("argument-count", message, Place::Value(id)));
                }
            }
            Node::Sum(sum) => {
                if sum.axes.is_empty() && sum.guards.is_empty() {
                    let message =
                        format!("a sum in `{}` has neither variables nor guards", self.program.value(id).name);
                    self.report(Problem::new("empty-sum", message, Place::Value(id)));
                }
                if sum.axes.iter().any(|&axis| self.axis(axis).is_none()) {
                    let message =
                        format!("a sum in `{}` is over an axis that does not exist", self.program.value(id).name);
                    self.report(Problem::new("unknown-id", message, Place::Value(id)));
                }
            }
            Node::Pi | Node::Neg(_) | Node::Add(..) | Node::Sub(..) | Node::Mul(..) | Node::Div(..) => {}
        }
    }

    fn guard(&mut self, id: ValueId, guard: &Guard, context: &Context) {
        let name = &self.program.value(id).name;
        if guard.relation() == Relation::EqMod(0) {
            let message = format!("a guard in `{name}` has modulus 0");
            self.report(Problem::new("bad-modulus", message, Place::Value(id)));
        }
        let name = &self.program.value(id).name;
        if guard.terms().iter().any(|&(_, index)| context.axis(index).is_none()) {
            let message = format!("a guard in `{name}` is over a variable that is not in scope");
            self.report(Problem::new("unknown-index", message, Place::Value(id)));
        }
        let name = &self.program.value(id).name;
        let large = guard.terms().iter().any(|&(c, _)| MAX_COEFFICIENT < c.saturating_abs())
            || MAX_INDEX_LITERAL < guard.constant().saturating_abs()
            || 32 < guard.terms().len();
        if large {
            let message = format!("a guard in `{name}` is too large");
            self.report(
                Problem::new("guard-too-large", message, Place::Value(id))
                    .label(format!("at most 32 variables with coefficients up to {MAX_COEFFICIENT}")),
            );
        }
    }

    /// Checks the indices of a reference against the axes of its family.
    pub(super) fn indices(
        &mut self,
        id: ValueId,
        target: Target,
        indices: &[Index],
        axes: &[Id<Axis>],
        context: &Context,
    ) {
        let place = Place::Mention(id, target);
        let name = match target {
            Target::Value(symbol) => self.program.value(value_of(symbol)).name.clone(),
            Target::Table(table) => self.table(table).map_or_else(String::new, |t| t.name.clone()),
        };
        let user = &self.program.value(id).name;
        if indices.len() != axes.len() {
            let message = format!("`{name}` has {} indices, but {} are given in `{user}`", axes.len(), indices.len());
            self.report(Problem::new("index-count", message, place));
            return;
        }
        for (&index, &axis) in indices.iter().zip(axes) {
            let user = &self.program.value(id).name;
            let problem = match (index, context.axis(index)) {
                (Index::At(position), _) => {
                    let Some(found) = self.axis(axis).filter(|a| a.size <= position) else { continue };
                    let message = format!("position {position} is not on the axis `{}`, in `{user}`", found.name);
                    Problem::new("index-out-of-range", message, place)
                        .label(format!("the positions are 0 to {}", found.size.saturating_sub(1)))
                }
                (_, None) => {
                    let message = format!("an index of `{name}` in `{user}` is not in scope");
                    Problem::new("unknown-index", message, place)
                }
                (_, Some(given)) if given != axis => {
                    let (given, axis) = (self.axis_name(given), self.axis_name(axis));
                    let message = format!(
                        "an index of `{name}` in `{user}` ranges over `{given}`, but `{name}` has the axis `{axis}` there"
                    );
                    Problem::new("index-axis", message, place)
                }
                _ => continue,
            };
            self.report(problem);
        }
    }

    /// Checks that the values mentioned may be mentioned in this role.
    fn mentions(&mut self, id: ValueId, mentioned: &[Symbol], role: Role) {
        let name = self.program.value(id).name.clone();
        let mut first: Option<(Symbol, Dim)> = None;
        for &symbol in mentioned {
            let value = self.program.value(value_of(symbol)).clone();
            let place = Place::Mention(id, Target::Value(symbol));
            match (value.ty.kind, role) {
                (Kind::Matrix { .. }, _) => {
                    let message = format!("the matrix `{}` inside the expression of `{name}`", value.name);
                    self.report(
                        Problem::new("matrix-in-expression", message, place)
                            .label("a matrix product stands alone on its right-hand side"),
                    );
                }
                (kind, Role::Law) => {
                    if kind != Kind::Scalar || value.instr != Instr::Data {
                        let message = format!("the law of `{name}` depends on `{}`", value.name);
                        self.report(
                            Problem::new("law-mentions-value", message, place)
                                .label("means and covariances depend on tables and scalar data only"),
                        );
                    }
                }
                (Kind::Scalar, _) => {}
                (Kind::Vector(dim), Role::Scalar) => self.vector_in_scalar(id, symbol, dim),
                (Kind::Vector(dim), Role::Map(own)) if dim != own => {
                    let message = match first {
                        Some((other, theirs)) if theirs != dim => format!(
                            "`{}` has dimension {}, but `{}` has dimension {}",
                            self.program.value(value_of(other)).name,
                            self.dim_text(theirs),
                            value.name,
                            self.dim_text(dim)
                        ),
                        _ => format!(
                            "`{name}` has dimension {}, but `{}` has dimension {}",
                            self.dim_text(own),
                            value.name,
                            self.dim_text(dim)
                        ),
                    };
                    self.different_dimensions(place, message, dim);
                }
                (Kind::Vector(dim), Role::Map(_)) => {
                    first.get_or_insert((symbol, dim));
                }
                (Kind::Vector(dim), Role::Moment) => match first {
                    Some((other, theirs)) if theirs != dim => {
                        let message = format!(
                            "`{}` has dimension {}, but `{}` has dimension {}",
                            self.program.value(value_of(other)).name,
                            self.dim_text(theirs),
                            value.name,
                            self.dim_text(dim)
                        );
                        self.different_dimensions(place, message, dim);
                    }
                    _ => {
                        first.get_or_insert((symbol, dim));
                    }
                },
            }
        }
        if role == Role::Moment && first.is_none() && !self.holed.contains(&id) {
            let message = format!("the moment `{name}` mentions no vector");
            self.report(
                Problem::new("no-vector", message, Place::Value(id))
                    .label("there are no coordinates to average over")
                    .help(format!("functions of scalars are written `scalar {name} = ...`")),
            );
        }
    }

    fn different_dimensions(&mut self, place: Place, message: String, dim: Dim) {
        let label = format!("dimension {}", self.dim_text(dim));
        self.report(
            Problem::new("dimension-mismatch", message, place)
                .label(label)
                .note("a coordinatewise function takes vectors of one dimension, and scalars"),
        );
    }

    fn vector_in_scalar(&mut self, id: ValueId, symbol: Symbol, dim: Dim) {
        let value = self.program.value(value_of(symbol));
        let user = &self.program.value(id).name;
        let message = format!("`{}` is {}, not a scalar", value.name, self.kind_text(value.ty.kind));
        let readout = matches!(dim, Dim::Finite(_)) && matches!(value.instr, Instr::MatMul { .. });
        let mut problem = Problem::new("vector-in-scalar", message, Place::Mention(id, Target::Value(symbol)))
            .label(format!("`{user}` is a function of scalars"));
        problem = if readout {
            problem
                .note("a readout has no limit as a scalar of the program: it converges to a Gaussian process")
                .help(format!("compute with its coordinates: `{user} = ...` without `scalar`"))
        } else {
            problem
                .help(format!("average its coordinates, `moment m = mean({})`, or drop the word `scalar`", value.name))
        };
        self.report(problem);
    }
}
