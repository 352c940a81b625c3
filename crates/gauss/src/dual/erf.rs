//! Polynomials times Gaussians times error functions.
//!
//! Gaussian factors change the law; Stein's lemma lowers the powers; what remains is the arcsine law
//! `E erf(a u) erf(b v) = (2/pi) asin(2 a b uv / sqrt((1 + 2 a^2 uu)(1 + 2 b^2 vv)))` (Williams 1997).
//! Rates enter as `e = 1/(2 a^2)`, so that an infinite rate, the sign function, is the ordinary value `e = 0`.
//!
//! Functions such as gelu vanish on one side, which `1 + erf` hides: at negative correlations the parts of a product
//! cancel. There `(1 + erf(a u))/2` is taken as the probability that `0 < u + xi` for a normal `xi` of variance `e`. With
//! `X = u + xi` and `Y = v + eta` the expectation is one of a polynomial over the quadrant `0 < X, 0 < Y`, whose moments
//! are computed without cancellation.

use std::f64::consts::{FRAC_2_PI, PI};

use super::pair::{Pair, power};
use super::polynomial::binomial;
use super::rectified::quadrant;
use super::wave::isserlis;
use super::{Phase, Tally, WaveSum, WaveTerm};
use crate::GaussError;

/// One term `coefficient * u^power * exp(gauss * u^2) * erf(rate * u)`, without the last factor if `erf` is `None`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ErfTerm {
    /// The constant factor.
    pub coefficient: f64,
    /// The power of `u`.
    pub power: usize,
    /// The rate of the error function; infinite for the sign function.
    pub erf: Option<f64>,
    /// The rate of the Gaussian, negative where it decays.
    pub gauss: f64,
}

/// A sum of [`ErfTerm`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct ErfSum {
    terms: Vec<ErfTerm>,
}

impl ErfSum {
    /// The sum of these terms; like terms are collected, zeros are dropped.
    pub fn new(terms: Vec<ErfTerm>) -> Self {
        let mut kept: Vec<ErfTerm> = Vec::new();
        for term in terms {
            let like = |k: &&mut ErfTerm| k.power == term.power && k.erf == term.erf && k.gauss == term.gauss;
            match kept.iter_mut().find(like) {
                Some(like) => like.coefficient += term.coefficient,
                None => kept.push(term),
            }
        }
        kept.retain(|term| term.coefficient != 0.0 && term.erf != Some(0.0));
        Self { terms: kept }
    }

    /// The terms.
    pub fn terms(&self) -> &[ErfTerm] {
        &self.terms
    }

    /// The constant 1.
    pub(super) fn one() -> Self {
        Self { terms: vec![ErfTerm { coefficient: 1.0, power: 0, erf: None, gauss: 0.0 }] }
    }

    /// The value at `u`.
    pub fn eval(&self, u: f64) -> f64 {
        let term = |t: &Part| t.coefficient * power(u, t.power) * libm::exp(t.gauss * u * u) * t.factor.eval(u);
        self.parts().iter().map(term).sum()
    }

    /// The sum with `c + c erf(a u)` in one piece.
    fn parts(&self) -> Vec<Part> {
        let mut plain: Vec<ErfTerm> = self.terms.iter().copied().filter(|t| t.erf.is_none()).collect();
        let mut parts = Vec::with_capacity(self.terms.len());
        for t in &self.terms {
            let Some(rate) = t.erf else { continue };
            let part = |coefficient, factor| Part { coefficient, power: t.power, gauss: t.gauss, factor };
            let (e, sign) = (0.5 / (rate * rate), rate.signum());
            let like = plain.iter_mut().find(|p| p.power == t.power && p.gauss == t.gauss);
            let one_sided = like.and_then(|like| {
                // c + d erf = (c - d) + 2 d Phi(a u) = (c + d) - 2 d Phi(-a u)
                let side = if (like.coefficient < 0.0) == (t.coefficient < 0.0) { 1.0 } else { -1.0 };
                let rest = like.coefficient - side * t.coefficient;
                (rest.abs() < 0.5 * t.coefficient.abs()).then(|| {
                    like.coefficient = rest;
                    part(side * 2.0 * t.coefficient, Factor::Phi(Normal { e, sign: side * sign }))
                })
            });
            parts.push(one_sided.unwrap_or_else(|| part(t.coefficient, Factor::Erf(Normal { e, sign }))));
        }
        let rest = plain.into_iter().filter(|p| p.coefficient != 0.0);
        let one = |p: ErfTerm| Part { coefficient: p.coefficient, power: p.power, gauss: p.gauss, factor: Factor::One };
        parts.extend(rest.map(one));
        parts
    }

