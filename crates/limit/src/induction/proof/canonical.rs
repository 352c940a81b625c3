//! Expressions over expectations in a form in which equal ones are one expression.
//!
//! The deriver defines each expectation as it meets it: with scalars inside or in front, with its Gaussian variables in
//! any order. Before two sides are compared, definitions of scalars are put in, scalar factors are pulled out of
//! expectations by linearity, variables that do not occur are dropped, and of all orders of the others the least is
//! taken. For programs without families, whose definitions have no indices.

use std::collections::BTreeMap;
use std::rc::Rc;

use netsor_ir::expr::{Expr, ExprId, Opened, for_each_child};
use netsor_ir::number::Number;
use netsor_ir::{Index, Symbol};
use num_traits::One;
use rustc_hash::{FxHashMap, FxHashSet};

use super::dependent::{Combination, dependent};
use super::roots::normal_form;
use super::slots::orders;
use crate::closed_form::slots_of;
use crate::derive::Deriver;
use crate::graph::{Body, Def, DefId, Graph, Leaf};
use crate::widths::monomials;

/// How far expectations are split by linearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Split {
    /// Terms with the same scalar factors stay together.
    ByScalars,
    /// Every monomial by itself.
    Fully,
}

/// Most Gaussian variables in a product that is written out in covariances: 945 pairings of ten.
const ISSERLIS: usize = 10;

/// Where the names of the bound variables of sums begin.
const OPENED: u32 = 900_000_000;

/// The slots that occur, and the covariance that they are from.
type SlotsOf = (Vec<usize>, Vec<ExprId>);

/// Canonical forms that are known, of one deriver and one way to split: comparisons of one network have most of their
/// expectations in common.
#[derive(Debug, Default)]
pub(super) struct Forms {
    known: FxHashMap<ExprId, ExprId>,
    definitions: FxHashMap<DefId, ExprId>,
    /// Normal forms: hundreds of expectations have one covariance.
    normal: FxHashMap<ExprId, ExprId>,
    /// Which slots are combinations of others, by slots and covariance.
    dependent: FxHashMap<SlotsOf, Rc<[Combination]>>,
    /// Monomials of integrands that were written out so far.
    written: usize,
    /// After so many, integrands are left as they are: the comparison is given up.
    limit: usize,
}

impl Forms {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Whether forms are not canonical, for want of work allowed.
    pub(super) fn exceeded(&self) -> bool {
        self.limit < self.written
    }
}

/// Rewrites expressions of one deriver.
pub(super) struct Canonical<'a, 'p> {
    deriver: &'a mut Deriver<'p>,
    split: Split,
    forms: &'a mut Forms,
}

impl<'a, 'p> Canonical<'a, 'p> {
    pub(super) fn new(deriver: &'a mut Deriver<'p>, split: Split, forms: &'a mut Forms) -> Self {
        Self { deriver, split, forms }
    }

    /// The expression with everything in it in canonical form.
    pub(super) fn of(&mut self, root: ExprId) -> ExprId {
        let mut order = Vec::new();
        let mut stack = vec![root];
        let mut seen = FxHashSet::default();
        while let Some(next) = stack.pop() {
            if self.forms.known.contains_key(&next) || !seen.insert(next) {
                continue;
            }
            order.push(next);
            let node = self.deriver.graph.pool.node(next);
            if !matches!(node, Expr::Sum(_)) {
                for_each_child(node, |child| stack.push(child));
            }
        }
        // Children have smaller ids than their parents.
        order.sort_unstable();
        for id in order {
            let new = self.node(id);
            self.forms.known.insert(id, new);
        }
        self.forms.known[&root]
    }

