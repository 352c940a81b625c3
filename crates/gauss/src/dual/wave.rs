//! Polynomials times Gaussians times exponentials and waves.
//!
//! `E u^n v^m exp(k u + l v) = exp((k^2 uu + 2 k l uv + l^2 vv)/2) E (u + mu)^n (v + nu)^m` with complex rates `k`, `l` and the shifts `mu = k uu + l uv`, `nu = k uv + l vv`; real and imaginary parts give the waves.

use super::pair::{Pair, power};
use super::polynomial::binomial;
use super::{ErfSum, ErfTerm, Tally};
use crate::GaussError;

/// Which of the two waves of a frequency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// The cosine; with frequency 0, the constant 1.
    Cos,
    /// The sine.
    Sin,
}

/// One term `coefficient * u^power * exp(gauss * u^2 + rate * u) * cos(frequency * u)`, or with the sine.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WaveTerm {
    /// The constant factor.
    pub coefficient: f64,
    /// The power of `u`.
    pub power: usize,
    /// The rate of the Gaussian, negative where it decays.
    pub gauss: f64,
    /// The rate of the exponential.
    pub rate: f64,
    /// The frequency of the wave.
    pub frequency: f64,
    /// Sine or cosine.
    pub phase: Phase,
}

/// A sum of [`WaveTerm`]s.
#[derive(Clone, Debug, PartialEq)]
pub struct WaveSum {
    terms: Vec<WaveTerm>,
}

impl WaveSum {
    /// The sum of these terms; like terms are collected, zeros are dropped.
    pub fn new(terms: Vec<WaveTerm>) -> Self {
        let mut kept: Vec<WaveTerm> = Vec::new();
        for term in terms {
            let bare = WaveTerm { coefficient: 0.0, ..term };
            match kept.iter_mut().find(|k| WaveTerm { coefficient: 0.0, ..**k } == bare) {
                Some(like) => like.coefficient += term.coefficient,
                None => kept.push(term),
            }
        }
        kept.retain(|term| term.coefficient != 0.0 && (term.phase == Phase::Cos || term.frequency != 0.0));
        Self { terms: kept }
    }

    /// The terms.
    pub fn terms(&self) -> &[WaveTerm] {
        &self.terms
    }

    /// The constant 1.
    pub(super) fn one() -> Self {
        let (coefficient, power) = (1.0, 0);
        Self { terms: vec![WaveTerm { coefficient, power, gauss: 0.0, rate: 0.0, frequency: 0.0, phase: Phase::Cos }] }
    }

    /// The value at `u`.
    pub fn eval(&self, u: f64) -> f64 {
        let term = |t: &WaveTerm| {
            let wave = match t.phase {
                Phase::Cos => libm::cos(t.frequency * u),
                Phase::Sin => libm::sin(t.frequency * u),
            };
            t.coefficient * power(u, t.power) * libm::exp(t.gauss * u * u + t.rate * u) * wave
        };
        self.terms.iter().map(term).sum()
    }

    /// The derivative.
    pub fn derivative(&self) -> Self {
        let mut terms = Vec::new();
        for t in &self.terms {
            let c = t.coefficient;
            if 0 < t.power {
                terms.push(WaveTerm { coefficient: c * t.power as f64, power: t.power - 1, ..*t });
            }
            terms.push(WaveTerm { coefficient: 2.0 * c * t.gauss, power: t.power + 1, ..*t });
            terms.push(WaveTerm { coefficient: c * t.rate, ..*t });
            let (factor, phase) = match t.phase {
                Phase::Cos => (-t.frequency, Phase::Sin),
                Phase::Sin => (t.frequency, Phase::Cos),
            };
            terms.push(WaveTerm { coefficient: c * factor, phase, ..*t });
        }
        Self::new(terms)
    }

    pub(super) fn to_erf(&self) -> Option<ErfSum> {
        let term = |t: &WaveTerm| {
            let plain = t.rate == 0.0 && t.frequency == 0.0;
            plain.then_some(ErfTerm { coefficient: t.coefficient, power: t.power, erf: None, gauss: t.gauss })
        };
        self.terms.iter().map(term).collect::<Option<Vec<_>>>().map(ErfSum::new)
    }
}

/// `E f(u) g(v)`.
pub(super) fn dual(f: &WaveSum, g: &WaveSum, pair: &Pair) -> Result<Tally, GaussError> {
    let mut acc = Tally::default();
    for s in &f.terms {
        for t in &g.terms {
            let (law, mass) = pair.tilted(s.gauss, t.gauss)?;
            acc = acc.plus(product(s, t, &law).times(mass * s.coefficient * t.coefficient));
        }
    }
    Ok(acc)
}

/// Two waves: half the sum or difference of the waves of the two relative orientations.
fn product(s: &WaveTerm, t: &WaveTerm, law: &Pair) -> Tally {
    if s.power == 0 && t.power == 0 {
        return waves(s, t, law);
    }
    let k = Complex { re: s.rate, im: s.frequency };
    let along = generating(k, Complex { re: t.rate, im: t.frequency }, s.power, t.power, law);
    let against = generating(k, Complex { re: t.rate, im: -t.frequency }, s.power, t.power, law);
    let size = 0.5 * (along.1 + against.1);
    let (along, against) = (along.0, against.0);
    let value = 0.5
        * match (s.phase, t.phase) {
            (Phase::Cos, Phase::Cos) => along.re + against.re,
            (Phase::Sin, Phase::Sin) => against.re - along.re,
            (Phase::Sin, Phase::Cos) => along.im + against.im,
            (Phase::Cos, Phase::Sin) => along.im - against.im,
        };
    Tally { value, size }
}

