//! Price's theorem: how an expectation changes with its covariance.
//!
//! For a centred Gaussian vector `Z` with covariance `S` and a function `F` of `Z` and of numbers `p`,
//!
//! ```text
//! d E F = sum_(i<j) E[d_i d_j F] dS_ij + 1/2 sum_i E[d_i d_i F] dS_ii + sum_k E[dF/dp_k] dp_k
//! ```
//!
//! with weak derivatives (Price 1958). A second derivative of a kink is a delta and that of a jump is worse, so where
//! `F` is not smooth in `Z_i` the diagonal term is replaced by Stein's identity
//! `S_ii E[d_i d_i F] = E[Z_i d_i F] - sum_(j != i) S_ij E[d_i d_j F]`, which needs one derivative a variable: for a
//! positively homogeneous function it gives `F` back. What deltas are left are those of jumps; each is a density times a
//! conditional expectation.
//!
//! Two jumps in variables with correlation `r` leave `dr / sqrt(1 - r^2)`. It is bounded, also where the variables
//! coincide, but there it is 0/0: whether `1 - r^2` is 0 is a question of rounding, so the quotient is a definition of its
//! own ([`Body::Quotient`]) and the decision that of whoever puts in numbers.

use netsor_ir::calculus::Derivative;
use netsor_ir::expr::{Expr, ExprId, Symbol};
use netsor_ir::func::{Func, Parity, Smoothness};
use netsor_ir::number::{Power, fraction};

use crate::closed_form::slots_of;
use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::{Body, Def, Graph};

/// The law of the slots of an integrand, and the values of its parameters.
#[derive(Clone)]
pub(crate) struct Law {
    /// The covariance, row by row.
    pub(crate) covariance: Vec<Vec<ExprId>>,
    /// Variances before anything was conditioned on: what rounding is relative to.
    pub(crate) sizes: Vec<ExprId>,
    pub(crate) parameters: Vec<ExprId>,
}

impl Deriver<'_> {
    /// The derivative of `E integrand` along the derivatives of the covariance (lower triangle) and of the parameters.
    /// `name` is what the derivative is with respect to.
    pub(crate) fn price(
        &mut self,
        integrand: ExprId,
        (covariance, d_covariance): (&[ExprId], &[ExprId]),
        (parameters, d_parameters): (&[ExprId], &[ExprId]),
        name: &str,
    ) -> Result<ExprId, LimitError> {
        let deriver = self;
        let n = (0..).take_while(|k| k * (k + 1) / 2 < covariance.len()).count();
        let lower = |i: usize, j: usize| i.max(j) * (i.max(j) + 1) / 2 + i.min(j);
        let law = Law {
            covariance: (0..n).map(|i| (0..n).map(|j| covariance[lower(i, j)]).collect()).collect(),
            sizes: (0..n).map(|i| covariance[lower(i, i)]).collect(),
            parameters: parameters.to_vec(),
        };
        let half = deriver.graph.pool.constant(fraction(1, 2));
        let zero = deriver.graph.pool.integer(0);
        let one = Power::from_integer(1);
        let first: Vec<ExprId> = (0..n).map(|i| deriver.partial(integrand, Graph::slot_symbol(i))).collect();
        let mut total = zero;
        // Half of the relative change of each variance, for variables in which the integrand is not smooth.
        let mut stretch = vec![zero; n];
        for i in 0..n {
            let change = d_covariance[lower(i, i)];
            let weight = deriver.graph.pool.mul(half, change);
            let value = if deriver.smooth_in(integrand, i) {
                let second = deriver.partial(first[i], Graph::slot_symbol(i));
                deriver.expect_times(weight, second, &law, name)?
            } else {
                stretch[i] = deriver.quotient(weight, law.covariance[i][i], zero, one);
                let slot = deriver.graph.pool.reference(Graph::slot_symbol(i), []);
                let radial = deriver.graph.pool.mul(slot, first[i]);
                deriver.expect_times(stretch[i], radial, &law, name)?
            };
            total = deriver.graph.pool.add(total, value);
        }
        for i in 0..n {
            for j in 0..i {
                let pool = &mut deriver.graph.pool;
                let both = pool.add(stretch[i], stretch[j]);
                let explained = pool.mul(law.covariance[i][j], both);
                let weight = pool.sub(d_covariance[lower(i, j)], explained);
                // A jump along a curve through both variables.
                let matters = !deriver.graph.pool.is_zero(weight);
                if matters && deriver.graph.pool.has_delta_of(first[i], &|symbol| symbol == Graph::slot_symbol(j)) {
                    return Err(LimitError::JumpAlongCurve { name: name.to_owned() });
                }
                let mixed = deriver.partial(first[i], Graph::slot_symbol(j));
                let value = deriver.expect_times(weight, mixed, &law, name)?;
                total = deriver.graph.pool.add(total, value);
            }
        }
        for (k, &change) in d_parameters.iter().enumerate() {
            if !deriver.graph.pool.is_zero(change) {
                let derivative = deriver.partial(integrand, Graph::parameter_symbol(k));
                let value = deriver.expect_times(change, derivative, &law, name)?;
                total = deriver.graph.pool.add(total, value);
            }
        }
        Ok(total)
    }
}

