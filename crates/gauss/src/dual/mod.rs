//! Closed forms for `E f(u) g(v)` under a Gaussian law of two variables: the duals that kernels of wide networks are made of.
//!
//! An [`Activation`] is a member of one of three families, each closed under (weak) differentiation:
//!
//! | family | members | method |
//! | --- | --- | --- |
//! | [`Rectified`] | `p(u) + step(u) q(u) + sign(u) r(u)` with polynomials: relu, leaky relu, abs, step, sign, monomials and rectified ones | arc-cosine kernels (Cho and Saul 2009) of every pair of degrees, quadrant by quadrant |
//! | [`ErfSum`] | sums of `u^n exp(-b u^2)` times 1 or `erf(a u)`: erf, its derivatives, Gaussians, gelu | Stein's lemma down to the arcsine (Williams 1997) |
//! | [`WaveSum`] | sums of `u^n exp(a u - b u^2)` times `cos(w u)` or `sin(w u)` | the moment generating function, complex |
//!
//! Polynomials belong to all of them, so pairs across families are covered where one member is simple enough; for the rest there is [`expect`](crate::expect).
//! The error of an estimate is a bound on rounding, taken from the sizes of the terms: where they cancel, it says so.

mod erf;
mod pair;
mod polynomial;
mod rectified;
#[cfg(test)]
mod table;
mod wave;

pub use erf::{ErfSum, ErfTerm};
pub use rectified::Rectified;
pub use wave::{Phase, WaveSum, WaveTerm};

use pair::Pair;

use crate::{Estimate, GaussError, Method};

/// A function of one variable whose Gaussian expectations have closed forms.
#[derive(Clone, Debug, PartialEq)]
pub enum Activation {
    /// A polynomial on each side of zero.
    Rectified(Rectified),
    /// Polynomials times Gaussians times error functions.
    Erf(ErfSum),
    /// Polynomials times Gaussians times exponentials and waves.
    Wave(WaveSum),
}

impl Activation {
    /// The polynomial with these coefficients, constant term first.
    pub fn polynomial(coefficients: &[f64]) -> Self {
        Self::Rectified(Rectified::new(coefficients, &[], &[]))
    }

    /// A constant.
    pub fn constant(value: f64) -> Self {
        Self::polynomial(&[value])
    }

    /// The identity.
    pub fn identity() -> Self {
        Self::polynomial(&[0.0, 1.0])
    }

    /// The power `u^n`.
    pub fn monomial(n: usize) -> Self {
        Self::polynomial(&unit(n))
    }

    /// The Hermite polynomial of degree `n` that is orthonormal under the standard normal law.
    pub fn hermite(n: usize) -> Self {
        let (mut before, mut h) = (Vec::new(), vec![1.0]);
        for k in 0..n {
            let k = k as f64;
            let mut next = vec![0.0; h.len() + 1];
            for (i, c) in h.iter().enumerate() {
                next[i + 1] += c / libm::sqrt(k + 1.0);
            }
            for (i, c) in before.iter().enumerate() {
                let c: &f64 = c;
                next[i] -= c * libm::sqrt(k / (k + 1.0));
            }
            (before, h) = (h, next);
        }
        Self::polynomial(&h)
    }

    /// `max(u, 0)`.
    pub fn relu() -> Self {
        Self::rectified_monomial(1)
    }

    /// `step(u) u^n`.
    pub fn rectified_monomial(n: usize) -> Self {
        Self::Rectified(Rectified::new(&[], &unit(n), &[]))
    }

    /// `u` for positive `u`, else `slope * u`.
    pub fn leaky_relu(slope: f64) -> Self {
        Self::Rectified(Rectified::new(&[0.0, slope], &[0.0, 1.0 - slope], &[]))
    }

    /// The absolute value.
    pub fn abs() -> Self {
        Self::Rectified(Rectified::new(&[], &[], &[0.0, 1.0]))
    }

    /// 1 for positive `u`, else 0.
    pub fn step() -> Self {
        Self::rectified_monomial(0)
    }

    /// -1, 0 or 1.
    pub fn sign() -> Self {
        Self::Rectified(Rectified::new(&[], &[], &[1.0]))
    }

    /// The error function.
    pub fn erf() -> Self {
        Self::erf_of(1.0, 1.0, 0.0)
    }

    /// `scale * erf(rate * u) + shift`.
    pub fn erf_of(scale: f64, rate: f64, shift: f64) -> Self {
        let term = |coefficient, erf| ErfTerm { coefficient, power: 0, erf, gauss: 0.0 };
        Self::Erf(ErfSum::new(vec![term(scale, Some(rate)), term(shift, None)]))
    }

