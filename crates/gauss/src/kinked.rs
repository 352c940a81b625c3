//! Functions with kinks or jumps, of up to three independent Gaussian variables.
//!
//! The kinks are hyperplanes `a x = t`.
//! Integrals are nested: the innermost is cut where its line crosses the kinks and is analytic between the cuts; the next one is cut at the abscissas where two kinks cross within the line, found by elimination; and so on outwards.
//! The axes are turned so that no kink is near to parallel to the inner axis.
//! Landmarks of smooth functions, around which they vary quickly, are hyperplanes too, with a thickness: a line is cut on both sides of them at distances that double, and so is the next one where it meets the place at which two of them cross.
//! Correlations close to ±1, where two kinks almost coincide, are harmless this way: both are almost parallel to the outer axes.

use netsor_num::normal;
use netsor_num::quadrature::{Integral, adaptive};
use netsor_num::sobol::Sobol;

use crate::covariance::Factor;
use crate::directions::{completed, dot};
use crate::integrand::Whitened;
use crate::landmark::{Landmark, has_narrow_landmarks};
use crate::{Estimate, GaussError, Integrand, Method, Tolerance};

/// The most variables that are integrated one inside the other.
pub(crate) const MAX_RANK: usize = 3;

/// The range of a variable to begin with, by rank: the normal law has 1e-22, 1e-22, 1e-14 outside.
const RANGE: [f64; MAX_RANK] = [9.7, 9.7, 7.8];

/// Initial pieces of the line are no longer than this, so that one rule resolves the Gaussian weight on each.
const PIECE: [f64; MAX_RANK] = [1.6, 1.6, 3.2];

/// What is aimed at, relative to `E |f|`.
const AIM: [f64; MAX_RANK] = [1e-13, 1e-13, 2e-10];

/// The part of the aim that an integral inside of others may have.
const SHARE: [f64; MAX_RANK] = [1.0, 0.1, 0.02];

/// Evaluations of one integral inside of others, at most.
const INNER: usize = 30_000;

/// A function that is zero at all but so few of 1024 points has an unknown size; it is integrated to the absolute tolerance.
const RARE: usize = 32;

/// The expectation for a factor of rank one to three; `None` if it would cost too much.
///
/// In one and two variables it is taken twice, with different initial pieces.
/// A kink that was not declared can hide between the end of a piece and the first node, and no error estimate of one integration sees it; the two answers then differ by the effect.
/// In three variables only functions that declare kinks are taken, and their word is trusted.
pub(crate) fn expect(f: &dyn Integrand, factor: &Factor, tol: &Tolerance) -> Result<Option<Estimate>, GaussError> {
    expect_after(f, factor, tol, 0, AIM[factor.rank - 1])
}

/// The same for a function of one variable or two that is itself an integral over `inner` others: it costs as much as one
/// of them all. `aim` is what is aimed at, relative to `E |f|`.
pub(crate) fn expect_after(
    f: &dyn Integrand,
    factor: &Factor,
    tol: &Tolerance,
    inner: usize,
    aim: f64,
) -> Result<Option<Estimate>, GaussError> {
    let rank = factor.rank;
    let all = rank + inner;
    let mut range = RANGE[all - 1];
    let declared = (0..f.slots()).any(|k| !f.kinks(k).is_empty()) || has_narrow_landmarks(f, factor);
    if rank == MAX_RANK && !declared {
        return Ok(None);
    }
    let kinks = Kinks::new(f, factor);
    let dims = rank;
    loop {
        let piece = PIECE[all - 1];
        let runs = if all == MAX_RANK { 1 } else { 2 };
        // The budget may be overdrawn by a fifth at the end.
        let budget = tol.max_points + tol.max_points / 5;
        let budget = budget / runs;
        let Some(first) = Nest::new(f, &kinks, (range, piece), aim, budget).expect(tol)? else {
            return Ok(None);
        };
        // A function that grows like an exponential needs more of the line.
        if 0.1 * aim * first.absolute < first.outer && range < 37.0 {
            range += 4.0;
            continue;
        }
        let own = |run: &Run| run.error + run.outer + 16.0 * f64::EPSILON * run.absolute;
        if runs == 1 {
            let method = Method::Quadrature { dims, points: first.points };
            return Ok(Some(Estimate { value: first.value, error: own(&first), method }));
        }
        let Some(second) = Nest::new(f, &kinks, (range, 0.77 * piece), aim, budget).expect(tol)? else {
            return Ok(None);
        };
        let difference = (second.value - first.value).abs();
        let error = own(&first).min(own(&second)) + 2.0 * difference;
        let method = Method::Quadrature { dims, points: first.points + second.points };
        return Ok(Some(Estimate { value: second.value, error, method }));
    }
}

