//! The Z rules over expressions: from a program to the random variable `Z^x` of every vector and the limit of every
//! scalar.
//!
//! `Z^x` is an expression in base Gaussian variables: one for each initial vector, and one, `Zhat`, for each output of
//! a matrix product (TP IIb App. Def. B.3). The symbol of a G-var stands for its base variable. Everything is
//! symbolic in the indices of families, computed on demand and once.

use std::collections::HashMap;
use std::rc::Rc;

use netsor_ir::expr::ExprId;
use netsor_ir::func::Parity;
use netsor_ir::number::Power;
use netsor_ir::program::{Table, own_indices, symbol_of, value_of};
use netsor_ir::{Dim, Guard, Id, Index, Indices, Kind, Program, Symbol, ValueId};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::LimitError;
use crate::graph::{Def, DefId, Graph, PremisesId};
use crate::order::{Leading, Order, Orders, instantiated};
use crate::product::{Known, Product, ProductKey};
use crate::provided::{Frame, Remembered};
use crate::rules::{Carrier, Rules};
use crate::terms::Expander;
use crate::widths::identically_zero;

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
    /// The expression with its power of the width in front, over the value's own indices; vectors of constant dimension
    /// have one more, the coordinate.
    pub expr: ExprId,
    /// For a matrix product, the terms of its ZDot.
    pub dot: Vec<DotTerm>,
    /// The value is `n^power` times something of order 1.
    pub power: Power,
    /// The limit of that something.
    pub coefficient: ExprId,
    /// Whether there is no such limit but a law: the value is proportional to a mean of centred coordinates, of order
    /// `n^(-1/2)` by the central limit theorem (the `n^(-1/2)` is part of `power`).
    pub law: bool,
    /// Whether its definition has terms of several orders.
    pub(crate) mixed: bool,
    /// What it presumes about numbers, for [`Deriver::provided`].
    pub premises: Option<PremisesId>,
}

