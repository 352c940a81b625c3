//! Exact derivatives of limits with respect to numbers of the data.
//!
//! A limit is an expression over data and definitions, and a definition an expectation whose covariance is made of
//! earlier ones. Forward mode through this graph is exact and symbolic: the derivative of an expectation is again a sum
//! of expectations, by Price's theorem (module `price`), so that the result is an expression of the same graph, to be
//! evaluated, compiled to plans over data sets, or differentiated again.
//!
//! What the derivative is taken with respect to is a number of the data. Hyper-parameters are such numbers once
//! [`netsor_ir::transform::tunable()`] has made scalars of them; the coordinate of an input is one as it stands.

use netsor_ir::ExprId;
use netsor_ir::calculus::Derivative;
use netsor_ir::number::Power;
use netsor_ir::program::symbol_of;
use netsor_ir::{Dim, Index, Instr, Kind, ValueId};
use rustc_hash::FxHashMap;

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::graph::{Body, DefId, Leaf};

/// One number of the data: a member of a family and, for a vector of constant dimension, a coordinate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Datum {
    /// The data value.
    pub value: ValueId,
    /// Positions on the axes of its family, then the coordinate of a vector.
    pub at: Vec<u32>,
}

impl Datum {
    /// A scalar that is no family.
    pub fn scalar(value: ValueId) -> Self {
        Self { value, at: Vec::new() }
    }
}

/// Differentiates expressions of a moment graph with respect to one [`Datum`].
///
/// ```
/// use netsor_ir::transform::{HyperParameter, tunable};
/// use netsor_limit::{Data, Datum, Deriver, Evaluator, Tolerance};
/// use netsor_zoo::{Activation, Mlp};
///
/// // A ReLU network is homogeneous in its weights: with two layers of them, K(c W) = c^4 K(W).
/// let network = Mlp { dim: 2, activation: Activation::Relu, ..Mlp::default() }.network()?;
/// let tunable = tunable(&network, &[HyperParameter::weights(&network)])?;
/// let kernels = tunable.kernels()?;
/// let mut deriver = Deriver::new(&kernels.program);
/// let nngp = deriver.scalar(kernels.outputs[0].nngp.ok_or("a readout")?)?;
/// let slope = deriver.with_respect_to(Datum::scalar(tunable.factors[0]))?.derivative(nngp)?;
/// let graph = deriver.into_graph();
///
/// let xi = kernels.program.find("xi").ok_or("the data")?;
/// let data = Data::new().with(xi, vec![0.6, -0.8]).with(tunable.factors[0], vec![1.0]);
/// let mut evaluator = Evaluator::new(&graph, &kernels.program, &data, Tolerance::default())?;
/// let (nngp, slope) = (evaluator.value(nngp, &[0, 0])?.value, evaluator.value(slope, &[0, 0])?.value);
/// assert!((slope - 4.0 * nngp).abs() < 1e-14);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Differentiator<'d, 'p> {
    deriver: &'d mut Deriver<'p>,
    datum: Datum,
    /// The name of the datum, for errors.
    name: String,
    /// Whether a definition depends on the datum.
    depends: Vec<bool>,
    known: FxHashMap<DefId, ExprId>,
}

impl<'p> Deriver<'p> {
    /// A differentiator with respect to one number of the data, for expressions of this deriver.
    ///
    /// # Errors
    /// [`LimitError::NoDatum`] if `datum` is no number of the program's data.
    pub fn with_respect_to(&mut self, datum: Datum) -> Result<Differentiator<'_, 'p>, LimitError> {
        let refuse = |name: &str, reason: String| Err(LimitError::NoDatum { name: name.to_owned(), reason });
        let Some(value) = self.program.values.get(datum.value.index()) else {
            return refuse("?", "the program has no such value".to_owned());
        };
        if !matches!(value.instr, Instr::Data) {
            return refuse(&value.name, "it is not data".to_owned());
        }
        let mut sizes: Vec<u32> = value.ty.family.iter().map(|&axis| self.program.axis_size(axis)).collect();
        if let Kind::Vector(Dim::Finite(size)) = value.ty.kind {
            sizes.push(size);
        }
        if sizes.len() != datum.at.len() || datum.at.iter().zip(&sizes).any(|(at, size)| size <= at) {
            return refuse(&value.name, format!("position {:?} of an array of sizes {sizes:?}", datum.at));
        }
        let name = value.name.clone();
        Ok(Differentiator { deriver: self, datum, name, depends: Vec::new(), known: FxHashMap::default() })
    }
}

impl Differentiator<'_, '_> {
    /// The derivative of an expression over data and definitions: an expression over the same index variables.
    ///
    /// Where an expectation is not differentiable the result is the symmetric derivative where that exists: the kernel of
    /// two inputs that coincide, with jumps, and of an input that is 0, with kinks.
    ///
    /// # Errors
    /// [`LimitError::JumpTimesJump`] and [`LimitError::JumpAlongCurve`] if a derivative of an integrand has no meaning as
    /// a weak derivative.
    pub fn derivative(&mut self, expr: ExprId) -> Result<ExprId, LimitError> {
        self.deriver.open_frame();
        let derivative = self.derivative_of_value(expr);
        let premises = self.deriver.close_frame();
        Ok(self.deriver.provided(derivative?, premises))
    }

