//! One expectation: by a closed form, by powers of quadratic forms, or by integration of its factors.

use std::rc::Rc;

use netsor_gauss::dual::{dual, mean};
use netsor_gauss::{
    Covariance, Estimate, GaussError, Method, Part, check_existence, check_growth, expect_powers, expect_product,
};
use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::func::Smoothness;

use super::groups::{Split, split, times};
use super::integrand::{CompiledFactor, Product};
use super::premises::Existence;
use super::{Evaluator, Value};
use crate::closed_form::{Separated, activation, flatten, separate};
use crate::error::LimitError;
use crate::graph::Graph;
use crate::powers;
use crate::sensitivity::{Alias, Sensitivities};

/// Errors that are smaller, as a share of the tolerance, enter an expectation as they are.
const NEGLIGIBLE: f64 = 0.01;

/// The covariance of an expectation (lower triangle) as expressions, at positions of their index variables.
#[derive(Clone, Copy)]
pub(super) struct Entries<'a> {
    pub(super) exprs: &'a [ExprId],
    pub(super) at: &'a [u32],
}

impl Evaluator<'_> {
    /// `E integrand`. `entries` say where the numbers of the covariance are from; without them only exact ones are known
    /// to be the same.
    pub(super) fn expectation(
        &mut self,
        integrand: ExprId,
        lower: &[Value],
        entries: Entries<'_>,
        parameters: &[Value],
    ) -> Result<Value, LimitError> {
        let numbers: Vec<f64> = parameters.iter().map(|p| p.value).collect();
        let slots = (0..).take_while(|k| k * (k + 1) / 2 < lower.len()).count();
        let entry = |i: usize, j: usize| lower[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)].value;
        let estimate = match self.closed_form(integrand, &entry, &numbers) {
            Some(result) => result.map_err(|e| self.expectation_error(integrand, e))?,
            None => match self.powers(integrand, slots, &entry, &numbers)? {
                Some(estimate) => estimate,
                None => self.integral(integrand, slots, &entry, &numbers)?,
            },
        };
        match estimate.method {
            Method::Exact => self.statistics.exact += 1,
            Method::ClosedForm => self.statistics.closed_form += 1,
            Method::Quadrature { .. } => self.statistics.quadrature += 1,
            Method::Qmc { .. } => self.statistics.qmc += 1,
        }
        if !estimate.met(&self.tolerance) {
            self.statistics.not_met += 1;
        }
        let inherited = match self.inherits {
            true => self.inherited(integrand, estimate.value, lower, entries, parameters),
            false => 0.0,
        };
        Ok(Value { value: estimate.value, error: estimate.error + inherited })
    }

    /// What the errors of the covariance and of the parameters make of the expectation: to first order, by its exact
    /// derivatives, where they are not negligible beside the tolerance. Where these do not exist, as for kinks at a
    /// variance of 0 and jumps at a correlation of 1, an expectation changes as a square root.
    fn inherited(
        &mut self,
        integrand: ExprId,
        value: f64,
        lower: &[Value],
        entries: Entries<'_>,
        parameters: &[Value],
    ) -> f64 {
        let sum: f64 = lower.iter().chain(parameters).map(|v| v.error).sum();
        let allowed = self.tolerance.absolute.max(self.tolerance.relative * value.abs());
        // Derivatives of powers of quadratic forms are as many integrals as the covariance has entries: there the
        // sensitivity is taken to be 1.
        if sum == 0.0 || self.with_powers.contains(&integrand) {
            return sum;
        }
        let aliases = self.aliases(lower, entries);
        if sum * self.steepness(integrand, lower, &aliases) <= NEGLIGIBLE * allowed {
            return sum;
        }
        let (graph, program) = (self.graph, self.program);
        let known = self.sensitivities.get_or_insert_with(|| Box::new(Sensitivities::new(graph, program)));
        if let Some(inherited) = known.inherited(integrand, lower, &aliases, parameters) {
            return inherited;
        }
        // The size that the square root is relative to: here, and for slots that are independent.
        let slots = (0..).take_while(|k| k * (k + 1) / 2 < lower.len()).count();
        let entry = |i: usize, j: usize| &lower[i * (i + 1) / 2 + j];
        let relative = |i: usize, j: usize| {
            let scale = (entry(i, i).value * entry(j, j).value).sqrt();
            if scale == 0.0 { entry(i, j).error } else { entry(i, j).error / scale }
        };
        let pairs = (0..slots).flat_map(|i| (0..=i).map(move |j| (i, j)));
        let independent: Vec<Value> =
            pairs.clone().map(|(i, j)| Value::exact(if i == j { entry(i, i).value } else { 0.0 })).collect();
        let exact: Vec<Value> = parameters.iter().map(|p| Value::exact(p.value)).collect();
        let counted = self.statistics.clone();
        let elsewhere = self.expectation(integrand, &independent, Entries { exprs: &[], at: &[] }, &exact);
        self.statistics = counted;
        // An expectation that exists here need not exist there.
        let size = elsewhere.map_or(value.abs(), |other| other.value.abs().max(value.abs()));
        let relative = pairs.map(|(i, j)| relative(i, j)).chain(parameters.iter().map(|p| p.error)).sum::<f64>();
        sum.max(size * relative.sqrt())
    }

    /// How much faster than its covariance an expectation can change where functions are not smooth: two jumps in variables
    /// with correlation `r` leave `dr / sqrt(1 - r^2)`, a kink or a jump at a variance `v` up to `dv / sqrt(v)` or `dv / v`.
    fn steepness(&mut self, integrand: ExprId, lower: &[Value], aliases: &[Alias]) -> f64 {
        let graph = self.graph;
        let smoothness = *self.smoothness.entry(integrand).or_insert_with(|| {
            let mut worst = Smoothness::Smooth;
            graph.pool.visit(integrand, &mut |node| {
                if let Expr::Apply(f, _) = node {
                    worst = match (f.facts().smoothness, worst) {
                        (Smoothness::Jump, _) | (_, Smoothness::Jump) => Smoothness::Jump,
                        (Smoothness::Kink, _) | (_, Smoothness::Kink) => Smoothness::Kink,
                        _ => Smoothness::Smooth,
                    };
                }
            });
            worst
        });
        if smoothness == Smoothness::Smooth {
            return 1.0;
        }
        let entry = |i: usize, j: usize| &lower[i * (i + 1) / 2 + j];
        let mut steepest: f64 = 1.0;
        for i in 0..aliases.len() {
            let own = entry(i, i);
            if 0.0 < own.error {
                let slope = if smoothness == Smoothness::Jump { own.value } else { own.value.max(0.0).sqrt() };
                steepest = steepest.max(if 0.0 < slope { 1.0 / slope } else { f64::INFINITY });
            }
            for j in (0..i).filter(|&j| smoothness == Smoothness::Jump && aliases[i].slot != aliases[j].slot) {
                let product = own.value * entry(j, j).value;
                let left = 1.0 - entry(i, j).value * entry(i, j).value / product;
                if 0.0 < product {
                    steepest = steepest.max(if 0.0 < left { 1.0 / left.sqrt() } else { f64::INFINITY });
                }
            }
        }
        steepest
    }

    fn closed_form(
        &self,
        integrand: ExprId,
        entry: &dyn Fn(usize, usize) -> f64,
        parameters: &[f64],
    ) -> Option<Result<Estimate, GaussError>> {
        if !self.closed_forms {
            return None;
        }
        let Separated { factor, slots } = separate(self.graph, integrand, parameters)?;
        let estimate = match &slots[..] {
            [] => return None,
            [(s, f)] => mean(f, entry(*s, *s)),
            [(s, f), (t, g)] => dual(f, g, entry(*s, *s), entry(*s, *t), entry(*t, *t))?,
            _ => return None,
        };
        let scaled = |e: Estimate| Estimate { value: factor * e.value, error: factor.abs() * e.error, ..e };
        match estimate.map(|e| (e.value, scaled(e))) {
            // A product that leaves the range of numbers says nothing; the integrand as a whole may.
            Ok((value, scaled)) if value != 0.0 && factor != 0.0 && !scaled.value.is_normal() => None,
            result => Some(result.map(|(_, scaled)| scaled)),
        }
    }

    /// Polynomials with steps times powers of quadratic forms.
    fn powers(
        &mut self,
        integrand: ExprId,
        slots: usize,
        entry: &dyn Fn(usize, usize) -> f64,
        parameters: &[f64],
    ) -> Result<Option<Estimate>, LimitError> {
        let graph = self.graph;
        if !self.closed_forms || !*self.powers.entry(integrand).or_insert_with(|| powers::has_powers(graph, integrand))
        {
            return Ok(None);
        }
        let Some(read) = powers::read(graph, integrand, slots, parameters) else { return Ok(None) };
        self.with_powers.insert(integrand);
        let name = powers::name(&read, slots, entry);
        if let Some(&known) = self.by_name.get(&name) {
            return Ok(known);
        }
        let entries = (0..slots * slots).map(|k| entry(k / slots, k % slots)).collect();
        let covariance = Covariance::new(slots, entries).map_err(|e| self.expectation_error(integrand, e))?;
        let found = expect_powers(&read.terms, &read.quadratics, &covariance, &self.tolerance)
            .map_err(|e| self.expectation_error(integrand, e))?
            // What the name does not tell apart.
            .map(|e| Estimate { error: e.error + 1e-12 * e.value.abs(), ..e });
        self.by_name.insert(name, found);
        Ok(found)
    }

    /// By independent groups of factors: a covariance that is 0 for these numbers splits an expectation, as those of
    /// noise that is drawn for every input are, and each part may have a closed form of its own.
    fn integral(
        &mut self,
        integrand: ExprId,
        slots: usize,
        entry: &dyn Fn(usize, usize) -> f64,
        parameters: &[f64],
    ) -> Result<Estimate, LimitError> {
        let product = self.compiled(integrand)?;
        let Split { same, groups } = split(&product.factors, slots, entry);
        let mut total = Estimate { value: product.sign, error: 0.0, method: Method::Exact };
        for group in groups {
            let factors: Vec<&CompiledFactor> = group.iter().map(|&k| &product.factors[k]).collect();
            let found = match self.closed_form_of_group(&factors, &same, entry, parameters) {
                Some(found) => found.map_err(|e| self.expectation_error(integrand, e))?,
                None => self.integral_of_group(integrand, &factors, &same, entry, parameters)?,
            };
            total = times(&total, &found);
        }
        Ok(total)
    }

    /// The closed form of a product of functions of one slot each, if it has one.
    fn closed_form_of_group(
        &self,
        factors: &[&CompiledFactor],
        same: &[usize],
        entry: &dyn Fn(usize, usize) -> f64,
        parameters: &[f64],
    ) -> Option<Result<Estimate, GaussError>> {
        if !self.closed_forms {
            return None;
        }
        let mut by_slot: Vec<(usize, Vec<ExprId>)> = Vec::new();
        for factor in factors {
            let &[slot] = &factor.slots[..] else { return None };
            let slot = same[slot];
            match by_slot.iter_mut().find(|(s, _)| *s == slot) {
                Some((_, own)) => own.push(factor.expr),
                None => by_slot.push((slot, vec![factor.expr])),
            }
        }
        let function = |own: &[ExprId]| activation(self.graph, own, parameters);
        match &by_slot[..] {
            [(s, f)] => Some(mean(&function(f)?, entry(*s, *s))),
            [(s, f), (t, g)] => dual(&function(f)?, &function(g)?, entry(*s, *s), entry(*s, *t), entry(*t, *t)),
            _ => None,
        }
    }

    fn integral_of_group(
        &mut self,
        integrand: ExprId,
        factors: &[&CompiledFactor],
        same: &[usize],
        entry: &dyn Fn(usize, usize) -> f64,
        parameters: &[f64],
    ) -> Result<Estimate, LimitError> {
        let existence = self.existence(factors, parameters);
        let tolerance = self.tolerance;
        let found = with_parts(self.graph, factors, same, entry, parameters, |parts, covariance| {
            match existence {
                Existence::Evident => {}
                Existence::ByGrowth => check_growth(parts, covariance)?,
                Existence::Unknown => check_existence(parts, covariance)?,
            }
            expect_product(parts, covariance, &tolerance)
        });
        found.map_err(|e| self.expectation_error(integrand, e))
    }

    /// The factors of an integrand, compiled.
    pub(super) fn compiled(&mut self, integrand: ExprId) -> Result<Rc<Product>, LimitError> {
        if let Some(known) = self.tapes.get(&integrand) {
            return Ok(known.clone());
        }
        let mut sign = 1.0;
        let mut factors = Vec::new();
        flatten(self.graph, integrand, &mut factors, &mut sign);
        let factors = factors.into_iter().map(|factor| CompiledFactor::new(self.graph, factor));
        let compiled = Rc::new(Product { sign, factors: factors.collect::<Result<_, _>>()? });
        self.tapes.insert(integrand, compiled.clone());
        Ok(compiled)
    }

    pub(super) fn expectation_error(&self, integrand: ExprId, source: GaussError) -> LimitError {
        LimitError::Expectation { integrand: crate::show::text(self.graph, self.program, integrand), source }
    }
}