    /// The derivative.
    pub fn derivative(&self) -> Self {
        let mut terms = Vec::new();
        for t in &self.terms {
            if 0 < t.power {
                terms.push(ErfTerm { coefficient: t.coefficient * t.power as f64, power: t.power - 1, ..*t });
            }
            if t.gauss != 0.0 {
                terms.push(ErfTerm { coefficient: 2.0 * t.gauss * t.coefficient, power: t.power + 1, ..*t });
            }
            if let Some(rate) = t.erf {
                let slope = 2.0 * rate / libm::sqrt(PI);
                terms.push(ErfTerm {
                    coefficient: slope * t.coefficient,
                    erf: None,
                    gauss: t.gauss - rate * rate,
                    ..*t
                });
            }
        }
        Self::new(terms)
    }

    pub(super) fn to_wave(&self) -> Option<WaveSum> {
        let term = |t: &ErfTerm| {
            t.erf.is_none().then_some(WaveTerm {
                coefficient: t.coefficient,
                power: t.power,
                gauss: t.gauss,
                rate: 0.0,
                frequency: 0.0,
                phase: Phase::Cos,
            })
        };
        self.terms.iter().map(term).collect::<Option<Vec<_>>>().map(WaveSum::new)
    }
}

/// `E f(u) g(v)` for positive variances (or a constant second variable).
pub(super) fn dual(f: &ErfSum, g: &ErfSum, pair: &Pair) -> Result<Tally, GaussError> {
    let (f, g) = (f.parts(), g.parts());
    let mut acc = Tally::default();
    for s in &f {
        for t in &g {
            let (law, mass) = pair.tilted(s.gauss, t.gauss)?;
            let value = product(&law, s.power, t.power, s.factor, t.factor);
            acc = acc.plus(value.times(mass * s.coefficient * t.coefficient));
        }
    }
    Ok(acc)
}

/// One term `coefficient * u^power * exp(gauss * u^2)` times a factor.
#[derive(Clone, Copy, Debug)]
struct Part {
    coefficient: f64,
    power: usize,
    gauss: f64,
    factor: Factor,
}

/// The rate of an error function as its sign and `e = 1/(2 a^2)`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Normal {
    e: f64,
    sign: f64,
}

/// The factor in one variable: 1, `erf(a u)`, or `Phi = (1 + erf(a u))/2`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Factor {
    One,
    Erf(Normal),
    Phi(Normal),
}

impl Factor {
    fn parity(self) -> usize {
        usize::from(self != Self::One)
    }

    fn eval(self, u: f64) -> f64 {
        let argument = |n: Normal| n.sign * u * libm::sqrt(0.5 / n.e);
        match self {
            Self::One => 1.0,
            Self::Erf(n) if n.e == 0.0 => n.sign * netsor_num::special::sign(u),
            Self::Erf(n) => libm::erf(argument(n)),
            Self::Phi(n) if n.e == 0.0 => 0.5 * (1.0 + n.sign * netsor_num::special::sign(u)),
            Self::Phi(n) => 0.5 * libm::erfc(-argument(n)),
        }
    }
}

/// `E u^i v^j a(u) b(v)`.
fn product(law: &Pair, i: usize, j: usize, a: Factor, b: Factor) -> Tally {
    let half = |a: Factor, b: Factor| moment(law, i, j, a, b).times(0.5);
    match (a, b) {
        (Factor::Phi(a), Factor::Phi(b)) if a.sign * b.sign * law.uv() < 0.0 => quadrant_moment(law, i, j, a, b),
        (Factor::Phi(a), Factor::Phi(b)) => {
            let (a, b) = (Factor::Erf(a), Factor::Erf(b));
            let even = half(Factor::One, Factor::One).plus(half(a, b));
            even.plus(half(a, Factor::One)).plus(half(Factor::One, b)).times(0.5)
        }
        // Of the constant and the error function one has the wrong parity.
        (Factor::Phi(a), b) => half(Factor::One, b).plus(half(Factor::Erf(a), b)),
        (a, Factor::Phi(b)) => half(a, Factor::One).plus(half(a, Factor::Erf(b))),
        (a, b) => moment(law, i, j, a, b),
    }
}

