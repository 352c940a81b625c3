//! From the moment graph and numbers for the data to numbers.
//!
//! Decisions about rank live here and in [`netsor_gauss`], never in `derive`. Each definition is computed once for
//! each tuple of indices that is asked for. Every number carries an error: that of its own expectations, propagated to
//! first order through the arithmetic that follows, and through expectations by their exact derivatives in the
//! covariance (module `price`); errors that are negligible beside the tolerance enter as they are.

mod plan;
mod sampled;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use netsor_gauss::dual::{dual, mean};
use netsor_gauss::{Covariance, Estimate, Function, Integrand, Method, Part, Tolerance, expect_powers, expect_product};
use netsor_ir::expr::{Expr, ExprId, Sum, Symbol};
use netsor_ir::func::{Func, Smoothness};
use netsor_ir::index::{Index, for_each_assignment, position};
use netsor_ir::number::{power_to_f64, print, to_f64};
use netsor_ir::tape::{Functions, Input, Scratch, Setting, Tape};
use netsor_ir::{Dim, Instr, Kind, Program, ValueId};
use rustc_hash::{FxHashMap, FxHashSet};
use smallvec::SmallVec;

use crate::closed_form::{Separated, flatten, separate, slots_of};
use crate::error::LimitError;
use crate::graph::{Body, DefId, Graph, Leaf};
use crate::powers;
use crate::sensitivity::Sensitivities;
use plan::Plan;

/// Sums that are remembered; later ones are computed each time.
const MAX_SUMS: usize = 1 << 21;

/// A number with the error it is known to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// The number.
    pub value: f64,
    /// Absolute error, to first order.
    pub error: f64,
}

impl Value {
    fn exact(value: f64) -> Self {
        Self { value, error: 0.0 }
    }
}

/// Numbers for the data values of a program.
///
/// A family is a flat array with the last index fastest; for vectors of constant dimension the coordinate comes last.
#[derive(Clone, Debug, Default)]
pub struct Data {
    values: BTreeMap<ValueId, Vec<f64>>,
}

impl Data {
    /// No data.
    pub fn new() -> Self {
        Self::default()
    }

    /// With the numbers of one data value.
    #[must_use]
    pub fn with(mut self, value: ValueId, numbers: Vec<f64>) -> Self {
        self.values.insert(value, numbers);
        self
    }

    fn check(&self, program: &Program) -> Result<(), LimitError> {
        for id in program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data)) {
            let name = || program.value(id).name.clone();
            let Some(numbers) = self.values.get(&id) else { continue };
            let size = match program.value(id).ty.kind {
                Kind::Vector(Dim::Finite(size)) => size as usize,
                _ => 1,
            };
            let expected = program.family_sizes(id).iter().product::<usize>() * size;
            if numbers.len() != expected {
                return Err(LimitError::Data { name: name(), expected, found: numbers.len() });
            }
            if let Some(position) = numbers.iter().position(|x| !x.is_finite()) {
                return Err(LimitError::NotFinite { name: name(), position, value: numbers[position] });
            }
        }
        Ok(())
    }
}

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
    tapes: FxHashMap<ExprId, Rc<Vec<CompiledFactor>>>,
    plans: FxHashMap<ExprId, Rc<Plan>>,
    /// What sums depend on, and their values.
    free: FxHashMap<ExprId, Rc<SmallVec<[Index; 4]>>>,
    sums: FxHashMap<(ExprId, SmallVec<[u32; 6]>), Value>,
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
    /// Whether a quotient by what is 0 up to rounding is an error unless its numerator is 0.
    strict: bool,
}

/// A factor of an integrand, ready for batches.
#[derive(Clone, Debug)]
struct CompiledFactor {
    tape: Tape<f64>,
    /// The slots that it depends on.
    slots: Vec<usize>,
    /// Whether it has a kink at zero of each of these.
    kinks: Vec<bool>,
    /// Whether it is smooth away from these.
    elsewhere_smooth: bool,
    /// 1 or -1, in front.
    sign: f64,
}