/// A hyperplane `normal x = threshold` in some of the outer variables.
#[derive(Clone, Debug)]
struct Plane {
    normal: Vec<f64>,
    threshold: f64,
    /// The thickness of a landmark; 0 for a kink.
    scale: f64,
}

impl Plane {
    /// With a normal of length one; `None` if there is no direction: a constant slot, or hyperplanes that are parallel.
    fn new(normal: &[f64], threshold: f64, scale: f64) -> Option<Self> {
        let length = libm::sqrt(normal.iter().map(|a| a * a).sum());
        (0.0 < length).then(|| Self {
            normal: normal.iter().map(|a| a / length).collect(),
            threshold: threshold / length,
            scale: scale / length,
        })
    }

    /// The coefficient of the innermost variable.
    fn last(&self) -> f64 {
        self.normal[self.normal.len() - 1]
    }

    /// The abscissa on the innermost axis, given the outer variables.
    fn cut(&self, outer: &[f64]) -> f64 {
        let fixed: f64 = self.normal.iter().zip(outer).map(|(a, x)| a * x).sum();
        (self.threshold - fixed) / self.last()
    }

    /// The same hyperplane after a change of the leading coordinates, the others as they are.
    fn turned(&self, axes: &[Vec<f64>]) -> Self {
        let (leading, rest) = self.normal.split_at(axes.len());
        let normal = axes.iter().map(|axis| dot(axis, leading)).chain(rest.iter().copied()).collect();
        Self { normal, ..*self }
    }
}

/// The kinks of a function in good coordinates.
struct Kinks {
    /// The factor in these coordinates, outermost variable first.
    factor: Factor,
    /// For each variable, where its integral has to be cut: hyperplanes in it and the variables outside of it.
    planes: Vec<Vec<Plane>>,
}

impl Kinks {
    fn new(f: &dyn Integrand, factor: &Factor) -> Self {
        let rank = factor.rank;
        let mut factor = factor.clone();
        let mut planes = vec![Vec::new(); rank];
        for k in 0..f.slots() {
            let normal: Vec<f64> = (0..rank).map(|j| factor.entry(k, j)).collect();
            for t in f.kinks(k) {
                add(&mut planes[rank - 1], Plane::new(&normal, *t, 0.0));
            }
            for landmark in f.landmarks(k).iter().filter(|l| l.narrow(factor.deviation(k))) {
                add(&mut planes[rank - 1], Plane::new(&normal, landmark.at, landmark.scale));
            }
        }
        for l in (1..rank).rev() {
            let axes = axes(&planes[l], l + 1);
            factor = factor.turned(&axes);
            for level in &mut planes[l..] {
                for plane in level.iter_mut() {
                    *plane = plane.turned(&axes);
                }
            }
            planes[l - 1] = crossings(&planes[l]);
        }
        Self { factor, planes }
    }
}

/// Where two hyperplanes cross, without the innermost variable; and those that do not depend on it.
fn crossings(planes: &[Plane]) -> Vec<Plane> {
    let mut all: Vec<Plane> = Vec::new();
    for (i, p) in planes.iter().enumerate() {
        let n = p.normal.len() - 1;
        if p.last().abs() < 1e-12 {
            add(&mut all, Plane::new(&p.normal[..n], p.threshold, p.scale));
        }
        for q in &planes[..i] {
            let eliminate = |a: f64, b: f64| a * q.last() - b * p.last();
            let normal: Vec<f64> = (0..n).map(|j| eliminate(p.normal[j], q.normal[j])).collect();
            // The distance at which the two are as far from each other on the line as they are thick together.
            let scale = p.scale * q.last().abs() + q.scale * p.last().abs();
            add(&mut all, Plane::new(&normal, eliminate(p.threshold, q.threshold), scale));
        }
    }
    all
}

/// Adds a hyperplane that is not there yet, up to rounding; of two landmarks in one place the thinner one counts.
fn add(planes: &mut Vec<Plane>, new: Option<Plane>) {
    let Some(new) = new else { return };
    let same = |old: &Plane| {
        let sign = dot(&old.normal, &new.normal).signum();
        let gap = |a: f64, b: f64| (a - sign * b).abs();
        let turned = old.normal.iter().zip(&new.normal).fold(0.0_f64, |m, (a, b)| m.max(gap(*a, *b)));
        turned < 1e-13 && gap(old.threshold, new.threshold) < 1e-13
    };
    let Some(at) = planes.iter().position(same) else {
        planes.push(new);
        return;
    };
    let old = &mut planes[at].scale;
    if *old == 0.0 || (0.0 < new.scale && new.scale < *old) {
        *old = new.scale;
    }
}