    fn node(&mut self, id: ExprId) -> ExprId {
        let node = self.deriver.graph.pool.node(id).clone();
        let known = &self.forms.known;
        let pool = &mut self.deriver.graph.pool;
        match node {
            Expr::Const(_) | Expr::Pi | Expr::Width(_) | Expr::Table(..) => id,
            Expr::Ref(symbol, indices) => match self.deriver.graph.leaf(symbol) {
                Leaf::Def(def) if indices.is_empty() => {
                    stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || self.definition(def))
                }
                _ => id,
            },
            Expr::Neg(a) => pool.neg(known[&a]),
            Expr::Add(a, b) => pool.add(known[&a], known[&b]),
            Expr::Sub(a, b) => pool.sub(known[&a], known[&b]),
            Expr::Mul(a, b) => pool.mul(known[&a], known[&b]),
            Expr::Div(a, b) => pool.div(known[&a], known[&b]),
            Expr::Pow(a, p) => pool.pow(known[&a], p),
            Expr::Apply(func, args) => match args[..] {
                [a] => pool.apply(func, known[&a]),
                [a, b] => pool.apply2(func, known[&a], known[&b]),
                _ => id,
            },
            Expr::Sum(sum) => {
                // Bound variables get the same names each time, by which factors are ordered.
                let mut names = OPENED + pool.height(id);
                let opened = pool.open(&sum, &mut names);
                let body = self.of(opened.body);
                self.sum(&opened, body)
            }
        }
    }

    /// A sum with every factor that does not depend on the variable in front.
    fn sum(&mut self, opened: &Opened, body: ExprId) -> ExprId {
        let body = normal_form(&mut self.deriver.graph, body);
        let ([(variable, axis)], []) = (&opened.variables[..], &opened.guards[..]) else {
            return self.deriver.graph.pool.sum(&opened.variables, opened.guards.clone(), body);
        };
        let size = self.deriver.graph.axis_size(*axis);
        if size == 1 {
            let first = |index: Index| if index == *variable { Index::At(0) } else { index };
            return self.deriver.graph.pool.map_indices(body, &mut |index| first(index));
        }
        let Some(terms) = monomials(&mut self.deriver.graph, body) else {
            return self.deriver.graph.pool.sum(&opened.variables, [], body);
        };
        let mut total = self.deriver.graph.pool.integer(0);
        for (factors, coefficient) in terms {
            let (inside, outside): (Vec<ExprId>, Vec<ExprId>) =
                factors.into_iter().partition(|&f| self.mentions(f, *variable));
            let pool = &mut self.deriver.graph.pool;
            let body = pool.mul_all(inside.iter().copied());
            let sum = match inside.is_empty() {
                true => pool.integer(i64::from(size)),
                false => pool.sum(&opened.variables, [], body),
            };
            let coefficient = pool.constant(coefficient);
            let outside = pool.mul_all(outside);
            let term = pool.mul_all([coefficient, outside, sum]);
            total = pool.add(total, term);
        }
        total
    }

    fn mentions(&self, expr: ExprId, variable: Index) -> bool {
        let mut found = false;
        self.deriver.graph.pool.visit(expr, &mut |node| match node {
            Expr::Ref(_, indices) | Expr::Table(_, indices) => found |= indices.contains(&variable),
            Expr::Sum(sum) => found |= sum.guards.iter().any(|g| g.mentions(variable)),
            _ => {}
        });
        found
    }

    fn definition(&mut self, id: DefId) -> ExprId {
        if let Some(&known) = self.forms.definitions.get(&id) {
            return known;
        }
        let new = match self.deriver.graph.def(id).clone() {
            Def { arity, body: Body::Quotient { numerator, denominator, size, power } } => {
                let [numerator, denominator, size] = [numerator, denominator, size].map(|e| {
                    let canonical = self.of(e);
                    self.normal(canonical)
                });
                let body = Body::Quotient { numerator, denominator, size, power };
                let def = self.deriver.define(Def { arity, body });
                let symbol = self.deriver.graph.def_symbol(def);
                self.deriver.graph.pool.reference(symbol, [])
            }
            Def { body: Body::Scalar(expr) | Body::Provided { value: expr, .. }, .. } => self.of(expr),
            Def { body: Body::Expect { integrand, covariance, parameters }, .. } => {
                let covariance: Vec<ExprId> = covariance.into_iter().map(|e| self.of(e)).collect();
                let covariance: Vec<ExprId> = covariance.into_iter().map(|e| self.normal(e)).collect();
                let parameters: Vec<ExprId> = parameters.into_iter().map(|e| self.of(e)).collect();
                self.expectation(integrand, &covariance, &parameters)
            }
        };
        self.forms.definitions.insert(id, new);
        new
    }

    fn normal(&mut self, expr: ExprId) -> ExprId {
        if let Some(&known) = self.forms.normal.get(&expr) {
            return known;
        }
        let new = normal_form(&mut self.deriver.graph, expr);
        self.forms.normal.insert(expr, new);
        new
    }

    /// `E integrand` as a sum of scalars times expectations in canonical form.
    fn expectation(&mut self, integrand: ExprId, covariance: &[ExprId], parameters: &[ExprId]) -> ExprId {
        if self.forms.exceeded() {
            return integrand;
        }
        let integrand = self.without_dependent(integrand, covariance);
        let Some(terms) = monomials(&mut self.deriver.graph, integrand) else {
            return self.atom(integrand, covariance, parameters);
        };
        self.forms.written += terms.len();
        let mut groups: BTreeMap<Vec<ExprId>, Vec<(Vec<ExprId>, Number)>> = BTreeMap::new();
        for (factors, coefficient) in terms {
            let (random, scalar): (Vec<ExprId>, Vec<ExprId>) =
                factors.into_iter().partition(|&f| !slots_of(&self.deriver.graph, f).is_empty());
            let key = match self.split {
                Split::ByScalars => scalar,
                // The random factors tell the monomials apart; they are not part of the scalar.
                Split::Fully => scalar.into_iter().chain(random.iter().copied()).collect(),
            };
            groups.entry(key).or_default().push((random, coefficient));
        }
        let mut total = self.deriver.graph.pool.integer(0);
        for (key, group) in groups {
            // The content of the group goes in front, so that proportional integrands are one.
            let content = group.first().map_or_else(Number::one, |(_, c)| c.clone());
            let mean = match &group[..] {
                [(factors, _)] => self.monomial(factors, covariance, parameters),
                _ => {
                    let pool = &mut self.deriver.graph.pool;
                    let mut body = pool.integer(0);
                    for (factors, coefficient) in group {
                        let coefficient = pool.constant(coefficient / &content);
                        let product = pool.mul_all(factors);
                        let term = pool.mul(coefficient, product);
                        body = pool.add(body, term);
                    }
                    self.atom(body, covariance, parameters)
                }
            };
            let scalars: Vec<ExprId> =
                key.into_iter().filter(|&f| slots_of(&self.deriver.graph, f).is_empty()).collect();
            let pool = &mut self.deriver.graph.pool;
            let content = pool.constant(content);
            let scalar = pool.mul_all(scalars);
            let scalar = with_parameters(self.deriver, scalar, parameters);
            let term = self.deriver.graph.pool.mul_all([content, scalar, mean]);
            total = self.deriver.graph.pool.add(total, term);
        }
        total
    }

    /// The expectation of one product: split where covariances vanish, and by Isserlis' theorem where it is a product of
    /// Gaussian variables alone. An integrand that was kept whole, as `v x - v y` is, has such products only here.
    fn monomial(&mut self, factors: &[ExprId], covariance: &[ExprId], parameters: &[ExprId]) -> ExprId {
        let slots: Vec<Vec<usize>> = factors.iter().map(|&f| slots_of(&self.deriver.graph, f)).collect();
        let entry = |a: usize, b: usize| covariance[a.max(b) * (a.max(b) + 1) / 2 + a.min(b)];
        let mut group: Vec<usize> = (0..factors.len()).collect();
        for i in 0..factors.len() {
            for j in 0..i {
                let mut pairs = slots[i].iter().flat_map(|&a| slots[j].iter().map(move |&b| entry(a, b)));
                if group[i] != group[j] && pairs.any(|e| !self.deriver.graph.pool.is_zero(e)) {
                    let (from, to) = (group[i].max(group[j]), group[i].min(group[j]));
                    group.iter_mut().filter(|g| **g == from).for_each(|g| *g = to);
                }
            }
        }
        let mut product = self.deriver.graph.pool.integer(1);
        for leader in 0..factors.len() {
            let members: Vec<usize> = (0..factors.len()).filter(|&k| group[k] == leader).collect();
            if members.is_empty() {
                continue;
            }
            let bare = |&k: &usize| match self.deriver.graph.pool.node(factors[k]) {
                Expr::Ref(..) => slots[k].first().copied(),
                _ => None,
            };
            let mean = match members.iter().map(bare).collect::<Option<Vec<usize>>>() {
                Some(variables) if variables.len() <= ISSERLIS => {
                    isserlis(&mut self.deriver.graph, &variables, &|a, b| entry(a, b))
                }
                _ => {
                    let body = self.deriver.graph.pool.mul_all(members.into_iter().map(|k| factors[k]));
                    self.atom(body, covariance, parameters)
                }
            };
            product = self.deriver.graph.pool.mul(product, mean);
        }
        product
    }

    /// The definition of `E integrand` over the slots that occur, in the order that gives the least description.
    fn atom(&mut self, integrand: ExprId, covariance: &[ExprId], parameters: &[ExprId]) -> ExprId {
        let used = slots_of(&self.deriver.graph, integrand);
        if used.is_empty() {
            return with_parameters(self.deriver, integrand, parameters);
        }
        let entry = |a: usize, b: usize| covariance[a.max(b) * (a.max(b) + 1) / 2 + a.min(b)];
        let orders = orders(&self.deriver.graph, integrand, &used, &entry, parameters);
        let entries = |order: &Vec<usize>| -> Vec<ExprId> {
            order.iter().enumerate().flat_map(|(i, &a)| order[..=i].iter().map(move |&b| entry(a, b))).collect()
        };
        let least = orders.iter().map(entries).min();
        let mut best: Option<(Vec<ExprId>, ExprId, Vec<ExprId>)> = None;
        for order in orders.iter().filter(|order| Some(entries(order)) == least) {
            // A centred Gaussian vector has the law of its negative.
            for sign in [1, -1] {
                let renamed = self.renamed(integrand, order, sign);
                // The order of slots decides that of the factors.
                let renamed = normal_form(&mut self.deriver.graph, renamed);
                let candidate = (entries(order), renamed, parameters.to_vec());
                if best.as_ref().is_none_or(|best| candidate < *best) {
                    best = Some(candidate);
                }
            }
        }
        let Some((covariance, integrand, parameters)) = best else { return integrand };
        let (integrand, parameters) = self.used_parameters(integrand, &parameters);
        let def = self.deriver.define(Def { arity: 0, body: Body::Expect { integrand, covariance, parameters } });
        let symbol = self.deriver.graph.def_symbol(def);
        self.deriver.graph.pool.reference(symbol, [])
    }

    /// The integrand with every slot that is a fixed combination of others replaced by it: deviations from a mean over
    /// a batch add up to 0.
    fn without_dependent(&mut self, integrand: ExprId, covariance: &[ExprId]) -> ExprId {
        let used = slots_of(&self.deriver.graph, integrand);
        let key = (used, covariance.to_vec());
        let combinations = match self.forms.dependent.get(&key) {
            Some(known) => known.clone(),
            None => {
                let found: Rc<[Combination]> = dependent(&self.deriver.graph, &key.0, covariance).into();
                self.forms.dependent.insert(key, found.clone());
                found
            }
        };
        if combinations.is_empty() {
            return integrand;
        }
        let mut result = integrand;
        for (slot, combination) in combinations.iter().cloned() {
            let pool = &mut self.deriver.graph.pool;
            let mut sum = pool.integer(0);
            for (other, factor) in combination {
                let factor = pool.constant(factor);
                let other = pool.reference(Graph::slot_symbol(other), []);
                let term = pool.mul(factor, other);
                sum = pool.add(sum, term);
            }
            let slot = pool.reference(Graph::slot_symbol(slot), []);
            result = pool.replace_term(result, slot, sum);
        }
        normal_form(&mut self.deriver.graph, result)
    }

    /// The integrand with slot `order[k]` renamed to `k`, times a sign.
    fn renamed(&mut self, integrand: ExprId, order: &[usize], sign: i64) -> ExprId {
        let mut fresh = self.deriver.expander.fresh;
        let new = self.deriver.graph.pool.replace_refs(integrand, &mut fresh, &mut |pool, symbol, _, _| {
            let k = order.iter().position(|&slot| Graph::slot_symbol(slot) == symbol)?;
            let slot = pool.reference(Graph::slot_symbol(k), []);
            let sign = pool.integer(sign);
            Some(pool.mul(sign, slot))
        });
        self.deriver.expander.fresh = fresh;
        new
    }

    /// The parameters that occur, in the order of their values.
    fn used_parameters(&mut self, integrand: ExprId, parameters: &[ExprId]) -> (ExprId, Vec<ExprId>) {
        let mentioned: FxHashSet<Symbol> =
            self.deriver.graph.pool.refs(integrand).into_iter().map(|(symbol, _)| symbol).collect();
        let mut used: Vec<ExprId> = (0..parameters.len())
            .filter(|&k| mentioned.contains(&Graph::parameter_symbol(k)))
            .map(|k| parameters[k])
            .collect();
        used.sort_unstable();
        used.dedup();
        let mut fresh = self.deriver.expander.fresh;
        let new = self.deriver.graph.pool.replace_refs(integrand, &mut fresh, &mut |pool, symbol, _, _| {
            let old = (0..parameters.len()).find(|&k| Graph::parameter_symbol(k) == symbol)?;
            let k = used.iter().position(|&e| e == parameters[old])?;
            Some(pool.reference(Graph::parameter_symbol(k), []))
        });
        self.deriver.expander.fresh = fresh;
        (new, used)
    }
}

