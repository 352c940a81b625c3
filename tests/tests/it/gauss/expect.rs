//! `expect` against exact values, against numbers from mpmath, and against its own promises.

use netsor_gauss::{Covariance, Estimate, Function, GaussError, Integrand, Method, Tolerance, expect};
use netsor_num::{normal, special};

type Scalar = fn(f64) -> f64;

/// The product of one function a slot, with the thresholds at which it is not smooth.
#[expect(clippy::needless_pass_by_value, reason = "callers make the list in place")]
fn product(factors: Vec<(Scalar, Option<f64>)>) -> impl Integrand {
    let functions: Vec<Scalar> = factors.iter().map(|(f, _)| *f).collect();
    let mut f = Function::new(factors.len(), move |points: &[&[f64]], out: &mut [f64]| {
        for (j, y) in out.iter_mut().enumerate() {
            *y = functions.iter().zip(points).map(|(f, column)| f(column[j])).product();
        }
    });
    for (slot, (_, kink)) in factors.iter().enumerate() {
        if let Some(kink) = kink {
            f = f.with_kinks(slot, &[*kink]);
        }
    }
    f
}

fn pair(uu: f64, uv: f64, vv: f64) -> Covariance {
    Covariance::new(2, vec![uu, uv, uv, vv]).unwrap()
}

/// The estimate is within its own error of the exact value, and that error within `budget` relative to the value or to 1.
#[track_caller]
fn check(f: &dyn Integrand, c: &Covariance, exact: f64, budget: f64) -> Estimate {
    let estimate = expect(f, c, &Tolerance::default()).unwrap();
    let distance = (estimate.value - exact).abs();
    // The exact values are themselves rounded, some of them (normal distribution functions) to 1e-15 absolute.
    let rounding = 8.0 * f64::EPSILON * exact.abs().max(1.0);
    assert!(distance <= estimate.error + rounding, "{estimate:?}, exactly {exact}, off by {distance}");
    assert!(distance <= budget * exact.abs().max(1.0), "{estimate:?}, exactly {exact}, off by {distance}");
    estimate
}

fn tanh_slope(u: f64) -> f64 {
    1.0 - special::tanh(u) * special::tanh(u)
}

fn erf_slope(u: f64) -> f64 {
    std::f64::consts::FRAC_2_SQRT_PI * special::exp(-u * u)
}

/// Values from mpmath, 18 digits (trapezoid rule, 30 digits of working precision).
#[test]
fn smooth_pairs_against_mpmath() {
    let cases: [(Scalar, Scalar, [f64; 3], f64, f64); 4] = [
        (special::tanh, tanh_slope, [1.0, 0.5, 1.0], 0.186_324_413_203_448_1, 0.384_747_028_441_038_9),
        (special::tanh, tanh_slope, [0.3, -0.2, 1.1], -0.094_861_813_609_985_51, 0.478_421_739_481_882_77),
        (special::softplus, special::sigmoid, [1.0, 0.6, 0.8], 0.790_769_186_001_103_8, 0.276_591_063_435_742_8),
        (special::erf, erf_slope, [1.2, 0.7, 0.9], 0.299_822_894_041_830_2, 0.463_072_745_361_904_4),
    ];
    for (f, slope, [uu, uv, vv], exact, exact_slopes) in cases {
        check(&product(vec![(f, None), (f, None)]), &pair(uu, uv, vv), exact, 1e-14);
        check(&product(vec![(slope, None), (slope, None)]), &pair(uu, uv, vv), exact_slopes, 1e-14);
    }
}

