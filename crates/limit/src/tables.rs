//! Sums over coordinates of constants: exact numbers where nothing but a program's tables is in them, so that the inner
//! product of two unit vectors is 1 or 0 and not a sum.

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::number::Number;
use netsor_ir::{Index, Indices, Program};
use num_traits::{Signed, Zero};

use crate::derive::Deriver;

impl Deriver<'_> {
    /// `sum over variable < size of body`, a number if that depends on tables and constants alone.
    pub(crate) fn sum_of_coordinates(&mut self, variable: Index, size: u32, body: ExprId) -> ExprId {
        let entries = (0..size).map(|position| self.entry(body, variable, position));
        if let Some(total) = entries.sum::<Option<Number>>() {
            return self.graph.pool.constant(total);
        }
        let axis = self.graph.coordinate_axis(size);
        self.graph.pool.sum(&[(variable, axis)], [], body)
    }

    /// A polynomial in entries of tables at one position.
    fn entry(&self, expr: ExprId, variable: Index, position: u32) -> Option<Number> {
        let of = |id: ExprId| self.entry(id, variable, position);
        match self.graph.pool.node(expr) {
            Expr::Const(value) => Some(value.clone()),
            Expr::Table(table, indices) => table_entry(self.program, table.index(), indices, variable, position),
            Expr::Neg(a) => Some(-of(*a)?),
            Expr::Add(a, b) => Some(of(*a)? + of(*b)?),
            Expr::Sub(a, b) => Some(of(*a)? - of(*b)?),
            Expr::Mul(a, b) => match of(*a)? {
                zero if zero.is_zero() => Some(zero),
                a => Some(a * of(*b)?),
            },
            Expr::Pow(a, p) if p.is_integer() && !p.is_negative() && *p.numer() <= 16 => {
                let base = of(*a)?;
                Some((0..*p.numer()).fold(Number::from_integer(1.into()), |power, _| power * &base))
            }
            _ => None,
        }
    }
}

/// An entry of a table, with a variable among its indices at a position; `None` if other variables are among them.
pub(crate) fn table_entry(
    program: &Program,
    table: usize,
    at: &Indices,
    variable: Index,
    position: u32,
) -> Option<Number> {
    let table = program.tables.get(table)?;
    let mut flat = 0;
    for (&index, &axis) in at.iter().zip(&table.axes) {
        let here = match index {
            Index::At(k) => k,
            other if other == variable => position,
            _ => return None,
        };
        flat = flat * program.axis_size(axis) as usize + here as usize;
    }
    table.entries.get(flat).cloned()
}
