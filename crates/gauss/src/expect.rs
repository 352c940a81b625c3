//! The choice of a method for `E f(Z)`.

use crate::conditional;
use crate::covariance::Factor;
use crate::landmark::has_narrow_landmarks;
use crate::layers::has_layers;
use crate::product::{Part, Product};
use crate::{Covariance, Estimate, GaussError, Integrand, Method, Tolerance, kinked, qmc, smoothed, tensor, wide};

/// `E f(Z)` for `Z ~ N(0, C)`.
///
/// The covariance is factored first: only its rank counts, not the number of slots.
/// A constant vector is evaluated; slots with deviations far above 1 are cut at powers of two; smooth functions of up to five independent variables are integrated on a grid, functions with kinks of up to three variables piece by piece; everything else, and whatever a grid did not achieve, is averaged over randomised Sobol' points, of which some are drawn around the landmarks of narrow features.
/// Functions with narrow layers in several slots are integrated along lines that find these.
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
    if factor.rank == 0 {
        return constant(f);
    }
    if has_layers(f, &factor) {
        return finite(layered(f, &factor, tol)?);
    }
    if wide::applies(f, c)
        && let Some(estimate) = wide::expect(f, &factor)?
        && estimate.met(tol)
    {
        return Ok(estimate);
    }
    let answer = match by_quadrature(f, &factor, tol)? {
        Some(estimate) if estimate.met(tol) || factor.rank <= 2 || beyond_sampling(&estimate) => estimate,
        other => better(qmc::expect(f, &factor, tol)?, other),
    };
    finite(answer)
}

fn finite(answer: Estimate) -> Result<Estimate, GaussError> {
    if answer.value.is_finite() { Ok(answer) } else { Err(GaussError::Overflow) }
}

/// The expectation of a product, `E prod_k f_k(Z)`, where each factor depends on some of the slots.
///
/// The same number as [`expect`] of the product, and found faster where two of the slots have no factor in common: these
/// are integrated for given values of the others, in two sums of one variable each. It also reaches products with kinks
/// in four variables, which otherwise are averaged over randomised points.
///
/// # Errors
/// As [`expect`]; also if a factor mentions a slot that the covariance does not have.
pub fn expect_product(parts: &[Part<'_>], c: &Covariance, tol: &Tolerance) -> Result<Estimate, GaussError> {
    tol.check()?;
    for part in parts {
        let needed = part.slots.iter().map(|s| s + 1).max().unwrap_or(0);
        if part.slots.len() != part.function.slots() || c.slots() < needed {
            return Err(GaussError::Slots { function: part.function.slots().max(needed), covariance: c.slots() });
        }
    }
    let product = Product::new(parts, c.slots());
    // Given the other slots, a layer may be anywhere on the line of one.
    let conditional = if has_layers(&product, &c.factor()) { None } else { conditional::expect(parts, c, tol)? };
    if let Some(estimate) = conditional
        && estimate.value.is_finite()
        && (estimate.met(tol) || beyond_sampling(&estimate))
    {
        return Ok(estimate);
    }
    expect(&product, c, tol).map(|plain| better(plain, conditional.filter(|e| e.value.is_finite())))
}

/// Functions with layers in which they vary quickly, by lines that find them.
fn layered(f: &dyn Integrand, factor: &Factor, tol: &Tolerance) -> Result<Estimate, GaussError> {
    let nested = if (2..=kinked::MAX_RANK).contains(&factor.rank) { smoothed::expect(f, factor, tol)? } else { None };
    if let Some(estimate) = nested
        && (estimate.met(tol) || beyond_sampling(&estimate))
    {
        return Ok(estimate);
    }
    let lines = match smoothed::over_lines(f, factor, tol)? {
        Some(estimate) => Some(better(estimate, nested)),
        None => nested,
    };
    if let Some(estimate) = lines
        && (estimate.met(tol) || beyond_sampling(&estimate))
    {
        return Ok(estimate);
    }
    // Points are more than lines, but hardly one of them falls into a layer.
    let points = qmc::expect(f, factor, tol)?;
    let error = points.error + smoothed::within_layers(f, factor);
    Ok(better(Estimate { error, ..points }, lines))
}

/// By quadrature in the variables of a factor; `None` where they are too many.
pub(crate) fn by_quadrature(
    f: &dyn Integrand,
    factor: &Factor,
    tol: &Tolerance,
) -> Result<Option<Estimate>, GaussError> {
    let rank = factor.rank;
    let plain = match rank {
        0 => return constant(f).map(Some),
        1..=5 if f.smooth() && !has_narrow_landmarks(f, factor) => return grid(f, factor, tol),
        1 => kinked::expect(f, factor, tol)?,
        2..=kinked::MAX_RANK if f.surfaces() == 0 => kinked::expect(f, factor, tol)?,
        _ => None,
    };
    let enough = plain.is_some_and(|e| e.met(tol) || beyond_sampling(&e));
    if enough || !(2..=kinked::MAX_RANK).contains(&rank) || !declares_kinks(f) {
        return Ok(plain);
    }
    let best = smoothed::expect(f, factor, tol)?.map(|e| better(e, plain)).or(plain);
    if best.is_none() && rank == 2 { kinked::expect(f, factor, tol) } else { Ok(best) }
}

/// Whether the function says where it is not smooth.
fn declares_kinks(f: &dyn Integrand) -> bool {
    0 < f.surfaces() || (0..f.slots()).any(|k| !f.kinks(k).is_empty())
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
pub(crate) fn beyond_sampling(estimate: &Estimate) -> bool {
    estimate.error <= 1e-7 * estimate.value.abs().max(1.0)
}

/// The one with the smaller error.
pub(crate) fn better(new: Estimate, old: Option<Estimate>) -> Estimate {
    match old {
        Some(old) if old.error < new.error => old,
        _ => new,
    }
}
