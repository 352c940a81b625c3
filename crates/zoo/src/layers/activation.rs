//! The coordinatewise layers as expressions of the language.

use std::f64::consts::{FRAC_PI_4, SQRT_2};

use netsor_ir::number::{Power, from_f64, integer};
use netsor_ir::{ExprId, Exprs, Func};

use super::Layer;
use crate::activation::Activation;
use crate::builder::ZooError;

/// Largest degree of a polynomial layer: beyond it double precision cannot hold its moments.
const MAX_DEGREE: usize = 32;

/// The layer applied to `x`; `None` if it is not coordinatewise.
///
/// # Errors
/// A text that says what is not supported, or a number that is not finite.
pub(super) fn apply(layer: &Layer, exprs: &mut Exprs, x: ExprId) -> Result<Option<ExprId>, Refusal> {
    let mut e = Builder { exprs };
    let y = match layer {
        Layer::Identity {} => x,
        Layer::Relu {} => e.exprs.apply(Func::Relu, x),
        Layer::LeakyRelu { alpha } => Activation::LeakyRelu { slope: *alpha }.apply(e.exprs, x)?,
        Layer::ABRelu { a, b } => {
            // a min(x, 0) + b max(x, 0)
            let line = e.times(*a, x)?;
            let relu = e.exprs.apply(Func::Relu, x);
            let kink = e.times(b - a, relu)?;
            e.exprs.add(line, kink)
        }
        Layer::Abs {} => e.exprs.apply(Func::Abs, x),
        Layer::Sign {} => e.exprs.apply(Func::Sign, x),
        Layer::Erf { a, b, c } => e.erf(*a, *b, *c, x)?,
        Layer::SigmoidLike {} => e.erf(0.5, 1.0 / 2.402_056_353_171_979_6, 0.5, x)?,
        Layer::Gelu {} => e.exprs.apply(Func::Gelu, x),
        Layer::Sin { a, b, c } => e.wave(Func::Sin, *a, *b, *c, x)?,
        Layer::Cos { a, b, c } => e.wave(Func::Cos, *a, *b, *c, x)?,
        Layer::Rbf { gamma } => e.wave(Func::Sin, SQRT_2, (2.0 * gamma).sqrt(), FRAC_PI_4, x)?,
        Layer::Gaussian { a, b } => {
            let square = e.power(x, 2);
            let exponent = e.times(*b, square)?;
            let bell = e.exprs.apply(Func::Exp, exponent);
            e.times(*a, bell)?
        }
        Layer::Exp { a, b } => {
            let exponent = e.times(*b, x)?;
            let exp = e.exprs.apply(Func::Exp, exponent);
            e.times(*a, exp)?
        }
        Layer::Gabor {} => {
            let square = e.power(x, 2);
            let exponent = e.exprs.neg(square);
            let bell = e.exprs.apply(Func::Exp, exponent);
            let sin = e.exprs.apply(Func::Sin, x);
            e.exprs.mul(bell, sin)
        }
        Layer::Monomial { degree } => {
            let degree = small(*degree)?;
            e.power(x, degree)
        }
        Layer::RectifiedMonomial { degree: 0 } => e.exprs.apply(Func::Step, x),
        Layer::RectifiedMonomial { degree } => {
            let degree = small(*degree)?;
            let relu = e.exprs.apply(Func::Relu, x);
            e.power(relu, degree)
        }
        Layer::Polynomial { coef } => e.polynomial(coef, x)?,
        Layer::Hermite { degree } => e.polynomial(&hermite(small(*degree)?), x)?,
        Layer::Elementwise { function } | Layer::ElementwiseNumerical { function, .. } => {
            let Some(activation) = Activation::from_name(function) else {
                let names = Func::ALL.iter().map(|f| f.name());
                let known: Vec<&str> = names.filter(|name| Activation::from_name(name).is_some()).collect();
                let known = known.join(", ");
                return Err(Refusal::Text(format!("`{function}` is no activation; expected one of {known}")));
            };
            activation.apply(e.exprs, x)?
        }
        _ => return Ok(None),
    };
    Ok(Some(y))
}

/// Why a coordinatewise layer is not an expression.
#[derive(Debug)]
pub(super) enum Refusal {
    /// Something is not supported.
    Text(String),
    /// A number is not finite.
    Number(ZooError),
}

impl From<ZooError> for Refusal {
    fn from(error: ZooError) -> Self {
        Self::Number(error)
    }
}

fn small(degree: u32) -> Result<usize, Refusal> {
    let degree = degree as usize;
    let text = || Refusal::Text(format!("the degree is {degree}; at most {MAX_DEGREE} is supported"));
    if degree <= MAX_DEGREE { Ok(degree) } else { Err(text()) }
}

/// The coefficients of `He_degree / sqrt(degree!)`, by `He_(k+1) = x He_k - k He_(k-1)`.
fn hermite(degree: usize) -> Vec<f64> {
    let (mut before, mut he) = (vec![0.0], vec![1.0]);
    for k in 0..degree {
        let mut next = vec![0.0; k + 2];
        for (j, c) in he.iter().enumerate() {
            next[j + 1] += c;
        }
        for (j, c) in before.iter().enumerate() {
            next[j] -= k as f64 * c;
        }
        before = std::mem::replace(&mut he, next);
    }
    let norm: f64 = (1..=degree).map(|k| k as f64).product::<f64>().sqrt();
    he.iter().map(|c| c / norm).collect()
}

struct Builder<'a> {
    exprs: &'a mut Exprs,
}

impl Builder<'_> {
    fn number(&mut self, value: f64) -> Result<ExprId, ZooError> {
        let exact = from_f64(value).ok_or(ZooError::NotFinite { what: "activation", value })?;
        Ok(self.exprs.constant(exact))
    }

    fn times(&mut self, factor: f64, x: ExprId) -> Result<ExprId, ZooError> {
        let factor = self.number(factor)?;
        Ok(self.exprs.mul(factor, x))
    }

    fn power(&mut self, x: ExprId, degree: usize) -> ExprId {
        self.exprs.pow(x, Power::from_integer(degree as i64))
    }

    fn erf(&mut self, a: f64, b: f64, c: f64, x: ExprId) -> Result<ExprId, ZooError> {
        let inner = self.times(b, x)?;
        let erf = self.exprs.apply(Func::Erf, inner);
        let scaled = self.times(a, erf)?;
        let offset = self.number(c)?;
        Ok(self.exprs.add(scaled, offset))
    }

    fn wave(&mut self, wave: Func, a: f64, b: f64, c: f64, x: ExprId) -> Result<ExprId, ZooError> {
        let inner = self.times(b, x)?;
        let phase = self.number(c)?;
        let inner = self.exprs.add(inner, phase);
        let wave = self.exprs.apply(wave, inner);
        self.times(a, wave)
    }

    fn polynomial(&mut self, coefficients: &[f64], x: ExprId) -> Result<ExprId, Refusal> {
        if MAX_DEGREE < coefficients.len().saturating_sub(1) {
            small(u32::MAX)?;
        }
        let mut total = self.exprs.constant(integer(0));
        for (degree, &c) in coefficients.iter().enumerate() {
            let power = self.power(x, degree);
            let term = self.times(c, power)?;
            total = self.exprs.add(total, term);
        }
        Ok(total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hermite_polynomials_are_those_of_the_tables() {
        let root = 24f64.sqrt();
        // He_4 = x^4 - 6 x^2 + 3
        assert_eq!(hermite(4), [3.0 / root, 0.0, -6.0 / root, 0.0, 1.0 / root]);
        assert_eq!(hermite(0), [1.0]);
    }
}