/// `E cos(a Z) = exp(-a C a / 2)` in any dimension.
#[test]
fn waves_in_one_to_four_dimensions() {
    for (d, budget) in [(1, 1e-14), (2, 1e-13), (3, 1e-10), (4, 1e-9)] {
        let entries: Vec<f64> =
            (0..d * d).map(|i| if i / d == i % d { 1.0 } else { 0.4 / (1.0 + (i / d + i % d) as f64) }).collect();
        let c = Covariance::new(d, entries.clone()).unwrap();
        let a: Vec<f64> = (0..d).map(|k| 0.9 - 0.4 * k as f64).collect();
        let quadratic: f64 = (0..d * d).map(|i| a[i / d] * entries[i] * a[i % d]).sum();
        let f = Function::new(d, move |points, out| {
            for (j, y) in out.iter_mut().enumerate() {
                *y = special::cos(a.iter().zip(points).map(|(a, column)| a * column[j]).sum());
            }
        });
        let estimate = check(&f, &c, special::exp(-0.5 * quadratic), budget);
        assert!(matches!(estimate.method, Method::Quadrature { dims, .. } if dims == d), "{estimate:?}");
        assert!(estimate.met(&Tolerance::default()));
    }
}

/// Two independent pairs: the expectation of the product is the product of expectations known from mpmath.
#[test]
fn tanh_in_four_dimensions() {
    let (a, b) = (0.186_324_413_203_448_1, -0.094_861_813_609_985_51);
    let c = vec![1.0, 0.5, 0.0, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 0.3, -0.2, 0.0, 0.0, -0.2, 1.1];
    let f = product(vec![(special::tanh, None); 4]);
    let estimate = check(&f, &Covariance::new(4, c).unwrap(), a * b, 1e-8);
    assert!(estimate.error < 1e-8, "{estimate:?}");
}

/// Frequencies at which a grid of step h sees a constant: two grids never agree on that.
#[test]
fn aliased_waves_are_seen() {
    for i in 0..400 {
        let frequency = 0.37 * f64::from(i);
        let f = Function::new(1, move |points, out| {
            for (y, u) in out.iter_mut().zip(points[0]) {
                *y = special::cos(frequency * u);
            }
        });
        check(&f, &Covariance::new(1, vec![1.0]).unwrap(), special::exp(-0.5 * frequency * frequency), 1e-13);
    }
}

/// `E exp(s Z) = exp(s^2/2)`: the mass is far outside of the usual range.
#[test]
fn growth_widens_the_range() {
    for s in [1.0, 5.0, 12.0, 20.0] {
        let f = product(vec![(special::exp, None)]);
        check(&f, &Covariance::new(1, vec![s * s]).unwrap(), special::exp(0.5 * s * s), 1e-12);
    }
    check(&product(vec![(special::exp, None); 2]), &pair(9.0, -3.0, 4.0), special::exp(3.5), 1e-12);
}

/// Large and small variances: the arcsine law of erf, `E erf(u) erf(v) = (2/pi) asin(2 uv / sqrt((1+2uu)(1+2vv)))`.
#[test]
fn steep_and_flat_functions() {
    for (uu, rho, vv) in
        [(1e4, 0.5, 1e4), (1e6, -0.3, 1e-6), (1e-12, 0.9, 1e-12), (400.0, 0.999, 300.0), (1e5, 0.0, 2.0)]
    {
        let uv = rho * f64::sqrt(uu * vv);
        let exact = std::f64::consts::FRAC_2_PI * f64::asin(2.0 * uv / f64::sqrt((1.0 + 2.0 * uu) * (1.0 + 2.0 * vv)));
        let estimate = check(&product(vec![(special::erf, None); 2]), &pair(uu, uv, vv), exact, 1e-10);
        assert!(estimate.met(&Tolerance::default()), "{uu} {rho} {vv} {estimate:?}");
    }
}

/// Small values keep their relative accuracy.
#[test]
fn tiny_variances_keep_digits() {
    let f = product(vec![(special::tanh, None); 2]);
    let estimate = expect(&f, &pair(1e-20, 5e-21, 1e-20), &Tolerance::default()).unwrap();
    assert!((estimate.value / 5e-21 - 1.0).abs() < 1e-10, "{estimate:?}");
}

