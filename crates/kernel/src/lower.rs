//! From a moment graph to a plan.
//!
//! Expressions are read with some of their index variables standing for the row's input, some for the column's, and
//! all others at fixed positions. Sums over finite axes are expanded, except inner products of data, which are kept
//! whole. Expectations are recognised by their integrands and covariances, never by the network they come from.

mod inner;
mod sum;
mod value;

use std::collections::BTreeMap;
use std::rc::Rc;

use netsor_ir::expr::{Expr, ExprId, Symbol};
use netsor_ir::index::position;
use netsor_ir::number::{power_to_f64, to_f64};
use netsor_ir::{Dim, Index, Kind, Program, ValueId};
use netsor_limit::Graph;
use netsor_limit::graph::{Body, DefId, Leaf};
use rustc_hash::FxHashMap;

use crate::error::KernelError;
use crate::execute::fold;
use crate::expectation::Covariance;
use crate::function::{Forms, FunctionKey, General, SlotFunction};
use crate::plan::{Arg, DataInfo, Nodes, Op, Plan, Real, Root, Side};
use sum::Sums;
pub(crate) use value::Value;

/// The most operations an entry.
const MAX_OPS: usize = 1 << 22;

/// What an index variable of a query stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// The input of the row.
    Row,
    /// The input of the column.
    Col,
    /// A fixed position, for example of an output component.
    Fixed(u32),
}

/// A kernel to compute: an expression of the graph, and what its index variables stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The name in results and errors.
    pub name: String,
    /// The expression.
    pub expr: ExprId,
    /// What `Var(0), Var(1), ...` stand for.
    pub at: Vec<At>,
}

impl Query {
    /// An expression over `Var(0)`, the row's input, and `Var(1)`, the column's.
    pub fn new(name: impl Into<String>, expr: ExprId) -> Self {
        Self { name: name.into(), expr, at: vec![At::Row, At::Col] }
    }

    /// A kernel of an output with `n_axes` indices, the first of which is the input: the entry at the given positions
    /// of the other indices, those of the row's half and those of the column's. Missing positions are 0.
    ///
    /// [`netsor_ir::transform::kernels()`] makes such families `K[i, c, i', c']`.
    pub fn component(name: impl Into<String>, expr: ExprId, n_axes: usize, row: &[u32], col: &[u32]) -> Self {
        let half = |side: At, fixed: &[u32]| {
            let fixed = fixed.to_vec();
            std::iter::once(side).chain((1..n_axes).map(move |k| At::Fixed(fixed.get(k - 1).copied().unwrap_or(0))))
        };
        Self { name: name.into(), expr, at: half(At::Row, row).chain(half(At::Col, col)).collect() }
    }
}

/// Compiles kernels of the limit of `program`, whose moment graph is `graph`.
///
/// The plan works for any number of inputs: the size of the program's own batch axis plays no role.
///
/// # Errors
/// If an entry depends on other inputs than its own two, an integrand cannot be compiled, or something that a query was
/// derived from vanishes only if an expectation exists, or means something only if two jumps are apart.
pub fn lower(graph: &Graph, program: &Program, queries: &[Query]) -> Result<Plan, KernelError> {
    lower_with(graph, program, queries, &Shared::new())
}

/// Numbers of data that all inputs share: hyper-parameters, and other data without a batch axis.
///
/// A family is a flat array with the last index fastest; for vectors of constant dimension the coordinate comes last.
pub type Shared = BTreeMap<ValueId, Vec<f64>>;

/// [`lower`] with numbers for data that all inputs share. They are constants of the plan: lower again for others, which
/// takes little beside a run.
///
/// # Errors
/// As for [`lower`], and if such data has no numbers, numbers of another count, or numbers that are not finite.
pub fn lower_with(graph: &Graph, program: &Program, queries: &[Query], shared: &Shared) -> Result<Plan, KernelError> {
    for (&value, numbers) in shared {
        let Some(definition) = program.values.get(value.index()) else {
            return Err(KernelError::Lower(format!("there is no value number {}", value.index())));
        };
        let coordinates = match definition.ty.kind {
            Kind::Vector(Dim::Finite(size)) => size as usize,
            _ => 1,
        };
        let (name, found) = (definition.name.clone(), numbers.len());
        let columns = program.family_sizes(value).iter().product::<usize>() * coordinates;
        if columns != found {
            return Err(KernelError::DataSize { name, rows: 1, columns, found });
        }
        if let Some(column) = numbers.iter().position(|x| !x.is_finite()) {
            return Err(KernelError::NotFinite { name, row: 0, column, value: numbers[column] });
        }
    }
    let mut lowering = Lowering {
        graph,
        program,
        shared,
        ones: Nodes::default(),
        pairs: Nodes::default(),
        data: Vec::new(),
        defs: FxHashMap::default(),
        sums: Sums::default(),
        orders: FxHashMap::default(),
        functions: Vec::new(),
        forms: Forms::default(),
        known_functions: FxHashMap::default(),
        integrands: Vec::new(),
        known_integrands: FxHashMap::default(),
    };
    let mut roots = Vec::new();
    for query in queries {
        let mut both = Vec::new();
        for at in [query.at.clone(), query.at.iter().map(|&a| if a == At::Col { At::Row } else { a }).collect()] {
            let value = lowering.expr(query.expr, &at, &[]).map_err(|e| match e {
                KernelError::Variable { variable, found, .. } => {
                    KernelError::Variable { query: query.name.clone(), variable, found }
                }
                other => other,
            })?;
            both.push(lowering.arg(value)?);
        }
        roots.push(Root { name: query.name.clone(), value: both[0], diagonal: both[1], symmetric: false });
    }
    let Lowering { ones, pairs, data, functions, integrands, .. } = lowering;
    Plan::assemble(data, ones, pairs, functions, integrands, roots)
}

