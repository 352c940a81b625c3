//! Products of functions, integrated by conditioning on all variables but two.
//!
//! Given the other slots, two slots `u` and `v` are a pair of normal variables with correlation `r`, and a product in
//! which no factor has both of them splits: by Mehler's formula
//! `E[f(u) g(v) | rest] = sum_k r^k a_k b_k` with `a_k = E[f(m + s z) h_k(z)]`, `h_k` the orthonormal Hermite
//! polynomials. Two dimensions of quadrature become two sums of one dimension each, whatever the factors are; they may
//! depend on the other slots as well, and have kinks in `u` and `v`. What is left is a smooth function of two variables
//! less, unless its own factors have kinks.

use std::cell::RefCell;

use netsor_num::normal;
use netsor_num::quadrature::{gauss_legendre, trapezoid};

use crate::covariance::Factor as Root;
use crate::expect::by_quadrature;
use crate::product::{Part, hides_kinks};
use crate::{Covariance, Estimate, GaussError, Integrand, Method, Tolerance};

/// Correlations of the pair above this need too many terms of Mehler's series.
const CORRELATION: f64 = 0.93;

/// Terms of Mehler's series are summed until their bound is below this.
const TAIL: f64 = 1e-16;

/// The range of a variable: the Hermite functions of the orders in use have decayed there.
const RANGE: f64 = 12.0;

/// The part of its variance that a slot with kinks must keep: below, the kink is hardly smoothed.
const KEPT: f64 = 0.05;

/// The most nodes of a rule for one variable.
const NODES: usize = 640;

/// Nodes on each piece between kinks, before refinement.
const PIECE_NODES: usize = 20;

/// Pieces are no longer than this, before refinement.
const PIECE: f64 = 2.0;

/// The most nodes on all pieces of one variable without kinks.
const PIECES_NODES: f64 = 3_000.0;

/// Conditional means within so many standard deviations are interpolated.
const OUTER: f64 = 10.0;

/// What interpolation may be off by, relative to the largest coefficient.
const INTERPOLATION: f64 = 2e-15;

/// Relative to the size of the integrand, what two rules of the inner variables should differ by.
const AIM: f64 = 1e-14;

/// What the finest rules may differ by, where rounding keeps them from [`AIM`]; the error says what they do differ by.
const ACCEPTED: f64 = 1e-11;

