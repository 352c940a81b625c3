//! Gradients of parameters at finite width: sums of outer products of adjoint and forward vectors, one product a use of
//! a parameter and member, added to a block without a copy where the vectors lie side by side.

use netsor_ir::index::{Guard, Index, Indices, Truth};
use netsor_ir::number::to_f64;
use netsor_ir::program::{Dim, Program, ValueId};
use netsor_ir::transform::Gradient;

use crate::product::add_outer;
use crate::state::{locate, malformed};
use crate::{Block, FiniteError, Float, State};

/// Most terms in the gradient of one use of a parameter.
const TERMS: usize = 1 << 24;

/// One use of a parameter: its gradient is `factor` times the sum over `terms` of `rows * cols'`.
#[derive(Clone, Debug)]
pub(crate) struct Use {
    pub(crate) parameter: ValueId,
    pub(crate) rows: ValueId,
    pub(crate) cols: Option<ValueId>,
    /// The normalisation of the adjoint.
    factor: f64,
    /// Sorted by the member of the parameter.
    terms: Vec<Term>,
}

/// Members of the parameter, of the rows and of the columns.
#[derive(Clone, Copy, Debug)]
struct Term {
    parameter: usize,
    rows: usize,
    cols: usize,
}

/// Memory for vectors that do not lie side by side.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gathered<T> {
    rows: Vec<T>,
    cols: Vec<T>,
}

impl Use {
    pub(crate) fn new(program: &Program, gradient: &Gradient, width: usize) -> Result<Self, FiniteError> {
        let size = match gradient.normalisation {
            Some(dim @ Dim::Width(_)) => program.dim_size(dim, width) as f64,
            _ => 1.0,
        };
        let parameter = gradient.parameter;
        let mut terms = Vec::new();
        for assignment in assignments(program, gradient)? {
            // Every variable of the gradient has a position now.
            let at = |indices: &Indices| -> Indices {
                let position = |i: Index| gradient.variables.iter().position(|&(v, _)| v == i);
                indices.iter().map(|&i| position(i).map_or(i, |k| Index::At(assignment[k]))).collect()
            };
            let member = |value: ValueId, indices: &Indices| locate(program, parameter, value, &at(indices), &[]);
            terms.push(Term {
                parameter: member(parameter, &gradient.member)?,
                rows: member(gradient.rows.value, &gradient.rows.indices)?,
                cols: gradient.cols.as_ref().map_or(Ok(0), |c| member(c.value, &c.indices))?,
            });
        }
        terms.sort_by_key(|t| t.parameter);
        let cols = gradient.cols.as_ref().map(|c| c.value);
        Ok(Self { parameter, rows: gradient.rows.value, cols, factor: 1.0 / size.sqrt(), terms })
    }

    /// Adds `factor` times the gradient to `target`, which has the layout of the parameter. Terms with a zero vector are
    /// left out, which makes a batch of few examples cheap.
    pub(crate) fn add_to<T: Float>(
        &self,
        target: &mut [T],
        factor: f64,
        program: &Program,
        state: &State<T>,
        memory: &mut Gathered<T>,
    ) -> Result<(), FiniteError> {
        let rows = state.operand(program, self.parameter, self.rows)?;
        let cols = self.cols.map(|c| state.operand(program, self.parameter, c)).transpose()?;
        let zero = |x: &[T]| x.iter().all(|x| *x == T::of(0.0));
        let matters = |t: &Term| !zero(rows.member(t.rows)) && !cols.is_some_and(|c| zero(c.member(t.cols)));
        let factor = factor * self.factor;
        for terms in self.terms.chunk_by(|a, b| a.parameter == b.parameter) {
            let size = rows.rows * cols.map_or(1, |c| c.rows);
            let at = terms[0].parameter * size;
            let len = target.len();
            let Some(target) = target.get_mut(at..at + size) else {
                let problem = format!("it has {len} entries, its gradient has more");
                return Err(malformed(program, self.parameter, problem));
            };
            let side_by_side =
                terms.windows(2).all(|t| t[0].rows + 1 == t[1].rows && (cols.is_none() || t[0].cols + 1 == t[1].cols));
            if let (true, Some(cols)) = (side_by_side && terms.iter().all(matters), cols) {
                let of = |block: &Block<T>, first: usize| {
                    let size = block.rows * block.cols;
                    first * size..(first + terms.len()) * size
                };
                let (rows_at, cols_at) = (of(rows, terms[0].rows), of(cols, terms[0].cols));
                add_outer(target, &rows.data[rows_at], &cols.data[cols_at], terms.len(), factor);
                continue;
            }
            memory.rows.clear();
            memory.cols.clear();
            let mut n = 0;
            for term in terms.iter().filter(|t| matters(t)) {
                n += 1;
                memory.rows.extend_from_slice(rows.member(term.rows));
                // A vector parameter is a matrix of one column.
                memory.cols.extend_from_slice(cols.map_or(&[T::of(1.0)], |c| c.member(term.cols)));
            }
            if 0 < n {
                add_outer(target, &memory.rows, &memory.cols, n, factor);
            }
        }
        Ok(())
    }
}

/// The positions of the summed variables of a gradient that its guards admit.
fn assignments(program: &Program, gradient: &Gradient) -> Result<Vec<Vec<u32>>, FiniteError> {
    let sizes: Vec<u32> = gradient.variables.iter().map(|&(_, axis)| program.axis_size(axis)).collect();
    let total = sizes.iter().try_fold(1usize, |t, &s| t.checked_mul(s as usize)).filter(|t| *t <= TERMS);
    let Some(total) = total else {
        let elements = sizes.iter().map(|&s| f64::from(s)).product();
        let value = program.value(gradient.parameter).name.clone();
        return Err(FiniteError::TooLarge { value, elements, limit: TERMS });
    };
    let sizes: Vec<usize> = sizes.into_iter().map(|s| s as usize).collect();
    let mut admitted = Vec::new();
    for number in 0..total {
        let positions = crate::state::positions(&sizes, number);
        let holds = |guard: &Guard| {
            let position = |i: Index| gradient.variables.iter().position(|&(v, _)| v == i);
            guard.map(|i| position(i).map_or(i, |k| Index::At(positions[k]))).truth()
        };
        let mut all = true;
        for guard in &gradient.guards {
            match holds(guard) {
                Truth::Always => {}
                Truth::Never => all = false,
                Truth::Depends => return Err(malformed(program, gradient.parameter, "its gradient has a free index")),
            }
        }
        if all {
            admitted.push(positions);
        }
    }
    Ok(admitted)
}

/// Refuses widths at which a width class has no whole number of coordinates: the powers of `n` in adjoints are exact.
pub(crate) fn exact_dimensions(program: &Program, width: usize) -> Result<(), FiniteError> {
    if width == 0 {
        return Err(FiniteError::ZeroWidth);
    }
    for class in &program.classes {
        let size = &class.ratio * netsor_ir::number::integer(width as i64);
        if !size.is_integer() {
            let class = class.name.clone();
            return Err(FiniteError::FractionalDimension { class, width, size: to_f64(&size) });
        }
    }
    Ok(())
}
