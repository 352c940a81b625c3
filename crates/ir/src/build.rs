//! Building programs from Rust: what the elaborator, the transforms and the library of architectures use.
//!
//! The methods here only append. They infer the kind of a definition from its operands and make no other check; the
//! verifier says what is wrong with the result.
//!
//! ```
//! use netsor_ir::program::{Instr, Kind, Law, Program, Scale};
//! use netsor_ir::number::{integer, power};
//!
//! let mut p = Program::new("square");
//! let n = p.width();
//! let w = p.matrix("W", &[], n, n, Scale::new(integer(1), power(-1, 1)));
//! let law = Law::iid(&mut p.exprs, integer(0), integer(1));
//! let a = p.gaussian("a", &[], n, law);
//! let y = p.matmul("y", &[], (w, &[]), false, (a, &[]));
//! let b = p.matmul("b", &[], (w, &[]), true, (y, &[]));
//! let (a, b) = (p.member(a, &[]), p.member(b, &[]));
//! let product = p.exprs.mul(a, b);
//! p.moment("m", &[], product);
//! assert_eq!(p.values.len(), 5);
//! ```

use num_traits::One;

use crate::expr::{ExprId, Exprs};
use crate::id::Id;
use crate::index::{Guard, Index};
use crate::number::{Number, integer};
use crate::program::{
    Axis, Dim, Instr, Kind, Law, Operand, Program, Scale, Table, Type, Value, ValueId, WidthClass, symbol_of,
};
use crate::syntax::is_value_name;