/// Orthonormal axes, the last of which is as far from parallel to every hyperplane as possible.
fn axes(planes: &[Plane], dims: usize) -> Vec<Vec<f64>> {
    let clearance = |axis: &[f64]| planes.iter().map(|p| dot(axis, &p.normal).abs()).fold(f64::INFINITY, f64::min);
    let identity: Vec<Vec<f64>> =
        (0..dims).map(|i| (0..dims).map(|j| if i == j { 1.0 } else { 0.0 }).collect()).collect();
    if planes.is_empty() {
        return identity;
    }
    let mut best = (clearance(&identity[dims - 1]), identity[dims - 1].clone());
    for axis in candidates(dims) {
        let value = clearance(&axis);
        if best.0 + 1e-9 < value {
            best = (value, axis);
        }
    }
    completed(best.1)
}

/// Directions spread evenly over the half circle or half sphere.
fn candidates(dims: usize) -> Vec<Vec<f64>> {
    use std::f64::consts::{PI, TAU};
    if dims == 2 {
        return (0..180).map(|i| PI * f64::from(i) / 180.0).map(|t| vec![libm::cos(t), libm::sin(t)]).collect();
    }
    let golden = 0.5 * (libm::sqrt(5.0) - 1.0);
    (0..600)
        .map(|i| {
            let z = (f64::from(i) + 0.5) / 600.0;
            let (r, t) = (libm::sqrt(1.0 - z * z), TAU * golden * f64::from(i));
            vec![r * libm::cos(t), r * libm::sin(t), z]
        })
        .collect()
}

/// One nested integration.
struct Nest<'a> {
    whitened: Whitened<'a>,
    planes: &'a [Vec<Plane>],
    range: f64,
    piece: f64,
    /// What is aimed at, relative to the size.
    relative: f64,
    /// Below what absolute error it does not matter.
    aim: f64,
    /// More evaluations than this are not made.
    max_points: usize,
}

/// What it found.
struct Run {
    value: f64,
    error: f64,
    absolute: f64,
    /// About the part of `E |f|` that comes from outside of the range.
    outer: f64,
    points: usize,
}

impl<'a> Nest<'a> {
    fn new(
        f: &'a dyn Integrand,
        kinks: &'a Kinks,
        (range, piece): (f64, f64),
        relative: f64,
        max_points: usize,
    ) -> Self {
        let whitened = Whitened::new(f, &kinks.factor);
        Self { whitened, planes: &kinks.planes, range, piece, relative, aim: 0.0, max_points }
    }

    fn rank(&self) -> usize {
        self.planes.len()
    }

    fn expect(mut self, tol: &Tolerance) -> Result<Option<Run>, GaussError> {
        let (size, hits) = self.size();
        self.aim = self.relative * size;
        if hits < RARE {
            self.aim = self.aim.max(1e-2 * tol.absolute);
        }
        let mut budget = self.max_points;
        if 1 < self.rank() {
            // A few abscissas tell what one inner integral costs.
            let before = self.whitened.points;
            let samples = [-2.3, -0.9, 0.1, 1.2, 2.6];
            for x in samples {
                self.level(1, &mut vec![x], normal::pdf(x), INNER);
            }
            let cost = (self.whitened.points - before) / samples.len() + 1;
            budget = 2 * self.max_points / (3 * cost);
            let needed = 15 * self.breaks(0, &[]).len();
            if self.rank() == MAX_RANK && budget < needed {
                return Ok(None);
            }
            budget = budget.max(needed);
        }
        let integral = self.level(0, &mut Vec::new(), 1.0, budget);
        let outer = self.ends();
        self.whitened.check()?;
        if !integral.error.is_finite() {
            return Ok(None);
        }
        let absolute = integral.absolute.max(size);
        Ok(Some(Run { value: integral.value, error: integral.error, absolute, outer, points: self.whitened.points }))
    }