#[test]
fn relu_and_step_pairs() {
    let (relu, step): (Scalar, Scalar) = (special::relu, special::step);
    let mut rhos: Vec<f64> = (-20..=20).map(|i| f64::from(i) / 20.0).collect();
    rhos.extend([1.0 - 1e-4, 1.0 - 1e-8, 1.0 - 1e-13, -1.0 + 1e-6, -1.0 + 1e-12]);
    for rho in rhos {
        // arc-cosine kernels of degree 0 and 1 (Cho and Saul 2009).
        let theta = f64::atan2(f64::sqrt((1.0 - rho) * (1.0 + rho)), rho);
        let zero = (std::f64::consts::PI - theta) / std::f64::consts::TAU;
        let one = (f64::sin(theta) + (std::f64::consts::PI - theta) * rho) / std::f64::consts::TAU;
        let c = pair(1.0, rho, 1.0);
        let a = check(&product(vec![(relu, Some(0.0)); 2]), &c, one, 1e-12);
        let b = expect(&product(vec![(step, Some(0.0)); 2]), &c, &Tolerance::default()).unwrap();
        assert!(a.met(&Tolerance::default()) && b.met(&Tolerance::default()), "{rho} {a:?} {b:?}");
        // A correlation within rounding of 1 does not determine the orthant probability better than this.
        let conditioned = f64::sqrt((1.0 - rho.abs()).max(f64::EPSILON));
        assert!((b.value - zero).abs() < 1e-14 + 2.0 * f64::EPSILON / conditioned, "{rho} {b:?} {zero}");
    }
}

/// `P(u > a, v > b)` for thresholds anywhere, against the bivariate distribution function.
#[test]
fn thresholds_away_from_zero() {
    for (a, b, rho) in
        [(0.5, -0.3, 0.4), (1.0, 1.0, -0.9), (-2.0, 1.5, 0.99), (0.7, 0.7, 0.9999), (3.0, 2.9, 0.999_999)]
    {
        let f = Function::new(2, move |points, out| {
            for (j, y) in out.iter_mut().enumerate() {
                *y = special::step(points[0][j] - a) * special::step(points[1][j] - b);
            }
        })
        .with_kinks(0, &[a])
        .with_kinks(1, &[b]);
        check(&f, &pair(1.0, rho, 1.0), normal::bivariate_cdf(-a, -b, rho), 1e-11);
    }
}

/// Six slots of rank two, kinks in all of them: the positive parts of six directions in the plane, against the same integral in polar coordinates.
#[test]
fn many_kinks_in_the_plane() {
    let angles = [0.0, 0.5, 0.9, 1.4, 2.0, 2.7];
    let d = angles.len();
    let entries = (0..d * d).map(|i| f64::cos(angles[i / d] - angles[i % d])).collect();
    let f = Function::new(d, |points, out| {
        for (j, y) in out.iter_mut().enumerate() {
            *y = points.iter().map(|column| special::relu(column[j])).sum::<f64>().powi(3);
        }
    });
    let f = (0..d).fold(f, |f, slot| f.with_kinks(slot, &[0.0]));
    // E R^3 = 3 sqrt(pi/2); the angular integral by the midpoint rule on pieces between the kinks.
    let n = 200_000;
    let mean: f64 = (0..n)
        .map(|i| {
            let t = std::f64::consts::TAU * (f64::from(i) + 0.5) / f64::from(n);
            angles.iter().map(|a| f64::cos(t - a).max(0.0)).sum::<f64>().powi(3)
        })
        .sum::<f64>()
        / f64::from(n);
    // The midpoint rule is off by n^-2 at kinks.
    let exact = 3.0 * f64::sqrt(std::f64::consts::FRAC_PI_2) * mean;
    let estimate = expect(&f, &Covariance::new(d, entries).unwrap(), &Tolerance::default()).unwrap();
    assert!((estimate.value - exact).abs() < 1e-8, "{estimate:?} {exact}");
    assert!(estimate.met(&Tolerance::default()));
}

