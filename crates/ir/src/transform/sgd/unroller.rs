//! The passes of [`super::unroll_sgd`]: every value at every time.

use std::collections::BTreeMap;

use num_traits::{One, Zero};

use super::optimizer::{Coefficients, coefficients};
use super::readout::ReadoutVectors;
use super::{Condition, Readouts, Sgd, TrainedOutput, Training};
use crate::calculus::Derivative;
use crate::expr::ExprId;
use crate::id::Id;
use crate::index::Index;
use crate::network::Network;
use crate::number::{Number, Power};
use crate::program::{Axis, Dim, Instr, Kind, Operand, Program, Table, ValueId, own_indices, symbol_of, value_of};
use crate::transform::TransformError;
use crate::transform::backprop::{Backprop, OutputAdjoint, Seed, backprop};
use crate::transform::kernels::Moments;

/// How a value changes in training.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Not at all.
    Fixed,
    /// By `n^-r` times a deviation from the reference pass.
    Deviates,
    /// In any way: it is computed anew.
    Moves,
    /// A product from a width to a constant dimension, written by components.
    Readout,
}

/// A value at one time.
#[derive(Clone, Debug)]
pub(super) enum Version {
    /// A value of the program.
    Whole(ValueId),
    /// `reference + n^-r delta`, and the value that this is if there is one already.
    Sum { reference: ValueId, delta: ValueId, whole: Option<ValueId> },
    /// Scalars over the family and the component, and the vector that they are if there is one already.
    Components { scalars: ValueId, vector: Option<ValueId> },
}

pub(super) struct Unroller<'a> {
    pub(super) network: &'a Network,
    pub(super) sgd: &'a Sgd,
    /// The network, its backward pass, and what has been appended.
    pub(super) program: Program,
    pub(super) adjoints: Vec<OutputAdjoint>,
    pub(super) classes: Vec<Class>,
    pub(super) moments: Moments,
    pub(super) coefficients: Vec<Coefficients>,
    pub(super) versions: Vec<Vec<Option<Version>>>,
    pub(super) conditions: Vec<Condition>,
    pub(super) readouts: ReadoutVectors,
    pub(super) chi: Vec<Vec<ValueId>>,
    tables: BTreeMap<(usize, Vec<Number>), Id<Table>>,
}

pub(super) fn unroll(network: &Network, sgd: &Sgd) -> Result<Training, TransformError> {
    let Backprop { program, outputs } = backprop(network, Seed::Components)?;
    let count = program.values.len();
    let mut this = Unroller {
        network,
        sgd,
        classes: Vec::with_capacity(count),
        program,
        adjoints: outputs,
        moments: Moments::default(),
        coefficients: coefficients(&sgd.schedule(), &sgd.momentum, &sgd.decay),
        versions: Vec::new(),
        conditions: Vec::new(),
        readouts: ReadoutVectors::default(),
        chi: Vec::new(),
        tables: BTreeMap::new(),
    };
    this.classify();
    this.check_readouts()?;
    this.run(count)
}