    /// The integral over variable number `l` and those inside of it, given the outer ones and their weight.
    fn level(&mut self, l: usize, outer: &mut Vec<f64>, weight: f64, budget: usize) -> Integral {
        if self.max_points < self.whitened.points {
            return Integral { value: 0.0, error: f64::INFINITY, absolute: 0.0, evaluations: 0 };
        }
        let breaks = self.breaks(l, outer);
        let absolute = self.aim * SHARE[l] / weight.max(1e-30);
        if l + 1 == self.rank() {
            let fixed: Vec<[f64; 15]> = outer.iter().map(|x| [*x; 15]).collect();
            // A single variable is cheap enough for relative accuracy whatever the size.
            let (absolute, relative) = if l == 0 { (0.0, self.relative) } else { (absolute, 0.0) };
            return adaptive(&breaks, absolute, relative, budget, |y, out| {
                let columns: Vec<&[f64]> = fixed.iter().map(<[f64; 15]>::as_slice).chain([y.as_slice()]).collect();
                self.whitened.eval(&columns, out);
                for (out, y) in out.iter_mut().zip(y) {
                    *out *= normal::pdf(*y);
                }
            });
        }
        let (mut inner_error, mut inner_size) = (0.0_f64, 0.0_f64);
        let mut integral = adaptive(&breaks, absolute, 0.0, budget, |y, out| {
            for (out, y) in out.iter_mut().zip(y) {
                let density = normal::pdf(*y);
                outer.push(*y);
                let inner = self.level(l + 1, outer, weight * density, INNER);
                outer.pop();
                *out = density * inner.value;
                inner_error = inner_error.max(density * inner.error);
                inner_size = inner_size.max(density * inner.absolute);
            }
        });
        // The errors of the inner integrals, as if they were as large as the largest over the width of the normal law.
        integral.error += 6.0 * inner_error;
        integral.absolute = integral.absolute.max(inner_size);
        integral
    }

    /// The mean of `|f|` over a few well-spread points, and at how many of them it is not zero.
    fn size(&mut self) -> (f64, usize) {
        const POINTS: usize = 1024;
        let rank = self.rank();
        let sobol = Sobol::new(rank, 0, 0);
        let mut columns = vec![vec![0.0; POINTS]; rank];
        let mut point = vec![0.0; rank];
        for i in 0..POINTS {
            sobol.point(i as u64, &mut point);
            for (column, u) in columns.iter_mut().zip(&point) {
                column[i] = normal::quantile(*u);
            }
        }
        let mut out = vec![0.0; POINTS];
        let x: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
        self.whitened.eval(&x, &mut out);
        let mean = out.iter().map(|y| y.abs()).sum::<f64>() / POINTS as f64;
        (mean, out.iter().filter(|y| **y != 0.0).count())
    }

    /// About the integral of `|f|` over the first unit outside of the range at each end of every axis, through points inside.
    fn ends(&mut self) -> f64 {
        let rank = self.rank();
        let mut total = 0.0;
        let edge = self.range;
        for axis in 0..rank {
            for side in [-1.0, 1.0] {
                let nodes: Vec<f64> = (0..16).map(|i| side * (edge + (f64::from(i) + 0.5) / 16.0)).collect();
                for inside in [-2.0, -0.4, 0.4, 2.0] {
                    let fixed = [inside; 16];
                    let columns: Vec<&[f64]> =
                        (0..rank).map(|j| if j == axis { nodes.as_slice() } else { fixed.as_slice() }).collect();
                    let mut out = [0.0; 16];
                    self.whitened.eval(&columns, &mut out);
                    let sum: f64 = out.iter().zip(&nodes).map(|(y, x)| y.abs() * normal::pdf(*x)).sum();
                    total += sum / 16.0;
                    if rank == 1 {
                        break;
                    }
                }
            }
        }
        total
    }

    /// The pieces of the range: cut at the kinks, and finely enough for the Gaussian weight.
    fn breaks(&self, l: usize, outer: &[f64]) -> Vec<f64> {
        // Together the variables stay in a ball.
        let square: f64 = outer.iter().map(|x| x * x).sum();
        let range = libm::sqrt((self.range * self.range - square).max(1.0));
        let mut cuts = Vec::new();
        for plane in &self.planes[l] {
            let (at, scale) = (plane.cut(outer), plane.scale / plane.last().abs());
            if 0.0 < scale && at.abs() < 2.0 * range {
                cuts.extend(Landmark { at, scale }.cluster(self.piece));
            } else {
                cuts.push(at);
            }
        }
        cuts.retain(|x| x.abs() < range);
        cuts.push(-range);
        cuts.push(range);
        cuts.sort_by(f64::total_cmp);
        cuts.dedup();
        let mut all = Vec::with_capacity(2 * cuts.len());
        for pair in cuts.windows(2) {
            let n = ((pair[1] - pair[0]) / self.piece).ceil();
            all.extend((0..n as usize).map(|i| pair[0] + (pair[1] - pair[0]) * (i as f64 / n)));
        }
        all.push(range);
        all
    }
}
