//! What gradients add to a product and to a vector parameter: sums of rank-one terms.

use super::unroller::Unroller;
use crate::expr::ExprId;
use crate::id::Id;
use crate::index::{Guard, Index, Indices};
use crate::number::{Power, power};
use crate::program::{Axis, Operand, ValueId, own_indices};
use crate::transform::backprop::{Gradient, width_power};
use crate::transform::kernels::scale;

/// Where the output indices of a gradient go when they are summed.
const SEEDS: u32 = 3_000_000;
/// Where its other summed variables go.
const SUMMED: u32 = 2_000_000;

/// An expression, and two indices that must be equal for it.
pub(super) type Matched = (ExprId, Option<(Index, Index)>);

/// A sum of rank-one terms: over `variables` under `same` and `guards`.
struct Opened {
    variables: Vec<(Index, Id<Axis>)>,
    same: Vec<(Index, Index)>,
    guards: Vec<Guard>,
    rows: Operand,
    cols: Option<Operand>,
    chi: ExprId,
}

impl Unroller<'_> {
    /// `D_t * expr` for what is left of the initial value of a parameter.
    pub(super) fn with_initial_share(&mut self, t: usize, parameter: ValueId, expr: ExprId) -> ExprId {
        let Some(parameter) = self.network.parameter(parameter).filter(|p| p.trained) else { return expr };
        let share = self.coefficients[t].initial.expr(&mut self.program.exprs, parameter.c);
        self.program.exprs.mul(share, expr)
    }

    /// `C_ts n^extra rate` of a parameter times the normalisation of a gradient.
    fn update_factor(&mut self, t: usize, s: usize, gradient: &Gradient, extra: Power) -> ExprId {
        let Some(parameter) = self.network.parameter(gradient.parameter) else { return self.program.exprs.integer(0) };
        let coefficient = self.coefficients[t].gradients[s].expr(&mut self.program.exprs, parameter.c);
        let rate = scale(&mut self.program, &parameter.rate());
        let normalisation = width_power(&mut self.program, gradient.normalisation, power(-1, 2));
        let extra = self.program.exprs.width(extra);
        self.program.exprs.mul_all([coefficient, rate, normalisation, extra])
    }

    /// The gradients that a parameter has got before time `t`: steps, outputs and uses.
    fn gradients_before(&self, t: usize, parameter: ValueId) -> Vec<(usize, usize, Gradient)> {
        let trained = self.network.parameter(parameter).is_some_and(|p| p.trained);
        let steps = (0..t).filter(|&s| trained && !self.coefficients[t].gradients[s].is_zero());
        let uses = |s: usize| {
            let outputs = self.adjoints.iter().enumerate();
            outputs.flat_map(move |(k, output)| {
                let own = output.gradients.iter().filter(move |g| g.parameter == parameter);
                own.map(move |g| (s, k, g.clone()))
            })
        };
        steps.flat_map(uses).collect()
    }

    /// A gradient of step `s` with all its variables apart from the indices `Var(0..)` of a definition, which mentions
    /// the parameter's member `member`.
    fn opened(&mut self, s: usize, output: usize, gradient: &Gradient, member: &Indices) -> Opened {
        let seeds = self.adjoints[output].seeds.clone();
        let count = seeds.len() as u32;
        let apart = |index: Index| match index {
            Index::Var(k) if k < count => Index::Var(SEEDS + k),
            Index::Var(k) => Index::Var(SUMMED + k),
            other => other,
        };
        let mut variables: Vec<(Index, Id<Axis>)> =
            seeds.iter().enumerate().map(|(k, &(_, axis))| (Index::Var(SEEDS + k as u32), axis)).collect();
        variables.extend(gradient.variables.iter().map(|&(v, axis)| (apart(v), axis)));
        let same = member.iter().zip(&gradient.member).map(|(&a, &b)| (a, apart(b))).collect();
        let guards = gradient.guards.iter().map(|g| g.map(apart)).collect();
        let rename = |o: &Operand| Operand { value: o.value, indices: o.indices.iter().map(|&i| apart(i)).collect() };
        let at: Vec<Index> = (0..count).map(|k| Index::Var(SEEDS + k)).collect();
        let chi = self.program.member(self.chi[s][output], &at);
        Opened { variables, same, guards, rows: rename(&gradient.rows), cols: gradient.cols.as_ref().map(rename), chi }
    }

    /// `(D_t A_0 - A_t) x_t` times `n^extra`: one term for each step and use (eq. 80, 81).
    pub(super) fn matrix_update(
        &mut self,
        t: usize,
        matrix: &Operand,
        transposed: bool,
        vector: &Operand,
        extra: Power,
    ) -> ExprId {
        self.rank_one(t, matrix, transposed, vector, extra, &mut |this, s, out| {
            let value = this.whole(s, out.value);
            (this.program.member(value, &out.indices), None)
        })
    }

    /// [`Self::matrix_update`] where `out` says what stands for the vector on the side of the result, and which indices
    /// must be equal for it.
    pub(super) fn rank_one(
        &mut self,
        t: usize,
        matrix: &Operand,
        transposed: bool,
        vector: &Operand,
        extra: Power,
        out: &mut dyn FnMut(&mut Self, usize, &Operand) -> Matched,
    ) -> ExprId {
        let mut terms = Vec::new();
        for (s, output, gradient) in self.gradients_before(t, matrix.value) {
            let mut opened = self.opened(s, output, &gradient, &matrix.indices);
            let Some(cols) = opened.cols.take() else { continue };
            let (result, inner) = if transposed { (cols, opened.rows.clone()) } else { (opened.rows.clone(), cols) };
            let (inner, equal) = self.inner_product((s, &inner), (t, vector));
            opened.same.extend(equal);
            let (result, equal) = out(self, s, &result);
            opened.same.extend(equal);
            let body = self.program.exprs.mul_all([opened.chi, inner, result]);
            let sum = self.program.exprs.sum_matching(&opened.variables, opened.same, opened.guards, body);
            let factor = self.update_factor(t, s, &gradient, extra);
            terms.push(self.program.exprs.mul(factor, sum));
        }
        self.program.exprs.add_all(terms)
    }

    /// `D_t b_0 - b_t` of a vector parameter times `n^extra`.
    pub(super) fn vector_update(&mut self, t: usize, id: ValueId, extra: Power) -> ExprId {
        let member: Indices = own_indices(self.program.value(id).ty.family.len()).collect();
        let mut terms = Vec::new();
        for (s, output, gradient) in self.gradients_before(t, id) {
            let opened = self.opened(s, output, &gradient, &member);
            let rows = self.whole(s, opened.rows.value);
            let rows = self.program.member(rows, &opened.rows.indices);
            let body = self.program.exprs.mul(opened.chi, rows);
            let sum = self.program.exprs.sum_matching(&opened.variables, opened.same, opened.guards, body);
            let factor = self.update_factor(t, s, &gradient, extra);
            terms.push(self.program.exprs.mul(factor, sum));
        }
        self.program.exprs.add_all(terms)
    }
}
