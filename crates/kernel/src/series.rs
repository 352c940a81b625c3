//! Mehler's series for smooth functions.
//!
//! With `a_k(s) = E f(s Z) h_k(Z)` for the orthonormal Hermite polynomials, `E f(u) g(v) = sum a_k(s_u) b_k(s_v) rho^k`.
//! The coefficients are computed once an input, by the trapezoid rule; what is left out after `K` terms is at most
//! `|rho|^K sqrt(R_u R_v)` with the Parseval remainders `R_u = E f(u)^2 - sum_{k < K} a_k^2`. Entries for which no
//! number of terms is enough (large deviations at correlations near 1) go to the general integrator.

use std::sync::LazyLock;

use netsor_num::normal::pdf;
use rayon::prelude::*;

use crate::duals::vectorised;
use crate::function::{FunctionScratch, SlotFunction};

/// The most terms.
pub(crate) const MAX_TERMS: usize = 192;
/// Remainders are known at multiples of this.
const STRIDE: usize = 8;
/// The last node of the trapezoid rules: there `h_k(x) pdf(x)` is below 1e-15 for every `k`.
const RANGE: f64 = 12.0;
/// Nodes a unit of length. The coarse rule resolves `h_k` (wave number `sqrt(k)`) times functions of band width 29, the
/// fine one of 80; a rule is trusted if half of its nodes give the same `E f^2`.
const COARSE: usize = 8;
const FINE: usize = 16;
/// Correlations above this are handled one by one where they are few.
const FEW: f64 = 0.9;

/// Two trapezoid rules, one with half the spacing of the other.
pub(crate) struct Grid {
    rules: [Rule; 2],
}

/// The nodes and weights of a trapezoid rule on the positive half line, zero first.
struct Rule {
    nodes: Vec<f64>,
    weights: Vec<f64>,
    /// `h_k(x)` with the weight of `x`: row `k`.
    hermite: Vec<Vec<f64>>,
}

impl Rule {
    fn new(density: usize) -> Self {
        let spacing = 1.0 / density as f64;
        let nodes: Vec<f64> = (0..=RANGE as usize * density).map(|n| n as f64 * spacing).collect();
        let weights: Vec<f64> = nodes.iter().map(|&x| spacing * pdf(x)).collect();
        let mut hermite = vec![weights.clone()];
        let mut before = vec![0.0; nodes.len()];
        for k in 0..MAX_TERMS - 1 {
            let (k0, k1) = ((k as f64).sqrt(), (k as f64 + 1.0).sqrt());
            let last = &hermite[k];
            let next = (0..nodes.len()).map(|n| (nodes[n] * last[n] - k0 * before[n]) / k1).collect();
            before.clone_from(last);
            hermite.push(next);
        }
        Self { nodes, weights, hermite }
    }

    /// Fills `even` and `odd` with `f(x) + f(-x)` and `f(x) - f(-x)` at the nodes times the deviation.
    fn halves(&self, f: &SlotFunction, sd: f64, scratch: &mut GridScratch) {
        let GridScratch { points, values, even, odd, function } = scratch;
        points.clear();
        points.extend(self.nodes.iter().map(|x| sd * x));
        points.extend(self.nodes.iter().map(|x| -sd * x));
        values.resize(points.len(), 0.0);
        f.eval(points, values, function);
        let (right, left) = values.split_at(self.nodes.len());
        even.clear();
        odd.clear();
        even.extend(right.iter().zip(left).map(|(a, b)| a + b));
        odd.extend(right.iter().zip(left).map(|(a, b)| a - b));
        // The node at zero counts once.
        even[0] *= 0.5;
    }

    /// The sum of `value(n)` with the weights, that of every other node, and that of sizes.
    fn sums(&self, value: impl Fn(usize) -> f64) -> [f64; 3] {
        let (mut full, mut half, mut size) = (0.0, 0.0, 0.0);
        for (n, w) in self.weights.iter().enumerate() {
            let term = w * value(n);
            full += term;
            size += term.abs();
            if n % 2 == 0 {
                half += 2.0 * term;
            }
        }
        [full, half, size]
    }
}

impl Grid {
    fn new() -> Self {
        Self { rules: [Rule::new(COARSE), Rule::new(FINE)] }
    }

