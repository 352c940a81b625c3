//! Draws of initial matrices and vectors.
//!
//! Every column of every matrix and every initial vector has a random stream of its own, named by the seed, the name of
//! the value and the width. A program with one more layer therefore draws the same numbers for the others, and the
//! draws at two widths are independent.

use netsor_ir::expr::{Expr, ExprId};
use netsor_ir::index::{Guard, Index, Relation};
use netsor_ir::number::{power_to_f64, to_f64};
use netsor_ir::program::{Instr, Law, Program, Scale, ValueId};
use netsor_num::streams::{Streams, fill_normal};
use rayon::prelude::*;

use crate::pointwise::scalar_values;
use crate::product::gemm;
use crate::state::{Shape, malformed, positions};
use crate::{Block, FiniteError, Float, Options, State};

/// Standard normal numbers for a value: one stream a column.
fn normals(program: &Program, id: ValueId, shape: Shape, options: &Options) -> Vec<f64> {
    let streams = Streams::new(options.seed);
    let purpose = format!("{} at n = {}", program.value(id).name, options.width);
    let mut out = vec![0.0; shape.elements()];
    out.par_chunks_mut(shape.rows)
        .enumerate()
        .for_each(|(column, target)| fill_normal(&mut streams.stream(&purpose, column as u64), target));
    out
}

/// An initial matrix with iid entries.
pub(crate) fn matrix<T: Float>(
    program: &Program,
    id: ValueId,
    variance: &Scale,
    shape: Shape,
    options: &Options,
) -> Result<Block<T>, FiniteError> {
    let coefficient = to_f64(&variance.coefficient);
    if !(0.0..f64::INFINITY).contains(&coefficient) {
        let member = Vec::new();
        return Err(FiniteError::NotPositive { value: program.value(id).name.clone(), member, variance: coefficient });
    }
    let sd = (coefficient * netsor_num::Real::powf(options.width as f64, power_to_f64(variance.power))).sqrt();
    let data = normals(program, id, shape, options).into_iter().map(|z| T::of(sd * z)).collect();
    Ok(Block { rows: shape.rows, cols: shape.cols, members: shape.members, data })
}

/// Whether a covariance says that the members of the family are independent: the term is `[i = i'] c`, for every index.
fn independent(program: &Program, covariance: ExprId, axes: usize) -> bool {
    let guards: &[Guard] = match program.exprs.node(covariance) {
        Expr::Sum(sum) if sum.axes.is_empty() => &sum.guards,
        _ => &[],
    };
    let k = axes as u32;
    (0..k).all(|i| {
        let same = Guard::new(Relation::Eq, [(1, Index::Var(i)), (-1, Index::Var(k + i))], 0);
        guards.contains(&same)
    })
}

/// The initial vectors before `id` whose law is joint with that of `id`, directly or through others, in order.
pub(crate) fn joint(program: &Program, id: ValueId) -> Vec<ValueId> {
    let mut links: Vec<(ValueId, ValueId)> = Vec::new();
    for other in program.value_ids().take(id.index() + 1) {
        if let Instr::Gaussian(law) = &program.value(other).instr {
            links.extend(law.cross.iter().map(|&(earlier, _)| (other, earlier)));
        }
    }
    let mut found = vec![id];
    let mut at = 0;
    while at < found.len() {
        for &(a, b) in &links {
            for (here, there) in [(a, b), (b, a)] {
                if here == found[at] && !found.contains(&there) {
                    found.push(there);
                }
            }
        }
        at += 1;
    }
    found.retain(|&v| v != id);
    found.sort_unstable();
    found
}

/// An initial vector, jointly Gaussian with earlier ones: coordinates are `mean + L z` with standard normal `z` and the
/// Cholesky factor `L` of the covariance of all of them in order of definition.
pub(crate) fn gaussian<T: Float>(
    program: &Program,
    state: &State<T>,
    id: ValueId,
    law: &Law,
    shape: Shape,
    options: &Options,
) -> Result<Block<T>, FiniteError> {
    let n = options.width;
    let sizes = program.family_sizes(id);
    let own: Vec<Vec<u32>> = (0..shape.members).map(|m| positions(&sizes, m)).collect();
    let means = scalar_values(program, state, id, law.mean, n, &own)?;
    let earlier = joint(program, id);
    if let Some(given) = earlier.iter().find(|v| state.given[v.index()]) {
        let given = program.value(*given).name.clone();
        return Err(FiniteError::JointWithGiven { value: program.value(id).name.clone(), given });
    }
    let noise = normals(program, id, shape, options);
    let mut values = vec![0.0; shape.elements()];
    if earlier.is_empty() && independent(program, law.covariance, sizes.len()) {
        let diagonal: Vec<Vec<u32>> = own.iter().map(|p| [&p[..], &p[..]].concat()).collect();
        let variances = scalar_values(program, state, id, law.covariance, n, &diagonal)?;
        for (member, &variance) in variances.iter().enumerate() {
            let sd = root(program, id, &own[member], variance, 0.0)?;
            let range = member * shape.rows..(member + 1) * shape.rows;
            values[range.clone()].iter_mut().zip(&noise[range]).for_each(|(x, z)| *x = sd * z);
        }
    } else {
        let mut group = Cholesky::default();
        let mut all_noise = Vec::new();
        for &value in &earlier {
            let shape = Shape::of(program, value, options)?;
            group.extend(program, state, value, n)?;
            all_noise.extend(normals(program, value, shape, options));
        }
        if !all_noise.len().is_multiple_of(shape.rows) {
            return Err(malformed(program, id, "it is joint with a vector of another dimension"));
        }
        let before = group.rows.len();
        group.extend(program, state, id, n)?;
        all_noise.extend(noise);
        // values (rows x members) = noise (rows x all) * own rows of L, transposed (all x members)
        let all = group.rows.len();
        let own_rows: Vec<f64> =
            group.rows[before..].iter().flat_map(|row| (0..all).map(|k| row.get(k).copied().unwrap_or(0.0))).collect();
        gemm(&mut values, (&all_noise, shape.rows, all), false, &own_rows, shape.members, 1.0);
    }
    let mean_of = |at: usize| means[at / shape.rows];
    let data = values.iter().enumerate().map(|(at, x)| T::of(x + mean_of(at))).collect();
    Ok(Block { rows: shape.rows, cols: 1, members: shape.members, data })
}