impl Deriver<'_> {
    /// `numerator denominator^(-power)`, and 0 where the denominator is 0 up to rounding relative to `size`.
    pub(crate) fn quotient(&mut self, numerator: ExprId, denominator: ExprId, size: ExprId, power: Power) -> ExprId {
        if self.graph.pool.is_zero(numerator) {
            return numerator;
        }
        let (exprs, variables) = self.canonical(&[numerator, denominator, size]);
        let body = Body::Quotient { numerator: exprs[0], denominator: exprs[1], size: exprs[2], power };
        let def = self.define(Def { arity: variables.len(), body });
        let symbol = self.graph.def_symbol(def);
        self.graph.pool.reference(symbol, variables)
    }

    /// The weak derivative of a product in one leaf, by factors: the factors without it stay apart, so that a product of
    /// functions of one variable each remains one.
    pub(crate) fn partial(&mut self, integrand: ExprId, leaf: Symbol) -> ExprId {
        let (with, without) =
            self.split_factors(integrand, &|graph, factor| graph.pool.refs(factor).iter().any(|r| r.0 == leaf));
        let wanted = |symbol| symbol == leaf;
        let found = self.graph.pool.occurrences(with, Derivative::Weak, &mut self.expander.fresh, &wanted);
        let derivative = self.graph.pool.add_all(found.into_iter().map(|o| o.coefficient));
        self.graph.pool.mul(derivative, without)
    }

    /// The factors for which `chosen` holds, and the others, as two products.
    pub(crate) fn split_factors(
        &mut self,
        product: ExprId,
        chosen: &dyn Fn(&Graph, ExprId) -> bool,
    ) -> (ExprId, ExprId) {
        let (mut factors, mut sign) = (Vec::new(), 1.0);
        crate::closed_form::flatten(&self.graph, product, &mut factors, &mut sign);
        let (with, without): (Vec<ExprId>, Vec<ExprId>) = factors.into_iter().partition(|&f| chosen(&self.graph, f));
        let pool = &mut self.graph.pool;
        let (with, mut without) = (pool.mul_all(with), pool.mul_all(without));
        if sign < 0.0 {
            without = pool.neg(without);
        }
        (with, without)
    }

    /// Whether the integrand is smooth in a slot: no kink or jump has it in an argument.
    fn smooth_in(&self, integrand: ExprId, slot: usize) -> bool {
        let mut smooth = true;
        self.graph.pool.visit(integrand, &mut |node| {
            if let Expr::Apply(func, args) = node
                && func.facts().smoothness != Smoothness::Smooth
            {
                smooth &= !args.iter().any(|&a| slots_of(&self.graph, a).contains(&slot));
            }
        });
        smooth
    }

    /// A leaf that occurs in no integrand.
    fn placeholder(&mut self) -> (Symbol, ExprId) {
        let symbol = Graph::parameter_symbol(1 << 20);
        (symbol, self.graph.pool.reference(symbol, []))
    }

    /// `weight E integrand` for an integrand that may be linear in deltas.
    pub(crate) fn expect_times(
        &mut self,
        weight: ExprId,
        integrand: ExprId,
        law: &Law,
        name: &str,
    ) -> Result<ExprId, LimitError> {
        let zero = self.graph.pool.integer(0);
        if self.graph.pool.is_zero(weight) || self.graph.pool.is_zero(integrand) {
            return Ok(zero);
        }
        let delta = self
            .graph
            .pool
            .reachable(integrand)
            .into_iter()
            .find(|&id| matches!(self.graph.pool.node(id), Expr::Apply(Func::Delta, _)));
        let Some(delta) = delta else {
            if self.parity(integrand) == Parity::Odd {
                return Ok(zero);
            }
            let mean = self.expect_under(integrand, law);
            return Ok(self.graph.pool.mul(weight, mean));
        };
        let (with, without) = self.split_factors(integrand, &|graph, f| graph.pool.reachable(f).contains(&delta));
        let place = self.placeholder();
        let with = self.graph.pool.replace_term(with, delta, place.1);
        let coefficient = self.partial(with, place.0);
        if self.graph.pool.refs(coefficient).iter().any(|r| r.0 == place.0) {
            return Err(LimitError::JumpTimesJump { name: name.to_owned() });
        }
        let rest = self.graph.pool.replace_term(with, place.1, zero);
        let rest = self.graph.pool.mul(rest, without);
        let plain = self.expect_times(weight, rest, law, name)?;
        let coefficient = self.graph.pool.mul(coefficient, without);
        let singular = self.expect_delta(weight, delta, coefficient, law, name)?;
        Ok(self.graph.pool.add(plain, singular))
    }

    /// Defines `E integrand` over the slots and parameters that occur in it.
    fn expect_under(&mut self, integrand: ExprId, law: &Law) -> ExprId {
        let used = slots_of(&self.graph, integrand);
        let mut kept = Vec::new();
        let mut fresh = self.expander.fresh;
        let integrand = self.graph.pool.replace_refs(integrand, &mut fresh, &mut |pool, symbol, _, _| {
            if let Some(k) = used.iter().position(|&k| Graph::slot_symbol(k) == symbol) {
                return Some(pool.reference(Graph::slot_symbol(k), []));
            }
            let old = (0..law.parameters.len()).find(|&k| Graph::parameter_symbol(k) == symbol)?;
            let k = kept.iter().position(|&k| k == old).unwrap_or_else(|| {
                kept.push(old);
                kept.len() - 1
            });
            Some(pool.reference(Graph::parameter_symbol(k), []))
        });
        self.expander.fresh = fresh;
        let covariance = used.iter().enumerate().flat_map(|(i, &a)| used[..=i].iter().map(move |&b| (a, b)));
        let covariance = covariance.map(|(a, b)| law.covariance[a][b]).collect();
        let parameters = kept.iter().map(|&k| law.parameters[k]).collect();
        self.define_expect(integrand, covariance, parameters)
    }
}
