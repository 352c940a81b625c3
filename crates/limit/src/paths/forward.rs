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

use netsor_ir::{ExprId, Instr, ValueId};

use super::{PathFormula, PathFormulaError, same_origin, strength};

/// `A(g, g')` for every pair that it is not zero for by proof; symmetric. Terms to go on with: what they presume is not
/// part of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PairSums {
    /// Of all paths, the later G-var first.
    all: BTreeMap<(ValueId, ValueId), ExprId>,
    /// Of paths of length two.
    shortest: BTreeMap<(ValueId, ValueId), ExprId>,
}

impl PairSums {
    /// `A(g, h)`; `None` if it is zero.
    pub(crate) fn get(&self, g: ValueId, h: ValueId) -> Option<ExprId> {
        self.all.get(&(g.max(h), g.min(h))).copied()
    }

    /// The part of `A(g, h)` from the paths of length two, `rate of W * E[x x']`; `None` if it is zero. Eq. 100 is the
    /// sum of it times `E[Z^dg Z^dh]` over all pairs.
    pub(crate) fn shortest(&self, g: ValueId, h: ValueId) -> Option<ExprId> {
        self.shortest.get(&(g.max(h), g.min(h))).copied()
    }
}

impl PathFormula<'_, '_> {
    /// The sums over pairs of paths that end in each pair of G-vars, initial vectors and readouts.
    ///
    /// Cost: one expectation for each pair of derivatives of the operands of two products with one matrix.
    ///
    /// # Errors
    /// [`PathFormulaError`] if an expectation cannot be derived.
    pub(crate) fn pair_sums(&mut self) -> Result<PairSums, PathFormulaError> {
        let program = &self.network.program;
        let operands = self.operands();
        let mut sums = PairSums::default();
        // What an operand depends on comes before the product, so that the pairs below are complete.
        for g in program.value_ids() {
            for h in program.value_ids().take_while(|&h| h <= g).filter(|&h| same_origin(program, g, h)) {
                let mut total = self.own_share(g, h)?;
                if !self.deriver.graph.pool.is_zero(total) {
                    sums.shortest.insert((g, h), total);
                }
                if let Some(strength) = strength(program, g) {
                    for &(source, left) in &operands[g.index()] {
                        for &(other, right) in &operands[h.index()] {
                            let Some(below) = sums.get(source, other) else { continue };
                            let mean = self.mean(left, right)?;
                            let pool = &mut self.deriver.graph.pool;
                            let strength = pool.constant(strength.clone());
                            let term = pool.mul_all([strength, below, mean]);
                            total = pool.add(total, term);
                        }
                    }
                }
                if !self.deriver.graph.pool.is_zero(total) {
                    sums.all.insert((g, h), total);
                }
            }
        }
        Ok(sums)
    }

    /// The pair of paths of length two: through the parameter itself.
    fn own_share(&mut self, g: ValueId, h: ValueId) -> Result<ExprId, PathFormulaError> {
        let program = &self.network.program;
        let (parameter, operands) = match (&program.value(g).instr, &program.value(h).instr) {
            (Instr::MatMul { matrix, vector, .. }, Instr::MatMul { vector: other, .. }) => {
                (matrix.value, Some((vector.value, other.value)))
            }
            (Instr::Gaussian(_), _) => (g, None),
            _ => return Ok(self.deriver.graph.pool.integer(0)),
        };
        let Some(parameter) = self.network.parameter(parameter).filter(|p| p.trained) else {
            return Ok(self.deriver.graph.pool.integer(0));
        };
        let rate = self.deriver.graph.pool.constant(parameter.rate().coefficient);
        let Some((x, y)) = operands else { return Ok(rate) };
        let gram = self.gram(x, y)?;
        Ok(self.deriver.graph.pool.mul(rate, gram))
    }

    /// The kernel of two outputs from the sums at their readouts and biases: eq. 96 and 125, read forwards.
    ///
    /// # Errors
    /// [`PathFormulaError`] if an output is not a sum of readouts.
    pub(crate) fn kernel_from(
        &mut self,
        sums: &PairSums,
        first: ValueId,
        second: ValueId,
    ) -> Result<ExprId, PathFormulaError> {
        let program = &self.network.program;
        let mut total = self.deriver.graph.pool.integer(0);
        for (g, a) in self.heads(first)? {
            for (h, b) in self.heads(second)? {
                let Some(sum) = sums.get(g, h).filter(|_| same_origin(program, g, h)) else { continue };
                let term = self.deriver.graph.pool.mul_all([a, b, sum]);
                total = self.deriver.graph.pool.add(total, term);
            }
        }
        Ok(total)
    }
}
