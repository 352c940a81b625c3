//! Functions of many variables: averages over randomised Sobol' points.
//!
//! Functions that vary quickly around some values of their slots are sampled there more often (`proposal`).
//! Sixteen independent Owen scrambles of the same sequence give sixteen independent unbiased estimates; their spread is an honest measure of the error of their mean, whatever the function.
//! The number of points is doubled until the error is small enough or the budget is spent; earlier points are used again.

use netsor_num::normal;
use netsor_num::sobol::Sobol;
use netsor_num::sum::{Compensated, pairwise};

use crate::covariance::Factor;
use crate::integrand::Whitened;
use crate::proposal::Proposal;
use crate::{Estimate, GaussError, Integrand, Method, Tolerance};

/// Independent randomisations.
pub(crate) const REPLICATES: usize = 16;

/// Points of a replicate to begin with.
const FIRST: usize = 256;

/// The 99.7 % quantile of the absolute value of Student's law with 15 degrees of freedom: what three standard errors are for sixteen replicates.
const DEVIATIONS: f64 = 3.54;

/// Doubles the points until the tolerance is met or the next doubling would exceed `max_points`.
pub(crate) fn expect(f: &dyn Integrand, factor: &Factor, tol: &Tolerance) -> Result<Estimate, GaussError> {
    let rank = factor.rank;
    let narrow = Proposal::new(f, factor);
    let (proposal, factor) = match &narrow {
        Some((proposal, turned)) => (Some(proposal), turned),
        None => (None, factor),
    };
    let mut whitened = Whitened::new(f, factor);
    let replicates: Vec<Sobol> = (0..REPLICATES).map(|r| Sobol::new(rank, tol.seed, r as u64)).collect();
    let mut sums = vec![Compensated::default(); REPLICATES];
    let mut point = vec![0.0; rank];
    let mut columns = vec![vec![0.0; FIRST]; rank];
    let (mut out, mut weights) = (vec![0.0; FIRST], vec![1.0; FIRST]);
    let mut done = 0;
    let mut next = FIRST;
    loop {
        for (sobol, sum) in replicates.iter().zip(&mut sums) {
            for start in (done..next).step_by(FIRST) {
                for i in 0..FIRST {
                    sobol.point((start + i) as u64, &mut point);
                    match proposal {
                        Some(proposal) => weights[i] = proposal.draw(&mut point),
                        None => point.iter_mut().for_each(|u| *u = normal::quantile(*u)),
                    }
                    columns.iter_mut().zip(&point).for_each(|(column, x)| column[i] = *x);
                }
                let x: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
                whitened.eval(&x, &mut out);
                if proposal.is_some() {
                    out.iter_mut().zip(&weights).for_each(|(y, weight)| *y *= weight);
                }
                sum.add(pairwise(&out));
            }
        }
        whitened.check()?;
        done = next;
        let means: Vec<f64> = sums.iter().map(|sum| sum.value() / done as f64).collect();
        let (value, error) = spread(&means);
        let method = Method::Qmc { dims: rank, points: done * REPLICATES, replicates: REPLICATES };
        let estimate = Estimate { value, error, method };
        if estimate.met(tol) || tol.max_points < 2 * done * REPLICATES {
            return Ok(estimate);
        }
        next = 2 * done;
    }
}

/// The mean of the replicates' means, and what its error is at most: three standard errors, and rounding.
pub(crate) fn spread(means: &[f64]) -> (f64, f64) {
    let value = pairwise(means) / REPLICATES as f64;
    let squares: Vec<f64> = means.iter().map(|mean| (mean - value) * (mean - value)).collect();
    let variance = pairwise(&squares) / (REPLICATES * (REPLICATES - 1)) as f64;
    let rounding = 4.0 * f64::EPSILON * means.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    (value, DEVIATIONS * libm::sqrt(variance) + rounding)
}
