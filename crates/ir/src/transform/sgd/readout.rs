//! Readouts and other vectors of constant dimension, by components.

use std::collections::BTreeMap;

use num_traits::{One, Zero};

use super::unroller::{Class, Unroller, Version};
use super::update::Matched;
use super::{Condition, Readouts};
use crate::expr::{Expr, ExprId};
use crate::id::Id;
use crate::index::Index;
use crate::number::{Number, Power};
use crate::program::{Axis, Dim, Instr, Kind, Operand, Program, ValueId, own_indices, symbol_of, value_of};
use crate::transform::{TransformError, single_components};

/// The unit vectors of constant dimensions, and the vectors `V e_c` of readouts.
#[derive(Clone, Debug, Default)]
pub(super) struct ReadoutVectors {
    /// For each dimension the unit vectors over its axis; the vector 1 for dimension 1.
    units: BTreeMap<u32, ValueId>,
    /// The axis of the components of each dimension above 1: that of the outputs if there are any.
    axes: BTreeMap<u32, Id<Axis>>,
    columns: BTreeMap<(ValueId, bool), ValueId>,
}

/// A multiple of a simple vector of constant dimension.
struct Simple {
    coefficient: Number,
    /// The index of the unit vector; `None` for the vector of ones.
    unit: Option<Index>,
}

