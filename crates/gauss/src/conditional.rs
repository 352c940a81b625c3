//! Products of functions, integrated by conditioning on all variables but two.
//!
//! Given the other slots, two slots `u` and `v` are a pair of normal variables with correlation `r`, and a product in
//! which no factor has both of them splits: by Mehler's formula
//! `E[f(u) g(v) | rest] = sum_k r^k a_k b_k` with `a_k = E[f(m + s z) h_k(z)]`, `h_k` the orthonormal Hermite
//! polynomials. Two dimensions of quadrature become two sums of one dimension each, whatever the factors are; they may
//! depend on the other slots as well, and have kinks in `u` and `v`. What is left is a smooth function of two variables
//! less, unless its own factors have kinks.

mod plan;
mod rules;

use std::cell::RefCell;

use netsor_num::normal;
use netsor_num::quadrature::trapezoid;
use netsor_num::sobol::Sobol;
use netsor_num::sum::pairwise;

use crate::expect::by_quadrature;
use crate::landmark::cuts as cuts_in;
use crate::product::Part;
use crate::roots::roots;
use crate::{Covariance, Estimate, GaussError, Integrand, Landmark, Method, Tolerance};
use plan::Plan;
use rules::{Inner, Pieces, RANGE, ROWS, STENCIL, Table};

/// So many terms of Mehler's series are summed that the power of the correlation is below this share of the tolerance,
/// within the limits of [`AIM`]; what is left out has a bound of its own.
const TAIL: f64 = 1e-3;

/// The most nodes of a rule for one variable.
const NODES: usize = 640;

/// Nodes on each piece between kinks, before refinement.
const PIECE_NODES: usize = 20;

/// Pieces are no longer than this, before refinement.
const PIECE: f64 = 2.0;

/// The most nodes on all pieces of one variable without kinks.
const PIECES_NODES: f64 = 3_000.0;

/// Places in which a surface is looked for.
const CELLS: usize = 40;

/// Outer variables within so many standard deviations are interpolated.
const OUTER: f64 = 10.0;

/// What two rules of the inner variables should differ by: this share of the tolerance, but no less than the smallest
/// number and no more than the largest, relative to the size of the integrand.
const AIM: (f64, [f64; 2]) = (1e-2, [2e-14, 1e-8]);

/// What the finest rules may differ by, where rounding keeps them from it; the error says what they do differ by.
const ACCEPTED: f64 = 1e-11;

/// Outer points at which rules are compared while they are refined, and those that say how good the last one is.
const PROBES: [usize; 2] = [5, 32];

