//! `dce`: definitions that nothing needs are left out.

use super::TransformError;
use super::copy::{Leaves, copy_instr};
use crate::expr::Expr;
use crate::id::Id;
use crate::index::Indices;
use crate::network::{Network, Parameter};
use crate::program::{Axis, Instr, Program, Table, Type, Value, ValueId, symbol_of, value_of};

/// The program with what the values `keep` need, and the new id of each old value that is left. Axes and tables that are
/// no longer used go too; width classes stay.
///
/// Cost: linear in the program.
///
/// # Errors
/// [`TransformError::IllFormed`] if a definition mentions a later one.
pub fn dce(program: &Program, keep: &[ValueId]) -> Result<(Program, Vec<Option<ValueId>>), TransformError> {
    let mut needed = vec![false; program.values.len()];
    for id in keep {
        match needed.get_mut(id.index()) {
            Some(flag) => *flag = true,
            None => {
                let reason = format!("there is no value number {}", id.index());
                return Err(TransformError::IllFormed { name: program.name.clone(), reason });
            }
        }
    }
    for id in program.value_ids().rev().filter(|id| id.index() < program.values.len()) {
        if !needed[id.index()] {
            continue;
        }
        for argument in program.arguments(id) {
            if id <= argument {
                let reason = format!("it mentions definition number {}, which is not earlier", argument.index());
                return Err(TransformError::IllFormed { name: program.value(id).name.clone(), reason });
            }
            needed[argument.index()] = true;
        }
    }
    let used = Used::of(program, &needed);
    let mut new = Program { classes: program.classes.clone(), ..Program::new(&program.name) };
    let mut axes: Vec<Option<Id<Axis>>> = Vec::new();
    for (axis, used) in program.axes.iter().zip(&used.axes) {
        axes.push(used.then(|| new.axis(&axis.name, axis.size)));
    }
    let axis = |id: Id<Axis>| axes[id.index()].unwrap_or(id);
    let mut tables: Vec<Option<Id<Table>>> = Vec::new();
    for (table, used) in program.tables.iter().zip(&used.tables) {
        let over: Vec<Id<Axis>> = table.axes.iter().map(|&a| axis(a)).collect();
        tables.push(used.then(|| new.table(&table.name, &over, table.entries.clone())));
    }
    let table = |id: Id<Table>| tables[id.index()].unwrap_or(id);
    let mut map: Vec<Option<ValueId>> = vec![None; program.values.len()];
    for id in program.value_ids().filter(|id| needed[id.index()]) {
        let value = program.value(id);
        let mention = |symbol, indices: Indices| (symbol_of(map[value_of(symbol).index()].unwrap_or(id)), indices);
        let leaves = Leaves { mention: &mention, index: &|i| i, axis: &axis, table: &table };
        let instr = copy_instr(program, &mut new.exprs, &value.instr, &leaves);
        let family = value.ty.family.iter().map(|&a| axis(a)).collect();
        let ty = Type { kind: value.ty.kind, family };
        new.values.push(Value { name: value.name.clone(), index_names: value.index_names.clone(), ty, instr });
        map[id.index()] = Some(ValueId::new(new.values.len() - 1));
    }
    Ok((new, map))
}

/// The network with what its outputs need; its parameters stay, used or not.
///
/// # Errors
/// As for [`dce`].
pub fn dce_network(network: &Network) -> Result<(Network, Vec<Option<ValueId>>), TransformError> {
    let keep: Vec<ValueId> =
        network.parameters.iter().map(|p| p.value).chain(network.outputs.iter().copied()).collect();
    let (program, map) = dce(&network.program, &keep)?;
    let at = |id: ValueId| map[id.index()].unwrap_or(id);
    let parameters = network.parameters.iter().map(|p| Parameter { value: at(p.value), ..p.clone() }).collect();
    let outputs = network.outputs.iter().map(|&o| at(o)).collect();
    Ok((Network { program, parameters, outputs }, map))
}

/// Which axes and tables the needed definitions mention.
struct Used {
    axes: Vec<bool>,
    tables: Vec<bool>,
}

impl Used {
    fn of(program: &Program, needed: &[bool]) -> Self {
        let mut used = Self { axes: vec![false; program.axes.len()], tables: vec![false; program.tables.len()] };
        for id in program.value_ids().filter(|id| needed[id.index()]) {
            let value = program.value(id);
            value.ty.family.iter().for_each(|a| used.axes[a.index()] = true);
            if let Instr::Constant(table, _) = value.instr {
                used.tables[table.index()] = true;
            }
            let exprs: Vec<_> = match &value.instr {
                Instr::Map(e) | Instr::Moment(e) | Instr::Scalar(e) => vec![*e],
                Instr::Gaussian(law) => {
                    [law.mean, law.covariance].into_iter().chain(law.cross.iter().map(|&(_, e)| e)).collect()
                }
                _ => Vec::new(),
            };
            for expr in exprs {
                program.exprs.visit(expr, &mut |node| match node {
                    Expr::Table(table, _) => used.tables[table.index()] = true,
                    Expr::Sum(sum) => sum.axes.iter().for_each(|a| used.axes[a.index()] = true),
                    _ => {}
                });
            }
        }
        for (table, _) in program.tables.iter().zip(&used.tables).filter(|(_, used)| **used) {
            table.axes.iter().for_each(|a| used.axes[a.index()] = true);
        }
        used
    }
}
