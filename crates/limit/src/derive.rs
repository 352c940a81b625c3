//! The Z rules: from a program to the random variable `Z^x` of every vector and the limit of every scalar.
//!
//! `Z^x` is an expression in base Gaussian variables: one for each initial vector, and one, `Zhat`, for each output of
//! a matrix product (TP IIb App. Def. B.3). The symbol of a G-var stands for its base variable. Everything is
//! symbolic in the indices of families, computed on demand and once.

use std::collections::HashMap;
use std::rc::Rc;

use netsor_ir::expr::ExprId;
use netsor_ir::func::Parity;
use netsor_ir::number::Power;
use netsor_ir::program::{own_indices, symbol_of};
use netsor_ir::{Dim, Guard, Id, Index, Indices, Instr, Kind, Program, ValueId};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::error::LimitError;
use crate::graph::{Def, DefId, Graph, PremisesId};
use crate::order::Leading;
use crate::product::{Known, Product, ProductKey};
use crate::provided::{Frame, Remembered};
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
        if let Some(known) = self.z[value.index()].clone() {
            self.rely_on(known.premises);
            return Ok(known);
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
                let Remembered { value: z, premises } = self.noting(|deriver| deriver.apply_rule(next))?;
                self.z[next.index()] = Some(ZVar { premises, ..z });
                stack.pop();
            }
        }
        let z = self.z[value.index()].clone().expect("the loop ends when it is derived");
        self.rely_on(z.premises);
        Ok(z)
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
        let z = self.z(value)?;
        let name = self.name(value).to_owned();
        match self.program.value(value).ty.kind {
            Kind::Scalar | Kind::Vector(Dim::Finite(_)) => self.limit(value),
            Kind::Vector(Dim::Width(_)) => {
                let leading = Leading { power: z.power, coefficient: z.coefficient, law: z.law };
                let rank = self.program.value(value).ty.family.len();
                let expr = self.graph.pool.reference(symbol_of(value), own_indices(rank));
                let mean = self.mean_of(&leading, expr, None, &name)?;
                self.limit_of(&mean, &name)
            }
            Kind::Matrix { .. } => Err(LimitError::Matrix { name }),
        }
    }

    /// The limit of a scalar or of `Z^x` of a vector: 0 if it vanishes.
    pub(crate) fn limit(&mut self, value: ValueId) -> Result<ExprId, LimitError> {
        let z = self.z(value)?;
        let leading = Leading { power: z.power, coefficient: z.coefficient, law: z.law };
        let name = self.name(value).to_owned();
        self.limit_of(&leading, &name)
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
        let mean = self.mean_of(&product, expr, None, &name)?;
        self.limit_of(&mean, &name)
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
        let leading = match &value.instr {
            Instr::Data => {
                let indices = own.into_iter().chain(finite.then_some(coordinate));
                Leading::plain(self.graph.pool.reference(symbol_of(id), indices))
            }
            Instr::Constant(table, indices) => {
                let indices: Vec<Index> = indices.iter().copied().chain([coordinate]).collect();
                Leading::plain(self.graph.pool.table(*table, indices))
            }
            Instr::Matrix { .. } => return Err(LimitError::Matrix { name: value.name.clone() }),
            Instr::Gaussian(_) if finite => return Err(LimitError::Readout { name: value.name.clone() }),
            // ZINIT
            Instr::Gaussian(law) => {
                for expr in [law.mean, law.covariance].into_iter().chain(law.cross.iter().map(|&(_, c)| c)) {
                    if self.carries_width(expr)? {
                        return Err(LimitError::LawOfWidth { name: value.name.clone() });
                    }
                }
                let mean = self.leading(law.mean, None, &value.name)?;
                let mean = self.limit_of(&mean, &value.name)?;
                let base = self.graph.pool.reference(symbol_of(id), own);
                Leading::plain(self.graph.pool.add(mean, base))
            }
            // ZNONLIN+
            Instr::Map(expr) => self.leading(*expr, finite.then_some(coordinate), &value.name)?,
            Instr::Scalar(expr) => self.leading(*expr, None, &value.name)?,
            // ZMOMENT
            Instr::Moment(expr) => match program.expr_dim(*expr) {
                // The mean of a scalar expression is itself.
                None => self.leading(*expr, None, &value.name)?,
                Some(Dim::Finite(size)) => {
                    let variable = self.fresh();
                    let body = self.leading(*expr, Some(variable), &value.name)?;
                    let axis = self.graph.coordinate_axis(size);
                    let share = self.graph.pool.constant(netsor_ir::number::fraction(1, i64::from(size)));
                    let sum = self.graph.pool.sum(&[(variable, axis)], [], body.coefficient);
                    Leading { coefficient: self.graph.pool.mul(share, sum), ..body }
                }
                Some(Dim::Width(_)) => {
                    let body = self.leading(*expr, None, &value.name)?;
                    self.mean_of(&body, *expr, Some(id), &value.name)?
                }
            },
            Instr::MatMul { matrix, transposed, vector } => {
                let product = Product::new(program, matrix, *transposed, vector)?;
                match product.out_dim {
                    Dim::Width(_) => return self.matmul(id, &product),
                    Dim::Finite(_) => self.readout(id, &product)?,
                }
            }
        };
        let leading = match value.ty.kind {
            Kind::Scalar => Leading { coefficient: self.named_if_large(leading.coefficient, rank), ..leading },
            _ => leading,
        };
        let mixed = match value.instr {
            Instr::Map(expr) | Instr::Scalar(expr) => self.carries_width(expr)?,
            _ => false,
        };
        Ok(ZVar { mixed, ..self.zvar(leading, Vec::new()) })
    }

    pub(crate) fn zvar(&mut self, leading: Leading, dot: Vec<DotTerm>) -> ZVar {
        let Leading { power, coefficient, law } = leading;
        let scale = self.graph.pool.width(power);
        let expr = self.graph.pool.mul(scale, coefficient);
        ZVar { expr, dot, power, coefficient, law, mixed: false, premises: None }
    }

    pub(crate) fn fresh(&mut self) -> Index {
        self.expander.fresh += 1;
        Index::Var(self.expander.fresh - 1)
    }
}
