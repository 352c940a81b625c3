//! Dirac's delta along a curve: `delta(f(r) + g s)` with another Gaussian form `s` that enters linearly.
//!
//! Given all other forms `r`, `s` is Gaussian with mean `b'r` and variance `v`, so that
//! `E[delta(f(r) + g s) G(r, s)] = E[p(t; b'r, v) G(r, t)] / |g|` at `t = -f(r) / g`, `p` the normal density:
//! an expectation over the other forms, of a function without the jump.

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::number::Power;

use crate::closed_form::slots_of;
use crate::density::normal_density;
use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::Graph;
use crate::price::Law;
use crate::slots::Slots;

impl Deriver<'_> {
    /// `weight E[delta(argument) rest]`, where the argument is linear in one of its slots.
    pub(crate) fn density_along_curve(
        &mut self,
        weight: ExprId,
        argument: ExprId,
        rest: ExprId,
        law: &Law,
        name: &str,
    ) -> Result<ExprId, LimitError> {
        let impossible = || LimitError::JumpAlongCurve { name: name.to_owned() };
        let (solved, slope) = self.linear_slot(argument).ok_or_else(impossible)?;
        let used = self.graph.pool.mul(argument, rest);
        let others: Vec<usize> = slots_of(&self.graph, used).into_iter().filter(|&k| k != solved).collect();
        let (weights, variance) = self.regression(solved, &others, law).ok_or_else(impossible)?;
        let mut law = law.clone();
        let zero = self.graph.pool.integer(0);
        let offset = self.with_slot(argument, solved, zero);
        let pool = &mut self.graph.pool;
        let root = pool.div(offset, slope);
        let root = pool.neg(root);
        let mut gap = root;
        for (&k, &weight) in others.iter().zip(&weights) {
            let weight = self.new_parameter(weight, &mut law);
            let pool = &mut self.graph.pool;
            let slot = pool.reference(Graph::slot_symbol(k), []);
            let share = pool.mul(weight, slot);
            gap = pool.sub(gap, share);
        }
        let variance = self.new_parameter(variance, &mut law);
        let pool = &mut self.graph.pool;
        let size = pool.apply(Func::Abs, slope);
        let density = normal_density(pool, gap, variance);
        let density = pool.div(density, size);
        let rest = self.with_slot(rest, solved, root);
        let integrand = self.graph.pool.mul(density, rest);
        self.expect_times(weight, integrand, &law, name)
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

    /// The weights of the slots `others` in the mean of slot `target` given them, and the variance that is left:
    /// Gaussian elimination on covariances. `None` if that variance is zero by proof.
    ///
    /// A slot whose variance given the slots before it is 0 up to rounding is a function of them and has no weight. If no
    /// variance is left for the target, up to rounding, it is exactly 0 when evaluated, and the density of the target an
    /// error of domain and not a large number.
    fn regression(&mut self, target: usize, others: &[usize], law: &Law) -> Option<(Vec<ExprId>, ExprId)> {
        // Rows of the covariance of `others`, with the covariance with the target at the end; the target's own last.
        let order: Vec<usize> = others.iter().copied().chain([target]).collect();
        let size = others.len();
        let one = Power::from_integer(1);
        let mut rows: Vec<Vec<ExprId>> =
            order.iter().map(|&a| order.iter().map(|&b| law.covariance[a][b]).collect()).collect();
        for k in 0..size {
            let pivot = rows[k][k];
            if self.graph.pool.is_zero(pivot) {
                continue;
            }
            for i in k + 1..=size {
                if self.graph.pool.is_zero(rows[i][k]) {
                    continue;
                }
                let ratio = self.quotient(rows[i][k], pivot, law.sizes[order[k]], one);
                let pool = &mut self.graph.pool;
                let above = rows[k].clone();
                for (entry, &above) in rows[i].iter_mut().zip(&above).skip(k) {
                    let share = pool.mul(ratio, above);
                    *entry = pool.sub(*entry, share);
                }
            }
        }
        let variance = rows[size][size];
        if self.graph.pool.is_zero(variance) {
            return None;
        }
        let mut weights = vec![self.graph.pool.integer(0); size];
        for k in (0..size).rev() {
            if self.graph.pool.is_zero(rows[k][k]) {
                continue;
            }
            let mut left = rows[k][size];
            for j in k + 1..size {
                let pool = &mut self.graph.pool;
                let share = pool.mul(rows[k][j], weights[j]);
                left = pool.sub(left, share);
            }
            weights[k] = self.quotient(left, rows[k][k], law.sizes[order[k]], one);
        }
        if size == 0 {
            return Some((weights, variance));
        }
        // v^2 / v, which is 0 where v is 0 up to rounding.
        let square = self.graph.pool.mul(variance, variance);
        let variance = self.quotient(square, variance, law.sizes[target], one);
        Some((weights, variance))
    }
}
