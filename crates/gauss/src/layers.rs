//! Layers: neighbourhoods of surfaces in which a smooth function of several variables varies quickly.
//!
//! `tanh(c (u v - 2))` is constant but for a layer of thickness `1/c` around a hyperbola, and `exp(-(c (u v - 2))^2)` is
//! nothing but such a layer, which lies between all nodes of a grid. Where the layers are no landmarks of one slot, they
//! are looked for along lines: at zeros and turning points of the arguments of nonlinear functions.

use netsor_num::normal;
use netsor_num::sobol::Sobol;

use crate::covariance::Factor;
use crate::roots::{OnLines, refine, sign_changes};
use crate::{Integrand, Landmark};

/// Lines on which layers are looked for before an integral is taken, and places on each.
const PROBES: (usize, usize) = (36, 32);

/// How far lines go.
const RANGE: f64 = 8.3;

/// An argument that changes by less between two places, on both sides of an extremum or over a zero, has no layer there.
const LEAST: f64 = 1.5;

/// Steps of the golden section.
const STEPS: usize = 40;

/// Lengths that are tried, as powers of four.
const LENGTHS: usize = 24;

/// A layer that is no thinner is resolved by rules that know nothing of it.
const UNIT: f64 = 1.0;

/// Whether some argument of a function has layers that are thin beside the Gaussian law.
pub(crate) fn has_layers(f: &dyn Integrand, factor: &Factor) -> bool {
    if f.arguments() == 0 || factor.rank == 0 {
        return false;
    }
    // Lines along all axes through points of the Gaussian law.
    let sobol = Sobol::new(factor.rank, 0x1a7e, 0);
    let mut point = vec![0.0; factor.rank];
    let mut base = vec![vec![0.0; PROBES.0]; f.slots()];
    for line in 0..PROBES.0 {
        sobol.point(line as u64, &mut point);
        point.iter_mut().for_each(|u| *u = normal::quantile(*u));
        point[line % factor.rank] = 0.0;
        for (k, base) in base.iter_mut().enumerate() {
            base[line] = point.iter().enumerate().map(|(j, x)| factor.entry(k, j) * x).sum();
        }
    }
    let slope = |k: usize, line: usize| factor.entry(k, line % factor.rank);
    let mut found = vec![Vec::new(); PROBES.0];
    (0..f.arguments()).any(|argument| {
        let mut value = |lines: &[usize], t: &[f64]| {
            let at = |k: usize| lines.iter().zip(t).map(|(&l, t)| base[k][l] + slope(k, l) * t).collect();
            let slots: Vec<Vec<f64>> = (0..f.slots()).map(at).collect();
            let columns: Vec<&[f64]> = slots.iter().map(Vec::as_slice).collect();
            let mut out = vec![0.0; t.len()];
            f.argument(argument, &columns, &mut out);
            out
        };
        layers(RANGE, PROBES.1, &mut value, &mut found);
        found.iter().any(|places| !places.is_empty())
    })
}

/// Adds to `found[line]` where an argument vanishes or turns in `[-range, range]`, with the lengths in which it changes by
/// one, if they are small; it is looked at in `cells` places first.
pub(crate) fn layers(range: f64, cells: usize, f: &mut OnLines<'_>, found: &mut [Vec<Landmark>]) {
    let places: Vec<f64> = (0..=cells).map(|i| range * (2.0 * i as f64 / cells as f64 - 1.0)).collect();
    let lines: Vec<usize> = (0..found.len()).flat_map(|line| std::iter::repeat_n(line, places.len())).collect();
    let t: Vec<f64> = found.iter().flat_map(|_| places.iter().copied()).collect();
    let values = f(&lines, &t);
    let mut at: Vec<(usize, f64)> = Vec::new();
    let steep = |i: &usize| LEAST <= (values[*i] - values[i + 1]).abs();
    let brackets = sign_changes(cells, &lines, &t, &values).filter(|(i, _)| steep(i)).map(|(_, bracket)| bracket);
    refine(brackets.collect(), f, &mut |line, root| at.push((line, root)));
    at.extend(extrema(cells, &lines, &t, &values, f));
    if at.is_empty() {
        return;
    }
    // The lengths of all places at once.
    let steps: Vec<f64> = (0..LENGTHS).map(|j| UNIT * libm::ldexp(1.0, -2 * j as i32)).collect();
    let around = |x: f64| steps.iter().flat_map(move |d| [x - d, x + d]).chain([x]);
    let lines: Vec<usize> = at.iter().flat_map(|(line, _)| std::iter::repeat_n(*line, 2 * LENGTHS + 1)).collect();
    let t: Vec<f64> = at.iter().flat_map(|(_, x)| around(*x)).collect();
    let values = f(&lines, &t);
    for ((line, at), values) in at.into_iter().zip(values.chunks_exact(2 * LENGTHS + 1)) {
        let own = values[2 * LENGTHS];
        let changed = |pair: &[f64]| pair.iter().any(|v| 1.0 <= (v - own).abs());
        let smallest = values.chunks_exact(2).take(LENGTHS).rposition(changed);
        // The change is somewhere between this length and a fourth of it.
        if let Some(scale) = smallest.map(|j| 0.5 * steps[j])
            && (Landmark { at, scale }).narrow(UNIT)
        {
            found[line].push(Landmark { at, scale });
        }
    }
}

