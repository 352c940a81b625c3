//! `unroll`: families expanded to the papers' plain form, one value a member.
//!
//! The result has no axes and no sums: it is a program in the sense of TP IIb App. Def. B.1, literally. Every engine
//! must give the same for a program and for its unrolling.

use rustc_hash::FxHashMap;

use super::TransformError;
use crate::expr::{Expr, ExprId, Exprs, with_children};
use crate::index::{Index, Indices, for_each_assignment, position};
use crate::network::{Network, Parameter};
use crate::number::Number;
use crate::program::{Instr, Law, Operand, Program, Type, Value, ValueId, symbol_of, value_of};

/// Where the members of each value went: `members[value][flat]`, the last index fastest.
pub type Members = Vec<Vec<ValueId>>;

const LIMIT: u64 = 1_000_000;

/// The program with every family expanded; names get positions appended, `h[i, p]` becomes `h@0@2`.
pub fn unroll_program(program: &Program) -> Result<(Program, Members), TransformError> {
    Unroller::new(program)?.run()
}

/// The network with every family expanded; each member of a family of parameters is a parameter of its own.
pub fn unroll_network(network: &Network) -> Result<(Network, Members), TransformError> {
    let (program, members) = unroll_program(&network.program)?;
    let mut parameters: Vec<Parameter> = network
        .parameters
        .iter()
        .flat_map(|p| members[p.value.index()].iter().map(|&value| Parameter { value, ..p.clone() }))
        .collect();
    parameters.sort_by_key(|p| p.value);
    let outputs = network.outputs.iter().flat_map(|o| members[o.index()].iter().copied()).collect();
    Ok((Network { program, parameters, outputs }, members))
}

struct Unroller<'a> {
    old: &'a Program,
    new: Program,
    members: Members,
    sizes: Vec<Vec<usize>>,
    /// Scalars that turned out to be numbers, such as weights of a batch: later definitions have the number.
    constants: FxHashMap<ValueId, Number>,
}

impl<'a> Unroller<'a> {
    fn new(old: &'a Program) -> Result<Self, TransformError> {
        let sizes: Vec<Vec<usize>> = old.value_ids().map(|id| old.family_sizes(id)).collect();
        let needed = sizes.iter().map(|s| s.iter().map(|&k| k as u64).product::<u64>()).sum::<u64>();
        if LIMIT < needed {
            return Err(TransformError::TooLarge { name: old.name.clone(), needed, limit: LIMIT });
        }
        let new = Program { classes: old.classes.clone(), ..Program::new(&old.name) };
        Ok(Self { old, new, members: Vec::with_capacity(old.values.len()), sizes, constants: FxHashMap::default() })
    }

    fn run(mut self) -> Result<(Program, Members), TransformError> {
        // Constant vectors still need their entries; as plain values they are tables with one axis each.
        self.new.axes = self.old.axes.clone();
        self.new.tables = self.old.tables.clone();
        for id in self.old.value_ids() {
            let value = self.old.value(id).clone();
            let mut ids = Vec::new();
            for positions in Positions::new(&self.sizes[id.index()]) {
                let instr = self.instantiate(id, &value, &positions, &ids)?;
                let defined = ValueId::new(self.new.values.len());
                if let Instr::Scalar(expr) = instr
                    && let Some(number) = self.new.exprs.as_const(expr)
                {
                    self.constants.insert(defined, number.clone());
                }
                let suffix: String = positions.iter().map(|p| format!("@{p}")).collect();
                self.new.values.push(Value {
                    name: format!("{}{suffix}", value.name),
                    index_names: Vec::new(),
                    ty: Type { kind: value.ty.kind, family: Vec::new() },
                    instr,
                });
                ids.push(defined);
            }
            self.members.push(ids);
        }
        Ok((self.new, self.members))
    }

    fn instantiate(
        &mut self,
        id: ValueId,
        value: &Value,
        at: &[u32],
        siblings: &[ValueId],
    ) -> Result<Instr, TransformError> {
        let ill_formed =
            |reason: &str| TransformError::IllFormed { name: value.name.clone(), reason: reason.to_owned() };
        Ok(match &value.instr {
            Instr::Data => Instr::Data,
            Instr::Matrix { variance } => Instr::Matrix { variance: variance.clone() },
            Instr::Constant(table, indices) => {
                let fixed: Option<Indices> = indices.iter().map(|&i| fix(i, at).map(Index::At)).collect();
                Instr::Constant(*table, fixed.ok_or_else(|| ill_formed("an index is not bound"))?)
            }
            Instr::Gaussian(law) => Instr::Gaussian(self.law(id, law, at, siblings)),
            Instr::MatMul { matrix, transposed, vector } => {
                let member = |o: &Operand| {
                    self.member(o.value, &o.indices, at)
                        .map(|value| Operand { value, indices: Indices::new() })
                        .ok_or_else(|| ill_formed("an operand's index is outside its axis"))
                };
                Instr::MatMul { matrix: member(matrix)?, transposed: *transposed, vector: member(vector)? }
            }
            Instr::Map(e) => Instr::Map(self.expr(*e, at)),
            Instr::Moment(e) => {
                let e = self.expr(*e, at);
                // Sums without terms may take all vectors away, and the mean of a number is the number.
                if self.new.expr_dim(e).is_none() { Instr::Scalar(e) } else { Instr::Moment(e) }
            }
            Instr::Scalar(e) => Instr::Scalar(self.expr(*e, at)),
        })
    }

