//! Negative powers of quadratic forms: batch norm, and whatever else divides by a norm of finitely many Gaussians.
//!
//! `q^(-s) = 1/Gamma(s) int_0^inf t^(s-1) exp(-t q) dt` for `s > 0`, and `exp(-t q)` times a Gaussian density is another
//! Gaussian density: with `Z = L x` and `q = c + x' G x`,
//! `E[q^(-s) g(Z)] = 1/Gamma(s) int t^(s-1) exp(-t c) det(P)^(-1/2) E_t[g] dt` with `P = 1 + 2 t G` and `Cov_t Z = L P^-1 L'`.
//! Products of several forms are integrals over several `t`, with `P = 1 + 2 sum_a t_a G_a`. The inner expectation is a
//! polynomial with steps, in closed form ([`crate::truncated`]), whatever the number of variables.
//!
//! The integrand is analytic in `log t` in the strip of width `pi` to both sides, so that the trapezoid rule in `log t`
//! converges like `exp(-2 pi^2 / h)`; a substitution that makes the slow decay for `t -> 0` double exponential keeps
//! most of the strip.

use crate::covariance::Factor;
use crate::radial::{Form, Integral, convergent};
use crate::truncated::{MAX_FACTORS, MAX_STEPS, MAX_VARIABLES};
use crate::{Covariance, Estimate, GaussError, Method, Tolerance};

/// `constant + z' matrix z`, in slots `z`; not negative where the Gaussian vector can be.
#[derive(Clone, Debug, PartialEq)]
pub struct Quadratic {
    /// What is added.
    pub constant: f64,
    /// A symmetric matrix over all slots, row by row.
    pub matrix: Vec<f64>,
}

/// `coefficient * prod_a q_a^exponents[a] * prod_k z_factors[k] * prod_k step(z_steps[k])`.
#[derive(Clone, Debug, PartialEq)]
pub struct PowerTerm {
    /// The number in front.
    pub coefficient: f64,
    /// The exponent of each quadratic form, of either sign.
    pub exponents: Vec<f64>,
    /// Slots that are factors, repeated for powers.
    pub factors: Vec<usize>,
    /// Slots whose steps are factors.
    pub steps: Vec<usize>,
}

/// The most forms with powers in one term: so many integrals are nested.
const MAX_FORMS: usize = 3;

/// Vectors closer than this, relative to their length, are one variable.
const SAME: f64 = 1e-13;

/// Forms that differ by less than this, relative to their size, are one form.
const SAME_FORM: f64 = 1e-12;

/// The expectation of a sum of terms with powers of quadratic forms, for `Z ~ N(0, C)`.
///
/// `None` where the method does not reach: more than three different forms or steps in a term, more than eight factors,
/// or a form that is not positive semi-definite.
///
/// ```
/// use netsor_gauss::{Covariance, PowerTerm, Quadratic, Tolerance, expect_powers};
///
/// // E 1 / (x^2 + y^2 + z^2) = 1 for three independent normal variables.
/// let identity = |d: usize| (0..d * d).map(|k| f64::from(u8::from(k % (d + 1) == 0))).collect::<Vec<_>>();
/// let norm = Quadratic { constant: 0.0, matrix: identity(3) };
/// let term = PowerTerm { coefficient: 1.0, exponents: vec![-1.0], factors: vec![], steps: vec![] };
/// let c = Covariance::new(3, identity(3))?;
/// let found = expect_powers(&[term.clone()], &[norm], &c, &Tolerance::default())?.expect("one form");
/// assert!((found.value - 1.0).abs() < 1e-12);
///
/// // Of two variables it is infinite, and the error says so.
/// let norm = Quadratic { constant: 0.0, matrix: identity(2) };
/// let c = Covariance::new(2, identity(2))?;
/// let error = expect_powers(&[term], &[norm], &c, &Tolerance::default()).unwrap_err();
/// assert!(error.to_string().contains("is infinite"));
/// # Ok::<(), netsor_gauss::GaussError>(())
/// ```
///
/// # Errors
/// [`GaussError::DivergentPower`] if a term has no expectation because a form vanishes too often; others as
/// [`expect`](crate::expect()).
pub fn expect_powers(
    terms: &[PowerTerm],
    quadratics: &[Quadratic],
    c: &Covariance,
    tol: &Tolerance,
) -> Result<Option<Estimate>, GaussError> {
    tol.check()?;
    check_slots(terms, quadratics, c.slots())?;
    let factor = c.factor();
    let Some(reduced) = Reduced::new(terms, quadratics, &factor) else { return Ok(None) };
    let groups = reduced.groups();
    let mut total = Estimate { value: 0.0, error: 0.0, method: Method::ClosedForm };
    let mut points = 0;
    let mut dims = 0;
    for (exponents, monomials) in &groups {
        let Some((forms, powers)) = reduced.forms_of(exponents) else { return Ok(None) };
        dims = dims.max(forms.len());
        let Some(mut integral) = Integral::new(&reduced.rows, factor.rank, forms, powers, monomials)? else {
            return Ok(None);
        };
        let part = integral.estimate(&Tolerance { absolute: tol.absolute / groups.len() as f64, ..*tol });
        total.value += part.value;
        total.error += part.error;
        points += integral.points;
    }
    if 0 < dims {
        total.method = Method::Quadrature { dims, points };
    }
    if total.value.is_finite() { Ok(Some(total)) } else { Err(GaussError::Overflow) }
}

