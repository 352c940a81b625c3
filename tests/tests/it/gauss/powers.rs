//! Negative powers of quadratic forms against closed forms, nested quadrature and randomised points.

use netsor_gauss::{Covariance, Function, GaussError, PowerTerm, Quadratic, Tolerance, expect, expect_powers};

fn identity(d: usize) -> Vec<f64> {
    (0..d * d).map(|k| f64::from(u8::from(k % (d + 1) == 0))).collect()
}

fn term(exponents: &[f64], factors: &[usize], steps: &[usize]) -> PowerTerm {
    PowerTerm { coefficient: 1.0, exponents: exponents.to_vec(), factors: factors.to_vec(), steps: steps.to_vec() }
}

/// `E |x|^(-2 s) = 2^(-s) Gamma(d/2 - s) / Gamma(d/2)` for a standard normal vector, in any unit of length.
#[test]
fn moments_of_chi_square() {
    for d in 1..=9_usize {
        for s in [0.25, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0] {
            for scale in [1e-30, 1e-8, 1.0, 1e8, 1e30] {
                let half = 0.5 * d as f64;
                let c = Covariance::new(d, identity(d).iter().map(|x| x * scale).collect()).unwrap();
                let q = Quadratic { constant: 0.0, matrix: identity(d) };
                let tol = Tolerance { absolute: 0.0, ..Tolerance::default() };
                let found = expect_powers(&[term(&[-s], &[], &[])], &[q], &c, &tol);
                if half <= s {
                    let expected = GaussError::DivergentPower { power: s, rank: d, degree: 0 };
                    assert_eq!(found, Err(expected));
                    continue;
                }
                let found = found.unwrap().unwrap();
                let exact = libm::exp(libm::lgamma(half - s) - libm::lgamma(half)) * libm::pow(2.0 * scale, -s);
                assert!(found.met(&tol), "d {d}, s {s}: {found:?}");
                // The reference has rounding of its own, from the logarithms of Gamma functions.
                let found = netsor_gauss::Estimate { error: found.error + 1e-14 * exact, ..found };
                assert!((found.value - exact).abs() <= found.error, "d {d}, s {s}: {found:?} {exact}");
            }
        }
    }
}

/// The value of terms at points, for quadrature of the integrand itself.
fn pointwise(terms: &[PowerTerm], quadratics: &[Quadratic], z: &[f64]) -> f64 {
    let d = z.len();
    let forms: Vec<f64> = quadratics
        .iter()
        .map(|q| q.constant + (0..d * d).map(|k| q.matrix[k] * z[k / d] * z[k % d]).sum::<f64>())
        .collect();
    terms
        .iter()
        .map(|t| {
            let powers: f64 = forms.iter().zip(&t.exponents).map(|(q, e)| libm::pow(*q, *e)).product();
            let factors: f64 = t.factors.iter().map(|&k| z[k]).product();
            let inside = t.steps.iter().all(|&k| 0.0 < z[k]);
            if inside { t.coefficient * powers * factors } else { 0.0 }
        })
        .sum()
}

/// Against quadrature or randomised points of the integrand, known up to `tol`: two roads to one number.
#[track_caller]
fn check(terms: &[PowerTerm], quadratics: &[Quadratic], c: &Covariance, tol: f64) {
    let d = c.slots();
    let found = expect_powers(terms, quadratics, c, &Tolerance::default()).unwrap().unwrap();
    assert!(found.met(&Tolerance::default()), "{found:?}");
    let mut f = Function::new(d, |points, out| {
        for (j, y) in out.iter_mut().enumerate() {
            let z: Vec<f64> = points.iter().map(|p| p[j]).collect();
            *y = pointwise(terms, quadratics, &z);
        }
    })
    .not_smooth();
    for k in 0..d {
        if terms.iter().any(|t| t.steps.contains(&k)) {
            f = f.with_kinks(k, &[0.0]);
        }
    }
    let asked = Tolerance { absolute: tol, relative: tol, max_points: 1 << 18, seed: 7 };
    let reference = expect(&f, c, &asked).unwrap();
    // Tests of one fixed seed; an interval of 99.7 %, doubled, is missed once in 1e5.
    let allowed = found.error + 2.0 * reference.error;
    assert!((found.value - reference.value).abs() <= allowed, "{found:?} {reference:?}");
    assert!(reference.error <= tol, "{reference:?}");
}

