//! MATMUL: `Z^{Ax} = Zhat + Zdot` (TP IIb App. eq. 64, 65), and readouts.

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::number::{Number, Power};
use netsor_ir::program::{own_indices, symbol_of, value_of};
use netsor_ir::{Dim, Index, Indices, Instr, Kind, Operand, Program, Scale, ValueId};
use num_traits::Signed;

use crate::derive::{Deriver, DotTerm};
use crate::error::LimitError;
use crate::order::Leading;

/// What a product's limit depends on: matrix, side, indices of the matrix and limit of the operand, up to names.
pub(crate) type ProductKey = (ValueId, bool, Vec<ExprId>);

/// A product that was derived, with the index variables of its key in order of appearance.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    value: ValueId,
    variables: Vec<Index>,
}

/// A matrix product as the rules see it.
pub(crate) struct Product<'a> {
    pub(crate) matrix: &'a Operand,
    pub(crate) transposed: bool,
    pub(crate) vector: &'a Operand,
    pub(crate) variance: &'a Scale,
    pub(crate) in_dim: Dim,
    pub(crate) out_dim: Dim,
    /// `s(A)` without its power of the width: the variance's coefficient times the size of the input relative to `n`.
    pub(crate) strength: Number,
}

impl<'a> Product<'a> {
    pub(crate) fn new(
        program: &'a Program,
        matrix: &'a Operand,
        transposed: bool,
        vector: &'a Operand,
    ) -> Result<Self, LimitError> {
        let value = program.value(matrix.value);
        let (Kind::Matrix { rows, cols }, Instr::Matrix { variance }) = (value.ty.kind, &value.instr) else {
            let reason = "it multiplies a vector but is not an initial matrix".to_owned();
            return Err(LimitError::IllFormed { name: value.name.clone(), reason });
        };
        let (in_dim, out_dim) = if transposed { (rows, cols) } else { (cols, rows) };
        let strength = match in_dim {
            Dim::Width(class) => &variance.coefficient * &program.classes[class.index()].ratio,
            Dim::Finite(_) => variance.coefficient.clone(),
        };
        Ok(Self { matrix, transposed, vector, variance, in_dim, out_dim, strength })
    }
}