/// `E prod parts` by conditioning; `None` where the parts or the covariance do not allow it.
pub(crate) fn expect(parts: &[Part<'_>], c: &Covariance, tol: &Tolerance) -> Result<Option<Estimate>, GaussError> {
    let Some(plan) = Plan::new(parts, c) else { return Ok(None) };
    let Some(conditional) = Conditional::new(parts, plan)? else { return Ok(None) };
    let cost = conditional.cost();
    let outer = Tolerance { max_points: (tol.max_points / cost).max(5_000), ..*tol };
    let Some(found) = by_quadrature(&conditional, &conditional.plan.outer, &outer)? else { return Ok(None) };
    if let Some(error) = conditional.bad.borrow().clone() {
        return Err(error);
    }
    let points = match found.method {
        Method::Quadrature { points, .. } => points.saturating_mul(cost),
        _ => cost,
    };
    let method = Method::Quadrature { dims: c.factor().rank, points };
    let error = found.error + conditional.inner_error * found.value.abs();
    Ok(Some(Estimate { value: found.value, error, method }))
}

/// Which slots are integrated inside, and the law of the others.
struct Plan {
    slots: usize,
    pair: [usize; 2],
    /// Standard deviations of the pair, given the others.
    deviation: [f64; 2],
    /// Their correlation, given the others.
    correlation: f64,
    /// All slots in terms of the outer variables: values of the outer slots, conditional means of the pair.
    outer: Root,
    /// The factors with the first of the pair, the second, neither.
    groups: [Vec<usize>; 3],
}

impl Plan {
    /// The pair with the smallest correlation among those that no factor joins.
    fn new(parts: &[Part<'_>], c: &Covariance) -> Option<Self> {
        let d = c.slots();
        if d < 2 || c.factor().rank < d {
            return None;
        }
        let kinked = |slot: usize| {
            parts
                .iter()
                .any(|p| p.slots.iter().position(|&s| s == slot).is_some_and(|k| !p.function.kinks(k).is_empty()))
        };
        // A kink that is not declared could be anywhere.
        if parts.iter().any(hides_kinks) {
            return None;
        }
        let mut best: Option<(f64, Self)> = None;
        for j in 0..d {
            for i in 0..j {
                if parts.iter().any(|p| p.slots.contains(&i) && p.slots.contains(&j)) {
                    continue;
                }
                // Kinks that are no thresholds of the pair's own would have to be found anew for every outer point.
                let curved = |p: &Part<'_>| 0 < p.function.surfaces();
                if parts.iter().any(|p| curved(p) && (p.slots.contains(&i) || p.slots.contains(&j))) {
                    continue;
                }
                let Some(plan) = Self::for_pair(parts, c, [i, j]) else { continue };
                let enough = |k: usize, slot: usize| {
                    !kinked(slot) || KEPT * c.entry(slot, slot) <= plan.deviation[k] * plan.deviation[k]
                };
                if CORRELATION < plan.correlation.abs() || !enough(0, i) || !enough(1, j) {
                    continue;
                }
                // Kinks are better inside, where they are known exactly.
                let score = plan.correlation.abs() - 2.0 * f64::from(u8::from(kinked(i)) + u8::from(kinked(j)));
                if best.as_ref().is_none_or(|(least, _)| score < *least) {
                    best = Some((score, plan));
                }
            }
        }
        best.map(|(_, plan)| plan)
    }

    fn for_pair(parts: &[Part<'_>], c: &Covariance, pair: [usize; 2]) -> Option<Self> {
        let d = c.slots();
        let order: Vec<usize> = (0..d).filter(|k| !pair.contains(k)).chain(pair).collect();
        let entries =
            order.iter().flat_map(|&a| order.iter().map(move |&b| (a, b))).map(|(a, b)| c.entry(a, b)).collect();
        let l = cholesky(d, entries)?;
        let at = |k: usize, j: usize| l[k * d + j];
        let rank = d - 2;
        let mut rows = vec![0.0; d * rank];
        for (k, &slot) in order.iter().enumerate() {
            for j in 0..rank.min(k + 1) {
                rows[slot * rank + j] = at(k, j);
            }
        }
        let (first, cross, second) = (at(d - 2, d - 2), at(d - 1, d - 2), at(d - 1, d - 1));
        let length = libm::hypot(cross, second);
        let group = |p: &Part<'_>| {
            if p.slots.contains(&pair[0]) {
                0
            } else if p.slots.contains(&pair[1]) {
                1
            } else {
                2
            }
        };
        let groups = [0, 1, 2].map(|g| (0..parts.len()).filter(|&k| group(&parts[k]) == g).collect());
        let relative = (0..rank)
            .map(|j| order.iter().map(|&s| (rows[s * rank + j] / libm::sqrt(c.entry(s, s))).abs()).fold(0.0, f64::max))
            .collect();
        Some(Self {
            slots: d,
            pair,
            deviation: [first, length],
            correlation: cross / length,
            outer: Root::new(rank, rows, relative),
            groups,
        })
    }
}

/// The lower triangular factor of a positive definite matrix; `None` if it is not.
fn cholesky(d: usize, mut a: Vec<f64>) -> Option<Vec<f64>> {
    for j in 0..d {
        for i in j..d {
            let mut sum = a[i * d + j];
            for k in 0..j {
                sum -= a[i * d + k] * a[j * d + k];
            }
            if i == j {
                if sum <= 64.0 * f64::EPSILON * a[j * d + j] {
                    return None;
                }
                a[j * d + j] = libm::sqrt(sum);
            } else {
                a[i * d + j] = sum / a[j * d + j];
            }
        }
        for i in 0..j {
            a[i * d + j] = 0.0;
        }
    }
    Some(a)
}

/// Nodes and weights of one inner variable, with the Hermite polynomials at the nodes times the weights.
struct Inner {
    nodes: Vec<f64>,
    /// Row `k` is `h_k(node) weight`.
    table: Vec<f64>,
}

impl Inner {
    fn new(nodes: Vec<f64>, weights: &[f64], terms: usize) -> Self {
        let q = nodes.len();
        let mut table = vec![0.0; terms * q];
        table[..q].copy_from_slice(weights);
        for k in 1..terms {
            let (root, below) = (libm::sqrt(k as f64), libm::sqrt((k - 1) as f64));
            for (j, x) in nodes.iter().enumerate() {
                let earlier = if k == 1 { 0.0 } else { table[(k - 2) * q + j] };
                table[k * q + j] = (x * table[(k - 1) * q + j] - below * earlier) / root;
            }
        }
        Self { nodes, table }
    }
}

/// How a variable with kinks is integrated: Gauss-Legendre on pieces between them.
struct Pieces {
    /// The most that a piece may measure, in standard deviations.
    length: f64,
    /// The rule of each piece.
    nodes: Vec<f64>,
    weights: Vec<f64>,
}

impl Pieces {
    fn new(length: f64, count: usize) -> Self {
        let rule = gauss_legendre(count);
        Self { length, nodes: rule.nodes.to_vec(), weights: rule.weights.to_vec() }
    }

    /// Shorter pieces with more nodes each: a piece between two close kinks cannot be the same rule twice.
    fn finer(&self) -> Self {
        Self::new(0.7 * self.length, self.nodes.len() + 2)
    }

    /// About how many nodes a variable takes.
    fn total(&self) -> f64 {
        2.0 * RANGE / self.length * self.nodes.len() as f64
    }

    /// The rule for a function with kinks at these nodes.
    fn rule(&self, cuts: &[f64], terms: usize) -> Inner {
        let mut ends = vec![-RANGE, RANGE];
        ends.extend(cuts.iter().copied().filter(|x| x.abs() < RANGE));
        ends.sort_by(f64::total_cmp);
        let (mut nodes, mut weights) = (Vec::new(), Vec::new());
        for pair in ends.windows(2) {
            let pieces = ((pair[1] - pair[0]) / self.length).ceil().max(1.0);
            let half = 0.5 * (pair[1] - pair[0]) / pieces;
            for p in 0..pieces as usize {
                let centre = pair[0] + (2.0 * p as f64 + 1.0) * half;
                for (x, w) in self.nodes.iter().zip(&self.weights) {
                    let x = centre + half * x;
                    nodes.push(x);
                    weights.push(half * w * normal::pdf(x));
                }
            }
        }
        Inner::new(nodes, &weights, terms)
    }
}

/// Points of the interpolation.
const STENCIL: usize = 12;

/// The most rows of a table.
const ROWS: usize = 4_000;

/// Coefficients `a_k` that depend on the conditional mean only, on a uniform grid of means.
struct Table {
    start: f64,
    step: f64,
    terms: usize,
    /// One row a mean.
    values: Vec<f64>,
}

impl Table {
    /// Interpolates between rows; false if the mean is not within the table.
    fn look_up(&self, mean: f64, out: &mut Vec<f64>) -> bool {
        let place = (mean - self.start) / self.step;
        let rows = self.values.len() / self.terms;
        let middle = (STENCIL / 2 - 1) as f64;
        if place.is_nan() || place < middle || (rows - STENCIL / 2) as f64 <= place {
            return false;
        }
        let first = (place - middle) as usize;
        let t = place - first as f64;
        // Barycentric weights of equidistant points: binomials with alternating signs.
        let mut weights = [0.0; STENCIL];
        let mut binomial = 1.0;
        let mut total = 0.0;
        for (j, weight) in weights.iter_mut().enumerate() {
            let gap = t - j as f64;
            if gap == 0.0 {
                out.clear();
                out.extend_from_slice(&self.values[(first + j) * self.terms..][..self.terms]);
                return true;
            }
            *weight = if j % 2 == 0 { binomial } else { -binomial } / gap;
            total += *weight;
            binomial *= (STENCIL - 1 - j) as f64 / (j + 1) as f64;
        }
        out.clear();
        out.resize(self.terms, 0.0);
        for (j, weight) in weights.iter().enumerate() {
            let weight = weight / total;
            let row = &self.values[(first + j) * self.terms..][..self.terms];
            out.iter_mut().zip(row).for_each(|(a, b)| *a += weight * b);
        }
        true
    }
}

/// The product with the pair integrated out: a function of the outer slots and of the conditional means of the pair.
struct Conditional<'a> {
    parts: &'a [Part<'a>],
    plan: Plan,
    /// For those of the pair without kinks.
    rules: [Inner; 2],
    /// For those with kinks.
    pieces: Pieces,
    terms: usize,
    /// For functions that depend on their own slot only.
    tables: [Option<Table>; 2],
    /// Kinks of the product in each slot; none in the pair, which is integrated out.
    kinks: Vec<Vec<f64>>,
    /// Surfaces of the parts without the pair: part and number.
    surfaces: Vec<(usize, usize)>,
    smooth: bool,
    /// What the inner rules were found to miss, relative to the value.
    inner_error: f64,
    bad: RefCell<Option<GaussError>>,
}

