//! Matrix products: MATMUL, and Moments that are Gram matrices.

use std::collections::BTreeMap;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::index::{Index, Indices};
use netsor_ir::program::{Kind, Operand, Program, ValueId, value_of};
use rayon::prelude::*;

use crate::gather::Strides;
use crate::state::{locate, malformed, positions};
use crate::{Block, FiniteError, Float, State};

/// Rows or columns of a product that one task computes.
const STRIP: usize = 128;

/// `out = factor * a * b`, or `factor * a' * b`; `a` is `rows x cols`, `b` has `n` columns. Everything is column-major.
///
/// The result is cut into strips whose number depends on the shapes only and each strip is computed by one thread:
/// `faer`'s own parallel matrix-vector products have different bits for different numbers of threads.
pub(crate) fn gemm<T: Float>(
    out: &mut [T],
    (a, rows, cols): (&[T], usize, usize),
    transposed: bool,
    b: &[T],
    n: usize,
    factor: f64,
) {
    let a = MatRef::from_column_major_slice(a, rows, cols);
    let a = if transposed { a.transpose() } else { a };
    let b = MatRef::from_column_major_slice(b, a.ncols(), n);
    let rows = a.nrows();
    let out = MatMut::from_column_major_slice_mut(out, rows, n);
    let factor = T::of(factor);
    let small = (rows as f64) * (a.ncols() as f64) * (n as f64) < 1e6;
    if small || rows.max(n) <= STRIP {
        matmul(out, Accum::Replace, a, b, factor, Par::Seq);
    } else if n <= rows {
        out.par_row_chunks_mut(STRIP).enumerate().for_each(|(k, strip)| {
            let a = a.subrows(k * STRIP, strip.nrows());
            matmul(strip, Accum::Replace, a, b, factor, Par::Seq);
        });
    } else {
        out.par_col_chunks_mut(STRIP).enumerate().for_each(|(k, strip)| {
            let b = b.subcols(k * STRIP, strip.ncols());
            matmul(strip, Accum::Replace, a, b, factor, Par::Seq);
        });
    }
}

/// `target += factor * rows * cols'`; `rows` is `r x n`, `cols` is `c x n`, `target` is `r x c`. Everything is
/// column-major and cut into strips as in [`gemm`].
pub(crate) fn add_outer<T: Float>(target: &mut [T], rows: &[T], cols: &[T], n: usize, factor: f64) {
    let rows = MatRef::from_column_major_slice(rows, rows.len() / n.max(1), n);
    let cols = MatRef::from_column_major_slice(cols, cols.len() / n.max(1), n);
    let target = MatMut::from_column_major_slice_mut(target, rows.nrows(), cols.nrows());
    target.par_col_chunks_mut(STRIP).enumerate().for_each(|(k, strip)| {
        let cols = cols.subrows(k * STRIP, strip.ncols()).transpose();
        matmul(strip, Accum::Add, rows, cols, T::of(factor), Par::Seq);
    });
}

