//! The same sum over pairs of isomorphic paths from the other end: all pairs that end in two given G-vars.
//!
//! With `<p, q>` of TP IIb App. eq. 95, and the learning rates of the parameters in it,
//!
//! ```text
//! A(g, g') = sum over p, q with p-1 = g, q-1 = g', p isomorphic to q, of <p, q>
//!          = rate of W * E[x x'] + s(W) sum over G-vars h of x, h' of x' of A(h, h') E[ dx/dh  dx'/dh' ]
//! ```
//!
//! for products `g = W x`, `g' = W x'` with one matrix from one side; `A(b, b)` is the rate of a trained initial vector
//! `b`, and only `rate * xi . xi'` is left for a product with an input. It is what eq. 107 sums for every G-var, and at
//! two readouts it is the kernel (eq. 96, 125).

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;

use indexmap::IndexMap;
use netsor_ir::number::Number;
use netsor_ir::paths::Reduced;
use netsor_ir::{ExprId, Instr, Network, ValueId};
use num_traits::Zero;
use rustc_hash::FxHashMap;

use super::{Limits, PathFormulaError, check_scales, gram, heads, same_origin, strength};

/// What the paths of a plain network are made of, with derivatives in G-vars, as printed.
#[derive(Debug)]
pub(crate) struct Paths<'a> {
    network: &'a Network,
    reduced: Reduced,
    /// For each product, the G-vars that its operand depends on, with the derivatives.
    operands: Vec<Vec<(ValueId, ExprId)>>,
    /// These derivatives, each once, with the first product that has it.
    derivatives: IndexMap<ExprId, ValueId>,
    /// The readouts and biases that each output is a sum of, with coefficients.
    heads: BTreeMap<ValueId, Vec<(ValueId, ExprId)>>,
}

/// `A(g, g')` for every pair that it is not zero for by proof; symmetric.
#[derive(Clone, Debug)]
pub(crate) struct PairSums<S> {
    /// Of all paths, the later G-var first.
    all: BTreeMap<(ValueId, ValueId), S>,
    /// Of paths of length two.
    shortest: BTreeMap<(ValueId, ValueId), S>,
}

impl<S> PairSums<S> {
    /// `A(g, h)`; `None` if it is zero.
    pub(crate) fn get(&self, g: ValueId, h: ValueId) -> Option<&S> {
        self.all.get(&(g.max(h), g.min(h)))
    }

    /// The part of `A(g, h)` from the paths of length two, `rate of W * E[x x']`; `None` if it is zero. Eq. 100 is the
    /// sum of it times `E[Z^dg Z^dh]` over all pairs.
    pub(crate) fn shortest(&self, g: ValueId, h: ValueId) -> Option<&S> {
        self.shortest.get(&(g.max(h), g.min(h)))
    }
}

impl<'a> Paths<'a> {
    /// The paths of a plain network.
    ///
    /// # Errors
    /// [`PathFormulaError`] for families, for other parametrizations, and if an output is not a sum of readouts.
    pub(crate) fn new(network: &'a Network) -> Result<Self, PathFormulaError> {
        check_scales(network)?;
        let mut reduced = Reduced::new(network)?;
        let mut operands = vec![Vec::new(); network.program.values.len()];
        let mut derivatives = IndexMap::new();
        for (source, list) in reduced.consumers().into_iter().enumerate() {
            // Nothing flows through a product with an input.
            for (product, derivative) in list.into_iter().filter(|&(p, _)| strength(&network.program, p).is_some()) {
                operands[product.index()].push((ValueId::new(source), derivative));
                derivatives.entry(derivative).or_insert(product);
            }
        }
        let outputs = network.outputs.iter();
        let heads = outputs.map(|&output| Ok((output, heads(&mut reduced, output)?)));
        let heads = heads.collect::<Result<_, PathFormulaError>>()?;
        Ok(Self { network, reduced, operands, derivatives, heads })
    }