/// The Cholesky factor of the covariance of several families, which grows a family at a time.
#[derive(Default)]
struct Cholesky {
    values: Vec<ValueId>,
    /// Row `k` has `k + 1` entries.
    rows: Vec<Vec<f64>>,
    largest: f64,
}

impl Cholesky {
    /// Adds the members of the initial vector `id`.
    fn extend<T: Float>(
        &mut self,
        program: &Program,
        state: &State<T>,
        id: ValueId,
        n: usize,
    ) -> Result<(), FiniteError> {
        let Instr::Gaussian(law) = &program.value(id).instr else {
            return Err(malformed(program, id, "an initial vector is joint with a value that is none"));
        };
        let members = |v: ValueId| {
            let sizes = program.family_sizes(v);
            (0..sizes.iter().product::<usize>()).map(move |m| positions(&sizes, m)).collect::<Vec<_>>()
        };
        let own = members(id);
        // Covariances with everything before, one row a member.
        let mut rows: Vec<Vec<f64>> = vec![Vec::new(); own.len()];
        for &earlier in &self.values {
            let others = members(earlier);
            let cross = law.cross.iter().find(|(v, _)| *v == earlier);
            for (row, p) in rows.iter_mut().zip(&own) {
                match cross {
                    Some(&(_, expr)) => {
                        let pairs: Vec<Vec<u32>> = others.iter().map(|q| [&p[..], &q[..]].concat()).collect();
                        row.extend(scalar_values(program, state, id, expr, n, &pairs)?);
                    }
                    None => row.extend(std::iter::repeat_n(0.0, others.len())),
                }
            }
        }
        for (k, row) in rows.iter_mut().enumerate() {
            let pairs: Vec<Vec<u32>> = own[..=k].iter().map(|q| [&own[k][..], &q[..]].concat()).collect();
            row.extend(scalar_values(program, state, id, law.covariance, n, &pairs)?);
        }
        self.values.push(id);
        for (row, p) in rows.into_iter().zip(&own) {
            self.push(program, id, p, row)?;
        }
        Ok(())
    }

    /// Adds one row: covariances with the earlier members, then the variance.
    fn push(&mut self, program: &Program, id: ValueId, member: &[u32], mut row: Vec<f64>) -> Result<(), FiniteError> {
        let last = row.len() - 1;
        self.largest = self.largest.max(row[last].abs());
        // Rounding in a factorisation of order k perturbs a pivot by about k eps times the largest variance.
        let tolerance = 8.0 * (last + 1) as f64 * f64::EPSILON * self.largest;
        for k in 0..last {
            let dot: f64 = self.rows[k][..k].iter().zip(&row).map(|(a, b)| a * b).sum();
            let rest = row[k] - dot;
            let pivot = self.rows[k][k];
            // Where the pivot is zero, what is left of a covariance must be zero, up to the same rounding.
            if pivot == 0.0 && (tolerance * self.largest).sqrt() < rest.abs() {
                let value = program.value(id).name.clone();
                return Err(FiniteError::NotPositive { value, member: member.to_vec(), variance: -rest.abs() });
            }
            row[k] = if pivot == 0.0 { 0.0 } else { rest / pivot };
        }
        let variance = row[last] - row[..last].iter().map(|x| x * x).sum::<f64>();
        row[last] = root(program, id, member, variance, tolerance)?;
        self.rows.push(row);
        Ok(())
    }
}

/// The square root of a variance; what is within the tolerance of zero is zero.
fn root(program: &Program, id: ValueId, member: &[u32], variance: f64, tolerance: f64) -> Result<f64, FiniteError> {
    if variance.is_finite() && -tolerance <= variance {
        return Ok(if variance <= tolerance { 0.0 } else { variance.sqrt() });
    }
    Err(FiniteError::NotPositive { value: program.value(id).name.clone(), member: member.to_vec(), variance })
}
