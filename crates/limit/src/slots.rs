//! Integrands over slots: every maximal linear form in base variables becomes one coordinate of a Gaussian vector, every
//! scalar a parameter. What is left is a function that knows nothing of the program.

use std::rc::Rc;

use netsor_ir::Index;
use netsor_ir::expr::{Expr, ExprId, Sum};
use netsor_ir::func::Parity;
use netsor_ir::index::{Guard, Truth};
use rustc_hash::FxHashMap;
use smallvec::smallvec;

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::Graph;
use crate::terms::scalar_part;

/// The slots of the factors of one monomial: each a centred linear form.
#[derive(Default)]
pub(crate) struct Slots {
    pub(crate) forms: Vec<ExprId>,
    pub(crate) parameters: Vec<ExprId>,
}

impl Deriver<'_> {
    /// Parity of an integrand under a joint change of sign of all slots.
    pub(crate) fn parity(&self, root: ExprId) -> Parity {
        let mut known: FxHashMap<ExprId, Parity> = FxHashMap::default();
        let product = |a, b| match (a, b) {
            (Parity::Neither, _) | (_, Parity::Neither) => Parity::Neither,
            (a, b) if a == b => Parity::Even,
            _ => Parity::Odd,
        };
        for id in self.graph.pool.reachable(root) {
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
    pub(crate) fn slotted(&mut self, expr: ExprId, slots: &mut Slots, name: &str) -> Result<ExprId, LimitError> {
        let mut known = FxHashMap::default();
        self.slot_node(expr, slots, &[], &mut known, name)
    }

    /// Where the guards fail the result does not count, and slots are 0 there, so that nothing is integrated over them.
    fn slot_node(
        &mut self,
        id: ExprId,
        slots: &mut Slots,
        guards: &[Guard],
        known: &mut FxHashMap<ExprId, ExprId>,
        name: &str,
    ) -> Result<ExprId, LimitError> {
        if let Some(&done) = known.get(&id) {
            return Ok(done);
        }
        let shape = self.expander.shape(&self.graph, id);
        let node = self.graph.pool.node(id).clone();
        let result = if shape.is_scalar() {
            self.parameter(id, slots)
        } else if shape.is_linear() {
            self.slot(id, slots, guards, name)?
        } else if let Expr::Sum(sum) = &node {
            let mut total = self.graph.pool.integer(0);
            for (own, body) in self.enumerate(sum, name)? {
                let term = if own.is_empty() {
                    self.slot_node(body, slots, guards, known, name)?
                } else {
                    let one = self.graph.pool.integer(1);
                    let indicator = self.graph.pool.sum(&[], own.iter().cloned(), one);
                    let indicator = self.parameter(indicator, slots);
                    let both: Vec<Guard> = guards.iter().cloned().chain(own).collect();
                    let body = self.slot_node(body, slots, &both, &mut FxHashMap::default(), name)?;
                    self.graph.pool.mul(indicator, body)
                };
                total = self.graph.pool.add(total, term);
            }
            total
        } else {
            let mut children: smallvec::SmallVec<[ExprId; 2]> = smallvec![];
            netsor_ir::expr::for_each_child(&node, |child| children.push(child));
            let mut new: smallvec::SmallVec<[ExprId; 2]> = smallvec![];
            for child in children {
                new.push(stacker::maybe_grow(64 * 1024, 4 * 1024 * 1024, || {
                    self.slot_node(child, slots, guards, known, name)
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
    fn slot(&mut self, form: ExprId, slots: &mut Slots, guards: &[Guard], name: &str) -> Result<ExprId, LimitError> {
        let (constant, random) = self.split_form(form, name)?;
        let random = self.graph.pool.sum(&[], guards.iter().cloned(), random);
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

    /// The constant and the random part of a linear form. Batch statistics mention the same forms of hundreds of terms in
    /// every expectation.
    fn split_form(&mut self, form: ExprId, name: &str) -> Result<(ExprId, ExprId), LimitError> {
        if let Some(&known) = self.split_forms.get(&form) {
            return Ok(known);
        }
        let terms = self.expander.expand(&mut self.graph, form, name)?;
        let mut constant = self.graph.pool.integer(0);
        let mut random = self.graph.pool.integer(0);
        for term in &terms {
            let mut value = scalar_part(&mut self.graph, term);
            for &bare in &term.bare {
                value = self.graph.pool.mul(value, bare);
            }
            let value = self.graph.pool.sum(&term.variables, term.guards.iter().cloned(), value);
            let target = if term.bare.is_empty() { &mut constant } else { &mut random };
            *target = self.graph.pool.add(*target, value);
        }
        self.split_forms.insert(form, (constant, random));
        Ok((constant, random))
    }

    /// The linear forms that a factor of an integrand is a function of, and its parity in them.
    pub(crate) fn factor_facts(&mut self, factor: ExprId, name: &str) -> Result<(Rc<[ExprId]>, Parity), LimitError> {
        if let Some(known) = self.factor_facts.get(&factor) {
            return Ok(known.clone());
        }
        let mut slots = Slots::default();
        let slotted = self.slotted(factor, &mut slots, name)?;
        let facts = (Rc::from(slots.forms), self.parity(slotted));
        self.factor_facts.insert(factor, facts.clone());
        Ok(facts)
    }

    /// The terms of a nonlinear sum inside a function, each with the guards that the value's own index decides.
    fn enumerate(&mut self, sum: &Sum, name: &str) -> Result<Vec<(Vec<Guard>, ExprId)>, LimitError> {
        let opened = self.graph.pool.open(sum, &mut self.expander.fresh);
        let mut partial = vec![(opened.guards.to_vec(), opened.body)];
        for &(variable, axis) in &opened.variables {
            let size = self.graph.axis_size(axis);
            let mut next = Vec::new();
            for (guards, body) in partial {
                for position in 0..size {
                    let fix = |i: Index| if i == variable { Index::At(position) } else { i };
                    let guards: Vec<Guard> = guards.iter().map(|g| g.map(fix)).collect();
                    if guards.iter().all(|g| g.truth() != Truth::Never) {
                        next.push((guards, self.graph.pool.map_indices(body, &mut |i| fix(i))));
                    }
                }
                if crate::terms::TERM_LIMIT < next.len() {
                    return Err(LimitError::TooManyTerms { name: name.to_owned(), limit: crate::terms::TERM_LIMIT });
                }
            }
            partial = next;
        }
        for (guards, _) in &mut partial {
            guards.retain(|g| g.truth() != Truth::Always);
        }
        Ok(partial)
    }
}
