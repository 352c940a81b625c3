//! Sums over finite axes.
//!
//! Inner products of data are kept whole. Products are summed in the order of [`Contraction`]; partial sums are lowered
//! once for all positions of the indices that they depend on, and are nodes of the plan that entries share.

use std::rc::Rc;

use netsor_ir::Index;
use netsor_ir::expr::{ExprId, Sum};
use netsor_ir::index::{Guard, for_each_assignment, for_each_assignment_of};
use netsor_limit::contraction::Contraction;
use rustc_hash::FxHashMap;

use super::inner::InnerProduct;
use super::{At, Lowering, Value, resolve};
use crate::error::KernelError;

/// What is known of sums.
#[derive(Default)]
pub(super) struct Sums {
    forms: FxHashMap<ExprId, Rc<Form>>,
    values: FxHashMap<(ExprId, Vec<At>), Value>,
    /// Partial sums by their number; `None` where there are no terms.
    partials: FxHashMap<(ExprId, usize, Vec<At>), Option<Value>>,
}

/// What a sum depends on, and how it is computed.
struct Form {
    free: Vec<Index>,
    way: Way,
}

enum Way {
    /// Inner products, whose sum it is.
    Inner(Vec<InnerProduct>),
    Contraction(Contraction),
    TermByTerm,
}

impl Lowering<'_> {
    /// A sum is lowered once for all values of the indices that it depends on: sums in sums would multiply.
    pub(super) fn known_sum(&mut self, id: ExprId, sum: &Sum, at: &[At], bound: &[u32]) -> Result<Value, KernelError> {
        let form = match self.sums.forms.get(&id) {
            Some(known) => known.clone(),
            None => {
                let form = Rc::new(Form { free: self.graph.free_indices(id), way: self.way(id, sum) });
                self.sums.forms.entry(id).or_insert(form).clone()
            }
        };
        let key = (id, resolve(&form.free, at, bound)?);
        if let Some(known) = self.sums.values.get(&key) {
            return Ok(known.clone());
        }
        let value = match &form.way {
            Way::Inner(products) => {
                let mut total = Value::constant(0.0);
                for found in products {
                    total = total.plus(self.over(sum, Some(found), at, bound)?);
                }
                total.collected()
            }
            Way::Contraction(contraction) => {
                let mut places = contraction.start(bound);
                let last = contraction.partials.len() - 1;
                let total = self.partial(id, contraction, last, at, &mut places)?;
                total.unwrap_or(Value::constant(0.0)).scaled(contraction.sign)
            }
            Way::TermByTerm => self.over(sum, None, at, bound)?,
        };
        self.sums.values.insert(key, value.clone());
        Ok(value)
    }

    fn way(&self, id: ExprId, sum: &Sum) -> Way {
        // Inner products of data are matrix products; a derivative is a sum of them.
        let inner = |sum: &Sum| InnerProduct::find_all(self, sum).unwrap_or_default();
        let products = inner(sum);
        if !products.is_empty() {
            return Way::Inner(products);
        }
        match Contraction::new(self.graph, id, &|sum| !inner(sum).is_empty()) {
            Some(contraction) => Way::Contraction(contraction),
            None => Way::TermByTerm,
        }
    }

    /// The sum of the body, or of one inner product in it, over all assignments.
    fn over(
        &mut self,
        sum: &Sum,
        inner: Option<&InnerProduct>,
        at: &[At],
        bound: &[u32],
    ) -> Result<Value, KernelError> {
        let graph = self.graph;
        let base = graph.pool.height(sum.body) as usize;
        // The coordinate of an inner product stays at position 0 while the other variables run.
        let sizes: Vec<u32> = sum
            .axes
            .iter()
            .enumerate()
            .map(|(k, &axis)| match inner {
                Some(found) if found.variable == base + k => 1,
                _ => graph.axis_size(axis),
            })
            .collect();
        let positions = fixed(&sum.guards, at)?;
        let mut env = bound.to_vec();
        env.resize(env.len().max(base + sizes.len()), 0);
        let mut assignments = Vec::new();
        for_each_assignment(&sizes, &sum.guards, base, &positions, &mut env, &mut |bound| {
            assignments.push(bound.to_vec());
        });
        let mut total = Value::constant(0.0);
        for bound in assignments {
            let term = match inner {
                Some(found) => self.inner_product(found, at, &bound)?,
                None => self.expr(sum.body, at, &bound)?,
            };
            total = total.plus(term);
        }
        Ok(total.collected())
    }

    /// The partial sum `k` at these positions, as one operand if others multiply it; `None` if it has no terms.
    fn partial(
        &mut self,
        id: ExprId,
        contraction: &Contraction,
        k: usize,
        at: &[At],
        places: &mut Vec<u32>,
    ) -> Result<Option<Value>, KernelError> {
        let partial = &contraction.partials[k];
        let key = (id, k, resolve(&partial.free, at, places)?);
        if let Some(known) = self.sums.partials.get(&key) {
            return Ok(known.clone());
        }
        let positions = fixed(&partial.guards, at)?;
        let own = partial.variables.len();
        let mut assignments: Vec<u32> = Vec::new();
        let mut count = 0;
        for_each_assignment_of(&partial.variables, &partial.guards, &positions, places, &mut |places| {
            assignments.extend(partial.variables.iter().map(|&(place, _)| places[place]));
            count += 1;
        });
        let mut total: Option<Value> = None;
        'terms: for term in 0..count {
            for (&(place, _), &position) in partial.variables.iter().zip(&assignments[term * own..]) {
                places[place] = position;
            }
            let mut product = Value::constant(1.0);
            for &inner in &partial.partials {
                match self.partial(id, contraction, inner, at, places)? {
                    Some(value) => product = self.multiply(product, value)?,
                    None => continue 'terms,
                }
            }
            for factor in &partial.factors {
                let value = self.expr(factor.expr, at, &factor.bound(places))?;
                product = self.multiply(product, value)?;
            }
            total = Some(total.unwrap_or(Value::constant(0.0)).plus(product));
        }
        let total = match total.map(Value::collected) {
            // One node each, so that what uses it shares it.
            Some(value) if k + 1 < contraction.partials.len() && value.as_multiple().is_none() => {
                let (factor, value) = value.normalised();
                Some(Value::of(self.arg(value)?).scaled(factor))
            }
            other => other,
        };
        self.sums.partials.insert(key, total.clone());
        Ok(total)
    }
}

/// The positions of index variables, for guards over those that are fixed.
fn fixed(guards: &[Guard], at: &[At]) -> Result<Vec<u32>, KernelError> {
    let on_input = |i: Index| matches!(i, Index::Var(k) if matches!(at.get(k as usize), Some(At::Row | At::Col)));
    if guards.iter().any(|g| g.terms().iter().any(|&(_, i)| on_input(i))) {
        return Err(KernelError::DependsOnPosition { what: "guard" });
    }
    Ok(at.iter().map(|a| if let At::Fixed(p) = a { *p } else { 0 }).collect())
}
