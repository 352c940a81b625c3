//! The Z rules: from a program to the random variable `Z^x` of every vector and the limit of every scalar.
//!
//! `Z^x` is an expression in base Gaussian variables: one for each initial vector, and one, `Zhat`, for each output of
//! a matrix product (TP IIb App. Def. B.3). The symbol of a G-var stands for its base variable. Everything is
//! symbolic in the indices of families, computed on demand and once.

use std::collections::HashMap;

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::number::{Number, Power};
use netsor_ir::program::{own_indices, symbol_of, value_of};
use netsor_ir::{Dim, Guard, Id, Index, Indices, Instr, Kind, Operand, Program, Scale, ValueId};
use num_traits::{Signed, Zero};
use rustc_hash::FxHashMap;

use crate::error::LimitError;
use crate::expectation::Mention;
use crate::graph::{Body, Def, DefId, Graph};
use crate::terms::Expander;

/// One coefficient of a ZDot: `Zdot` contains `sum over variables [guards] coefficient * Z^vector[indices]`.
#[derive(Clone, Debug)]
pub struct DotTerm {
    /// The vector `y` whose product with the transposed matrix the operand depends on.
    pub vector: ValueId,
    /// Its indices.
    pub indices: Indices,
    /// Summed variables.
    pub variables: Vec<(Index, Id<netsor_ir::Axis>)>,
    /// Pairs of indices that must be equal, for both products to be with the same member of a family of matrices.
    pub same: Vec<(Index, Index)>,
    /// Conditions.
    pub guards: Vec<Guard>,
    /// `s(W) E dZ^x / dZhat^{W'y}`, a scalar expression.
    pub coefficient: ExprId,
}

/// Pairs of indices that must be equal for two mentions to be of one member.
pub(crate) type SameMember = Vec<(Index, Index)>;

/// `Z` of one value.
#[derive(Clone, Debug)]
pub struct ZVar {
    /// The expression, over the value's own indices; vectors of constant dimension have one more, the coordinate.
    pub expr: ExprId,
    /// For a matrix product, the terms of its ZDot.
    pub dot: Vec<DotTerm>,
    /// For a matrix product, the power of the width taken out of `Zhat`.
    pub power: Power,
}

/// Derives limits symbolically. Values are derived when asked for, with what they depend on.
#[derive(Debug)]
pub struct Deriver<'p> {
    pub(crate) program: &'p Program,
    pub(crate) graph: Graph,
    pub(crate) expander: Expander,
    pub(crate) expectations: FxHashMap<ExprId, ExprId>,
    pub(crate) form_covariances: FxHashMap<(ExprId, ExprId), ExprId>,
    pub(crate) known_defs: HashMap<Def, DefId>,
    /// Whether every ZDot is taken to be zero.
    gradient_independence: bool,
    z: Vec<Option<ZVar>>,
    base_covariances: FxHashMap<(ValueId, ValueId), ExprId>,
}

impl<'p> Deriver<'p> {
    /// A deriver that knows nothing yet.
    pub fn new(program: &'p Program) -> Self {
        Self {
            program,
            graph: Graph::new(program),
            expander: Expander::new(),
            expectations: FxHashMap::default(),
            form_covariances: FxHashMap::default(),
            known_defs: HashMap::new(),
            gradient_independence: false,
            z: vec![None; program.values.len()],
            base_covariances: FxHashMap::default(),
        }
    }

    /// A deriver under the gradient independence assumption: `W'` is taken to be independent of `W`, so that every
    /// ZDot is zero. Wrong in general (TP IIb §3.2); the difference from [`Deriver::new`] says where it matters.
    pub fn assuming_gradient_independence(program: &'p Program) -> Self {
        Self { gradient_independence: true, ..Self::new(program) }
    }

