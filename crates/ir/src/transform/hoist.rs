//! `hoist`: terms of fewer indices than the family they occur in, computed once.
//!
//! A tangent `x_t[i, b] = (1 - tanh(h[i])^2) * h_t[i, b]` has a factor that does not depend on `b`. Run as it stands
//! it is evaluated for every `b`; the pass refers to the value that is defined as this term, or defines one:
//! `x_t_factor[i] = 1 - x[i]^2`, of the value `x[i] = tanh(h[i])`. Programs that differentiation made have many such
//! terms, and most operations are in them. The values are the same ones, so that the result means what the program
//! meant.

use std::collections::BTreeSet;

use rustc_hash::FxHashMap;

use crate::expr::{Expr, ExprId, Exprs};
use crate::id::Id;
use crate::index::Index;
use crate::program::{Axis, Instr, Kind, Law, Program, Type, Value, ValueId, symbol_of, value_of};

/// A function and the axes of its variables, which are `Var(0), Var(1), ...`.
type Definition = (ExprId, Vec<Id<Axis>>);

/// The program with the terms in the Maps from value number `from` on hoisted, and where every value went. The
/// values before `from` keep their ids: a caller may still name a network's inputs and parameters.
///
/// Elementary functions are also looked up where they have all indices of the family. Arithmetic is not: it is cheaper
/// than reading its result, unless that is shorter. Terms without vectors stay, and so do the insides of sums.
///
/// ```
/// use netsor_ir::syntax::{parse_program, print_program};
/// use netsor_ir::transform::hoist;
///
/// let program = parse_program(
///     "program p {
///        axis i = 3
///        vector a[i] ~ N(0, 1)
///        x[i] = tanh(a[i])
///        y[i, i'] = (1 - tanh(a[i])^2) * exp(a[i']) * a[i']
///      }",
/// )?;
/// let (hoisted, _) = hoist(&program, 0);
/// let text = print_program(&hoisted);
/// assert!(text.contains("y_exp[i] = exp(a[i])"), "{text}");
/// assert!(text.contains("y_part[i] = 1 - x[i]^2"), "{text}");
/// assert!(text.contains("y[i, i'] = y_part[i] * y_exp[i'] * a[i']"), "{text}");
/// # Ok::<(), netsor_ir::diagnostic::Diagnostics>(())
/// ```
pub fn hoist(program: &Program, from: usize) -> (Program, Vec<ValueId>) {
    let mut new = Program { values: Vec::with_capacity(program.values.len()), ..program.clone() };
    let mut known: FxHashMap<Definition, ValueId> = FxHashMap::default();
    let mut places = Vec::with_capacity(program.values.len());
    for (number, value) in program.values.iter().enumerate() {
        let mut value = renamed(&mut new.exprs, value, &places);
        let definition = value.instr.clone();
        if let Instr::Map(expr) = definition
            && from <= number
        {
            let stem = value.name.clone();
            let name = |new: &Program, function: &str| unused_in_both(new, program, &format!("{stem}_{function}"));
            value.instr = Instr::Map(without_invariants(&mut new, &mut known, &value, expr, &name));
        }
        let id = ValueId::new(new.values.len());
        if let Instr::Map(expr) = definition {
            let all: BTreeSet<Index> = (0..value.ty.family.len() as u32).map(Index::Var).collect();
            if variables(&new.exprs, expr) == all {
                known.entry((expr, value.ty.family.clone())).or_insert(id);
            }
        }
        new.values.push(value);
        places.push(id);
    }
    (new, places)
}

/// A name that neither program has.
fn unused_in_both(a: &Program, b: &Program, stem: &str) -> String {
    let mut name = a.unused_name(stem);
    loop {
        let other = b.unused_name(&name);
        name = a.unused_name(&other);
        if name == other {
            return name;
        }
    }
}

/// The value with its references moved.
fn renamed(exprs: &mut Exprs, value: &Value, places: &[ValueId]) -> Value {
    let moved = |v: ValueId| places.get(v.index()).copied().unwrap_or(v);
    let mut in_expr = |e: ExprId| {
        exprs.rebuild(e, &mut FxHashMap::default(), &mut |pool, node| match node {
            Expr::Ref(symbol, indices) => pool.intern(Expr::Ref(symbol_of(moved(value_of(*symbol))), indices.clone())),
            other => pool.intern(other.clone()),
        })
    };
    let instr = match value.instr.clone() {
        Instr::Map(e) => Instr::Map(in_expr(e)),
        Instr::Moment(e) => Instr::Moment(in_expr(e)),
        Instr::Scalar(e) => Instr::Scalar(in_expr(e)),
        Instr::Gaussian(law) => Instr::Gaussian(Law {
            mean: in_expr(law.mean),
            covariance: in_expr(law.covariance),
            cross: law.cross.into_iter().map(|(v, e)| (moved(v), in_expr(e))).collect(),
        }),
        Instr::MatMul { mut matrix, transposed, mut vector } => {
            (matrix.value, vector.value) = (moved(matrix.value), moved(vector.value));
            Instr::MatMul { matrix, transposed, vector }
        }
        other @ (Instr::Data | Instr::Constant(..) | Instr::Matrix { .. }) => other,
    };
    Value { instr, ..value.clone() }
}

