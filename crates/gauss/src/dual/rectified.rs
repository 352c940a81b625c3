//! Rectified polynomials: a polynomial on each side of zero.
//!
//! The basic integrals are those over one quadrant, `M[i, j](rho) = E [0 < X, 0 < Y] X^i Y^j` for standard normal variables with correlation `rho`.
//! They are positive, and so are all terms of the ways in which they are computed here; what cancellation remains comes from the signs of the coefficients.
//!
//! * For `0 <= rho`, Stein's lemma: `M[i, j] = (i-1) M[i-2, j] + rho j M[i-1, j-1]` and boundary terms, down to the orthant probability.
//! * For `rho < 0`, polar coordinates: `M[i, j] = E R^(i+j) / (2 pi)` times the integral of `sin(a)^i sin(psi - a)^j` over the angle `psi = pi - acos(rho)` of the quadrant, which is entire and takes a fixed rule of 32 points to rounding.
//! * For odd functions at small `rho`, the difference `M[i, j](rho) - M[i, j](-rho)` as the integral of its derivative, again positive.

use std::f64::consts::{FRAC_PI_2, PI, TAU};
use std::sync::LazyLock;

use netsor_num::normal::PDF_AT_ZERO;
use netsor_num::quadrature::{Rule, gauss_legendre};

use super::pair::{Pair, power};
use super::polynomial::{binomial, derivative, eval, half_moment, moment, trimmed};
use super::{ErfSum, ErfTerm, Phase, Tally, WaveSum, WaveTerm};

/// The function `p(u) + step(u) q(u) + sign(u) r(u)`, with `step(0) = sign(0) = 0`.
#[derive(Clone, Debug, PartialEq)]
pub struct Rectified {
    p: Vec<f64>,
    q: Vec<f64>,
    r: Vec<f64>,
}

impl Rectified {
    /// The function with these polynomials, constant terms first.
    pub fn new(p: &[f64], q: &[f64], r: &[f64]) -> Self {
        Self { p: trimmed(p), q: trimmed(q), r: trimmed(r) }
    }

    /// The function that is the polynomial `right` for positive arguments, `left` for negative ones, and `zero` at zero.
    ///
    /// ```
    /// use netsor_gauss::dual::Rectified;
    ///
    /// // The square of the sign is 1, but 0 at zero.
    /// let square = Rectified::from_sides(&[1.0], &[1.0], 0.0);
    /// assert_eq!([-2.0, 0.0, 2.0].map(|u| square.eval(u)), [1.0, 0.0, 1.0]);
    /// ```
    pub fn from_sides(right: &[f64], left: &[f64], zero: f64) -> Self {
        let at = |c: &[f64], i: usize| c.get(i).copied().unwrap_or(0.0);
        let n = right.len().max(left.len()).max(1);
        // On the left p - r, on the right p + q + r, at zero p: only the constant term of r is needed.
        let p: Vec<f64> = (0..n).map(|i| if i == 0 { zero } else { at(left, i) }).collect();
        let r = zero - at(left, 0);
        let q: Vec<f64> =
            (0..n).map(|i| if i == 0 { at(right, 0) - zero - r } else { at(right, i) - at(left, i) }).collect();
        Self::new(&p, &q, &[r])
    }

    /// The value at `u`.
    pub fn eval(&self, u: f64) -> f64 {
        let side = if 0.0 < u {
            eval(&self.q, u) + eval(&self.r, u)
        } else if u < 0.0 {
            -eval(&self.r, u)
        } else {
            0.0
        };
        eval(&self.p, u) + side
    }

    /// The weak derivative, or `None` if the function jumps at zero.
    pub fn derivative(&self) -> Option<Self> {
        let jump = self.q.first().unwrap_or(&0.0) + 2.0 * self.r.first().unwrap_or(&0.0);
        if jump != 0.0 {
            return None;
        }
        // Jumps that cancel, as in 2 step - sign = 1, are moved to the polynomial first.
        let r0 = self.r.first().copied().unwrap_or(0.0);
        let mut fixed = self.clone();
        if r0 != 0.0 {
            fixed.r[0] = 0.0;
            fixed.q[0] = 0.0;
        }
        Some(Self::new(&derivative(&fixed.p), &derivative(&fixed.q), &derivative(&fixed.r)))
    }