    /// The program.
    pub fn program(&self) -> &'p Program {
        self.program
    }

    /// The moment graph derived so far.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The moment graph.
    pub fn into_graph(self) -> Graph {
        self.graph
    }

    /// `Z^x` of a vector, or the symbolic value of a scalar with its powers of the width.
    pub fn z(&mut self, value: ValueId) -> Result<ZVar, LimitError> {
        if let Some(known) = &self.z[value.index()] {
            return Ok(known.clone());
        }
        // Depth-first over arguments with an explicit stack: programs may be tens of thousands of instructions deep.
        let mut stack = vec![value];
        while let Some(&next) = stack.last() {
            if self.z[next.index()].is_some() {
                stack.pop();
                continue;
            }
            let before = stack.len();
            for argument in self.program.arguments(next) {
                let matrix = matches!(self.program.value(argument).ty.kind, Kind::Matrix { .. });
                if next <= argument {
                    let name = self.name(next).to_owned();
                    let reason = "it mentions a later definition".to_owned();
                    return Err(LimitError::IllFormed { name, reason });
                }
                if !matrix && self.z[argument.index()].is_none() {
                    stack.push(argument);
                }
            }
            if stack.len() == before {
                let z = self.apply_rule(next)?;
                self.z[next.index()] = Some(z);
                stack.pop();
            }
        }
        Ok(self.z[value.index()].clone().expect("the loop ends when it is derived"))
    }

    /// The limit of a scalar over its own indices, as an expression over definitions and data.
    pub fn scalar(&mut self, value: ValueId) -> Result<ExprId, LimitError> {
        let z = self.z(value)?;
        match self.program.value(value).ty.kind {
            Kind::Scalar => {
                let name = self.name(value).to_owned();
                self.expander.limit_of_scalar(&mut self.graph, z.expr, &name)
            }
            Kind::Vector(Dim::Finite(_)) => Ok(z.expr),
            Kind::Vector(Dim::Width(_)) => {
                let name = self.name(value).to_owned();
                self.expectation(z.expr, &name)
            }
            Kind::Matrix { .. } => Err(LimitError::Matrix { name: self.name(value).to_owned() }),
        }
    }

    /// `E Z^a Z^b` over the indices of `a` and then those of `b`.
    pub fn second_moment(&mut self, a: ValueId, b: ValueId) -> Result<ExprId, LimitError> {
        let (x, y) = (self.z(a)?.expr, self.z(b)?.expr);
        let k = self.program.value(a).ty.family.len() as u32;
        let l = self.program.value(b).ty.family.len() as u32;
        let shifted: Vec<Index> = (k..k + l).map(Index::Var).collect();
        let y = self.instantiate(y, &shifted);
        let product = self.graph.pool.mul(x, y);
        let name = format!("{} * {}", self.name(a), self.name(b));
        self.expectation(product, &name)
    }

    pub(crate) fn name(&self, value: ValueId) -> &str {
        &self.program.value(value).name
    }

    fn apply_rule(&mut self, id: ValueId) -> Result<ZVar, LimitError> {
        let program = self.program;
        let value = program.value(id);
        let rank = value.ty.family.len();
        let own: Indices = own_indices(rank).collect();
        let coordinate = Index::Var(rank as u32);
        let finite = matches!(value.ty.kind, Kind::Vector(Dim::Finite(_)));
        let plain = |expr| ZVar { expr, dot: Vec::new(), power: Power::zero() };
        match &value.instr {
            Instr::Data => {
                let indices = own.into_iter().chain(finite.then_some(coordinate));
                Ok(plain(self.graph.pool.reference(symbol_of(id), indices)))
            }
            Instr::Constant(table, indices) => {
                let indices: Vec<Index> = indices.iter().copied().chain([coordinate]).collect();
                Ok(plain(self.graph.pool.table(*table, indices)))
            }
            Instr::Matrix { .. } => Err(LimitError::Matrix { name: value.name.clone() }),
            Instr::Gaussian(_) if finite => Err(LimitError::Readout { name: value.name.clone() }),
            // ZINIT
            Instr::Gaussian(law) => {
                let base = self.graph.pool.reference(symbol_of(id), own);
                Ok(plain(self.graph.pool.add(law.mean, base)))
            }
            // ZNONLIN+
            Instr::Map(expr) => {
                let coordinate = finite.then_some(coordinate);
                self.substituted(*expr, coordinate).map(plain)
            }
            Instr::Scalar(expr) => self.substituted(*expr, None).map(plain),
            // ZMOMENT
            Instr::Moment(expr) => match program.expr_dim(*expr) {
                Some(Dim::Finite(size)) => {
                    let variable = self.fresh();
                    let body = self.substituted(*expr, Some(variable))?;
                    let axis = self.graph.coordinate_axis(size);
                    let share = self.graph.pool.constant(netsor_ir::number::fraction(1, i64::from(size)));
                    let sum = self.graph.pool.sum(&[(variable, axis)], [], body);
                    Ok(plain(self.graph.pool.mul(share, sum)))
                }
                _ => {
                    let body = self.substituted(*expr, None)?;
                    // The mean of a scalar expression is itself, with its powers of the width.
                    let scalar = self.expander.shape(&self.graph, body).is_scalar();
                    let mean = if scalar { body } else { self.expectation(body, &value.name)? };
                    if self.graph.pool.is_zero(mean) && !self.graph.pool.is_zero(body) {
                        // One for each value: two scalars that vanish need not cancel.
                        self.graph.defs.push(Def { arity: rank, body: Body::Vanishing });
                        let def = DefId::new(self.graph.defs.len() - 1);
                        let symbol = self.graph.def_symbol(def);
                        return Ok(plain(self.graph.pool.reference(symbol, own)));
                    }
                    Ok(plain(mean))
                }
            },
            Instr::MatMul { matrix, transposed, vector } => {
                let product = Product::new(program, matrix, *transposed, vector)?;
                match product.out_dim {
                    Dim::Width(_) => self.matmul(id, &product),
                    Dim::Finite(_) => self.readout(id, &product).map(plain),
                }
            }
        }
    }

    fn fresh(&mut self) -> Index {
        self.expander.fresh += 1;
        Index::Var(self.expander.fresh - 1)
    }

    /// The expression with every mention of a value replaced by its `Z`. Vectors of constant dimension are taken at
    /// `coordinate`.
    fn substituted(&mut self, expr: ExprId, coordinate: Option<Index>) -> Result<ExprId, LimitError> {
        let mut z: FxHashMap<netsor_ir::Symbol, (ExprId, bool)> = FxHashMap::default();
        for (symbol, _) in self.program.exprs.refs(expr) {
            let value = value_of(symbol);
            let finite = matches!(self.program.value(value).ty.kind, Kind::Vector(Dim::Finite(_)));
            let of = self.z(value)?.expr;
            z.insert(symbol, (of, finite));
        }
        let mut fresh = self.expander.fresh;
        let result = self.graph.pool.replace_refs(expr, &mut fresh, &mut |pool, symbol, indices, _| {
            let &(expr, finite) = z.get(&symbol)?;
            let at: Indices = indices.iter().copied().chain(coordinate.filter(|_| finite)).collect();
            Some(pool.map_indices(expr, &mut |index| match index {
                Index::Var(k) => at.get(k as usize).copied().unwrap_or(index),
                other => other,
            }))
        });
        self.expander.fresh = fresh;
        Ok(result)
    }

    /// `Z^x` of a matrix product's operand over the product's own indices, without its leading power of the width.
    fn operand(&mut self, vector: &Operand, coordinate: Option<Index>) -> Result<(ExprId, Power), LimitError> {
        let z = self.z(vector.value)?.expr;
        let at: Vec<Index> = vector.indices.iter().copied().chain(coordinate).collect();
        let z = self.instantiate(z, &at);
        let power = self.leading_power(z, vector.value)?;
        let inverse = self.graph.pool.width(-power);
        Ok((self.graph.pool.mul(inverse, z), power))
    }

    fn leading_power(&mut self, expr: ExprId, value: ValueId) -> Result<Power, LimitError> {
        if !self.expander.has_width(&self.graph, expr) {
            return Ok(Power::zero());
        }
        let name = self.name(value).to_owned();
        let terms = self.expander.expand(&mut self.graph, expr, &name)?;
        Ok(terms.iter().map(|t| t.width).max().unwrap_or_else(Power::zero))
    }

    /// ZMATMUL: `Z^{Ax} = Zhat + Zdot` (eq. 64, 65), with the powers of the width of `A` and `x` in front.
    fn matmul(&mut self, id: ValueId, product: &Product<'_>) -> Result<ZVar, LimitError> {
        let rank = self.program.value(id).ty.family.len();
        let base = self.graph.pool.reference(symbol_of(id), own_indices(rank));
        let half = Power::new(1, 2);
        if let Dim::Finite(_) = product.in_dim {
            // Columns of an input matrix are initial vectors: no ZDot.
            let power = product.variance.power * half;
            let scale = self.graph.pool.width(power);
            let expr = self.graph.pool.mul(scale, base);
            return Ok(ZVar { expr, dot: Vec::new(), power });
        }
        let (x, leading) = self.operand(product.vector, None)?;
        let name = self.name(id).to_owned();
        let mut dot = Vec::new();
        let occurrences = if self.gradient_independence { Vec::new() } else { self.random_occurrences(x) };
        for occurrence in occurrences {
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
        let mut sum = base;
        for term in &dot {
            let z = self.z(term.vector)?.expr;
            let z = self.instantiate(z, &term.indices);
            let power = self.leading_power(z, term.vector)?;
            let inverse = self.graph.pool.width(-power);
            let pool = &mut self.graph.pool;
            let z = pool.mul(inverse, z);
            let value = pool.mul(term.coefficient, z);
            let value =
                pool.sum_matching(&term.variables, term.same.iter().copied(), term.guards.iter().cloned(), value);
            sum = pool.add(sum, value);
        }
        let power = (product.variance.power + Power::from_integer(1)) * half + leading;
        let scale = self.graph.pool.width(power);
        let expr = self.graph.pool.mul(scale, sum);
        Ok(ZVar { expr, dot, power })
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
    fn readout(&mut self, id: ValueId, product: &Product<'_>) -> Result<ExprId, LimitError> {
        let (x, leading) = match product.in_dim {
            Dim::Width(_) => self.operand(product.vector, None)?,
            Dim::Finite(_) => return Err(LimitError::Readout { name: self.name(id).to_owned() }),
        };
        let one = Power::from_integer(1);
        let half = Power::new(1, 2);
        let fluctuation = (one + product.variance.power) * half + leading;
        if !fluctuation.is_negative() {
            return Err(LimitError::Readout { name: self.name(id).to_owned() });
        }
        let name = self.name(id).to_owned();
        let coordinate = Index::Var(self.program.value(id).ty.family.len() as u32);
        let mut total = self.graph.pool.integer(0);
        for occurrence in self.random_occurrences(x) {
            let Some((member, u)) = self.opposite(product, occurrence.symbol) else { continue };
            let at = |i: Index| match i {
                Index::Var(k) => occurrence.indices.get(k as usize).copied().unwrap_or(i),
                other => other,
            };
            let at_u: Vec<Index> = u.indices.iter().map(|&i| at(i)).chain([coordinate]).collect();
            let z_u = self.z(u.value)?.expr;
            let z_u = self.instantiate(z_u, &at_u);
            let mean = self.expectation(occurrence.coefficient, &name)?;
            let same: Vec<(Index, Index)> =
                product.matrix.indices.iter().zip(&member).map(|(&a, &b)| (a, at(b))).collect();
            let value = self.graph.pool.mul(z_u, mean);
            let value =
                self.graph.pool.sum_matching(&occurrence.variables, same, occurrence.guards.iter().cloned(), value);
            total = self.graph.pool.add(total, value);
        }
        let strength = self.graph.pool.constant(product.strength.clone());
        let total = self.graph.pool.mul(strength, total);
        let scale = self.graph.pool.width(one + product.variance.power * half + leading);
        Ok(self.graph.pool.mul(scale, total))
    }

    /// The covariance of two base variables (ZINIT, ZHAT eq. 64); 0 by proof when they are independent. Members of a
    /// family of matrices are independent: the pairs of indices that say which member must be equal, too.
    pub(crate) fn base_covariance(
        &mut self,
        a: Mention<'_>,
        b: Mention<'_>,
        name: &str,
    ) -> Result<(ExprId, SameMember), LimitError> {
        let (first, second) = if a.0 <= b.0 { (a, b) } else { (b, a) };
        let (v, w) = (value_of(first.0), value_of(second.0));
        let key = (v, w);
        let body = match self.base_covariances.get(&key) {
            Some(&known) => known,
            None => {
                let body = self.define_base_covariance(v, w, name)?;
                self.base_covariances.insert(key, body);
                body
            }
        };
        let indices: Vec<Index> = first.1.iter().chain(second.1).copied().collect();
        let same = match (&self.program.value(v).instr, &self.program.value(w).instr) {
            (Instr::MatMul { matrix: p, .. }, Instr::MatMul { matrix: q, .. }) => {
                let at = |index: Index, own: &Indices| match index {
                    Index::Var(k) => own.get(k as usize).copied().unwrap_or(index),
                    other => other,
                };
                p.indices.iter().zip(&q.indices).map(|(&i, &j)| (at(i, first.1), at(j, second.1))).collect()
            }
            _ => Vec::new(),
        };
        Ok((self.instantiate(body, &indices), same))
    }

    /// The covariance over the indices of `v`, then those of `w`, given that matrices are the same member.
    fn define_base_covariance(&mut self, v: ValueId, w: ValueId, name: &str) -> Result<ExprId, LimitError> {
        let program = self.program;
        let k = program.value(v).ty.family.len() as u32;
        let l = program.value(w).ty.family.len() as u32;
        let zero = self.graph.pool.integer(0);
        let expr = match (&program.value(v).instr, &program.value(w).instr) {
            (Instr::Gaussian(law), Instr::Gaussian(_)) if v == w => law.covariance,
            (Instr::Gaussian(_), Instr::Gaussian(law)) => {
                // The later law names the earlier vector, its own indices first.
                match law.cross.iter().find(|(other, _)| *other == v) {
                    Some(&(_, covariance)) => {
                        let swap: Vec<Index> = (k..k + l).chain(0..k).map(Index::Var).collect();
                        self.instantiate(covariance, &swap)
                    }
                    None => zero,
                }
            }
            (
                Instr::MatMul { matrix: p, transposed: s, vector: x },
                Instr::MatMul { matrix: q, transposed: t, vector: y },
            ) if p.value == q.value && s == t => {
                let first = Product::new(program, p, *s, x)?;
                let second = Product::new(program, q, *t, y)?;
                let shift: Vec<Index> = (k..k + l).map(Index::Var).collect();
                let core = match first.in_dim {
                    Dim::Finite(size) => {
                        let variable = self.fresh();
                        let (x, _) = self.operand(first.vector, Some(variable))?;
                        let (y, _) = self.operand(second.vector, Some(variable))?;
                        let y = self.instantiate(y, &shift);
                        let axis = self.graph.coordinate_axis(size);
                        let product = self.graph.pool.mul(x, y);
                        self.graph.pool.sum(&[(variable, axis)], [], product)
                    }
                    Dim::Width(_) => {
                        let (x, _) = self.operand(first.vector, None)?;
                        let (y, _) = self.operand(second.vector, None)?;
                        let y = self.instantiate(y, &shift);
                        let product = self.graph.pool.mul(x, y);
                        self.expectation(product, name)?
                    }
                };
                let strength = self.graph.pool.constant(first.strength);
                self.graph.pool.mul(strength, core)
            }
            _ => zero,
        };
        Ok(self.named(expr, (k + l) as usize))
    }

    /// A definition for an expression over `Var(0..arity)`, unless it is small enough to stand for itself.
    fn named(&mut self, expr: ExprId, arity: usize) -> ExprId {
        match self.graph.pool.node(expr) {
            Expr::Const(_) | Expr::Ref(..) | Expr::Table(..) => expr,
            _ => {
                let def = self.define(Def { arity, body: Body::Scalar(expr) });
                let symbol = self.graph.def_symbol(def);
                self.graph.pool.reference(symbol, own_indices(arity))
            }
        }
    }
}

/// A matrix product as the rules see it.
struct Product<'a> {
    matrix: &'a Operand,
    transposed: bool,
    vector: &'a Operand,
    variance: &'a Scale,
    in_dim: Dim,
    out_dim: Dim,
    /// `s(A)` without its power of the width: the variance's coefficient times the size of the input relative to `n`.
    strength: Number,
}

impl<'a> Product<'a> {
    fn new(
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
