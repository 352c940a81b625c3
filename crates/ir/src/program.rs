//! Programs: instructions over matrices, vectors and scalars (TP IIb App. Def. B.1).
//!
//! A program is a list of [`Value`]s, each defined by one [`Instr`] over earlier values. A value may be a *family*
//! indexed by variables over named finite axes; its instruction then defines every member, with `Var(k)` standing for
//! the `k`-th index. A value is a matrix (A-var), a vector (G-var when it comes from a matrix product or an initial
//! law, X-var otherwise) or a scalar (C-var).

use num_traits::Zero;

use crate::expr::{ExprId, Exprs, Symbol};
use crate::id::Id;
use crate::index::{Index, Indices};
use crate::number::{Number, Power};

/// The id of a value in its program.
pub type ValueId = Id<Value>;

/// A named finite index set `0 .. size`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Axis {
    /// The name in the text.
    pub name: String,
    /// Number of positions, at least 1.
    pub size: u32,
}

/// A width class: a dimension that tends to infinity as `ratio * n`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WidthClass {
    /// The name in the text; the first class is `n` itself.
    pub name: String,
    /// Size relative to `n`, positive.
    pub ratio: Number,
}

/// A fixed array of exact numbers over axes: adjacency matrices, filters, covariances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// The name in the text.
    pub name: String,
    /// The axes, outermost first.
    pub axes: Vec<Id<Axis>>,
    /// Entries, the last axis fastest.
    pub entries: Vec<Number>,
}

/// A dimension of a vector or matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dim {
    /// A width, which tends to infinity.
    Width(Id<WidthClass>),
    /// A constant: input and readout dimensions.
    Finite(u32),
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A-var.
    Matrix {
        /// Number of rows.
        rows: Dim,
        /// Number of columns.
        cols: Dim,
    },
    /// G-var or X-var, or a vector of constant dimension.
    Vector(Dim),
    /// C-var.
    Scalar,
}

/// Kind and family of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Type {
    /// What each member is.
    pub kind: Kind,
    /// The axes of the family; empty for a single value.
    pub family: Vec<Id<Axis>>,
}

/// `coefficient * n^power`: a variance, or the weight of a parameter in the tangent kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scale {
    /// The factor, not negative.
    pub coefficient: Number,
    /// The exact power of the width.
    pub power: Power,
}

impl Scale {
    /// `coefficient * n^power`
    pub fn new(coefficient: Number, power: Power) -> Self {
        Self { coefficient, power }
    }

    /// `coefficient`, without a power of the width.
    pub fn constant(coefficient: Number) -> Self {
        Self::new(coefficient, Power::zero())
    }
}

/// A reference to one member of a family.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Operand {
    /// The family.
    pub value: ValueId,
    /// One index an axis of the family.
    pub indices: Indices,
}

/// The law of an initial vector: its coordinates are iid copies of a Gaussian, joint with earlier initial vectors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Law {
    /// The mean, a scalar expression over the indices.
    pub mean: ExprId,
    /// The covariance of two members, over the indices `Var(0..k)` of the first and `Var(k..2k)` of the second.
    /// Independent members have a guard `[i = i']` in it.
    pub covariance: ExprId,
    /// Covariances with earlier initial vectors, over own indices and then the other's; absent means independent.
    pub cross: Vec<(ValueId, ExprId)>,
}

/// How a value is defined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instr {
    /// Supplied by the caller at run time: a scalar, or a vector of constant dimension.
    Data,
    /// A vector of constant dimension whose coordinates are the last axis of a table.
    Constant(Id<Table>, Indices),
    /// An initial matrix with iid entries `N(0, variance)`; members of a family are independent.
    Matrix {
        /// Variance of an entry, with its power of `n`.
        variance: Scale,
    },
    /// An initial vector.
    Gaussian(Law),
    /// MATMUL: `matrix * vector` or `matrix' * vector`.
    MatMul {
        /// The matrix.
        matrix: Operand,
        /// Whether the transpose is meant.
        transposed: bool,
        /// The vector.
        vector: Operand,
    },
    /// NONLIN⁺ and LINCOMB: a coordinatewise function of vectors with scalar parameters.
    Map(ExprId),
    /// MOMENT: the mean over the coordinates of a coordinatewise function.
    Moment(ExprId),
    /// A function of scalars (MOMENT with parameters only).
    Scalar(ExprId),
}

