//! Symbolic expectations: from a Z-expression to definitions of the moment graph.
//!
//! The order of the steps is what keeps integrals low-dimensional:
//!
//! 1. multiply out ([`crate::terms`]);
//! 2. split each monomial into independent groups of factors, by covariances that are zero *by proof*;
//! 3. drop groups that are odd under a joint change of sign;
//! 4. turn a delta into a density and a conditional law ([`crate::density`], [`crate::curve`]);
//! 5. remove Gaussian factors by Stein's lemma ([`crate::stein`]), with weak derivatives;
//! 6. collapse every linear form in Gaussians to one slot, and define what is left as one expectation.

use std::rc::Rc;

use netsor_ir::Indices;
use netsor_ir::expr::{Expr, ExprId, Symbol};
use netsor_ir::func::{Func, Parity};

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::integrable::Reader;
use crate::premise::Scope;
use crate::slots::Slots;
use crate::terms::{Term, scalar_part};

impl Deriver<'_> {
    /// `E expr` as a scalar expression over definitions. `name` is the value on whose behalf this happens.
    pub(crate) fn expectation(&mut self, expr: ExprId, name: &str) -> Result<ExprId, LimitError> {
        stacker::maybe_grow(128 * 1024, 8 * 1024 * 1024, || self.expectation_inner(expr, name))
    }

    fn expectation_inner(&mut self, expr: ExprId, name: &str) -> Result<ExprId, LimitError> {
        let (canonical, variables) = self.canonical(&[expr]);
        let canonical = canonical[0];
        let known = match self.expectations.get(&canonical) {
            Some(&known) => known,
            None => {
                let found = self.noting(|deriver| deriver.expectation_of_terms(canonical, name))?;
                self.expectations.insert(canonical, found);
                found
            }
        };
        let mean = self.recall(known);
        Ok(self.instantiate(mean, &variables))
    }

    /// Multiplied out, term by term.
    fn expectation_of_terms(&mut self, canonical: ExprId, name: &str) -> Result<ExprId, LimitError> {
        let terms = if self.divides_by_forms(&[canonical]) {
            self.expander.expand_to_forms(&mut self.graph, canonical, name)?
        } else if self.expander.shape(&self.graph, canonical).degree().is_some_and(|degree| 2 < degree) {
            self.expander.expand_to_sums(&mut self.graph, canonical, name)?
        } else {
            self.expander.expand(&mut self.graph, canonical, name)?
        };
        let mut total = self.graph.pool.integer(0);
        for term in &terms {
            let value = self.expect_term(term, name)?;
            let scalars = scalar_part(&mut self.graph, term);
            if self.graph.pool.is_zero(value) {
                self.presume_scalars(term, name);
            }
            let value = self.graph.pool.mul(scalars, value);
            let value = self.graph.pool.sum(&term.variables, term.guards.iter().cloned(), value);
            total = self.graph.pool.add(total, value);
        }
        Ok(total)
    }

    /// The expectation of the random factors of a monomial.
    fn expect_term(&mut self, term: &Term, name: &str) -> Result<ExprId, LimitError> {
        let mut factors: Vec<Factor> = Vec::new();
        for &bare in &term.bare {
            factors.push(Factor { expr: bare, bare: true, forms: Rc::from([bare]) });
        }
        for &opaque in &term.opaque {
            let (forms, _) = self.factor_facts(opaque, name)?;
            factors.push(Factor { expr: opaque, bare: false, forms });
        }
        let mut product = self.graph.pool.integer(1);
        self.presume_apart(&factors, term.into(), name)?;
        let groups = self.independent_groups(&factors, name)?;
        for group in &groups {
            let group: Vec<&Factor> = group.iter().map(|&k| &factors[k]).collect();
            let value = self.expect_group(&group, term.into(), name)?;
            product = self.graph.pool.mul(product, value);
            if self.graph.pool.is_zero(product) {
                self.presume_groups(&groups, &factors, term.into(), name)?;
                break;
            }
        }
        Ok(product)
    }

    /// Remembers that all groups of a term that vanishes have expectations.
    fn presume_groups(
        &mut self,
        groups: &[Vec<usize>],
        factors: &[Factor],
        scope: Scope<'_>,
        name: &str,
    ) -> Result<(), LimitError> {
        for group in groups {
            if group.iter().any(|&k| !factors[k].bare && !self.has_moments(factors[k].expr)) {
                let (integrand, slots) = self.integrand_of(group.iter().map(|&k| factors[k].expr), name)?;
                self.presume_expectation(integrand, &slots, scope, name)?;
            }
        }
        Ok(())
    }

    /// The product of factors as a function of slots.
    fn integrand_of(
        &mut self,
        factors: impl IntoIterator<Item = ExprId>,
        name: &str,
    ) -> Result<(ExprId, Slots), LimitError> {
        let mut slots = Slots::default();
        let mut integrand = self.graph.pool.integer(1);
        for factor in factors {
            let slotted = self.slotted(factor, &mut slots, name)?;
            integrand = self.graph.pool.mul(integrand, slotted);
        }
        Ok((integrand, slots))
    }

    /// The covariance of linear forms, row by row up to the diagonal.
    pub(crate) fn lower_triangle(&mut self, forms: &[ExprId], name: &str) -> Result<Vec<ExprId>, LimitError> {
        let mut covariance = Vec::new();
        for (i, &a) in forms.iter().enumerate() {
            for &b in &forms[..=i] {
                covariance.push(self.covariance_of_forms(a, b, name)?);
            }
        }
        Ok(covariance)
    }

    /// Whether a function of base variables or slots evidently has all moments.
    pub(crate) fn has_moments(&mut self, function: ExprId) -> bool {
        if let Some(&known) = self.moments.get(&function) {
            return known;
        }
        let found = Reader::new(&self.graph, &|_| None).has_moments(function);
        self.moments.insert(function, found);
        found
    }

    /// Splits factors into groups whose linear forms are uncorrelated across groups, hence independent.
    fn independent_groups(&mut self, factors: &[Factor], name: &str) -> Result<Vec<Vec<usize>>, LimitError> {
        let mut group: Vec<usize> = (0..factors.len()).collect();
        for i in 0..factors.len() {
            for j in 0..i {
                if group[i] != group[j] && self.correlated(&factors[i], &factors[j], name)? {
                    let (from, to) = (group[i].max(group[j]), group[i].min(group[j]));
                    group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
                }
            }
        }
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for leader in 0..factors.len() {
            let members: Vec<usize> = (0..factors.len()).filter(|&k| group[k] == leader).collect();
            if !members.is_empty() {
                groups.push(members);
            }
        }
        // Small groups first: most zeros are found in them.
        groups.sort_by_key(Vec::len);
        Ok(groups)
    }

    fn correlated(&mut self, a: &Factor, b: &Factor, name: &str) -> Result<bool, LimitError> {
        for &x in a.forms.iter() {
            for &y in b.forms.iter() {
                let covariance = self.covariance_of_forms(x, y, name)?;
                if !self.graph.pool.is_zero(covariance) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn expect_group(&mut self, group: &[&Factor], scope: Scope<'_>, name: &str) -> Result<ExprId, LimitError> {
        if self.is_odd(group, name)? {
            return Ok(self.graph.pool.integer(0));
        }
        let bare: Vec<ExprId> = group.iter().filter(|f| f.bare).map(|f| f.expr).collect();
        let functions: Vec<ExprId> = group.iter().filter(|f| !f.bare).map(|f| f.expr).collect();
        if !bare.is_empty() && functions.iter().any(|&f| self.brings_factors_back(f)) && self.all_smooth(&functions) {
            let (integrand, slots) = self.integrand_of(functions, name)?;
            return self.stein_in_slots(&bare, integrand, &slots, scope, name);
        }
        // Sums are variables in polynomials only, so that functions never meet them.
        if functions.is_empty() && bare.iter().any(|&b| !matches!(self.graph.pool.node(b), Expr::Ref(..))) {
            let one = self.graph.pool.integer(1);
            return self.stein_in_slots(&bare, one, &Slots::default(), scope, name);
        }
        let in_place = !bare.is_empty() && self.divides_by_forms(&functions);
        // Deltas first: they have no derivative.
        if let Some(at) = group.iter().position(|f| matches!(self.graph.pool.node(f.expr), Expr::Apply(Func::Delta, _)))
        {
            let rest: Vec<ExprId> = group.iter().enumerate().filter(|&(k, _)| k != at).map(|(_, f)| f.expr).collect();
            return self.density(group[at].expr, &rest, name);
        }
        if let Some(at) = group.iter().position(|f| f.bare)
            && !in_place
            && !self.jumps_may_meet(&functions)
            && self.jumps_are_solvable(&functions, name)?
        {
            let rest = group.iter().enumerate().filter(|&(k, _)| k != at).map(|(_, f)| f.expr);
            let rest: Vec<ExprId> = rest.collect();
            return self.stein(group[at].expr, &rest, name);
        }
        let (integrand, slots) = self.integrand_of(group.iter().map(|f| f.expr), name)?;
        let covariance = self.lower_triangle(&slots.forms, name)?;
        Ok(self.define_expect(integrand, covariance, slots.parameters))
    }

    /// Whether the product of the factors changes sign with all Gaussians, so that its expectation is 0.
    fn is_odd(&mut self, group: &[&Factor], name: &str) -> Result<bool, LimitError> {
        let mut odd = false;
        for factor in group {
            if factor.bare {
                odd = !odd;
                continue;
            }
            match self.factor_facts(factor.expr, name)?.1 {
                Parity::Odd => odd = !odd,
                Parity::Even => {}
                Parity::Neither => return Ok(false),
            }
        }
        Ok(odd)
    }

    /// [`Deriver::covariance_of_forms`], with a definition of its own where it is a sum: a product of such covariances is
    /// then a product of numbers, each computed once for each of its positions.
    pub(crate) fn named_covariance(&mut self, a: ExprId, b: ExprId, name: &str) -> Result<ExprId, LimitError> {
        let covariance = self.covariance_of_forms(a, b, name)?;
        let mut sums = false;
        self.graph.pool.visit(covariance, &mut |node| sums |= matches!(node, Expr::Sum(_)));
        if !sums {
            return Ok(covariance);
        }
        let (canonical, variables) = self.canonical(&[covariance]);
        let named = self.named(canonical[0], variables.len());
        Ok(self.instantiate(named, &variables))
    }

    /// `Cov(L, M)` of two linear forms.
    pub(crate) fn covariance_of_forms(&mut self, a: ExprId, b: ExprId, name: &str) -> Result<ExprId, LimitError> {
        // Equal pairs are asked for again and again; the covariance is symmetric.
        let key = (a.min(b), a.max(b));
        let known = match self.form_covariances.get(&key) {
            Some(&known) => known,
            None => {
                let found = self.noting(|deriver| deriver.covariance_of_terms(key.0, key.1, name))?;
                self.form_covariances.insert(key, found);
                found
            }
        };
        Ok(self.recall(known))
    }

    fn covariance_of_terms(&mut self, a: ExprId, b: ExprId, name: &str) -> Result<ExprId, LimitError> {
        let left = self.expander.expand(&mut self.graph, a, name)?;
        let right = self.expander.expand(&mut self.graph, b, name)?;
        let mut total = self.graph.pool.integer(0);
        for x in &left {
            for y in &right {
                let (Some(&p), Some(&q)) = (x.bare.first(), y.bare.first()) else { continue };
                let (Expr::Ref(s, i), Expr::Ref(t, j)) =
                    (self.graph.pool.node(p).clone(), self.graph.pool.node(q).clone())
                else {
                    unreachable!("bare factors are references")
                };
                let (covariance, same) = self.base_covariance((s, &i), (t, &j), name)?;
                let (cx, cy) = (scalar_part(&mut self.graph, x), scalar_part(&mut self.graph, y));
                let pool = &mut self.graph.pool;
                let coefficient = pool.mul(cx, cy);
                let value = pool.mul(coefficient, covariance);
                let variables: Vec<_> = x.variables.iter().chain(&y.variables).copied().collect();
                let guards: Vec<_> = x.guards.iter().chain(&y.guards).cloned().collect();
                let value = pool.sum_matching(&variables, same, guards, value);
                total = pool.add(total, value);
            }
        }
        Ok(total)
    }
}

/// One factor of a monomial.
pub(crate) struct Factor {
    pub(crate) expr: ExprId,
    /// Whether it is a variable itself, or a sum of variables.
    bare: bool,
    /// Its linear forms.
    forms: Rc<[ExprId]>,
}

/// A base variable as mentioned.
pub(crate) type Mention<'a> = (Symbol, &'a Indices);