/// `E u^i v^j Phi Phi` where the two variables are on opposite sides: `u = alpha X + beta Y + r`, `v = gamma X + delta Y + s`
/// given `X = u + xi`, `Y = v + eta`, over the quadrant `0 < X, 0 < Y`.
fn quadrant_moment(law: &Pair, i: usize, j: usize, a: Normal, b: Normal) -> Tally {
    // With the signs of the variables turned so that both factors rise.
    let turned = power(a.sign, i) * power(b.sign, j);
    let uv = a.sign * b.sign * law.uv();
    let (e, f) = (a.e, b.e);
    let det = law.det() + law.uu() * f + law.vv() * e + e * f;
    if det == 0.0 {
        return Tally::default();
    }
    let (alpha, beta) = ((law.det() + law.uu() * f) / det, uv * e / det);
    let (gamma, delta) = (uv * f / det, (law.det() + law.vv() * e) / det);
    let rest = Pair::with_det(e * alpha, uv * e * f / det, f * delta, 0.0);
    let noisy = Pair::with_det(law.uu() + e, uv, law.vv() + f, det);
    let over_quadrant = |k: usize, l: usize| noisy.scale(k, l) * quadrant(k, l, noisy.rho(), noisy.sine());
    let mut acc = Tally::default();
    for p in 0..=i {
        for q in (p % 2..=j).step_by(2) {
            let remaining = binomial(i, p) * binomial(j, q) * isserlis(p, q, &rest);
            // (alpha X + beta Y)^n (gamma X + delta Y)^m
            let (n, m) = (i - p, j - q);
            for k in 0..=n {
                for l in 0..=m {
                    let first = binomial(n, k) * power(alpha, n - k) * power(beta, k);
                    let second = binomial(m, l) * power(gamma, m - l) * power(delta, l);
                    let weight = turned * remaining * first * second;
                    if weight != 0.0 {
                        acc = acc.plus(Tally::of(weight * over_quadrant(n - k + m - l, k + l)));
                    }
                }
            }
        }
    }
    acc
}

/// The same for factors that are even or odd, by Stein's lemma.
fn moment(law: &Pair, i: usize, j: usize, a: Factor, b: Factor) -> Tally {
    if (i + j + a.parity() + b.parity()) % 2 == 1 {
        return Tally::default();
    }
    if i == 0 && j == 0 {
        return match (a, b) {
            (Factor::Erf(a), Factor::Erf(b)) => {
                let opposite = libm::sqrt(a.e * b.e + b.e * law.uu() + a.e * law.vv() + law.det());
                Tally::of(a.sign * b.sign * FRAC_2_PI * libm::atan2(law.uv(), opposite))
            }
            _ => Tally::of(1.0),
        };
    }
    if i == 0 {
        return moment(&law.swapped(), j, i, b, a);
    }
    // Stein: E u h = uu E h_u + uv E h_v with h = u^(i-1) v^j a(u) b(v).
    let mut acc = Tally::default();
    if 2 <= i {
        acc = acc.plus(moment(law, i - 2, j, a, b).times(law.uu() * (i - 1) as f64));
    }
    acc = acc.plus(bump(law, i - 1, j, a, b).times(law.uu()));
    if law.uv() != 0.0 {
        if 1 <= j {
            acc = acc.plus(moment(law, i - 1, j - 1, a, b).times(law.uv() * j as f64));
        }
        acc = acc.plus(bump(&law.swapped(), j, i - 1, b, a).times(law.uv()));
    }
    acc
}

/// `E u^i v^j a'(u) b(v)`: the derivative of an error function is a Gaussian, that of the sign twice a point mass.
fn bump(law: &Pair, i: usize, j: usize, a: Factor, b: Factor) -> Tally {
    let Factor::Erf(Normal { e, sign }) = a else {
        return Tally::default();
    };
    let width = e + law.uu();
    if width == 0.0 {
        return Tally::default();
    }
    let shrink = e / width;
    let narrowed =
        Pair::with_det(law.uu() * shrink, law.uv() * shrink, (law.vv() * e + law.det()) / width, law.det() * shrink);
    moment(&narrowed, i, j, Factor::One, b).times(sign * libm::sqrt(FRAC_2_PI) / libm::sqrt(width))
}