/// A form in all slots with a constant, in two and three variables with steps.
#[test]
fn with_a_constant() {
    let c = Covariance::new(2, vec![1.0, 0.4, 0.4, 2.0]).unwrap();
    let q = Quadratic { constant: 0.1, matrix: vec![0.5, 0.2, 0.2, 1.0] };
    check(&[term(&[-0.5], &[], &[])], std::slice::from_ref(&q), &c, 1e-8);
    check(&[term(&[-1.0], &[0, 1], &[0, 1])], std::slice::from_ref(&q), &c, 1e-8);
    check(&[term(&[-1.5], &[0, 0, 1], &[1]), term(&[-0.5], &[0], &[0])], std::slice::from_ref(&q), &c, 1e-8);
    check(&[term(&[0.5], &[0, 1], &[0])], &[q], &c, 1e-8);
    let c = Covariance::new(3, vec![1.0, 0.4, -0.2, 0.4, 2.0, 0.3, -0.2, 0.3, 1.5]).unwrap();
    let q = Quadratic { constant: 1.0, matrix: identity(3) };
    check(&[term(&[-1.5], &[0, 1], &[0, 1, 2])], &[q], &c, 1e-4);
}

/// Two forms, of which each has a null space.
#[test]
fn two_forms() {
    let c = Covariance::new(3, vec![1.0, 0.4, -0.2, 0.4, 2.0, 0.3, -0.2, 0.3, 1.5]).unwrap();
    let p = Quadratic { constant: 0.5, matrix: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0] };
    let q = Quadratic { constant: 0.2, matrix: vec![0.0, 0.0, 0.0, 0.0, 0.3, 0.1, 0.0, 0.1, 1.0] };
    check(&[term(&[-0.5, -0.5], &[0, 2], &[0, 2])], &[p, q], &c, 1e-4);
}

/// The centred law of a batch, whose covariance is singular, as a Gram matrix of `2 size` random inputs.
fn centred(batches: usize, size: usize) -> Covariance {
    let d = batches * size;
    let input = |k: usize, j: usize| libm::sin(1.7 * k as f64 + 2.3 * j as f64 + 0.3 * (k * j) as f64);
    let centre = |k: usize, j: usize| {
        let first = k / size * size;
        input(k, j) - (first..first + size).map(|l| input(l, j)).sum::<f64>() / size as f64
    };
    let dim = 2 * d;
    let entry = |k: usize, l: usize| (0..dim).map(|j| centre(k, j) * centre(l, j)).sum::<f64>() / dim as f64;
    Covariance::new(d, (0..d * d).map(|k| entry(k / d, k % d)).collect()).unwrap()
}

/// The variance of one batch among several.
fn variance(batches: usize, size: usize, batch: usize) -> Quadratic {
    let d = batches * size;
    let own = |k: usize| k / size == batch;
    let matrix = (0..d * d).map(|k| if k % (d + 1) == 0 && own(k / d) { 1.0 / size as f64 } else { 0.0 }).collect();
    Quadratic { constant: 0.0, matrix }
}