    /// The coefficients for positive and for negative arguments, as long as each other.
    pub fn sides(&self) -> (Vec<f64>, Vec<f64>) {
        let n = self.p.len().max(self.q.len()).max(self.r.len());
        let at = |c: &[f64], i: usize| c.get(i).copied().unwrap_or(0.0);
        let right = (0..n).map(|i| at(&self.p, i) + at(&self.q, i) + at(&self.r, i)).collect();
        let left = (0..n).map(|i| at(&self.p, i) - at(&self.r, i)).collect();
        (right, left)
    }

    fn is_polynomial(&self) -> bool {
        self.q.is_empty() && self.r.is_empty()
    }

    /// With `step = (1 + sign)/2`, and the sign as an error function of infinite rate.
    pub(super) fn to_erf(&self) -> ErfSum {
        let terms = |c: &[f64], factor: f64, erf: Option<f64>| -> Vec<ErfTerm> {
            let term = |(power, c): (usize, &f64)| ErfTerm { coefficient: factor * c, power, erf, gauss: 0.0 };
            c.iter().enumerate().map(term).collect()
        };
        let mut all = terms(&self.p, 1.0, None);
        all.extend(terms(&self.q, 0.5, None));
        all.extend(terms(&self.q, 0.5, Some(f64::INFINITY)));
        all.extend(terms(&self.r, 1.0, Some(f64::INFINITY)));
        ErfSum::new(all)
    }

    pub(super) fn to_wave(&self) -> Option<WaveSum> {
        let term = |(power, c): (usize, &f64)| WaveTerm {
            coefficient: *c,
            power,
            gauss: 0.0,
            rate: 0.0,
            frequency: 0.0,
            phase: Phase::Cos,
        };
        self.is_polynomial().then(|| WaveSum::new(self.p.iter().enumerate().map(term).collect()))
    }
}

/// `E f(u)`.
pub(super) fn mean(f: &Rectified, pair: &Pair) -> Tally {
    weighted_mean(f, pair, 0)
}

/// `E f(u) (u / sd(u))^l`.
fn weighted_mean(f: &Rectified, pair: &Pair, l: usize) -> Tally {
    let (right, left) = f.sides();
    (0..right.len()).fold(Tally::default(), |acc, i| {
        let coefficient = right[i] + sign(i + l) * left[i];
        acc.plus(Tally::of(coefficient * half_moment(i + l) * pair.scale(i, 0)))
    })
}

/// `E f(u) g(v)` for positive variances.
pub(super) fn dual(f: &Rectified, g: &Rectified, pair: &Pair) -> Tally {
    match (f.is_polynomial(), g.is_polynomial()) {
        (true, true) => polynomials(f, g, pair),
        (false, true) => with_polynomial(f, &g.p, pair),
        (true, false) => with_polynomial(g, &f.p, &pair.swapped()),
        (false, false) => quadrants(f, g, pair),
    }
}

/// Isserlis' theorem for two monomials, sorted by the number `k` of contractions between them.
fn polynomials(f: &Rectified, g: &Rectified, pair: &Pair) -> Tally {
    let mut acc = Tally::default();
    for (i, a) in f.p.iter().enumerate() {
        for (j, b) in g.p.iter().enumerate() {
            if (i + j) % 2 == 1 || *a == 0.0 || *b == 0.0 {
                continue;
            }
            let contractions: f64 = (i % 2..=i.min(j))
                .step_by(2)
                .map(|k| {
                    let orders = binomial(i, k) * binomial(j, k) * (1..=k).map(|k| k as f64).product::<f64>();
                    orders * moment(i - k) * moment(j - k) * power(pair.rho(), k)
                })
                .sum();
            acc = acc.plus(Tally::of(a * b * contractions * pair.scale(i, j)));
        }
    }
    acc
}

/// `E f(u) p(v)`: in `v = rho u + c w` the independent `w` is integrated first.
fn with_polynomial(f: &Rectified, p: &[f64], pair: &Pair) -> Tally {
    let mut acc = Tally::default();
    for (j, b) in p.iter().enumerate() {
        if *b == 0.0 {
            continue;
        }
        for l in (j % 2..=j).step_by(2) {
            let factor = binomial(j, l) * power(pair.rho(), l) * power(pair.sine(), j - l) * moment(j - l);
            acc = acc.plus(weighted_mean(f, pair, l).times(b * factor * pair.scale(0, j)));
        }
    }
    acc
}

