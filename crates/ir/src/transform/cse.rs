//! `cse`: equal instructions become one.
//!
//! A transform that appends definitions does not look whether there is one already: moments between the same vectors,
//! products with the same operands, adjoints that are copies of other values, families all of whose members are equal.
//! This pass finds them. It merges
//!
//! * equal instructions, up to the order of the terms of a sum and of the factors of a product;
//! * copies, `y[i, p] = x[p, i]` or `y[i] = x[3]`, which are replaced by what they copy;
//! * members of a family that do not depend on an index, `y[i] = A * x`: the index goes.
//!
//! Initial matrices, initial vectors and data are never merged: two of them with one law are different draws.

use std::collections::HashMap;

use super::TransformError;
use super::copy::{Leaves, copy_instr};
use crate::expr::{Expr, ExprId, Exprs, with_children};
use crate::id::Id;
use crate::index::{Index, Indices};
use crate::network::{Network, Parameter};
use crate::program::{
    Axis, Instr, Kind, Operand, Program, Table, Type, Value, ValueId, own_indices, symbol_of, value_of,
};

/// What stands for a value after [`cse`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The value of the new program.
    pub value: ValueId,
    /// Its indices, over the indices `Var(0..)` of the old value.
    pub indices: Indices,
}

impl Image {
    /// Whether the old family and the new one have the same members in the same order.
    pub fn is_whole(&self, rank: usize) -> bool {
        self.indices.iter().copied().eq(own_indices(rank))
    }
}

/// The program with equal instructions merged, and what stands for each old value. The values `keep` are neither merged
/// with others nor lose an index.
///
/// Merging removes the copies that [`super::Tangents`] in frozen mode differentiates as constants: apply it after all
/// differentiation.
///
/// Cost: linear in the program, and its terms are copied.
///
/// # Errors
/// [`TransformError::IllFormed`] if a definition mentions a later one.
pub fn cse(program: &Program, keep: &[ValueId]) -> Result<(Program, Vec<Image>), TransformError> {
    let mut new = Program {
        axes: program.axes.clone(),
        classes: program.classes.clone(),
        tables: program.tables.clone(),
        ..Program::new(&program.name)
    };
    let mut images: Vec<Image> = Vec::with_capacity(program.values.len());
    let mut known: HashMap<Key, ValueId> = HashMap::new();
    for id in program.value_ids() {
        let value = program.value(id);
        if let Some(later) = program.arguments(id).iter().find(|a| id <= **a) {
            let reason = format!("it mentions definition number {}, which is not earlier", later.index());
            return Err(TransformError::IllFormed { name: value.name.clone(), reason });
        }
        let mention = |symbol, indices: Indices| {
            let image = &images[value_of(symbol).index()];
            (symbol_of(image.value), placed(&image.indices, &indices))
        };
        let leaves = Leaves { mention: &mention, index: &|i| i, axis: &|a| a, table: &|t| t };
        let instr = copy_instr(program, &mut new.exprs, &value.instr, &leaves);
        let rank = value.ty.family.len();
        let computed = !matches!(instr, Instr::Data | Instr::Matrix { .. } | Instr::Gaussian(_));
        let image = if !computed || keep.contains(&id) {
            // A value that is kept still stands for later ones that are equal to it.
            let key = computed.then(|| Key::new(&mut new.exprs, &value.ty, &instr));
            let kept = push(&mut new, value, value.ty.family.clone(), value.index_names.clone(), instr);
            if let Some(key) = key {
                known.entry(key).or_insert(kept);
            }
            Image { value: kept, indices: own_indices(rank).collect() }
        } else if let Some(image) = copied(&new, &value.ty, &instr) {
            image
        } else {
            let used = mentioned_variables(&new.exprs, &instr, rank);
            let kept: Vec<usize> = (0..rank).filter(|&k| used[k]).collect();
            let instr = renumbered(&mut new.exprs, instr, &kept);
            let family: Vec<Id<Axis>> = kept.iter().map(|&k| value.ty.family[k]).collect();
            let names: Vec<String> = kept.iter().map(|&k| value.index_names[k].clone()).collect();
            let key = Key::new(&mut new.exprs, &Type { kind: value.ty.kind, family: family.clone() }, &instr);
            let target = match known.get(&key) {
                Some(&earlier) => earlier,
                None => {
                    let target = push(&mut new, value, family, names, instr);
                    known.insert(key, target);
                    target
                }
            };
            Image { value: target, indices: kept.iter().map(|&k| Index::Var(k as u32)).collect() }
        };
        images.push(image);
    }
    Ok((new, images))
}

/// [`cse`] for a network: its parameters and outputs stay.
///
/// # Errors
/// As for [`cse`].
pub fn cse_network(network: &Network) -> Result<(Network, Vec<Image>), TransformError> {
    let (program, images) = cse(&network.program, &network.outputs)?;
    let at = |id: ValueId| images[id.index()].value;
    let parameters = network.parameters.iter().map(|p| Parameter { value: at(p.value), ..p.clone() }).collect();
    let outputs = network.outputs.iter().map(|&o| at(o)).collect();
    Ok((Network { program, parameters, outputs }, images))
}

/// `indices` over `Var(0..)` with `Var(k)` replaced by `at[k]`.
fn placed(indices: &Indices, at: &Indices) -> Indices {
    let place = |i: Index| match i {
        Index::Var(k) => at.get(k as usize).copied().unwrap_or(i),
        other => other,
    };
    // A value of which only the id is wanted is mentioned without indices.
    if at.is_empty() && indices.iter().any(|i| matches!(i, Index::Var(_))) {
        return Indices::new();
    }
    indices.iter().map(|&i| place(i)).collect()
}

