//! From the moment graph and numbers for the data to numbers.
//!
//! Decisions about rank live here and in [`netsor_gauss`], never in `derive`. Each definition is computed once for
//! each tuple of indices that is asked for. Every number carries an error: that of its own expectations, propagated to
//! first order through the arithmetic that follows, and through expectations by their exact derivatives in the
//! covariance (module `price`); errors that are negligible beside the tolerance enter as they are.

mod data;
mod expectation;
mod groups;
mod integrand;
mod plan;
mod premises;
mod same;
mod sampled;
mod sum;
mod value;

use std::rc::Rc;

use netsor_gauss::{Estimate, Tolerance};
use netsor_ir::expr::{Expr, ExprId, Symbol};
use netsor_ir::func::Smoothness;
use netsor_ir::index::{Index, position};
use netsor_ir::number::{power_to_f64, to_f64};
use netsor_ir::{Dim, Kind, Program};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::error::LimitError;
use crate::graph::{Body, DefId, Graph, Leaf, PremisesId};
use crate::sensitivity::Sensitivities;
pub use data::Data;
use expectation::Entries;
use integrand::Product;
use plan::Plan;
pub use value::{ROUNDING, Value};
use value::{arithmetic, quotient};

/// Which methods were used, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Expectations that needed no integral.
    pub exact: usize,
    /// Closed forms.
    pub closed_form: usize,
    /// Quadratures.
    pub quadrature: usize,
    /// Averages over randomised points.
    pub qmc: usize,
    /// Expectations whose tolerance was not met.
    pub not_met: usize,
}

/// Evaluates expressions of a graph.
pub struct Evaluator<'g> {
    graph: &'g Graph,
    program: &'g Program,
    data: &'g Data,
    tolerance: Tolerance,
    closed_forms: bool,
    memo: FxHashMap<(DefId, SmallVec<[u32; 6]>), Value>,
    tapes: FxHashMap<ExprId, Rc<Product>>,
    plans: FxHashMap<ExprId, Rc<Plan>>,
    sums: sum::Sums,
    sampled: Option<sampled::Sampled>,
    /// Whether an integrand divides by functions of slots.
    powers: FxHashMap<ExprId, bool>,
    /// Those that were read as polynomials with steps times powers of quadratic forms.
    with_powers: FxHashSet<ExprId>,
    /// Expectations with powers of quadratic forms, by their names.
    by_name: FxHashMap<Vec<u64>, Option<Estimate>>,
    /// Entries of covariances and parameters, by the positions that they depend on.
    entries: FxHashMap<(ExprId, SmallVec<[u32; 6]>), Value>,
    /// The index variables of an expression.
    variables: FxHashMap<ExprId, Rc<[u32]>>,
    statistics: Statistics,
    /// Made when an error of a covariance is not negligible.
    sensitivities: Option<Box<Sensitivities<'g>>>,
    /// Whether expectations inherit the errors of their covariances.
    inherits: bool,
    /// Whether expectations exist that were taken to vanish.
    existing: premises::Existing,
    /// Whether members of definitions are the same by construction.
    same: same::Known,
    /// Whether premises hold, as far as they were looked at.
    premises: FxHashMap<PremisesId, Result<(), LimitError>>,
    /// Whether functions evidently have all moments, whatever their parameters.
    moments: FxHashMap<ExprId, bool>,
    /// How smooth integrands are.
    smoothness: FxHashMap<ExprId, Smoothness>,
    /// Whether a quotient by what is 0 up to rounding is an error unless its numerator is 0.
    strict: bool,
}

impl<'g> Evaluator<'g> {
    /// An evaluator of `graph`, derived from `program`, on `data`.
    pub fn new(
        graph: &'g Graph,
        program: &'g Program,
        data: &'g Data,
        tolerance: Tolerance,
    ) -> Result<Self, LimitError> {
        data.check(program)?;
        Ok(Self {
            graph,
            program,
            data,
            tolerance,
            closed_forms: true,
            memo: FxHashMap::default(),
            tapes: FxHashMap::default(),
            plans: FxHashMap::default(),
            sums: sum::Sums::default(),
            sampled: None,
            powers: FxHashMap::default(),
            with_powers: FxHashSet::default(),
            by_name: FxHashMap::default(),
            entries: FxHashMap::default(),
            variables: FxHashMap::default(),
            statistics: Statistics::default(),
            sensitivities: None,
            inherits: true,
            existing: premises::Existing::default(),
            same: same::Known::default(),
            premises: FxHashMap::default(),
            moments: FxHashMap::default(),
            smoothness: FxHashMap::default(),
            strict: false,
        })
    }

    /// The same evaluator that integrates numerically even where a closed form is known: the second witness.
    #[must_use]
    pub fn without_closed_forms(mut self) -> Self {
        self.closed_forms = false;
        self
    }

    /// The evaluator of derivatives in a covariance, for which 0/0 is no number.
    pub(crate) fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The evaluator of one replicate of many, whose scatter is the error ([`crate::sampled`]): no errors are carried
    /// from integral to integral.
    #[must_use]
    pub fn without_inherited_errors(mut self) -> Self {
        self.inherits = false;
        self
    }

    /// Gives a definition without indices its value.
    pub(crate) fn set(&mut self, def: DefId, value: Value) {
        self.memo.insert((def, SmallVec::new()), value);
        // Sums may mention it.
        self.sums.forget();
    }

    /// The same evaluator with expectations in three and more variables over one cloud of about `points` randomised
    /// points ([`netsor_gauss::Cloud`], with the seed of the tolerance): for graphs with very many of them, where a
    /// moderate accuracy is enough. Their errors are correlated.
    ///
    /// # Errors
    /// If integrands over one covariance are too large for a tape.
    pub fn sampled(mut self, points: usize) -> Result<Self, LimitError> {
        self.sampled = Some(sampled::Sampled::new(self.graph, points, self.tolerance.seed)?);
        Ok(self)
    }

