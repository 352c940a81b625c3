//! Functions with kinks, jumps or narrow layers in many variables: one variable is integrated exactly, which smooths the
//! rest.
//!
//! Along a line every kink is a point, and so is every layer in which a smooth function of several slots varies quickly. The line is cut where it passes a threshold of a slot and where what a kink is a
//! kink of changes sign ([`Integrand::surface`]), and the pieces are integrated by Gauss-Legendre rules. The integral is
//! a function of the other variables that is one derivative smoother than the integrand, and smooth wherever the cuts do
//! not meet: adaptive quadrature finds the rest. For kinks in more than three variables a line costs more than it brings: the same
//! number of evaluations at randomised points is as good. Into a layer hardly a point falls, and there random lines serve
//! in any number of variables.
//!
//! The line takes the direction in which it crosses all kinks at an angle as large as possible. What its rule misses is
//! measured against a finer rule at random points of the other variables.

use std::cell::{Cell, RefCell};

use netsor_num::normal;
use netsor_num::quadrature::gauss_legendre;
use netsor_num::sobol::Sobol;

use crate::conditional::mean_and_error;
use crate::covariance::Factor;
use crate::directions::axes_through;
use crate::landmark::cuts;
use crate::layers::layers;
use crate::roots::roots;
use crate::{Estimate, GaussError, Integrand, Landmark, Method, Tolerance, kinked, qmc};

/// Rules on the line, from coarse to fine: the longest piece, the nodes on a piece, the cells in which a surface is
/// looked for.
const RULES: [(f64, usize, usize); 5] = [(2.4, 9, 16), (2.0, 12, 28), (1.5, 14, 50), (0.9, 16, 90), (0.5, 18, 160)];

/// Lines at which two rules are compared.
const PROBES: usize = 192;

/// Lines that are evaluated together.
const LINES: usize = 32;

/// What the rule of the line should not miss, relative to the size.
const AIM: f64 = 1e-12;

/// How many lines in three variables take what accuracy, relative to the size, as measured for products of steps.
const AIMS: [(usize, f64); 4] = [(25_000, 1e-5), (80_000, 1e-6), (300_000, 1e-8), (usize::MAX, 1e-13)];

/// The range of the line: the normal law has 1e-16 outside.
const RANGE: f64 = 8.3;

/// How far across a layer its content is looked at, in units of its thickness, and at how many places.
const WIDTHS: f64 = 8.0;
const ACROSS: usize = 48;

/// Pieces around layers grow up to this length.
const LONGEST: f64 = 1.6;

/// A rule that misses more than this, relative to the size, is not used.
const USELESS: f64 = 1e-3;

/// A share of the outer unit of the range above which a function is not bounded there.
const GROWING: f64 = 1e-6;

/// The expectation of a function that declares where it is not smooth, or where it varies quickly, for a factor of rank two
/// or three; `None` where no rule on a line is good enough.
pub(crate) fn expect(f: &dyn Integrand, factor: &Factor, tol: &Tolerance) -> Result<Option<Estimate>, GaussError> {
    let outer = factor.rank - 1;
    let turned = factor.turned(&axes_through(f, factor));
    let Some(lines) = Lines::new(f, &turned, tol)? else { return Ok(None) };
    // One variable is nothing beside what two of them cost, whose cuts meet along curves.
    let count = lines.budget.max_points;
    let aim = AIMS.iter().filter(|a| outer == 1 || a.0 <= count).map(|a| a.1).fold(f64::INFINITY, f64::min);
    if aim.is_infinite() {
        return Ok(None);
    }
    let found = kinked::expect_after(&lines.smoothed, &Factor::identity(outer), &lines.budget, 1, aim)?;
    found.map_or(Ok(None), |found| lines.estimate(found))
}

/// The expectation over random lines, for a factor of rank two or more; over the only line of rank one.
pub(crate) fn over_lines(f: &dyn Integrand, factor: &Factor, tol: &Tolerance) -> Result<Option<Estimate>, GaussError> {
    let turned = factor.turned(&axes_through(f, factor));
    let Some(lines) = Lines::new(f, &turned, tol)? else { return Ok(None) };
    if factor.rank == 1 {
        let mut value = [0.0];
        lines.smoothed.eval(&[], &mut value);
        let method = Method::Quadrature { dims: 0, points: 1 };
        return lines.estimate(Estimate { value: value[0], error: 0.0, method });
    }
    lines.estimate(qmc::expect(&lines.smoothed, &Factor::identity(factor.rank - 1), &lines.budget)?)
}

