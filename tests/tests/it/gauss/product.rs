//! Products by conditioning on all variables but two, against formulas and against the plain methods.

use netsor_gauss::{Covariance, Estimate, Function, Integrand, Method, Part, Tolerance, expect, expect_product};
use netsor_num::{normal, special};

/// One function of one slot, with a kink at a threshold or none.
fn single(f: fn(f64) -> f64, kink: Option<f64>) -> impl Integrand {
    let function = Function::new(1, move |points: &[&[f64]], out: &mut [f64]| {
        for (y, x) in out.iter_mut().zip(points[0]) {
            *y = f(*x);
        }
    });
    match kink {
        Some(t) => function.with_kinks(0, &[t]),
        None => function,
    }
}

#[track_caller]
fn check(parts: &[Part<'_>], c: &Covariance, exact: f64, error: f64) -> Estimate {
    let found = expect_product(parts, c, &Tolerance::default()).unwrap();
    assert!((found.value - exact).abs() <= error, "{found:?}, exactly {exact}");
    assert!((found.value - exact).abs() <= found.error + 4.0 * f64::EPSILON, "{found:?}, exactly {exact}");
    found
}

fn equicorrelated(d: usize, rho: f64) -> Covariance {
    Covariance::new(d, (0..d * d).map(|k| if k % (d + 1) == 0 { 1.0 } else { rho }).collect()).unwrap()
}

/// `C = A A'` with entries that decay, some negative.
fn generic(d: usize) -> Covariance {
    let a = |i: usize, j: usize| special::sin(1.7 * ((i + 1) * (i + 1) * (j + 2)) as f64) / (1.0 + 0.2 * j as f64);
    Covariance::new(d, (0..d * d).map(|k| (0..d).map(|j| 0.5 * a(k / d, j) * a(k % d, j)).sum()).collect()).unwrap()
}

/// `E prod cos(Z_k)` is the mean of `exp(-s'C s / 2)` over all signs `s`.
fn cosines(c: &Covariance) -> f64 {
    let d = c.slots();
    let term = |signs: usize| {
        let s = |k: usize| if signs >> k & 1 == 1 { 1.0 } else { -1.0 };
        let form: f64 = (0..d * d).map(|k| s(k / d) * s(k % d) * c.entry(k / d, k % d)).sum();
        special::exp(-0.5 * form)
    };
    (0..1 << d).map(term).sum::<f64>() / f64::from(1 << d)
}

#[test]
fn smooth_products_in_two_to_five_variables() {
    let cos = single(special::cos, None);
    for (d, error) in [(2, 1e-14), (3, 1e-13), (4, 1e-12), (5, 1e-11)] {
        for c in [generic(d), equicorrelated(d, 0.5)] {
            let parts: Vec<Part<'_>> = (0..d).map(|k| Part { slots: vec![k], function: &cos }).collect();
            let found = check(&parts, &c, cosines(&c), error);
            assert!(matches!(found.method, Method::Quadrature { dims, .. } if dims == d), "{found:?}");
        }
    }
}

/// Factors of a pair's slot may depend on the other slots, too: `cos(Z_0) cos(Z_1) cos(Z_2 + Z_0) cos(Z_3 - Z_1)`.
#[test]
fn factors_may_share_the_outer_slots() {
    let c = generic(4);
    let cos = single(special::cos, None);
    let sum = Function::new(2, |points: &[&[f64]], out: &mut [f64]| {
        for (j, y) in out.iter_mut().enumerate() {
            *y = special::cos(points[0][j] + points[1][j]);
        }
    });
    let parts = [
        Part { slots: vec![0], function: &cos },
        Part { slots: vec![1], function: &cos },
        Part { slots: vec![2, 0], function: &sum },
        Part { slots: vec![1, 3], function: &sum },
    ];
    // The covariance of Z_0, Z_1, Z_2 + Z_0, Z_3 + Z_1.
    let rows = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]];
    let entry =
        |i: usize, j: usize| -> f64 { (0..16).map(|k| rows[i][k / 4] * c.entry(k / 4, k % 4) * rows[j][k % 4]).sum() };
    let joint = Covariance::new(4, (0..16).map(|k| entry(k / 4, k % 4)).collect()).unwrap();
    check(&parts, &c, cosines(&joint), 1e-12);
}

/// The probability that `d` variables with correlations 1/2 are positive is `1/(d + 1)`.
#[test]
fn orthants_in_two_to_four_variables() {
    let step = single(special::step, Some(0.0));
    for (d, error) in [(2, 1e-12), (3, 1e-12), (4, 1e-10)] {
        let parts: Vec<Part<'_>> = (0..d).map(|k| Part { slots: vec![k], function: &step }).collect();
        let found = check(&parts, &equicorrelated(d, 0.5), 1.0 / (d as f64 + 1.0), error);
        assert!(matches!(found.method, Method::Quadrature { .. }), "{found:?}");
    }
}