/// Without powers: `exp(K) cosh(i w mu)` or `exp(K) sinh(i w mu)/i` for the second wave, where no terms cancel.
fn waves(s: &WaveTerm, t: &WaveTerm, law: &Pair) -> Tally {
    let (a, w, b, x) = (s.rate, s.frequency, t.rate, t.frequency);
    // K collects what is even in the frequency of the second wave; z is what is odd.
    let k = Complex {
        re: 0.5 * ((a - w) * (a + w) * law.uu() + (b - x) * (b + x) * law.vv()) + a * b * law.uv(),
        im: w * (a * law.uu() + b * law.uv()),
    };
    let z = Complex { re: -x * w * law.uv(), im: x * (a * law.uv() + b * law.vv()) };
    let (wave, size) = match t.phase {
        Phase::Cos => cosh(k, z),
        Phase::Sin => {
            let (sinh, size) = sinh(k, z);
            (Complex { re: sinh.im, im: -sinh.re }, size)
        }
    };
    let value = match s.phase {
        Phase::Cos => wave.re,
        Phase::Sin => wave.im,
    };
    Tally { value, size: if size.is_finite() { size.max(value.abs()) } else { value.abs() } }
}

/// `exp(k) cosh(z)` and the size of it that counts for rounding.
fn cosh(k: Complex, z: Complex) -> (Complex, f64) {
    let (plus, minus) = (0.5 * libm::exp(k.re + z.re), 0.5 * libm::exp(k.re - z.re));
    let difference = scaled_sinh(k.re, z.re);
    let turned = Complex { re: (plus + minus) * libm::cos(z.im), im: difference * libm::sin(z.im) };
    (turned.rotated(k.im), relevant(turned, k.im))
}

/// `exp(k) sinh(z)`.
fn sinh(k: Complex, z: Complex) -> (Complex, f64) {
    let (plus, minus) = (0.5 * libm::exp(k.re + z.re), 0.5 * libm::exp(k.re - z.re));
    let difference = scaled_sinh(k.re, z.re);
    let turned = Complex { re: difference * libm::cos(z.im), im: (plus + minus) * libm::sin(z.im) };
    (turned.rotated(k.im), relevant(turned, k.im))
}

/// A rotation by zero mixes nothing: then each part is as good as itself.
fn relevant(turned: Complex, angle: f64) -> f64 {
    if angle == 0.0 { 0.0 } else { turned.re.abs() + turned.im.abs() }
}

/// `exp(k) sinh(z)` for real numbers, without cancellation for small `z` and without overflow for large.
fn scaled_sinh(k: f64, z: f64) -> f64 {
    if z.abs() < 1.0 { libm::exp(k) * libm::sinh(z) } else { 0.5 * (libm::exp(k + z) - libm::exp(k - z)) }
}

/// `E u^n v^m exp(k u + l v)` and the sum of the sizes of its terms.
fn generating(k: Complex, l: Complex, n: usize, m: usize, law: &Pair) -> (Complex, f64) {
    let exponent =
        k.times(k).scaled(0.5 * law.uu()).plus(l.times(l).scaled(0.5 * law.vv())).plus(k.times(l).scaled(law.uv()));
    let mu = k.scaled(law.uu()).plus(l.scaled(law.uv()));
    let nu = k.scaled(law.uv()).plus(l.scaled(law.vv()));
    let mut acc = Complex { re: 0.0, im: 0.0 };
    let mut size = 0.0;
    for i in 0..=n {
        for j in 0..=m {
            let moment = binomial(n, i) * binomial(m, j) * isserlis(i, j, law);
            if moment != 0.0 {
                let term = mu.power(n - i).times(nu.power(m - j)).scaled(moment);
                acc = acc.plus(term);
                size += term.re.abs() + term.im.abs();
            }
        }
    }
    let length = libm::exp(exponent.re);
    (acc.scaled(length).rotated(exponent.im), size * length)
}

/// `E u^i v^j` with mean zero.
pub(super) fn isserlis(i: usize, j: usize, law: &Pair) -> f64 {
    if (i + j) % 2 == 1 {
        return 0.0;
    }
    match (i, j) {
        (0, 0) => 1.0,
        (0, _) => isserlis(j, i, &law.swapped()),
        _ => {
            let own = if 2 <= i { (i - 1) as f64 * law.uu() * isserlis(i - 2, j, law) } else { 0.0 };
            let cross = if 1 <= j { j as f64 * law.uv() * isserlis(i - 1, j - 1, law) } else { 0.0 };
            own + cross
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Complex {
    re: f64,
    im: f64,
}

impl Complex {
    fn plus(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }

    fn times(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }

    fn scaled(self, factor: f64) -> Self {
        Self { re: self.re * factor, im: self.im * factor }
    }

    fn power(self, n: usize) -> Self {
        (0..n).fold(Self { re: 1.0, im: 0.0 }, |acc, _| acc.times(self))
    }

    /// Times `exp(i angle)`.
    fn rotated(self, angle: f64) -> Self {
        self.times(Self { re: libm::cos(angle), im: libm::sin(angle) })
    }
}
