//! Polynomials times Gaussians times error functions.
//!
//! Gaussian factors change the law; Stein's lemma lowers the powers; what remains is the arcsine law
//! `E erf(a u) erf(b v) = (2/pi) asin(2 a b uv / sqrt((1 + 2 a^2 uu)(1 + 2 b^2 vv)))` (Williams 1997).
//! Rates enter as `e = 1/(2 a^2)`, so that an infinite rate, the sign function, is the ordinary value `e = 0`.

use std::f64::consts::{FRAC_2_PI, PI};

use super::pair::{Pair, power};
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
        let term = |t: &ErfTerm| {
            let erf = match t.erf {
                None => 1.0,
                Some(rate) if rate.is_infinite() => netsor_num::special::sign(u * rate.signum()),
                Some(rate) => libm::erf(rate * u),
            };
            t.coefficient * power(u, t.power) * libm::exp(t.gauss * u * u) * erf
        };
        self.terms.iter().map(term).sum()
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
    let mut acc = Tally::default();
    for s in &f.terms {
        for t in &g.terms {
            let (law, mass) = pair.tilted(s.gauss, t.gauss)?;
            let value = moment(&law, s.power, t.power, Spread::of(s.erf), Spread::of(t.erf));
            acc = acc.plus(value.times(mass * s.coefficient * t.coefficient));
        }
    }
    Ok(acc)
}

/// The factor in one variable: 1, or `erf(a u)` as `sign` times its spread `e = 1/(2 a^2)`.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Spread {
    One,
    Erf { e: f64, sign: f64 },
}

impl Spread {
    fn of(rate: Option<f64>) -> Self {
        rate.map_or(Self::One, |rate| Self::Erf { e: 0.5 / (rate * rate), sign: rate.signum() })
    }

    fn parity(self) -> usize {
        usize::from(self != Self::One)
    }
}

/// `E u^i v^j a(u) b(v)`.
fn moment(law: &Pair, i: usize, j: usize, a: Spread, b: Spread) -> Tally {
    if (i + j + a.parity() + b.parity()) % 2 == 1 {
        return Tally::default();
    }
    if i == 0 && j == 0 {
        return match (a, b) {
            (Spread::Erf { e, sign }, Spread::Erf { e: e2, sign: sign2 }) => {
                let opposite = libm::sqrt(e * e2 + e2 * law.uu() + e * law.vv() + law.det());
                Tally::of(sign * sign2 * FRAC_2_PI * libm::atan2(law.uv(), opposite))
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
fn bump(law: &Pair, i: usize, j: usize, a: Spread, b: Spread) -> Tally {
    let Spread::Erf { e, sign } = a else {
        return Tally::default();
    };
    let width = e + law.uu();
    if width == 0.0 {
        return Tally::default();
    }
    let shrink = e / width;
    let narrowed =
        Pair::with_det(law.uu() * shrink, law.uv() * shrink, (law.vv() * e + law.det()) / width, law.det() * shrink);
    moment(&narrowed, i, j, Spread::One, b).times(sign * libm::sqrt(FRAC_2_PI) / libm::sqrt(width))
}
