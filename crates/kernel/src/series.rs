//! Mehler's series.
//!
//! With `a_k(s) = E f(s Z) h_k(Z)` for the orthonormal Hermite polynomials, `E f(u) g(v) = sum a_k(s_u) b_k(s_v) rho^k`.
//! The coefficients are computed once an input, by the rules of [`Grid`]; what is left out after `K` terms is at most
//! `|rho|^K sqrt(R_u R_v)` with the Parseval remainders `R_u = E f(u)^2 - sum_{k < K} a_k^2`. They fall exponentially in
//! `sqrt(K)` for smooth functions, and as a power of `K` at kinks. Entries for which no number of terms is enough
//! (correlations near 1) are integrated.

use rayon::prelude::*;

use crate::duals::vectorised;
use crate::function::SlotFunction;
use crate::grid::{Grid, GridScratch, MAX_TERMS};

/// Remainders are known at multiples of this.
const STRIDE: usize = 8;
/// Correlations above this are handled one by one where they are few.
const FEW: f64 = 0.9;
/// The terms that any number of inputs may have, and coefficients beyond which more are not taken.
const MIN_TERMS: usize = 192;
const BUDGET: usize = 1 << 24;

/// The coefficients of one function at the deviations of all inputs.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    inputs: usize,
    terms: usize,
    /// `a_k` of every input, row `k`.
    coefficients: Vec<f64>,
    /// `sqrt(R / E f^2)` after `8 m` terms, row `m`; infinite where the rule is too coarse.
    tails: Vec<f64>,
    /// The largest finite entry of each row of `tails`.
    largest: Vec<f64>,
    coarse: bool,
    /// 0 if all odd coefficients vanish, 1 if all even ones do.
    parity: Option<usize>,
}

impl Table {
    /// The coefficients for these variances.
    pub(crate) fn new(grid: &Grid, f: &SlotFunction, variances: &[f64], tolerance: f64) -> Self {
        let inputs = variances.len();
        let most = capacity(grid, f, variances, tolerance);
        let n_tails = most / STRIDE + 1;
        let mut rows: Vec<f64> = vec![0.0; inputs * (most + n_tails)];
        rows.par_chunks_mut(most + n_tails).zip(variances).for_each_init(
            GridScratch::default,
            |scratch, (row, &variance)| {
                let (a, tails) = row.split_at_mut(most);
                coefficients(grid, f, variance.sqrt(), tolerance, (a, tails), scratch);
            },
        );
        let row = |i: usize| &rows[i * (most + n_tails)..(i + 1) * (most + n_tails)];
        let vanishing = |parity: usize| (0..inputs).all(|i| (parity..most).step_by(2).all(|k| row(i)[k] == 0.0));
        let parity = if (0..inputs).any(|i| row(i)[most].is_infinite()) {
            // The coefficients of an input that no rule resolves are not known.
            None
        } else if vanishing(1) {
            Some(0)
        } else if vanishing(0) {
            Some(1)
        } else {
            None
        };
        let finite = |m: usize| {
            let tails = (0..inputs).map(|i| row(i)[most + m]).filter(|t| t.is_finite());
            tails.fold(0.0, f64::max)
        };
        let largest: Vec<f64> = (0..n_tails).map(finite).collect();
        let enough = largest.iter().position(|&t| t <= negligible(tolerance));
        let terms = enough.map_or(most, |m| m * STRIDE).max(STRIDE);
        let mut table = vec![0.0; terms * inputs];
        let mut tails = vec![0.0; (terms / STRIDE + 1) * inputs];
        for i in 0..inputs {
            for k in 0..terms {
                table[k * inputs + i] = row(i)[k];
            }
            for m in 0..=terms / STRIDE {
                tails[m * inputs + i] = row(i)[most + m];
            }
        }
        let coarse = (0..inputs).any(|i| row(i)[most].is_infinite());
        Self { inputs, terms, coefficients: table, tails, largest, coarse, parity }
    }