    /// `u Phi(u)` with the normal distribution function.
    pub fn gelu() -> Self {
        let term = |erf| ErfTerm { coefficient: 0.5, power: 1, erf, gauss: 0.0 };
        Self::Erf(ErfSum::new(vec![term(None), term(Some(std::f64::consts::FRAC_1_SQRT_2))]))
    }

    /// `exp(-rate * u^2)`.
    pub fn gaussian(rate: f64) -> Self {
        Self::Erf(ErfSum::new(vec![ErfTerm { coefficient: 1.0, power: 0, erf: None, gauss: -rate }]))
    }

    /// `exp(rate * u)`.
    pub fn exp(rate: f64) -> Self {
        Self::wave(rate, 0.0, Phase::Cos)
    }

    /// `sin(frequency * u)`.
    pub fn sin(frequency: f64) -> Self {
        Self::wave(0.0, frequency, Phase::Sin)
    }

    /// `cos(frequency * u)`.
    pub fn cos(frequency: f64) -> Self {
        Self::wave(0.0, frequency, Phase::Cos)
    }

    fn wave(rate: f64, frequency: f64, phase: Phase) -> Self {
        Self::Wave(WaveSum::new(vec![WaveTerm { coefficient: 1.0, power: 0, gauss: 0.0, rate, frequency, phase }]))
    }

    /// The value at `u`.
    pub fn eval(&self, u: f64) -> f64 {
        match self {
            Self::Rectified(f) => f.eval(u),
            Self::Erf(f) => f.eval(u),
            Self::Wave(f) => f.eval(u),
        }
    }

    /// The weak derivative; `None` where it has an atom (step and sign have, relu has not).
    pub fn derivative(&self) -> Option<Self> {
        match self {
            Self::Rectified(f) => f.derivative().map(Self::Rectified),
            Self::Erf(f) => Some(Self::Erf(f.derivative())),
            Self::Wave(f) => Some(Self::Wave(f.derivative())),
        }
    }

    /// Whether the function is smooth away from what it is at zero itself.
    pub fn is_smooth(&self) -> bool {
        match self {
            Self::Rectified(f) => {
                let (right, left) = f.sides();
                right == left
            }
            Self::Erf(f) => f.terms().iter().all(|t| t.erf.is_none_or(f64::is_finite)),
            Self::Wave(_) => true,
        }
    }

    /// `Some(true)` for a function that is seen to be odd, `Some(false)` for an even one. Nothing is said of functions that
    /// grow like `exp(c u^2)`, whose expectations may diverge.
    pub fn is_odd(&self) -> Option<bool> {
        let all = |odd: Vec<bool>| {
            let first = *odd.first()?;
            odd.iter().all(|&o| o == first).then_some(first)
        };
        let grows = match self {
            Self::Rectified(_) => false,
            Self::Erf(f) => f.terms().iter().any(|t| 0.0 < t.gauss),
            Self::Wave(f) => f.terms().iter().any(|t| 0.0 < t.gauss),
        };
        if grows {
            return None;
        }
        match self {
            Self::Rectified(f) => {
                let (right, left) = f.sides();
                let flipped = |k: usize| if k.is_multiple_of(2) { left[k] } else { -left[k] };
                if (0..right.len()).all(|k| right[k] == flipped(k)) {
                    return Some(false);
                }
                ((0..right.len()).all(|k| right[k] == -flipped(k)) && f.eval(0.0) == 0.0).then_some(true)
            }
            Self::Erf(f) => all(f.terms().iter().map(|t| (t.power + usize::from(t.erf.is_some())) % 2 == 1).collect()),
            Self::Wave(f) => {
                let odd = |t: &WaveTerm| (t.power + usize::from(t.phase == Phase::Sin)) % 2 == 1;
                let still = f.terms().iter().all(|t| t.rate == 0.0);
                if still { all(f.terms().iter().map(odd).collect()) } else { None }
            }
        }
    }

    /// The same function in the family of error functions; a jump is an error function of infinite rate.
    fn to_erf(&self) -> Option<ErfSum> {
        match self {
            Self::Rectified(f) => Some(f.to_erf()),
            Self::Erf(f) => Some(f.clone()),
            Self::Wave(f) => f.to_erf(),
        }
    }

    fn to_wave(&self) -> Option<WaveSum> {
        match self {
            Self::Rectified(f) => f.to_wave(),
            Self::Erf(f) => f.to_wave(),
            Self::Wave(f) => Some(f.clone()),
        }
    }
}

/// The coefficients of `u^n`.
fn unit(n: usize) -> Vec<f64> {
    let mut coefficients = vec![0.0; n + 1];
    coefficients[n] = 1.0;
    coefficients
}

