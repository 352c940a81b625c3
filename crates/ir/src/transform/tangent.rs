//! `tangent`: the directional derivative of a program's scalars along a gradient (NTH eq. 10).
//!
//! Moving the parameters along `grad f_b` changes every value of a program; the change of a value is again a value of
//! a program, and the change of a kernel `K^(r)` is the next kernel of the hierarchy,
//! `K^(r+1)(.., b) = <grad K^(r)(..), grad f_b>`. The direction is made of adjoints, which are values themselves: if
//! they stay live, a later tangent differentiates them too, as the hierarchy wants; if they are frozen, repeated
//! tangents give the discrete-time kernels (NTH eq. 29).
//!
//! The tangent of a vector `x` of width `n` is `sqrt(n)` times its derivative, so that it is of order one under the NTK
//! parametrization, like the adjoints; tangents of scalars carry no such factor.

use std::collections::{BTreeMap, BTreeSet};

use super::TransformError;
use super::backprop::{Gradient, width_power};
use super::kernels::{Moments, scale};
use crate::calculus::{Derivative, Occurrence};
use crate::expr::{Expr, ExprId};
use crate::id::Id;
use crate::index::{Guard, Index};
use crate::network::Network;
use crate::number::power;
use crate::program::{Axis, Instr, Kind, Operand, Program, Scale, ValueId, own_indices, value_of};

/// Whether later tangents differentiate the direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirectionMode {
    /// The direction moves with the parameters: the hierarchy's operator.
    Live,
    /// The direction stays where it is: repeated directional derivatives `nabla^k F (g, ..., g)`.
    Frozen,
}

/// The gradient of an output, weighted by the rates of the parameters.
#[derive(Clone, Debug)]
pub struct Direction {
    /// The output's indices, which every tangent gets as further indices.
    pub seeds: Vec<(String, Id<Axis>)>,
    /// One entry a use of each trained parameter.
    pub gradients: Vec<Gradient>,
    /// The weight of each parameter.
    pub rates: BTreeMap<ValueId, Scale>,
}

impl Direction {
    /// The direction of an output's gradient, as `backprop` with [`super::Seed::Components`] gives it.
    pub fn new(network: &Network, adjoint: &super::backprop::OutputAdjoint) -> Self {
        let rates = network.parameters.iter().filter(|p| p.trained).map(|p| (p.value, p.rate())).collect();
        Self { seeds: adjoint.seeds.clone(), gradients: adjoint.gradients.clone(), rates }
    }
}

/// A program under differentiation: applied again and again, it climbs the hierarchy.
#[derive(Clone, Debug)]
pub struct Tangents {
    /// The program with everything appended so far.
    pub program: Program,
    direction: Direction,
    mode: DirectionMode,
    moments: Moments,
    constants: BTreeSet<ValueId>,
    /// The tangent of each value that has one, kept between applications: the direction is the same in all of them.
    known: BTreeMap<ValueId, ValueId>,
}

impl Tangents {
    /// Prepares a program that contains the network's forward pass and the adjoints of `direction`.
    pub fn new(program: Program, direction: Direction, mode: DirectionMode) -> Self {
        let mut this = Self {
            moments: Moments::of(&program),
            program,
            direction,
            mode,
            constants: BTreeSet::new(),
            known: BTreeMap::new(),
        };
        if mode == DirectionMode::Frozen {
            this.freeze_direction();
        }
        this
    }

    /// Replaces the vectors of the direction by copies that have no tangent.
    fn freeze_direction(&mut self) {
        let mut copies: BTreeMap<ValueId, ValueId> = BTreeMap::new();
        let mut gradients = std::mem::take(&mut self.direction.gradients);
        for gradient in &mut gradients {
            for operand in [Some(&mut gradient.rows), gradient.cols.as_mut()].into_iter().flatten() {
                let value = operand.value;
                operand.value = *copies.entry(value).or_insert_with(|| {
                    let original = self.program.value(value).clone();
                    let own: Vec<Index> = own_indices(original.ty.family.len()).collect();
                    let member = self.program.member(value, &own);
                    let family: Vec<(&str, Id<Axis>)> = original
                        .index_names
                        .iter()
                        .map(String::as_str)
                        .zip(original.ty.family.iter().copied())
                        .collect();
                    let name = self.program.unused_name(&format!("{}_frozen", original.name));
                    self.program.define(&name, &family, original.ty.kind, Instr::Map(member))
                });
            }
        }
        self.direction.gradients = gradients;
        self.constants.extend(copies.values());
    }

    /// Whether directions stay live.
    pub fn mode(&self) -> DirectionMode {
        self.mode
    }