    /// Bytes for so many inputs, at most.
    pub(crate) fn bytes(inputs: usize) -> usize {
        // While it is made, the table exists twice.
        let most = max_terms(inputs);
        2 * inputs * (most + most / STRIDE + 1) * size_of::<f64>()
    }
}

/// The most terms for so many inputs.
fn max_terms(inputs: usize) -> usize {
    (BUDGET / inputs.max(1)).clamp(MIN_TERMS, MAX_TERMS) / STRIDE * STRIDE
}

/// The remainder, relative to `sqrt(E f^2)`, beyond which those of two functions together are far below the tolerance.
fn negligible(tolerance: f64) -> f64 {
    0.03 * tolerance.sqrt()
}

/// The terms that the inputs with the smallest and the largest variance need.
fn capacity(grid: &Grid, f: &SlotFunction, variances: &[f64], tolerance: f64) -> usize {
    let most = max_terms(variances.len());
    let ends = [variances.iter().copied().fold(f64::INFINITY, f64::min), variances.iter().copied().fold(0.0, f64::max)];
    let mut scratch = GridScratch::default();
    let needed = ends.into_iter().filter(|v| v.is_finite()).map(|variance| {
        // Few functions need more than the coarsest rule has.
        let tried = [MIN_TERMS, most].into_iter().find_map(|terms| {
            let (mut a, mut tails) = (vec![0.0; terms], vec![0.0; terms / STRIDE + 1]);
            coefficients(grid, f, variance.sqrt(), tolerance, (&mut a, &mut tails), &mut scratch);
            tails.iter().position(|&t| t <= negligible(tolerance)).map(|m| m * STRIDE)
        });
        tried.unwrap_or(most)
    });
    needed.max().unwrap_or(STRIDE).max(STRIDE)
}

fn coefficients(
    grid: &Grid,
    f: &SlotFunction,
    sd: f64,
    tolerance: f64,
    (a, tails): (&mut [f64], &mut [f64]),
    scratch: &mut GridScratch,
) {
    let Some((rule, energy)) = grid.energy(f, sd, a.len(), 0.01 * tolerance, scratch) else {
        a.fill(0.0);
        tails.fill(f64::INFINITY);
        return;
    };
    for (k, h) in rule.hermite(a.len()).iter().enumerate() {
        let values = if k % 2 == 0 { &scratch.even } else { &scratch.odd };
        a[k] = dot(h, values);
    }
    let mut rest = energy;
    for (m, tail) in tails.iter_mut().enumerate() {
        // Rounding of the subtraction.
        let floor = 4.0 * f64::EPSILON * energy;
        *tail = if energy == 0.0 { 0.0 } else { (rest.max(floor) / energy).sqrt() };
        let end = a.len().min((m + 1) * STRIDE);
        for c in &a[(m * STRIDE).min(end)..end] {
            rest -= c * c;
        }
    }
}

/// The inner product in eight interleaved sums.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    vectorised(|| {
        let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
        for (s, (x, y)) in a8.remainder().iter().zip(b8.remainder()).enumerate() {
            sums[s] += x * y;
        }
        for (x, y) in a8.zip(b8) {
            for s in 0..8 {
                sums[s] += x[s] * y[s];
            }
        }
    });
    sums.iter().sum()
}

/// A table at the input of the row, or at as many inputs as there are entries, from a first one on.
#[derive(Clone, Copy)]
pub(crate) struct Coefficients<'a> {
    pub(crate) table: &'a Table,
    pub(crate) at: Position,
}

/// Where in a table.
#[derive(Clone, Copy)]
pub(crate) enum Position {
    Row(usize),
    From(usize),
}

enum Term<'a> {
    Scalar(f64),
    Slice(&'a [f64]),
}

