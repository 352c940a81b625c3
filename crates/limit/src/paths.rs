//! The path formula for the tangent kernel (TP IIb App. Prop. D.3, with inputs, biases and readouts trained: eq. 125).
//!
//! A second witness for the kernel: it uses the forward pass alone and no adjoint. With `<p, q>` of eq. 95 the kernel is
//! a sum over pairs of isomorphic paths. The sum is done by recursion over pairs of G-vars instead of a list,
//!
//! ```text
//! B(g, g') = sum over products G = A x, G' = A x' of  s(A) B(G, G') E[ dx/dg  dx'/dg' ],
//! K        = sum over products g = W x, g' = W x' of  B(g, g') E[ x x' ],
//! ```
//!
//! from `B(f, f') = 1` at the outputs, so that its cost grows with the number of pairs of products with one matrix and
//! not with the number of paths.
//!
//! **What `d/dg` means.** As printed, `dx/dg` is the derivative of the X-var `x = psi(.., g, ..)` in the G-var. When the
//! forward pass uses both `W` and `W'`, the formula is then wrong: what comes back through `W'` by ZDot is missing
//! (errata). With derivatives in the *base* variable `Zhat^g` of `Z^x` it is right: through ZDot of other vectors `x`
//! depends on `Zhat^g` also where the program does not say so, and these are the return paths. Both are here, and their
//! difference is what gradient independence costs.

mod forward;
mod limits;

use std::collections::BTreeMap;

use netsor_ir::calculus::Derivative;
use netsor_ir::paths::{PathError, Reduced};
use netsor_ir::program::symbol_of;
use netsor_ir::{Dim, ExprId, Instr, Kind, Network, Number, Power, Program, Scale, Symbol, ValueId};
use num_traits::{One, Zero};

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::provided::PremisesId;

pub(crate) use forward::{PairSums, Paths};
pub(crate) use limits::Limits;

/// What the derivatives in the path formula are taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathRule {
    /// In G-vars: the formula as printed.
    Printed,
    /// In base variables: with return paths through a matrix and its transpose.
    WithReturns,
}

/// Why there is no path formula for a network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PathFormulaError {
    /// The network is not plain, or its output is not a sum of readouts.
    #[error(transparent)]
    Path(#[from] PathError),
    /// An expectation could not be derived.
    #[error(transparent)]
    Limit(#[from] LimitError),
    /// The network does not scale as the formula supposes.
    #[error(
        "`{name}` has the power n^({power}) of the width where the path formula expects n^({expected}): it is about the NTK parametrization"
    )]
    Parametrization {
        /// The matrix or vector.
        name: String,
        /// Its power.
        power: String,
        /// The power in the NTK parametrization.
        expected: String,
    },
}

/// The kernel of two outputs by paths.
#[derive(Clone, Debug)]
pub struct PathKernel {
    /// The sum over trained parameters, a term of the deriver's graph.
    pub total: ExprId,
    /// The share of each trained parameter of the plain network.
    pub parts: BTreeMap<ValueId, ExprId>,
}

/// The path formula of one plain network.
#[derive(Debug)]
pub struct PathFormula<'a, 'p> {
    network: &'a Network,
    deriver: &'a mut Deriver<'p>,
    reduced: Reduced,
    /// For each value, the products whose operand depends on it, with the derivative as a term of the graph.
    consumers: Vec<Vec<(ValueId, ExprId)>>,
    /// What the derivatives presume.
    premises: Option<PremisesId>,
}

impl<'a, 'p> PathFormula<'a, 'p> {
    /// Prepares the formula for a plain network; the deriver is that of the network's program.
    ///
    /// # Errors
    /// [`PathFormulaError`] for families, for other parametrizations, and if a derivative has no limit.
    pub fn new(network: &'a Network, deriver: &'a mut Deriver<'p>, rule: PathRule) -> Result<Self, PathFormulaError> {
        check_scales(network)?;
        let reduced = Reduced::new(network)?;
        let mut formula = Self { network, deriver, reduced, consumers: Vec::new(), premises: None };
        formula.deriver.open_frame();
        let consumers = match rule {
            PathRule::Printed => formula.printed_consumers(),
            PathRule::WithReturns => formula.base_consumers(),
        };
        formula.premises = formula.deriver.close_frame();
        formula.consumers = consumers?;
        Ok(formula)
    }

    /// Derivatives in G-vars, from the program, with `Z` put in.
    fn printed_consumers(&mut self) -> Result<Vec<Vec<(ValueId, ExprId)>>, PathFormulaError> {
        let by_value = self.reduced.consumers();
        let mut consumers = vec![Vec::new(); by_value.len()];
        for (source, list) in by_value.into_iter().enumerate() {
            for (product, derivative) in list {
                let term = self.in_z(derivative)?;
                consumers[source].push((product, term));
            }
        }
        Ok(consumers)
    }

