//! Matrix products: MATMUL, and Moments that are Gram matrices.

use std::collections::BTreeMap;

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::index::{Index, Indices};
use netsor_ir::program::{Kind, Operand, Program, ValueId, value_of};

use crate::gather::Strides;
use crate::state::malformed;
use crate::{Block, FiniteError, Float, State};

/// Most rows of a product that one task computes: four of the tiles that `faer` keeps in registers.
const ROWS: usize = 384;

/// Most columns of a product that one task computes.
const COLS: usize = 512;

/// Rows are cut at multiples of this, the height of a tile.
const TILE: usize = 96;

/// Products with fewer multiplications are one task.
const SMALL: f64 = 1e6;

/// `out = factor * a * b`, or `factor * a' * b`; `a` is `rows x cols`, `b` has `n` columns. Everything is column-major.
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
    let out = MatMut::from_column_major_slice_mut(out, a.nrows(), n);
    blocks(out, Accum::Replace, a, b, T::of(factor));
}

/// `target += factor * rows * cols'`; `rows` is `r x n`, `cols` is `c x n`, `target` is `r x c`. Everything is
/// column-major.
pub(crate) fn add_outer<T: Float>(target: &mut [T], rows: &[T], cols: &[T], n: usize, factor: f64) {
    let rows = MatRef::from_column_major_slice(rows, rows.len() / n.max(1), n);
    let cols = MatRef::from_column_major_slice(cols, cols.len() / n.max(1), n);
    let target = MatMut::from_column_major_slice_mut(target, rows.nrows(), cols.nrows());
    blocks(target, Accum::Add, rows, cols.transpose(), T::of(factor));
}

/// A product, cut into blocks by halves. Where it is cut depends on the shapes only and each block is computed by one
/// thread: `faer`'s own parallel products have different bits for different numbers of threads.
fn blocks<T: Float>(out: MatMut<'_, T>, accum: Accum, a: MatRef<'_, T>, b: MatRef<'_, T>, factor: T) {
    let (rows, cols) = (out.nrows(), out.ncols());
    let small = (rows as f64) * (a.ncols() as f64) * (cols as f64) < SMALL;
    if !small && ROWS < rows {
        let middle = (rows / 2).next_multiple_of(TILE);
        let ((upper, lower), (above, below)) = (out.split_at_row_mut(middle), a.split_at_row(middle));
        rayon::join(|| blocks(upper, accum, above, b, factor), || blocks(lower, accum, below, b, factor));
    } else if !small && COLS < cols {
        let middle = cols / 2;
        let ((left, right), (first, second)) = (out.split_at_col_mut(middle), b.split_at_col(middle));
        rayon::join(|| blocks(left, accum, a, first, factor), || blocks(right, accum, a, second, factor));
    } else {
        matmul(out, accum, a, b, factor, Par::Seq);
    }
}

/// A matrix product of families: one GEMM a member of the matrix, over the different vectors that meet it.
#[derive(Clone, Debug)]
pub(crate) struct Product<T> {
    matrix: ValueId,
    vector: ValueId,
    transposed: bool,
    groups: Vec<Group<T>>,
}

/// The products with one member of the matrix.
#[derive(Clone, Debug)]
struct Group<T> {
    matrix: usize,
    vectors: Vectors<T>,
}

/// The members of the vector and of the result.
#[derive(Clone, Debug)]
enum Vectors<T> {
    /// `count` of them side by side, from these on.
    Consecutive { first: usize, target: usize, count: usize },
    /// Different ones; they are copied to `gathered`, and column `at` of `products` goes to `member` for each pair
    /// `(at, member)`.
    Scattered { vectors: Vec<usize>, targets: Vec<(usize, usize)>, gathered: Vec<T>, products: Vec<T> },
}

impl<T: Float> Product<T> {
    /// Finds out which vectors each member of the matrix meets.
    pub(crate) fn new(
        program: &Program,
        id: ValueId,
        (matrix, transposed, vector): (&Operand, bool, &Operand),
    ) -> Result<Self, FiniteError> {
        let sizes = program.family_sizes(id);
        let of_matrix = Strides::of(program, id, matrix.value, &matrix.indices, &sizes)?;
        let of_vector = Strides::of(program, id, vector.value, &vector.indices, &sizes)?;
        let mut pairs: BTreeMap<usize, Vec<(usize, usize)>> = BTreeMap::new();
        for (member, (matrix, vector)) in of_matrix.members().zip(of_vector.members()).enumerate() {
            pairs.entry(matrix).or_default().push((vector, member));
        }
        let group = |(matrix, pairs): (usize, Vec<(usize, usize)>)| {
            let side_by_side = pairs.windows(2).all(|w| w[0].0 + 1 == w[1].0 && w[0].1 + 1 == w[1].1);
            let vectors = if side_by_side {
                let (first, target) = pairs.first().copied().unwrap_or_default();
                Vectors::Consecutive { first, target, count: pairs.len() }
            } else {
                let mut vectors: Vec<usize> = pairs.iter().map(|p| p.0).collect();
                vectors.sort_unstable();
                vectors.dedup();
                let at = |vector: usize| vectors.partition_point(|&v| v < vector);
                let targets = pairs.iter().map(|&(vector, member)| (at(vector), member)).collect();
                Vectors::Scattered { vectors, targets, gathered: Vec::new(), products: Vec::new() }
            };
            Group { matrix, vectors }
        };
        let groups = pairs.into_iter().map(group).collect();
        Ok(Self { matrix: matrix.value, vector: vector.value, transposed, groups })
    }