/// Where an argument turns, by the golden section.
fn extrema(cells: usize, lines: &[usize], t: &[f64], values: &[f64], f: &mut OnLines<'_>) -> Vec<(usize, f64)> {
    let ratio = 0.5 * (libm::sqrt(5.0) - 1.0);
    // 1 for a maximum, -1 for a minimum.
    let sign = |i: usize| {
        let (a, b) = (values[i] - values[i - 1], values[i] - values[i + 1]);
        let steep = LEAST <= a.abs().max(b.abs()) && a != 0.0 && b != 0.0;
        if steep && a.signum() == b.signum() { a.signum() } else { 0.0 }
    };
    let inner = |i: &usize| (1..cells).contains(&(i % (cells + 1)));
    let turning = (0..t.len()).filter(inner).map(|i| (i, sign(i))).filter(|(_, s)| *s != 0.0);
    let mut brackets: Vec<(usize, f64, [f64; 2])> =
        turning.map(|(i, sign)| (lines[i], sign, [t[i - 1], t[i + 1]])).collect();
    if brackets.is_empty() {
        return Vec::new();
    }
    let lines: Vec<usize> = brackets.iter().flat_map(|b| [b.0, b.0]).collect();
    for _ in 0..STEPS {
        let inner = |&(_, _, [a, b]): &(usize, f64, [f64; 2])| [b - ratio * (b - a), a + ratio * (b - a)];
        let points: Vec<f64> = brackets.iter().flat_map(inner).collect();
        let at = f(&lines, &points);
        for (((_, sign, ends), p), v) in brackets.iter_mut().zip(points.chunks_exact(2)).zip(at.chunks_exact(2)) {
            if *sign * v[0] < *sign * v[1] {
                ends[0] = p[0];
            } else {
                ends[1] = p[1];
            }
        }
    }
    brackets.iter().map(|(line, _, [a, b])| (*line, 0.5 * (a + b))).collect()
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use netsor_num::normal::{cdf, pdf};

    use crate::{Covariance, Estimate, Function, Integrand, Method, Part, Tolerance, expect, expect_product};

    /// `f(c (g(z) - a))` for a standard normal vector `z`.
    fn of<G>(dims: usize, slope: f64, at: f64, g: G, f: fn(f64) -> f64) -> impl Integrand
    where
        G: Fn(&[f64]) -> f64 + Copy + 'static,
    {
        let argument = move |points: &[&[f64]], out: &mut [f64]| {
            for (j, y) in out.iter_mut().enumerate() {
                let z: Vec<f64> = points.iter().map(|x| x[j]).collect();
                *y = slope * (g(&z) - at);
            }
        };
        let eval = move |points: &[&[f64]], out: &mut [f64]| {
            argument(points, out);
            out.iter_mut().for_each(|y| *y = f(*y));
        };
        Function::new(dims, eval).with_argument(argument)
    }

    fn identity(dims: usize) -> Covariance {
        Covariance::new(dims, (0..dims * dims).map(|k| if k % (dims + 1) == 0 { 1.0 } else { 0.0 }).collect()).unwrap()
    }

    /// Within the stated error, up to the order `1/c` to which the exact value is known, and the error is no larger than
    /// that share of the value.
    #[track_caller]
    fn check(found: Estimate, exact: f64, slope: f64, share: f64) {
        assert!((found.value - exact).abs() <= found.error + exact.abs() / slope, "{found:?}, exactly {exact}");
        assert!(found.error <= share * exact.abs(), "{found:?}, exactly {exact}");
    }

    /// The density of a product of two normal variables is `K_0(|z|)/pi`; at 2, `K_0` is 0.11389387274953343 (Abramowitz and
    /// Stegun, table 9.8). A narrow bump around the hyperbola has the density over the slope.
    #[test]
    fn bumps_around_a_hyperbola() {
        let tol = Tolerance { max_points: 1 << 19, ..Tolerance::default() };
        for slope in [1e3, 1e7] {
            let bump = of(2, slope, 2.0, |z| z[0] * z[1], pdf);
            let exact = 0.113_893_872_749_533_43 / PI / slope;
            check(expect(&bump, &identity(2), &tol).unwrap(), exact, slope, 1e-9);
            // Beside a factor in another variable.
            let even = Function::new(1, |x, out| out.iter_mut().zip(x[0]).for_each(|(y, x)| *y = x * x));
            let parts = [Part { slots: vec![0, 2], function: &bump }, Part { slots: vec![1], function: &even }];
            check(expect_product(&parts, &identity(3), &tol).unwrap(), exact, slope, 2e-2);
        }
    }

    /// The density of the squared length at 4 in 2, 3, 4 dimensions, and its distribution. Where a line touches the sphere the
    /// layer is long, so that accuracy is that of sampling; without layers all of these bumps were 0.
    #[test]
    fn bumps_around_spheres() {
        let square = |z: &[f64]| z.iter().map(|x| x * x).sum::<f64>();
        let (slope, tol) = (1e4, Tolerance { max_points: 1 << 19, ..Tolerance::default() });
        let e = (-2.0_f64).exp();
        for (dims, density, share) in [(2, 0.5 * e, 0.05), (3, 2.0 / (2.0 * PI).sqrt() * e, 0.4), (4, e, 0.4)] {
            check(
                expect(&of(dims, slope, 4.0, square, pdf), &identity(dims), &tol).unwrap(),
                density / slope,
                slope,
                share,
            );
        }
        check(expect(&of(2, slope, 4.0, square, cdf), &identity(2), &tol).unwrap(), e, slope, 1e-5);
        // In four variables `P(4 < |z|^2) = 3 exp(-2)`: points know more than lines.
        let found = expect(&of(4, slope, 4.0, square, cdf), &identity(4), &tol).unwrap();
        check(found, 3.0 * e, slope, 5e-3);
        assert!(matches!(found.method, Method::Qmc { .. }), "{found:?}");
    }

    /// In one independent variable: two slots that are the same up to a factor.
    #[test]
    fn in_one_variable() {
        let c = Covariance::new(2, vec![1.0, 2.0, 2.0, 4.0]).unwrap();
        let slope = 1e6;
        let bump = of(2, slope, 2.0, |z| z[0] * z[1], pdf);
        // `2 x^2 = 2` at 1 and -1, with slope 4.
        check(expect(&bump, &c, &Tolerance::default()).unwrap(), 2.0 * pdf(1.0) / 4.0 / slope, slope, 1e-9);
    }

    /// What varies slowly has no layers: the same numbers from the same points as without arguments.
    #[test]
    fn wide_functions_have_none() {
        let tol = Tolerance::default();
        let wide = of(2, 1.5, 0.25, |z| z[0] * z[1], f64::tanh);
        let plain = Function::new(2, |x, out| {
            out.iter_mut().enumerate().for_each(|(j, y)| *y = (1.5 * (x[0][j] * x[1][j] - 0.25)).tanh());
        });
        let c = identity(2);
        let (a, b) = (expect(&wide, &c, &tol).unwrap(), expect(&plain, &c, &tol).unwrap());
        assert!((a.value - b.value).abs() <= a.error + b.error, "{a:?} {b:?}");
        assert!(a.met(&tol));
    }
}