/// Whether the expectation that [`expect_powers`] takes exists, without taking it: `None` where the method does not reach.
///
/// ```
/// use netsor_gauss::{Covariance, PowerTerm, Quadratic, check_powers};
///
/// // x / (x^2 + y^2) has an expectation, which is 0; x / (x^2 + y^2)^2 has none.
/// let identity = vec![1.0, 0.0, 0.0, 1.0];
/// let norm = Quadratic { constant: 0.0, matrix: identity.clone() };
/// let term = |power: f64| PowerTerm { coefficient: 1.0, exponents: vec![-power], factors: vec![0], steps: vec![] };
/// let c = Covariance::new(2, identity)?;
/// assert_eq!(check_powers(&[term(1.0)], &[norm.clone()], &c), Ok(Some(())));
/// assert!(check_powers(&[term(2.0)], &[norm], &c).is_err());
/// # Ok::<(), netsor_gauss::GaussError>(())
/// ```
///
/// # Errors
/// [`GaussError::DivergentPower`] if a term has no expectation.
pub fn check_powers(terms: &[PowerTerm], quadratics: &[Quadratic], c: &Covariance) -> Result<Option<()>, GaussError> {
    check_slots(terms, quadratics, c.slots())?;
    let factor = c.factor();
    let Some(reduced) = Reduced::new(terms, quadratics, &factor) else { return Ok(None) };
    for (exponents, monomials) in reduced.groups() {
        let Some((forms, powers)) = reduced.forms_of(&exponents) else { return Ok(None) };
        convergent(&reduced.rows, factor.rank, &forms, &powers, &monomials)?;
    }
    Ok(Some(()))
}

fn check_slots(terms: &[PowerTerm], quadratics: &[Quadratic], slots: usize) -> Result<(), GaussError> {
    for quadratic in quadratics {
        if quadratic.matrix.len() != slots * slots {
            return Err(GaussError::Shape { slots, found: quadratic.matrix.len() });
        }
    }
    for term in terms {
        let needed = term.factors.iter().chain(&term.steps).map(|k| k + 1).max().unwrap_or(0);
        if slots < needed || term.exponents.len() != quadratics.len() {
            return Err(GaussError::Slots { function: needed, covariance: slots });
        }
    }
    Ok(())
}

/// A polynomial times steps, over the rows of a [`Reduced`] problem.
#[derive(Clone, Debug)]
pub(crate) struct Monomial {
    pub(crate) coefficient: f64,
    pub(crate) factors: Vec<usize>,
    pub(crate) steps: Vec<usize>,
}

/// The problem in whitened coordinates: exponents are 0 or negative, no form or step variable occurs under two names.
struct Reduced {
    forms: Vec<Form>,
    /// One vector a slot.
    rows: Vec<Vec<f64>>,
    monomials: Vec<(Vec<f64>, Monomial)>,
}

impl Reduced {
    fn new(terms: &[PowerTerm], quadratics: &[Quadratic], factor: &Factor) -> Option<Self> {
        let slots = quadratics.first().map_or(0, |q| (q.matrix.len() as f64).sqrt() as usize);
        let rows: Vec<Vec<f64>> = (0..slots).map(|k| (0..factor.rank).map(|j| factor.entry(k, j)).collect()).collect();
        let all: Vec<Form> = quadratics.iter().map(|q| Form::new(q, &rows, factor.rank)).collect::<Option<_>>()?;
        // Forms that are multiples of each other merge.
        let mut forms: Vec<Form> = Vec::new();
        let mut names: Vec<(usize, f64)> = Vec::new();
        for form in all {
            let same = forms.iter().enumerate().find_map(|(a, other)| Some((a, form.multiple_of(other, SAME_FORM)?)));
            names.push(same.unwrap_or_else(|| {
                forms.push(form);
                (forms.len() - 1, 1.0)
            }));
        }
        let mut this = Self { forms, rows, monomials: Vec::new() };
        for term in terms {
            let mut exponents = vec![0.0; this.forms.len()];
            let mut coefficient = term.coefficient;
            for (exponent, &(a, ratio)) in term.exponents.iter().zip(&names) {
                exponents[a] += exponent;
                coefficient *= libm::pow(ratio, *exponent);
            }
            for (a, exponent) in exponents.iter_mut().enumerate() {
                // A form without variance is a number.
                if this.forms[a].largest == 0.0 && 0.0 < this.forms[a].constant {
                    coefficient *= libm::pow(this.forms[a].constant, *exponent);
                    *exponent = 0.0;
                }
            }
            let Some(steps) = this.steps(&term.steps)? else { continue };
            if coefficient == 0.0 || term.factors.iter().any(|&f| square(&this.rows[f]) == 0.0) {
                continue;
            }
            let monomial = Monomial { coefficient, factors: term.factors.clone(), steps };
            this.lower(exponents, monomial, quadratics, &names)?;
        }
        Some(this)
    }