/// The part of `E |f|` in layers, beside what a function that is affine across them has: what points miss that never fall
/// into a layer.
pub(crate) fn within_layers(f: &dyn Integrand, factor: &Factor) -> f64 {
    let turned = factor.turned(&axes_through(f, factor));
    let mut smoothed = Smoothed::new(f, &turned, RANGE);
    smoothed.level = 1;
    let probes = smoothed.probes();
    let columns: Vec<&[f64]> = probes.iter().map(Vec::as_slice).collect();
    let base = smoothed.base(&columns, PROBES);
    let layers = smoothed.layers(&base);
    let across = (0..=ACROSS).map(|i| WIDTHS * (2.0 * i as f64 / ACROSS as f64 - 1.0));
    let across: Vec<f64> = across.collect();
    let of_line = layers.iter().enumerate().map(|(line, layers)| {
        let of_layer = layers.iter().map(|layer| {
            let t: Vec<f64> = across.iter().map(|x| layer.at + layer.scale * x).collect();
            let values = smoothed.on_lines(&base, &vec![line; t.len()], &t, |columns, out| f.eval(columns, out));
            let (first, last) = (values[0], values[ACROSS]);
            let chord = |i: usize| first + (last - first) * (i as f64 / ACROSS as f64);
            let beside: f64 = values.iter().enumerate().map(|(i, y)| (y - chord(i)).abs()).sum();
            beside / ACROSS as f64 * 2.0 * WIDTHS * layer.scale * normal::pdf(layer.at)
        });
        of_layer.sum()
    });
    mean_and_error(of_line)
}

/// A rule for lines that is good enough.
struct Lines<'a> {
    smoothed: Smoothed<'a>,
    /// How many lines there may be.
    budget: Tolerance,
    /// Evaluations of a line.
    cost: usize,
    /// What the rule was found to miss, and the mean size of a line.
    missed: f64,
    size: f64,
}

impl<'a> Lines<'a> {
    fn new(f: &'a dyn Integrand, factor: &'a Factor, tol: &Tolerance) -> Result<Option<Self>, GaussError> {
        let mut smoothed = Smoothed::new(f, factor, RANGE);
        let probes = smoothed.probes();
        let mut before = smoothed.values(&probes);
        let (mut missed, mut size) = (f64::INFINITY, 0.0);
        let mut steps = 0.0;
        for level in 1..RULES.len() {
            smoothed.level = level;
            let now = smoothed.values(&probes);
            size = now.iter().map(|x| x.abs()).sum::<f64>() / PROBES as f64;
            missed = mean_and_error(now.iter().zip(&before).map(|(a, b)| (a - b).abs()));
            steps = smoothed.nodes() / PROBES as f64;
            let aim = (AIM * size).max(0.05 * tol.allowed(size));
            // The coarser of two rules that agree has the larger part of their difference.
            // Nothing is learned from lines on which the function vanishes.
            if 0.0 < size && missed <= aim {
                smoothed.level = level - 1;
                break;
            }
            before = now;
        }
        smoothed.check()?;
        // Nor is anything known of a function that vanishes on all of them.
        if missed.is_nan() || size == 0.0 || USELESS * size < missed {
            return Ok(None);
        }
        let cost = (steps as usize).max(1);
        let budget = Tolerance { max_points: (tol.max_points / cost).max(2_048), ..*tol };
        Ok(Some(Self { smoothed, budget, cost, missed, size }))
    }