    /// Appends the tangents of the `wanted` scalars and of what they depend on. The tangent of `K[I]` is a family
    /// `K_t[I, b]` with the output's indices `b` last; it is the constant 0 if nothing moves.
    ///
    /// Cost: two matrix products a use of a matrix and member of the tangent's family, and the moments between the
    /// direction and the vectors that matrices multiply.
    pub fn apply(&mut self, wanted: &[ValueId]) -> Result<Vec<ValueId>, TransformError> {
        let moving = self.moving();
        let mut needed = vec![false; self.program.values.len()];
        wanted.iter().for_each(|w| needed[w.index()] = true);
        let existing: Vec<ValueId> = self.program.value_ids().collect();
        for &id in existing.iter().rev() {
            if needed[id.index()] && moving[id.index()] {
                self.program.arguments(id).iter().for_each(|a| needed[a.index()] = true);
            }
        }
        let mut tangents = std::mem::take(&mut self.known);
        for &id in &existing {
            let matrix = matches!(self.program.value(id).ty.kind, Kind::Matrix { .. });
            if needed[id.index()] && moving[id.index()] && !matrix && !tangents.contains_key(&id) {
                let tangent = self.define_tangent(id, &tangents);
                tangents.insert(id, tangent);
            }
        }
        self.known.clone_from(&tangents);
        Ok(wanted.iter().map(|&w| tangents.get(&w).copied().unwrap_or_else(|| self.zero(w))).collect())
    }

    /// For each value, whether it changes when the parameters do.
    fn moving(&self) -> Vec<bool> {
        let mut moving = vec![false; self.program.values.len()];
        for id in self.program.value_ids() {
            let trained = self.direction.rates.contains_key(&id);
            let initial = matches!(self.program.value(id).instr, Instr::Gaussian(_) | Instr::Matrix { .. });
            let inherited = !initial && self.program.arguments(id).iter().any(|a| moving[a.index()]);
            moving[id.index()] = (trained || inherited) && !self.constants.contains(&id);
        }
        moving
    }

    fn zero(&mut self, of: ValueId) -> ValueId {
        let zero = self.program.exprs.integer(0);
        self.define(of, zero)
    }

    /// The family of a tangent: the value's own indices, then the output's.
    fn family(&self, of: ValueId) -> Vec<(String, Id<Axis>)> {
        let value = self.program.value(of);
        let mut family: Vec<(String, Id<Axis>)> =
            value.index_names.iter().cloned().zip(value.ty.family.iter().copied()).collect();
        for (name, axis) in &self.direction.seeds {
            let mut name = name.clone();
            while family.iter().any(|(taken, _)| *taken == name) {
                name.push('\'');
            }
            family.push((name, *axis));
        }
        family
    }

    fn define(&mut self, of: ValueId, expr: ExprId) -> ValueId {
        let family = self.family(of);
        let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let name = self.program.unused_name(&format!("{}_t", self.program.value(of).name));
        match self.program.value(of).ty.kind {
            Kind::Scalar => self.program.scalar(&name, &family, expr),
            kind => self.program.define(&name, &family, kind, Instr::Map(expr)),
        }
    }

    /// The output's indices inside the tangent of a value.
    fn seeds_in(&self, of: ValueId) -> Vec<Index> {
        let rank = self.program.value(of).ty.family.len() as u32;
        (0..self.direction.seeds.len() as u32).map(|k| Index::Var(rank + k)).collect()
    }

