//! The moment graph: what `derive` produces and `eval` turns into numbers.
//!
//! It is a list of definitions, each a number that depends on index variables: a Gaussian expectation, or a covariance
//! built from earlier ones. Expressions over them live in one pool. There are no floats in it and no data; two
//! quantities that are equal by construction are one definition.

use indexmap::IndexSet;
use netsor_ir::expr::{Expr, Symbol};
use netsor_ir::number::Power;
use netsor_ir::{Axis, Dim, ExprId, Exprs, Id, Index, Instr, Kind, Program};
use rustc_hash::FxBuildHasher;

pub use crate::provided::{Premises, PremisesId};

/// The id of a definition.
pub type DefId = Id<Def>;

/// Symbols at and above this number are slots of an integrand; below it, after the program's values, definitions.
const FIRST_SLOT: u32 = 1 << 31;
/// Symbols at and above this number are scalar parameters of an integrand.
const FIRST_PARAMETER: u32 = (1 << 31) + (1 << 30);

/// One defined number, over the free variables `Var(0..arity)`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Def {
    /// Number of index variables.
    pub arity: usize,
    /// What it is.
    pub body: Body,
}

/// What a definition says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Body {
    /// `E integrand(Z)` for a centred Gaussian vector `Z`.
    Expect {
        /// A function of the slots `Z_0, Z_1, ...` and of scalar parameters.
        integrand: ExprId,
        /// The lower triangle of the covariance, row by row.
        covariance: Vec<ExprId>,
        /// The values of the scalar parameters.
        parameters: Vec<ExprId>,
    },
    /// A scalar expression over data and earlier definitions.
    Scalar(ExprId),
    /// `numerator denominator^(-power)` for a denominator that is not negative; 0 where it is 0 up to rounding, relative
    /// to `size`, of which it is a part: a variance that is left after something is known. Whoever puts in numbers
    /// decides. With a `size` of 0 only `0 / 0` is 0.
    Quotient {
        /// The numerator.
        numerator: ExprId,
        /// The denominator.
        denominator: ExprId,
        /// What rounding of the denominator is relative to.
        size: ExprId,
        /// Its exponent, with a minus sign.
        power: Power,
    },
    /// A value that is handed out, provided that what was presumed in its derivation holds. No definition mentions it.
    Provided {
        /// A scalar expression over data and earlier definitions.
        value: ExprId,
        /// What it presumes.
        premises: PremisesId,
    },
}

impl Body {
    /// The expressions over data and earlier definitions in it; an integrand, which is over slots, is none of them.
    pub fn exprs(&self) -> Vec<ExprId> {
        match self {
            Self::Expect { covariance, parameters, .. } => covariance.iter().chain(parameters).copied().collect(),
            Self::Scalar(expr) | Self::Provided { value: expr, .. } => vec![*expr],
            Self::Quotient { numerator, denominator, size, .. } => vec![*numerator, *denominator, *size],
        }
    }
}

/// What a symbol of the graph's pool stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaf {
    /// A value of the program: data, or the base Gaussian variable of a G-var.
    Value(netsor_ir::ValueId),
    /// A definition.
    Def(DefId),
    /// A coordinate of the Gaussian vector of an expectation.
    Slot(usize),
    /// A scalar parameter of an integrand.
    Parameter(usize),
}

/// Definitions, expressions and axes.
#[derive(Clone, Debug)]
pub struct Graph {
    /// Expressions of definitions and results.
    pub pool: Exprs,
    /// Definitions, each over earlier ones.
    pub defs: Vec<Def>,
    /// The program's axes, then one for the coordinates of each constant dimension that occurs.
    pub axes: Vec<Axis>,
    /// What values presume about numbers.
    pub(crate) premises: IndexSet<Premises, FxBuildHasher>,
    n_values: u32,
    /// Which values of the program are base Gaussian variables: initial vectors and matrix products of width `n`.
    random: Vec<bool>,
}

impl Graph {
    /// A graph without definitions over the expressions of a program.
    pub(crate) fn new(program: &Program) -> Self {
        Self {
            pool: program.exprs.clone(),
            defs: Vec::new(),
            axes: program.axes.clone(),
            premises: IndexSet::default(),
            n_values: program.values.len() as u32,
            random: program
                .values
                .iter()
                .map(|v| {
                    let source = matches!(v.instr, Instr::Gaussian(_) | Instr::MatMul { .. });
                    source && matches!(v.ty.kind, Kind::Vector(Dim::Width(_)))
                })
                .collect(),
        }
    }

    /// What a symbol stands for.
    pub fn leaf(&self, symbol: Symbol) -> Leaf {
        match symbol.0 {
            s if FIRST_PARAMETER <= s => Leaf::Parameter((s - FIRST_PARAMETER) as usize),
            s if FIRST_SLOT <= s => Leaf::Slot((s - FIRST_SLOT) as usize),
            s if self.n_values <= s => Leaf::Def(DefId::new((s - self.n_values) as usize)),
            s => Leaf::Value(netsor_ir::ValueId::new(s as usize)),
        }
    }

    /// The symbol of a definition.
    pub fn def_symbol(&self, def: DefId) -> Symbol {
        Symbol(self.n_values + def.index() as u32)
    }

    /// The symbol of slot `k`.
    pub fn slot_symbol(k: usize) -> Symbol {
        Symbol(FIRST_SLOT + k as u32)
    }

    /// The symbol of parameter `k`.
    pub fn parameter_symbol(k: usize) -> Symbol {
        Symbol(FIRST_PARAMETER + k as u32)
    }

    /// The definition behind an id.
    pub fn def(&self, id: DefId) -> &Def {
        &self.defs[id.index()]
    }

    /// The number of positions on an axis.
    pub fn axis_size(&self, axis: Id<Axis>) -> u32 {
        self.axes[axis.index()].size
    }

    /// The index variables that the value of a sum depends on: free ones, and those that sums around it bind. Whoever
    /// evaluates sums can remember their values by the positions of these.
    pub fn free_indices(&self, sum: ExprId) -> Vec<Index> {
        let outside = self.pool.height(sum);
        let mut free = Vec::new();
        let mut note = |index: Index| {
            let counts = match index {
                Index::Var(_) => true,
                Index::Bound(k) => outside <= k,
                Index::At(_) => false,
            };
            if counts && !free.contains(&index) {
                free.push(index);
            }
        };
        self.pool.visit(sum, &mut |node| match node {
            Expr::Ref(_, indices) | Expr::Table(_, indices) => indices.iter().for_each(|&index| note(index)),
            Expr::Sum(sum) => sum.guards.iter().flat_map(|g| g.terms()).for_each(|&(_, index)| note(index)),
            _ => {}
        });
        free
    }

    /// The axis of the coordinates of vectors of dimension `size`, made at first use.
    pub(crate) fn coordinate_axis(&mut self, size: u32) -> Id<Axis> {
        let name = format!("coordinate of {size}");
        let at = self.axes.iter().position(|a| a.name == name).unwrap_or_else(|| {
            self.axes.push(Axis { name, size });
            self.axes.len() - 1
        });
        Id::new(at)
    }
}

impl Graph {
    /// Whether the symbol is a random variable of coordinates: a base variable or a slot.
    pub(crate) fn is_random(&self, symbol: Symbol) -> bool {
        match self.leaf(symbol) {
            Leaf::Slot(_) => true,
            Leaf::Value(value) => self.random.get(value.index()).copied().unwrap_or(false),
            Leaf::Def(_) | Leaf::Parameter(_) => false,
        }
    }
}
