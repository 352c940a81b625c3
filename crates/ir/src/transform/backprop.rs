//! `backprop`: a network to the program of its forward and backward pass (TP IIb Fig. 6, eq. 97).
//!
//! The adjoint of a vector `x` of width `n` is `dx = sqrt(n) df/dx`, that of a scalar or of a vector of constant
//! dimension is `df/dx` (TP IIb App., notations; for several width classes `sqrt` of its own size). With these powers
//! every adjoint of a network in the NTK parametrization is of order one, and every other power is explicit.
//!
//! **Which output an adjoint belongs to.** The adjoint of a family `x[i, p]` depends on the member of `x` and on the
//! output `f[j]` that is differentiated. If every path from `x` to the output keeps the index `i` untouched, then only
//! `j = i` gives something, and `dx` is the family `dx[i, p]`: we say that the output index `j` is *aligned* with the
//! index `i` of `x`. Otherwise (batch statistics, pooling over the batch) the adjoint has `j` as a further index,
//! `dx[i, p, j]`. Alignment is found by looking at the indices of every mention; no architecture is named.
//!
//! Moments are differentiated like everything else: their adjoints carry exact powers of `n`, and only the limit
//! discovers that something vanishes (TP IIb App. D.4.5).

mod gradient;

use std::collections::BTreeMap;

use smallvec::SmallVec;

use super::{TransformError, components, single_components};
use crate::calculus::{Derivative, Occurrence};
use crate::expr::ExprId;
use crate::id::Id;
use crate::index::{Guard, Index};
use crate::network::Network;
use crate::number::{Power, integer, power};
use crate::program::{Axis, Dim, Instr, Kind, Operand, Program, ValueId, own_indices, symbol_of, value_of};

pub use gradient::Gradient;

/// What is differentiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// Every output component by itself: adjoints of `f[j, c]` for all members `j` and components `c`. For kernels.
    Components,
    /// `sum over j, c of cotangent[j, c] f[j, c]`, with the cotangents as data of the new program. For training.
    Cotangents,
}

/// What `backprop` makes of one output.
#[derive(Clone, Debug)]
pub struct OutputAdjoint {
    /// The output.
    pub output: ValueId,
    /// The axes of `Var(0), Var(1), ...` in the gradients: the output's family, then the axis of its components if it
    /// has more than one. Empty for [`Seed::Cotangents`].
    pub seeds: Vec<(String, Id<Axis>)>,
    /// The cotangent data for [`Seed::Cotangents`].
    pub cotangent: Option<ValueId>,
    /// One entry a use of each trained parameter.
    pub gradients: Vec<Gradient>,
    /// The adjoint of each value that the output depends on and that depends on a trained parameter: over the value's
    /// family, then the seeds that are not aligned with it.
    pub adjoints: BTreeMap<ValueId, ValueId>,
}

/// A forward and backward pass.
#[derive(Clone, Debug)]
pub struct Backprop {
    /// The program: the network's values unchanged, then adjoints.
    pub program: Program,
    /// One entry an output, in the network's order.
    pub outputs: Vec<OutputAdjoint>,
}

/// The adjoint of one value.
#[derive(Clone, Debug)]
struct Adjoint {
    value: ValueId,
    /// For each seed, the index of the original value that it equals; `None` if it is a further index of the adjoint.
    aligned: Vec<Option<usize>>,
}