fn quadrants(f: &Rectified, g: &Rectified, pair: &Pair) -> Tally {
    let ((f_right, f_left), (g_right, g_left)) = (f.sides(), g.sides());
    let (rho, c) = (pair.rho(), pair.sine());
    let mut acc = Tally::default();
    for i in 0..f_right.len() {
        for j in 0..g_right.len() {
            // Quadrants where u and v have the same sign, and those where they have not.
            let same = f_right[i] * g_right[j] + sign(i + j) * f_left[i] * g_left[j];
            let opposite = sign(j) * f_right[i] * g_left[j] + sign(i) * f_left[i] * g_right[j];
            let scale = pair.scale(i, j);
            if same * opposite < 0.0 && rho.abs() < 0.5 {
                let even = 0.5 * (same + opposite);
                if even != 0.0 {
                    let sum = quadrant(i, j, rho, c) + quadrant(i, j, -rho, c);
                    acc = acc.plus(Tally::of(even * sum * scale));
                }
                acc = acc.plus(Tally::of(0.5 * (same - opposite) * difference(i, j, rho, c) * scale));
                continue;
            }
            if same != 0.0 {
                acc = acc.plus(Tally::of(same * quadrant(i, j, rho, c) * scale));
            }
            if opposite != 0.0 {
                acc = acc.plus(Tally::of(opposite * quadrant(i, j, -rho, c) * scale));
            }
        }
    }
    acc
}

fn sign(n: usize) -> f64 {
    if n.is_multiple_of(2) { 1.0 } else { -1.0 }
}

/// `M[i, j]` at correlation `rho` with `c = sqrt(1 - rho^2)`.
pub(super) fn quadrant(i: usize, j: usize, rho: f64, c: f64) -> f64 {
    if i == 0 && j == 0 {
        return libm::atan2(c, -rho) / TAU;
    }
    if rho < 0.0 { polar(i, j, rho, c) } else { stein(i, j, rho, c) }
}

/// The recursion from `E X g = E g_x + rho E g_y`, for `0 <= rho`.
fn stein(i: usize, j: usize, rho: f64, c: f64) -> f64 {
    match (i, j) {
        (0, 0) => libm::atan2(c, -rho) / TAU,
        (0, _) => stein(j, i, rho, c),
        (1, 0) => PDF_AT_ZERO * 0.5 * (1.0 + rho),
        (1, 1) => (c + rho * libm::atan2(c, -rho)) / TAU,
        _ => {
            let mut acc = 0.0;
            if 2 <= i {
                acc += (i - 1) as f64 * stein(i - 2, j, rho, c);
            } else {
                acc += PDF_AT_ZERO * power(c, j) * half_moment(j);
            }
            if j == 0 {
                acc += rho * PDF_AT_ZERO * power(c, i - 1) * half_moment(i - 1);
            } else if rho != 0.0 {
                acc += rho * j as f64 * stein(i - 1, j - 1, rho, c);
            }
            acc
        }
    }
}

static RULE: LazyLock<Rule> = LazyLock::new(|| gauss_legendre(32));

fn polar(i: usize, j: usize, rho: f64, c: f64) -> f64 {
    let psi = libm::atan2(c, -rho);
    let n = i + j;
    // E R^n for the length R of a standard normal vector in the plane.
    let radial: f64 = if n.is_multiple_of(2) {
        (2..=n).step_by(2).map(|k| k as f64).product()
    } else {
        libm::sqrt(FRAC_PI_2) * (3..=n).step_by(2).map(|k| k as f64).product::<f64>()
    };
    radial / TAU * RULE.integrate(0.0, psi, |a| power(libm::sin(a), i) * power(libm::sin(psi - a), j))
}

/// `M[i, j](rho) - M[i, j](-rho)` for `|rho| < 1/2`.
fn difference(i: usize, j: usize, rho: f64, c: f64) -> f64 {
    match (i, j) {
        (0, 0) => libm::atan2(rho, c) / PI,
        (0, n) | (n, 0) => {
            let boundary = 2.0 * PDF_AT_ZERO * n as f64 * half_moment(n - 1);
            boundary * RULE.integrate(0.0, rho, |r| power(libm::sqrt(1.0 - r * r), n - 1))
        }
        _ => {
            let integral = RULE.integrate(0.0, rho, |r| {
                let c = libm::sqrt(1.0 - r * r);
                quadrant(i - 1, j - 1, r, c) + quadrant(i - 1, j - 1, -r, c)
            });
            (i * j) as f64 * integral
        }
    }
}
