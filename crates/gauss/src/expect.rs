//! The choice of a method for `E f(Z)`.

use crate::covariance::Factor;
use crate::{Covariance, Estimate, GaussError, Integrand, Method, Tolerance, kinked, qmc, tensor};

/// `E f(Z)` for `Z ~ N(0, C)`.
///
/// The covariance is factored first: only its rank counts, not the number of slots.
/// A constant vector is evaluated; smooth functions of up to five independent variables are integrated on a grid, functions with kinks of up to three variables piece by piece; everything else, and whatever a grid did not achieve, is averaged over randomised Sobol' points.
/// With about `max_points` evaluations the tolerance is met, or else the error of the answer is larger than it.
///
/// # Errors
/// If the numbers of slots differ, the tolerance is not a number, or the function is not finite at a point that was used.
pub fn expect(f: &dyn Integrand, c: &Covariance, tol: &Tolerance) -> Result<Estimate, GaussError> {
    tol.check()?;
    if f.slots() != c.slots() {
        return Err(GaussError::Slots { function: f.slots(), covariance: c.slots() });
    }
    let factor = c.factor();
    let best = match factor.rank {
        0 => return constant(f),
        1..=kinked::MAX_RANK if !f.smooth() => kinked::expect(f, &factor, tol)?,
        1..=5 if f.smooth() => grid(f, &factor, tol)?,
        _ => None,
    };
    let answer = match best {
        Some(estimate) if estimate.met(tol) || factor.rank <= 2 || beyond_sampling(&estimate) => estimate,
        other => better(qmc::expect(f, &factor, tol)?, other),
    };
    if answer.value.is_finite() { Ok(answer) } else { Err(GaussError::Overflow) }
}

fn constant(f: &dyn Integrand) -> Result<Estimate, GaussError> {
    let origin = vec![[0.0]; f.slots()];
    let points: Vec<&[f64]> = origin.iter().map(<[f64; 1]>::as_slice).collect();
    let mut out = [0.0];
    f.eval(&points, &mut out);
    if !out[0].is_finite() {
        return Err(GaussError::Value { at: vec![0.0; f.slots()], value: out[0] });
    }
    Ok(Estimate { value: out[0], error: 0.0, method: Method::Exact })
}

/// Smooth functions of few variables; in one and two variables what is too sharp for a uniform grid goes to bisection.
fn grid(f: &dyn Integrand, factor: &Factor, tol: &Tolerance) -> Result<Option<Estimate>, GaussError> {
    let uniform = tensor::expect(f, factor, tol)?;
    match uniform {
        Some(estimate) if !estimate.met(tol) && factor.rank <= 2 => {
            Ok(kinked::expect(f, factor, tol)?.map(|adaptive| better(adaptive, uniform)))
        }
        other => Ok(other),
    }
}

/// Whether the error is already smaller than what randomised points reach.
fn beyond_sampling(estimate: &Estimate) -> bool {
    estimate.error <= 1e-7 * estimate.value.abs().max(1.0)
}

fn better(new: Estimate, old: Option<Estimate>) -> Estimate {
    match old {
        Some(old) if old.error < new.error => old,
        _ => new,
    }
}
