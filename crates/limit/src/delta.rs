//! Dirac's delta in an expectation over slots, as the derivative of one with jumps has it.

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::number::{Power, fraction};

use crate::closed_form::slots_of;
use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::Graph;
use crate::price::Law;

impl Deriver<'_> {
    /// `weight E[delta(L) rest]` for `L = c + sum_k a_k Z_k`: the density of `L` at 0 times the expectation given that.
    pub(crate) fn expect_delta(
        &mut self,
        weight: ExprId,
        delta: ExprId,
        rest: ExprId,
        law: &Law,
        name: &str,
    ) -> Result<ExprId, LimitError> {
        let Expr::Apply(_, args) = self.graph.pool.node(delta).clone() else {
            unreachable!("called with an application of delta")
        };
        let argument = args[0];
        if let Some(value) = self.expect_two_deltas(weight, argument, rest, law) {
            return Ok(value);
        }
        let slots = slots_of(&self.graph, argument);
        let Some(coefficients) = self.linear(argument, &slots) else {
            return self.expect_pieces(weight, argument, rest, law, name);
        };
        let constant = slots.iter().fold(argument, |constant, &k| {
            let slot = self.graph.pool.reference(Graph::slot_symbol(k), []);
            let zero = self.graph.pool.integer(0);
            self.graph.pool.replace_term(constant, slot, zero)
        });
        if slots.is_empty() {
            // The delta of a number, which is 0 unless the number is.
            let zero = self.graph.pool.integer(0);
            let never = !self.graph.pool.is_zero(constant);
            return never.then_some(zero).ok_or_else(|| LimitError::JumpAlongCurve { name: name.to_owned() });
        }
        let fixed = |k: &usize| self.graph.pool.as_const(coefficients[*k]).is_some();
        let pivot = (0..slots.len()).find(fixed).unwrap_or(0);
        if self.jumps_in(rest, argument) {
            return Err(LimitError::JumpTimesJump { name: name.to_owned() });
        }

        // The law of L, and that of the others given L = 0.
        let n = law.covariance.len();
        let values: Vec<ExprId> = coefficients.iter().map(|&a| self.with_parameters(a, &law.parameters)).collect();
        let zero = self.graph.pool.integer(0);
        let with: Vec<ExprId> = (0..n).map(|k| self.covariance_with(k, &slots, &values, law)).collect();
        let (variance, size) = self.variance_of(&slots, &values, law);
        let mut conditional = law.clone();
        let one = Power::from_integer(1);
        for k in 0..n {
            for l in 0..n {
                let product = self.graph.pool.mul(with[k], with[l]);
                let explained = self.quotient(product, variance, size, one);
                conditional.covariance[k][l] = self.graph.pool.sub(law.covariance[k][l], explained);
            }
        }
        let centred = self.graph.pool.is_zero(constant);
        let at = self.with_parameters(constant, &law.parameters);
        let mut integrand = rest;
        if !centred {
            // Given L = 0 the mean of Z_k is -c Cov(Z_k, L) / Var L.
            let mut means = vec![zero; n];
            for (k, mean) in means.iter_mut().enumerate() {
                let shift = self.graph.pool.mul(at, with[k]);
                let shift = self.quotient(shift, variance, size, one);
                *mean = self.graph.pool.neg(shift);
            }
            integrand = self.standardised_jumps(integrand, &means, &mut conditional);
            for k in slots_of(&self.graph, integrand).into_iter().filter(|&k| k < n) {
                let parameter = self.new_parameter(means[k], &mut conditional);
                let slot = self.graph.pool.reference(Graph::slot_symbol(k), []);
                let moved = self.graph.pool.intern(Expr::Add(parameter, slot));
                integrand = self.graph.pool.replace_term(integrand, slot, moved);
            }
        }
        // One of the variables is a function of the others.
        let mut others = zero;
        for (&slot, &a) in slots.iter().zip(&coefficients) {
            if slot != slots[pivot] {
                let slot = self.graph.pool.reference(Graph::slot_symbol(slot), []);
                let term = self.graph.pool.mul(a, slot);
                others = self.graph.pool.sub(others, term);
            }
        }
        let eliminated = self.graph.pool.div(others, coefficients[pivot]);
        let slot = self.graph.pool.reference(Graph::slot_symbol(slots[pivot]), []);
        let integrand = self.graph.pool.replace_term(integrand, slot, eliminated);
        if self.jumps_in(integrand, zero) {
            return Err(LimitError::JumpTimesJump { name: name.to_owned() });
        }

        let pool = &mut self.graph.pool;
        let pi = pool.intern(Expr::Pi);
        let two = pool.integer(2);
        let two_pi = pool.mul(two, pi);
        let (scaled, scaled_size) = (pool.mul(two_pi, variance), pool.mul(two_pi, size));
        let mut weight = self.quotient(weight, scaled, scaled_size, Power::new(1, 2));
        if !centred {
            let pool = &mut self.graph.pool;
            let square = pool.mul(at, at);
            let half = pool.constant(fraction(-1, 2));
            let square = pool.mul(half, square);
            let exponent = self.quotient(square, variance, size, one);
            let bump = self.graph.pool.apply(Func::Exp, exponent);
            weight = self.graph.pool.mul(weight, bump);
        }
        self.expect_times(weight, integrand, &conditional, name)
    }

    /// `weight c E[delta(Z_i) delta(Z_j)]`, the density of both at 0, if that is all there is: the most common case, in a
    /// form that does not depend on their order, so that a kernel is seen to be symmetric.
    fn expect_two_deltas(&mut self, weight: ExprId, argument: ExprId, rest: ExprId, law: &Law) -> Option<ExprId> {
        let slot = |this: &Self, id: ExprId| {
            slots_of(&this.graph, id)
                .into_iter()
                .find(|&k| matches!(this.graph.pool.node(id), Expr::Ref(symbol, _) if *symbol == Graph::slot_symbol(k)))
        };
        let i = slot(self, argument)?;
        let is_delta = |graph: &Graph, id: ExprId| matches!(graph.pool.node(id), Expr::Apply(Func::Delta, _));
        let (delta, others) = self.split_factors(rest, &is_delta);
        let Expr::Apply(Func::Delta, args) = self.graph.pool.node(delta) else { return None };
        let j = slot(self, args[0]).filter(|&j| j != i)?;
        if !slots_of(&self.graph, others).is_empty() {
            return None;
        }
        let others = self.with_parameters(others, &law.parameters);
        let [a, b, c] = [(i, i), (j, j), (i, j)].map(|(k, l)| law.covariance[k][l]);
        let pool = &mut self.graph.pool;
        let numerator = pool.mul(weight, others);
        let (product, square) = (pool.mul(a, b), pool.mul(c, c));
        let determinant = pool.sub(product, square);
        let size = pool.mul(law.sizes[i], law.sizes[j]);
        let root = self.quotient(numerator, determinant, size, Power::new(1, 2));
        let pool = &mut self.graph.pool;
        let (two, pi) = (pool.integer(2), pool.intern(Expr::Pi));
        let two_pi = pool.mul(two, pi);
        Some(pool.div(root, two_pi))
    }

    /// The coefficients of the slots in an expression that is linear in them.
    pub(crate) fn linear(&mut self, expr: ExprId, slots: &[usize]) -> Option<Vec<ExprId>> {
        let coefficients: Vec<ExprId> = slots.iter().map(|&k| self.partial(expr, Graph::slot_symbol(k))).collect();
        coefficients.iter().all(|&a| slots_of(&self.graph, a).is_empty()).then_some(coefficients)
    }

    /// `Cov(Z_k, sum_l a_l Z_l)`
    pub(crate) fn covariance_with(&mut self, k: usize, slots: &[usize], coefficients: &[ExprId], law: &Law) -> ExprId {
        let mut total = self.graph.pool.integer(0);
        for (&slot, &a) in slots.iter().zip(coefficients) {
            let term = self.graph.pool.mul(a, law.covariance[k][slot]);
            total = self.graph.pool.add(total, term);
        }
        total
    }

    /// The variance of `sum_l a_l Z_l`, and what its rounding is relative to.
    pub(crate) fn variance_of(&mut self, slots: &[usize], coefficients: &[ExprId], law: &Law) -> (ExprId, ExprId) {
        let zero = self.graph.pool.integer(0);
        let (mut variance, mut size) = (zero, zero);
        for (&slot, &a) in slots.iter().zip(coefficients) {
            let with = self.covariance_with(slot, slots, coefficients, law);
            let pool = &mut self.graph.pool;
            let term = pool.mul(a, with);
            variance = pool.add(variance, term);
            let square = pool.mul(a, a);
            let term = pool.mul(square, law.sizes[slot]);
            size = pool.add(size, term);
        }
        (variance, size)
    }

    /// A delta of what is linear on pieces, such as `delta(u + c relu(v))`: on each side of a kink it is that of the
    /// piece.
    fn expect_pieces(
        &mut self,
        weight: ExprId,
        argument: ExprId,
        rest: ExprId,
        law: &Law,
        name: &str,
    ) -> Result<ExprId, LimitError> {
        // Children come first, so what the first kink is taken of is smooth.
        let kink = self.graph.pool.reachable(argument).into_iter().find_map(|id| match self.graph.pool.node(id) {
            Expr::Apply(func, args) if func.facts().smoothness != Smoothness::Smooth => {
                (!slots_of(&self.graph, id).is_empty()).then(|| (id, *func, args.clone()))
            }
            _ => None,
        });
        let Some((id, func, args)) = kink else { return self.density_along_curve(weight, argument, rest, law, name) };
        let pool = &mut self.graph.pool;
        let (x, y) = (args[0], args[args.len() - 1]);
        let mut edge = x;
        let (above, below) = match func {
            Func::Relu => (x, pool.integer(0)),
            Func::LeakyRelu => (x, pool.mul(y, x)),
            Func::Abs => (x, pool.neg(x)),
            Func::Step => (pool.integer(1), pool.integer(0)),
            Func::Sign => (pool.integer(1), pool.integer(-1)),
            Func::Max | Func::Min => {
                edge = pool.sub(x, y);
                if func == Func::Max { (x, y) } else { (y, x) }
            }
            _ => return Err(LimitError::JumpAlongCurve { name: name.to_owned() }),
        };
        let side = pool.apply(Func::Step, edge);
        let one = pool.integer(1);
        let other = pool.sub(one, side);
        let mut total = pool.integer(0);
        for (piece, side) in [(above, side), (below, other)] {
            let pool = &mut self.graph.pool;
            let argument = pool.replace_term(argument, id, piece);
            let delta = pool.apply(Func::Delta, argument);
            let rest = pool.mul(side, rest);
            let value = self.expect_delta(weight, delta, rest, law, name)?;
            total = self.graph.pool.add(total, value);
        }
        Ok(total)
    }

    /// The integrand with every jump taken of a variable of variance 1, a new slot. Given the place of another jump, what
    /// a jump is taken of may have no variance left, as when two inputs coincide: it is then at its jump, up to rounding,
    /// and on either side with equal probability.
    fn standardised_jumps(&mut self, integrand: ExprId, means: &[ExprId], law: &mut Law) -> ExprId {
        let mut result = integrand;
        for id in self.graph.pool.reachable(integrand) {
            let Expr::Apply(func @ (Func::Step | Func::Sign), args) = self.graph.pool.node(id).clone() else {
                continue;
            };
            let slots = slots_of(&self.graph, args[0]);
            let Some(coefficients) = self.linear(args[0], &slots).filter(|c| !c.is_empty()) else { continue };
            let values: Vec<ExprId> = coefficients.iter().map(|&a| self.with_parameters(a, &law.parameters)).collect();
            let (variance, size) = self.variance_of(&slots, &values, law);
            let half = Power::new(1, 2);
            let moved = slots.iter().fold(args[0], |mean, &k| {
                let slot = self.graph.pool.reference(Graph::slot_symbol(k), []);
                self.graph.pool.replace_term(mean, slot, means[k])
            });
            let mean = self.with_parameters(moved, &law.parameters);
            let mean = self.quotient(mean, variance, size, half);
            let n = law.covariance.len();
            let mut row = Vec::with_capacity(n + 1);
            for k in 0..n {
                let with = self.covariance_with(k, &slots, &values, law);
                row.push(self.quotient(with, variance, size, half));
            }
            let one = self.graph.pool.integer(1);
            row.push(one);
            for (k, &entry) in row[..n].iter().enumerate() {
                law.covariance[k].push(entry);
            }
            law.covariance.push(row);
            law.sizes.push(one);
            let parameter = self.new_parameter(mean, law);
            let pool = &mut self.graph.pool;
            let slot = pool.reference(Graph::slot_symbol(n), []);
            let argument = pool.intern(Expr::Add(parameter, slot));
            let jump = pool.apply(func, argument);
            result = pool.replace_term(result, id, jump);
        }
        result
    }

    /// A parameter with this value.
    pub(crate) fn new_parameter(&mut self, value: ExprId, law: &mut Law) -> ExprId {
        law.parameters.push(value);
        self.graph.pool.reference(Graph::parameter_symbol(law.parameters.len() - 1), [])
    }

    /// Whether the expression has a jump in exactly this argument.
    fn jumps_in(&self, expr: ExprId, argument: ExprId) -> bool {
        let mut found = false;
        self.graph.pool.visit(expr, &mut |node| {
            if let Expr::Apply(func, args) = node {
                found |= func.facts().smoothness == Smoothness::Jump && args[0] == argument;
            }
        });
        found
    }

    /// The expression with the values of parameters put in.
    pub(crate) fn with_parameters(&mut self, expr: ExprId, parameters: &[ExprId]) -> ExprId {
        parameters.iter().enumerate().fold(expr, |expr, (k, &value)| {
            let parameter = self.graph.pool.reference(Graph::parameter_symbol(k), []);
            self.graph.pool.replace_term(expr, parameter, value)
        })
    }
}