    /// What was found for the other variables, as an expectation over all of them.
    fn estimate(&self, found: Estimate) -> Result<Option<Estimate>, GaussError> {
        self.smoothed.check()?;
        let method = match found.method {
            Method::Quadrature { dims, points } => {
                Method::Quadrature { dims: dims + 1, points: points.saturating_mul(self.cost) }
            }
            Method::Qmc { dims, points, replicates } => {
                Method::Qmc { dims: dims + 1, points: points.saturating_mul(self.cost), replicates }
            }
            other => other,
        };
        // Beyond the range a bounded function has a fraction of the last unit inside; of one that grows as fast as the
        // density falls nothing is known.
        if GROWING * found.value.abs().max(self.size) < self.smoothed.shell() {
            return Ok(None);
        }
        let error = found.error + self.missed + 0.1 * self.smoothed.shell();
        Ok(Some(Estimate { value: found.value, error, method }))
    }
}

/// A function with its last variable integrated out: a function of the others, which are its slots.
struct Smoothed<'a> {
    f: &'a dyn Integrand,
    factor: &'a Factor,
    range: f64,
    /// Which of [`RULES`].
    level: usize,
    rules: Vec<(Vec<f64>, Vec<f64>)>,
    bad: RefCell<Option<GaussError>>,
    /// Lines and nodes since they were last counted, and what the outer unit of the line had of `|f|`.
    lines: Cell<usize>,
    evaluated: Cell<usize>,
    outside: Cell<f64>,
}

impl<'a> Smoothed<'a> {
    fn new(f: &'a dyn Integrand, factor: &'a Factor, range: f64) -> Self {
        let rule = |&(_, nodes, _): &(f64, usize, usize)| {
            let rule = gauss_legendre(nodes);
            (rule.nodes.to_vec(), rule.weights.to_vec())
        };
        Self {
            f,
            factor,
            range,
            level: 0,
            rules: RULES.iter().map(rule).collect(),
            bad: RefCell::default(),
            lines: Cell::new(0),
            evaluated: Cell::new(0),
            outside: Cell::new(0.0),
        }
    }

    /// Lines that are spread like the Gaussian law.
    fn probes(&self) -> Vec<Vec<f64>> {
        let outer = self.factor.rank - 1;
        // A randomisation of its own.
        let sobol = Sobol::new(outer, 0x5eed, 1 << 20);
        let mut columns = vec![Vec::with_capacity(PROBES); outer];
        let mut point = vec![0.0; outer];
        for i in 0..PROBES {
            sobol.point(i as u64, &mut point);
            columns.iter_mut().zip(&point).for_each(|(column, u)| column.push(normal::quantile(*u)));
        }
        columns
    }

    fn values(&self, points: &[Vec<f64>]) -> Vec<f64> {
        let columns: Vec<&[f64]> = points.iter().map(Vec::as_slice).collect();
        let mut out = vec![0.0; PROBES];
        self.eval(&columns, &mut out);
        out
    }

    /// Evaluations since the last call.
    fn nodes(&self) -> f64 {
        self.lines.set(0);
        self.outside.set(0.0);
        self.evaluated.take() as f64
    }

    fn shell(&self) -> f64 {
        self.outside.get() / self.lines.get().max(1) as f64
    }

    fn check(&self) -> Result<(), GaussError> {
        self.bad.borrow().clone().map_or(Ok(()), Err)
    }

    /// Where each line is cut; `base[k][j]` is slot `k` at the middle of line `j`.
    fn cuts(&self, base: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let n = base.first().map_or(0, Vec::len);
        let along = self.factor.rank - 1;
        let mut all = vec![Vec::new(); n];
        for (k, base) in base.iter().enumerate() {
            let slope = self.factor.entry(k, along);
            if slope == 0.0 {
                continue;
            }
            for threshold in cuts(self.f, k, self.factor.deviation(k)) {
                for (cuts, base) in all.iter_mut().zip(base) {
                    let t = (threshold - base) / slope;
                    if t.abs() < self.range {
                        cuts.push(t);
                    }
                }
            }
        }
        for surface in 0..self.f.surfaces() {
            let mut value = |lines: &[usize], t: &[f64]| {
                self.on_lines(base, lines, t, |columns, out| self.f.surface(surface, columns, out))
            };
            roots(self.range, RULES[self.level].2, &mut value, &mut all);
        }
        for (cuts, places) in all.iter_mut().zip(self.layers(base)) {
            let around = places.into_iter().flat_map(|place| place.cluster(LONGEST));
            cuts.extend(around.filter(|t| t.abs() < self.range));
        }
        all
    }