    fn derivative_of_value(&mut self, expr: ExprId) -> Result<ExprId, LimitError> {
        // The derivative presumes what the value does, also where that is the same number whatever the datum is.
        for (symbol, _) in self.deriver.graph.pool.refs(expr) {
            if let Leaf::Def(def) = self.deriver.graph.leaf(symbol)
                && let Body::Provided { premises, .. } = self.deriver.graph.def(def).body
            {
                self.deriver.rely_on(Some(premises));
            }
        }
        self.note_dependence();
        // Definitions refer to earlier ones only: in ascending order, all that is needed is there.
        for def in self.needed(expr) {
            let derivative = self.definition(def)?;
            let arity = self.deriver.graph.def(def).arity;
            let named = self.deriver.named(derivative, arity);
            self.known.insert(def, named);
        }
        self.expr(expr)
    }

    /// Extends the table of dependence to all definitions that there are.
    fn note_dependence(&mut self) {
        let graph = &self.deriver.graph;
        for def in &graph.defs[self.depends.len()..] {
            let on_datum = |&expr: &ExprId| {
                graph.pool.refs(expr).iter().any(|&(symbol, _)| match graph.leaf(symbol) {
                    Leaf::Value(value) => value == self.datum.value,
                    Leaf::Def(def) => self.depends[def.index()],
                    Leaf::Slot(_) | Leaf::Parameter(_) => false,
                })
            };
            let depends = def.body.exprs().iter().any(on_datum);
            self.depends.push(depends);
        }
    }

    /// The definitions behind an expression that depend on the datum and are not differentiated yet, in order.
    fn needed(&self, expr: ExprId) -> Vec<DefId> {
        let graph = &self.deriver.graph;
        let mut needed = std::collections::BTreeSet::new();
        let mut stack = vec![expr];
        while let Some(expr) = stack.pop() {
            for (symbol, _) in graph.pool.refs(expr) {
                let Leaf::Def(def) = graph.leaf(symbol) else { continue };
                if self.depends[def.index()] && !self.known.contains_key(&def) && needed.insert(def) {
                    stack.extend(graph.def(def).body.exprs());
                }
            }
        }
        needed.into_iter().collect()
    }

    fn definition(&mut self, def: DefId) -> Result<ExprId, LimitError> {
        match self.deriver.graph.def(def).body.clone() {
            Body::Scalar(expr) | Body::Provided { value: expr, .. } => self.expr(expr),
            Body::Expect { integrand, covariance, parameters } => {
                let d_covariance = covariance.iter().map(|&e| self.expr(e)).collect::<Result<Vec<_>, _>>()?;
                let d_parameters = parameters.iter().map(|&e| self.expr(e)).collect::<Result<Vec<_>, _>>()?;
                let changes = ((&covariance[..], &d_covariance[..]), (&parameters[..], &d_parameters[..]));
                self.deriver.price(integrand, changes.0, changes.1, &self.name)
            }
            Body::Quotient { numerator, denominator, size, power } => {
                let (d_numerator, d_denominator) = (self.expr(numerator)?, self.expr(denominator)?);
                let first = self.deriver.quotient(d_numerator, denominator, size, power);
                let value = self.deriver.quotient(numerator, denominator, size, power);
                let moved = self.deriver.graph.pool.mul(value, d_denominator);
                let second = self.deriver.quotient(moved, denominator, size, Power::from_integer(1));
                let pool = &mut self.deriver.graph.pool;
                let power = pool.constant(netsor_ir::number::fraction(*power.numer(), *power.denom()));
                let second = pool.mul(power, second);
                Ok(pool.sub(first, second))
            }
        }
    }

    /// The derivative of an expression whose definitions are differentiated already.
    fn expr(&mut self, expr: ExprId) -> Result<ExprId, LimitError> {
        let Deriver { graph, expander, .. } = &mut *self.deriver;
        let datum = symbol_of(self.datum.value);
        let first_def = graph.def_symbol(DefId::new(0)).0;
        let depends = &self.depends;
        let wanted = |symbol: netsor_ir::expr::Symbol| {
            let def = symbol.0.checked_sub(first_def).and_then(|d| depends.get(d as usize));
            symbol == datum || def.is_some_and(|&d| d)
        };
        let occurrences = graph.pool.occurrences(expr, Derivative::Pointwise, &mut expander.fresh, &wanted);
        let mut total = graph.pool.integer(0);
        for occurrence in occurrences {
            let (tangent, same) = match self.deriver.graph.leaf(occurrence.symbol) {
                Leaf::Def(def) => {
                    let derivative = self.known[&def];
                    (self.deriver.instantiate(derivative, &occurrence.indices), Vec::new())
                }
                _ => {
                    let positions = self.datum.at.iter().map(|&at| Index::At(at));
                    let same = occurrence.indices.iter().copied().zip(positions).collect();
                    (self.deriver.graph.pool.integer(1), same)
                }
            };
            let pool = &mut self.deriver.graph.pool;
            let value = pool.mul(occurrence.coefficient, tangent);
            let guards = occurrence.guards.iter().cloned();
            let value = pool.sum_matching(&occurrence.variables, same, guards, value);
            total = pool.add(total, value);
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests;