/// `E prod parts` by conditioning; `None` where the parts or the covariance do not allow it.
pub(crate) fn expect(parts: &[Part<'_>], c: &Covariance, tol: &Tolerance) -> Result<Option<Estimate>, GaussError> {
    let Some(plan) = Plan::new(parts, c) else { return Ok(None) };
    let Some(conditional) = Conditional::new(parts, plan, tol)? else { return Ok(None) };
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
    let error = found.error + conditional.inner_error;
    Ok(Some(Estimate { value: found.value, error, method }))
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
    /// For functions that depend on one linear form of the outer variables.
    tables: [Option<Table>; 2],
    /// Kinks of the product in each slot; none in the pair, which is integrated out.
    kinks: Vec<Vec<f64>>,
    landmarks: Vec<Vec<Landmark>>,
    /// Surfaces that do not depend on the pair: part and number.
    surfaces: Vec<(usize, usize)>,
    /// Those that do, for each of the pair.
    inner_surfaces: [Vec<(usize, usize)>; 2],
    smooth: bool,
    /// What rules, tables and the end of the series were found to miss.
    inner_error: f64,
    bad: RefCell<Option<GaussError>>,
}

impl<'a> Conditional<'a> {
    /// Chooses the inner rules by comparing two of them at a few outer points; `None` if none is fine enough.
    fn new(parts: &'a [Part<'a>], plan: Plan, tol: &Tolerance) -> Result<Option<Self>, GaussError> {
        let r = plan.correlation.abs();
        let (share, [least, most]) = AIM;
        // Accuracy costs nothing where there are few outer points.
        let most = if plan.outer.rank < 2 { least } else { most };
        let tail = (TAIL * tol.relative.max(tol.absolute)).clamp(least, most);
        // The first coefficients may vanish, as those of an even function less its mean: then the remainders are as large as
        // the functions.
        let terms = if r < tail { 1 } else { (libm::log(tail) / libm::log(r)).ceil() as usize + 3 };
        // A Hermite polynomial of order k has frequencies up to about sqrt(k).
        let mut step = std::f64::consts::TAU / (libm::sqrt(terms as f64) + 8.5);
        let rule = |step: f64, shift: f64| {
            let rule = trapezoid(step, RANGE, shift);
            Inner::new(rule.nodes, &rule.weights, terms)
        };
        let rules = [rule(step, 0.0), rule(step, 0.3)];
        let mut this = Self {
            kinks: vec![Vec::new(); plan.slots],
            landmarks: vec![Vec::new(); plan.slots],
            parts,
            plan,
            rules,
            pieces: Pieces::new(PIECE, PIECE_NODES),
            terms,
            tables: [None, None],
            surfaces: Vec::new(),
            inner_surfaces: [Vec::new(), Vec::new()],
            smooth: true,
            inner_error: f64::INFINITY,
            bad: RefCell::new(None),
        };
        this.find_kinks();
        let kinked = [0, 1].map(|which| this.kinked(which));
        let [few, many] = PROBES.map(|count| this.probes(count));
        let mut before = this.at(&few);
        loop {
            let coarse = (this.rules.clone(), this.pieces.clone());
            // Both kinds of rule are refined, so that no two successive values come from the same nodes.
            step *= 0.75;
            this.rules = [rule(step, 0.1), rule(step, 0.4)];
            this.pieces = this.pieces.finer();
            let now = this.at(&few);
            if let Some(error) = this.bad.borrow_mut().take() {
                return Err(error);
            }
            let size = now.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
            let change = now.iter().zip(&before).fold(0.0, |m: f64, (a, b)| m.max((a - b).abs()));
            let finest = kinked.contains(&false) && 3 * NODES < 4 * this.rules[0].nodes.len()
                || kinked.contains(&true) && PIECES_NODES < this.pieces.finer().total();
            let aim = (share * tol.relative.max(tol.absolute / size)).clamp(least, most);
            let accepted = if finest { aim.max(ACCEPTED) } else { aim };
            // Nothing is learned from probes at which the integrand vanishes.
            if 0.0 < size && change <= accepted * size {
                let fine = this.at(&many);
                // Where much more was asked than is needed the coarser rule serves.
                if change <= 1e-2 * accepted * size {
                    (this.rules, this.pieces) = coarse;
                }
                let cut = mean_and_error(this.ends(&many).into_iter());
                if 2 <= this.plan.outer.rank {
                    this.tables = [0, 1].map(|which| this.table(which, aim));
                }
                let used = this.at(&many);
                if let Some(error) = this.bad.borrow_mut().take() {
                    return Err(error);
                }
                // What the finer rule misses itself is less than what refining changed.
                let missed = mean_and_error(used.iter().zip(&fine).map(|(a, b)| (a - b).abs())) + change;
                this.inner_error = missed + cut + 4.0 * f64::EPSILON * size;
                return Ok(Some(this));
            }
            if finest {
                return Ok(None);
            }
            before = now;
        }
    }

    /// Thresholds and surfaces, of the outer variables and of the pair.
    fn find_kinks(&mut self) {
        let probes = self.probes(PROBES[0]);
        for (group, members) in self.plan.groups.iter().enumerate() {
            for &at in members {
                let part = &self.parts[at];
                for (k, &slot) in part.slots.iter().enumerate() {
                    if !self.plan.pair.contains(&slot) {
                        self.kinks[slot].extend_from_slice(part.function.kinks(k));
                        self.landmarks[slot].extend_from_slice(part.function.landmarks(k));
                    }
                }
                for surface in 0..part.function.surfaces() {
                    let value = |moved: f64| {
                        let columns: Vec<Vec<f64>> = part
                            .slots
                            .iter()
                            .map(|&s| {
                                let own = group < 2 && s == self.plan.pair[group];
                                probes[s].iter().map(|x| if own { x + moved } else { *x }).collect()
                            })
                            .collect();
                        let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
                        let mut out = vec![0.0; PROBES[0]];
                        part.function.surface(surface, &columns, &mut out);
                        out
                    };
                    if group < 2 && value(0.0) != value(0.7 * self.plan.deviation[group]) {
                        self.inner_surfaces[group].push((at, surface));
                    } else {
                        self.surfaces.push((at, surface));
                    }
                }
            }
        }
        self.smooth = self.surfaces.is_empty() && self.kinks.iter().all(Vec::is_empty);
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
            part.slots
                .iter()
                .position(|&s| s == slot)
                .is_some_and(|k| !cuts_in(part.function, k, self.plan.deviation[which]).is_empty())
        };
        !self.inner_surfaces[which].is_empty() || self.plan.groups[which].iter().any(|&k| kinked(&self.parts[k]))
    }

    /// A table of the coefficients of one of the pair's functions, if they depend on one linear form of the outer variables
    /// only (the conditional mean, or another slot) and are smooth enough to be interpolated.
    fn table(&self, which: usize, aim: f64) -> Option<Table> {
        let (own, outer) = (self.plan.pair[which], &self.plan.outer);
        if self.surfaces.iter().any(|(at, _)| self.plan.groups[which].contains(at)) {
            return None;
        }
        let rank = outer.rank;
        let mut used = vec![own];
        for part in self.plan.groups[which].iter().map(|&k| &self.parts[k]) {
            used.extend(&part.slots);
            let bends = |(k, &s): (usize, &usize)| s != own && !part.function.kinks(k).is_empty();
            if part.slots.iter().enumerate().any(bends) {
                return None;
            }
        }
        used.sort_unstable();
        used.dedup();
        let product = |k: usize, l: usize| -> f64 { (0..rank).map(|j| outer.entry(k, j) * outer.entry(l, j)).sum() };
        let slot = used.iter().copied().max_by(|&k, &l| product(k, k).total_cmp(&product(l, l)))?;
        let square = product(slot, slot);
        if square == 0.0 {
            return None;
        }
        // The others as multiples of that slot.
        let ratios: Vec<f64> = used.iter().map(|&k| product(k, slot) / square).collect();
        let parallel = |(&k, ratio): (&usize, &f64)| {
            (0..rank).all(|j| (outer.entry(k, j) - ratio * outer.entry(slot, j)).abs() <= 1e-14 * libm::sqrt(square))
        };
        if !used.iter().zip(&ratios).all(parallel) {
            return None;
        }
        let spread = libm::sqrt(square);
        let reach = OUTER * spread;
        let mut columns = vec![vec![0.0]; self.plan.slots];
        let (mut work, mut row, mut between) = (Work::default(), Vec::new(), Vec::new());
        let mut direct = |value: f64, row: &mut Vec<f64>| {
            used.iter().zip(&ratios).for_each(|(&k, ratio)| columns[k][0] = ratio * value);
            let points: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
            self.coefficients(which, &points, 0, &mut work, row);
        };
        let alone = used.len() == 1;
        let mut step = if alone { 0.4 * self.plan.deviation[which].max(0.25 * spread) } else { 0.25 * spread };
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
            let table = Table { slot, start, step, terms: self.terms, values };
            let good = (0..2 * STENCIL).all(|i| {
                let value = 4.0 * spread * libm::sin(2.3 * i as f64 + 0.1);
                direct(value, &mut row);
                table.look_up(value, &mut between)
                    && row.iter().zip(&between).all(|(a, b)| (a - b).abs() <= 0.2 * aim * size)
            });
            if good {
                return Some(table);
            }
            step *= 0.6;
        }
    }

    /// Slots at some points of the outer variables, spread like their law.
    fn probes(&self, count: usize) -> Vec<Vec<f64>> {
        let (d, rank) = (self.plan.slots, self.plan.outer.rank);
        let sobol = Sobol::new(rank, 0x5eed, 1);
        let point = |i: usize| {
            let mut point = vec![0.0; rank];
            sobol.point(i as u64, &mut point);
            point.iter_mut().for_each(|u| *u = normal::quantile(*u));
            point
        };
        let points: Vec<Vec<f64>> = (0..count).map(point).collect();
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

    /// A bound on what Mehler's series leaves out after its terms, at some outer points: by Cauchy and Schwarz
    /// `|sum_{k >= K} r^k a_k b_k| <= |r|^K sqrt(E f^2 - sum_{k < K} a_k^2) sqrt(E g^2 - sum_{k < K} b_k^2)`.
    fn ends(&self, slots: &[Vec<f64>]) -> Vec<f64> {
        let columns: Vec<&[f64]> = slots.iter().map(Vec::as_slice).collect();
        let mut ends = self.others(&columns, columns.first().map_or(1, |c| c.len()));
        let power = self.plan.correlation.abs().powi(self.terms as i32);
        let (mut work, mut a) = (Work::default(), Vec::new());
        for (j, end) in ends.iter_mut().enumerate() {
            *end = end.abs() * power;
            for which in 0..2 {
                let square = self.coefficients(which, &columns, j, &mut work, &mut a);
                let rest = square - a.iter().map(|a| a * a).sum::<f64>();
                // What rounding leaves of the difference is no remainder.
                *end *= libm::sqrt(rest.max(4.0 * f64::EPSILON * square));
            }
        }
        ends
    }

    /// The factors without either of the pair.
    fn others(&self, points: &[&[f64]], count: usize) -> Vec<f64> {
        let (mut product, mut factor) = (vec![1.0; count], vec![0.0; count]);
        for part in self.plan.groups[2].iter().map(|&k| &self.parts[k]) {
            let columns: Vec<&[f64]> = part.slots.iter().map(|&s| points[s]).collect();
            factor.fill(0.0);
            part.function.eval(&columns, &mut factor);
            product.iter_mut().zip(&factor).for_each(|(value, f)| *value *= f);
        }
        product
    }

    /// The coefficients `a_k` of one of the pair's functions at one outer point, and the mean of its square by the same
    /// rule; NaN for the latter where the coefficients come from a table.
    fn coefficients(&self, which: usize, points: &[&[f64]], at: usize, work: &mut Work, out: &mut Vec<f64>) -> f64 {
        let slot = self.plan.pair[which];
        let (mean, deviation) = (points[slot][at], self.plan.deviation[which]);
        if let Some(table) = &self.tables[which]
            && table.look_up(points[table.slot][at], out)
        {
            return f64::NAN;
        }
        let group = &self.plan.groups[which];
        let mut cuts = Vec::new();
        for part in group.iter().map(|&k| &self.parts[k]) {
            if let Some(k) = part.slots.iter().position(|&s| s == slot) {
                cuts.extend(cuts_in(part.function, k, deviation).iter().map(|t| (t - mean) / deviation));
            }
        }
        for &(part, surface) in &self.inner_surfaces[which] {
            let part = &self.parts[part];
            let mut found = [std::mem::take(&mut cuts)];
            let mut value = |_: &[usize], z: &[f64]| {
                let column = |&s: &usize| {
                    z.iter().map(|z| if s == slot { mean + deviation * z } else { points[s][at] }).collect()
                };
                let columns: Vec<Vec<f64>> = part.slots.iter().map(column).collect();
                let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
                let mut out = vec![0.0; z.len()];
                part.function.surface(surface, &columns, &mut out);
                out
            };
            roots(RANGE, CELLS, &mut value, &mut found);
            let [more] = found;
            cuts = more;
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
        // The first row has the weights themselves.
        rule.table[..q].iter().zip(&work.values).map(|(w, f)| w * f * f).sum()
    }
}

/// The mean of numbers that are not negative, and three and a half standard errors of it.
pub(crate) fn mean_and_error(x: impl Iterator<Item = f64>) -> f64 {
    let x: Vec<f64> = x.collect();
    let n = x.len() as f64;
    let mean = pairwise(&x) / n;
    let squares: Vec<f64> = x.iter().map(|x| (x - mean) * (x - mean)).collect();
    mean + 3.5 * libm::sqrt(pairwise(&squares) / (n * (n - 1.0)))
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
        let others = self.others(points, out.len());
        out.iter_mut().zip(&others).for_each(|(value, f)| *value *= f);
    }

    fn kinks(&self, slot: usize) -> &[f64] {
        &self.kinks[slot]
    }

    fn landmarks(&self, slot: usize) -> &[Landmark] {
        &self.landmarks[slot]
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
