//! Symbolic expectations: from a Z-expression to definitions of the moment graph.
//!
//! The order of the steps is what keeps integrals low-dimensional:
//!
//! 1. multiply out ([`crate::terms`]), dropping negative powers of the width;
//! 2. split each monomial into independent groups of factors, by covariances that are zero *by proof*;
//! 3. drop groups that are odd under a joint change of sign;
//! 4. remove Gaussian factors by Stein's lemma, `E[Z F] = sum_b Cov(Z, b) E[d_b F]`, with weak derivatives;
//! 5. turn a delta into a density and a conditional law;
//! 6. collapse every linear form in Gaussians to one slot, and define what is left as one expectation.

use netsor_ir::calculus::Derivative;
use netsor_ir::expr::{Expr, ExprId, Symbol};
use netsor_ir::func::{Func, Parity, Smoothness};
use netsor_ir::number::Power;
use netsor_ir::{Index, Indices};
use num_traits::Signed;
use rustc_hash::FxHashMap;
use smallvec::smallvec;

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::{Body, Def, DefId, Graph};
use crate::terms::{Term, order, scalar_part};

/// The slots of the factors of one monomial: each a centred linear form.
#[derive(Default)]
struct Slots {
    forms: Vec<ExprId>,
    parameters: Vec<ExprId>,
}