/// The axes of a family being defined, with the names of its index variables.
pub type Family<'a> = &'a [(&'a str, Id<Axis>)];

/// A member of an earlier family.
pub type Member<'a> = (ValueId, &'a [Index]);

impl Law {
    /// The law of a single initial vector with the given mean and variance, independent of all others.
    pub fn iid(exprs: &mut Exprs, mean: Number, variance: Number) -> Self {
        Self::iid_family(exprs, mean, variance, 0)
    }

    /// The law of a family over `axes` axes whose members are independent of each other and of all others.
    pub fn iid_family(exprs: &mut Exprs, mean: Number, variance: Number, axes: usize) -> Self {
        let mean = exprs.constant(mean);
        let variance = exprs.constant(variance);
        let k = axes as u32;
        let same = (0..k).map(|i| Guard::equal(Index::Var(i), Index::Var(k + i)));
        let covariance = exprs.sum(&[], same, variance);
        Self { mean, covariance, cross: Vec::new() }
    }
}

impl Program {
    /// An empty program with one width class `n`.
    pub fn new(name: &str) -> Self {
        let n = WidthClass { name: "n".into(), ratio: Number::one() };
        Self { name: name.into(), classes: vec![n], ..Self::default() }
    }

    /// The dimension `n`.
    pub fn width(&self) -> Dim {
        Dim::Width(Id::new(0))
    }

    /// Adds an axis.
    pub fn axis(&mut self, name: &str, size: u32) -> Id<Axis> {
        self.axes.push(Axis { name: name.into(), size });
        Id::new(self.axes.len() - 1)
    }

    /// Adds a width class of size `ratio * n`.
    pub fn class(&mut self, name: &str, ratio: Number) -> Dim {
        self.classes.push(WidthClass { name: name.into(), ratio });
        Dim::Width(Id::new(self.classes.len() - 1))
    }

    /// Adds a table; `entries` has the last axis fastest.
    pub fn table(&mut self, name: &str, axes: &[Id<Axis>], entries: Vec<Number>) -> Id<Table> {
        self.tables.push(Table { name: name.into(), axes: axes.to_vec(), entries });
        Id::new(self.tables.len() - 1)
    }

    /// A name that starts with `stem` and is not taken. A member's suffix such as `@1` may only end a name, so one that
    /// is followed by more becomes `_1`.
    pub fn unused_name(&self, stem: &str) -> String {
        let replaced = (!is_value_name(stem)).then(|| stem.replace('@', "_"));
        let stem = replaced.as_deref().unwrap_or(stem);
        let taken = |name: &str| {
            self.values.iter().any(|v| v.name == name)
                || self.axes.iter().any(|a| a.name == name)
                || self.tables.iter().any(|t| t.name == name)
                || self.classes.iter().any(|c| c.name == name)
        };
        if !taken(stem) {
            return stem.into();
        }
        (1..).map(|k| format!("{stem}_{k}")).find(|name| !taken(name)).unwrap_or_default()
    }

    /// Appends a definition.
    pub fn define(&mut self, name: &str, family: Family<'_>, kind: Kind, instr: Instr) -> ValueId {
        let index_names = family.iter().map(|(name, _)| (*name).to_owned()).collect();
        let ty = Type { kind, family: family.iter().map(|&(_, axis)| axis).collect() };
        self.values.push(Value { name: name.into(), index_names, ty, instr });
        ValueId::new(self.values.len() - 1)
    }

    /// Appends data that the caller supplies.
    pub fn data(&mut self, name: &str, family: Family<'_>, kind: Kind) -> ValueId {
        self.define(name, family, kind, Instr::Data)
    }

    /// Appends an initial matrix.
    pub fn matrix(&mut self, name: &str, family: Family<'_>, rows: Dim, cols: Dim, variance: Scale) -> ValueId {
        self.define(name, family, Kind::Matrix { rows, cols }, Instr::Matrix { variance })
    }

    /// Appends an initial vector.
    pub fn gaussian(&mut self, name: &str, family: Family<'_>, dim: Dim, law: Law) -> ValueId {
        self.define(name, family, Kind::Vector(dim), Instr::Gaussian(law))
    }

    /// Appends a matrix product.
    pub fn matmul(
        &mut self,
        name: &str,
        family: Family<'_>,
        matrix: Member<'_>,
        transposed: bool,
        vector: Member<'_>,
    ) -> ValueId {
        let dim = match self.value(matrix.0).ty.kind {
            Kind::Matrix { rows, cols } => {
                if transposed {
                    cols
                } else {
                    rows
                }
            }
            Kind::Vector(dim) => dim,
            Kind::Scalar => Dim::Finite(1),
        };
        let operand = |(value, indices): Member<'_>| Operand { value, indices: indices.iter().copied().collect() };
        let instr = Instr::MatMul { matrix: operand(matrix), transposed, vector: operand(vector) };
        self.define(name, family, Kind::Vector(dim), instr)
    }

    /// Appends a coordinatewise function. The dimension is that of the vectors mentioned, `n` if there are none.
    pub fn map(&mut self, name: &str, family: Family<'_>, expr: ExprId) -> ValueId {
        let dim = self.expr_dim(expr).unwrap_or_else(|| self.width());
        self.define(name, family, Kind::Vector(dim), Instr::Map(expr))
    }

    /// Appends the mean over coordinates of a function of vectors.
    pub fn moment(&mut self, name: &str, family: Family<'_>, expr: ExprId) -> ValueId {
        self.define(name, family, Kind::Scalar, Instr::Moment(expr))
    }

    /// Appends a function of scalars.
    pub fn scalar(&mut self, name: &str, family: Family<'_>, expr: ExprId) -> ValueId {
        self.define(name, family, Kind::Scalar, Instr::Scalar(expr))
    }

    /// The expression that mentions a member of a family.
    pub fn member(&mut self, value: ValueId, indices: &[Index]) -> ExprId {
        self.exprs.reference(symbol_of(value), indices.iter().copied())
    }

    /// The constant vectors `e_0, ..., e_(size-1)` of dimension `size` as a family over `axis`, which has that size.
    pub fn unit_vectors(&mut self, name: &str, index: &str, axis: Id<Axis>) -> ValueId {
        let size = self.axis_size(axis);
        let entries = (0..size * size).map(|k| integer(i64::from(k / size == k % size))).collect();
        let table_name = self.unused_name(&format!("{name}_table"));
        let table = self.table(&table_name, &[axis, axis], entries);
        let instr = Instr::Constant(table, [Index::Var(0)].into_iter().collect());
        self.define(name, &[(index, axis)], Kind::Vector(Dim::Finite(size)), instr)
    }
}