/// One definition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The name in the text, unique in the program.
    pub name: String,
    /// Names of the index variables, one an axis of the family.
    pub index_names: Vec<String>,
    /// What it is.
    pub ty: Type,
    /// How it is defined.
    pub instr: Instr,
}

/// The body of a tensor program. Build one with the methods of [`crate::build`] or with [`crate::syntax::parse`].
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// The name in the text.
    pub name: String,
    /// Finite axes.
    pub axes: Vec<Axis>,
    /// Width classes; the first is `n`.
    pub classes: Vec<WidthClass>,
    /// Tables of numbers.
    pub tables: Vec<Table>,
    /// Definitions, each over earlier ones.
    pub values: Vec<Value>,
    /// The expressions of the definitions; the symbol of a value is its index.
    pub exprs: Exprs,
}

impl Program {
    /// All values in order.
    pub fn value_ids(&self) -> impl DoubleEndedIterator<Item = ValueId> + use<> {
        (0..self.values.len()).map(ValueId::new)
    }

    /// The definition behind an id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The value called `name`.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.values.iter().position(|v| v.name == name).map(ValueId::new)
    }

    /// The axis called `name`.
    pub fn find_axis(&self, name: &str) -> Option<Id<Axis>> {
        self.axes.iter().position(|a| a.name == name).map(Id::new)
    }

    /// The number of positions on an axis.
    pub fn axis_size(&self, axis: Id<Axis>) -> u32 {
        self.axes[axis.index()].size
    }

    /// Sizes of the axes of a value's family.
    pub fn family_sizes(&self, id: ValueId) -> Vec<usize> {
        self.value(id).ty.family.iter().map(|&axis| self.axis_size(axis) as usize).collect()
    }

    /// The size of a dimension at width `n`, rounded to the nearest integer and at least 1.
    pub fn dim_size(&self, dim: Dim, n: usize) -> usize {
        match dim {
            Dim::Finite(size) => size as usize,
            Dim::Width(class) => {
                let ratio = crate::number::to_f64(&self.classes[class.index()].ratio);
                ((n as f64 * ratio).round() as usize).max(1)
            }
        }
    }

    /// The dimension of the vectors that an expression mentions; `None` if it mentions none. Symbols that stand for no
    /// value are passed over.
    pub fn expr_dim(&self, expr: ExprId) -> Option<Dim> {
        self.exprs.refs(expr).iter().find_map(|(symbol, _)| match self.values.get(value_of(*symbol).index())?.ty.kind {
            Kind::Vector(dim) => Some(dim),
            _ => None,
        })
    }

    /// The values that the definition of `id` mentions, in order and with repetitions removed.
    pub fn arguments(&self, id: ValueId) -> Vec<ValueId> {
        let mut found: Vec<ValueId> = match &self.value(id).instr {
            Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } => Vec::new(),
            Instr::Gaussian(law) => {
                let own = [law.mean, law.covariance].into_iter().chain(law.cross.iter().map(|&(_, c)| c));
                let refs = own.flat_map(|e| self.exprs.refs(e)).map(|(s, _)| value_of(s));
                refs.chain(law.cross.iter().map(|&(v, _)| v)).collect()
            }
            Instr::MatMul { matrix, vector, .. } => vec![matrix.value, vector.value],
            Instr::Map(e) | Instr::Moment(e) | Instr::Scalar(e) => {
                self.exprs.refs(*e).into_iter().map(|(s, _)| value_of(s)).collect()
            }
        };
        let mut seen = std::collections::BTreeSet::new();
        found.retain(|v| seen.insert(*v));
        found
    }
}

/// The symbol that stands for a value in the program's expressions.
pub fn symbol_of(value: ValueId) -> Symbol {
    Symbol(value.index() as u32)
}

/// The value that a symbol of a program's expressions stands for.
pub fn value_of(symbol: Symbol) -> ValueId {
    ValueId::new(symbol.0 as usize)
}

/// The family's own index variables `Var(0), Var(1), ...`.
pub fn own_indices(count: usize) -> impl Iterator<Item = Index> {
    (0..count as u32).map(Index::Var)
}
