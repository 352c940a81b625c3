//! Whether ids point where they should: what execution relies on to be free of panics.

use netsor_ir::program::{Dim, Instr, Kind, Program, ValueId};

use crate::FiniteError;
use crate::state::malformed;

/// Checks that every id in the program exists and that definitions are over earlier values. Everything else that an
/// unverified program can get wrong is met during execution.
pub(crate) fn check(program: &Program) -> Result<(), FiniteError> {
    for id in program.value_ids() {
        check_value(program, id)?;
    }
    Ok(())
}

fn check_value(program: &Program, id: ValueId) -> Result<(), FiniteError> {
    let value = program.value(id);
    let fail = |problem: &str| Err(malformed(program, id, problem));
    let dim_exists = |dim: Dim| match dim {
        Dim::Finite(size) => 0 < size,
        Dim::Width(class) => class.index() < program.classes.len(),
    };
    let dims_exist = match value.ty.kind {
        Kind::Matrix { rows, cols } => dim_exists(rows) && dim_exists(cols),
        Kind::Vector(dim) => dim_exists(dim),
        Kind::Scalar => true,
    };
    if !dims_exist {
        return fail("its dimension is zero or a width class that does not exist");
    }
    if value.ty.family.iter().any(|axis| program.axes.get(axis.index()).is_none_or(|a| a.size == 0)) {
        return fail("its family is over an axis that is empty or does not exist");
    }
    let exprs = match &value.instr {
        Instr::Map(e) | Instr::Moment(e) | Instr::Scalar(e) => vec![*e],
        Instr::Gaussian(law) => {
            [law.mean, law.covariance].into_iter().chain(law.cross.iter().map(|&(_, c)| c)).collect()
        }
        _ => Vec::new(),
    };
    if exprs.iter().any(|e| program.exprs.len() <= e.index()) {
        return fail("its expression does not exist");
    }
    if let Instr::Constant(table, _) = &value.instr
        && program.tables.len() <= table.index()
    {
        return fail("its table does not exist");
    }
    if program.arguments(id).iter().any(|argument| id.index() <= argument.index()) {
        return fail("it mentions a value that is not earlier");
    }
    let kind = |v: ValueId| program.value(v).ty.kind;
    let fits = match (&value.instr, value.ty.kind) {
        (Instr::Matrix { .. }, Kind::Matrix { .. }) | (Instr::Moment(_) | Instr::Scalar(_), Kind::Scalar) => true,
        (Instr::Gaussian(_) | Instr::Map(_) | Instr::Constant(..), Kind::Vector(_)) => true,
        (Instr::MatMul { matrix, vector, .. }, Kind::Vector(_)) => {
            matches!((kind(matrix.value), kind(vector.value)), (Kind::Matrix { .. }, Kind::Vector(_)))
        }
        (Instr::Data, _) => true,
        _ => false,
    };
    if fits { Ok(()) } else { fail("its kind does not fit its definition") }
}