impl<'a> Conditional<'a> {
    /// Chooses the inner rules by comparing two of them at a few outer points; `None` if none is fine enough.
    fn new(parts: &'a [Part<'a>], plan: Plan) -> Result<Option<Self>, GaussError> {
        let r = plan.correlation.abs();
        let terms = if r < TAIL { 1 } else { (libm::log(TAIL) / libm::log(r)).ceil() as usize + 1 };
        let mut kinks = vec![Vec::new(); plan.slots];
        let mut smooth = true;
        for part in plan.groups[2].iter().chain(&plan.groups[0]).chain(&plan.groups[1]).map(|&k| &parts[k]) {
            for (k, &slot) in part.slots.iter().enumerate() {
                let own = part.function.kinks(k);
                if !plan.pair.contains(&slot) && !own.is_empty() {
                    smooth = false;
                    kinks[slot].extend_from_slice(own);
                }
            }
        }
        let mut surfaces = Vec::new();
        for &k in &plan.groups[2] {
            surfaces.extend((0..parts[k].function.surfaces()).map(|s| (k, s)));
        }
        smooth &= surfaces.is_empty();
        // A Hermite polynomial of order k has frequencies up to about sqrt(k).
        let mut step = std::f64::consts::TAU / (libm::sqrt(terms as f64) + 8.5);
        let rule = |step: f64, shift: f64| {
            let rule = trapezoid(step, RANGE, shift);
            Inner::new(rule.nodes, &rule.weights, terms)
        };
        let rules = [rule(step, 0.0), rule(step, 0.3)];
        let mut this = Self {
            parts,
            plan,
            rules,
            pieces: Pieces::new(PIECE, PIECE_NODES),
            terms,
            tables: [None, None],
            kinks,
            surfaces,
            smooth,
            inner_error: f64::INFINITY,
            bad: RefCell::new(None),
        };
        let kinked = [0, 1].map(|which| this.kinked(which));
        let probes = this.probes();
        let mut before = this.at(&probes);
        loop {
            // Both kinds of rule are refined, so that no two successive values come from the same nodes.
            step *= 0.75;
            this.rules = [rule(step, 0.1), rule(step, 0.4)];
            this.pieces = this.pieces.finer();
            let now = this.at(&probes);
            if let Some(error) = this.bad.borrow_mut().take() {
                return Err(error);
            }
            let size = now.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            let change = now.iter().zip(&before).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
            let finest = kinked.contains(&false) && 3 * NODES < 4 * this.rules[0].nodes.len()
                || kinked.contains(&true) && PIECES_NODES < this.pieces.finer().total();
            let accepted = if finest && kinked.contains(&true) { ACCEPTED } else { AIM };
            // Nothing is learned from probes at which the integrand vanishes.
            if 0.0 < size && change <= accepted * size {
                this.inner_error = 4.0 * (change / size + AIM + f64::EPSILON);
                if 2 <= this.plan.outer.rank {
                    this.tables = [this.table(0), this.table(1)];
                }
                return Ok(Some(this));
            }
            if finest {
                return Ok(None);
            }
            before = now;
        }
    }

    /// About how many evaluations of the parts an outer point is worth.
    fn cost(&self) -> usize {
        let direct = (0..2).filter(|&which| self.tables[which].is_none());
        let nodes =
            |which| if self.kinked(which) { self.pieces.total() as usize } else { self.rules[which].nodes.len() };
        direct.map(nodes).sum::<usize>() + 4
    }

    /// Whether a function of one of the pair has kinks in it.
    fn kinked(&self, which: usize) -> bool {
        let slot = self.plan.pair[which];
        let kinked = |part: &Part<'_>| {
            part.slots.iter().position(|&s| s == slot).is_some_and(|k| !part.function.kinks(k).is_empty())
        };
        self.plan.groups[which].iter().any(|&k| kinked(&self.parts[k]))
    }

    /// A table of the coefficients of one of the pair's functions, if they depend on the conditional mean only and are
    /// smooth enough to be interpolated.
    fn table(&self, which: usize) -> Option<Table> {
        let slot = self.plan.pair[which];
        if self.plan.groups[which].iter().any(|&k| self.parts[k].slots.iter().any(|&s| s != slot)) {
            return None;
        }
        let rank = self.plan.outer.rank;
        let spread =
            libm::sqrt((0..rank).map(|j| self.plan.outer.entry(slot, j) * self.plan.outer.entry(slot, j)).sum());
        let reach = OUTER * spread;
        let mut columns = vec![vec![0.0]; self.plan.slots];
        let (mut work, mut row, mut between) = (Work::default(), Vec::new(), Vec::new());
        let mut direct = |mean: f64, row: &mut Vec<f64>| {
            columns[slot][0] = mean;
            let points: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
            self.coefficients(which, &points, 0, &mut work, row);
        };
        let mut step = 0.4 * self.plan.deviation[which].max(0.25 * spread);
        loop {
            let rows = (2.0 * reach / step) as usize + 2 * STENCIL;
            if ROWS < rows {
                return None;
            }
            let start = -0.5 * (rows - 1) as f64 * step;
            let mut values = Vec::with_capacity(rows * self.terms);
            for i in 0..rows {
                direct(start + i as f64 * step, &mut row);
                values.extend_from_slice(&row);
            }
            let size = values.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            let table = Table { start, step, terms: self.terms, values };
            let good = (0..2 * STENCIL).all(|i| {
                let mean = 4.0 * spread * libm::sin(2.3 * i as f64 + 0.1);
                direct(mean, &mut row);
                table.look_up(mean, &mut between)
                    && row.iter().zip(&between).all(|(a, b)| (a - b).abs() <= INTERPOLATION * size)
            });
            if good {
                return Some(table);
            }
            step *= 0.6;
        }
    }

    /// Slots at a few points of the outer variables.
    fn probes(&self) -> Vec<Vec<f64>> {
        let (d, rank) = (self.plan.slots, self.plan.outer.rank);
        let points: Vec<Vec<f64>> = (0..5)
            .map(|p| (0..rank).map(|j| 2.5 * libm::sin(1.3 * f64::from(p) + 2.1 * j as f64 * f64::from(p))).collect())
            .collect();
        (0..d)
            .map(|k| points.iter().map(|x| (0..rank).map(|j| self.plan.outer.entry(k, j) * x[j]).sum()).collect())
            .collect()
    }

    fn at(&self, slots: &[Vec<f64>]) -> Vec<f64> {
        let columns: Vec<&[f64]> = slots.iter().map(Vec::as_slice).collect();
        let mut out = vec![0.0; columns.first().map_or(1, |c| c.len())];
        self.eval(&columns, &mut out);
        out
    }

    /// The coefficients `a_k` of one of the pair's functions at one outer point.
    fn coefficients(&self, which: usize, points: &[&[f64]], at: usize, work: &mut Work, out: &mut Vec<f64>) {
        let slot = self.plan.pair[which];
        let (mean, deviation) = (points[slot][at], self.plan.deviation[which]);
        if let Some(table) = &self.tables[which]
            && table.look_up(mean, out)
        {
            return;
        }
        let group = &self.plan.groups[which];
        let mut cuts = Vec::new();
        for part in group.iter().map(|&k| &self.parts[k]) {
            if let Some(k) = part.slots.iter().position(|&s| s == slot) {
                cuts.extend(part.function.kinks(k).iter().map(|t| (t - mean) / deviation));
            }
        }
        let own;
        let rule = if cuts.is_empty() {
            &self.rules[which]
        } else {
            own = self.pieces.rule(&cuts, self.terms);
            &own
        };
        let q = rule.nodes.len();
        work.values.clear();
        work.values.resize(q, 1.0);
        work.inner.clear();
        work.inner.extend(rule.nodes.iter().map(|z| mean + deviation * z));
        for part in group.iter().map(|&k| &self.parts[k]) {
            let others: Vec<Vec<f64>> =
                part.slots.iter().map(|&s| if s == slot { Vec::new() } else { vec![points[s][at]; q] }).collect();
            let columns: Vec<&[f64]> = part
                .slots
                .iter()
                .zip(&others)
                .map(|(&s, other)| if s == slot { work.inner.as_slice() } else { other.as_slice() })
                .collect();
            work.factor.clear();
            work.factor.resize(q, 0.0);
            part.function.eval(&columns, &mut work.factor);
            for (value, f) in work.values.iter_mut().zip(&work.factor) {
                *value *= f;
            }
        }
        if let Some(bad) = work.values.iter().position(|v| !v.is_finite()) {
            let value = work.values[bad];
            self.bad.borrow_mut().get_or_insert(GaussError::Value { at: vec![work.inner[bad]], value });
        }
        out.clear();
        out.extend((0..self.terms).map(|k| {
            let row = &rule.table[k * q..(k + 1) * q];
            row.iter().zip(&work.values).map(|(h, f)| h * f).sum::<f64>()
        }));
    }
}