/// Derives limits symbolically. Values are derived when asked for, with what they depend on.
#[derive(Debug)]
pub struct Deriver<'p> {
    pub(crate) program: &'p Program,
    pub(crate) graph: Graph,
    pub(crate) expander: Expander,
    pub(crate) expectations: FxHashMap<ExprId, Remembered<ExprId>>,
    pub(crate) form_covariances: FxHashMap<(ExprId, ExprId), Remembered<ExprId>>,
    pub(crate) known_defs: HashMap<Def, DefId>,
    /// Constant and random part of linear forms.
    pub(crate) split_forms: FxHashMap<ExprId, (ExprId, ExprId)>,
    /// Linear forms and parity of factors of integrands.
    pub(crate) factor_facts: FxHashMap<ExprId, (Rc<[ExprId]>, Parity)>,
    /// Whether functions evidently have all moments.
    pub(crate) moments: FxHashMap<ExprId, bool>,
    /// Whether every ZDot is taken to be zero.
    pub(crate) gradient_independence: bool,
    /// Expressions without free index variables.
    pub(crate) closed: FxHashSet<ExprId>,
    z: Vec<Option<ZVar>>,
    pub(crate) base_covariances: FxHashMap<(ValueId, ValueId), Remembered<ExprId>>,
    /// Matrix products by matrix and limit of the operand.
    pub(crate) products: HashMap<ProductKey, Known>,
    /// What is presumed by what is being derived, the innermost last.
    pub(crate) frames: Vec<Frame>,
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
            split_forms: FxHashMap::default(),
            factor_facts: FxHashMap::default(),
            moments: FxHashMap::default(),
            gradient_independence: false,
            closed: FxHashSet::default(),
            z: vec![None; program.values.len()],
            base_covariances: FxHashMap::default(),
            products: HashMap::new(),
            frames: Vec::new(),
        }
    }

    /// A deriver under the gradient independence assumption: `W'` is taken to be independent of `W`, so that every
    /// ZDot is zero. Wrong in general (TP IIb §3.2); the difference from [`Deriver::new`] says where it matters.
    pub fn assuming_gradient_independence(program: &'p Program) -> Self {
        Self { gradient_independence: true, ..Self::new(program) }
    }

    /// A deriver over the definitions of a graph, which knows none of them.
    pub(crate) fn of_graph(graph: Graph, program: &'p Program) -> Self {
        Self { graph, ..Self::new(program) }
    }

    /// The program.
    pub fn program(&self) -> &'p Program {
        self.program
    }

    /// `Z` of what was derived so far.
    pub(crate) fn derived(&self) -> impl Iterator<Item = &ZVar> {
        self.z.iter().flatten()
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
        self.derive(value)?;
        Ok(self.z[value.index()].clone().expect("it was derived"))
    }

    /// The limit of a scalar over its own indices, as an expression over definitions and data; of a vector, that of the
    /// mean over its coordinates.
    ///
    /// # Errors
    /// [`LimitError::NotAScalar`] if a positive power of the width is left, or a fluctuation of order 1.
    pub fn scalar(&mut self, value: ValueId) -> Result<ExprId, LimitError> {
        let Remembered { value, premises } = self.noting(|deriver| deriver.scalar_limit(value))?;
        Ok(self.provided(value, premises))
    }

    /// [`Deriver::scalar`] to go on with: what it presumes is noted, and not part of the expression.
    pub(crate) fn scalar_limit(&mut self, value: ValueId) -> Result<ExprId, LimitError> {
        let leading = self.leading_of(value)?;
        let name = self.name(value).to_owned();
        match self.program.value(value).ty.kind {
            Kind::Scalar | Kind::Vector(Dim::Finite(_)) => self.limit_of(leading, &name),
            Kind::Vector(Dim::Width(_)) => {
                let rank = self.program.value(value).ty.family.len();
                let expr = self.graph.pool.reference(symbol_of(value), own_indices(rank));
                let mean = self.mean_of(leading, expr, None, &name)?;
                self.limit_of(mean, &name)
            }
            Kind::Matrix { .. } => Err(LimitError::Matrix { name }),
        }
    }

    /// `E Z^a Z^b` over the indices of `a` and then those of `b`.
    ///
    /// # Errors
    /// As for [`Deriver::scalar`].
    pub fn second_moment(&mut self, a: ValueId, b: ValueId) -> Result<ExprId, LimitError> {
        let Remembered { value, premises } = self.noting(|deriver| deriver.second_moment_limit(a, b))?;
        Ok(self.provided(value, premises))
    }

    /// [`Deriver::second_moment`] to go on with.
    pub(crate) fn second_moment_limit(&mut self, a: ValueId, b: ValueId) -> Result<ExprId, LimitError> {
        let (x, y) = (self.z(a)?, self.z(b)?);
        let k = self.program.value(a).ty.family.len() as u32;
        let l = self.program.value(b).ty.family.len() as u32;
        let shifted: Vec<Index> = (k..k + l).map(Index::Var).collect();
        let first = self.graph.pool.reference(symbol_of(a), own_indices(k as usize));
        let second = self.graph.pool.reference(symbol_of(b), shifted.iter().copied());
        let expr = self.graph.pool.mul(first, second);
        let shifted = self.instantiate(y.coefficient, &shifted);
        let coefficient = self.graph.pool.mul(x.coefficient, shifted);
        let name = format!("{} * {}", self.name(a), self.name(b));
        let product = Leading { power: x.power + y.power, coefficient, law: x.law || y.law };
        let mean = self.mean_of(product, expr, None, &name)?;
        self.limit_of(mean, &name)
    }

    pub(crate) fn name(&self, value: ValueId) -> &str {
        &self.program.value(value).name
    }

    pub(crate) fn fresh(&mut self) -> Index {
        self.expander.fresh += 1;
        Index::Var(self.expander.fresh - 1)
    }
}