/// Kinks of slots whose standard deviations are far below rounding of the other's.
#[test]
fn kinks_at_every_scale() {
    let relus = || product(vec![(special::relu, Some(0.0)); 2]);
    let unit = expect(&relus(), &pair(1.0, -0.5, 1.0), &Tolerance::default()).unwrap();
    for s in [1e-20, 1e-8, 1e8] {
        let scaled = expect(&relus(), &pair(s * s, -0.5 * s / s, 1.0 / (s * s)), &Tolerance::default()).unwrap();
        assert!((scaled.value - unit.value).abs() <= 1e-13 && scaled.error < 1e-12, "{s} {scaled:?} {unit:?}");
    }
    // Repeated slots, by their sign and by their scale, do not cost more.
    let c = vec![1.0, -1.0, 3.0, -1.0, 1.0, -3.0, 3.0, -3.0, 9.0];
    let estimate = check(
        &product(vec![(special::relu, Some(0.0)), (special::step, Some(0.5)), (special::abs, Some(0.0))]),
        &Covariance::new(3, c).unwrap(),
        0.0,
        1e-15,
    );
    assert!(matches!(estimate.method, Method::Quadrature { dims: 1, .. }));
}

/// `max(u, v)` has its kink where no slot says so: `E max = sqrt((1 - rho)/pi)`.
#[test]
fn hidden_kinks() {
    let f = Function::new(2, |points, out| {
        for (j, y) in out.iter_mut().enumerate() {
            *y = points[0][j].max(points[1][j]);
        }
    })
    .not_smooth();
    for rho in [-0.5, 0.0, 0.7] {
        let exact = f64::sqrt((1.0 - rho) / std::f64::consts::PI);
        check(&f, &pair(1.0, rho, 1.0), exact, 1e-7);
    }
}

/// The probability that three variables with these correlations are positive, `1/8 + sum of asin(rho) / (4 pi)`.
fn orthant(rho: [f64; 3]) -> (Covariance, f64) {
    let c = vec![1.0, rho[0], rho[1], rho[0], 1.0, rho[2], rho[1], rho[2], 1.0];
    let exact = 0.125 + rho.map(f64::asin).iter().sum::<f64>() / (4.0 * std::f64::consts::PI);
    (Covariance::new(3, c).unwrap(), exact)
}