impl CompiledFactor {
    fn function<'a>(&'a self, graph: &'a Graph, parameters: &'a [f64]) -> Box<dyn Integrand + 'a> {
        let scratch = RefCell::new(Scratch::default());
        let evaluate = move |points: &[&[f64]], out: &mut [f64]| {
            let inputs: SmallVec<[Input<'_, f64>; 8]> = self
                .tape
                .inputs()
                .iter()
                .map(|(symbol, _)| match graph.leaf(*symbol) {
                    Leaf::Slot(k) => self
                        .slots
                        .iter()
                        .position(|&slot| slot == k)
                        .map_or(Input::Scalar(f64::NAN), |at| Input::Batch(points[at])),
                    Leaf::Parameter(k) => Input::Scalar(parameters[k]),
                    _ => Input::Scalar(f64::NAN),
                })
                .collect();
            self.tape.eval(&inputs, &mut [out], &mut scratch.borrow_mut());
            if self.sign < 0.0 {
                out.iter_mut().for_each(|y| *y = -*y);
            }
        };
        let mut function = Function::new(self.slots.len(), evaluate);
        if !self.elsewhere_smooth {
            // Kinks that are declared would be taken for all that there are.
            return Box::new(function.not_smooth());
        }
        for (slot, _) in self.kinks.iter().enumerate().filter(|(_, kink)| **kink) {
            function = function.with_kinks(slot, &[0.0]);
        }
        Box::new(function)
    }
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
            free: FxHashMap::default(),
            sums: FxHashMap::default(),
            sampled: None,
            powers: FxHashMap::default(),
            with_powers: FxHashSet::default(),
            by_name: FxHashMap::default(),
            entries: FxHashMap::default(),
            variables: FxHashMap::default(),
            statistics: Statistics::default(),
            sensitivities: None,
            inherits: true,
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

    /// The evaluator of one replicate of many, whose scatter is the error: no errors are carried from integral to
    /// integral.
    pub(crate) fn without_inherited_errors(mut self) -> Self {
        self.inherits = false;
        self
    }

    /// Gives a definition without indices its value.
    pub(crate) fn set(&mut self, def: DefId, value: Value) {
        self.memo.insert((def, SmallVec::new()), value);
        // Sums may mention it.
        self.sums.clear();
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
            Body::Quotient { numerator, denominator, size, power } => {
                let [numerator, denominator, size] = [numerator, denominator, size].map(|&e| self.expr(e, &at, &[]));
                quotient(numerator?, denominator?, size?, power_to_f64(*power), self.strict)
            }
            Body::Expect { integrand, covariance, parameters } => {
                if let Some(found) = self.over_cloud(id, &at)? {
                    return Ok(found);
                }
                let covariance: Vec<Value> =
                    covariance.iter().map(|&c| self.entry(c, &at)).collect::<Result<_, _>>()?;
                let parameters: Vec<Value> =
                    parameters.iter().map(|&p| self.entry(p, &at)).collect::<Result<_, _>>()?;
                self.expectation(*integrand, &covariance, &parameters)
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

    fn expectation(&mut self, integrand: ExprId, lower: &[Value], parameters: &[Value]) -> Result<Value, LimitError> {
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
        let inherited = if self.inherits { self.inherited(integrand, estimate.value, lower, parameters) } else { 0.0 };
        Ok(Value { value: estimate.value, error: estimate.error + inherited })
    }

    /// What the errors of the covariance and of the parameters make of the expectation: to first order, by its exact
    /// derivatives, where they are not negligible beside the tolerance. Where these do not exist, as for kinks at a
    /// variance of 0 and jumps at a correlation of 1, an expectation changes as a square root.
    fn inherited(&mut self, integrand: ExprId, value: f64, lower: &[Value], parameters: &[Value]) -> f64 {
        let sum: f64 = lower.iter().chain(parameters).map(|v| v.error).sum();
        let allowed = self.tolerance.absolute.max(self.tolerance.relative * value.abs());
        // Derivatives of powers of quadratic forms are as many integrals as the covariance has entries: there the
        // sensitivity is taken to be 1.
        if sum <= NEGLIGIBLE * allowed || self.with_powers.contains(&integrand) {
            return sum;
        }
        let (graph, program) = (self.graph, self.program);
        let known = self.sensitivities.get_or_insert_with(|| Box::new(Sensitivities::new(graph, program)));
        match known.of(integrand, lower, parameters) {
            Some(sizes) => lower.iter().chain(parameters).zip(sizes).map(|(v, size)| size * v.error).sum(),
            None => sum.max(sum.sqrt()),
        }
    }

    fn closed_form(
        &self,
        integrand: ExprId,
        entry: &dyn Fn(usize, usize) -> f64,
        parameters: &[f64],
    ) -> Option<Result<Estimate, netsor_gauss::GaussError>> {
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
        Some(estimate.map(|e| Estimate { value: factor * e.value, error: factor.abs() * e.error, ..e }))
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

    fn integral(
        &mut self,
        integrand: ExprId,
        slots: usize,
        entry: &dyn Fn(usize, usize) -> f64,
        parameters: &[f64],
    ) -> Result<Estimate, LimitError> {
        let factors = self.compiled(integrand)?;
        let entries = (0..slots * slots).map(|k| entry(k / slots, k % slots)).collect();
        let covariance = Covariance::new(slots, entries).map_err(|e| self.expectation_error(integrand, e))?;
        let functions: Vec<Box<dyn Integrand + '_>> =
            factors.iter().map(|factor| factor.function(self.graph, parameters)).collect();
        let mut parts = Vec::with_capacity(factors.len());
        for (factor, function) in factors.iter().zip(&functions) {
            parts.push(Part { slots: factor.slots.clone(), function: function.as_ref() });
        }
        expect_product(&parts, &covariance, &self.tolerance).map_err(|e| self.expectation_error(integrand, e))
    }

    /// The factors of an integrand.
    fn compiled(&mut self, integrand: ExprId) -> Result<Rc<Vec<CompiledFactor>>, LimitError> {
        if let Some(known) = self.tapes.get(&integrand) {
            return Ok(known.clone());
        }
        let graph = self.graph;
        let mut sign = 1.0;
        let mut factors = Vec::new();
        flatten(graph, integrand, &mut factors, &mut sign);
        let mut compiled = Vec::new();
        for factor in factors {
            let slots = slots_of(graph, factor);
            let setting = Setting::new(&graph.pool, &Numeric);
            let tape = Tape::compile(&setting, &[(factor, &[])]).map_err(|e| LimitError::Tape(e.to_string()))?;
            let mut kinks = vec![false; slots.len()];
            let mut elsewhere_smooth = true;
            note_kinks(graph, factor, &slots, &mut kinks, &mut elsewhere_smooth);
            compiled.push(CompiledFactor { tape, slots, kinks, elsewhere_smooth, sign });
            sign = 1.0;
        }
        let compiled = Rc::new(compiled);
        self.tapes.insert(integrand, compiled.clone());
        Ok(compiled)
    }

    fn expectation_error(&self, integrand: ExprId, source: netsor_gauss::GaussError) -> LimitError {
        LimitError::Expectation { integrand: crate::show::text(self.graph, self.program, integrand), source }
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

    /// A sum is computed once for all values of the indices that it depends on: sums in sums would multiply.
    fn sum(&mut self, id: ExprId, sum: &Sum, at: &[u32], bound: &[u32]) -> Result<Value, LimitError> {
        let graph = self.graph;
        let free = match self.free.get(&id) {
            Some(known) => known.clone(),
            None => self.free.entry(id).or_insert(Rc::new(plan::free_indices(graph, id))).clone(),
        };
        let key = (id, resolve(&free, at, bound)?);
        if let Some(&known) = self.sums.get(&key) {
            return Ok(known);
        }
        let base = graph.pool.height(sum.body) as usize;
        let sizes: Vec<u32> = sum.axes.iter().map(|&axis| graph.axis_size(axis)).collect();
        let mut inner = bound.to_vec();
        inner.resize(inner.len().max(base + sizes.len()), 0);
        let mut assignments = Vec::new();
        for_each_assignment(&sizes, &sum.guards, base, at, &mut inner, &mut |bound| {
            assignments.push(bound.to_vec());
        });
        let mut total = Value::exact(0.0);
        for bound in assignments {
            let term = self.expr(sum.body, at, &bound)?;
            total.value += term.value;
            total.error += term.error;
        }
        if self.sums.len() < MAX_SUMS {
            self.sums.insert(key, total);
        }
        Ok(total)
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

/// Notes the functions in `expr` that are not smooth: at zero of a slot, or elsewhere.
fn note_kinks(graph: &Graph, expr: ExprId, slots: &[usize], kinks: &mut [bool], elsewhere_smooth: &mut bool) {
    graph.pool.visit(expr, &mut |node| {
        let Expr::Apply(func, args) = node else { return };
        if func.facts().smoothness == Smoothness::Smooth {
            return;
        }
        let bare_slot = match graph.pool.node(args[0]) {
            Expr::Ref(symbol, _) => match graph.leaf(*symbol) {
                Leaf::Slot(k) => slots.iter().position(|&slot| slot == k),
                _ => None,
            },
            _ => None,
        };
        let against_zero = !matches!(func, Func::Max | Func::Min) || graph.pool.is_zero(args[args.len() - 1]);
        match bare_slot {
            Some(k) if against_zero => kinks[k] = true,
            _ if slots_of(graph, args[0]).is_empty() && args.len() == 1 => {}
            _ => *elsewhere_smooth = false,
        }
    });
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

/// Errors that are smaller, as a share of the tolerance, enter an expectation as they are.
const NEGLIGIBLE: f64 = 0.01;

/// A remainder of a variance that is no larger, relative to the variance, is rounding: what is dropped with it is below
/// its square root, 3e-8, as is what rounding leaves of the numerator divided by it.
pub const ROUNDING: f64 = 1e-15;

/// [`Body::Quotient`].
fn quotient(numerator: Value, denominator: Value, size: Value, power: f64, strict: bool) -> Result<Value, LimitError> {
    let part = size.value != 0.0 && !strict;
    if denominator.value <= ROUNDING * size.value + denominator.error && (part || numerator.value == 0.0) {
        return Ok(Value { value: 0.0, error: numerator.error });
    }
    let scale = real_power(denominator.value, -power);
    let value = numerator.value * scale;
    if !value.is_finite() {
        let what = format!("{} * {}^(-{power})", numerator.value, denominator.value);
        return Err(LimitError::Domain { what, value });
    }
    let relative = power * denominator.error / denominator.value;
    Ok(Value { value, error: numerator.error * scale + value.abs() * relative })
}

/// `x^p`; square roots of variances are everywhere: they are taken exactly rounded.
fn real_power(x: f64, p: f64) -> f64 {
    if p == 0.5 {
        x.sqrt()
    } else if p == -0.5 {
        1.0 / x.sqrt()
    } else if p.fract() == 0.0 && p.abs() <= 64.0 {
        x.powi(p as i32)
    } else {
        netsor_num::Real::powf(x, p)
    }
}

/// A node that is neither a leaf with indices nor a sum, from its children.
fn arithmetic(node: &Expr, of: &[Value]) -> Result<Value, LimitError> {
    let value = match node {
        Expr::Const(value) => Value::exact(to_f64(value)),
        Expr::Pi => Value::exact(std::f64::consts::PI),
        Expr::Neg(_) => Value { value: -of[0].value, ..of[0] },
        Expr::Add(..) => Value { value: of[0].value + of[1].value, error: of[0].error + of[1].error },
        Expr::Sub(..) => Value { value: of[0].value - of[1].value, error: of[0].error + of[1].error },
        Expr::Mul(..) => {
            let (a, b) = (of[0], of[1]);
            Value { value: a.value * b.value, error: a.value.abs() * b.error + b.value.abs() * a.error }
        }
        Expr::Div(..) => {
            let (a, b) = (of[0], of[1]);
            let value = a.value / b.value;
            Value { value, error: (a.error + value.abs() * b.error) / b.value.abs() }
        }
        Expr::Pow(_, p) => {
            let a = of[0];
            let p = power_to_f64(*p);
            Value {
                value: real_power(a.value, p),
                error: if a.error == 0.0 { 0.0 } else { (p * real_power(a.value, p - 1.0)).abs() * a.error },
            }
        }
        Expr::Apply(func, _) => {
            let first = of[0];
            let value = match of.len() {
                1 => netsor_num::functions::unary::<f64>(func.name()).map(|f| f(first.value)),
                _ => netsor_num::functions::binary::<f64>(func.name()).map(|f| f(first.value, of[1].value)),
            };
            let Some(value) = value else {
                return Err(LimitError::Tape(format!("no numerical function `{}`", func.name())));
            };
            Value { value, error: of.iter().map(|a| a.error).sum() }
        }
        Expr::Width(_) | Expr::Ref(..) | Expr::Table(..) | Expr::Sum(_) => {
            return Err(LimitError::Tape("a power of the width or a mention is left in a limit".to_owned()));
        }
    };
    if value.value.is_finite() {
        return Ok(value);
    }
    let what = match node {
        Expr::Div(..) => format!("{} / {}", of[0].value, of[1].value),
        Expr::Pow(_, p) => format!("{} ^ ({p})", of[0].value),
        Expr::Apply(func, _) => format!("{}({})", func.name(), of[0].value),
        Expr::Const(value) => print(value),
        _ => "arithmetic".to_owned(),
    };
    Err(LimitError::Domain { what, value: value.value })
}

/// The numerical functions behind the names of the language.
struct Numeric;

impl Functions<f64> for Numeric {
    fn unary(&self, name: &str) -> Option<fn(f64) -> f64> {
        netsor_num::functions::unary(name)
    }
    fn binary(&self, name: &str) -> Option<fn(f64, f64) -> f64> {
        netsor_num::functions::binary(name)
    }
    fn power(&self) -> fn(f64, f64) -> f64 {
        <f64 as netsor_num::Real>::powf
    }
}