impl Deriver<'_> {
    /// `E expr` as a scalar expression over definitions. `name` is the value on whose behalf this happens.
    pub(crate) fn expectation(&mut self, expr: ExprId, name: &str) -> Result<ExprId, LimitError> {
        stacker::maybe_grow(128 * 1024, 8 * 1024 * 1024, || self.expectation_inner(expr, name))
    }

    fn expectation_inner(&mut self, expr: ExprId, name: &str) -> Result<ExprId, LimitError> {
        let (canonical, variables) = self.canonical(&[expr]);
        let canonical = canonical[0];
        if let Some(&known) = self.expectations.get(&canonical) {
            return Ok(self.rename_back(known, &variables));
        }
        let terms = self.expander.expand(&mut self.graph, canonical, name)?;
        let mut total = self.graph.pool.integer(0);
        for term in &terms {
            if term.width.is_negative() {
                continue;
            }
            let value = self.expect_term(term, name)?;
            if term.width.is_positive() {
                // The mean of something centred is a vanishing scalar, too.
                let centred = Power::new(i64::from(self.graph.pool.is_zero(value)), 2);
                if (order(&self.graph, term) - centred).is_negative() {
                    continue;
                }
                let power = term.width.to_string();
                return Err(LimitError::NotAScalar { name: name.to_owned(), power });
            }
            let scalars = scalar_part(&mut self.graph, term);
            let value = self.graph.pool.mul(scalars, value);
            let value = self.graph.pool.sum(&term.variables, term.guards.iter().cloned(), value);
            total = self.graph.pool.add(total, value);
        }
        self.expectations.insert(canonical, total);
        Ok(self.rename_back(total, &variables))
    }

    /// The expectation of the random factors of a monomial.
    fn expect_term(&mut self, term: &Term, name: &str) -> Result<ExprId, LimitError> {
        let mut factors: Vec<Factor> = Vec::new();
        for &bare in &term.bare {
            factors.push(Factor { expr: bare, bare: true, forms: vec![bare] });
        }
        for &opaque in &term.opaque {
            let mut own = Slots::default();
            self.slotted(opaque, &mut own, name)?;
            factors.push(Factor { expr: opaque, bare: false, forms: own.forms });
        }
        let mut product = self.graph.pool.integer(1);
        for group in self.independent_groups(&factors, name)? {
            let group: Vec<&Factor> = group.iter().map(|&k| &factors[k]).collect();
            let value = self.expect_group(&group, name)?;
            product = self.graph.pool.mul(product, value);
            if self.graph.pool.is_zero(product) {
                break;
            }
        }
        Ok(product)
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
        for &x in &a.forms {
            for &y in &b.forms {
                let covariance = self.covariance_of_forms(x, y, name)?;
                if !self.graph.pool.is_zero(covariance) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn expect_group(&mut self, group: &[&Factor], name: &str) -> Result<ExprId, LimitError> {
        if self.is_odd(group, name)? {
            return Ok(self.graph.pool.integer(0));
        }
        if let Some(at) = group.iter().position(|f| f.bare) {
            let rest = group.iter().enumerate().filter(|&(k, _)| k != at).map(|(_, f)| f.expr);
            let rest: Vec<ExprId> = rest.collect();
            return self.stein(group[at].expr, &rest, name);
        }
        if let Some(at) = group.iter().position(|f| matches!(self.graph.pool.node(f.expr), Expr::Apply(Func::Delta, _)))
        {
            let rest: Vec<ExprId> = group.iter().enumerate().filter(|&(k, _)| k != at).map(|(_, f)| f.expr).collect();
            return self.density(group[at].expr, &rest, name);
        }
        let mut slots = Slots::default();
        let mut integrand = self.graph.pool.integer(1);
        for factor in group {
            let slotted = self.slotted(factor.expr, &mut slots, name)?;
            integrand = self.graph.pool.mul(integrand, slotted);
        }
        let mut covariance = Vec::new();
        for i in 0..slots.forms.len() {
            for j in 0..=i {
                covariance.push(self.covariance_of_forms(slots.forms[i], slots.forms[j], name)?);
            }
        }
        Ok(self.define_expect(integrand, covariance, slots.parameters))
    }

    /// `E[Z rest] = sum over occurrences of base variables b in rest of Cov(Z, b) E[d rest / d b]` (Stein).
    fn stein(&mut self, bare: ExprId, rest: &[ExprId], name: &str) -> Result<ExprId, LimitError> {
        let Expr::Ref(symbol, indices) = self.graph.pool.node(bare).clone() else {
            unreachable!("bare factors are references to base variables")
        };
        let product = self.graph.pool.mul_all(rest.iter().copied());
        let mut total = self.graph.pool.integer(0);
        for occurrence in self.random_occurrences(product) {
            let (covariance, same) =
                self.base_covariance((symbol, &indices), (occurrence.symbol, &occurrence.indices), name)?;
            if self.graph.pool.is_zero(covariance) {
                continue;
            }
            let mean = self.expectation(occurrence.coefficient, name)?;
            let pool = &mut self.graph.pool;
            let value = pool.mul(covariance, mean);
            let value = pool.sum_matching(&occurrence.variables, same, occurrence.guards.iter().cloned(), value);
            total = pool.add(total, value);
        }
        Ok(total)
    }

    /// The weak derivative of an expression in all base variables.
    pub(crate) fn random_occurrences(&mut self, expr: ExprId) -> Vec<netsor_ir::calculus::Occurrence> {
        let random: Vec<bool> =
            (0..self.program.values.len() as u32).map(|s| self.graph.is_random(Symbol(s))).collect();
        let wanted = |s: Symbol| random.get(s.0 as usize).copied().unwrap_or(false);
        self.graph.pool.occurrences(expr, Derivative::Weak, &mut self.expander.fresh, &wanted)
    }

    /// `E[delta(c + L) G] = density of L at -c times E[G | L = -c]`.
    fn density(&mut self, delta: ExprId, rest: &[ExprId], name: &str) -> Result<ExprId, LimitError> {
        let Expr::Apply(_, args) = self.graph.pool.node(delta).clone() else {
            unreachable!("called with an application of delta")
        };
        let mut slots = Slots::default();
        let argument = self.slotted(args[0], &mut slots, name)?;
        // The argument must be `constant + slot`; anything else is a jump along a curve.
        let (constant, slot) = match *self.graph.pool.node(argument) {
            Expr::Add(c, s) => (c, s),
            Expr::Ref(..) => (self.graph.pool.integer(0), argument),
            _ => return Err(LimitError::JumpTimesJump { name: name.to_owned() }),
        };
        let first = self.graph.pool.reference(Graph::slot_symbol(0), []);
        if slot != first || slots.forms.len() != 1 {
            return Err(LimitError::JumpTimesJump { name: name.to_owned() });
        }
        let form = slots.forms[0];
        let mut integrand = self.graph.pool.integer(1);
        for &factor in rest {
            if self.jumps_at(factor, args[0]) {
                return Err(LimitError::JumpTimesJump { name: name.to_owned() });
            }
            let slotted = self.slotted(factor, &mut slots, name)?;
            integrand = self.graph.pool.mul(integrand, slotted);
        }
        let variance = self.covariance_of_forms(form, form, name)?;
        let mut with_form = Vec::new();
        for k in 0..slots.forms.len() {
            with_form.push(self.covariance_of_forms(slots.forms[k], form, name)?);
        }
        let mut covariance = Vec::new();
        for i in 0..slots.forms.len() {
            for j in 0..=i {
                let joint = self.covariance_of_forms(slots.forms[i], slots.forms[j], name)?;
                let pool = &mut self.graph.pool;
                let explained = pool.mul(with_form[i], with_form[j]);
                let explained = pool.div(explained, variance);
                // The delta's own slot is known exactly.
                covariance.push(if i == 0 || j == 0 { pool.integer(0) } else { pool.sub(joint, explained) });
            }
        }
        // Conditional means: slot k becomes slot k - c Cov(k, L) / Var(L); they enter as parameters.
        if !self.graph.pool.is_zero(constant) {
            let mut shifted = Vec::new();
            for &with in &with_form {
                let pool = &mut self.graph.pool;
                let ratio = pool.div(with, variance);
                let shift = pool.mul(constant, ratio);
                shifted.push(pool.neg(shift));
            }
            integrand = self.shift_slots(integrand, &shifted, &mut slots);
        }
        let mean = self.define_expect(integrand, covariance, slots.parameters);
        let pool = &mut self.graph.pool;
        let pi = pool.intern(Expr::Pi);
        let two = pool.integer(2);
        let scale = pool.mul(two, pi);
        let scale = pool.mul(scale, variance);
        let norm = pool.pow(scale, Power::new(-1, 2));
        let square = pool.mul(constant, constant);
        let doubled = pool.mul(two, variance);
        let exponent = pool.div(square, doubled);
        let exponent = pool.neg(exponent);
        let bump = pool.apply(Func::Exp, exponent);
        let density = pool.mul(norm, bump);
        Ok(pool.mul(density, mean))
    }

    /// Whether a factor has a jump, or another delta, in exactly the argument of a delta.
    fn jumps_at(&self, factor: ExprId, argument: ExprId) -> bool {
        let mut found = false;
        self.graph.pool.visit(factor, &mut |node| {
            if let Expr::Apply(func, args) = node {
                found |= func.facts().smoothness == Smoothness::Jump && (args[0] == argument || *func == Func::Delta);
            }
        });
        found
    }

    /// Replaces slot `k` by slot `k` plus a new parameter with the value `shifts[k]`.
    fn shift_slots(&mut self, integrand: ExprId, shifts: &[ExprId], slots: &mut Slots) -> ExprId {
        let first = slots.parameters.len();
        slots.parameters.extend_from_slice(shifts);
        let mut fresh = self.expander.fresh;
        let result = self.graph.pool.replace_refs(integrand, &mut fresh, &mut |pool, symbol, _, _| {
            let k = (0..shifts.len()).find(|&k| Graph::slot_symbol(k) == symbol)?;
            let slot = pool.reference(symbol, []);
            let parameter = pool.reference(Graph::parameter_symbol(first + k), []);
            Some(pool.intern(Expr::Add(parameter, slot)))
        });
        self.expander.fresh = fresh;
        result
    }

    /// Whether the product of the factors changes sign with all Gaussians, so that its expectation is 0.
    fn is_odd(&mut self, group: &[&Factor], name: &str) -> Result<bool, LimitError> {
        let mut odd = false;
        for factor in group {
            if factor.bare {
                odd = !odd;
                continue;
            }
            let mut slots = Slots::default();
            let slotted = self.slotted(factor.expr, &mut slots, name)?;
            match self.parity(slotted) {
                Parity::Odd => odd = !odd,
                Parity::Even => {}
                Parity::Neither => return Ok(false),
            }
        }
        Ok(odd)
    }

    /// Parity of an integrand under a joint change of sign of all slots.
    fn parity(&self, root: ExprId) -> Parity {
        let mut known: FxHashMap<ExprId, Parity> = FxHashMap::default();
        let product = |a, b| match (a, b) {
            (Parity::Neither, _) | (_, Parity::Neither) => Parity::Neither,
            (a, b) if a == b => Parity::Even,
            _ => Parity::Odd,
        };
        let mut order: Vec<ExprId> = Vec::new();
        let mut stack = vec![root];
        let mut seen = std::collections::BTreeSet::new();
        while let Some(id) = stack.pop() {
            if seen.insert(id) {
                netsor_ir::expr::for_each_child(self.graph.pool.node(id), |c| stack.push(c));
            }
        }
        order.extend(seen);
        for id in order {
            let of = |id: &ExprId| known[id];
            let zero = |id: &ExprId| self.graph.pool.is_zero(*id);
            let parity = match self.graph.pool.node(id) {
                Expr::Const(_) | Expr::Pi | Expr::Width(_) | Expr::Table(..) => Parity::Even,
                Expr::Ref(symbol, _) => {
                    if self.graph.is_random(*symbol) {
                        Parity::Odd
                    } else {
                        Parity::Even
                    }
                }
                Expr::Neg(a) => of(a),
                Expr::Add(a, b) | Expr::Sub(a, b) => match (of(a), of(b)) {
                    (x, y) if x == y => x,
                    (x, _) if zero(b) => x,
                    (_, y) if zero(a) => y,
                    _ => Parity::Neither,
                },
                Expr::Mul(a, b) | Expr::Div(a, b) => product(of(a), of(b)),
                Expr::Pow(a, p) => match of(a) {
                    Parity::Odd if p.is_integer() && p.numer() % 2 == 0 => Parity::Even,
                    Parity::Odd if p.is_integer() => Parity::Odd,
                    Parity::Odd => Parity::Neither,
                    other => other,
                },
                Expr::Apply(func, args) => {
                    let others_even = args[1..].iter().all(|a| of(a) == Parity::Even);
                    match (of(&args[0]), func.facts().parity) {
                        (Parity::Even, _) if others_even => Parity::Even,
                        (Parity::Odd, parity) if others_even => parity,
                        _ => Parity::Neither,
                    }
                }
                Expr::Sum(sum) => of(&sum.body),
            };
            known.insert(id, parity);
        }
        known[&root]
    }

    /// Replaces maximal linear forms in base variables by slots, and scalars by parameters.
    fn slotted(&mut self, expr: ExprId, slots: &mut Slots, name: &str) -> Result<ExprId, LimitError> {
        let mut known = FxHashMap::default();
        self.slot_node(expr, slots, &mut known, name)
    }

    fn slot_node(
        &mut self,
        id: ExprId,
        slots: &mut Slots,
        known: &mut FxHashMap<ExprId, ExprId>,
        name: &str,
    ) -> Result<ExprId, LimitError> {
        if let Some(&done) = known.get(&id) {
            return Ok(done);
        }
        let shape = self.expander.shape(&self.graph, id);
        let node = self.graph.pool.node(id).clone();
        let result = if shape.is_scalar() {
            let limit = self.expander.limit_of_scalar(&mut self.graph, id, name)?;
            self.parameter(limit, slots)
        } else if shape.is_linear() {
            self.slot(id, slots, name)?
        } else if let Expr::Sum(sum) = &node {
            let sum = self.enumerate(sum, name)?;
            self.slot_node(sum, slots, known, name)?
        } else {
            let mut children: smallvec::SmallVec<[ExprId; 2]> = smallvec![];
            netsor_ir::expr::for_each_child(&node, |child| children.push(child));
            let mut new: smallvec::SmallVec<[ExprId; 2]> = smallvec![];
            for child in children {
                new.push(stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || {
                    self.slot_node(child, slots, known, name)
                })?);
            }
            let pool = &mut self.graph.pool;
            match node {
                Expr::Neg(_) => pool.neg(new[0]),
                Expr::Add(..) => pool.add(new[0], new[1]),
                Expr::Sub(..) => pool.sub(new[0], new[1]),
                Expr::Mul(..) => pool.mul(new[0], new[1]),
                Expr::Div(..) => pool.div(new[0], new[1]),
                Expr::Pow(_, p) => pool.pow(new[0], p),
                Expr::Apply(func, _) if new.len() == 1 => pool.apply(func, new[0]),
                Expr::Apply(func, _) => pool.apply2(func, new[0], new[1]),
                Expr::Sum(_) | Expr::Const(_) | Expr::Pi | Expr::Width(_) | Expr::Ref(..) | Expr::Table(..) => id,
            }
        };
        known.insert(id, result);
        Ok(result)
    }

    /// A scalar inside an integrand: constants stay, everything else becomes a parameter.
    fn parameter(&mut self, scalar: ExprId, slots: &mut Slots) -> ExprId {
        let mut constant = true;
        self.graph.pool.visit(scalar, &mut |node| {
            constant &= !matches!(node, Expr::Ref(..) | Expr::Table(..) | Expr::Sum(_));
        });
        if constant {
            return scalar;
        }
        let k = slots.parameters.iter().position(|&p| p == scalar).unwrap_or_else(|| {
            slots.parameters.push(scalar);
            slots.parameters.len() - 1
        });
        self.graph.pool.reference(Graph::parameter_symbol(k), [])
    }

    /// A linear form: its constant part stays in the integrand, its random part becomes a slot.
    fn slot(&mut self, form: ExprId, slots: &mut Slots, name: &str) -> Result<ExprId, LimitError> {
        let terms = self.expander.expand(&mut self.graph, form, name)?;
        let mut constant = self.graph.pool.integer(0);
        let mut random = self.graph.pool.integer(0);
        for term in &terms {
            if term.width.is_positive() {
                let power = term.width.to_string();
                return Err(LimitError::NotAScalar { name: name.to_owned(), power });
            }
            if term.width.is_negative() {
                continue;
            }
            let mut value = scalar_part(&mut self.graph, term);
            for &bare in &term.bare {
                value = self.graph.pool.mul(value, bare);
            }
            let value = self.graph.pool.sum(&term.variables, term.guards.iter().cloned(), value);
            let target = if term.bare.is_empty() { &mut constant } else { &mut random };
            *target = self.graph.pool.add(*target, value);
        }
        let constant = if self.graph.pool.is_zero(constant) { None } else { Some(self.parameter(constant, slots)) };
        let slot = if self.graph.pool.is_zero(random) {
            None
        } else {
            let k = slots.forms.iter().position(|&f| f == random).unwrap_or_else(|| {
                slots.forms.push(random);
                slots.forms.len() - 1
            });
            Some(self.graph.pool.reference(Graph::slot_symbol(k), []))
        };
        Ok(match (constant, slot) {
            (Some(c), Some(s)) => self.graph.pool.intern(Expr::Add(c, s)),
            (Some(c), None) => c,
            (None, Some(s)) => s,
            (None, None) => self.graph.pool.integer(0),
        })
    }

    /// A nonlinear sum inside a function, written out term by term.
    fn enumerate(&mut self, sum: &netsor_ir::expr::Sum, name: &str) -> Result<ExprId, LimitError> {
        let opened = self.graph.pool.open(sum, &mut self.expander.fresh);
        let mut partial = vec![(opened.guards.to_vec(), opened.body)];
        for &(variable, axis) in &opened.variables {
            let size = self.graph.axis_size(axis);
            let mut next = Vec::new();
            for (guards, body) in partial {
                for position in 0..size {
                    let fix = |i: Index| if i == variable { Index::At(position) } else { i };
                    let guards: Vec<_> = guards.iter().map(|g| g.map(fix)).collect();
                    if guards.iter().all(|g| g.truth() != netsor_ir::index::Truth::Never) {
                        next.push((guards, self.graph.pool.map_indices(body, &mut |i| fix(i))));
                    }
                }
                if crate::terms::TERM_LIMIT < next.len() {
                    return Err(LimitError::TooManyTerms { name: name.to_owned(), limit: crate::terms::TERM_LIMIT });
                }
            }
            partial = next;
        }
        let mut total = self.graph.pool.integer(0);
        for (guards, body) in partial {
            if guards.iter().any(|g| g.truth() == netsor_ir::index::Truth::Depends) {
                return Err(LimitError::NonlinearSum { name: name.to_owned() });
            }
            total = self.graph.pool.add(total, body);
        }
        Ok(total)
    }

    /// `Cov(L, M)` of two linear forms.
    pub(crate) fn covariance_of_forms(&mut self, a: ExprId, b: ExprId, name: &str) -> Result<ExprId, LimitError> {
        // Equal pairs are asked for again and again; the covariance is symmetric.
        let key = (a.min(b), a.max(b));
        if let Some(&known) = self.form_covariances.get(&key) {
            return Ok(known);
        }
        let left = self.expander.expand(&mut self.graph, key.0, name)?;
        let right = self.expander.expand(&mut self.graph, key.1, name)?;
        let mut total = self.graph.pool.integer(0);
        for x in &left {
            for y in &right {
                let (Some(&p), Some(&q)) = (x.bare.first(), y.bare.first()) else { continue };
                let width = x.width + y.width;
                if width.is_positive() {
                    return Err(LimitError::NotAScalar { name: name.to_owned(), power: width.to_string() });
                }
                if width.is_negative() {
                    continue;
                }
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
        self.form_covariances.insert(key, total);
        Ok(total)
    }

    /// Defines `E integrand` and returns a mention of it; the integrand itself if no slot is left in it.
    fn define_expect(&mut self, integrand: ExprId, covariance: Vec<ExprId>, parameters: Vec<ExprId>) -> ExprId {
        if self.graph.pool.as_const(integrand).is_some() {
            return integrand;
        }
        let n_covariance = covariance.len();
        let all: Vec<ExprId> = covariance.into_iter().chain(parameters).collect();
        let (all, variables) = self.canonical(&all);
        let body = Body::Expect {
            integrand,
            covariance: all[..n_covariance].to_vec(),
            parameters: all[n_covariance..].to_vec(),
        };
        let def = self.define(Def { arity: variables.len(), body });
        let symbol = self.graph.def_symbol(def);
        self.graph.pool.reference(symbol, variables)
    }

    /// Adds a definition, or finds it.
    pub(crate) fn define(&mut self, def: Def) -> DefId {
        if let Some(&known) = self.known_defs.get(&def) {
            return known;
        }
        let id = DefId::new(self.graph.defs.len());
        self.graph.defs.push(def.clone());
        self.known_defs.insert(def, id);
        id
    }

    /// The expressions with their free variables renamed to `Var(0), Var(1), ...` in order of appearance, and the
    /// variables that these stand for.
    pub(crate) fn canonical(&mut self, exprs: &[ExprId]) -> (Vec<ExprId>, Vec<Index>) {
        let mut variables: Vec<Index> = Vec::new();
        let mut seen = std::collections::HashSet::<ExprId, rustc_hash::FxBuildHasher>::default();
        let mut stack: Vec<ExprId> = exprs.iter().rev().copied().collect();
        let mut note = |index: Index| {
            if matches!(index, Index::Var(_)) && !variables.contains(&index) {
                variables.push(index);
            }
        };
        while let Some(id) = stack.pop() {
            if !seen.insert(id) {
                continue;
            }
            let node = self.graph.pool.node(id);
            match node {
                Expr::Ref(_, indices) | Expr::Table(_, indices) => indices.iter().for_each(|&i| note(i)),
                Expr::Sum(sum) => {
                    sum.guards.iter().for_each(|g| g.terms().iter().for_each(|&(_, i)| note(i)));
                }
                _ => {}
            }
            let start = stack.len();
            netsor_ir::expr::for_each_child(node, |child| stack.push(child));
            stack[start..].reverse();
        }
        if variables.iter().enumerate().all(|(k, &v)| v == Index::Var(k as u32)) {
            return (exprs.to_vec(), variables);
        }
        let rename = |index: Index| match variables.iter().position(|&v| v == index) {
            Some(k) => Index::Var(k as u32),
            None => index,
        };
        let renamed = exprs.iter().map(|&e| self.graph.pool.map_indices(e, &mut |i| rename(i))).collect();
        (renamed, variables)
    }

    fn rename_back(&mut self, expr: ExprId, variables: &[Index]) -> ExprId {
        self.instantiate(expr, variables)
    }

    /// The expression with `Var(k)` replaced by `indices[k]`.
    pub(crate) fn instantiate(&mut self, expr: ExprId, indices: &[Index]) -> ExprId {
        if indices.iter().enumerate().all(|(k, &i)| i == Index::Var(k as u32)) {
            return expr;
        }
        self.graph.pool.map_indices(expr, &mut |index| match index {
            Index::Var(k) => indices.get(k as usize).copied().unwrap_or(index),
            other => other,
        })
    }
}

/// One factor of a monomial.
struct Factor {
    expr: ExprId,
    bare: bool,
    /// Its linear forms.
    forms: Vec<ExprId>,
}

/// A base variable as mentioned.
pub(crate) type Mention<'a> = (Symbol, &'a Indices);