    /// `E f(s Z)`, or `None` where the rules are too coarse for `tolerance` (relative to the size of `f`).
    pub(crate) fn mean(&self, f: &SlotFunction, sd: f64, tolerance: f64, scratch: &mut GridScratch) -> Option<f64> {
        self.rules.iter().find_map(|rule| {
            rule.halves(f, sd, scratch);
            let [full, half, size] = rule.sums(|n| scratch.even[n]);
            ((full - half).abs() <= tolerance * size).then_some(full)
        })
    }

    /// The rule that is fine enough for `f`, with `E f(s Z)^2`; the values of `f` are left in `scratch`.
    fn energy(&self, f: &SlotFunction, sd: f64, tolerance: f64, scratch: &mut GridScratch) -> Option<(&Rule, f64)> {
        self.rules.iter().find_map(|rule| {
            rule.halves(f, sd, scratch);
            let (even, odd) = (&scratch.even, &scratch.odd);
            // f(x)^2 + f(-x)^2; at zero the even part is halved already and the odd one vanishes.
            let [full, half, _] = rule.sums(|n| {
                let both = even[n] * even[n] + odd[n] * odd[n];
                if n == 0 { both } else { 0.5 * both }
            });
            ((full - half).abs() <= tolerance * full).then_some((rule, full))
        })
    }
}

/// The grid, made at first use.
pub(crate) static GRID: LazyLock<Grid> = LazyLock::new(Grid::new);

/// Memory for the functions of [`Grid`].
#[derive(Debug, Default)]
pub(crate) struct GridScratch {
    points: Vec<f64>,
    values: Vec<f64>,
    even: Vec<f64>,
    odd: Vec<f64>,
    function: FunctionScratch,
}

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
        let n_tails = MAX_TERMS / STRIDE + 1;
        let mut rows: Vec<f64> = vec![0.0; inputs * (MAX_TERMS + n_tails)];
        rows.par_chunks_mut(MAX_TERMS + n_tails).zip(variances).for_each_init(
            GridScratch::default,
            |scratch, (row, &variance)| {
                let (a, tails) = row.split_at_mut(MAX_TERMS);
                coefficients(grid, f, variance.sqrt(), tolerance, (a, tails), scratch);
            },
        );
        let row = |i: usize| &rows[i * (MAX_TERMS + n_tails)..(i + 1) * (MAX_TERMS + n_tails)];
        let vanishing = |parity: usize| (0..inputs).all(|i| (parity..MAX_TERMS).step_by(2).all(|k| row(i)[k] == 0.0));
        let parity = if vanishing(1) {
            Some(0)
        } else if vanishing(0) {
            Some(1)
        } else {
            None
        };
        let finite = |m: usize| {
            let tails = (0..inputs).map(|i| row(i)[MAX_TERMS + m]).filter(|t| t.is_finite());
            tails.fold(0.0, f64::max)
        };
        let largest: Vec<f64> = (0..n_tails).map(finite).collect();
        // Beyond this many terms the remainders of both functions together are rounding.
        let enough = largest.iter().position(|&t| t <= 0.03 * tolerance.sqrt());
        let terms = enough.map_or(MAX_TERMS, |m| m * STRIDE).max(STRIDE);
        let mut table = vec![0.0; terms * inputs];
        let mut tails = vec![0.0; (terms / STRIDE + 1) * inputs];
        for i in 0..inputs {
            for k in 0..terms {
                table[k * inputs + i] = row(i)[k];
            }
            for m in 0..=terms / STRIDE {
                tails[m * inputs + i] = row(i)[MAX_TERMS + m];
            }
        }
        let coarse = (0..inputs).any(|i| row(i)[MAX_TERMS].is_infinite());
        Self { inputs, terms, coefficients: table, tails, largest, coarse, parity }
    }

    /// Bytes for so many inputs, at most.
    pub(crate) fn bytes(inputs: usize) -> usize {
        // While it is made, the table exists twice.
        2 * inputs * (MAX_TERMS + MAX_TERMS / STRIDE + 1) * size_of::<f64>()
    }
}

fn coefficients(
    grid: &Grid,
    f: &SlotFunction,
    sd: f64,
    tolerance: f64,
    (a, tails): (&mut [f64], &mut [f64]),
    scratch: &mut GridScratch,
) {
    let Some((rule, energy)) = grid.energy(f, sd, 0.01 * tolerance, scratch) else {
        a.fill(0.0);
        tails.fill(f64::INFINITY);
        return;
    };
    for (k, h) in rule.hermite.iter().enumerate() {
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