/// Where conditioning does not apply (a repeated slot, a correlation close to 1, one factor of everything) the answer is
/// that of the plain methods.
#[test]
fn other_products_are_integrated_plainly() {
    let tanh = single(special::tanh, None);
    let all = Function::new(2, |points: &[&[f64]], out: &mut [f64]| {
        for (j, y) in out.iter_mut().enumerate() {
            *y = special::tanh(points[0][j]) * special::tanh(points[1][j]);
        }
    });
    for rho in [1.0, 1.0 - 1e-9, 0.99, -0.999, 0.6] {
        let c = equicorrelated(2, rho);
        let parts = [Part { slots: vec![0], function: &tanh }, Part { slots: vec![1], function: &tanh }];
        let joined = [Part { slots: vec![0, 1], function: &all }];
        let plain = expect(&all, &c, &Tolerance::default()).unwrap();
        check(&parts, &c, plain.value, 1e-12);
        check(&joined, &c, plain.value, 1e-12);
    }
    let wrong = [Part { slots: vec![2], function: &tanh }];
    assert!(expect_product(&wrong, &equicorrelated(2, 0.0), &Tolerance::default()).is_err());
}

/// Both of the pair have a kink, and vary on a scale a twentieth of their deviation: the pieces between kinks must be
/// refined. `E relu(a) exp(-a^2) relu(b) exp(-b^2)` is `sqrt(det M / det C)` times `E relu(x) relu(y)` under
/// `M = (C^-1 + 2 I)^-1`, an arc-cosine kernel of degree one.
#[test]
fn narrow_functions_with_kinks() {
    let (v, r) = (400.0, 0.6);
    let c = Covariance::new(2, vec![v, r * v, r * v, v]).unwrap();
    let det = v * v * (1.0 - r * r);
    let (diagonal, off) = (v / det + 2.0, -r * v / det);
    let inverse = diagonal * diagonal - off * off;
    let (variance, rho) = (diagonal / inverse, -off / diagonal);
    let angle = std::f64::consts::FRAC_PI_2 - rho.asin();
    let kernel = variance / std::f64::consts::TAU * ((1.0 - rho * rho).sqrt() + (std::f64::consts::PI - angle) * rho);
    let exact = kernel / (inverse * det).sqrt();
    let bump = single(|x| x.max(0.0) * special::exp(-x * x), Some(0.0));
    let parts = [Part { slots: vec![0], function: &bump }, Part { slots: vec![1], function: &bump }];
    check(&parts, &c, exact, 1e-12 * exact);
    let found = expect_product(&parts, &c, &Tolerance::default()).unwrap();
    assert!((found.value - exact).abs() <= found.error && found.error <= 1e-9 * exact, "{found:?}, exactly {exact}");
}

/// Jumps along curves in four variables, `step(u + 2 tanh(x)) step(v + 2 tanh(y))`: given `x` and `y` a probability of two
/// normal variables, whose mean is a smooth integral over two.
#[test]
fn jumps_along_curves_in_four_variables() {
    let jump = || {
        let curve = |points: &[&[f64]], out: &mut [f64]| {
            for (j, y) in out.iter_mut().enumerate() {
                *y = points[0][j] + 2.0 * special::tanh(points[1][j]);
            }
        };
        let eval = move |points: &[&[f64]], out: &mut [f64]| {
            curve(points, out);
            out.iter_mut().for_each(|y| *y = special::step(*y));
        };
        Function::new(2, eval).with_surface(curve)
    };
    let (first, second) = (jump(), jump());
    let (r, s) = (0.6, -0.3);
    let joint = vec![1.0, r, 0.0, 0.0, r, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, s, 0.0, 0.0, s, 1.0];
    let outer = Function::new(2, move |points: &[&[f64]], out: &mut [f64]| {
        for (j, y) in out.iter_mut().enumerate() {
            let mean = |k: usize| 2.0 * special::tanh(points[k][j]);
            *y = normal::bivariate_cdf(mean(0), mean(1), r);
        }
    });
    let exact = expect(&outer, &Covariance::new(2, vec![1.0, s, s, 1.0]).unwrap(), &Tolerance::default()).unwrap();
    let parts = [Part { slots: vec![0, 2], function: &first }, Part { slots: vec![1, 3], function: &second }];
    let found = check(&parts, &Covariance::new(4, joint).unwrap(), exact.value, 1e-9);
    assert!(matches!(found.method, Method::Quadrature { dims: 4, .. }), "{found:?}");
    assert!(found.error <= 1e-8, "{found:?}");
}