/// Expressions in base variables, data and definitions.
impl<'p> Carrier<'p> for Deriver<'p> {
    type Coefficient = ExprId;
    type Coordinate = Index;
    type Dot = Vec<DotTerm>;
    type Error = LimitError;

    fn program(&self) -> &'p Program {
        self.program
    }

    fn terms(&mut self) -> (&mut Graph, &mut u32) {
        (&mut self.graph, &mut self.expander.fresh)
    }

    fn order(&self, value: ValueId) -> Option<Order> {
        let z = self.z[value.index()].as_ref()?;
        Some(Order { power: z.power, law: z.law, mixed: z.mixed })
    }

    fn known(&self, value: ValueId) -> Option<Leading> {
        let z = self.z[value.index()].as_ref()?;
        Some(Leading { power: z.power, coefficient: z.coefficient, law: z.law })
    }

    fn noting(
        &mut self,
        value: ValueId,
        rule: impl FnOnce(&mut Self) -> Result<(), LimitError>,
    ) -> Result<(), LimitError> {
        let Remembered { premises, .. } = Deriver::noting(self, rule)?;
        if let Some(z) = &mut self.z[value.index()] {
            z.premises = premises;
        }
        Ok(())
    }

    fn rely_on(&mut self, value: ValueId) {
        let premises = self.z[value.index()].as_ref().and_then(|z| z.premises);
        Deriver::rely_on(self, premises);
    }

    fn define(&mut self, value: ValueId, z: Leading, dot: Vec<DotTerm>, mixed: bool) {
        let Leading { power, coefficient, law } = z;
        let ty = &self.program.value(value).ty;
        let coefficient = match ty.kind {
            Kind::Scalar => self.named_if_large(coefficient, ty.family.len()),
            _ => coefficient,
        };
        let scale = self.graph.pool.width(power);
        let expr = self.graph.pool.mul(scale, coefficient);
        self.z[value.index()] = Some(ZVar { expr, dot, power, coefficient, law, mixed, premises: None });
    }

    fn zero(&mut self) -> ExprId {
        self.graph.pool.integer(0)
    }

    fn is_zero(&self, &coefficient: &ExprId) -> bool {
        self.graph.pool.is_zero(coefficient)
    }

    fn settled(&mut self, coefficient: ExprId) -> ExprId {
        if identically_zero(&mut self.graph, coefficient) { self.graph.pool.integer(0) } else { coefficient }
    }

    fn put_in(&mut self, term: ExprId, coordinate: Option<Index>, _: &str) -> Result<ExprId, LimitError> {
        let mut z: FxHashMap<Symbol, (ExprId, bool)> = FxHashMap::default();
        for (symbol, _) in self.graph.pool.refs(term) {
            let value = value_of(symbol);
            let finite = matches!(self.program.value(value).ty.kind, Kind::Vector(Dim::Finite(_)));
            z.insert(symbol, (self.leading_of(value)?.coefficient, finite));
        }
        let fresh = &mut self.expander.fresh;
        Ok(self.graph.pool.replace_refs(term, fresh, &mut |pool, symbol, indices, _| {
            let &(expr, finite) = z.get(&symbol)?;
            let at: Indices = indices.iter().copied().chain(coordinate.filter(|_| finite)).collect();
            Some(instantiated(pool, expr, &at))
        }))
    }

    fn coordinate(&self, value: ValueId, _: u32) -> Index {
        Index::Var(self.program.value(value).ty.family.len() as u32)
    }

    fn bound_coordinate(&mut self, _: u32) -> Index {
        self.fresh()
    }

    fn mean_over(&mut self, coordinate: Index, size: u32, &coefficient: &ExprId) -> ExprId {
        let axis = self.graph.coordinate_axis(size);
        let share = self.graph.pool.constant(netsor_ir::number::fraction(1, i64::from(size)));
        let sum = self.graph.pool.sum(&[(coordinate, axis)], [], coefficient);
        self.graph.pool.mul(share, sum)
    }

    fn data(&mut self, value: ValueId) -> ExprId {
        let ty = &self.program.value(value).ty;
        let rank = ty.family.len();
        let coordinate = matches!(ty.kind, Kind::Vector(Dim::Finite(_))).then_some(Index::Var(rank as u32));
        self.graph.pool.reference(symbol_of(value), own_indices(rank).chain(coordinate))
    }

    fn table(&mut self, value: ValueId, table: Id<Table>, at: &Indices) -> Result<ExprId, LimitError> {
        let coordinate = Index::Var(self.program.value(value).ty.family.len() as u32);
        Ok(self.graph.pool.table(table, at.iter().copied().chain([coordinate])))
    }

    fn initial(&mut self, value: ValueId, &mean: &ExprId) -> Result<ExprId, LimitError> {
        let rank = self.program.value(value).ty.family.len();
        let base = self.graph.pool.reference(symbol_of(value), own_indices(rank));
        Ok(self.graph.pool.add(mean, base))
    }

    fn expectation(&mut self, &coefficient: &ExprId, name: &str) -> Result<ExprId, LimitError> {
        Deriver::expectation(self, coefficient, name)
    }

    fn fluctuation(&mut self, of: ValueId) -> ExprId {
        let rank = self.program.value(of).ty.family.len();
        self.graph.pool.reference(symbol_of(of), own_indices(rank))
    }

    fn zhat_plus_zdot(
        &mut self,
        value: ValueId,
        product: &Product<'_>,
        &operand: &ExprId,
    ) -> Result<(ExprId, Vec<DotTerm>), LimitError> {
        self.matrix_product(value, product, operand)
    }

    fn operand_of(&mut self, value: ValueId, product: &Product<'_>) -> Result<Leading, LimitError> {
        let finite = matches!(product.in_dim, Dim::Finite(_));
        let coordinate = Index::Var(self.program.value(value).ty.family.len() as u32);
        self.operand(product.vector, finite.then_some(coordinate))
    }

    fn readout(&mut self, value: ValueId, product: &Product<'_>) -> Result<Leading, LimitError> {
        self.finite_product(value, product)
    }
}
