//! Functions with kinks or jumps, of one or two independent Gaussian variables.
//!
//! In one variable the line is cut where a slot passes one of its thresholds, and every piece is integrated adaptively.
//! In two variables the kinks are lines.
//! The axes are turned so that no kink line is near to parallel to the inner axis; then every inner integral is cut where its line crosses the kinks, and the outer integrand, which is analytic between the abscissas where two kinks cross, is cut there.
//! Correlations close to ±1, where two kink lines almost coincide, are harmless this way: both lines are almost parallel to the outer axis.

use netsor_num::normal;
use netsor_num::quadrature::{Integral, adaptive};

use crate::covariance::Factor;
use crate::integrand::Whitened;
use crate::{Estimate, GaussError, Integrand, Method, Tolerance};

/// The range of a variable to begin with: the normal law has 1e-22 outside.
const RANGE: f64 = 9.7;

/// Initial pieces of the line are no longer than this, so that one rule resolves the Gaussian weight on each.
const PIECE: f64 = 1.6;

/// What is aimed at where it is affordable, relative to `E |f|`.
const AIM: f64 = 1e-13;

/// The expectation for a factor of rank one or two.
///
/// It is taken twice, with different initial pieces.
/// A kink that was not declared can hide between the end of a piece and the first node, and no error estimate of one integration sees it; the two answers then differ by the effect.
pub(crate) fn expect(
    f: &dyn Integrand,
    factor: &Factor,
    tol: &Tolerance,
) -> Result<Option<Estimate>, GaussError> {
    let mut range = RANGE;
    loop {
        let integrate = |piece: f64| {
            let budget = tol.max_points / 2;
            if factor.rank == 1 {
                line(f, factor, range, piece, budget)
            } else {
                plane(f, factor, range, piece, budget)
            }
        };
        let (integral, points) = integrate(PIECE)?;
        // A function that grows like an exponential needs more of the line.
        if 1e-14 * integral.absolute < integral.outer && range < 37.0 {
            range += 4.0;
            continue;
        }
        let (second, more) = integrate(0.77 * PIECE)?;
        let difference = (second.value - integral.value).abs();
        let rounding = 16.0 * f64::EPSILON * second.absolute;
        let error = integral.error.min(second.error) + 2.0 * difference + integral.outer + rounding;
        let method = Method::Quadrature {
            dims: factor.rank,
            points: points + more,
        };
        return Ok(Some(Estimate {
            value: second.value,
            error,
            method,
        }));
    }
}

/// An integral with the part of its absolute value that comes from the ends of the range.
struct Ranged {
    value: f64,
    error: f64,
    absolute: f64,
    outer: f64,
}

fn line(
    f: &dyn Integrand,
    factor: &Factor,
    range: f64,
    piece: f64,
    max_points: usize,
) -> Result<(Ranged, usize), GaussError> {
    let mut cuts = Vec::new();
    for k in 0..f.slots() {
        cuts.extend(f.kinks(k).iter().map(|t| t / factor.entry(k, 0)));
    }
    let mut whitened = Whitened::new(f, factor);
    let mut integrate = |breaks: &[f64], budget| {
        adaptive(breaks, 0.0, AIM, budget, |x, y| {
            whitened.eval(&[x], y);
            for (y, x) in y.iter_mut().zip(x) {
                *y *= normal::pdf(*x);
            }
        })
    };
    let integral = integrate(&breaks(&mut cuts, range, piece), max_points);
    // The last unit at each end.
    let ends = integrate(&[-range, 1.0 - range], 15).absolute
        + integrate(&[range - 1.0, range], 15).absolute;
    whitened.check()?;
    Ok((ranged(integral, ends), whitened.points))
}

fn ranged(integral: Integral, outer: f64) -> Ranged {
    Ranged {
        value: integral.value,
        error: integral.error,
        absolute: integral.absolute,
        outer,
    }
}

