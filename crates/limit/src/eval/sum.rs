//! Sums over finite axes.
//!
//! A sum is computed once for all values of the indices that it depends on: sums in sums would multiply. Products are
//! summed in the order of [`Contraction`], whose partial sums are remembered in the same way.

use std::rc::Rc;

use netsor_ir::expr::{ExprId, Sum};
use netsor_ir::index::{Index, for_each_assignment, for_each_assignment_of};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::value::Total;
use super::{Evaluator, Value, resolve};
use crate::contraction::Contraction;
use crate::error::LimitError;

/// Sums that are remembered; later ones are computed each time.
const MAX_SUMS: usize = 1 << 21;

/// The positions that a sum depends on.
type Positions = SmallVec<[u32; 6]>;

/// What is known of sums.
#[derive(Default)]
pub(super) struct Sums {
    forms: FxHashMap<ExprId, Rc<Form>>,
    values: FxHashMap<(ExprId, Positions), Value>,
    /// Partial sums by their number; `None` where there are no terms.
    partials: FxHashMap<(ExprId, usize, Positions), Option<Value>>,
}

impl Sums {
    /// Forgets all values.
    pub(super) fn forget(&mut self) {
        self.values.clear();
        self.partials.clear();
    }
}

/// What a sum depends on, and how it is computed if not term by term.
struct Form {
    free: Vec<Index>,
    contraction: Option<Contraction>,
}

impl Evaluator<'_> {
    pub(super) fn sum(&mut self, id: ExprId, sum: &Sum, at: &[u32], bound: &[u32]) -> Result<Value, LimitError> {
        let graph = self.graph;
        let form = self.sums.forms.entry(id).or_insert_with(|| {
            let contraction = Contraction::new(graph, id, &|_| false);
            Rc::new(Form { free: graph.free_indices(id), contraction })
        });
        let form = form.clone();
        let key = (id, resolve(&form.free, at, bound)?);
        if let Some(&known) = self.sums.values.get(&key) {
            return Ok(known);
        }
        let value = match &form.contraction {
            Some(contraction) => {
                let mut places = contraction.start(bound);
                let total = self.partial(id, contraction, contraction.partials.len() - 1, at, &mut places)?;
                let total = total.unwrap_or(Value::exact(0.0));
                Value { value: contraction.sign * total.value, ..total }
            }
            None => self.term_by_term(sum, at, bound)?,
        };
        if self.sums.values.len() < MAX_SUMS {
            self.sums.values.insert(key, value);
        }
        Ok(value)
    }

    fn term_by_term(&mut self, sum: &Sum, at: &[u32], bound: &[u32]) -> Result<Value, LimitError> {
        let graph = self.graph;
        let base = graph.pool.height(sum.body) as usize;
        let sizes: Vec<u32> = sum.axes.iter().map(|&axis| graph.axis_size(axis)).collect();
        let mut inner = bound.to_vec();
        inner.resize(inner.len().max(base + sizes.len()), 0);
        let own = base..base + sizes.len();
        let mut assignments: Vec<u32> = Vec::new();
        let mut count = 0;
        for_each_assignment(&sizes, &sum.guards, base, at, &mut inner, &mut |bound| {
            assignments.extend_from_slice(&bound[own.clone()]);
            count += 1;
        });
        let mut total = Total::default();
        for k in 0..count {
            inner[own.clone()].copy_from_slice(&assignments[k * own.len()..(k + 1) * own.len()]);
            total.add(self.expr(sum.body, at, &inner)?);
        }
        total.value()
    }

    /// The partial sum `k` at these positions; `None` if it has no terms.
    fn partial(
        &mut self,
        id: ExprId,
        contraction: &Contraction,
        k: usize,
        at: &[u32],
        places: &mut Vec<u32>,
    ) -> Result<Option<Value>, LimitError> {
        let partial = &contraction.partials[k];
        let key = (id, k, resolve(&partial.free, at, places)?);
        if let Some(&known) = self.sums.partials.get(&key) {
            return Ok(known);
        }
        let own = partial.variables.len();
        let mut assignments: Vec<u32> = Vec::new();
        let mut count = 0;
        for_each_assignment_of(&partial.variables, &partial.guards, at, places, &mut |places| {
            assignments.extend(partial.variables.iter().map(|&(place, _)| places[place]));
            count += 1;
        });
        let mut total = Total::default();
        let mut terms = 0;
        'terms: for term in 0..count {
            for (&(place, _), &position) in partial.variables.iter().zip(&assignments[term * own..]) {
                places[place] = position;
            }
            let mut product = Value::exact(1.0);
            for &inner in &partial.partials {
                match self.partial(id, contraction, inner, at, places)? {
                    Some(value) => product = product.times(value)?,
                    None => continue 'terms,
                }
            }
            for factor in &partial.factors {
                product = product.times(self.expr(factor.expr, at, &factor.bound(places))?)?;
            }
            total.add(product);
            terms += 1;
        }
        let total = if terms == 0 { None } else { Some(total.value()?) };
        if self.sums.partials.len() < MAX_SUMS {
            self.sums.partials.insert(key, total);
        }
        Ok(total)
    }
}