/// The expression with every term that some index of the family does not reach replaced by a value, from the outside
/// in. The insides of sums stay as they are: their variables have no axis outside.
fn without_invariants(
    new: &mut Program,
    known: &mut FxHashMap<Definition, ValueId>,
    value: &Value,
    expr: ExprId,
    name: &dyn Fn(&Program, &str) -> String,
) -> ExprId {
    let mut replacements: FxHashMap<ExprId, ExprId> = FxHashMap::default();
    let mut stack = vec![expr];
    let mut seen = BTreeSet::new();
    while let Some(id) = stack.pop() {
        if !seen.insert(id) {
            continue;
        }
        let node = new.exprs.node(id).clone();
        let word = match &node {
            Expr::Const(_) | Expr::Pi | Expr::Width(_) | Expr::Ref(..) | Expr::Table(..) => continue,
            Expr::Apply(func, _) => func.name(),
            _ => "part",
        };
        if let Some(replacement) = invariant(new, known, value, id, word, name) {
            replacements.insert(id, replacement);
        } else if !matches!(node, Expr::Sum(_)) {
            crate::expr::for_each_child(&node, |child| stack.push(child));
        }
    }
    if replacements.is_empty() {
        return expr;
    }
    // Replaced terms count as done: the rebuilding does not look into them.
    new.exprs.rebuild(expr, &mut replacements, &mut |pool, node| pool.intern(node.clone()))
}

/// A reference to a value that is the term `id`, if some index of the family does not reach it, or it is a function and
/// there is one.
fn invariant(
    new: &mut Program,
    known: &mut FxHashMap<Definition, ValueId>,
    value: &Value,
    id: ExprId,
    word: &str,
    name: &dyn Fn(&Program, &str) -> String,
) -> Option<ExprId> {
    let family = &value.ty.family;
    let free = variables(&new.exprs, id);
    let is_function = matches!(new.exprs.node(id), Expr::Apply(..));
    let is_reached = |(k, axis): (usize, &Id<Axis>)| free.contains(&Index::Var(k as u32)) || new.axis_size(*axis) == 1;
    if !is_function && family.iter().enumerate().all(is_reached) {
        return None;
    }
    let mut axes = Vec::new();
    for index in &free {
        let Index::Var(k) = *index else { return None };
        axes.push(*family.get(k as usize)?);
    }
    let dim = new.expr_dim(id)?;
    let order: Vec<Index> = free.iter().copied().collect();
    let canonical = new.exprs.map_indices(id, &mut |index| match order.iter().position(|&v| v == index) {
        Some(k) => Index::Var(k as u32),
        None => index,
    });
    let definition = (canonical, axes);
    let found = match known.get(&definition) {
        Some(&found) => found,
        None if free.len() == family.len() => return None,
        None => {
            let names = order.iter().filter_map(|index| match index {
                Index::Var(k) => value.index_names.get(*k as usize).cloned(),
                _ => None,
            });
            let mut plain = Value {
                name: String::new(),
                index_names: first_names(names.collect(), &value.index_names),
                ty: Type { kind: Kind::Vector(dim), family: definition.1.clone() },
                instr: Instr::Map(canonical),
            };
            // The term may have terms of still fewer indices.
            plain.instr = Instr::Map(without_invariants(new, known, &plain, canonical, name));
            plain.name = name(new, word);
            let id = ValueId::new(new.values.len());
            new.values.push(plain);
            known.insert(definition, id);
            id
        }
    };
    Some(new.exprs.reference(symbol_of(found), order))
}

/// Names for the indices of a hoisted value: those of its owner from the first on, if that many are needed.
fn first_names(own: Vec<String>, of_owner: &[String]) -> Vec<String> {
    of_owner.get(..own.len()).map(<[String]>::to_vec).unwrap_or(own)
}

/// The free variables of a term.
fn variables(exprs: &Exprs, id: ExprId) -> BTreeSet<Index> {
    let mut found = BTreeSet::new();
    let mut note = |index: Index| {
        if let Index::Var(_) = index {
            found.insert(index);
        }
    };
    exprs.visit(id, &mut |node| match node {
        Expr::Ref(_, indices) | Expr::Table(_, indices) => indices.iter().for_each(|&i| note(i)),
        Expr::Sum(sum) => sum.guards.iter().flat_map(|g| g.terms()).for_each(|&(_, i)| note(i)),
        _ => {}
    });
    found
}