/// One mention of a value in the definition of a later one.
struct Mention {
    consumer: ValueId,
    occurrence: Occurrence,
    through: Through,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Through {
    Map,
    Moment,
    Scalar,
    MatMul,
}

/// Appends the backward pass of every output to the network's program.
///
/// Cost: one reverse sweep over each definition and output. Adjoints exist only for values that depend on a trained
/// parameter and that the output depends on.
pub fn backprop(network: &Network, seed: Seed) -> Result<Backprop, TransformError> {
    if network.outputs.is_empty() {
        return Err(TransformError::NoOutput);
    }
    let mut program = network.program.clone();
    let depends = depends_on_training(network)?;
    let mut units = BTreeMap::new();
    let mut outputs = Vec::new();
    for &output in &network.outputs {
        outputs.push(Sweep::new(network, &depends, output, seed, &mut program, &mut units)?.run()?);
    }
    Ok(Backprop { program, outputs })
}

/// For each value, whether training changes it.
fn depends_on_training(network: &Network) -> Result<Vec<bool>, TransformError> {
    let program = &network.program;
    let mut depends = vec![false; program.values.len()];
    for id in program.value_ids() {
        let arguments = program.arguments(id);
        if let Some(bad) = arguments.iter().find(|a| id.index() <= a.index()) {
            let reason = format!("it mentions definition number {}, which is not earlier", bad.index());
            return Err(TransformError::IllFormed { name: program.value(id).name.clone(), reason });
        }
        let trained = network.parameter(id).is_some_and(|p| p.trained);
        let inherited = arguments.iter().any(|a| depends[a.index()]);
        match program.value(id).instr {
            Instr::Gaussian(_) if inherited => {
                // A covariance with a trained earlier vector is a statement about initial values, not a dependence.
                let Instr::Gaussian(law) = &program.value(id).instr else { unreachable!("matched above") };
                let in_law = [law.mean, law.covariance].into_iter().chain(law.cross.iter().map(|&(_, c)| c));
                if in_law.flat_map(|e| program.exprs.refs(e)).any(|(s, _)| depends[value_of(s).index()]) {
                    return Err(TransformError::TrainedLaw { name: program.value(id).name.clone() });
                }
                depends[id.index()] = trained;
            }
            _ => depends[id.index()] = trained || inherited,
        }
    }
    Ok(depends)
}

struct Sweep<'a> {
    network: &'a Network,
    depends: &'a [bool],
    program: &'a mut Program,
    output: ValueId,
    seeds: Vec<(String, Id<Axis>)>,
    cotangent: Option<ValueId>,
    adjoints: Vec<Option<Adjoint>>,
    gradients: Vec<Gradient>,
    prefix: String,
}

impl<'a> Sweep<'a> {
    fn new(
        network: &'a Network,
        depends: &'a [bool],
        output: ValueId,
        seed: Seed,
        program: &'a mut Program,
        units: &mut BTreeMap<u32, (Id<Axis>, ValueId)>,
    ) -> Result<Self, TransformError> {
        let value = network.program.value(output).clone();
        let components = match seed {
            Seed::Components => single_components(&network.program, output)?,
            Seed::Cotangents => components(&network.program, output)?,
        };
        let prefix = if network.outputs.len() == 1 { "d".to_owned() } else { format!("d{}_", value.name) };
        let own: Vec<Index> = own_indices(value.ty.family.len()).collect();
        let family: Vec<(&str, Id<Axis>)> =
            value.index_names.iter().map(String::as_str).zip(value.ty.family.iter().copied()).collect();
        let mut seeds: Vec<(String, Id<Axis>)> = Vec::new();
        let mut aligned: Vec<Option<usize>> = Vec::new();
        let name = program.unused_name(&format!("{prefix}{}", value.name));
        let mut cotangent = None;
        let top = match seed {
            Seed::Cotangents => {
                let data = program.data(&name, &family, value.ty.kind);
                cotangent = Some(data);
                data
            }
            Seed::Components => {
                seeds.extend(family.iter().map(|&(name, axis)| (name.to_owned(), axis)));
                aligned.extend((0..family.len()).map(Some));
                if components == 1 {
                    let one = program.exprs.integer(1);
                    match value.ty.kind {
                        Kind::Scalar => program.scalar(&name, &family, one),
                        _ => program.define(&name, &family, value.ty.kind, Instr::Map(one)),
                    }
                } else {
                    // Outputs of one dimension share the axis of their components.
                    let (axis, unit) = *units.entry(components).or_insert_with(|| {
                        let index = program.unused_name(&format!("{}_component", value.name));
                        let axis = program.axis(&index, components);
                        let unit = program.unused_name(&format!("e_{}", value.name));
                        (axis, program.unit_vectors(&unit, &index, axis))
                    });
                    aligned.push(None);
                    let index = program.axes[axis.index()].name.clone();
                    seeds.push((index.clone(), axis));
                    let e = program.member(unit, &[Index::Var(own.len() as u32)]);
                    let mut family = family.clone();
                    family.push((&index, axis));
                    program.define(&name, &family, value.ty.kind, Instr::Map(e))
                }
            }
        };
        let mut adjoints = vec![None; network.program.values.len()];
        adjoints[output.index()] = Some(Adjoint { value: top, aligned });
        Ok(Self { network, depends, program, output, seeds, cotangent, adjoints, gradients: Vec::new(), prefix })
    }