    /// Derivatives in base variables, from `Z`.
    fn base_consumers(&mut self) -> Result<Vec<Vec<(ValueId, ExprId)>>, PathFormulaError> {
        let program = &self.network.program;
        let mut consumers = vec![Vec::new(); program.values.len()];
        for product in program.value_ids() {
            let Instr::MatMul { vector, .. } = &program.value(product).instr else { continue };
            if !matches!(program.value(vector.value).ty.kind, Kind::Vector(Dim::Width(_))) {
                continue;
            }
            let z = self.deriver.z(vector.value)?.expr;
            let random: Vec<bool> = program.value_ids().map(|v| self.deriver.graph.is_random(symbol_of(v))).collect();
            let is_random = |s: Symbol| random.get(s.0 as usize).copied().unwrap_or(false);
            // Pointwise, as back-propagation differentiates: the gradient through a step is 0.
            let mut fresh = self.deriver.expander.fresh;
            let found = self.deriver.graph.pool.occurrences(z, Derivative::Pointwise, &mut fresh, &is_random);
            self.deriver.expander.fresh = fresh;
            for occurrence in found {
                consumers[occurrence.symbol.0 as usize].push((product, occurrence.coefficient));
            }
        }
        Ok(consumers)
    }

    /// The kernel of two outputs: the first component of the one with the first of the other. Components have
    /// independent readouts, so that different ones have kernel 0.
    ///
    /// # Errors
    /// [`PathFormulaError`] if an output is not a sum of readouts, or an expectation cannot be derived.
    pub fn kernel(&mut self, first: ValueId, second: ValueId) -> Result<PathKernel, PathFormulaError> {
        self.deriver.open_frame();
        self.deriver.rely_on(self.premises);
        let kernel = self.kernel_limit(first, second);
        let premises = self.deriver.close_frame();
        let PathKernel { total, parts } = kernel?;
        let parts = parts.into_iter().map(|(value, part)| (value, self.deriver.provided(part, premises))).collect();
        Ok(PathKernel { total: self.deriver.provided(total, premises), parts })
    }

    fn kernel_limit(&mut self, first: ValueId, second: ValueId) -> Result<PathKernel, PathFormulaError> {
        let back = self.backward(first, second)?;
        let program = &self.network.program;
        let mut parts: BTreeMap<ValueId, ExprId> = BTreeMap::new();
        for parameter in self.network.parameters.iter().filter(|p| p.trained) {
            let zero = self.deriver.graph.pool.integer(0);
            parts.insert(parameter.value, zero);
        }
        for (&(g, h), &b) in &back {
            let (parameter, gram) = match (&program.value(g).instr, &program.value(h).instr) {
                (Instr::MatMul { matrix, vector, .. }, Instr::MatMul { vector: other, .. }) => {
                    (matrix.value, gram(program, self.deriver, vector.value, other.value)?)
                }
                _ => (g, self.deriver.graph.pool.integer(1)),
            };
            let Some(parameter) = self.network.parameter(parameter).filter(|p| p.trained) else { continue };
            let rate = self.deriver.graph.pool.constant(parameter.rate().coefficient);
            let pool = &mut self.deriver.graph.pool;
            let term = pool.mul(b, gram);
            let term = pool.mul(rate, term);
            if let Some(part) = parts.get_mut(&parameter.value) {
                *part = pool.add(*part, term);
            }
        }
        let total = self.deriver.graph.pool.add_all(parts.values().copied());
        Ok(PathKernel { total, parts })
    }

    /// `B(g, g')` for every pair that it is not zero for by proof.
    fn backward(
        &mut self,
        first: ValueId,
        second: ValueId,
    ) -> Result<BTreeMap<(ValueId, ValueId), ExprId>, PathFormulaError> {
        let program = &self.network.program;
        let mut back: BTreeMap<(ValueId, ValueId), ExprId> = BTreeMap::new();
        // Readouts and biases of the outputs.
        for (g, a) in self.heads(first)? {
            for (h, b) in self.heads(second)? {
                if same_origin(program, g, h) {
                    let term = self.deriver.graph.pool.mul(a, b);
                    self.add(&mut back, (g, h), term);
                }
            }
        }
        // Consumers come later than what they consume, so that each pair is complete when it is taken.
        let mut pending: std::collections::BTreeSet<(ValueId, ValueId)> = back.keys().copied().collect();
        let operands = self.operands();
        while let Some(pair) = pending.pop_last() {
            let (product, other) = pair;
            let Some(strength) = strength(program, product) else { continue };
            let above = back[&pair];
            let pool = &mut self.deriver.graph.pool;
            let strength = pool.constant(strength);
            let above = pool.mul(strength, above);
            for (g, left) in operands[product.index()].clone() {
                for &(h, right) in &operands[other.index()] {
                    if !same_origin(program, g, h) {
                        continue;
                    }
                    let mean = self.deriver.mean_of_product(&left, &right)?;
                    let term = self.deriver.graph.pool.mul(above, mean);
                    if !self.deriver.graph.pool.is_zero(term) {
                        self.add(&mut back, (g, h), term);
                        pending.insert((g, h));
                    }
                }
            }
        }
        Ok(back)
    }