    /// The layers on each line.
    fn layers(&self, base: &[Vec<f64>]) -> Vec<Vec<Landmark>> {
        let mut found = vec![Vec::new(); base.first().map_or(0, Vec::len)];
        for argument in 0..self.f.arguments() {
            let mut value = |lines: &[usize], t: &[f64]| {
                self.on_lines(base, lines, t, |columns, out| self.f.argument(argument, columns, out))
            };
            layers(self.range, RULES[self.level].2, &mut value, &mut found);
        }
        found
    }

    /// The values of a function of the slots at places of some lines.
    fn on_lines(
        &self,
        base: &[Vec<f64>],
        lines: &[usize],
        t: &[f64],
        f: impl FnOnce(&[&[f64]], &mut [f64]),
    ) -> Vec<f64> {
        let along = self.factor.rank - 1;
        let slot = |k: usize| {
            let (base, slope) = (&base[k], self.factor.entry(k, along));
            lines.iter().zip(t).map(|(&line, t)| base[line] + slope * t).collect()
        };
        let slots: Vec<Vec<f64>> = (0..base.len()).map(slot).collect();
        let columns: Vec<&[f64]> = slots.iter().map(Vec::as_slice).collect();
        let mut out = vec![0.0; t.len()];
        f(&columns, &mut out);
        self.evaluated.set(self.evaluated.get() + t.len());
        out
    }

    /// The slots at the middle of each line.
    fn base(&self, points: &[&[f64]], lines: usize) -> Vec<Vec<f64>> {
        (0..self.f.slots())
            .map(|k| {
                let mut column = vec![0.0; lines];
                for (j, x) in points.iter().enumerate() {
                    let l = self.factor.entry(k, j);
                    column.iter_mut().zip(*x).for_each(|(value, x)| *value += l * x);
                }
                column
            })
            .collect()
    }

    /// The integrals along some lines.
    fn integrals(&self, points: &[&[f64]], out: &mut [f64]) {
        let (slots, along) = (self.f.slots(), self.factor.rank - 1);
        let base = self.base(points, out.len());
        let longest = RULES[self.level].0;
        let (nodes, weights) = &self.rules[self.level];
        let (mut t, mut mass, mut ends) = (Vec::new(), Vec::new(), Vec::with_capacity(out.len()));
        for mut cuts in self.cuts(&base) {
            cuts.extend([-self.range, self.range]);
            cuts.sort_by(f64::total_cmp);
            for pair in cuts.windows(2) {
                let pieces = ((pair[1] - pair[0]) / longest).ceil();
                let half = 0.5 * (pair[1] - pair[0]) / pieces;
                for p in 0..pieces as usize {
                    let centre = pair[0] + (2.0 * p as f64 + 1.0) * half;
                    for (x, w) in nodes.iter().zip(weights) {
                        let x = centre + half * x;
                        t.push(x);
                        mass.push(half * w * normal::pdf(x));
                    }
                }
            }
            ends.push(t.len());
        }
        let mut columns = vec![Vec::with_capacity(t.len()); slots];
        for (k, column) in columns.iter_mut().enumerate() {
            let slope = self.factor.entry(k, along);
            let mut start = 0;
            for (&end, base) in ends.iter().zip(&base[k]) {
                column.extend(t[start..end].iter().map(|t| base + slope * t));
                start = end;
            }
        }
        let columns: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        let mut values = vec![0.0; t.len()];
        self.f.eval(&columns, &mut values);
        if let Some(j) = values.iter().position(|y| !y.is_finite()) {
            let at = columns.iter().map(|column| column[j]).collect();
            self.bad.borrow_mut().get_or_insert(GaussError::Value { at, value: values[j] });
        }
        let mut outside = 0.0;
        for ((value, mass), t) in values.iter_mut().zip(&mass).zip(&t) {
            *value *= mass;
            if self.range - 1.0 < t.abs() {
                outside += value.abs();
            }
        }
        let mut start = 0;
        for (out, &end) in out.iter_mut().zip(&ends) {
            *out = values[start..end].iter().sum();
            start = end;
        }
        self.lines.set(self.lines.get() + out.len());
        self.evaluated.set(self.evaluated.get() + t.len());
        self.outside.set(self.outside.get() + outside);
    }
}