/// The expectation of a product of centred Gaussian variables: the sum over pairings of products of covariances.
fn isserlis(graph: &mut Graph, variables: &[usize], entry: &dyn Fn(usize, usize) -> ExprId) -> ExprId {
    let Some((&first, rest)) = variables.split_first() else { return graph.pool.integer(1) };
    let mut total = graph.pool.integer(0);
    for (k, &partner) in rest.iter().enumerate() {
        let others: Vec<usize> = rest.iter().enumerate().filter(|&(l, _)| l != k).map(|(_, &v)| v).collect();
        let covariance = entry(first, partner);
        if graph.pool.is_zero(covariance) {
            continue;
        }
        let remaining = isserlis(graph, &others, entry);
        let term = graph.pool.mul(covariance, remaining);
        total = graph.pool.add(total, term);
    }
    total
}

/// A scalar of an integrand with the values of its parameters put in.
fn with_parameters(deriver: &mut Deriver<'_>, scalar: ExprId, parameters: &[ExprId]) -> ExprId {
    let mut fresh = deriver.expander.fresh;
    let new = deriver.graph.pool.replace_refs(scalar, &mut fresh, &mut |_, symbol, _, _| {
        (0..parameters.len()).find(|&k| Graph::parameter_symbol(k) == symbol).map(|k| parameters[k])
    });
    deriver.expander.fresh = fresh;
    new
}