    fn define_tangent(&mut self, id: ValueId, tangents: &BTreeMap<ValueId, ValueId>) -> ValueId {
        let instr = self.program.value(id).instr.clone();
        let expr = match instr {
            Instr::Gaussian(_) => self.of_vector_parameter(id),
            Instr::MatMul { matrix, transposed, vector } => self.of_product(id, &matrix, transposed, &vector, tangents),
            Instr::Map(expr) | Instr::Scalar(expr) => {
                let terms: Vec<ExprId> = self
                    .moving_occurrences(expr, tangents)
                    .iter()
                    .map(|occurrence| {
                        let (tangent, factor) = self.mention(id, occurrence, tangents);
                        let product = self.program.exprs.mul(occurrence.coefficient, tangent);
                        let product = self.program.exprs.mul(factor, product);
                        self.program.exprs.sum(&occurrence.variables, occurrence.guards.iter().cloned(), product)
                    })
                    .collect();
                self.program.exprs.add_all(terms)
            }
            Instr::Moment(expr) => {
                let occurrences = self.moving_occurrences(expr, tangents);
                let terms: Vec<ExprId> =
                    occurrences.iter().map(|occurrence| self.of_moment(id, occurrence, tangents)).collect();
                self.program.exprs.add_all(terms)
            }
            Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } => {
                unreachable!("data and matrices have no tangent of their own")
            }
        };
        self.define(id, expr)
    }

    fn moving_occurrences(&mut self, expr: ExprId, tangents: &BTreeMap<ValueId, ValueId>) -> Vec<Occurrence> {
        let mut fresh = 1_000;
        let wanted = |s| tangents.contains_key(&value_of(s));
        self.program.exprs.occurrences(expr, Derivative::Pointwise, &mut fresh, &wanted)
    }

    /// The tangent of the value mentioned, and the factor `s_of / s_mentioned` between the two scalings.
    fn mention(
        &mut self,
        of: ValueId,
        occurrence: &Occurrence,
        tangents: &BTreeMap<ValueId, ValueId>,
    ) -> (ExprId, ExprId) {
        let value = value_of(occurrence.symbol);
        let indices: Vec<Index> = occurrence.indices.iter().copied().chain(self.seeds_in(of)).collect();
        let tangent = self.program.member(tangents[&value], &indices);
        let factor = self.scaling(Some(of), Some(value));
        (tangent, factor)
    }

    /// `s_up / s_down` with `s = sqrt(size)` for vectors of width `n` and 1 otherwise.
    fn scaling(&mut self, up: Option<ValueId>, down: Option<ValueId>) -> ExprId {
        let dim = |program: &Program, value: Option<ValueId>| match program.value(value?).ty.kind {
            Kind::Vector(dim) => Some(dim),
            _ => None,
        };
        let (up, down) = (dim(&self.program, up), dim(&self.program, down));
        if up == down {
            return self.program.exprs.integer(1);
        }
        let up = width_power(&mut self.program, up, power(1, 2));
        let down = width_power(&mut self.program, down, power(-1, 2));
        self.program.exprs.mul(up, down)
    }

    /// The share of a Moment's tangent through one mention.
    fn of_moment(&mut self, id: ValueId, occurrence: &Occurrence, tangents: &BTreeMap<ValueId, ValueId>) -> ExprId {
        let (tangent, factor) = self.mention(id, occurrence, tangents);
        // A product of two plain vectors is a Gram moment, shared with every other use of it.
        let plain = match (self.program.exprs.node(occurrence.coefficient), self.program.exprs.node(tangent)) {
            (Expr::Ref(a, i), Expr::Ref(b, j)) => {
                let operand =
                    |s, indices: &crate::index::Indices| Operand { value: value_of(s), indices: indices.clone() };
                Some((operand(*a, i), operand(*b, j)))
            }
            _ => None,
        };
        let vectors = plain.as_ref().is_some_and(|(a, b)| {
            [a, b].iter().all(|o| matches!(self.program.value(o.value).ty.kind, Kind::Vector(_)))
        });
        let mean = match plain {
            Some((a, b)) if vectors => self.moments.mean(&mut self.program, &a, &b),
            _ => {
                let product = self.program.exprs.mul(occurrence.coefficient, tangent);
                let summed = self.program.exprs.sum(&occurrence.variables, occurrence.guards.iter().cloned(), product);
                let product = self.program.exprs.mul(factor, summed);
                if self.program.expr_dim(product).is_none() {
                    return product;
                }
                let family = self.family(id);
                let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
                let name = self.program.unused_name(&format!("{}_m", self.program.value(id).name));
                let moment = self.program.moment(&name, &family, summed);
                let own: Vec<Index> = own_indices(family.len()).collect();
                let mean = self.program.member(moment, &own);
                return self.program.exprs.mul(factor, mean);
            }
        };
        let mean = self.program.exprs.sum(&occurrence.variables, occurrence.guards.iter().cloned(), mean);
        self.program.exprs.mul(factor, mean)
    }

    /// `s_o D(A x) = (s_o / s_x) A x_t + s_o A_t x`, where `A_t` is the direction's sum of rank-one terms.
    fn of_product(
        &mut self,
        id: ValueId,
        matrix: &Operand,
        transposed: bool,
        vector: &Operand,
        tangents: &BTreeMap<ValueId, ValueId>,
    ) -> ExprId {
        let mut terms = Vec::new();
        if let Some(&tangent) = tangents.get(&vector.value) {
            let family = self.family(id);
            let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
            let indices: Vec<Index> = vector.indices.iter().copied().chain(self.seeds_in(id)).collect();
            let name = self.program.unused_name(&format!("{}_w", self.program.value(id).name));
            let product =
                self.program.matmul(&name, &family, (matrix.value, &matrix.indices), transposed, (tangent, &indices));
            let own: Vec<Index> = own_indices(family.len()).collect();
            let product = self.program.member(product, &own);
            let factor = self.scaling(Some(id), Some(vector.value));
            terms.push(self.program.exprs.mul(factor, product));
        }
        if let Some(rate) = self.direction.rates.get(&matrix.value).cloned() {
            for gradient in self.direction.gradients.clone() {
                if gradient.parameter == matrix.value {
                    terms.push(self.through_matrix(id, &gradient, &rate, matrix, transposed, vector));
                }
            }
        }
        self.program.exprs.add_all(terms)
    }

    /// `s_o rate / s_use * sum [member] rows <cols, x>`, or with rows and columns exchanged for a transposed product.
    fn through_matrix(
        &mut self,
        id: ValueId,
        gradient: &Gradient,
        rate: &Scale,
        matrix: &Operand,
        transposed: bool,
        vector: &Operand,
    ) -> ExprId {
        let (apart, variables, guards) = self.renamed(id, gradient);
        let same: Vec<(Index, Index)> =
            matrix.indices.iter().zip(&gradient.member).map(|(&a, &b)| (a, apart(b))).collect();
        let rename = |o: &Operand| Operand { value: o.value, indices: o.indices.iter().map(|&i| apart(i)).collect() };
        let Some(cols) = &gradient.cols else { return self.program.exprs.integer(0) };
        let (out, inner) = if transposed { (cols, &gradient.rows) } else { (&gradient.rows, cols) };
        let (out, inner) = (rename(out), rename(inner));
        let product = self.moments.product(&mut self.program, &inner, vector);
        let out = self.program.member(out.value, &out.indices);
        let term = self.program.exprs.mul(product, out);
        let summed = self.program.exprs.sum_matching(&variables, same, guards, term);
        let rate = scale(&mut self.program, rate);
        let up = self.scaling(Some(id), None);
        let down = width_power(&mut self.program, gradient.normalisation, power(-1, 2));
        let factor = self.program.exprs.mul(rate, up);
        let factor = self.program.exprs.mul(factor, down);
        self.program.exprs.mul(factor, summed)
    }

    /// The direction itself, for a parameter that is a vector.
    fn of_vector_parameter(&mut self, id: ValueId) -> ExprId {
        let Some(rate) = self.direction.rates.get(&id).cloned() else { return self.program.exprs.integer(0) };
        let rank = self.program.value(id).ty.family.len() as u32;
        let mut terms = Vec::new();
        for gradient in self.direction.gradients.clone() {
            if gradient.parameter != id {
                continue;
            }
            let (apart, variables, guards) = self.renamed(id, &gradient);
            let same: Vec<(Index, Index)> =
                (0..rank).zip(&gradient.member).map(|(k, &b)| (Index::Var(k), apart(b))).collect();
            let indices: Vec<Index> = gradient.rows.indices.iter().map(|&i| apart(i)).collect();
            let rows = self.program.member(gradient.rows.value, &indices);
            let summed = self.program.exprs.sum_matching(&variables, same, guards, rows);
            let rate = scale(&mut self.program, &rate);
            let up = self.scaling(Some(id), None);
            let down = width_power(&mut self.program, gradient.normalisation, power(-1, 2));
            let factor = self.program.exprs.mul(up, down);
            let factor = self.program.exprs.mul(rate, factor);
            terms.push(self.program.exprs.mul(factor, summed));
        }
        self.program.exprs.add_all(terms)
    }

    /// A gradient's variables renamed for use inside the tangent of `id`: output indices to the tangent's last ones,
    /// summed variables apart.
    #[expect(clippy::type_complexity, reason = "a closure and two lists, taken apart at once by both callers")]
    fn renamed(
        &self,
        id: ValueId,
        gradient: &Gradient,
    ) -> (impl Fn(Index) -> Index + use<>, Vec<(Index, Id<Axis>)>, Vec<Guard>) {
        let rank = self.program.value(id).ty.family.len() as u32;
        let seeds = self.direction.seeds.len() as u32;
        let apart = move |index: Index| match index {
            Index::Var(k) if k < seeds => Index::Var(rank + k),
            Index::Var(k) => Index::Var(2_000_000 + k),
            other => other,
        };
        let variables = gradient.variables.iter().map(|&(v, axis)| (apart(v), axis)).collect();
        let guards = gradient.guards.iter().map(|g| g.map(apart)).collect();
        (apart, variables, guards)
    }
}