    /// All members.
    pub(crate) fn eval(
        &mut self,
        (program, state, id): (&Program, &State<T>, ValueId),
        out: &mut Block<T>,
    ) -> Result<(), FiniteError> {
        let (a, x) = (state.operand(program, id, self.matrix)?, state.operand(program, id, self.vector)?);
        let transposed = self.transposed;
        let (out_dim, in_dim) = if transposed { (a.cols, a.rows) } else { (a.rows, a.cols) };
        if in_dim != x.rows || out_dim != out.rows {
            let problem =
                format!("a {out_dim} x {in_dim} matrix times a vector of {} is not one of {}", x.rows, out.rows);
            return Err(malformed(program, id, problem));
        }
        for Group { matrix, vectors } in &mut self.groups {
            let a = (a.member(*matrix), a.rows, a.cols);
            match vectors {
                Vectors::Consecutive { first, target, count } => {
                    let b = &x.data[*first * in_dim..(*first + *count) * in_dim];
                    gemm(&mut out.data[*target * out_dim..(*target + *count) * out_dim], a, transposed, b, *count, 1.0);
                }
                Vectors::Scattered { vectors, targets, gathered, products } => {
                    gathered.clear();
                    vectors.iter().for_each(|&v| gathered.extend_from_slice(x.member(v)));
                    products.resize(out_dim * vectors.len(), T::of(0.0));
                    gemm(products, a, transposed, gathered, vectors.len(), 1.0);
                    for &(at, member) in targets.iter() {
                        out.member_mut(member).copy_from_slice(&products[at * out_dim..(at + 1) * out_dim]);
                    }
                }
            }
        }
        Ok(())
    }
}

/// A Moment of the form `factor * mean(a[..] * b[..])` in which every index of the family is an index of exactly one of
/// `a` and `b`, so that all members together are a Gram matrix.
#[derive(Clone, Debug)]
pub(crate) struct Gram<T> {
    a: ValueId,
    b: ValueId,
    layout: Layout<T>,
}

/// Where the entries of a Gram matrix go.
#[derive(Clone, Debug)]
enum Layout<T> {
    /// Member `i * members of b + j` is the entry of `a[i]` and `b[j]`.
    InPlace,
    /// The members of `a` and `b` behind each member, and the matrix before it is put there.
    Scattered { rows: Vec<usize>, cols: Vec<usize>, products: Vec<T> },
}

impl<T: Float> Gram<T> {
    /// The Gram matrix that a Moment is, if it is one.
    pub(crate) fn recognise(program: &Program, id: ValueId, expr: ExprId) -> Result<Option<Self>, FiniteError> {
        let Some((a, b)) = factors(program, id, expr) else { return Ok(None) };
        let sizes = program.family_sizes(id);
        let members = |(value, indices): &Member| -> Result<Vec<usize>, FiniteError> {
            Ok(Strides::of(program, id, *value, indices, &sizes)?.members().collect())
        };
        let (rows, cols) = (members(&a)?, members(&b)?);
        let width = cols.iter().max().map_or(1, |last| last + 1);
        let in_place = rows.iter().zip(&cols).enumerate().all(|(m, (i, j))| m == i * width + j);
        let layout = if in_place { Layout::InPlace } else { Layout::Scattered { rows, cols, products: Vec::new() } };
        Ok(Some(Self { a: a.0, b: b.0, layout }))
    }

    /// All members.
    pub(crate) fn eval(
        &mut self,
        (program, state, id): (&Program, &State<T>, ValueId),
        out: &mut Block<T>,
    ) -> Result<(), FiniteError> {
        let (a, b) = (state.operand(program, id, self.a)?, state.operand(program, id, self.b)?);
        if a.rows != b.rows {
            let problem = format!("it multiplies vectors of dimensions {} and {}", a.rows, b.rows);
            return Err(malformed(program, id, problem));
        }
        let factor = 1.0 / a.rows as f64;
        let multiply = |out: &mut [T]| gemm(out, (&b.data, b.rows, b.members), true, &a.data, a.members, factor);
        match &mut self.layout {
            Layout::InPlace => multiply(&mut out.data),
            Layout::Scattered { rows, cols, products } => {
                products.resize(a.members * b.members, T::of(0.0));
                multiply(products);
                for (target, (row, col)) in out.data.iter_mut().zip(rows.iter().zip(cols.iter())) {
                    *target = products[row * b.members + col];
                }
            }
        }
        Ok(())
    }
}

/// A member of a family.
type Member = (ValueId, Indices);

/// The two families of vectors whose Gram matrix a Moment is.
fn factors(program: &Program, id: ValueId, expr: ExprId) -> Option<(Member, Member)> {
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
    met.iter().all(|&count| count == 1).then_some((a, b))
}