#[test]
fn kinks_in_three_dimensions() {
    let steps = product(vec![(special::step, Some(0.0)); 3]);
    for rho in [[0.3, -0.2, 0.5], [0.9, 0.5, 0.6], [-0.4, -0.4, -0.1]] {
        let (c, exact) = orthant(rho);
        let estimate = check(&steps, &c, exact, 1e-10);
        assert!(matches!(estimate.method, Method::Quadrature { dims: 3, .. }), "{estimate:?}");
        assert!(estimate.error < 1e-9, "{estimate:?}");
    }
    // A pair and an independent variable: the arc-cosine kernel of degree one times E relu(Z).
    let relus = product(vec![(special::relu, Some(0.0)); 3]);
    let c = Covariance::new(3, vec![1.0, 0.5, 0.0, 0.5, 1.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
    let angle = std::f64::consts::PI / 3.0;
    let pair = (f64::sin(angle) + 2.0 * angle * 0.5) / std::f64::consts::TAU;
    check(&relus, &c, pair * normal::PDF_AT_ZERO, 1e-10);
}

/// With too few points for a nested rule there are only randomised ones; they say how far they came, and nineteen times of twenty at least they are right.
#[test]
fn randomised_errors_are_honest() {
    let (c, exact) = orthant([0.3, -0.2, 0.5]);
    let steps = product(vec![(special::step, Some(0.0)); 3]);
    let mut inside = 0;
    for seed in 0..40 {
        let tol = Tolerance { max_points: 1 << 15, seed, ..Tolerance::default() };
        let estimate = expect(&steps, &c, &tol).unwrap();
        assert!(matches!(estimate.method, Method::Qmc { dims: 3, replicates: 16, .. }) && !estimate.met(&tol));
        inside += usize::from((estimate.value - exact).abs() <= estimate.error);
    }
    // The interval holds with probability 0.997: fewer than 38 of 40 has probability 2e-4.
    assert!(38 <= inside, "{inside} of 40");
}

/// Forty independent slots: the variance of their sum.
#[test]
fn many_dimensions() {
    let d = 40;
    let entries = (0..d * d).map(|i| if i / d == i % d { 1.0 } else { 0.0 }).collect();
    let f = Function::new(d, |points, out| {
        for (j, y) in out.iter_mut().enumerate() {
            *y = points.iter().map(|column| special::tanh(column[j])).sum::<f64>().powi(2);
        }
    });
    let tol = Tolerance { absolute: 1e-2, relative: 0.0, max_points: 1 << 18, seed: 3 };
    let estimate = expect(&f, &Covariance::new(d, entries).unwrap(), &tol).unwrap();
    let one = expect(&product(vec![(special::tanh, None); 2]), &pair(1.0, 1.0, 1.0), &tol).unwrap();
    assert!((estimate.value - d as f64 * one.value).abs() <= estimate.error, "{estimate:?} {one:?}");
    assert!(matches!(estimate.method, Method::Qmc { dims: 40, replicates: 16, .. }));
}

#[test]
fn degenerate_covariances_are_ordinary() {
    let f = || product(vec![(special::tanh, None); 2]);
    let exact = expect(&f(), &pair(0.0, 0.0, 0.0), &Tolerance::default()).unwrap();
    assert_eq!((exact.value, exact.error, exact.method), (0.0, 0.0, Method::Exact));
    let same = expect(&f(), &pair(1.0, 1.0, 1.0), &Tolerance::default()).unwrap();
    let opposite = expect(&f(), &pair(1.0, -1.0, 1.0), &Tolerance::default()).unwrap();
    assert!(matches!(same.method, Method::Quadrature { dims: 1, .. }));
    assert_eq!(same.value, -opposite.value);
    let nearly = expect(&f(), &pair(1.0, 1.0 - 1e-9, 1.0), &Tolerance::default()).unwrap();
    // d/drho E tanh tanh = E tanh'^2 < 1.
    assert!((nearly.value - same.value).abs() < 1.1e-9 && nearly.value < same.value);
    let empty = Function::new(0, |_, out| out.fill(3.0));
    assert_eq!(expect(&empty, &Covariance::new(0, vec![]).unwrap(), &Tolerance::default()).unwrap().value, 3.0);
}

#[test]
fn same_inputs_same_bits() {
    let c = Covariance::new(3, vec![1.0, 0.2, 0.1, 0.2, 1.0, 0.3, 0.1, 0.3, 1.0]).unwrap();
    let tol = Tolerance { max_points: 1 << 14, ..Tolerance::default() };
    let f = product(vec![(special::relu, Some(0.0)); 3]);
    let run = |seed| expect(&f, &c, &Tolerance { seed, ..tol }).unwrap();
    assert_eq!(run(4), run(4));
    assert_ne!(run(4).value, run(5).value);
}

#[test]
fn bad_questions_are_refused() {
    let log = product(vec![(special::ln, None)]);
    let c = Covariance::new(1, vec![1.0]).unwrap();
    assert!(matches!(expect(&log, &c, &Tolerance::default()), Err(GaussError::Value { .. })));
    let inverse: Scalar = |u| 1.0 / u;
    let at_zero =
        expect(&product(vec![(inverse, None)]), &Covariance::new(1, vec![0.0]).unwrap(), &Tolerance::default());
    assert_eq!(at_zero.unwrap_err(), GaussError::Value { at: vec![0.0], value: f64::INFINITY });
    assert_eq!(
        expect(&log, &pair(1.0, 0.0, 1.0), &Tolerance::default()),
        Err(GaussError::Slots { function: 1, covariance: 2 })
    );
    let tol = Tolerance { absolute: f64::NAN, ..Tolerance::default() };
    assert!(matches!(expect(&log, &c, &tol), Err(GaussError::Tolerance { .. })));
    let huge = product(vec![(special::exp, None)]);
    assert!(expect(&huge, &Covariance::new(1, vec![1e8]).unwrap(), &Tolerance::default()).is_err());
}

/// A function with a pole that no point hits has no expectation: the answer must not claim to be good.
#[test]
fn divergent_integrals_are_not_met() {
    let inverse: Scalar = |u| 1.0 / u.abs();
    let estimate =
        expect(&product(vec![(inverse, None)]), &Covariance::new(1, vec![1.0]).unwrap(), &Tolerance::default());
    assert!(estimate.map_or(true, |estimate| !estimate.met(&Tolerance::default())));
}