    /// The monomials by their exponents.
    fn groups(&self) -> Vec<(Vec<f64>, Vec<Monomial>)> {
        let mut groups: Vec<(Vec<f64>, Vec<Monomial>)> = Vec::new();
        for (exponents, monomial) in &self.monomials {
            match groups.iter_mut().find(|(e, _)| e == exponents) {
                Some((_, own)) => own.push(monomial.clone()),
                None => groups.push((exponents.clone(), vec![monomial.clone()])),
            }
        }
        groups
    }

    /// The forms that are divided by, and to which powers; `None` if they are too many.
    fn forms_of(&self, exponents: &[f64]) -> Option<(Vec<&Form>, Vec<f64>)> {
        let used: Vec<usize> = (0..exponents.len()).filter(|&a| exponents[a] != 0.0).collect();
        let powers = used.iter().map(|&a| -exponents[a]).collect();
        (used.len() <= MAX_FORMS).then(|| (used.iter().map(|&a| &self.forms[a]).collect(), powers))
    }

    /// The step variables without repetitions; `Some(None)` if two of them are never positive together.
    fn steps(&self, steps: &[usize]) -> Option<Option<Vec<usize>>> {
        let mut own: Vec<usize> = Vec::new();
        for &step in steps {
            let v = &self.rows[step];
            let length = libm::sqrt(square(v));
            if length == 0.0 {
                return None;
            }
            let first = (0..=step).find(|&k| {
                let other = &self.rows[k];
                let size = libm::sqrt(square(other));
                0.0 < size && distance(v, length, other, size, 1.0) < SAME
            });
            let first = first.unwrap_or(step);
            if own.iter().any(|&k| {
                let other = &self.rows[k];
                distance(v, length, other, libm::sqrt(square(other)), -1.0) < SAME
            }) {
                return Some(None);
            }
            if !own.contains(&first) {
                own.push(first);
            }
        }
        (own.len() <= MAX_STEPS).then_some(Some(own))
    }

    /// Adds a monomial; positive powers of forms are multiplied out until what is left is 0 or negative.
    fn lower(
        &mut self,
        mut exponents: Vec<f64>,
        monomial: Monomial,
        quadratics: &[Quadratic],
        names: &[(usize, f64)],
    ) -> Option<()> {
        let Some(a) = exponents.iter().position(|e| 0.0 < *e) else {
            if MAX_FACTORS < monomial.factors.len() {
                return None;
            }
            self.monomials.push((exponents, monomial));
            return Some(());
        };
        exponents[a] -= 1.0;
        let at = names.iter().position(|name| name.0 == a)?;
        let quadratic = &quadratics[at];
        let slots = self.rows.len();
        if quadratic.constant != 0.0 {
            let coefficient = monomial.coefficient * quadratic.constant;
            self.lower(exponents.clone(), Monomial { coefficient, ..monomial.clone() }, quadratics, names)?;
        }
        if MAX_FACTORS < monomial.factors.len() + 2 {
            return None;
        }
        for (k, entry) in quadratic.matrix.iter().enumerate().filter(|(_, entry)| **entry != 0.0) {
            let mut factors = monomial.factors.clone();
            factors.extend([k / slots, k % slots]);
            let coefficient = monomial.coefficient * entry;
            self.lower(exponents.clone(), Monomial { coefficient, factors, ..monomial.clone() }, quadratics, names)?;
        }
        Some(())
    }
}

/// The distance of the unit vectors, one of them times `sign`.
fn distance(a: &[f64], length_a: f64, b: &[f64], length_b: f64, sign: f64) -> f64 {
    a.iter().zip(b).map(|(x, y)| (x / length_a - sign * y / length_b).abs()).fold(0.0, f64::max)
}

pub(crate) fn square(v: &[f64]) -> f64 {
    v.iter().map(|x| x * x).sum()
}

/// Whether the steps of a group are few enough to be kept apart.
pub(crate) fn step_variables(monomials: &[Monomial]) -> Option<Vec<usize>> {
    let mut all: Vec<usize> = monomials.iter().flat_map(|m| m.steps.iter().copied()).collect();
    all.sort_unstable();
    all.dedup();
    (all.len() <= MAX_VARIABLES).then_some(all)
}
