//! Smooth functions of up to five independent Gaussian variables, on product grids.
//!
//! The trapezoid rule under a Gaussian weight converges exponentially for functions that are analytic in a strip, and its step is refined in each variable by itself until the result stands still.
//! Successive grids have incommensurate steps and shifts, so that a wave cannot look the same to two of them.
//! Variables that move every slot by a small fraction of its standard deviation take Gauss-Hermite rules of a few nodes instead.
//! Points outside of a ball are left out where their weight is below the tolerance; the outer shell of the ball says whether it is large enough.

use netsor_num::quadrature::{Rule, gauss_hermite, trapezoid};
use netsor_num::sum::Compensated;

use crate::covariance::Factor;
use crate::integrand::Whitened;
use crate::{Estimate, GaussError, Integrand, Method, Tolerance};

/// Ratio of one step to the next.
const RATIO: f64 = 0.7;

/// A variable whose column is smaller than this, in units of the slots' standard deviations, gets Gauss-Hermite rules.
const SMALL: f64 = 0.05;

/// Evaluations that are spent on more accuracy than was asked for.
const CHEAP: usize = 20_000;

/// Points evaluated in one batch.
const BATCH: usize = 512;

/// Refines until the tolerance is met or `max_points` are spent; the last estimate in either case, `None` if not even two grids were affordable.
pub(crate) fn expect(f: &dyn Integrand, factor: &Factor, tol: &Tolerance) -> Result<Option<Estimate>, GaussError> {
    let rank = factor.rank;
    let mut grid = Grid::new(f, factor, tol);
    let mut best = None;
    loop {
        let base = grid.size();
        if tol.max_points < grid.whitened.points + base * (1 + 2 * rank) {
            return Ok(best);
        }
        let centre = grid.sum()?;
        // The tail outside of the ball is a fraction of the last shell inside: exp(-R/2) of it for bounded functions.
        let tail = centre.shell * libm::exp(-0.25 * grid.radius);
        if grid.tail_aim(tol, &centre) < tail && grid.radius < 37.0 {
            grid.radius += 1.0;
            continue;
        }
        let mut value = Compensated::default();
        value.add(centre.value);
        let mut changes = Vec::with_capacity(rank);
        for j in 0..rank {
            grid.level[j] += 1;
            let finer = grid.sum()?;
            grid.level[j] -= 1;
            value.add(finer.value - centre.value);
            changes.push((finer.value - centre.value).abs());
        }
        let value = value.value();
        let rounding = 16.0 * f64::EPSILON * centre.absolute;
        // The last changes bound what is left, since refinement converges geometrically or better;
        // the factor is for changes that happen to be small.
        let error = 2.5 * changes.iter().sum::<f64>() + tail + rounding;
        let estimate =
            Estimate { value, error, method: Method::Quadrature { dims: rank, points: grid.whitened.points } };
        best = Some(estimate);
        let exhausted = CHEAP < grid.whitened.points;
        let target = if exhausted { tol.allowed(value) } else { tol.allowed(value).min(1e-13 * centre.absolute) };
        if error - rounding <= target || (exhausted && estimate.met(tol)) {
            return Ok(best);
        }
        let share = 0.2 * target.max(rounding) / rank as f64;
        let mut moved = false;
        for (j, change) in changes.iter().enumerate() {
            if share < *change {
                // Far from the target two steps are taken at once.
                grid.level[j] += if 1e-3 * centre.absolute < changes[j] { 2 } else { 1 };
                moved = true;
            }
        }
        if !moved {
            return Ok(best);
        }
    }
}

/// A product grid in whitened coordinates.
struct Grid<'a> {
    whitened: Whitened<'a>,
    /// Refinements of each variable.
    level: Vec<u32>,
    small: Vec<bool>,
    step: f64,
    radius: f64,
}

/// What a sum over the grid found.
struct Sum {
    value: f64,
    /// The sum of absolute values.
    absolute: f64,
    /// The part of it that comes from the outer half unit of the ball.
    shell: f64,
}

impl<'a> Grid<'a> {
    fn new(f: &'a dyn Integrand, factor: &'a Factor, tol: &Tolerance) -> Self {
        let small: Vec<bool> = factor.relative.iter().map(|size| *size < SMALL).collect();
        let large = small.iter().filter(|small| !**small).count();
        let step = [0.45, 0.45, 0.6, 0.7, 0.75, 0.75][large];
        // Where few points suffice anyway the ball holds all but 1e-17 of the weight, else all but the tolerance.
        let aim = tol.absolute.max(tol.relative).clamp(1e-15, 1e-4);
        let radius = if large <= 2 { 9.0 } else { libm::sqrt(-2.0 * libm::log(0.1 * aim)) + 0.2 * large as f64 };
        Self { whitened: Whitened::new(f, factor), level: vec![0; factor.rank], small, step, radius }
    }

