//! Gradients as sums of rank-one terms, one for each use of a parameter (TP IIb eq. 97).

use super::{Adjoint, Sweep};
use crate::id::Id;
use crate::index::{Guard, Index, Indices};
use crate::program::{Axis, Dim, Kind, Operand, ValueId};

/// The gradient of one output in one parameter, by one use of it.
///
/// For a matrix it is the sum over `variables` subject to `guards` of `rows * cols'` times `power of n` and `scale`;
/// for a vector parameter it is `rows` alone. The first `seeds` free variables `Var(0..)` are the output's indices.
#[derive(Clone, Debug)]
pub struct Gradient {
    /// The matrix or vector.
    pub parameter: ValueId,
    /// Its member, over the free variables.
    pub member: Indices,
    /// The factor on the side of the rows.
    pub rows: Operand,
    /// The factor on the side of the columns; `None` for a vector parameter.
    pub cols: Option<Operand>,
    /// Summed variables.
    pub variables: Vec<(Index, Id<Axis>)>,
    /// Conditions between summed variables and output indices.
    pub guards: Vec<Guard>,
    /// The dimension whose size `s` gives the factor `s^(-1/2)`; `None` for no factor.
    pub normalisation: Option<Dim>,
}

/// An adjoint with the output's indices as free variables.
struct OpenedAdjoint {
    /// The terms of the value's own indices.
    own: Vec<Index>,
    /// Those of them that are summed.
    variables: Vec<(Index, Id<Axis>)>,
    guards: Vec<Guard>,
    /// The mention of the adjoint.
    operand: Operand,
}

impl Sweep<'_> {
    pub(super) fn record_gradient_of_vector(&mut self, id: ValueId) {
        let trained = self.network.parameter(id).is_some_and(|p| p.trained);
        if !trained || matches!(self.network.program.value(id).ty.kind, Kind::Matrix { .. }) {
            return;
        }
        let adjoint = self.adjoint(id);
        let OpenedAdjoint { own, variables, guards, operand } = self.opened_adjoint(id, &adjoint);
        self.gradients.push(Gradient {
            parameter: id,
            member: own.into_iter().collect(),
            rows: operand,
            cols: None,
            variables,
            guards,
            normalisation: self.kind_dim(self.network.program.value(id).ty.kind),
        });
    }

    pub(super) fn record_gradient_of_matrix(
        &mut self,
        consumer: ValueId,
        matrix: &Operand,
        transposed: bool,
        vector: &Operand,
    ) {
        let adjoint = self.adjoint(consumer);
        let OpenedAdjoint { own, variables, guards, operand } = self.opened_adjoint(consumer, &adjoint);
        let rename = |index: Index| match index {
            Index::Var(k) => own.get(k as usize).copied().unwrap_or(index),
            other => other,
        };
        let forward = Operand { value: vector.value, indices: vector.indices.iter().map(|&i| rename(i)).collect() };
        let member = matrix.indices.iter().map(|&i| rename(i)).collect();
        let (rows, cols) = if transposed { (forward, operand) } else { (operand, forward) };
        self.gradients.push(Gradient {
            parameter: matrix.value,
            member,
            rows,
            cols: Some(cols),
            variables,
            guards,
            normalisation: self.kind_dim(self.network.program.value(consumer).ty.kind),
        });
    }

    /// The adjoint of `value` over the seeds as free variables `Var(0..)`.
    fn opened_adjoint(&self, value: ValueId, adjoint: &Adjoint) -> OpenedAdjoint {
        let axes = &self.network.program.value(value).ty.family;
        let first = self.first_fresh();
        let mut own = Vec::new();
        let mut variables = Vec::new();
        let mut guards = Vec::new();
        for (k, &axis) in axes.iter().enumerate() {
            let mut seeds = (0..self.seeds.len()).filter(|&s| adjoint.aligned[s] == Some(k));
            match seeds.next() {
                Some(s) => {
                    own.push(Index::Var(s as u32));
                    guards.extend(seeds.map(|t| Guard::equal(Index::Var(s as u32), Index::Var(t as u32))));
                }
                None => {
                    let variable = Index::Var(first + k as u32);
                    own.push(variable);
                    variables.push((variable, axis));
                }
            }
        }
        let unaligned = (0..self.seeds.len()).filter(|&s| adjoint.aligned[s].is_none());
        let indices = own.iter().copied().chain(unaligned.map(|s| Index::Var(s as u32))).collect();
        let operand = Operand { value: adjoint.value, indices };
        OpenedAdjoint { own, variables, guards, operand }
    }
}