    /// The law of one member: covariances with other members of its family become covariances with earlier vectors.
    fn law(&mut self, id: ValueId, law: &Law, at: &[u32], siblings: &[ValueId]) -> Law {
        let mean = self.expr(law.mean, at);
        let both: Vec<u32> = at.iter().chain(at).copied().collect();
        let covariance = self.expr(law.covariance, &both);
        let mut cross = Vec::new();
        let sizes = self.sizes[id.index()].clone();
        for (positions, &sibling) in Positions::new(&sizes).zip(siblings) {
            let pair: Vec<u32> = at.iter().copied().chain(positions).collect();
            let entry = self.expr(law.covariance, &pair);
            if !self.new.exprs.is_zero(entry) {
                cross.push((sibling, entry));
            }
        }
        for &(other, entry) in &law.cross {
            let sizes = self.sizes[other.index()].clone();
            for (flat, positions) in Positions::new(&sizes).enumerate() {
                let pair: Vec<u32> = at.iter().copied().chain(positions).collect();
                let entry = self.expr(entry, &pair);
                if !self.new.exprs.is_zero(entry) {
                    cross.push((self.members[other.index()][flat], entry));
                }
            }
        }
        Law { mean, covariance, cross }
    }

    fn member(&self, value: ValueId, indices: &[Index], at: &[u32]) -> Option<ValueId> {
        let sizes = &self.sizes[value.index()];
        let mut flat = 0;
        for (&index, &size) in indices.iter().zip(sizes) {
            let position = fix(index, at)? as usize;
            if size <= position {
                return None;
            }
            flat = flat * size + position;
        }
        self.members.get(value.index())?.get(flat).copied()
    }

    /// The expression with free variables fixed at `at`, sums expanded, and references to plain values.
    fn expr(&mut self, root: ExprId, at: &[u32]) -> ExprId {
        let source =
            Source { program: self.old, members: &self.members, sizes: &self.sizes, constants: &self.constants };
        expand(&source, &mut self.new.exprs, root, at, &[])
    }
}

/// What an expression is expanded from.
struct Source<'a> {
    program: &'a Program,
    members: &'a Members,
    sizes: &'a [Vec<usize>],
    constants: &'a FxHashMap<ValueId, Number>,
}

impl Source<'_> {
    fn plain_reference(&self, exprs: &mut Exprs, symbol: crate::Symbol, indices: &[u32]) -> ExprId {
        let value = value_of(symbol);
        let flat = indices.iter().zip(&self.sizes[value.index()]).fold(0, |flat, (&p, &size)| flat * size + p as usize);
        let member = self.members[value.index()].get(flat).copied().unwrap_or(value);
        match self.constants.get(&member) {
            Some(number) => exprs.constant(number.clone()),
            None => exprs.reference(symbol_of(member), []),
        }
    }
}

/// Copies a term into `new` with every index fixed: free variables by `at`, bound ones by `bound` (by number).
fn expand(source: &Source<'_>, new: &mut Exprs, root: ExprId, at: &[u32], bound: &[u32]) -> ExprId {
    let old = &source.program.exprs;
    let mut done: FxHashMap<ExprId, ExprId> = FxHashMap::default();
    for id in old.outside_sums(root) {
        let fixed = |indices: &Indices, bound: &[u32]| -> Vec<u32> {
            indices.iter().map(|&i| position(i, at, bound).unwrap_or(0)).collect()
        };
        let copy = match old.node(id) {
            Expr::Ref(symbol, indices) => source.plain_reference(new, *symbol, &fixed(indices, bound)),
            Expr::Table(table, indices) => {
                let table = &source.program.tables[table.index()];
                let flat = fixed(indices, bound)
                    .iter()
                    .zip(&table.axes)
                    .fold(0, |flat, (&p, &axis)| flat * source.program.axis_size(axis) as usize + p as usize);
                new.constant(table.entries.get(flat).cloned().unwrap_or_default())
            }
            Expr::Sum(sum) => {
                let base = old.height(sum.body) as usize;
                let sizes: Vec<u32> = sum.axes.iter().map(|&axis| source.program.axis_size(axis)).collect();
                let mut terms = Vec::new();
                let mut inner = bound.to_vec();
                inner.resize(inner.len().max(base + sizes.len()), 0);
                for_each_assignment(&sizes, &sum.guards, base, at, &mut inner, &mut |bound| {
                    terms.push(expand(source, new, sum.body, at, bound));
                });
                new.add_all(terms)
            }
            node => {
                let node = with_children(node, |child| done[&child]);
                new.simplified(node)
            }
        };
        done.insert(id, copy);
    }
    done[&root]
}

fn fix(index: Index, at: &[u32]) -> Option<u32> {
    position(index, at, &[])
}

/// All positions of a family, the last index fastest; one empty position for a single value.
struct Positions {
    sizes: Vec<u32>,
    next: Option<Vec<u32>>,
}

impl Positions {
    fn new(sizes: &[usize]) -> Self {
        let sizes: Vec<u32> = sizes.iter().map(|&s| s as u32).collect();
        let next = (!sizes.contains(&0)).then(|| vec![0; sizes.len()]);
        Self { sizes, next }
    }
}

impl Iterator for Positions {
    type Item = Vec<u32>;

    fn next(&mut self) -> Option<Vec<u32>> {
        let current = self.next.take()?;
        let mut following = current.clone();
        for k in (0..following.len()).rev() {
            following[k] += 1;
            if following[k] < self.sizes[k] {
                self.next = Some(following);
                break;
            }
            following[k] = 0;
        }
        Some(current)
    }
}