    fn rule(&self, j: usize) -> Rule {
        let level = self.level[j];
        if self.small[j] {
            return gauss_hermite(3 << level.min(8));
        }
        let h = self.step * RATIO.powi(level as i32);
        // Multiples of the golden ratio: no two levels or variables are shifted alike.
        let shift = (0.618_033_988_749_895 * (1.0 + f64::from(level) + 7.0 * j as f64)).fract();
        trapezoid(h, self.radius, shift)
    }

    /// How much may be missing outside of the ball.
    fn tail_aim(&self, tol: &Tolerance, sum: &Sum) -> f64 {
        if self.level.len() <= 2 {
            1e-15 * sum.absolute
        } else {
            0.1 * tol.allowed(sum.value).max(1e-14 * sum.absolute)
        }
    }

    /// About the number of points of the grid.
    fn size(&self) -> usize {
        // Volumes of the unit balls.
        const BALL: [f64; 6] = [1.0, 2.0, std::f64::consts::PI, 4.188_8, 4.934_8, 5.263_8];
        let mut large = 0;
        let mut size = 1.0;
        for (small, level) in self.small.iter().zip(&self.level) {
            if *small {
                size *= f64::from(3_u32 << (*level).min(8));
            } else {
                large += 1;
                size *= self.radius / (self.step * RATIO.powi(*level as i32));
            }
        }
        (BALL[large] * size) as usize
    }

    fn sum(&mut self) -> Result<Sum, GaussError> {
        let rules: Vec<Rule> = (0..self.level.len()).map(|j| self.rule(j)).collect();
        let mut batch = Batch::new(rules.len());
        let mut point = vec![0.0; rules.len()];
        self.visit(&rules, 0, 1.0, 0.0, &mut point, &mut batch)?;
        batch.flush(&mut self.whitened)?;
        Ok(Sum { value: batch.value.value(), absolute: batch.absolute, shell: batch.shell })
    }

    /// Adds all points whose first coordinates are in `point`, with product weight and squared length so far.
    fn visit(
        &mut self,
        rules: &[Rule],
        j: usize,
        weight: f64,
        square: f64,
        point: &mut [f64],
        batch: &mut Batch,
    ) -> Result<(), GaussError> {
        let Some(rule) = rules.get(j) else {
            let outer = (self.radius - 0.5) * (self.radius - 0.5) < square;
            return batch.push(point, weight, outer, &mut self.whitened);
        };
        for (x, w) in rule.nodes.iter().zip(&rule.weights) {
            // Nodes of Gauss-Hermite rules all count; their outer ones are not in the tail.
            let length = if self.small[j] { square } else { square + x * x };
            if length <= self.radius * self.radius {
                point[j] = *x;
                self.visit(rules, j + 1, weight * w, length, point, batch)?;
            }
        }
        Ok(())
    }
}

/// Points waiting for their evaluation, and the sums over those that had it.
struct Batch {
    points: Vec<Vec<f64>>,
    weights: Vec<f64>,
    outer: Vec<bool>,
    out: Vec<f64>,
    value: Compensated,
    absolute: f64,
    shell: f64,
}

impl Batch {
    fn new(rank: usize) -> Self {
        Self {
            points: vec![Vec::with_capacity(BATCH); rank],
            weights: Vec::with_capacity(BATCH),
            outer: Vec::with_capacity(BATCH),
            out: Vec::with_capacity(BATCH),
            value: Compensated::default(),
            absolute: 0.0,
            shell: 0.0,
        }
    }

    fn push(&mut self, point: &[f64], weight: f64, outer: bool, f: &mut Whitened<'_>) -> Result<(), GaussError> {
        for (column, x) in self.points.iter_mut().zip(point) {
            column.push(*x);
        }
        self.weights.push(weight);
        self.outer.push(outer);
        if self.weights.len() == BATCH { self.flush(f) } else { Ok(()) }
    }

    fn flush(&mut self, f: &mut Whitened<'_>) -> Result<(), GaussError> {
        self.out.clear();
        self.out.resize(self.weights.len(), 0.0);
        let columns: Vec<&[f64]> = self.points.iter().map(Vec::as_slice).collect();
        f.eval(&columns, &mut self.out);
        f.check()?;
        for ((y, w), outer) in self.out.iter().zip(&self.weights).zip(&self.outer) {
            let term = w * y;
            self.value.add(term);
            self.absolute += term.abs();
            if *outer {
                self.shell += term.abs();
            }
        }
        self.points.iter_mut().for_each(Vec::clear);
        self.weights.clear();
        self.outer.clear();
        Ok(())
    }
}