/// Hands over the functions of some factors and the covariance of the slots that occur in them.
pub(super) fn with_parts<T>(
    graph: &Graph,
    factors: &[&CompiledFactor],
    same: &[usize],
    entry: &dyn Fn(usize, usize) -> f64,
    parameters: &[f64],
    run: impl FnOnce(&[Part<'_>], &Covariance) -> Result<T, GaussError>,
) -> Result<T, GaussError> {
    let mut used: Vec<usize> = factors.iter().flat_map(|f| f.slots.iter().map(|&s| same[s])).collect();
    used.sort_unstable();
    used.dedup();
    let d = used.len();
    let entries = (0..d * d).map(|k| entry(used[k / d], used[k % d])).collect();
    let covariance = Covariance::new(d, entries)?;
    let deviation = |&s: &usize| entry(same[s], same[s]).max(0.0).sqrt();
    let mut functions = Vec::with_capacity(factors.len());
    for factor in factors {
        let deviations: Vec<f64> = factor.slots.iter().map(deviation).collect();
        functions.push(factor.function(graph, parameters, &deviations));
    }
    let mut parts = Vec::with_capacity(factors.len());
    for (factor, function) in factors.iter().zip(&functions) {
        let place = |&s: &usize| used.binary_search(&same[s]).unwrap_or(0);
        parts.push(Part { slots: factor.slots.iter().map(place).collect(), function });
    }
    run(&parts, &covariance)
}