fn push(new: &mut Program, old: &Value, family: Vec<Id<Axis>>, index_names: Vec<String>, instr: Instr) -> ValueId {
    let ty = Type { kind: old.ty.kind, family };
    new.values.push(Value { name: old.name.clone(), index_names, ty, instr });
    ValueId::new(new.values.len() - 1)
}

/// If the instruction only copies a value of the same kind, that value.
fn copied(new: &Program, ty: &Type, instr: &Instr) -> Option<Image> {
    let (Instr::Map(expr) | Instr::Scalar(expr)) = instr else { return None };
    let Expr::Ref(symbol, indices) = new.exprs.node(*expr) else { return None };
    let value = value_of(*symbol);
    let same = new.value(value).ty.kind == ty.kind;
    same.then(|| Image { value, indices: indices.clone() })
}

/// Which of the variables `Var(0..rank)` an instruction mentions.
fn mentioned_variables(exprs: &Exprs, instr: &Instr, rank: usize) -> Vec<bool> {
    let mut used = vec![false; rank];
    let mut see = |index: &Index| {
        if let Index::Var(k) = index
            && let Some(flag) = used.get_mut(*k as usize)
        {
            *flag = true;
        }
    };
    match instr {
        Instr::Constant(_, indices) => indices.iter().for_each(&mut see),
        Instr::MatMul { matrix, vector, .. } => matrix.indices.iter().chain(&vector.indices).for_each(&mut see),
        Instr::Map(e) | Instr::Moment(e) | Instr::Scalar(e) => exprs.visit(*e, &mut |node| match node {
            Expr::Ref(_, indices) | Expr::Table(_, indices) => indices.iter().for_each(&mut see),
            Expr::Sum(sum) => sum.guards.iter().flat_map(|g| g.terms()).for_each(|(_, index)| see(index)),
            _ => {}
        }),
        Instr::Data | Instr::Matrix { .. } | Instr::Gaussian(_) => {}
    }
    used
}

/// The instruction with the variables `kept` numbered from 0.
fn renumbered(exprs: &mut Exprs, instr: Instr, kept: &[usize]) -> Instr {
    let rename = |index: Index| match index {
        Index::Var(k) => kept.iter().position(|&old| old == k as usize).map_or(index, |new| Index::Var(new as u32)),
        other => other,
    };
    let all = |indices: &Indices| indices.iter().map(|&i| rename(i)).collect::<Indices>();
    let operand = |o: &Operand| Operand { value: o.value, indices: all(&o.indices) };
    match instr {
        Instr::Constant(table, indices) => Instr::Constant(table, all(&indices)),
        Instr::MatMul { matrix, transposed, vector } => {
            Instr::MatMul { matrix: operand(&matrix), transposed, vector: operand(&vector) }
        }
        Instr::Map(e) => Instr::Map(exprs.map_indices(e, &mut |i| rename(i))),
        Instr::Moment(e) => Instr::Moment(exprs.map_indices(e, &mut |i| rename(i))),
        Instr::Scalar(e) => Instr::Scalar(exprs.map_indices(e, &mut |i| rename(i))),
        other => other,
    }
}

/// What makes two computed values equal.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    kind: Kind,
    family: Vec<Id<Axis>>,
    body: Body,
}

#[derive(PartialEq, Eq, Hash)]
enum Body {
    Constant(Id<Table>, Indices),
    MatMul(Operand, bool, Operand),
    Map(ExprId),
    Moment(ExprId),
    Scalar(ExprId),
}

impl Key {
    /// The key of a computed value.
    fn new(exprs: &mut Exprs, ty: &Type, instr: &Instr) -> Self {
        let body = match instr {
            Instr::Constant(table, indices) => Body::Constant(*table, indices.clone()),
            Instr::MatMul { matrix, transposed, vector } => Body::MatMul(matrix.clone(), *transposed, vector.clone()),
            Instr::Map(e) => Body::Map(sorted(exprs, *e)),
            Instr::Moment(e) => Body::Moment(sorted(exprs, *e)),
            Instr::Scalar(e) => Body::Scalar(sorted(exprs, *e)),
            Instr::Data | Instr::Matrix { .. } | Instr::Gaussian(_) => {
                unreachable!("initial values have no key: each is a draw of its own")
            }
        };
        Self { kind: ty.kind, family: ty.family.clone(), body }
    }
}

/// The term with the operands of every `+` and `*` in a fixed order.
fn sorted(exprs: &mut Exprs, root: ExprId) -> ExprId {
    let mut reachable = Vec::new();
    let mut done: HashMap<ExprId, ExprId> = HashMap::new();
    let mut stack = vec![root];
    while let Some(id) = stack.pop() {
        if done.insert(id, id).is_none() {
            reachable.push(id);
            crate::expr::for_each_child(exprs.node(id), |child| stack.push(child));
        }
    }
    reachable.sort_unstable();
    for id in reachable {
        let node = match with_children(exprs.node(id), |child| done[&child]) {
            Expr::Add(a, b) => Expr::Add(a.min(b), a.max(b)),
            Expr::Mul(a, b) => Expr::Mul(a.min(b), a.max(b)),
            node => node,
        };
        let new = exprs.intern(node);
        done.insert(id, new);
    }
    done[&root]
}
