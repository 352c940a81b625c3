//! Functions whose slots have deviations far above 1.
//!
//! The functions of the language vary where their arguments are of order one, about zero. Beside a deviation of a
//! million such a place is a point, and a rule whose nodes miss it sees two different constants and is content. Here the
//! line is cut at powers of two on either side of the zero of each slot, down to where the slot is a fraction of 1, and
//! each piece is integrated by Gauss' rule: the number of pieces grows with the logarithm of the deviation.

use netsor_num::normal::pdf;
use netsor_num::quadrature::{Rule, gauss_legendre};

use crate::covariance::Factor;
use crate::integrand::Whitened;
use crate::{Covariance, Estimate, GaussError, Integrand, Landmark, Method};

/// The least deviation that counts as far above 1.
const WIDE: f64 = 32.0;
/// The first power of two.
const FINEST: i32 = -2;
/// The range of a variable: the normal law has 1e-22 outside.
const RANGE: f64 = 9.7;
/// Pieces on which one rule resolves the weight.
const PIECE: f64 = 1.6;
/// Nodes of the rule on a piece, and of the one that it is compared with.
const NODES: [usize; 2] = [16, 11];
/// What may lie in the last pieces, relative to `E |f|`.
const OUTSIDE: f64 = 1e-14;

/// Whether a slot is that wide and the function smooth but at zeros of slots.
pub(crate) fn applies(f: &dyn Integrand, c: &Covariance) -> bool {
    let kinks = || (0..f.slots()).flat_map(|k| f.kinks(k));
    let simple = f.smooth() || (kinks().next().is_some() && kinks().all(|&t| t == 0.0));
    // What varies more quickly, or about other values, is cut by `kinked`.
    let about_zero = |l: &Landmark| l.at == 0.0 && libm::ldexp(1.0, FINEST) <= l.scale;
    let simple = simple && (0..f.slots()).flat_map(|k| f.landmarks(k)).all(about_zero);
    simple && f.surfaces() == 0 && (0..c.slots()).any(|k| WIDE * WIDE < c.entry(k, k))
}

/// The expectation for a factor of rank one or two; `None` if it has more, or the function grows too fast for the range.
pub(crate) fn expect(f: &dyn Integrand, factor: &Factor) -> Result<Option<Estimate>, GaussError> {
    if 2 < factor.rank {
        return Ok(None);
    }
    let mut points = 0;
    let mut sums = [Sums::default(); 2];
    for (sums, nodes) in sums.iter_mut().zip(NODES) {
        let mut whitened = Whitened::new(f, factor);
        *sums = outer(&mut whitened, factor, &gauss_legendre(nodes));
        whitened.check()?;
        points += whitened.points;
    }
    let [fine, coarse] = sums;
    // Nothing is learned from nodes at which the function vanishes.
    if fine.size == 0.0 || OUTSIDE * fine.size < fine.outside || !fine.value.is_finite() {
        return Ok(None);
    }
    let error = (fine.value - coarse.value).abs() + 64.0 * f64::EPSILON * fine.size;
    Ok(Some(Estimate { value: fine.value, error, method: Method::Quadrature { dims: factor.rank, points } }))
}

/// A sum, that of sizes, and what of the latter lies in the last pieces.
#[derive(Clone, Copy, Default)]
struct Sums {
    value: f64,
    size: f64,
    outside: f64,
}

fn outer(f: &mut Whitened<'_>, factor: &Factor, rule: &Rule) -> Sums {
    let slots = factor.slots();
    // Given the first variable, a slot is centred at a multiple of it: whatever the second one is integrated to, it has
    // its features about zero.
    let slopes: Vec<[f64; 2]> = (0..slots).map(|k| [0.0, factor.entry(k, 0)]).collect();
    let cuts = pieces(&slopes);
    let mut acc = Sums::default();
    for (piece, ends) in cuts.windows(2).enumerate() {
        let last = piece == 0 || piece + 2 == cuts.len();
        for (x, w) in nodes(rule, ends) {
            let inner = if factor.rank == 1 { point(f, x) } else { line(f, factor, rule, x) };
            acc.value += w * inner.value;
            acc.size += w * inner.size;
            acc.outside += w * if last { inner.size } else { inner.outside };
        }
    }
    acc
}

fn point(f: &mut Whitened<'_>, x: f64) -> Sums {
    let mut out = [0.0];
    f.eval(&[&[x]], &mut out);
    Sums { value: out[0], size: out[0].abs(), outside: 0.0 }
}

/// The integral over the second variable.
fn line(f: &mut Whitened<'_>, factor: &Factor, rule: &Rule, x: f64) -> Sums {
    let slopes: Vec<[f64; 2]> = (0..factor.slots()).map(|k| [factor.entry(k, 0) * x, factor.entry(k, 1)]).collect();
    let cuts = pieces(&slopes);
    let (mut y, mut weights) = (Vec::new(), Vec::new());
    for ends in cuts.windows(2) {
        for (node, w) in nodes(rule, ends) {
            y.push(node);
            weights.push(w);
        }
    }
    let mut out = vec![0.0; y.len()];
    f.eval(&[&vec![x; y.len()], &y], &mut out);
    let mut acc = Sums::default();
    let n = rule.nodes.len();
    for (j, (value, w)) in out.iter().zip(&weights).enumerate() {
        acc.value += w * value;
        acc.size += w * value.abs();
        if j < n || y.len() - n <= j {
            acc.outside += w * value.abs();
        }
    }
    acc
}