impl<'a> Coefficients<'a> {
    fn term(&self, k: usize, n: usize) -> Term<'a> {
        let row = &self.table.coefficients[k * self.table.inputs..(k + 1) * self.table.inputs];
        match self.at {
            Position::Row(i) => Term::Scalar(row[i]),
            Position::From(j) => Term::Slice(&row[j..j + n]),
        }
    }

    fn input(&self, j: usize) -> usize {
        match self.at {
            Position::Row(i) => i,
            Position::From(from) => from + j,
        }
    }

    fn coefficient(&self, k: usize, j: usize) -> f64 {
        self.table.coefficients[k * self.table.inputs + self.input(j)]
    }

    /// The remainder of entry `j` after `8 m` terms.
    fn tail(&self, m: usize, j: usize) -> f64 {
        self.table.tails[m * self.table.inputs + self.input(j)]
    }

    fn largest_tail(&self, m: usize) -> f64 {
        match self.at {
            Position::Row(i) => self.table.tails[m * self.table.inputs + i],
            Position::From(_) => self.table.largest[m],
        }
    }
}

/// Fills `out` with the sums of the series, and `left` with the entries whose error is not below `tolerance`, relative
/// to `sqrt(E f^2 E g^2)`.
pub(crate) fn series(
    f: Coefficients<'_>,
    g: Coefficients<'_>,
    rho: &[f64],
    tolerance: f64,
    out: &mut [f64],
    left: &mut Vec<usize>,
) {
    left.clear();
    let (start, step) = match (f.table.parity, g.table.parity) {
        (Some(p), Some(q)) if p != q => {
            out.fill(0.0);
            return;
        }
        (Some(p), _) | (_, Some(p)) => (p, 2),
        _ => (0, 1),
    };
    let limit = f.table.terms.min(g.table.terms) / STRIDE;
    let n = out.len();
    let largest = rho.iter().fold(0.0, |m: f64, r| m.max(r.abs()));
    let few = 8 * rho.iter().filter(|r| FEW < r.abs()).count() <= n;
    let bulk = if few { largest.min(FEW) } else { largest };
    let enough = |r: f64, tails: &dyn Fn(usize) -> f64| {
        (0..=limit).find(|&m| r.powi((m * STRIDE) as i32) * tails(m) <= tolerance)
    };
    let found = enough(bulk, &|m| f.largest_tail(m) * g.largest_tail(m));
    let blocks = found.unwrap_or(limit);
    horner(f, g, rho, (start, step, blocks * STRIDE), out);
    if found.is_some() && largest <= bulk && !f.table.coarse && !g.table.coarse {
        return;
    }
    for j in 0..n {
        match enough(rho[j].abs(), &|m| f.tail(m, j) * g.tail(m, j)) {
            Some(m) if m <= blocks => {}
            Some(m) => {
                let mut power = rho[j].powi(start as i32);
                let ratio = rho[j].powi(step as i32);
                out[j] = 0.0;
                for k in (start..m * STRIDE).step_by(step) {
                    out[j] += f.coefficient(k, j) * g.coefficient(k, j) * power;
                    power *= ratio;
                }
            }
            None => left.push(j),
        }
    }
}

fn horner(
    f: Coefficients<'_>,
    g: Coefficients<'_>,
    rho: &[f64],
    (start, step, end): (usize, usize, usize),
    out: &mut [f64],
) {
    let n = out.len();
    out.fill(0.0);
    for k in (start..end).step_by(step).rev() {
        let (a, b) = (f.term(k, n), g.term(k, n));
        let (rho, out) = (&rho[..n], &mut *out);
        vectorised(|| match (a, b) {
            (Term::Scalar(a), Term::Scalar(b)) => {
                for (o, r) in out.iter_mut().zip(rho) {
                    *o = *o * if step == 2 { r * r } else { *r } + a * b;
                }
            }
            (Term::Scalar(a), Term::Slice(b)) | (Term::Slice(b), Term::Scalar(a)) => {
                for ((o, r), b) in out.iter_mut().zip(rho).zip(b) {
                    *o = *o * if step == 2 { r * r } else { *r } + a * b;
                }
            }
            (Term::Slice(a), Term::Slice(b)) => {
                for (((o, r), a), b) in out.iter_mut().zip(rho).zip(a).zip(b) {
                    *o = *o * if step == 2 { r * r } else { *r } + a * b;
                }
            }
        });
    }
    if start == 1 {
        out.iter_mut().zip(rho).for_each(|(o, r)| *o *= r);
    }
}