    /// The sums over pairs of paths that end in each pair of G-vars, initial vectors and readouts.
    ///
    /// Cost: one expectation for each pair of derivatives of the operands of two products with one matrix.
    ///
    /// # Errors
    /// If a limit is not known.
    pub(crate) fn pair_sums<L: Limits>(&self, limits: &mut L) -> Result<PairSums<L::Scalar>, L::Error> {
        let program = &self.network.program;
        let mut derivatives: FxHashMap<ExprId, L::Vector> = FxHashMap::default();
        for (&derivative, &product) in &self.derivatives {
            let name = &program.value(product).name;
            derivatives.insert(derivative, limits.function(&self.reduced.program.exprs, derivative, name)?);
        }
        let mut means: FxHashMap<(ExprId, ExprId), L::Scalar> = FxHashMap::default();
        let mut sums = PairSums { all: BTreeMap::new(), shortest: BTreeMap::new() };
        // What an operand depends on comes before the product, so that the pairs below are complete.
        for g in program.value_ids() {
            for h in program.value_ids().take_while(|&h| h <= g).filter(|&h| same_origin(program, g, h)) {
                let mut total = self.own_share(limits, g, h)?;
                if !limits.is_zero(&total) {
                    sums.shortest.insert((g, h), total.clone());
                }
                if let Some(strength) = strength(program, g) {
                    let strength = limits.number(&strength);
                    for &(source, left) in &self.operands[g.index()] {
                        for &(other, right) in &self.operands[h.index()] {
                            let Some(below) = sums.get(source, other) else { continue };
                            let key = (left.min(right), left.max(right));
                            let mean = match means.entry(key) {
                                Entry::Occupied(known) => known.into_mut(),
                                Entry::Vacant(unknown) => {
                                    unknown.insert(limits.mean_of_product(&derivatives[&left], &derivatives[&right])?)
                                }
                            };
                            let through = limits.product(&strength, below);
                            let term = limits.product(&through, mean);
                            total = limits.sum(&total, &term);
                        }
                    }
                }
                if !limits.is_zero(&total) {
                    sums.all.insert((g, h), total);
                }
            }
        }
        Ok(sums)
    }

    /// The pair of paths of length two: through the parameter itself.
    fn own_share<L: Limits>(&self, limits: &mut L, g: ValueId, h: ValueId) -> Result<L::Scalar, L::Error> {
        let program = &self.network.program;
        let (parameter, operands) = match (&program.value(g).instr, &program.value(h).instr) {
            (Instr::MatMul { matrix, vector, .. }, Instr::MatMul { vector: other, .. }) => {
                (matrix.value, Some((vector.value, other.value)))
            }
            (Instr::Gaussian(_), _) => (g, None),
            _ => return Ok(limits.number(&Number::zero())),
        };
        let Some(parameter) = self.network.parameter(parameter).filter(|p| p.trained) else {
            return Ok(limits.number(&Number::zero()));
        };
        let rate = limits.number(&parameter.rate().coefficient);
        let Some((x, y)) = operands else { return Ok(rate) };
        let gram = gram(program, limits, x, y)?;
        Ok(limits.product(&rate, &gram))
    }

    /// The kernel of two outputs from the sums at their readouts and biases: eq. 96 and 125, read forwards.
    ///
    /// # Errors
    /// If a limit is not known.
    pub(crate) fn kernel<L: Limits>(
        &self,
        limits: &mut L,
        sums: &PairSums<L::Scalar>,
        first: ValueId,
        second: ValueId,
    ) -> Result<L::Scalar, L::Error> {
        let program = &self.network.program;
        let mut total = limits.number(&Number::zero());
        let (left, right) = (self.heads_of(limits, first)?, self.heads_of(limits, second)?);
        for (g, a) in left {
            for (h, b) in &right {
                let Some(sum) = sums.get(g, *h).filter(|_| same_origin(program, g, *h)) else { continue };
                let both = limits.product(&a, b);
                let term = limits.product(&both, sum);
                total = limits.sum(&total, &term);
            }
        }
        Ok(total)
    }

    fn heads_of<L: Limits>(&self, limits: &mut L, output: ValueId) -> Result<Vec<(ValueId, L::Scalar)>, L::Error> {
        let name = &self.network.program.value(output).name;
        let parts = self.heads.get(&output).into_iter().flatten();
        parts.map(|&(part, term)| Ok((part, limits.coefficient(&self.reduced.program.exprs, term, name)?))).collect()
    }
}