    fn run(mut self) -> Result<OutputAdjoint, TransformError> {
        let mut mentions: Vec<Vec<Mention>> = (0..self.network.program.values.len()).map(|_| Vec::new()).collect();
        for id in self.network.program.value_ids().rev() {
            if id != self.output && self.depends[id.index()] && !mentions[id.index()].is_empty() {
                let found = std::mem::take(&mut mentions[id.index()]);
                self.define_adjoint(id, &found);
            }
            if self.adjoints[id.index()].is_some() {
                self.record_gradient_of_vector(id);
                self.collect_mentions(id, &mut mentions);
            }
        }
        let adjoints = self.adjoints.iter().enumerate();
        let adjoints = adjoints.filter_map(|(k, a)| Some((ValueId::new(k), a.as_ref()?.value))).collect();
        Ok(OutputAdjoint {
            output: self.output,
            seeds: self.seeds,
            cotangent: self.cotangent,
            gradients: self.gradients,
            adjoints,
        })
    }

    /// A first variable number that no definition and no seed uses.
    fn first_fresh(&self) -> u32 {
        1000
    }

    /// Files every mention in the definition of `consumer` under the value mentioned, and records matrix gradients.
    fn collect_mentions(&mut self, consumer: ValueId, mentions: &mut [Vec<Mention>]) {
        let instr = self.network.program.value(consumer).instr.clone();
        match instr {
            Instr::Map(expr) | Instr::Moment(expr) | Instr::Scalar(expr) => {
                let through = match instr {
                    Instr::Map(_) => Through::Map,
                    Instr::Moment(_) => Through::Moment,
                    _ => Through::Scalar,
                };
                let mut fresh = self.first_fresh();
                let depends = self.depends;
                let occurrences = self
                    .program
                    .exprs
                    .occurrences(expr, Derivative::Pointwise, &mut fresh, &|s| depends[value_of(s).index()]);
                for occurrence in occurrences {
                    let target = value_of(occurrence.symbol);
                    mentions[target.index()].push(Mention { consumer, occurrence, through });
                }
            }
            Instr::MatMul { matrix, transposed, vector } => {
                if self.network.parameter(matrix.value).is_some_and(|p| p.trained) {
                    self.record_gradient_of_matrix(consumer, &matrix, transposed, &vector);
                }
                if self.depends[vector.value.index()] {
                    let occurrence = self.transposed_product(consumer, &matrix, transposed, &vector);
                    mentions[vector.value.index()].push(Mention { consumer, occurrence, through: Through::MatMul });
                }
            }
            Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } | Instr::Gaussian(_) => {}
        }
    }

    /// Appends `t = A' dy` and returns the mention of the vector through it: its coefficient is `t` itself.
    fn transposed_product(
        &mut self,
        consumer: ValueId,
        matrix: &Operand,
        transposed: bool,
        vector: &Operand,
    ) -> Occurrence {
        let adjoint = self.adjoint(consumer);
        let (family, indices) = self.family_of_adjoint(consumer, &adjoint);
        let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let stem = format!(
            "{}{}_{}",
            self.prefix,
            self.network.program.value(vector.value).name,
            self.network.program.value(consumer).name
        );
        let name = self.program.unused_name(&stem);
        let product = self.program.matmul(
            &name,
            &family,
            (matrix.value, &matrix.indices),
            !transposed,
            (adjoint.value, &indices),
        );
        // sqrt(size of x / size of y)
        let x = self.kind_dim(self.network.program.value(vector.value).ty.kind);
        let y = self.kind_dim(self.network.program.value(consumer).ty.kind);
        let up = self.normaliser(x, power(1, 2));
        let down = self.normaliser(y, power(-1, 2));
        let factor = self.program.exprs.mul(up, down);
        let product = self.program.member(product, &indices);
        let coefficient = self.program.exprs.mul(factor, product);
        Occurrence {
            symbol: symbol_of(vector.value),
            indices: vector.indices.clone(),
            variables: SmallVec::new(),
            guards: SmallVec::new(),
            coefficient,
        }
    }

    /// `size^p` if the dimension is a width, with ratios of width classes exact; 1 if it is constant or absent.
    fn normaliser(&mut self, dim: Option<Dim>, p: Power) -> ExprId {
        width_power(self.program, dim, p)
    }

    fn kind_dim(&self, kind: Kind) -> Option<Dim> {
        match kind {
            Kind::Vector(dim) => Some(dim),
            _ => None,
        }
    }

    fn adjoint(&self, value: ValueId) -> Adjoint {
        self.adjoints[value.index()].clone().expect("mentions are collected only from values that have an adjoint")
    }

    /// The axes of an adjoint (the value's own, then the seeds that are not aligned) and the variables for them.
    fn family_of_adjoint(&self, value: ValueId, adjoint: &Adjoint) -> (Vec<(String, Id<Axis>)>, Vec<Index>) {
        let original = self.network.program.value(value);
        let mut family: Vec<(String, Id<Axis>)> =
            original.index_names.iter().cloned().zip(original.ty.family.iter().copied()).collect();
        for (s, (name, axis)) in self.seeds.iter().enumerate() {
            if adjoint.aligned[s].is_none() {
                let mut name = name.clone();
                while family.iter().any(|(taken, _)| *taken == name) {
                    name.push('\'');
                }
                family.push((name, *axis));
            }
        }
        let indices = own_indices(family.len()).collect();
        (family, indices)
    }

    /// For each seed, the index term it equals inside the definition of `value`'s adjoint.
    fn seed_terms(&self, value: ValueId, aligned: &[Option<usize>]) -> Vec<Index> {
        let mut next = self.network.program.value(value).ty.family.len() as u32;
        aligned
            .iter()
            .map(|position| match position {
                Some(at) => Index::Var(*at as u32),
                None => {
                    next += 1;
                    Index::Var(next - 1)
                }
            })
            .collect()
    }

    /// Finds which seeds are aligned with which indices of `target`, given all its mentions.
    fn align(&self, target: ValueId, mentions: &[Mention]) -> Vec<Option<usize>> {
        let rank = self.network.program.value(target).ty.family.len();
        (0..self.seeds.len())
            .map(|s| {
                (0..rank).find(|&position| {
                    mentions.iter().all(|m| {
                        let at = self.adjoints[m.consumer.index()].as_ref().and_then(|a| a.aligned[s]);
                        at.is_some_and(|at| m.occurrence.indices[position] == Index::Var(at as u32))
                    })
                })
            })
            .collect()
    }

    /// Appends the definition of the adjoint of `target` from all its mentions.
    fn define_adjoint(&mut self, target: ValueId, mentions: &[Mention]) {
        let aligned = self.align(target, mentions);
        let seed_terms = self.seed_terms(target, &aligned);
        let kind = self.network.program.value(target).ty.kind;
        let adjoint = Adjoint { value: target, aligned };
        let (family, _) = self.family_of_adjoint(target, &adjoint);
        let family_refs: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let mut terms: Vec<ExprId> = Vec::new();
        for mention in mentions {
            let term = self.contribution(target, mention, &seed_terms, &family_refs);
            terms.push(term);
        }
        let total = self.program.exprs.add_all(terms);
        let name = format!("{}{}", self.prefix, self.network.program.value(target).name);
        let name = self.program.unused_name(&name);
        let value = match self.as_alias(total, &family_refs) {
            Some(existing) => existing,
            None => match kind {
                Kind::Scalar => self.program.scalar(&name, &family_refs, total),
                _ => self.program.define(&name, &family_refs, kind, Instr::Map(total)),
            },
        };
        self.adjoints[target.index()] = Some(Adjoint { value, aligned: adjoint.aligned });
    }

    /// If the term is a plain mention of a whole family with the indices in order, that family.
    fn as_alias(&self, term: ExprId, family: &[(&str, Id<Axis>)]) -> Option<ValueId> {
        let crate::expr::Expr::Ref(symbol, indices) = self.program.exprs.node(term) else { return None };
        let value = value_of(*symbol);
        let same = indices.iter().copied().eq(own_indices(family.len()))
            && self.program.value(value).ty.family.iter().copied().eq(family.iter().map(|&(_, a)| a));
        same.then_some(value)
    }

    /// The share of the adjoint of `target` that comes through one mention.
    fn contribution(
        &mut self,
        target: ValueId,
        mention: &Mention,
        seed_terms: &[Index],
        family: &[(&str, Id<Axis>)],
    ) -> ExprId {
        let consumer = mention.consumer;
        let adjoint = self.adjoint(consumer);
        let consumer_axes = self.network.program.value(consumer).ty.family.clone();
        // The consumer's own indices become summed variables with numbers of their own.
        let first = self.first_fresh() + 100_000;
        let rename = move |index: Index| match index {
            Index::Var(k) if (k as usize) < consumer_axes.len() => Index::Var(first + k),
            other => other,
        };
        let consumer_axes = self.network.program.value(consumer).ty.family.clone();
        let mut variables: Vec<(Index, Id<Axis>)> =
            consumer_axes.iter().enumerate().map(|(k, &axis)| (Index::Var(first + k as u32), axis)).collect();
        variables.extend(mention.occurrence.variables.iter().copied());
        let mut same: Vec<(Index, Index)> = mention
            .occurrence
            .indices
            .iter()
            .enumerate()
            .map(|(k, &index)| (Index::Var(k as u32), rename(index)))
            .collect();
        let guards: Vec<Guard> = mention.occurrence.guards.iter().map(|g| g.map(&rename)).collect();
        // Seeds: aligned with an index of the consumer, or a further index of its adjoint.
        let mut dy_indices: Vec<Index> = (0..consumer_axes.len() as u32).map(|k| Index::Var(first + k)).collect();
        for (s, &term) in seed_terms.iter().enumerate() {
            match adjoint.aligned[s] {
                Some(at) => same.push((term, Index::Var(first + at as u32))),
                None => dy_indices.push(term),
            }
        }
        // In a product `t = A' dy` the coefficient mentions `t` at the indices of the consumer's adjoint.
        let appended = consumer_axes.len() as u32;
        let unaligned: Vec<Index> = dy_indices[consumer_axes.len()..].to_vec();
        let coefficient = self.program.exprs.map_indices(mention.occurrence.coefficient, &mut |index| match index {
            Index::Var(k) if mention.through == Through::MatMul && appended <= k => {
                unaligned.get((k - appended) as usize).copied().unwrap_or(index)
            }
            other => rename(other),
        });
        if mention.through == Through::MatMul {
            return self.program.exprs.sum_matching(&variables, same, guards, coefficient);
        }
        let dy = self.program.member(adjoint.value, &dy_indices);
        let product = self.program.exprs.mul(coefficient, dy);
        let summed = self.program.exprs.sum_matching(&variables, same, guards, product);
        let target_is_scalar = self.network.program.value(target).ty.kind == Kind::Scalar;
        match (mention.through, target_is_scalar) {
            (Through::Map, false) | (Through::Scalar, _) | (Through::MatMul, _) => summed,
            (Through::Map, true) => {
                // sum over coordinates = size * mean; the adjoint of the vector carries 1/sqrt(size) too much.
                let dim = self.kind_dim(self.network.program.value(consumer).ty.kind);
                let size = match dim {
                    Some(Dim::Finite(size)) => self.program.exprs.integer(i64::from(size)),
                    _ => self.normaliser(dim, power(1, 2)),
                };
                let mean = self.mean_value(target, consumer, family, summed);
                self.program.exprs.mul(size, mean)
            }
            (Through::Moment, false) => {
                let dim = self.kind_dim(self.network.program.value(target).ty.kind);
                let share = match dim {
                    Some(Dim::Finite(size)) => self.program.exprs.constant(crate::number::fraction(1, i64::from(size))),
                    _ => self.normaliser(dim, power(-1, 2)),
                };
                self.program.exprs.mul(share, summed)
            }
            (Through::Moment, true) => self.mean_value(target, consumer, family, summed),
        }
    }

    /// The mean over coordinates of `expr`, as a scalar value over `family`; `expr` itself if it has no vectors in it.
    fn mean_value(&mut self, target: ValueId, consumer: ValueId, family: &[(&str, Id<Axis>)], expr: ExprId) -> ExprId {
        if self.program.expr_dim(expr).is_none() {
            return expr;
        }
        let stem = format!(
            "{}{}_{}",
            self.prefix,
            self.network.program.value(target).name,
            self.network.program.value(consumer).name
        );
        let name = self.program.unused_name(&stem);
        let moment = self.program.moment(&name, family, expr);
        let indices: Vec<Index> = own_indices(family.len()).collect();
        self.program.member(moment, &indices)
    }
}

/// `size^p` of a dimension as an expression: `ratio^p n^p` for a width, 1 for a constant dimension or none.
pub(crate) fn width_power(program: &mut Program, dim: Option<Dim>, p: Power) -> ExprId {
    let Some(Dim::Width(class)) = dim else { return program.exprs.integer(1) };
    let ratio = program.classes[class.index()].ratio.clone();
    let n = program.exprs.width(p);
    if ratio == integer(1) {
        return n;
    }
    let ratio = program.exprs.constant(ratio);
    let ratio = program.exprs.pow(ratio, p);
    program.exprs.mul(ratio, n)
}