/// The nodes of a piece with their weights, the normal density among them.
fn nodes<'a>(rule: &'a Rule, ends: &[f64]) -> impl Iterator<Item = (f64, f64)> + 'a {
    let (middle, half) = (0.5 * (ends[0] + ends[1]), 0.5 * (ends[1] - ends[0]));
    rule.nodes.iter().zip(&rule.weights).map(move |(x, w)| {
        let node = middle + half * x;
        (node, half * w * pdf(node))
    })
}

/// The ends of the pieces of a line along which the slots are `a + b x`.
fn pieces(slots: &[[f64; 2]]) -> Vec<f64> {
    let steps = libm::ceil(2.0 * RANGE / PIECE) as usize;
    let mut cuts: Vec<f64> = (0..=steps).map(|k| RANGE * (2.0 * k as f64 / steps as f64 - 1.0)).collect();
    for &[a, b] in slots.iter().filter(|[_, b]| *b != 0.0) {
        let zero = -a / b;
        cuts.push(zero);
        let mut step = libm::ldexp(1.0, FINEST) / b.abs();
        while step < PIECE {
            cuts.extend([zero - step, zero + step]);
            step *= 2.0;
        }
    }
    cuts.retain(|x| x.abs() <= RANGE);
    cuts.sort_unstable_by(f64::total_cmp);
    cuts.dedup();
    cuts
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;
    use crate::{Function, Tolerance};

    #[track_caller]
    fn check(f: fn(f64) -> f64, kinked: bool, [uu, rho, vv]: [f64; 3], exact: f64) {
        let product = |points: &[&[f64]], out: &mut [f64]| {
            out.iter_mut().enumerate().for_each(|(j, y)| *y = f(points[0][j]) * f(points[1][j]));
        };
        let mut product = Function::new(2, product);
        if kinked {
            product = product.with_kinks(0, &[0.0]).with_kinks(1, &[0.0]);
        }
        let uv = rho * (uu * vv).sqrt();
        let covariance = Covariance::new(2, vec![uu, uv, uv, vv]).unwrap();
        let found = crate::expect(&product, &covariance, &Tolerance::default()).unwrap();
        assert!((found.value - exact).abs() <= 1e-10 * exact.abs(), "{uu} {rho} {vv}: {found:?}, exactly {exact}");
        assert!(found.met(&Tolerance::default()), "{found:?}");
    }

    /// `tanh^2 = 1 - sech^2` with the integral 2, `sech^4` with the integral 4/3, over the density `1/(s sqrt(2 pi))`: exact
    /// up to the order of `1/s^2` of what is there. Below 1, relu and the like are homogeneous.
    #[test]
    fn on_the_diagonal() {
        let sech = |x: f64| (1.0 / x.cosh()).powi(2);
        for exponent in [40, 100] {
            let s = 2f64.powi(exponent / 2);
            let density = 1.0 / (s * (2.0 * PI).sqrt());
            for sign in [1.0, -1.0] {
                check(f64::tanh, false, [s * s, sign, s * s], sign * (1.0 - 2.0 * density));
                check(sech, false, [s * s, sign, s * s], 4.0 / 3.0 * density);
            }
        }
    }

    /// `tanh` is a sign, and its slope a delta of mass 2, up to the order of `1/(1 - rho^2) s^2`.
    #[test]
    fn in_the_plane() {
        let sech = |x: f64| (1.0 / x.cosh()).powi(2);
        let s: f64 = 2f64.powi(50);
        for rho in [-0.9_f64, 0.25, 0.999] {
            let c = ((1.0 - rho) * (1.0 + rho)).sqrt();
            check(f64::tanh, false, [s * s, rho, s * s], 2.0 / PI * f64::asin(rho));
            check(sech, false, [s * s, rho, s * s], 4.0 / (2.0 * PI * s * s * c));
        }
        // One variable wide, one of order one: E tanh(u) tanh(v) = E sign(u) tanh(v), with the slope rho of v on u.
        let relu = |x: f64| x.max(0.0);
        check(relu, true, [1e6, 0.0, 1.0], 0.5 * 1e3 / PI);
    }

    /// What grows like an exponential is not cut off at the end of the range.
    #[test]
    fn growth_is_left_to_others() {
        let f = Function::new(1, |points: &[&[f64]], out: &mut [f64]| {
            out.iter_mut().zip(points[0]).for_each(|(y, x)| *y = (0.4 * x).exp());
        });
        let covariance = Covariance::new(1, vec![1600.0]).unwrap();
        assert_eq!(expect(&f, &covariance.factor()).unwrap(), None);
    }
}