impl Integrand for Smoothed<'_> {
    fn slots(&self) -> usize {
        self.factor.rank - 1
    }

    fn eval(&self, points: &[&[f64]], out: &mut [f64]) {
        for start in (0..out.len()).step_by(LINES) {
            let end = (start + LINES).min(out.len());
            let some: Vec<&[f64]> = points.iter().map(|column| &column[start..end]).collect();
            self.integrals(&some, &mut out[start..end]);
        }
    }

    fn kinks(&self, _: usize) -> &[f64] {
        &[]
    }

    /// Where cuts meet it is not.
    fn smooth(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use netsor_num::special;

    use super::*;
    use crate::{Covariance, Function};

    fn equicorrelated(d: usize, rho: f64) -> Covariance {
        Covariance::new(d, (0..d * d).map(|k| if k % (d + 1) == 0 { 1.0 } else { rho }).collect()).unwrap()
    }

    #[track_caller]
    fn check(f: &dyn Integrand, c: &Covariance, exact: f64, error: f64) {
        let tol = Tolerance { max_points: 1 << 24, ..Tolerance::default() };
        let found = expect(f, &c.factor(), &tol).unwrap().unwrap();
        assert!((found.value - exact).abs() <= found.error, "{found:?}, exactly {exact}");
        assert!(found.error <= error, "{found:?}");
    }

    /// Three jumps, the probability of an octant.
    #[test]
    fn octant() {
        let mut f = Function::new(3, |points, out| {
            for (j, y) in out.iter_mut().enumerate() {
                *y = points.iter().map(|x| special::step(x[j])).product();
            }
        });
        for k in 0..3 {
            f = f.with_kinks(k, &[0.0]);
        }
        check(&f, &equicorrelated(3, 0.5), 0.25, 1e-5);
    }

    /// The mean of the largest of some independent variables.
    #[test]
    fn maxima() {
        // 1/sqrt(pi) and 3/(2 sqrt(pi)).
        for (d, exact, error) in [(2, 0.564_189_583_547_756_3, 1e-12), (3, 0.846_284_375_321_634_5, 1e-5)] {
            let mut f = Function::new(d, |points, out| {
                for (j, y) in out.iter_mut().enumerate() {
                    *y = points.iter().map(|x| x[j]).fold(f64::NEG_INFINITY, f64::max);
                }
            });
            for k in 1..d {
                f = f.with_surface(move |points, out| {
                    for (j, y) in out.iter_mut().enumerate() {
                        *y = points[..k].iter().map(|x| x[j]).fold(f64::NEG_INFINITY, f64::max) - points[k][j];
                    }
                });
            }
            check(&f, &equicorrelated(d, 0.0), exact, error);
        }
    }

    /// A jump along a curve, alone and times a kink: the jump's variable is integrated by the distribution function.
    #[test]
    fn curves() {
        let one = Function::new(1, |points, out| {
            for (y, v) in out.iter_mut().zip(points[0]) {
                *y = normal::cdf(2.0 * special::tanh(*v) - 0.5);
            }
        });
        let exact = crate::expect(&one, &equicorrelated(1, 0.0), &Tolerance::default()).unwrap().value;
        for (d, error) in [(2, 1e-12), (3, 1e-5)] {
            let mut f = Function::new(d as usize, move |points, out| {
                for (j, y) in out.iter_mut().enumerate() {
                    let others: f64 = points[2..].iter().map(|x| special::relu(x[j])).product();
                    *y = special::step(points[0][j] + 2.0 * special::tanh(points[1][j]) - 0.5) * others;
                }
            })
            .with_surface(|points, out| {
                for (j, y) in out.iter_mut().enumerate() {
                    *y = points[0][j] + 2.0 * special::tanh(points[1][j]) - 0.5;
                }
            });
            for k in 2..d as usize {
                f = f.with_kinks(k, &[0.0]);
            }
            check(&f, &equicorrelated(d as usize, 0.0), exact * normal::PDF_AT_ZERO.powi(d - 2), error);
        }
    }
}
