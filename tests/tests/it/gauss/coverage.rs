//! How often randomised points keep the error that they state.

use netsor_gauss::{Covariance, Function, Integrand, Method, Tolerance, expect};
use netsor_num::{normal, special};

const SEEDS: u64 = 200;

fn equicorrelated(d: usize, rho: f64) -> Covariance {
    Covariance::new(d, (0..d * d).map(|k| if k % (d + 1) == 0 { 1.0 } else { rho }).collect()).unwrap()
}

/// The product of one function of every slot.
fn product(d: usize, f: fn(f64) -> f64, kink: bool) -> impl Integrand {
    let mut product = Function::new(d, move |points: &[&[f64]], out: &mut [f64]| {
        for (j, y) in out.iter_mut().enumerate() {
            *y = points.iter().map(|x| f(x[j])).product();
        }
    });
    if kink {
        for k in 0..d {
            product = product.with_kinks(k, &[0.0]);
        }
    }
    product
}

/// The error is the 99.7 % quantile of Student's law with 15 degrees of freedom times a standard error.
///
/// Of 200 honest answers more than four miss it with probability 4e-4, and the number of those within one standard error
/// (probability 0.667) is within 26 of 133 but for a probability of 1e-4.
#[track_caller]
fn check(f: &dyn Integrand, c: &Covariance, exact: f64) {
    let (mut missed, mut within) = (0, 0);
    for seed in 0..SEEDS {
        let tol = Tolerance { absolute: 0.0, relative: 1e-14, max_points: 4096, seed };
        let found = expect(f, c, &tol).unwrap();
        assert!(matches!(found.method, Method::Qmc { .. }), "{found:?}");
        let distance = (found.value - exact).abs();
        missed += usize::from(found.error < distance);
        within += usize::from(distance <= found.error / 3.54);
    }
    assert!(missed <= 4, "{missed} of {SEEDS} answers are off by more than their error");
    assert!((107..=159).contains(&within), "{within} of {SEEDS} answers are within one standard error");
}

#[test]
fn errors_of_randomised_points_are_kept() {
    // E prod cos(Z_k) over independent variables is exp(-d/2).
    check(&product(6, special::cos, false), &equicorrelated(6, 0.0), special::exp(-3.0));
    check(&product(4, special::relu, true), &equicorrelated(4, 0.0), normal::PDF_AT_ZERO.powi(4));
    // The probability that d variables with correlations 1/2 are positive is 1/(d + 1).
    check(&product(5, special::step, true), &equicorrelated(5, 0.5), 1.0 / 6.0);
    // The mean of the sum's square, of eight correlated variables.
    let sum = Function::new(8, |points: &[&[f64]], out: &mut [f64]| {
        for (j, y) in out.iter_mut().enumerate() {
            *y = points.iter().map(|x| x[j]).sum::<f64>().powi(2);
        }
    });
    check(&sum, &equicorrelated(8, 0.25), 8.0 + 56.0 * 0.25);
}
