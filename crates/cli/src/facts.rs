//! What a program is made of.

use netsor_ir::number::print;
use netsor_ir::program::Scale;
use netsor_ir::{Dim, Instr, Kind, Program, Role, ValueId};
use num_traits::{One, Zero};
use serde::Serialize;

/// How many values of each kind a program has.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Counts {
    pub(crate) matrices: usize,
    pub(crate) g_vars: usize,
    pub(crate) x_vars: usize,
    pub(crate) scalars: usize,
    pub(crate) finite_vectors: usize,
}

/// Counts the values of a program; a family counts once.
pub(crate) fn counts(program: &Program) -> Counts {
    let mut counts = Counts::default();
    for value in &program.values {
        let counter = match (value.ty.kind, &value.instr) {
            (Kind::Matrix { .. }, _) => &mut counts.matrices,
            (Kind::Scalar, _) => &mut counts.scalars,
            (Kind::Vector(Dim::Finite(_)), _) => &mut counts.finite_vectors,
            (_, Instr::Gaussian(_) | Instr::MatMul { .. }) => &mut counts.g_vars,
            _ => &mut counts.x_vars,
        };
        *counter += 1;
    }
    counts
}

/// `n x 3`
pub(crate) fn shape(program: &Program, id: ValueId) -> String {
    let dim = |dim: Dim| match dim {
        Dim::Width(class) => program.classes.get(class.index()).map_or("?", |c| c.name.as_str()).to_owned(),
        Dim::Finite(size) => size.to_string(),
    };
    match program.value(id).ty.kind {
        Kind::Matrix { rows, cols } => format!("{} x {}", dim(rows), dim(cols)),
        Kind::Vector(size) => dim(size),
        Kind::Scalar => "scalar".to_owned(),
    }
}

/// The part that a parameter plays, in words.
pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::InputLike => "input-like",
        Role::Hidden => "hidden",
        Role::OutputLike => "output-like",
        Role::Finite => "constant size",
    }
}

/// `2/n`, as one would write it.
pub(crate) fn scale(scale: &Scale) -> String {
    let coefficient = print(&scale.coefficient);
    if scale.power.is_zero() {
        return coefficient;
    }
    let width = |p: netsor_ir::Power| match (p.is_integer(), p.is_one()) {
        (_, true) => "n".to_owned(),
        (true, _) => format!("n^{p}"),
        _ => format!("n^({p})"),
    };
    match (scale.power < Zero::zero(), scale.coefficient.is_one()) {
        (true, _) => match coefficient.split_once('/') {
            Some((over, under)) => format!("{over}/({under} {})", width(-scale.power)),
            None => format!("{coefficient}/{}", width(-scale.power)),
        },
        (false, true) => width(scale.power),
        (false, false) => format!("{coefficient} {}", width(scale.power)),
    }
}