pub(crate) struct Lowering<'a> {
    pub(crate) graph: &'a Graph,
    program: &'a Program,
    shared: &'a Shared,
    ones: Nodes,
    pairs: Nodes,
    data: Vec<DataInfo>,
    defs: FxHashMap<(DefId, Vec<At>), Value>,
    sums: Sums,
    /// The nodes of expressions down to leaves and sums.
    orders: FxHashMap<ExprId, Rc<[ExprId]>>,
    pub(crate) functions: Vec<SlotFunction>,
    forms: Forms,
    known_functions: FxHashMap<Vec<u32>, u32>,
    integrands: Vec<General>,
    known_integrands: FxHashMap<(ExprId, usize), u32>,
}

impl Lowering<'_> {
    pub(crate) fn expr(&mut self, root: ExprId, at: &[At], bound: &[u32]) -> Result<Value, KernelError> {
        stacker::maybe_grow(128 * 1024, 8 * 1024 * 1024, || self.expr_here(root, at, bound))
    }

    fn expr_here(&mut self, root: ExprId, at: &[At], bound: &[u32]) -> Result<Value, KernelError> {
        let graph = self.graph;
        if let Expr::Ref(symbol, indices) = graph.pool.node(root) {
            return self.leaf(*symbol, &resolve(indices, at, bound)?);
        }
        let order = self.orders.entry(root).or_insert_with(|| graph.pool.outside_sums(root).into()).clone();
        let mut done: FxHashMap<ExprId, Value> = FxHashMap::default();
        for &id in order.iter() {
            let value = match graph.pool.node(id) {
                Expr::Const(value) => Value::constant(to_f64(value)),
                Expr::Pi => Value::constant(std::f64::consts::PI),
                Expr::Ref(symbol, indices) => self.leaf(*symbol, &resolve(indices, at, bound)?)?,
                Expr::Table(table, indices) => {
                    let table = &self.program.tables[table.index()];
                    let mut flat = 0;
                    for (i, &axis) in resolve(indices, at, bound)?.iter().zip(&table.axes) {
                        let At::Fixed(p) = i else { return Err(KernelError::DependsOnPosition { what: "table" }) };
                        flat = flat * graph.axis_size(axis) as usize + *p as usize;
                    }
                    let missing = || KernelError::Lower(format!("table `{}` is too short", table.name));
                    Value::constant(table.entries.get(flat).map(to_f64).ok_or_else(missing)?)
                }
                Expr::Neg(a) => done[a].clone().scaled(-1.0),
                Expr::Add(a, b) => done[a].clone().plus(done[b].clone()).collected(),
                Expr::Sub(a, b) => done[a].clone().plus(done[b].clone().scaled(-1.0)).collected(),
                Expr::Mul(a, b) => self.multiply(done[a].clone(), done[b].clone())?,
                Expr::Div(a, b) => match done[b].as_constant() {
                    Some(divisor) if divisor != 0.0 => {
                        let mut value = done[a].clone();
                        value.constant /= divisor;
                        value.terms.iter_mut().for_each(|(c, _)| *c /= divisor);
                        value
                    }
                    _ => {
                        let (a, b) = (self.arg(done[a].clone())?, self.arg(done[b].clone())?);
                        Value::of(self.op(Op::Div(a, b))?)
                    }
                },
                Expr::Pow(a, p) => {
                    let base = self.arg(done[a].clone())?;
                    Value::of(self.op(Op::Power(base, Real(power_to_f64(*p))))?)
                }
                Expr::Apply(func, args) => {
                    let args = args.iter().map(|a| self.arg(done[a].clone())).collect::<Result<_, _>>()?;
                    Value::of(self.op(Op::Apply(*func, args))?)
                }
                Expr::Sum(sum) => self.known_sum(id, sum, at, bound)?,
                Expr::Width(_) => return Err(KernelError::Lower("a power of the width is left in a limit".into())),
            };
            done.insert(id, value);
        }
        Ok(done.remove(&root).expect("the root is the last of the order"))
    }

    pub(crate) fn multiply(&mut self, a: Value, b: Value) -> Result<Value, KernelError> {
        if let Some(c) = a.as_constant() {
            return Ok(b.scaled(c));
        }
        if let Some(c) = b.as_constant() {
            return Ok(a.scaled(c));
        }
        let mut split = |value: Value| match value.as_multiple() {
            Some((c, Some(arg))) => Ok((c, arg)),
            _ => self.arg(value).map(|arg| (1.0, arg)),
        };
        let ((c, a), (d, b)) = (split(a)?, split(b)?);
        Ok(Value::of(self.op(Op::Product(a, b))?).scaled(c * d))
    }

    /// The operand that a value is, as a node of its own if need be.
    pub(crate) fn arg(&mut self, value: Value) -> Result<Arg, KernelError> {
        let value = value.collected();
        match value.as_multiple() {
            Some((c, None)) => Ok(Arg::Const(Real(c))),
            Some((1.0, Some(arg))) => Ok(arg),
            _ => {
                let terms = value.terms.iter().map(|&(c, a)| (Real(c), a)).collect();
                self.op(Op::Linear { terms, constant: Real(value.constant) })
            }
        }
    }

    /// The operand that an operation is: a number if all its operands are, a number of one input if they are.
    pub(crate) fn op(&mut self, op: Op) -> Result<Arg, KernelError> {
        if MAX_OPS < self.ones.ops.len() + self.pairs.ops.len() {
            return Err(KernelError::TooLarge { limit: MAX_OPS });
        }
        let (mut row, mut col, mut pair) = (false, false, false);
        match op {
            Op::Gram(..) => pair = true,
            Op::Load(..) => row = true,
            _ => op.for_each_arg(|arg| match arg {
                Arg::Const(_) => {}
                Arg::One(_, Side::Row) => row = true,
                Arg::One(_, Side::Col) => col = true,
                Arg::Pair(_) => pair = true,
            }),
        }
        let one = |arg: Arg| match arg {
            Arg::One(id, _) => Arg::One(id, Side::Row),
            arg => arg,
        };
        match (pair || (row && col), row || col) {
            (true, _) => Ok(Arg::Pair(self.pairs.intern(op.canonical()))),
            (false, true) => {
                let id = self.ones.intern(op.map_args(&mut { one }).canonical());
                Ok(Arg::One(id, if row { Side::Row } else { Side::Col }))
            }
            (false, false) => fold(&op, &self.functions, &self.integrands).map(|x| Arg::Const(Real(x))),
        }
    }

    fn leaf(&mut self, symbol: Symbol, at: &[At]) -> Result<Value, KernelError> {
        match self.graph.leaf(symbol) {
            Leaf::Def(def) => self.def(def, at.to_vec()),
            Leaf::Value(value) if self.shared.contains_key(&value) => self.shared(value, at),
            Leaf::Value(value) => {
                let (data, side, rest) = self.data(value, at)?;
                let offset = match self.program.value(value).ty.kind {
                    Kind::Vector(Dim::Finite(size)) => {
                        let (last, positions) = rest.split_last().unwrap_or((&0, &[]));
                        self.flat(value, positions) * size + last
                    }
                    _ => self.flat(value, &rest),
                };
                let id = self.ones.intern(Op::Load(data, offset));
                Ok(Value::of(Arg::One(id, side)))
            }
            Leaf::Slot(_) | Leaf::Parameter(_) => {
                Err(KernelError::Lower("a slot of an expectation occurs outside of it".to_owned()))
            }
        }
    }

    /// A number that all inputs share.
    fn shared(&self, value: ValueId, at: &[At]) -> Result<Value, KernelError> {
        let mut sizes = self.program.family_sizes(value);
        if let Kind::Vector(Dim::Finite(size)) = self.program.value(value).ty.kind {
            sizes.push(size as usize);
        }
        let mut flat = 0;
        for (position, size) in at.iter().zip(sizes) {
            let At::Fixed(p) = position else { return Err(KernelError::DependsOnPosition { what: "shared number" }) };
            flat = flat * size + *p as usize;
        }
        let outside = || KernelError::Lower(format!("a position outside of `{}`", self.program.value(value).name));
        self.shared[&value].get(flat).map(|&x| Value::constant(x)).ok_or_else(outside)
    }

    /// The number of a data value, the side it belongs to, and its indices after the first.
    fn data(&mut self, value: ValueId, at: &[At]) -> Result<(u32, Side, Vec<u32>), KernelError> {
        let definition = self.program.value(value);
        let name = || definition.name.clone();
        let side = match at.first() {
            Some(At::Row) => Side::Row,
            Some(At::Col) => Side::Col,
            Some(&At::Fixed(position)) if !definition.ty.family.is_empty() => {
                return Err(KernelError::MixesInputs { name: name(), position });
            }
            None => return Err(KernelError::Shared { name: name() }),
            Some(At::Fixed(_)) => return Err(KernelError::BatchAxis { name: name() }),
        };
        let rest = at[1..]
            .iter()
            .map(|a| match a {
                At::Fixed(p) => Ok(*p),
                _ => Err(KernelError::BatchAxis { name: name() }),
            })
            .collect::<Result<Vec<u32>, _>>()?;
        let data = match self.data.iter().position(|d| d.value == value) {
            Some(at) => at,
            None => {
                let positions: usize = self.program.family_sizes(value).iter().skip(1).product();
                let coordinates = match definition.ty.kind {
                    Kind::Vector(Dim::Finite(size)) => size as usize,
                    _ => 1,
                };
                let stride = positions * coordinates;
                self.data.push(DataInfo { value, name: name(), coordinates, stride });
                self.data.len() - 1
            }
        };
        Ok((data as u32, side, rest))
    }

    fn flat(&self, value: ValueId, positions: &[u32]) -> u32 {
        let axes = self.program.value(value).ty.family.iter().skip(1);
        positions.iter().zip(axes).fold(0, |flat, (&p, &axis)| flat * self.graph.axis_size(axis) + p)
    }

    fn def(&mut self, id: DefId, at: Vec<At>) -> Result<Value, KernelError> {
        if let Some(known) = self.defs.get(&(id, at.clone())) {
            return Ok(known.clone());
        }
        let graph = self.graph;
        let value = match &graph.def(id).body {
            Body::Scalar(expr) => self.expr(*expr, &at, &[])?,
            Body::Provided { value, premises } => match graph.presumes_existence(*premises) {
                Some(name) => return Err(KernelError::Existence { name: name.to_owned() }),
                None => self.expr(*value, &at, &[])?,
            },
            Body::Quotient { numerator, denominator, size, power } => {
                let values = [*numerator, *denominator, *size].map(|e| self.expr(e, &at, &[]));
                let [numerator, denominator, size] = values;
                let (numerator, denominator) = (numerator?.collected(), denominator?);
                if numerator.as_constant() == Some(0.0) {
                    numerator
                } else {
                    let [numerator, denominator, size] =
                        [self.arg(numerator)?, self.arg(denominator)?, self.arg(size?)?];
                    let power = Real(power_to_f64(*power));
                    Value::of(self.op(Op::Quotient { numerator, denominator, size, power })?)
                }
            }
            Body::Expect { integrand, covariance, parameters } => {
                let mut all = |exprs: &[ExprId]| -> Result<Vec<Value>, KernelError> {
                    exprs.iter().map(|&e| self.expr(e, &at, &[]).map(Value::collected)).collect()
                };
                let lower = all(covariance)?;
                let parameters = all(parameters)?;
                self.expectation(*integrand, &Covariance::new(lower), &parameters)?
            }
        };
        // One node each, so that what uses it shares it.
        let value = match value.as_multiple() {
            Some(_) => value,
            None => Value::of(self.arg(value)?),
        };
        self.defs.insert((id, at), value.clone());
        Ok(value)
    }

    pub(crate) fn function(&mut self, key: &FunctionKey) -> Result<u32, KernelError> {
        let form = self.forms.of(self.graph, key);
        if let Some(&known) = self.known_functions.get(&form) {
            return Ok(known);
        }
        self.functions.push(SlotFunction::new(self.graph, key)?);
        let id = self.functions.len() as u32 - 1;
        self.known_functions.insert(form, id);
        Ok(id)
    }

    pub(crate) fn integrand(&mut self, integrand: ExprId, slots: usize) -> Result<u32, KernelError> {
        if let Some(&known) = self.known_integrands.get(&(integrand, slots)) {
            return Ok(known);
        }
        self.integrands.push(General::new(self.graph, integrand, slots)?);
        let id = self.integrands.len() as u32 - 1;
        self.known_integrands.insert((integrand, slots), id);
        Ok(id)
    }
}

fn resolve(indices: &[Index], at: &[At], bound: &[u32]) -> Result<Vec<At>, KernelError> {
    indices
        .iter()
        .map(|&i| match i {
            Index::Var(k) => at.get(k as usize).copied().ok_or_else(|| KernelError::Variable {
                query: String::new(),
                variable: k,
                found: at.len(),
            }),
            _ => position(i, &[], bound)
                .map(At::Fixed)
                .ok_or_else(|| KernelError::Lower("a bound variable outside of its sum".to_owned())),
        })
        .collect()
}