impl Deriver<'_> {
    /// `Z^x` of a matrix product's operand over the product's own indices.
    pub(crate) fn operand(&mut self, vector: &Operand, coordinate: Option<Index>) -> Result<Leading, LimitError> {
        let z = self.z(vector.value)?;
        let at: Vec<Index> = vector.indices.iter().copied().chain(coordinate).collect();
        Ok(Leading { power: z.power, coefficient: self.instantiate(z.coefficient, &at), law: z.law })
    }

    /// `Zhat + Zdot` of a product with an operand, and the terms of the latter.
    pub(crate) fn matrix_product(
        &mut self,
        id: ValueId,
        product: &Product<'_>,
        x: ExprId,
    ) -> Result<(ExprId, Vec<DotTerm>), LimitError> {
        if let Some(known) = self.same_product(product, x)? {
            return Ok(known);
        }
        let rank = self.program.value(id).ty.family.len();
        let finite = matches!(product.in_dim, Dim::Finite(_));
        let dot = if finite || self.gradient_independence { Vec::new() } else { self.dot(id, product, x)? };
        let mut sum = self.graph.pool.reference(symbol_of(id), own_indices(rank));
        for term in &dot {
            let y = self.z(term.vector)?.coefficient;
            let y = self.instantiate(y, &term.indices);
            let pool = &mut self.graph.pool;
            let value = pool.mul(term.coefficient, y);
            let value =
                pool.sum_matching(&term.variables, term.same.iter().copied(), term.guards.iter().cloned(), value);
            sum = pool.add(sum, value);
        }
        let (key, variables) = self.product_key(product, x);
        self.products.insert(key, Known { value: id, variables });
        Ok((sum, dot))
    }

    fn product_key(&mut self, product: &Product<'_>, x: ExprId) -> (ProductKey, Vec<Index>) {
        let matrix = product.matrix;
        let member = self.graph.pool.reference(symbol_of(matrix.value), matrix.indices.iter().copied());
        let (exprs, variables) = self.canonical(&[member, x]);
        ((matrix.value, product.transposed, exprs), variables)
    }

    /// The limit of a product with a vector whose `Z` is a scalar multiple of that of an earlier product's vector: the
    /// same multiple of the same random variable. Training under the NTK parametrization multiplies one `Z` by one
    /// matrix at every step (TP IIb eq. 94).
    fn same_product(&mut self, product: &Product<'_>, x: ExprId) -> Result<Option<(ExprId, Vec<DotTerm>)>, LimitError> {
        let (scalar, core) = self.scalar_factor(x);
        let one = self.graph.pool.integer(1);
        for (scalar, core) in [(one, x), (scalar, core)] {
            let (key, variables) = self.product_key(product, core);
            let Some(known) = self.products.get(&key).cloned() else { continue };
            let rank = self.program.value(known.value).ty.family.len();
            let at: Vec<Index> = own_indices(rank)
                .map(|own| known.variables.iter().position(|&v| v == own).map_or(Index::At(0), |k| variables[k]))
                .collect();
            let z = self.z(known.value)?;
            let coefficient = self.instantiate(z.coefficient, &at);
            let coefficient = self.graph.pool.mul(scalar, coefficient);
            let moved = |i: Index| match i {
                Index::Var(k) => at.get(k as usize).copied().unwrap_or(i),
                other => other,
            };
            let mut dot = Vec::new();
            for term in z.dot {
                let coefficient = self.instantiate(term.coefficient, &at);
                dot.push(DotTerm {
                    indices: term.indices.iter().map(|&i| moved(i)).collect(),
                    same: term.same.iter().map(|&(a, b)| (moved(a), moved(b))).collect(),
                    guards: term.guards.iter().map(|g| g.map(moved)).collect(),
                    coefficient: self.graph.pool.mul(scalar, coefficient),
                    ..term
                });
            }
            return Ok(Some((coefficient, dot)));
        }
        Ok(None)
    }

    /// The expression as a scalar times a rest.
    fn scalar_factor(&mut self, expr: ExprId) -> (ExprId, ExprId) {
        let mut scalar = self.graph.pool.integer(1);
        let mut core = expr;
        loop {
            match *self.graph.pool.node(core) {
                Expr::Neg(a) => {
                    scalar = self.graph.pool.neg(scalar);
                    core = a;
                }
                Expr::Mul(a, b) if self.expander.shape(&self.graph, a).is_scalar() => {
                    scalar = self.graph.pool.mul(scalar, a);
                    core = b;
                }
                Expr::Mul(a, b) if self.expander.shape(&self.graph, b).is_scalar() => {
                    scalar = self.graph.pool.mul(scalar, b);
                    core = a;
                }
                Expr::Div(a, b) if self.expander.shape(&self.graph, b).is_scalar() => {
                    scalar = self.graph.pool.div(scalar, b);
                    core = a;
                }
                _ => return (scalar, core),
            }
        }
    }

    /// ZDOT: one term for each mention in `Z^x` of a product with the same matrix from the other side.
    fn dot(&mut self, id: ValueId, product: &Product<'_>, x: ExprId) -> Result<Vec<DotTerm>, LimitError> {
        let name = self.name(id).to_owned();
        let mut dot = Vec::new();
        for occurrence in self.random_occurrences(x) {
            let Some((member, y)) = self.opposite(product, occurrence.symbol) else { continue };
            let at = |i: Index| match i {
                Index::Var(k) => occurrence.indices.get(k as usize).copied().unwrap_or(i),
                other => other,
            };
            let same = product.matrix.indices.iter().zip(&member).map(|(&a, &b)| (a, at(b))).collect();
            let mean = self.expectation(occurrence.coefficient, &name)?;
            let strength = self.graph.pool.constant(product.strength.clone());
            let coefficient = self.graph.pool.mul(strength, mean);
            if self.graph.pool.is_zero(coefficient) {
                continue;
            }
            dot.push(DotTerm {
                vector: y.value,
                indices: y.indices.iter().map(|&i| at(i)).collect(),
                variables: occurrence.variables.to_vec(),
                same,
                guards: occurrence.guards.to_vec(),
                coefficient,
            });
        }
        Ok(dot)
    }

    /// If `symbol` is a product with the same matrix from the other side: the matrix member and vector of it.
    fn opposite(&self, product: &Product<'_>, symbol: netsor_ir::Symbol) -> Option<(Indices, Operand)> {
        match &self.program.value(value_of(symbol)).instr {
            Instr::MatMul { matrix, transposed, vector }
                if matrix.value == product.matrix.value && *transposed != product.transposed =>
            {
                Some((matrix.indices.clone(), vector.clone()))
            }
            _ => None,
        }
    }

    /// `V'x`, a vector of constant dimension: a sum of `n` terms. By Stein's lemma its deterministic part is
    /// `n size E[V x]`; what fluctuates has order `n^((1 + p)/2)` when the entries of `V` have variance of order `n^p`,
    /// and unless that vanishes the value has a law, not a limit.
    pub(crate) fn finite_product(&mut self, id: ValueId, product: &Product<'_>) -> Result<Leading, LimitError> {
        let name = self.name(id).to_owned();
        let x = match product.in_dim {
            Dim::Width(_) => self.operand(product.vector, None)?,
            Dim::Finite(_) => return Err(LimitError::Readout { name }),
        };
        let one = Power::from_integer(1);
        let half = Power::new(1, 2);
        let fluctuation = (one + product.variance.power) * half + x.power;
        if !fluctuation.is_negative() {
            return Err(LimitError::Readout { name });
        }
        let rank = self.program.value(id).ty.family.len();
        let coordinate = Index::Var(rank as u32);
        let mut total = self.graph.pool.integer(0);
        for occurrence in self.random_occurrences(x.coefficient) {
            let Some((member, u)) = self.opposite(product, occurrence.symbol) else { continue };
            let at = |i: Index| match i {
                Index::Var(k) => occurrence.indices.get(k as usize).copied().unwrap_or(i),
                other => other,
            };
            let at_u: Vec<Index> = u.indices.iter().map(|&i| at(i)).chain([coordinate]).collect();
            let z_u = self.z(u.value)?.coefficient;
            let z_u = self.instantiate(z_u, &at_u);
            let mean = self.expectation(occurrence.coefficient, &name)?;
            let same: Vec<(Index, Index)> =
                product.matrix.indices.iter().zip(&member).map(|(&a, &b)| (a, at(b))).collect();
            let value = self.graph.pool.mul(z_u, mean);
            let value =
                self.graph.pool.sum_matching(&occurrence.variables, same, occurrence.guards.iter().cloned(), value);
            total = self.graph.pool.add(total, value);
        }
        if self.graph.pool.is_zero(total) {
            // A lower term of the operand may exceed the fluctuation, and only the leading one has been looked at.
            if self.z(product.vector.value)?.mixed {
                return Err(LimitError::MixedReadout { name });
            }
            let coefficient = self.graph.pool.reference(symbol_of(id), own_indices(rank).chain([coordinate]));
            return Ok(Leading { power: fluctuation, coefficient, law: true });
        }
        let strength = self.graph.pool.constant(product.strength.clone());
        let coefficient = self.graph.pool.mul(strength, total);
        Ok(Leading { power: one + product.variance.power * half + x.power, coefficient, law: x.law })
    }
}