/// `E f(u) g(v)` for `(u, v)` Gaussian with mean zero, variances `uu` and `vv`, covariance `uv`; `None` if the pair has no closed form.
///
/// # Errors
/// If the three numbers are not a covariance, the expectation is infinite, or it is too large for a floating-point number.
pub fn dual(f: &Activation, g: &Activation, uu: f64, uv: f64, vv: f64) -> Option<Result<Estimate, GaussError>> {
    Some(Dual::new(f, g)?.at(uu, uv, vv))
}

/// Two functions whose dual has a closed form, for many covariances.
///
/// ```
/// use netsor_gauss::dual::{Activation, Dual};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let gelu = Activation::gelu();
/// let slope = gelu.derivative().ok_or("gelu is differentiable")?;
/// let dual = Dual::new(&gelu, &slope).ok_or("both are sums of error functions")?;
/// // E gelu(u) gelu'(v) grows like s / (2 sqrt(2 pi)) with the deviation s of independent variables.
/// let value = dual.at(1e8, 0.0, 1e8)?.value;
/// assert!((value / 1e4 - 0.5 / (2.0 * std::f64::consts::PI).sqrt()).abs() < 1e-8);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Dual {
    f: Activation,
    g: Activation,
    form: Form,
}

impl Dual {
    /// The dual of `f` and `g`; `None` if it has no closed form.
    pub fn new(f: &Activation, g: &Activation) -> Option<Self> {
        Some(Self { form: form(f, g)?, f: f.clone(), g: g.clone() })
    }

    /// `E f(u) g(v)` for variances `uu` and `vv` and covariance `uv`.
    ///
    /// # Errors
    /// As [`dual`](fn@dual).
    pub fn at(&self, uu: f64, uv: f64, vv: f64) -> Result<Estimate, GaussError> {
        self.evaluate(&Pair::new(uu, uv, vv)?).and_then(estimate)
    }

    fn evaluate(&self, pair: &Pair) -> Result<Tally, GaussError> {
        if pair.uu() == 0.0 || pair.vv() == 0.0 {
            let (u, v) = (single(&self.f, &pair.first())?, single(&self.g, &pair.second())?);
            return Ok(Tally { value: u.value * v.value, size: u.size * v.size });
        }
        match &self.form {
            Form::Rectified(f, g) => Ok(rectified::dual(f, g, pair)),
            Form::Erf(f, g) => erf::dual(f, g, pair),
            Form::Wave(f, g) => wave::dual(f, g, pair),
        }
    }
}

/// `E f(u)` for `u ~ N(0, uu)`.
///
/// # Errors
/// As [`dual`](fn@dual).
pub fn mean(f: &Activation, uu: f64) -> Result<Estimate, GaussError> {
    single(f, &Pair::new(uu, 0.0, 0.0)?).and_then(estimate)
}

/// The family in which a pair is evaluated.
#[derive(Clone, Debug)]
enum Form {
    Rectified(Rectified, Rectified),
    Erf(ErfSum, ErfSum),
    Wave(WaveSum, WaveSum),
}

fn form(f: &Activation, g: &Activation) -> Option<Form> {
    if let (Activation::Rectified(f), Activation::Rectified(g)) = (f, g) {
        return Some(Form::Rectified(f.clone(), g.clone()));
    }
    if let (Some(f), Some(g)) = (f.to_erf(), g.to_erf()) {
        return Some(Form::Erf(f, g));
    }
    Some(Form::Wave(f.to_wave()?, g.to_wave()?))
}

/// A value with the sum of the sizes of its terms.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Tally {
    value: f64,
    size: f64,
}

impl Tally {
    fn of(value: f64) -> Self {
        Self { value, size: value.abs() }
    }

    fn plus(self, other: Self) -> Self {
        Self { value: self.value + other.value, size: self.size + other.size }
    }

    fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, size: self.size * factor.abs() }
    }
}

/// `E f(u)` for the first variable of a pair whose second is constant.
fn single(f: &Activation, pair: &Pair) -> Result<Tally, GaussError> {
    if pair.uu() == 0.0 {
        return Ok(Tally::of(f.eval(0.0)));
    }
    match f {
        Activation::Rectified(f) => Ok(rectified::mean(f, pair)),
        Activation::Erf(f) => erf::dual(f, &ErfSum::one(), pair),
        Activation::Wave(f) => wave::dual(f, &WaveSum::one(), pair),
    }
}

fn estimate(sum: Tally) -> Result<Estimate, GaussError> {
    if !sum.value.is_finite() {
        return Err(GaussError::Overflow);
    }
    // Each term is a product of a few dozen rounded factors at most.
    let error = 64.0 * f64::EPSILON * sum.size;
    Ok(Estimate { value: sum.value, error, method: Method::ClosedForm })
}