fn plane(
    f: &dyn Integrand,
    factor: &Factor,
    range: f64,
    piece: f64,
    max_points: usize,
) -> Result<(Ranged, usize), GaussError> {
    let factor = &factor.turned(inner_direction(f, factor));
    // Kink lines a x + b y = t with a^2 + b^2 = 1.
    let mut lines = Vec::new();
    for k in 0..f.slots() {
        let (a, b) = (factor.entry(k, 0), factor.entry(k, 1));
        let length = libm::hypot(a, b);
        if length != 0.0 {
            lines.extend(
                f.kinks(k)
                    .iter()
                    .map(|t| [a / length, b / length, t / length]),
            );
        }
    }
    let mut crossings = Vec::new();
    for (i, [a, b, t]) in lines.iter().enumerate() {
        if b.abs() < 1e-12 {
            crossings.push(t / a);
        }
        for [a2, b2, t2] in &lines[..i] {
            crossings.push((t * b2 - t2 * b) / (a * b2 - a2 * b));
        }
    }
    let mut whitened = Whitened::new(f, factor);
    let mut spent = 0;
    let mut inner_error = 0.0_f64;
    let mut inner = |x: f64| {
        let mut cuts: Vec<f64> = lines.iter().map(|[a, b, t]| (t - a * x) / b).collect();
        let left = max_points.saturating_sub(spent);
        let integral = adaptive(
            &breaks(&mut cuts, range, piece),
            0.0,
            0.1 * AIM,
            left.min(60_000),
            |y, out| {
                whitened.eval(&[&[x; 15], y], out);
                for (out, y) in out.iter_mut().zip(y) {
                    *out *= normal::pdf(*y);
                }
            },
        );
        spent += integral.evaluations;
        integral
    };
    // Seven points tell how large the function is and what an inner integral costs.
    let (mut size, mut cost) = (0.0, 1);
    for i in -3..=3 {
        let x = f64::from(i) + 0.1;
        let integral = inner(x);
        size += normal::pdf(x) * integral.absolute;
        cost = cost.max(integral.evaluations);
    }
    let mut outer = |breaks: &[f64], budget| {
        let mut absolute = 0.0;
        let integral = adaptive(breaks, AIM * size, 0.0, budget, |x, out| {
            for (out, x) in out.iter_mut().zip(x) {
                let weight = normal::pdf(*x);
                let integral = inner(*x);
                *out = weight * integral.value;
                inner_error = inner_error.max(weight * integral.error);
                absolute = f64::max(absolute, weight * integral.absolute);
            }
        });
        (integral, absolute)
    };
    let budget = 2 * max_points / (3 * cost);
    let (mut integral, largest) = outer(&breaks(&mut crossings, range, piece), budget.max(300));
    // The last unit at each end.
    let ends = outer(&[-range, 1.0 - range], 15).1 + outer(&[range - 1.0, range], 15).1;
    whitened.check()?;
    // The value may be small by cancellation: what the inner integrals do not know counts on the whole range.
    integral.error += inner_error * 2.0 * range.min(6.0);
    integral.absolute = integral.absolute.max(largest).max(size);
    Ok((ranged(integral, ends), whitened.points))
}

/// The angle that makes the smallest angle between a kink line and the inner axis as large as possible.
fn inner_direction(f: &dyn Integrand, factor: &Factor) -> f64 {
    let normals: Vec<f64> = (0..f.slots())
        .filter(|k| !f.kinks(*k).is_empty())
        .map(|k| libm::atan2(factor.entry(k, 1), factor.entry(k, 0)))
        .collect();
    if normals.is_empty() {
        return 0.0;
    }
    const STEPS: usize = 180;
    let clearance = |angle: f64| {
        normals
            .iter()
            .map(|n| libm::cos(n - angle).abs())
            .fold(f64::INFINITY, f64::min)
    };
    let inner = (0..STEPS)
        .map(|i| std::f64::consts::PI * i as f64 / STEPS as f64)
        .fold((0.0, f64::NEG_INFINITY), |best, angle| {
            let value = clearance(angle);
            if best.1 + 1e-9 < value {
                (angle, value)
            } else {
                best
            }
        })
        .0;
    // `turned(t)` makes (-sin t, cos t) the inner axis.
    inner - std::f64::consts::FRAC_PI_2
}

/// The pieces of `[-range, range]`: cut at the given places, and finely enough for the Gaussian weight.
fn breaks(cuts: &mut Vec<f64>, range: f64, piece: f64) -> Vec<f64> {
    cuts.retain(|x| x.abs() < range);
    cuts.push(-range);
    cuts.push(range);
    cuts.sort_by(f64::total_cmp);
    cuts.dedup();
    let mut all = Vec::with_capacity(2 * cuts.len());
    for pair in cuts.windows(2) {
        let n = ((pair[1] - pair[0]) / piece).ceil();
        all.extend((0..n as usize).map(|i| pair[0] + (pair[1] - pair[0]) * (i as f64 / n)));
    }
    all.push(range);
    all
}