/// Buffers.
#[derive(Default)]
struct Work {
    inner: Vec<f64>,
    values: Vec<f64>,
    factor: Vec<f64>,
}

impl Integrand for Conditional<'_> {
    fn slots(&self) -> usize {
        self.plan.slots
    }

    fn eval(&self, points: &[&[f64]], out: &mut [f64]) {
        let mut work = Work::default();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        for (j, value) in out.iter_mut().enumerate() {
            self.coefficients(0, points, j, &mut work, &mut a);
            self.coefficients(1, points, j, &mut work, &mut b);
            // Horner's rule in the correlation.
            *value = a.iter().zip(&b).rev().fold(0.0, |sum, (a, b)| sum * self.plan.correlation + a * b);
        }
        for part in self.plan.groups[2].iter().map(|&k| &self.parts[k]) {
            let columns: Vec<&[f64]> = part.slots.iter().map(|&s| points[s]).collect();
            work.factor.clear();
            work.factor.resize(out.len(), 0.0);
            part.function.eval(&columns, &mut work.factor);
            for (value, f) in out.iter_mut().zip(&work.factor) {
                *value *= f;
            }
        }
    }

    fn kinks(&self, slot: usize) -> &[f64] {
        &self.kinks[slot]
    }

    fn surfaces(&self) -> usize {
        self.surfaces.len()
    }

    fn surface(&self, surface: usize, points: &[&[f64]], out: &mut [f64]) {
        let (at, own) = self.surfaces[surface];
        let columns: Vec<&[f64]> = self.parts[at].slots.iter().map(|&s| points[s]).collect();
        self.parts[at].function.surface(own, &columns, out);
    }

    fn smooth(&self) -> bool {
        self.smooth
    }
}