    /// For each product, the values that its operand depends on, with the derivatives.
    fn operands(&self) -> Vec<Vec<(ValueId, ExprId)>> {
        let mut operands = vec![Vec::new(); self.consumers.len()];
        for (source, list) in self.consumers.iter().enumerate() {
            for &(product, derivative) in list {
                operands[product.index()].push((ValueId::new(source), derivative));
            }
        }
        operands
    }

    fn add(&mut self, back: &mut BTreeMap<(ValueId, ValueId), ExprId>, pair: (ValueId, ValueId), term: ExprId) {
        let total = match back.get(&pair) {
            Some(&earlier) => self.deriver.graph.pool.add(earlier, term),
            None => term,
        };
        back.insert(pair, total);
    }

    /// The readouts and biases that an output is a sum of, with coefficients as terms of the graph.
    fn heads(&mut self, output: ValueId) -> Result<Vec<(ValueId, ExprId)>, PathFormulaError> {
        let parts = heads(&mut self.reduced, output)?;
        parts.into_iter().map(|(part, coefficient)| Ok((part, self.in_z(coefficient)?))).collect()
    }

    /// A term of the reduced program with `Z` put in for its values.
    fn in_z(&mut self, root: ExprId) -> Result<ExprId, PathFormulaError> {
        self.deriver.function(&self.reduced.program.exprs, root, &self.network.program.name)
    }
}

/// The readouts and biases that an output is a sum of, with coefficients as terms of the reduced program.
fn heads(reduced: &mut Reduced, output: ValueId) -> Result<Vec<(ValueId, ExprId)>, PathError> {
    let readouts = reduced.heads(output)?;
    let program = &reduced.program;
    let biases = reduced.derivatives[output.index()].iter().copied();
    let biases = biases.filter(|&(part, _)| matches!(program.value(part).instr, Instr::Gaussian(_)));
    Ok(readouts.into_iter().map(|head| (head.readout, head.coefficient)).chain(biases).collect())
}

/// `x . x'` of inputs, and `E[x x']` times the size of vectors relative to `n`.
fn gram<L: Limits>(program: &Program, limits: &mut L, x: ValueId, y: ValueId) -> Result<L::Scalar, L::Error> {
    let ratio = match program.value(x).ty.kind {
        Kind::Vector(Dim::Width(class)) => program.classes[class.index()].ratio.clone(),
        _ => Number::one(),
    };
    let moment = limits.moment(x, y)?;
    let ratio = limits.number(&ratio);
    Ok(limits.product(&ratio, &moment))
}

/// Whether two values are products with one matrix from one side, or one initial vector.
fn same_origin(program: &Program, g: ValueId, h: ValueId) -> bool {
    match (&program.value(g).instr, &program.value(h).instr) {
        (Instr::MatMul { matrix: a, transposed: s, .. }, Instr::MatMul { matrix: b, transposed: t, .. }) => {
            a.value == b.value && s == t
        }
        _ => g == h,
    }
}

/// `s(A)` of a product with a vector whose dimension is a width: the variance of an entry times the size of the input.
/// `None` for a product with an input, and for what is no product: nothing flows further back.
fn strength(program: &Program, product: ValueId) -> Option<Number> {
    let Instr::MatMul { matrix, transposed, .. } = &program.value(product).instr else { return None };
    let (Instr::Matrix { variance }, Kind::Matrix { rows, cols }) =
        (&program.value(matrix.value).instr, program.value(matrix.value).ty.kind)
    else {
        return None;
    };
    match if *transposed { rows } else { cols } {
        Dim::Width(class) => Some(&variance.coefficient * &program.classes[class.index()].ratio),
        Dim::Finite(_) => None,
    }
}

/// Variances and rates of the NTK parametrization.
fn check_scales(network: &Network) -> Result<(), PathFormulaError> {
    let program = &network.program;
    let refuse = |id: ValueId, power: Power, expected: Power| {
        let name = program.value(id).name.clone();
        Err(PathFormulaError::Parametrization { name, power: power.to_string(), expected: expected.to_string() })
    };
    for id in program.value_ids() {
        let value = program.value(id);
        let (scale, expected) = match (&value.instr, value.ty.kind) {
            (Instr::Matrix { variance }, Kind::Matrix { rows, cols }) => {
                let used_transposed = program
                    .values
                    .iter()
                    .any(|v| matches!(&v.instr, Instr::MatMul { matrix, transposed: true, .. } if matrix.value == id));
                let input = match (rows, cols) {
                    (Dim::Width(_), Dim::Width(_)) => false,
                    (Dim::Width(_), Dim::Finite(_)) => !used_transposed,
                    (Dim::Finite(_), Dim::Width(_)) => used_transposed,
                    (Dim::Finite(_), Dim::Finite(_)) => true,
                };
                (variance.clone(), if input { Power::zero() } else { -Power::one() })
            }
            _ => (Scale::constant(Number::one()), Power::zero()),
        };
        if scale.power != expected {
            return refuse(id, scale.power, expected);
        }
        let rate = network.parameter(id).filter(|p| p.trained).map(|p| p.rate().power);
        if let Some(rate) = rate.filter(|&rate| rate != expected) {
            return refuse(id, rate, expected);
        }
    }
    Ok(())
}
