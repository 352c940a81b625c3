//! Momentum and weight decay as exact coefficients: what `W_t` is in terms of `W_0` and the gradients.
//!
//! An optimiser that is linear in weights and gradients leaves `W_t = D_t W_0 - sum over s < t of C_ts (l s^2 G_s)`,
//! where `G_s` is the gradient of the loss in `W` at step `s`, `s = multiplier n^-a` and `l = n^-c`. The coefficients
//! are polynomials in `l`, with rational coefficients that a recursion gives; without weight decay they are numbers.

use num_traits::{One, Zero};

use crate::expr::{ExprId, Exprs};
use crate::number::{Number, Power};

/// Weight decay, on the tensors `w` of a parametrization `W = multiplier n^-a w`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Decay {
    /// None.
    #[default]
    None,
    /// `lambda |w|^2 / 2` is added to the loss.
    Coupled(Number),
    /// A step shrinks `w` by `eta n^-c lambda w`.
    Decoupled(Number),
}

/// A polynomial in `l = n^-c`: the coefficient of each power, lowest first, without zeros at the end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(super) struct Polynomial(Vec<Number>);

impl Polynomial {
    fn constant(value: Number) -> Self {
        Self(vec![value]).trimmed()
    }

    fn trimmed(mut self) -> Self {
        while self.0.last().is_some_and(Zero::is_zero) {
            self.0.pop();
        }
        self
    }

    /// `self + factor * l^shift * other`
    fn plus(&self, factor: &Number, shift: usize, other: &Self) -> Self {
        let mut sum = self.0.clone();
        sum.resize(sum.len().max(other.0.len() + shift), Number::zero());
        for (k, c) in other.0.iter().enumerate() {
            sum[k + shift] += factor * c;
        }
        Self(sum).trimmed()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// The polynomial at `l = n^(-c)`.
    pub(super) fn expr(&self, exprs: &mut Exprs, c: Power) -> ExprId {
        let mut terms = Vec::new();
        for (k, value) in self.0.iter().enumerate() {
            let value = exprs.constant(value.clone());
            let power = exprs.width(-c * Power::from_integer(k as i64));
            terms.push(exprs.mul(value, power));
        }
        exprs.add_all(terms)
    }
}

/// `D_t` and `C_ts` of one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Coefficients {
    /// What is left of the initial weights.
    pub(super) initial: Polynomial,
    /// The share of each gradient so far.
    pub(super) gradients: Vec<Polynomial>,
}

/// The coefficients at times `0..=rates.len()` for the learning rates of the steps.
///
/// The recursion is that of heavy-ball momentum, `M = mu M + s^2 G [+ lambda W]` and `W -= eta l M [+ eta l lambda W]`,
/// with the brackets for coupled and for decoupled weight decay.
pub(super) fn coefficients(rates: &[Number], momentum: &Number, decay: &Decay) -> Vec<Coefficients> {
    let zero = Number::zero();
    let (coupled, decoupled) = match decay {
        Decay::None => (&zero, &zero),
        Decay::Coupled(lambda) => (lambda, &zero),
        Decay::Decoupled(lambda) => (&zero, lambda),
    };
    let one = Number::one();
    let mut now = Coefficients { initial: Polynomial::constant(one.clone()), gradients: Vec::new() };
    // M = m_initial W_0 + sum of m_gradients s^2 G_s
    let mut m_initial = Polynomial::default();
    let mut m_gradients: Vec<Polynomial> = Vec::new();
    let mut all = vec![now.clone()];
    for eta in rates {
        now.gradients.push(Polynomial::default());
        m_gradients.push(Polynomial::default());
        let step = m_gradients.len() - 1;
        let nothing = Polynomial::default();
        m_initial = nothing.plus(momentum, 0, &m_initial).plus(coupled, 0, &now.initial);
        for (s, m) in m_gradients.iter_mut().enumerate() {
            let fresh = if s == step { Polynomial::constant(one.clone()) } else { Polynomial::default() };
            *m = fresh.plus(momentum, 0, m).plus(&-coupled, 1, &now.gradients[s]);
        }
        let shrink = -(eta * decoupled);
        now.initial = now.initial.plus(&-eta, 1, &m_initial).plus(&shrink, 1, &now.initial);
        for (c, m) in now.gradients.iter_mut().zip(&m_gradients) {
            *c = c.plus(eta, 0, m).plus(&shrink, 1, c);
        }
        all.push(now.clone());
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::{fraction, integer, to_f64};

    /// Against running the optimiser on numbers.
    #[test]
    fn coefficients_are_those_of_the_recursion() {
        let rates = [fraction(1, 10), fraction(1, 5), fraction(3, 10), fraction(1, 10)];
        let momentum = fraction(9, 10);
        let (w0, l) = (1.7, 0.5f64);
        let gradients = [0.3, -1.1, 0.6, 2.0];
        for decay in [Decay::None, Decay::Coupled(fraction(1, 4)), Decay::Decoupled(fraction(1, 4))] {
            let found = coefficients(&rates, &momentum, &decay);
            let (mut w, mut m) = (w0, 0.0);
            for (t, at) in found.iter().enumerate() {
                let value = |p: &Polynomial| p.0.iter().rev().fold(0.0, |acc, c| acc * l + to_f64(c));
                let shares: f64 = at.gradients.iter().zip(&gradients).map(|(c, g)| value(c) * l * g).sum();
                let expected = value(&at.initial) * w0 - shares;
                assert!((w - expected).abs() < 1e-12, "{decay:?} step {t}: {w} {expected}");
                if let Some(eta) = rates.get(t).map(to_f64) {
                    let (coupled, decoupled) = match decay {
                        Decay::None => (0.0, 0.0),
                        Decay::Coupled(_) => (0.25, 0.0),
                        Decay::Decoupled(_) => (0.0, 0.25),
                    };
                    m = 0.9 * m + gradients[t] + coupled * w;
                    w = w - eta * l * m - eta * l * decoupled * w;
                }
            }
        }
        let plain = coefficients(&rates, &integer(0), &Decay::None);
        assert_eq!(plain[3].gradients[1], Polynomial::constant(fraction(1, 5)));
        assert_eq!(plain[4].initial, Polynomial::constant(integer(1)));
    }
}