impl Unroller<'_> {
    fn classify(&mut self) {
        for id in self.program.value_ids() {
            let class = self.class_of(id);
            self.classes.push(class);
        }
    }

    fn class_of(&self, id: ValueId) -> Class {
        let value = self.program.value(id);
        let conditioned = self.sgd.readouts == Readouts::Conditioned;
        let trained = |v: ValueId| self.network.parameter(v).is_some_and(|p| p.trained);
        let deviates = if self.sgd.exponent.is_zero() { Class::Moves } else { Class::Deviates };
        let finite = matches!(value.ty.kind, Kind::Vector(Dim::Finite(_)));
        match &value.instr {
            Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } => Class::Fixed,
            Instr::Gaussian(_) if finite && (conditioned || trained(id)) => Class::Moves,
            Instr::Gaussian(_) if trained(id) => deviates,
            Instr::Gaussian(_) => Class::Fixed,
            Instr::MatMul { matrix, vector, .. } => {
                let operand = self.classes[vector.value.index()];
                let moves = operand != Class::Fixed || trained(matrix.value);
                let reads = finite && matches!(self.program.value(vector.value).ty.kind, Kind::Vector(Dim::Width(_)));
                match operand {
                    _ if reads && (moves || conditioned) => Class::Readout,
                    _ if !moves => Class::Fixed,
                    Class::Fixed | Class::Deviates if !finite => deviates,
                    _ => Class::Moves,
                }
            }
            Instr::Map(_) | Instr::Moment(_) | Instr::Scalar(_) => {
                let arguments = self.program.arguments(id);
                let of = |v: &ValueId| self.classes[v.index()];
                if arguments.iter().any(|v| matches!(of(v), Class::Moves | Class::Readout)) {
                    Class::Moves
                } else if arguments.iter().any(|v| of(v) == Class::Deviates) {
                    Class::Deviates
                } else {
                    Class::Fixed
                }
            }
        }
    }

    fn run(mut self, count: usize) -> Result<Training, TransformError> {
        let mut outputs = self.declare_outputs()?;
        let forward: Vec<ValueId> = self.adjoints.iter().map(|a| a.output).collect();
        let gradients = self.adjoints.iter().flat_map(|a| &a.gradients);
        let backward: Vec<ValueId> =
            gradients.flat_map(|g| [Some(g.rows.value), g.cols.as_ref().map(|c| c.value)]).flatten().collect();
        for t in 0..=self.sgd.steps {
            let mut needed = vec![false; count];
            let last = t == self.sgd.steps;
            let wanted = forward.iter().chain(backward.iter().filter(|_| !last));
            wanted.for_each(|v| needed[v.index()] = true);
            for id in (0..count).rev().map(ValueId::new) {
                if needed[id.index()] {
                    self.program.arguments(id).iter().for_each(|a| needed[a.index()] = true);
                }
            }
            self.versions.push(vec![None; count]);
            for id in (0..count).map(ValueId::new).filter(|id| needed[id.index()]) {
                if !matches!(self.program.value(id).ty.kind, Kind::Matrix { .. }) {
                    let version = self.version(t, id)?;
                    self.versions[t][id.index()] = Some(version);
                }
            }
            let mut chi = Vec::new();
            for output in &mut outputs {
                let f = self.components(t, output.output);
                output.at.push(f);
                if !last {
                    let value = self.define_chi(t, output, f)?;
                    output.chi.push(value);
                    chi.push(value);
                }
            }
            self.chi.push(chi);
        }
        let whole = |version: &Option<Version>| match version.as_ref()? {
            Version::Whole(v) => Some(*v),
            Version::Sum { whole, .. } => *whole,
            Version::Components { vector, .. } => *vector,
        };
        let times = self.versions.iter().map(|at| {
            let found = at.iter().enumerate().filter_map(|(k, v)| Some((ValueId::new(k), whole(v)?)));
            found.collect()
        });
        let deviation = |(k, version): (usize, &Option<Version>)| match version {
            Some(Version::Sum { delta, .. }) => Some((ValueId::new(k), *delta)),
            _ => None,
        };
        let deviations = self.versions.iter().map(|at| at.iter().enumerate().filter_map(deviation).collect());
        let (times, deviations) = (times.collect(), deviations.collect());
        Ok(Training { times, deviations, program: self.program, outputs, conditions: self.conditions })
    }

    fn declare_outputs(&mut self) -> Result<Vec<TrainedOutput>, TransformError> {
        let mut outputs = Vec::new();
        for adjoint in self.adjoints.clone() {
            let name = self.program.value(adjoint.output).name.clone();
            let stem = if self.adjoints.len() == 1 { "y".to_owned() } else { format!("y_{name}") };
            let stem = self.program.unused_name(&stem);
            let family: Vec<(&str, Id<Axis>)> = adjoint.seeds.iter().map(|(n, a)| (n.as_str(), *a)).collect();
            let target = self.program.data(&stem, &family, Kind::Scalar);
            outputs.push(TrainedOutput {
                output: adjoint.output,
                indices: adjoint.seeds,
                target,
                at: Vec::new(),
                chi: Vec::new(),
            });
        }
        Ok(outputs)
    }

    /// `chi_t = batch_t * loss'(f_t, y)`
    fn define_chi(&mut self, t: usize, output: &TrainedOutput, f: ValueId) -> Result<ValueId, TransformError> {
        let rank = self.program.value(output.output).ty.family.len();
        let component = output.indices.get(rank).map(|&(_, axis)| axis);
        let components = component.map_or(1, |axis| self.program.axis_size(axis));
        let derivative = self.sgd.loss.derivative(components)?;
        let mut expr = derivative.write(&mut self.program, (f, output.target), output.indices.len(), component);
        let examples = self.program.value(output.output).ty.family.first().copied();
        if !self.sgd.batches.is_empty() {
            let weights = &self.sgd.batches[t % self.sgd.batches.len()];
            let expected = examples.map_or(1, |axis| self.program.axis_size(axis) as usize);
            if weights.len() != expected {
                let name = &self.program.value(output.output).name;
                let found = weights.len();
                let reason = format!(
                    "the batch of step {t} has {found} weights, but the output `{name}` has {expected} examples, \
                     the positions of its first axis"
                );
                return Err(TransformError::Training { reason });
            }
            let weight = match examples {
                _ if weights.iter().all(One::is_one) => self.program.exprs.integer(1),
                Some(axis) => {
                    let table = self.batch_table(t, axis, weights.clone());
                    self.program.exprs.table(table, [Index::Var(0)])
                }
                None => self.program.exprs.constant(weights[0].clone()),
            };
            expr = self.program.exprs.mul(weight, expr);
        }
        let stem = if self.adjoints.len() == 1 {
            "chi".to_owned()
        } else {
            format!("chi_{}", self.program.value(output.output).name)
        };
        let name = self.program.unused_name(&format!("{stem}_{t}"));
        let family: Vec<(&str, Id<Axis>)> = output.indices.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        Ok(self.program.scalar(&name, &family, expr))
    }

    fn batch_table(&mut self, t: usize, axis: Id<Axis>, weights: Vec<Number>) -> Id<Table> {
        let key = (axis.index(), weights);
        if let Some(&known) = self.tables.get(&key) {
            return known;
        }
        let name = self.program.unused_name(&format!("batch_{t}"));
        let table = self.program.table(&name, &[axis], key.1.clone());
        self.tables.insert(key, table);
        table
    }

    fn version(&mut self, t: usize, id: ValueId) -> Result<Version, TransformError> {
        match self.classes[id.index()] {
            Class::Fixed => Ok(Version::Whole(id)),
            Class::Deviates if t == 0 => Ok(Version::Whole(id)),
            Class::Deviates => Ok(self.deviating(t, id)),
            Class::Moves => Ok(self.moving(t, id)),
            Class::Readout => Ok(Version::Components { scalars: self.readout(t, id), vector: None }),
        }
    }

    fn at(&self, t: usize, id: ValueId) -> &Version {
        self.versions[t][id.index()].as_ref().expect("arguments come before what is made of them")
    }

    /// The value `x_t` (eq. 86), defined when it is first wanted.
    pub(super) fn whole(&mut self, t: usize, id: ValueId) -> ValueId {
        let (value, version) = match self.at(t, id).clone() {
            Version::Whole(value) => return value,
            Version::Sum { whole: Some(value), .. } | Version::Components { vector: Some(value), .. } => return value,
            Version::Sum { reference, delta, .. } => {
                let expr = self.shifted(id, reference, delta);
                let value = self.define(&format!("{}_{t}", self.name(id)), id, expr);
                (value, Version::Sum { reference, delta, whole: Some(value) })
            }
            Version::Components { scalars, .. } => {
                let expr = self.assembled(id, scalars);
                let value = self.define(&format!("{}_{t}", self.name(id)), id, expr);
                (value, Version::Components { scalars, vector: Some(value) })
            }
        };
        self.versions[t][id.index()] = Some(version);
        value
    }

    /// What `x_t` deviates from: the value with weights `D_t W_0`, or the value itself if it has no deviation.
    pub(super) fn reference(&self, t: usize, id: ValueId) -> ValueId {
        match *self.at(t, id) {
            Version::Whole(value) | Version::Sum { reference: value, .. } => value,
            Version::Components { scalars, .. } => scalars,
        }
    }

    pub(super) fn delta(&self, t: usize, id: ValueId) -> Option<ValueId> {
        match *self.at(t, id) {
            Version::Sum { delta, .. } => Some(delta),
            _ => None,
        }
    }

    fn name(&self, id: ValueId) -> String {
        self.program.value(id).name.clone()
    }

    /// `reference + n^-r delta` over the family's own indices.
    fn shifted(&mut self, id: ValueId, reference: ValueId, delta: ValueId) -> ExprId {
        let own: Vec<Index> = own_indices(self.program.value(id).ty.family.len()).collect();
        let reference = self.program.member(reference, &own);
        let delta = self.program.member(delta, &own);
        let small = self.program.exprs.width(-self.sgd.exponent);
        let delta = self.program.exprs.mul(small, delta);
        self.program.exprs.add(reference, delta)
    }

    /// Appends a value of the kind and family of `like`; a plain mention of such a value is that value.
    fn define(&mut self, name: &str, like: ValueId, expr: ExprId) -> ValueId {
        let value = self.program.value(like);
        let (kind, axes) = (value.ty.kind, value.ty.family.clone());
        let names = value.index_names.clone();
        if let crate::Expr::Ref(symbol, indices) = self.program.exprs.node(expr) {
            let target = self.program.value(value_of(*symbol));
            let same = target.ty.kind == kind && target.ty.family == axes;
            if same && indices.iter().copied().eq(own_indices(axes.len())) {
                return value_of(*symbol);
            }
        }
        let family: Vec<(&str, Id<Axis>)> = names.iter().map(String::as_str).zip(axes).collect();
        let name = self.program.unused_name(name);
        let instr = match kind {
            Kind::Scalar => Instr::Scalar(expr),
            _ => Instr::Map(expr),
        };
        self.program.define(&name, &family, kind, instr)
    }

    /// As [`Self::define`] for the mean of an expression.
    fn define_mean(&mut self, name: &str, like: ValueId, expr: ExprId) -> ValueId {
        if self.program.expr_dim(expr).is_none() {
            return self.define(name, like, expr);
        }
        let value = self.program.value(like);
        let (names, axes) = (value.index_names.clone(), value.ty.family.clone());
        let family: Vec<(&str, Id<Axis>)> = names.iter().map(String::as_str).zip(axes).collect();
        let name = self.program.unused_name(name);
        self.program.moment(&name, &family, expr)
    }

    fn define_like(&mut self, name: &str, like: ValueId, expr: ExprId) -> ValueId {
        match self.program.value(like).instr {
            Instr::Moment(_) => self.define_mean(name, like, expr),
            _ => self.define(name, like, expr),
        }
    }

    /// The expression with every value replaced by `values[it]`, a value of the same family.
    fn substitute(&mut self, expr: ExprId, values: &BTreeMap<ValueId, ValueId>) -> ExprId {
        if values.iter().all(|(old, new)| old == new) {
            return expr;
        }
        let mut fresh = 1000;
        self.program.exprs.replace_refs(expr, &mut fresh, &mut |exprs, symbol, indices, _| {
            let new = values.get(&value_of(symbol))?;
            Some(exprs.reference(symbol_of(*new), indices.iter().copied()))
        })
    }

    /// A value that is computed anew.
    fn moving(&mut self, t: usize, id: ValueId) -> Version {
        let instr = self.program.value(id).instr.clone();
        let name = format!("{}_{t}", self.name(id));
        match instr {
            Instr::Map(expr) | Instr::Moment(expr) | Instr::Scalar(expr) => {
                let values: BTreeMap<ValueId, ValueId> =
                    self.program.arguments(id).into_iter().map(|v| (v, self.whole(t, v))).collect();
                let new = self.substitute(expr, &values);
                if new == expr {
                    return Version::Whole(id);
                }
                Version::Whole(self.define_like(&name, id, new))
            }
            Instr::MatMul { matrix, transposed, vector } => {
                let operand = Operand { value: self.whole(t, vector.value), indices: vector.indices.clone() };
                if t == 0 && operand == vector {
                    return Version::Whole(id);
                }
                let product = if operand == vector {
                    let own: Vec<Index> = own_indices(self.program.value(id).ty.family.len()).collect();
                    self.program.member(id, &own)
                } else {
                    self.product(&format!("{name}_w"), id, &matrix, transposed, &operand)
                };
                let product = self.with_initial_share(t, matrix.value, product);
                let update = self.matrix_update(t, &matrix, transposed, &vector, Power::zero());
                let expr = self.program.exprs.sub(product, update);
                Version::Whole(self.define(&name, id, expr))
            }
            Instr::Gaussian(_) => {
                let conditioned = self.sgd.readouts == Readouts::Conditioned
                    && matches!(self.program.value(id).ty.kind, Kind::Vector(Dim::Finite(_)));
                let initial = match self.versions[0][id.index()] {
                    Some(Version::Whole(value)) => value,
                    _ if conditioned => self.initial_data(id),
                    _ => id,
                };
                if t == 0 {
                    return Version::Whole(initial);
                }
                let own: Vec<Index> = own_indices(self.program.value(id).ty.family.len()).collect();
                let initial = self.program.member(initial, &own);
                let initial = self.with_initial_share(t, id, initial);
                let update = self.vector_update(t, id, Power::zero());
                let expr = self.program.exprs.sub(initial, update);
                Version::Whole(self.define(&name, id, expr))
            }
            Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } => Version::Whole(id),
        }
    }

    /// An initial vector of constant dimension as data.
    fn initial_data(&mut self, id: ValueId) -> ValueId {
        let value = self.program.value(id).clone();
        let family: Vec<(&str, Id<Axis>)> =
            value.index_names.iter().map(String::as_str).zip(value.ty.family.iter().copied()).collect();
        let name = self.program.unused_name(&format!("{}_0", value.name));
        let data = self.program.data(&name, &family, value.ty.kind);
        self.conditions.push(Condition { value: id, time: 0, data });
        data
    }

    /// A value as reference and deviation.
    fn deviating(&mut self, t: usize, id: ValueId) -> Version {
        let reference = self.define_reference(t, id);
        let delta = self.deviation(t, id);
        if self.program.exprs.is_zero(delta) {
            return Version::Whole(reference);
        }
        let name = format!("delta_{}_{t}", self.name(id));
        let delta = self.define_like(&name, id, delta);
        Version::Sum { reference, delta, whole: None }
    }

    /// The value in the pass with weights `D_t W_0`: the initial one unless there is weight decay.
    fn define_reference(&mut self, t: usize, id: ValueId) -> ValueId {
        let instr = self.program.value(id).instr.clone();
        let name = format!("ref_{}_{t}", self.name(id));
        match instr {
            Instr::Map(expr) | Instr::Moment(expr) | Instr::Scalar(expr) => {
                let values: BTreeMap<ValueId, ValueId> =
                    self.program.arguments(id).into_iter().map(|v| (v, self.reference(t, v))).collect();
                let new = self.substitute(expr, &values);
                if new == expr { id } else { self.define_like(&name, id, new) }
            }
            Instr::MatMul { matrix, transposed, vector } => {
                let operand = Operand { value: self.reference(t, vector.value), indices: vector.indices.clone() };
                let own: Vec<Index> = own_indices(self.program.value(id).ty.family.len()).collect();
                let product = if operand == vector {
                    self.program.member(id, &own)
                } else {
                    self.product(&format!("{name}_w"), id, &matrix, transposed, &operand)
                };
                let expr = self.with_initial_share(t, matrix.value, product);
                self.define(&name, id, expr)
            }
            _ => {
                let own: Vec<Index> = own_indices(self.program.value(id).ty.family.len()).collect();
                let initial = self.program.member(id, &own);
                let expr = self.with_initial_share(t, id, initial);
                self.define(&name, id, expr)
            }
        }
    }

    /// `delta x_t = n^r (x_t - ref)`
    fn deviation(&mut self, t: usize, id: ValueId) -> ExprId {
        let instr = self.program.value(id).instr.clone();
        match instr {
            Instr::Map(expr) | Instr::Moment(expr) | Instr::Scalar(expr) => self.deviation_of_function(t, id, expr),
            Instr::MatMul { matrix, transposed, vector } => {
                let update = self.matrix_update(t, &matrix, transposed, &vector, self.sgd.exponent);
                let Some(delta) = self.delta(t, vector.value) else { return self.program.exprs.neg(update) };
                let operand = Operand { value: delta, indices: vector.indices.clone() };
                let name = format!("delta_{}_{t}_w", self.name(id));
                let product = self.product(&name, id, &matrix, transposed, &operand);
                let product = self.with_initial_share(t, matrix.value, product);
                self.program.exprs.sub(product, update)
            }
            Instr::Gaussian(_) => {
                let update = self.vector_update(t, id, self.sgd.exponent);
                self.program.exprs.neg(update)
            }
            Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } => self.program.exprs.integer(0),
        }
    }

    /// `n^r (E(ref + n^-r delta) - E(ref))` (eq. 82); the linear expression in the deltas where `E` is affine in them.
    fn deviation_of_function(&mut self, t: usize, id: ValueId, expr: ExprId) -> ExprId {
        let arguments = self.program.arguments(id);
        let deltas: BTreeMap<ValueId, ValueId> =
            arguments.iter().filter_map(|&v| Some((v, self.delta(t, v)?))).collect();
        if deltas.is_empty() {
            return self.program.exprs.integer(0);
        }
        let references: BTreeMap<ValueId, ValueId> = arguments.iter().map(|&v| (v, self.reference(t, v))).collect();
        let mut fresh = 1000;
        let moved = |s| deltas.contains_key(&value_of(s));
        let occurrences = self.program.exprs.occurrences(expr, Derivative::Weak, &mut fresh, &moved);
        let affine = |coefficient| self.program.exprs.refs(coefficient).iter().all(|&(s, _)| !moved(s));
        if occurrences.iter().all(|o| affine(o.coefficient)) {
            let mut terms = Vec::new();
            for at in occurrences {
                let coefficient = self.substitute(at.coefficient, &references);
                let delta = self.program.member(deltas[&value_of(at.symbol)], &at.indices);
                let product = self.program.exprs.mul(coefficient, delta);
                terms.push(self.program.exprs.sum(&at.variables, at.guards, product));
            }
            return self.program.exprs.add_all(terms);
        }
        let r = self.sgd.exponent;
        let mut fresh = 1000;
        let new = self.program.exprs.replace_refs(expr, &mut fresh, &mut |exprs, symbol, indices, _| {
            let value = value_of(symbol);
            let reference = exprs.reference(symbol_of(references[&value]), indices.iter().copied());
            let Some(&delta) = deltas.get(&value) else { return Some(reference) };
            let delta = exprs.reference(symbol_of(delta), indices.iter().copied());
            let small = exprs.width(-r);
            let delta = exprs.mul(small, delta);
            Some(exprs.add(reference, delta))
        });
        let old = self.substitute(expr, &references);
        let difference = self.program.exprs.sub(new, old);
        let large = self.program.exprs.width(r);
        self.program.exprs.mul(large, difference)
    }

    /// Appends the product of an initial matrix with `vector`, over the family of `like`; a mention of it.
    fn product(&mut self, name: &str, like: ValueId, matrix: &Operand, transposed: bool, vector: &Operand) -> ExprId {
        let value = self.program.value(like);
        let (names, axes) = (value.index_names.clone(), value.ty.family.clone());
        let family: Vec<(&str, Id<Axis>)> = names.iter().map(String::as_str).zip(axes).collect();
        let own: Vec<Index> = own_indices(family.len()).collect();
        let name = self.program.unused_name(name);
        let product = self.program.matmul(
            &name,
            &family,
            (matrix.value, &matrix.indices),
            transposed,
            (vector.value, &vector.indices),
        );
        self.program.member(product, &own)
    }
}