/// Moments of the forward and backward pass of batch norm, in one batch and across two.
#[test]
fn batch_norm() {
    let (q, c) = (variance(1, 4, 0), centred(1, 4));
    check(&[term(&[-1.0], &[0, 1], &[0, 1])], std::slice::from_ref(&q), &c, 2e-3);
    // At the origin these are unbounded, which points do not like; the constant keeps them bounded.
    let q = Quadratic { constant: 0.5, ..q };
    check(&[term(&[-3.0], &[0, 1, 2, 3], &[0, 1])], std::slice::from_ref(&q), &c, 2e-3);
    check(&[term(&[-1.0], &[], &[0, 1])], &[q], &c, 2e-3);
    let (p, q, c) = (variance(2, 5, 0), variance(2, 5, 1), centred(2, 5));
    check(&[term(&[-0.5, -0.5], &[0, 6], &[0, 6])], &[p.clone(), q.clone()], &c, 2e-3);
    let (p, q) = (Quadratic { constant: 0.3, ..p }, Quadratic { constant: 0.2, ..q });
    check(&[term(&[-1.5, -1.5], &[0, 1, 6, 7], &[0, 6])], &[p, q], &c, 5e-3);
}

/// Two names of one form, two of one step, and a form in both batches, which is that of one.
#[test]
fn repetitions_merge() {
    let c = Covariance::new(4, vec![2.0, 0.5, 0.5, 1.0]).err();
    assert!(c.is_some(), "four slots need sixteen entries");
    let base = [[2.0, 0.5], [0.5, 1.0]];
    let entries = (0..16).map(|k| base[(k / 4) % 2][(k % 4) % 2]).collect();
    let doubled = Covariance::new(4, entries).unwrap();
    let p = Quadratic { constant: 0.0, matrix: (0..16).map(|k| f64::from(u8::from(k == 0 || k == 5))).collect() };
    let q =
        Quadratic { constant: 0.0, matrix: (0..16).map(|k| 3.0 * f64::from(u8::from(k == 10 || k == 15))).collect() };
    let two = expect_powers(&[term(&[-0.5, -0.5], &[0, 3], &[0, 2, 3])], &[p, q], &doubled, &Tolerance::default());
    let two = two.unwrap().unwrap();
    let single = Covariance::new(2, vec![2.0, 0.5, 0.5, 1.0]).unwrap();
    let one = Quadratic { constant: 0.0, matrix: identity(2) };
    let one = expect_powers(&[term(&[-1.0], &[0, 1], &[0, 1])], &[one], &single, &Tolerance::default());
    let one = one.unwrap().unwrap();
    assert!((two.value - one.value / libm::sqrt(3.0)).abs() <= two.error + one.error, "{two:?} {one:?}");
}

/// What diverges is an error that says so, for one form, for two that vanish together, and for no variable at all.
#[test]
fn divergence() {
    let diverges = |terms: &[PowerTerm], quadratics: &[Quadratic], c: &Covariance| {
        let found = expect_powers(terms, quadratics, c, &Tolerance::default());
        assert!(matches!(found, Err(GaussError::DivergentPower { .. })), "{found:?}");
    };
    let c = centred(1, 3);
    diverges(&[term(&[-1.0], &[], &[0, 1])], &[variance(1, 3, 0)], &c);
    diverges(&[term(&[-3.0], &[0, 1, 1, 2], &[0, 1])], &[variance(1, 3, 0)], &c);
    assert!(expect_powers(&[term(&[-1.0], &[0], &[0, 1])], &[variance(1, 3, 0)], &c, &Tolerance::default()).is_ok());
    // Each is integrable alone, but they vanish on one line.
    let c = Covariance::new(3, identity(3)).unwrap();
    let p = Quadratic { constant: 0.0, matrix: vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0] };
    let q = Quadratic { constant: 0.0, matrix: vec![1.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0, 0.0, 0.0] };
    diverges(&[term(&[-0.5, -0.5], &[], &[])], &[p, q], &c);
    let nothing = Covariance::new(2, vec![1.0, 0.0, 0.0, 0.0]).unwrap();
    let q = Quadratic { constant: 0.0, matrix: vec![0.0, 0.0, 0.0, 1.0] };
    diverges(&[term(&[-0.5], &[], &[])], &[q], &nothing);
}
