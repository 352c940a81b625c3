//! Dirac's delta along a curve: `delta(f(r) + g s)` with another Gaussian form `s` that enters linearly.
//!
//! Given all other forms `r`, `s` is Gaussian with mean `b'r` and variance `v`, so that
//! `E[delta(f(r) + g s) G(r, s)] = E[p(t; b'r, v) G(r, t)] / |g|` at `t = -f(r) / g`, `p` the normal density:
//! an expectation over the other forms, of a function without the jump.

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::{Func, Smoothness};

use crate::closed_form::slots_of;
use crate::density::normal_density;
use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::Graph;
use crate::slots::Slots;

impl Deriver<'_> {
    /// `E[delta(argument) rest]`, both over `slots`.
    pub(crate) fn density_along_curve(
        &mut self,
        argument: ExprId,
        rest: ExprId,
        mut slots: Slots,
        name: &str,
    ) -> Result<ExprId, LimitError> {
        let Some((solved, slope)) = self.linear_slot(argument) else {
            return Err(LimitError::JumpAlongCurve { name: name.to_owned() });
        };
        // Multiples of the solved form are known with it.
        let (scale, base) = self.graph.pool.constant_factor(slots.forms[solved]);
        let mut multiples = Vec::new();
        let mut others = Vec::new();
        for k in (0..slots.forms.len()).filter(|&k| k != solved) {
            match self.graph.pool.constant_factor(slots.forms[k]) {
                (factor, of) if of == base => multiples.push((k, factor / &scale)),
                _ => others.push(k),
            }
        }
        let Some((weights, variance)) = self.regression(solved, &others, &slots, name)? else {
            return Err(LimitError::JumpAlongCurve { name: name.to_owned() });
        };
        let slope = self.parameter(slope, &mut slots);
        let zero = self.graph.pool.integer(0);
        let offset = self.with_slot(argument, solved, zero);
        let pool = &mut self.graph.pool;
        let root = pool.div(offset, slope);
        let root = pool.neg(root);
        let mut gap = root;
        for (&k, &weight) in others.iter().zip(&weights) {
            let weight = self.parameter(weight, &mut slots);
            let pool = &mut self.graph.pool;
            let slot = pool.reference(Graph::slot_symbol(k), []);
            let share = pool.mul(weight, slot);
            gap = pool.sub(gap, share);
        }
        let variance = self.parameter(variance, &mut slots);
        let pool = &mut self.graph.pool;
        let size = pool.apply(Func::Abs, slope);
        let density = normal_density(pool, gap, variance);
        let density = pool.div(density, size);
        let mut rest = self.with_slot(rest, solved, root);
        for (k, ratio) in multiples {
            let ratio = self.graph.pool.constant(ratio);
            let value = self.graph.pool.mul(ratio, root);
            rest = self.with_slot(rest, k, value);
        }
        let integrand = self.graph.pool.mul(density, rest);
        self.define_used(integrand, &slots, name)
    }

    /// Whether every jump in the expressions is at a point of one linear form, or along a curve that can be solved for
    /// one: then weak derivatives have expectations.
    pub(crate) fn jumps_are_solvable(&mut self, exprs: &[ExprId], name: &str) -> Result<bool, LimitError> {
        let mut arguments = Vec::new();
        for &expr in exprs {
            self.graph.pool.visit(expr, &mut |node| {
                if let Expr::Apply(func, args) = node
                    && func.facts().smoothness == Smoothness::Jump
                {
                    arguments.push(args[0]);
                }
            });
        }
        for argument in arguments {
            let shape = self.expander.shape(&self.graph, argument);
            if shape.is_scalar() || shape.is_linear() {
                continue;
            }
            let slotted = self.slotted(argument, &mut Slots::default(), name)?;
            if self.linear_slot(slotted).is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A slot in which the function is linear, with its slope, which mentions no slot.
    fn linear_slot(&mut self, function: ExprId) -> Option<(usize, ExprId)> {
        slots_of(&self.graph, function).into_iter().find_map(|k| Some((k, self.slope(function, k)?)))
    }

    /// The derivative of `function` in slot `k`, if it is a scalar.
    fn slope(&mut self, function: ExprId, k: usize) -> Option<ExprId> {
        let slots = slots_of(&self.graph, function);
        if !slots.contains(&k) {
            return Some(self.graph.pool.integer(0));
        }
        match *self.graph.pool.node(function) {
            Expr::Ref(..) => Some(self.graph.pool.integer(1)),
            Expr::Neg(a) => {
                let slope = self.slope(a, k)?;
                Some(self.graph.pool.neg(slope))
            }
            Expr::Add(a, b) => {
                let (a, b) = (self.slope(a, k)?, self.slope(b, k)?);
                Some(self.graph.pool.add(a, b))
            }
            Expr::Sub(a, b) => {
                let (a, b) = (self.slope(a, k)?, self.slope(b, k)?);
                Some(self.graph.pool.sub(a, b))
            }
            Expr::Mul(a, b) if slots_of(&self.graph, b).is_empty() => {
                let slope = self.slope(a, k)?;
                Some(self.graph.pool.mul(slope, b))
            }
            Expr::Mul(a, b) if slots_of(&self.graph, a).is_empty() => {
                let slope = self.slope(b, k)?;
                Some(self.graph.pool.mul(a, slope))
            }
            Expr::Div(a, b) if slots_of(&self.graph, b).is_empty() => {
                let slope = self.slope(a, k)?;
                Some(self.graph.pool.div(slope, b))
            }
            _ => None,
        }
    }

    /// The weights of the forms `others` in the mean of form `target` given them, and the variance that is left:
    /// Gaussian elimination on covariances. `None` if that variance is zero by proof.
    fn regression(
        &mut self,
        target: usize,
        others: &[usize],
        slots: &Slots,
        name: &str,
    ) -> Result<Option<(Vec<ExprId>, ExprId)>, LimitError> {
        // Rows of the covariance of `others`, with the covariance with the target at the end; the target's own last.
        let order: Vec<ExprId> = others.iter().chain([&target]).map(|&k| slots.forms[k]).collect();
        let size = others.len();
        let mut rows: Vec<Vec<ExprId>> = Vec::new();
        for &a in &order {
            let row: Result<_, _> = order.iter().map(|&b| self.covariance_of_forms(a, b, name)).collect();
            rows.push(row?);
        }
        let pool = &mut self.graph.pool;
        for k in 0..size {
            let pivot = rows[k][k];
            if pool.is_zero(pivot) {
                continue;
            }
            for i in k + 1..=size {
                if pool.is_zero(rows[i][k]) {
                    continue;
                }
                let ratio = pool.div(rows[i][k], pivot);
                let above = rows[k].clone();
                for (entry, &above) in rows[i].iter_mut().zip(&above).skip(k) {
                    let share = pool.mul(ratio, above);
                    *entry = pool.sub(*entry, share);
                }
            }
        }
        let variance = rows[size][size];
        if pool.is_zero(variance) {
            return Ok(None);
        }
        let mut weights = vec![pool.integer(0); size];
        for k in (0..size).rev() {
            if pool.is_zero(rows[k][k]) {
                continue;
            }
            let mut left = rows[k][size];
            for j in k + 1..size {
                let share = pool.mul(rows[k][j], weights[j]);
                left = pool.sub(left, share);
            }
            weights[k] = pool.div(left, rows[k][k]);
        }
        Ok(Some((weights, variance)))
    }

    fn with_slot(&mut self, expr: ExprId, slot: usize, value: ExprId) -> ExprId {
        let mut fresh = self.expander.fresh;
        let wanted = Graph::slot_symbol(slot);
        let result =
            self.graph.pool.replace_refs(expr, &mut fresh, &mut |_, symbol, _, _| (symbol == wanted).then_some(value));
        self.expander.fresh = fresh;
        result
    }
}
