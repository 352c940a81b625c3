//! `reduce`: the standard form in which G-vars and X-vars alternate (TP IIb Def. 5.4).
//!
//! A G-var is an initial vector or a matrix product, an X-var is made by Nonlin. A program is *reduced* if Nonlin takes
//! G-vars only and MatMul takes X-vars only. Two rewrites bring any program to this form (TP IIb §5.1):
//!
//! ```text
//! x = phi(g); y = psi(x, g2)   becomes   x = phi(g); y = psi(phi(g), g2)       chains of Nonlin collapse
//! h = W * g                    becomes   g_x = g; h = W * g_x                  psi(x) = x between G-vars
//! ```
//!
//! Paths (Def. 5.5) are defined for reduced programs. Moments are treated like Nonlin: they too become functions of
//! G-vars. Scalars stay where they are, since they are no vectors, and so do vectors of constant dimension, which are
//! inputs and readouts.

use super::TransformError;
use super::copy::{Leaves, copy_instr};
use crate::expr::ExprId;
use crate::index::{Index, Indices};
use crate::network::{Network, Parameter};
use crate::program::{Dim, Instr, Kind, Program, Value, ValueId, own_indices, symbol_of, value_of};

/// Most distinct terms that collapsing may make.
const MAX_TERMS: usize = 2_000_000;

/// The program in reduced form, and the new id of each value. X-vars that only other X-vars mentioned are no longer
/// needed; [`super::dce()`] leaves them out.
///
/// Cost: a mention of an X-var in a Nonlin becomes its term with the indices of the mention. Equal terms are shared, so
/// that without families the cost is linear, and a chain of `L` sums makes `O(L^2)` terms; mentions at fixed positions
/// make a copy for each list of positions. The text writes shared terms out and may be much longer.
///
/// # Errors
/// [`TransformError::IllFormed`] if a definition mentions a later one, [`TransformError::TooManyTerms`] if collapsing
/// makes more than two million terms.
pub fn reduce(program: &Program) -> Result<(Program, Vec<ValueId>), TransformError> {
    let mut new = Program {
        axes: program.axes.clone(),
        classes: program.classes.clone(),
        tables: program.tables.clone(),
        ..Program::new(&program.name)
    };
    let mut map: Vec<ValueId> = Vec::with_capacity(program.values.len());
    // The terms of X-vars in G-vars, and the X-vars that copy G-vars: by new id.
    let mut terms: Vec<Option<ExprId>> = Vec::new();
    let mut copies: Vec<Option<ValueId>> = Vec::new();
    for id in program.value_ids() {
        let value = program.value(id);
        if let Some(later) = program.arguments(id).iter().find(|a| id <= **a) {
            let reason = format!("it mentions definition number {}, which is not earlier", later.index());
            return Err(TransformError::IllFormed { name: value.name.clone(), reason });
        }
        let mention = |symbol, indices: Indices| (symbol_of(map[value_of(symbol).index()]), indices);
        let leaves = Leaves { mention: &mention, index: &|i| i, axis: &|a| a, table: &|t| t };
        let mut instr = copy_instr(program, &mut new.exprs, &value.instr, &leaves);
        match &mut instr {
            Instr::Map(expr) | Instr::Moment(expr) => *expr = in_g_vars(&mut new, &terms, *expr),
            Instr::MatMul { vector, .. } if is_g_var(&new, vector.value) => {
                let g = vector.value;
                vector.value = match copies[g.index()] {
                    Some(copy) => copy,
                    None => {
                        let (copy, term) = push_copy(&mut new, program, g);
                        copies[g.index()] = Some(copy);
                        copies.push(None);
                        terms.push(Some(term));
                        copy
                    }
                };
            }
            _ => {}
        }
        if MAX_TERMS < new.exprs.len() {
            return Err(TransformError::TooManyTerms { name: value.name.clone(), limit: MAX_TERMS });
        }
        let wide = matches!(value.ty.kind, Kind::Vector(Dim::Width(_)));
        terms.push(match instr {
            Instr::Map(expr) if wide => Some(expr),
            _ => None,
        });
        copies.push(None);
        new.values.push(Value { instr, ..value.clone() });
        map.push(ValueId::new(new.values.len() - 1));
    }
    Ok((new, map))
}

/// [`reduce`] for a network.
///
/// # Errors
/// As for [`reduce`].
pub fn reduce_network(network: &Network) -> Result<(Network, Vec<ValueId>), TransformError> {
    let (program, map) = reduce(&network.program)?;
    let at = |id: ValueId| map[id.index()];
    let parameters = network.parameters.iter().map(|p| Parameter { value: at(p.value), ..p.clone() }).collect();
    let outputs = network.outputs.iter().map(|&o| at(o)).collect();
    Ok((Network { program, parameters, outputs }, map))
}

/// Whether Nonlin takes G-vars only and MatMul takes X-vars only (vectors of constant dimension apart).
pub fn is_reduced(program: &Program) -> bool {
    let wide = |v: ValueId| matches!(program.value(v).ty.kind, Kind::Vector(Dim::Width(_)));
    program.value_ids().all(|id| match &program.value(id).instr {
        Instr::Map(_) | Instr::Moment(_) => {
            program.arguments(id).into_iter().filter(|&v| wide(v)).all(|v| is_g_var(program, v))
        }
        Instr::MatMul { vector, .. } => !is_g_var(program, vector.value),
        _ => true,
    })
}

fn is_g_var(program: &Program, id: ValueId) -> bool {
    let value = program.value(id);
    let wide = matches!(value.ty.kind, Kind::Vector(Dim::Width(_)));
    wide && matches!(value.instr, Instr::MatMul { .. } | Instr::Gaussian(_))
}

/// The term with every X-var replaced by what it is made of.
fn in_g_vars(new: &mut Program, terms: &[Option<ExprId>], expr: ExprId) -> ExprId {
    let term = |symbol| terms.get(value_of(symbol).index()).copied().flatten();
    if new.exprs.refs(expr).iter().all(|&(symbol, _)| term(symbol).is_none()) {
        return expr;
    }
    let mut fresh = 1000;
    new.exprs.replace_refs(expr, &mut fresh, &mut |exprs, symbol, indices, _| {
        let inner = term(symbol)?;
        Some(exprs.map_indices(inner, &mut |index| match index {
            Index::Var(k) => indices.get(k as usize).copied().unwrap_or(index),
            other => other,
        }))
    })
}

/// The X-var `g_x = g`, and its term.
fn push_copy(new: &mut Program, old: &Program, g: ValueId) -> (ValueId, ExprId) {
    let value = new.value(g).clone();
    let own: Vec<Index> = own_indices(value.ty.family.len()).collect();
    let term = new.member(g, &own);
    // Not a name that a later definition has.
    let mut name = new.unused_name(&format!("{}_x", value.name));
    while old.find(&name).is_some() {
        name.push_str("_x");
    }
    new.values.push(Value { name, instr: Instr::Map(term), ..value });
    (ValueId::new(new.values.len() - 1), term)
}