/// All members of a matrix product: one GEMM a member of the matrix, over the different vectors that meet it.
pub(crate) fn matrix_product<T: Float>(
    program: &Program,
    state: &State<T>,
    id: ValueId,
    (matrix, transposed, vector): (&Operand, bool, &Operand),
    out: &mut Block<T>,
) -> Result<(), FiniteError> {
    let a = state.operand(program, id, matrix.value)?;
    let x = state.operand(program, id, vector.value)?;
    let (out_dim, in_dim) = if transposed { (a.cols, a.rows) } else { (a.rows, a.cols) };
    if in_dim != x.rows || out_dim != out.rows {
        let problem = format!("a {out_dim} x {in_dim} matrix times a vector of {} is not one of {}", x.rows, out.rows);
        return Err(malformed(program, id, problem));
    }
    let sizes = program.family_sizes(id);
    // For each member of the matrix: the vector and the product of each member of the result.
    let mut groups: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
    for member in 0..out.members {
        let own = positions(&sizes, member);
        let of_matrix = locate(program, id, matrix.value, &matrix.indices, &own)?;
        let of_vector = locate(program, id, vector.value, &vector.indices, &own)?;
        groups.entry(of_matrix).or_default().push((of_vector, member));
    }
    for (of_matrix, pairs) in groups {
        let a = (a.member(of_matrix), a.rows, a.cols);
        let consecutive = |f: fn(&(usize, usize)) -> usize| pairs.windows(2).all(|w| f(&w[0]) + 1 == f(&w[1]));
        if consecutive(|p| p.0) && consecutive(|p| p.1) {
            let (first, target, n) = (pairs[0].0, pairs[0].1, pairs.len());
            let b = &x.data[first * in_dim..(first + n) * in_dim];
            gemm(&mut out.data[target * out_dim..(target + n) * out_dim], a, transposed, b, n, 1.0);
            continue;
        }
        let mut vectors: Vec<usize> = pairs.iter().map(|p| p.0).collect();
        vectors.sort_unstable();
        vectors.dedup();
        let gathered: Vec<T> = vectors.iter().flat_map(|&v| x.member(v)).copied().collect();
        let mut products = vec![T::of(0.0); out_dim * vectors.len()];
        gemm(&mut products, a, transposed, &gathered, vectors.len(), 1.0);
        for (of_vector, member) in pairs {
            if let Ok(at) = vectors.binary_search(&of_vector) {
                out.member_mut(member).copy_from_slice(&products[at * out_dim..(at + 1) * out_dim]);
            }
        }
    }
    Ok(())
}

/// A Moment of the form `factor * mean(a[..] * b[..])` in which every index of the family is an index of exactly one of
/// `a` and `b`, so that all members together are a Gram matrix.
#[derive(Clone, Debug)]
pub(crate) struct Gram {
    a: (ValueId, Indices),
    b: (ValueId, Indices),
}

impl Gram {
    /// The Gram matrix that a Moment is, if it is one.
    pub(crate) fn recognise(program: &Program, id: ValueId, expr: ExprId) -> Option<Self> {
        let Expr::Mul(a, b) = program.exprs.node(expr) else { return None };
        let vector = |e: ExprId| match program.exprs.node(e) {
            Expr::Ref(symbol, indices) => {
                let value = value_of(*symbol);
                matches!(program.value(value).ty.kind, Kind::Vector(_)).then(|| (value, indices.clone()))
            }
            _ => None,
        };
        let (a, b) = (vector(*a)?, vector(*b)?);
        let family = &program.value(id).ty.family;
        let mut met = vec![0; family.len()];
        for (value, indices) in [&a, &b] {
            let axes = &program.value(*value).ty.family;
            if axes.len() != indices.len() {
                return None;
            }
            for (axis, index) in axes.iter().zip(indices) {
                let Index::Var(k) = *index else { return None };
                if family.get(k as usize).is_none_or(|own| program.axis_size(*own) != program.axis_size(*axis)) {
                    return None;
                }
                met[k as usize] += 1;
            }
        }
        met.iter().all(|&count| count == 1).then_some(Self { a, b })
    }

    /// All members.
    pub(crate) fn eval<T: Float>(
        &self,
        program: &Program,
        state: &State<T>,
        id: ValueId,
        out: &mut Block<T>,
    ) -> Result<(), FiniteError> {
        let (a, b) = (state.operand(program, id, self.a.0)?, state.operand(program, id, self.b.0)?);
        if a.rows != b.rows {
            let problem = format!("it multiplies vectors of dimensions {} and {}", a.rows, b.rows);
            return Err(malformed(program, id, problem));
        }
        let mut products = vec![T::of(0.0); a.members * b.members];
        gemm(&mut products, (&a.data, a.rows, a.members), true, &b.data, b.members, 1.0 / a.rows as f64);
        let sizes = program.family_sizes(id);
        let rows = Strides::of(program, id, self.a.0, &self.a.1, &sizes)?;
        let cols = Strides::of(program, id, self.b.0, &self.b.1, &sizes)?;
        for (target, (row, col)) in out.data.iter_mut().zip(rows.members().zip(cols.members())) {
            *target = products[col * a.members + row];
        }
        Ok(())
    }
}