    /// What has been used so far.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The value of an expression with `Var(k)` at position `at[k]`.
    ///
    /// # Errors
    /// If an expectation that it was derived from does not exist, also one that would vanish if it did; if something is
    /// divided by 0; if data or positions do not fit.
    pub fn value(&mut self, expr: ExprId, at: &[u32]) -> Result<Value, LimitError> {
        self.expr(expr, at, &[])
    }

    fn def(&mut self, id: DefId, at: SmallVec<[u32; 6]>) -> Result<Value, LimitError> {
        if let Some(&known) = self.memo.get(&(id, at.clone())) {
            return Ok(known);
        }
        let graph = self.graph;
        let value = stacker::maybe_grow(128 * 1024, 8 * 1024 * 1024, || match &graph.def(id).body {
            Body::Scalar(expr) => self.expr(*expr, &at, &[]),
            Body::Provided { value, premises } => {
                self.check_premises(*premises)?;
                self.expr(*value, &at, &[])
            }
            Body::Quotient { numerator, denominator, size, power } => {
                let [numerator, denominator, size] = [numerator, denominator, size].map(|&e| self.expr(e, &at, &[]));
                quotient(numerator?, denominator?, size?, power_to_f64(*power), self.strict)
            }
            Body::Expect { integrand, covariance, parameters } => {
                if let Some(found) = self.over_cloud(id, &at)? {
                    return Ok(found);
                }
                let entries = Entries { exprs: covariance, at: &at };
                let covariance: Vec<Value> =
                    covariance.iter().map(|&c| self.entry(c, &at)).collect::<Result<_, _>>()?;
                let parameters: Vec<Value> =
                    parameters.iter().map(|&p| self.entry(p, &at)).collect::<Result<_, _>>()?;
                self.expectation(*integrand, &covariance, entries, &parameters)
            }
        })?;
        self.memo.insert((id, at), value);
        Ok(value)
    }

    /// An entry of a covariance. The slots of a sum over a batch are the same for many members, and an entry is known
    /// once the positions that it depends on are.
    fn entry(&mut self, expr: ExprId, at: &[u32]) -> Result<Value, LimitError> {
        let graph = self.graph;
        let variables =
            self.variables.entry(expr).or_insert_with(|| crate::definitions::variables(graph, expr).into()).clone();
        let positions = variables.iter().map(|&v| at.get(v as usize).copied().unwrap_or(u32::MAX)).collect();
        let key = (expr, positions);
        if let Some(&known) = self.entries.get(&key) {
            return Ok(known);
        }
        let value = self.expr(expr, at, &[])?;
        self.entries.insert(key, value);
        Ok(value)
    }

    fn expr(&mut self, root: ExprId, at: &[u32], bound: &[u32]) -> Result<Value, LimitError> {
        let graph = self.graph;
        let plan = match self.plans.get(&root) {
            Some(known) => known.clone(),
            None => self.plans.entry(root).or_insert(Rc::new(Plan::new(graph, root))).clone(),
        };
        let mut done: Vec<Value> = Vec::with_capacity(plan.nodes.len());
        for (id, children) in &plan.nodes {
            let value = match graph.pool.node(*id) {
                Expr::Ref(symbol, indices) => self.leaf(*symbol, &resolve(indices, at, bound)?)?,
                Expr::Table(table, indices) => {
                    let table = &self.program.tables[table.index()];
                    let positions = resolve(indices, at, bound)?;
                    let sizes = table.axes.iter().map(|&a| self.graph.axis_size(a) as usize);
                    Value::exact(to_f64(&table.entries[flat(&positions, sizes)?]))
                }
                Expr::Sum(sum) => self.sum(*id, sum, at, bound)?,
                node => {
                    let arguments: SmallVec<[Value; 2]> = children.iter().map(|&k| done[k as usize]).collect();
                    arithmetic(node, &arguments)?
                }
            };
            done.push(value);
        }
        Ok(done[done.len() - 1])
    }

    fn leaf(&mut self, symbol: Symbol, at: &[u32]) -> Result<Value, LimitError> {
        match self.graph.leaf(symbol) {
            Leaf::Def(def) => self.def(def, at.into()),
            Leaf::Value(value) => {
                let definition = self.program.value(value);
                let name = || definition.name.clone();
                let mut sizes = self.program.family_sizes(value);
                if let Kind::Vector(Dim::Finite(size)) = definition.ty.kind {
                    sizes.push(size as usize);
                }
                let Some(numbers) = self.data.values.get(&value) else {
                    return Err(LimitError::Data { name: name(), expected: sizes.iter().product(), found: 0 });
                };
                Ok(Value::exact(numbers[flat(at, sizes)?]))
            }
            Leaf::Slot(_) | Leaf::Parameter(_) => {
                unreachable!("slots and parameters occur only in integrands, which are compiled")
            }
        }
    }
}

fn resolve(indices: &[Index], at: &[u32], bound: &[u32]) -> Result<SmallVec<[u32; 6]>, LimitError> {
    let out = |_| LimitError::OutOfRange { position: at.len(), size: at.len() };
    indices.iter().map(|&i| position(i, at, bound).ok_or(()).map_err(out)).collect()
}

fn flat(at: &[u32], sizes: impl IntoIterator<Item = usize>) -> Result<usize, LimitError> {
    at.iter().zip(sizes).try_fold(0, |flat, (&p, size)| {
        let position = p as usize;
        if position < size { Ok(flat * size + position) } else { Err(LimitError::OutOfRange { position, size }) }
    })
}