impl Unroller<'_> {
    /// Whether the readout `id` is data. Refuses what cannot be conditioned on.
    fn is_data(&self, id: ValueId) -> Result<bool, TransformError> {
        let Instr::MatMul { matrix, transposed, vector } = &self.program.value(id).instr else { return Ok(false) };
        if self.sgd.readouts == Readouts::Computed {
            return Ok(false);
        }
        let refuse =
            |reason: String| Err(TransformError::NotConditioned { name: self.program.value(id).name.clone(), reason });
        let Instr::Matrix { variance } = &self.program.value(matrix.value).instr else {
            return refuse("its weights are not an initial matrix".into());
        };
        let minus_one = -Power::one();
        let weights = &self.program.value(matrix.value).name;
        if variance.power < minus_one {
            return Ok(false);
        }
        if minus_one < variance.power {
            let power = variance.power;
            return refuse(format!(
                "the entries of `{weights}` have variance of order n^({power}), so that it grows with the width; a \
                 readout has variance of order 1/n, or less"
            ));
        }
        let forward = self.network.program.values.len();
        if forward <= id.index() {
            return refuse(format!(
                "it is a step of the backward pass, where `{weights}` is used for a vector of constant dimension that \
                 training changes; train from width n on only, or take the program at finite width with \
                 `Readouts::Computed`"
            ));
        }
        for user in (0..forward).map(ValueId::new) {
            let Instr::MatMul { matrix: used, transposed: side, .. } = &self.program.value(user).instr else {
                continue;
            };
            if used.value == matrix.value && (side != transposed || self.classes[user.index()] != Class::Readout) {
                let user = &self.program.value(user).name;
                return refuse(format!(
                    "its weights `{weights}` are also used in `{user}`; conditioning needs weights of its own (TP IIb \
                     App. eq. 69)"
                ));
            }
        }
        if self.depends(vector.value, matrix.value) {
            let operand = &self.program.value(vector.value).name;
            return refuse(format!("`{operand}` depends on the weights `{weights}` that read it"));
        }
        if self.classes[vector.value.index()] == Class::Moves {
            let operand = &self.program.value(vector.value).name;
            let remedy = if self.sgd.exponent.is_zero() {
                format!(
                    "set the exponent of deviations to 1/2 for the NTK parametrization, give `{weights}` the variance \
                     1/n^2 to learn features, or take the program at finite width with `Readouts::Computed`"
                )
            } else {
                "it depends on a trained parameter of constant dimension or on another readout; freeze that parameter, \
                 or take the program at finite width with `Readouts::Computed`"
                    .to_owned()
            };
            return refuse(format!(
                "training changes `{operand}` by order one, so that the readout is a new random number in every step; \
                 {remedy}"
            ));
        }
        Ok(true)
    }

    /// Whether `value` is computed from `from`.
    fn depends(&self, value: ValueId, from: ValueId) -> bool {
        let mut needed = vec![false; value.index() + 1];
        needed[value.index()] = true;
        for id in (0..=value.index()).rev().map(ValueId::new) {
            if needed[id.index()] {
                self.program.arguments(id).iter().for_each(|a| needed[a.index()] = true);
            }
        }
        needed.get(from.index()).copied().unwrap_or(false)
    }

    pub(super) fn check_readouts(&self) -> Result<(), TransformError> {
        let readouts = (0..self.classes.len()).filter(|&k| self.classes[k] == Class::Readout);
        readouts.map(ValueId::new).try_for_each(|id| {
            single_components(&self.program, id)?;
            self.is_data(id).map(|_| ())
        })
    }

    /// The axis of the components of a dimension; none for dimension 1.
    fn component_axis(&mut self, dimension: u32) -> Option<Id<Axis>> {
        if dimension == 1 {
            return None;
        }
        if let Some(&axis) = self.readouts.axes.get(&dimension) {
            return Some(axis);
        }
        let of_output = self.adjoints.iter().find_map(|a| {
            let (rank, kind) = (self.program.value(a.output).ty.family.len(), self.program.value(a.output).ty.kind);
            a.seeds.get(rank).filter(|_| kind == Kind::Vector(Dim::Finite(dimension))).map(|&(_, axis)| axis)
        });
        let axis = of_output.unwrap_or_else(|| {
            let name = self.program.unused_name(&format!("component_{dimension}"));
            self.program.axis(&name, dimension)
        });
        self.readouts.axes.insert(dimension, axis);
        Some(axis)
    }

    /// The unit vectors of a dimension as a family over their axis; the vector 1 for dimension 1.
    fn units(&mut self, dimension: u32) -> ValueId {
        if let Some(&known) = self.readouts.units.get(&dimension) {
            return known;
        }
        let value = match self.component_axis(dimension) {
            None => {
                let name = self.program.unused_name("one");
                let one = self.program.exprs.integer(1);
                self.program.define(&name, &[], Kind::Vector(Dim::Finite(1)), Instr::Map(one))
            }
            // Those that the backward pass starts from, if it does.
            Some(axis) => match self.program.value_ids().find(|&v| is_identity(&self.program, v, axis)) {
                Some(known) => known,
                None => {
                    let name = self.program.unused_name(&format!("e_{dimension}"));
                    let index = self.program.axes[axis.index()].name.clone();
                    self.program.unit_vectors(&name, &index, axis)
                }
            },
        };
        self.readouts.units.insert(dimension, value);
        value
    }

    /// `e_c` for the index `c`; `c` is ignored for dimension 1.
    fn unit(&mut self, dimension: u32, c: Index) -> Operand {
        let value = self.units(dimension);
        Operand { value, indices: self.component_axis(dimension).iter().map(|_| c).collect() }
    }

    /// The power of the width in the variance of a matrix's entries.
    fn variance_power(&self, matrix: ValueId) -> Power {
        match &self.program.value(matrix).instr {
            Instr::Matrix { variance } => variance.power,
            _ => Power::zero(),
        }
    }

    /// The family `n^(-p/2) A[..] e_c` of a matrix whose entries have a variance of order `n^p`, over its own indices and
    /// the component: vectors with entries of order one.
    fn column(&mut self, matrix: ValueId, transposed: bool, dimension: u32) -> ValueId {
        let key = (matrix, transposed);
        if let Some(&known) = self.readouts.columns.get(&key) {
            return known;
        }
        let value = self.program.value(matrix).clone();
        let rank = value.ty.family.len();
        let axis = self.component_axis(dimension);
        let unit = self.unit(dimension, Index::Var(rank as u32));
        let mut family: Vec<(String, Id<Axis>)> =
            value.index_names.iter().cloned().zip(value.ty.family.iter().copied()).collect();
        family.extend(axis.map(|axis| (self.component_name(&value.index_names, axis), axis)));
        let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let own: Vec<Index> = own_indices(family.len()).collect();
        let name = self.program.unused_name(&format!("{}_entries", value.name));
        let member = (matrix, &own[..rank]);
        let raw = self.program.matmul(&name, &family, member, !transposed, (unit.value, &unit.indices));
        let scale = self.program.exprs.width(-self.variance_power(matrix) / Power::from_integer(2));
        let entries = self.program.member(raw, &own);
        let expr = self.program.exprs.mul(scale, entries);
        let name = self.program.unused_name(&format!("{}_column", value.name));
        let kind = self.program.value(raw).ty.kind;
        let column = self.program.define(&name, &family, kind, Instr::Map(expr));
        self.readouts.columns.insert(key, column);
        column
    }

    fn component_name(&self, taken: &[String], axis: Id<Axis>) -> String {
        let mut name = self.program.axes[axis.index()].name.clone();
        while taken.contains(&name) {
            name.push('\'');
        }
        name
    }

    /// The family of a value and its component.
    fn component_family(&self, id: ValueId, axis: Option<Id<Axis>>) -> Vec<(String, Id<Axis>)> {
        let value = self.program.value(id);
        let mut family: Vec<(String, Id<Axis>)> =
            value.index_names.iter().cloned().zip(value.ty.family.iter().copied()).collect();
        family.extend(axis.map(|axis| (self.component_name(&value.index_names, axis), axis)));
        family
    }

    fn define_scalar(&mut self, name: &str, family: &[(String, Id<Axis>)], expr: ExprId) -> ValueId {
        let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let name = self.program.unused_name(name);
        self.program.scalar(&name, &family, expr)
    }

    /// The components of a readout at time `t`.
    pub(super) fn readout(&mut self, t: usize, id: ValueId) -> ValueId {
        let value = self.program.value(id).clone();
        let Instr::MatMul { matrix, transposed, vector } = &value.instr else { return id };
        let Kind::Vector(Dim::Finite(dimension)) = value.ty.kind else { return id };
        let axis = self.component_axis(dimension);
        let family = self.component_family(id, axis);
        let name = format!("{}_{t}", value.name);
        let c = Index::Var(value.ty.family.len() as u32);
        let own: Vec<Index> = own_indices(family.len()).collect();
        let column = self.column(matrix.value, *transposed, dimension);
        let column =
            Operand { value: column, indices: matrix.indices.iter().copied().chain(axis.map(|_| c)).collect() };
        let data = matches!(self.is_data(id), Ok(true));
        if data && t == 0 {
            return self.readout_data(id, t, &family);
        }
        let moves = self.classes[vector.value.index()] == Class::Moves;
        let mut terms = Vec::new();
        let initial = match (data, self.versions[0][id.index()].clone()) {
            _ if moves => {
                let operand = Operand { value: self.whole(t, vector.value), indices: vector.indices.clone() };
                let product = self.readout_product(matrix.value, &column, &operand);
                self.with_initial_share(t, matrix.value, product)
            }
            (_, Some(Version::Components { scalars, .. }))
                if self.reference(t, vector.value) == self.reference(0, vector.value) =>
            {
                let initial = self.program.member(scalars, &own);
                self.with_initial_share(t, matrix.value, initial)
            }
            (true, _) => {
                let data = self.readout_data(id, t, &family);
                self.program.member(data, &own)
            }
            (false, _) => {
                let operand = Operand { value: self.reference(t, vector.value), indices: vector.indices.clone() };
                let product = self.readout_product(matrix.value, &column, &operand);
                self.with_initial_share(t, matrix.value, product)
            }
        };
        terms.push(initial);
        if let Some(delta) = self.delta(t, vector.value) {
            let operand = Operand { value: delta, indices: vector.indices.clone() };
            let product = self.readout_product(matrix.value, &column, &operand);
            let small = self.program.exprs.width(-self.sgd.exponent);
            let product = self.program.exprs.mul(small, product);
            terms.push(self.with_initial_share(t, matrix.value, product));
        }
        let update = self.rank_one(t, matrix, *transposed, vector, Power::zero(), &mut |this, s, out| {
            this.component(s, out, dimension, c)
        });
        let expr = self.program.exprs.add_all(terms);
        let expr = self.program.exprs.sub(expr, update);
        self.define_scalar(&name, &family, expr)
    }

    /// Data for the value of a readout with weights `D_t W_0`.
    fn readout_data(&mut self, id: ValueId, time: usize, family: &[(String, Id<Axis>)]) -> ValueId {
        let stem = self.program.value(id).name.clone();
        let name = if time == 0 { format!("{stem}_0") } else { format!("ref_{stem}_{time}") };
        let name = self.program.unused_name(&name);
        let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let data = self.program.data(&name, &family, Kind::Scalar);
        self.conditions.push(Condition { value: id, time, data });
        data
    }

    /// `<V e_c, x>` as a power of the width times the Moment of the column and `x`.
    fn readout_product(&mut self, matrix: ValueId, column: &Operand, vector: &Operand) -> ExprId {
        let product = self.moments.product(&mut self.program, column, vector);
        let scale = self.program.exprs.width(self.variance_power(matrix) / Power::from_integer(2));
        self.program.exprs.mul(scale, product)
    }

    /// The vector with components `scalars`.
    pub(super) fn assembled(&mut self, id: ValueId, scalars: ValueId) -> ExprId {
        let Kind::Vector(Dim::Finite(dimension)) = self.program.value(id).ty.kind else {
            return self.program.exprs.integer(0);
        };
        let axis = self.component_axis(dimension);
        let mut own: Vec<Index> = own_indices(self.program.value(id).ty.family.len()).collect();
        let Some(axis) = axis else { return self.program.member(scalars, &own) };
        let c = Index::Var(1000);
        own.push(c);
        let scalar = self.program.member(scalars, &own);
        let unit = self.unit(dimension, c);
        let unit = self.program.member(unit.value, &unit.indices);
        let product = self.program.exprs.mul(scalar, unit);
        self.program.exprs.sum(&[(c, axis)], [], product)
    }

    /// Component `c` of a vector of constant dimension at time `s`, and indices that must be equal for it.
    fn component(&mut self, s: usize, vector: &Operand, dimension: u32, c: Index) -> Matched {
        if let Some(Simple { coefficient, unit }) = self.simple(vector) {
            return (self.program.exprs.constant(coefficient), unit.map(|index| (index, c)));
        }
        let whole = Operand { value: self.whole(s, vector.value), indices: vector.indices.clone() };
        let unit = self.unit(dimension, c);
        (self.moments.product(&mut self.program, &unit, &whole), None)
    }

    /// The vector as a multiple of a unit vector, as all are where an output is differentiated; multiples of the vector
    /// of ones in dimension 1.
    fn simple(&self, vector: &Operand) -> Option<Simple> {
        let (mut value, mut indices) = (vector.value, vector.indices.clone());
        let mut coefficient = Number::one();
        while let Kind::Vector(Dim::Finite(dimension)) = self.program.value(value).ty.kind {
            let mut expr = match self.program.value(value).instr {
                Instr::Map(expr) => expr,
                Instr::Constant(..) => {
                    let axis = *self.program.value(value).ty.family.first()?;
                    let unit = is_identity(&self.program, value, axis).then(|| indices.first().copied())?;
                    return Some(Simple { coefficient, unit: unit.filter(|_| dimension != 1) });
                }
                _ => return None,
            };
            loop {
                match self.program.exprs.node(expr) {
                    Expr::Const(number) if dimension == 1 => {
                        return Some(Simple { coefficient: coefficient * number, unit: None });
                    }
                    Expr::Neg(inner) => {
                        coefficient = -coefficient;
                        expr = *inner;
                    }
                    Expr::Mul(a, b) => {
                        coefficient *= self.program.exprs.as_const(*a)?;
                        expr = *b;
                    }
                    Expr::Ref(symbol, at) => {
                        let at = at.iter().map(|&i| match i {
                            Index::Var(k) => indices.get(k as usize).copied(),
                            _ => None,
                        });
                        (value, indices) = (value_of(*symbol), at.collect::<Option<_>>()?);
                        break;
                    }
                    _ => return None,
                }
            }
        }
        None
    }

    /// `<a, b>` of a vector at time `s` and one at time `t`, and indices that must be equal for it.
    pub(super) fn inner_product(&mut self, (s, a): (usize, &Operand), (t, b): (usize, &Operand)) -> Matched {
        if let (Some(x), Some(y)) = (self.simple(a), self.simple(b)) {
            let product = self.program.exprs.constant(x.coefficient * y.coefficient);
            return (product, x.unit.zip(y.unit));
        }
        let a = Operand { value: self.whole(s, a.value), indices: a.indices.clone() };
        let b = Operand { value: self.whole(t, b.value), indices: b.indices.clone() };
        (self.moments.product(&mut self.program, &a, &b), None)
    }

    /// An output at time `t` as scalars over its family and component.
    pub(super) fn components(&mut self, t: usize, output: ValueId) -> ValueId {
        let value = self.program.value(output).clone();
        let Kind::Vector(Dim::Finite(dimension)) = value.ty.kind else { return self.whole(t, output) };
        if let Some(Version::Components { scalars, .. }) = self.versions[t][output.index()] {
            return scalars;
        }
        let axis = self.component_axis(dimension);
        let family = self.component_family(output, axis);
        let c = Index::Var(value.ty.family.len() as u32);
        let expr = self.component_of_value(t, output, dimension, c);
        self.define_scalar(&format!("{}_{t}", value.name), &family, expr)
    }

    /// Component `c` of a value: coordinatewise functions of readouts are functions of their components.
    fn component_of_value(&mut self, t: usize, id: ValueId, dimension: u32, c: Index) -> ExprId {
        let own: Vec<Index> = own_indices(self.program.value(id).ty.family.len()).collect();
        let Instr::Map(expr) = self.program.value(id).instr else {
            let operand = Operand { value: id, indices: own.into_iter().collect() };
            return self.component(t, &operand, dimension, c).0;
        };
        let many = 1 < dimension;
        // For each argument a family of scalars, and whether the component is its last index.
        let mut scalars: BTreeMap<ValueId, (ValueId, bool)> = BTreeMap::new();
        for argument in self.program.arguments(id) {
            let part = match (self.versions[t][argument.index()].clone(), self.program.value(argument).ty.kind) {
                (Some(Version::Components { scalars, .. }), _) => (scalars, true),
                (_, Kind::Vector(_)) => self.components_as_moments(t, argument, dimension),
                _ => (self.whole(t, argument), false),
            };
            scalars.insert(argument, part);
        }
        let mut fresh = 1000;
        self.program.exprs.replace_refs(expr, &mut fresh, &mut |exprs, symbol, indices, _| {
            let (value, by_component) = *scalars.get(&value_of(symbol))?;
            let c = many.then_some(c);
            let component = c.filter(|_| by_component);
            let indices = indices.iter().copied().chain(component);
            Some(exprs.reference(symbol_of(value), indices))
        })
    }

    /// The components of a vector as scalars `dimension * mean(e_c * x)`.
    fn components_as_moments(&mut self, t: usize, id: ValueId, dimension: u32) -> (ValueId, bool) {
        let whole = self.whole(t, id);
        let axis = self.component_axis(dimension);
        let family = self.component_family(whole, axis);
        let own: Vec<Index> = own_indices(family.len()).collect();
        let rank = self.program.value(whole).ty.family.len();
        let unit = self.unit(dimension, Index::Var(rank as u32));
        let vector = Operand { value: whole, indices: own[..rank].iter().copied().collect() };
        let product = self.moments.product(&mut self.program, &unit, &vector);
        let name = format!("{}_component", self.program.value(whole).name);
        (self.define_scalar(&name, &family, product), true)
    }
}

/// Whether a value is the family of unit vectors over an axis.
fn is_identity(program: &Program, value: ValueId, axis: Id<Axis>) -> bool {
    let Instr::Constant(table, indices) = &program.value(value).instr else { return false };
    let table = &program.tables[table.index()];
    let size = program.axis_size(axis) as usize;
    let one = |k: usize| if k / size == k % size { table.entries[k].is_one() } else { table.entries[k].is_zero() };
    program.value(value).ty.family == [axis]
        && table.axes == [axis, axis]
        && indices[..] == [Index::Var(0)]
        && table.entries.len() == size * size
        && (0..size * size).all(one)
}
