//! Closed forms against quadrature, against each other, and at the edges: correlation ±1 and near 0, variances from 1e-30 to 1e30.

use netsor_gauss::dual::{Activation, ErfSum, ErfTerm, Phase, Rectified, WaveSum, WaveTerm, dual, mean};
use netsor_gauss::{Covariance, Estimate, Function, GaussError, Tolerance, expect};
use netsor_num::normal;
use netsor_num::quadrature::gauss_legendre;

fn rectified() -> Vec<(&'static str, Activation)> {
    vec![
        ("constant", Activation::constant(-0.7)),
        ("identity", Activation::identity()),
        ("cubic", Activation::polynomial(&[0.3, -1.0, 0.0, 0.5])),
        ("u^4", Activation::monomial(4)),
        ("h_5", Activation::hermite(5)),
        ("relu", Activation::relu()),
        ("relu^3", Activation::rectified_monomial(3)),
        ("leaky", Activation::leaky_relu(0.1)),
        ("abs", Activation::abs()),
        ("step", Activation::step()),
        ("sign", Activation::sign()),
        ("odd", Activation::Rectified(Rectified::new(&[0.0, 0.4, 0.0, 1.0], &[], &[-0.5, 0.0, 2.0]))),
        ("all", Activation::Rectified(Rectified::new(&[1.0, 0.5], &[-1.0, 0.0, 0.3], &[0.2, 1.0]))),
    ]
}

fn erfs() -> Vec<(&'static str, Activation)> {
    let erf = Activation::erf();
    let gelu = Activation::gelu();
    let mixed = ErfSum::new(vec![
        ErfTerm { coefficient: 1.0, power: 2, erf: Some(1.3), gauss: -0.4 },
        ErfTerm { coefficient: -0.5, power: 1, erf: None, gauss: 0.05 },
        ErfTerm { coefficient: 0.2, power: 0, erf: Some(-0.6), gauss: 0.0 },
    ]);
    vec![
        ("erf'", erf.derivative().unwrap()),
        ("erf''", erf.derivative().unwrap().derivative().unwrap()),
        ("erf", erf),
        ("gelu'", gelu.derivative().unwrap()),
        ("gelu", gelu),
        ("shifted erf", Activation::erf_of(0.5, 0.7, 0.5)),
        ("bump", Activation::gaussian(0.8)),
        ("mixed erf", Activation::Erf(mixed)),
    ]
}

fn waves() -> Vec<(&'static str, Activation)> {
    let mixed = WaveSum::new(vec![
        WaveTerm { coefficient: 1.0, power: 2, gauss: -0.1, rate: 0.3, frequency: 1.2, phase: Phase::Sin },
        WaveTerm { coefficient: -0.5, power: 1, gauss: 0.0, rate: -0.2, frequency: 0.7, phase: Phase::Cos },
    ]);
    vec![
        ("sin", Activation::sin(1.5)),
        ("cos", Activation::cos(0.8)),
        ("exp", Activation::exp(0.6)),
        ("mixed wave", Activation::Wave(mixed)),
    ]
}

fn all() -> Vec<(&'static str, Activation)> {
    let mut all = rectified();
    all.extend(erfs());
    all.extend(waves());
    all
}

fn has_kink(f: &Activation) -> bool {
    matches!(f, Activation::Rectified(_))
}

#[track_caller]
fn closed(f: &Activation, g: &Activation, uu: f64, uv: f64, vv: f64) -> Estimate {
    dual(f, g, uu, uv, vv).expect("a pair with a closed form").unwrap()
}

fn numeric(f: &Activation, g: &Activation, uu: f64, uv: f64, vv: f64) -> Estimate {
    let integrand = Function::new(2, |points, out| {
        for (j, y) in out.iter_mut().enumerate() {
            *y = f.eval(points[0][j]) * g.eval(points[1][j]);
        }
    });
    let integrand = if has_kink(f) { integrand.with_kinks(0, &[0.0]) } else { integrand };
    let integrand = if has_kink(g) { integrand.with_kinks(1, &[0.0]) } else { integrand };
    expect(&integrand, &Covariance::new(2, vec![uu, uv, uv, vv]).unwrap(), &Tolerance::default()).unwrap()
}

/// `sqrt(E f^2 E g^2)`: the natural size of a pair.
fn size(f: &Activation, g: &Activation, uu: f64, vv: f64) -> f64 {
    f64::sqrt(closed(f, f, uu, uu, uu).value * closed(g, g, vv, vv, vv).value)
}

/// A product rule for the plane, cut along both axes, with the density of a pair of Gaussians in its weights.
struct Plane {
    u: Vec<f64>,
    v: Vec<f64>,
    weights: Vec<f64>,
}

impl Plane {
    fn new(uu: f64, rho: f64, vv: f64) -> Self {
        // On each half line of 12 standard deviations 90 nodes resolve the density of a conditional law to rounding.
        let rule = gauss_legendre(90);
        let half: Vec<(f64, f64)> =
            rule.nodes.iter().zip(&rule.weights).map(|(x, w)| (6.0 * (1.0 + x), 6.0 * w)).collect();
        let line: Vec<(f64, f64)> = half.iter().rev().map(|(x, w)| (-x, *w)).chain(half.iter().copied()).collect();
        let c = f64::sqrt((1.0 - rho) * (1.0 + rho));
        let density = |x: f64, y: f64| normal::pdf(x) * normal::pdf((y - rho * x) / c) / c;
        let weights = line.iter().flat_map(|(x, w)| line.iter().map(move |(y, z)| w * z * density(*x, *y))).collect();
        let axis = |variance: f64| line.iter().map(|(x, _)| x * f64::sqrt(variance)).collect();
        Self { u: axis(uu), v: axis(vv), weights }
    }

    fn expect(&self, f: &Activation, g: &Activation) -> f64 {
        let values: Vec<f64> = self.v.iter().map(|v| g.eval(*v)).collect();
        let row = |w: &[f64]| w.iter().zip(&values).map(|(w, y)| w * y).sum::<f64>();
        self.u.iter().zip(self.weights.chunks_exact(values.len())).map(|(u, w)| f.eval(*u) * row(w)).sum()
    }
}

/// Every pair with a closed form against a product rule.
/// The tolerance is 1e-12 of the natural size: rounding of weights that are exponentials of numbers up to 100.
#[test]
fn every_pair_against_a_product_rule() {
    let all = all();
    let mut pairs = 0;
    for (uu, rho, vv) in [(1.0, 0.4, 1.0), (0.7, -0.8, 1.3), (2.0, 0.05, 0.1)] {
        let plane = Plane::new(uu, rho, vv);
        for (name, f) in &all {
            for (other, g) in &all {
                let Some(exact) = dual(f, g, uu, rho * f64::sqrt(uu * vv), vv) else {
                    continue;
                };
                let (exact, numeric) = (exact.unwrap(), plane.expect(f, g));
                let distance = (exact.value - numeric).abs();
                assert!(
                    distance <= 1e-12 * size(f, g, uu, vv),
                    "{name} {other} {uu} {rho} {vv}: {exact:?} {numeric:?}"
                );
                assert!(exact.error <= 1e-11 * size(f, g, uu, vv), "{name} {other} {uu} {rho} {vv}: {exact:?}");
                pairs += 1;
            }
        }
    }
    // 25 functions. Closed forms are missing for the 4 waves with the 8 properly rectified functions and the 5 that contain error functions.
    assert_eq!(pairs, 3 * (25 * 25 - 2 * 4 * MISSING));
}

const MISSING: usize = 8 + 5;

/// A few pairs against `expect`, which must be as good as it says.
#[test]
fn some_pairs_against_expect() {
    let named = |name: &str| all().into_iter().find(|(other, _)| *other == name).unwrap().1;
    for (f, g) in
        [("relu", "relu"), ("step", "gelu"), ("odd", "all"), ("erf'", "relu"), ("sin", "exp"), ("gelu", "gelu")]
    {
        let (f, g) = (named(f), named(g));
        let (exact, numeric) = (closed(&f, &g, 0.7, -0.6, 1.3), numeric(&f, &g, 0.7, -0.6, 1.3));
        assert!((exact.value - numeric.value).abs() <= exact.error + numeric.error, "{exact:?} {numeric:?}");
        assert!(numeric.met(&Tolerance::default()), "{numeric:?}");
    }
}

/// The three families agree where they overlap, and the arguments may be exchanged.
#[test]
fn symmetric_in_the_two_functions() {
    for (name, f) in &all() {
        for (other, g) in &all() {
            for (uu, uv, vv) in [(1.0, 0.3, 2.0), (0.5, -0.5, 0.5), (1.0, 1e-9, 1.0)] {
                let (Some(a), Some(b)) = (dual(f, g, uu, uv, vv), dual(g, f, vv, uv, uu)) else {
                    continue;
                };
                let (a, b) = (a.unwrap(), b.unwrap());
                assert!((a.value - b.value).abs() <= a.error + b.error, "{name} {other} {a:?} {b:?}");
            }
        }
    }
}

/// `d/d(uv) E f(u) g(v) = E f'(u) g'(v)`, by central differences of fourth order: step 2e-3, remainder about h^4 times the fifth derivative, and rounding eps/h.
#[test]
fn derivative_in_the_covariance() {
    for (name, f) in &all() {
        for (other, g) in &all() {
            let (Some(df), Some(dg)) = (f.derivative(), g.derivative()) else {
                continue;
            };
            let (uu, uv, vv, h) = (1.1, 0.3, 0.9, 2e-3);
            let Some(exact) = dual(&df, &dg, uu, uv, vv) else {
                continue;
            };
            if dual(f, g, uu, uv, vv).is_none() {
                continue;
            }
            let at = |uv| closed(f, g, uu, uv, vv).value;
            let slope = (8.0 * (at(uv + h) - at(uv - h)) - (at(uv + 2.0 * h) - at(uv - 2.0 * h))) / (12.0 * h);
            let scale = size(f, g, uu, vv).max(size(&df, &dg, uu, vv));
            assert!((slope - exact.unwrap().value).abs() < 1e-8 * scale, "{name} {other}");
        }
    }
}

/// `d/d(uu) E f(u) = E f''(u)/2`, and means are duals with the constant 1.
#[test]
fn means() {
    let one = Activation::constant(1.0);
    for (name, f) in &all() {
        let m = mean(f, 1.7).unwrap();
        let d = closed(f, &one, 1.7, 0.4, 0.9);
        assert!((m.value - d.value).abs() <= m.error + d.error, "{name}");
        let Some(second) = f.derivative().and_then(|f| f.derivative()) else {
            continue;
        };
        let h = 1e-3;
        let at = |uu| mean(f, uu).unwrap().value;
        let slope = (8.0 * (at(1.0 + h) - at(1.0 - h)) - (at(1.0 + 2.0 * h) - at(1.0 - 2.0 * h))) / (12.0 * h);
        let scale = size(&second, &second, 1.0, 1.0).max(size(f, f, 1.0, 1.0));
        assert!((slope - 0.5 * mean(&second, 1.0).unwrap().value).abs() < 1e-9 * scale, "{name}");
    }
}

#[track_caller]
fn close(estimate: Estimate, exact: f64) {
    let distance = (estimate.value - exact).abs();
    assert!(distance <= 1e-12 * exact.abs() && distance <= estimate.error, "{estimate:?}, exactly {exact}");
}

/// Cho and Saul (2009) to relative 1e-12 for every angle, also where the kernel itself is tiny: near -1 it is `c^3 / (6 pi)` of degree one.
#[test]
fn arc_cosine_kernels() {
    let (relu, step) = (Activation::relu(), Activation::step());
    assert_eq!(closed(&relu, &relu, 0.3, 0.3, 0.3).value, 0.15);
    assert_eq!(closed(&relu, &relu, 0.3, -0.3, 0.3).value, 0.0);
    assert_eq!(closed(&step, &step, 0.3, 0.3, 0.3).value, 0.5);
    assert_eq!(closed(&step, &step, 0.3, -0.3, 0.3).value, 0.0);
    // For u = x and v = t x - y with integers t, uv^2 and uu vv are exact and psi = pi - angle is atan(1/t).
    for t in [1.0, 3.0, 100.0, 1e5, 1e7] {
        let psi = f64::atan2(1.0, t);
        close(closed(&step, &step, 1.0, -t, 1.0 + t * t), psi / std::f64::consts::TAU);
        // (sin psi - psi cos psi)/(2 pi) |u| |v|, by its series where that is better.
        let one = if psi < 0.1 {
            let p = psi * psi;
            psi * p * (1.0 / 3.0 - p / 30.0 + p * p / 840.0 - p * p * p / 45360.0 + p * p * p * p / 3_991_680.0)
        } else {
            psi.sin() - psi * psi.cos()
        };
        close(closed(&relu, &relu, 1.0, -t, 1.0 + t * t), one * f64::sqrt(1.0 + t * t) / std::f64::consts::TAU);
    }
}

/// Odd functions keep their relative accuracy when the correlation goes to zero: `E f g ~ rho E f' E g'`.
#[test]
fn small_correlations() {
    let odd = ["identity", "odd", "sign", "h_5", "erf", "sin"];
    for (name, f) in all().iter().filter(|(name, _)| odd.contains(name)) {
        for (other, g) in all().iter().filter(|(name, _)| odd.contains(name)) {
            let Some(tiny) = dual(f, g, 1.0, 1e-40, 2.0) else {
                continue;
            };
            let (tiny, small) = (tiny.unwrap(), closed(f, g, 1.0, 1e-9, 2.0));
            if *name == "h_5" || *other == "h_5" {
                continue;
            }
            // The next term is of third order: (1e-9)^2 relative.
            let ratio = tiny.value / small.value / 1e-31;
            assert!((ratio - 1.0).abs() < 1e-12, "{name} {other} {tiny:?} {small:?}");
            assert!(tiny.error <= 1e-12 * tiny.value.abs(), "{name} {other} {tiny:?}");
        }
    }
    // Orthogonality of Hermite polynomials: E h_5(u) h_5(v) = rho^5, E h_5 u = 0.
    let h = Activation::hermite(5);
    for rho in [1.0, 0.7, -0.4, 1e-3] {
        let dual = closed(&h, &h, 1.0, rho, 1.0);
        assert!((dual.value - rho.powi(5)).abs() <= dual.error && dual.error < 1e-11, "{dual:?}");
    }
}

/// A homogeneous function of degree k scales like the k-th power of the standard deviation, over sixty orders of magnitude.
#[test]
fn homogeneity_across_scales() {
    for (name, f, k) in [
        ("relu", Activation::relu(), 1),
        ("abs", Activation::abs(), 1),
        ("step", Activation::step(), 0),
        ("relu^3", Activation::rectified_monomial(3), 3),
    ] {
        for rho in [-1.0, -0.9, 0.0, 0.3, 1.0] {
            let unit = closed(&f, &f, 1.0, rho, 1.0).value;
            for exponent in [-100, -50, -7, 13, 50, 100] {
                let s = 2.0_f64.powi(exponent);
                let value = closed(&f, &f, s * s, s * rho / s, 1.0 / (s * s)).value;
                assert!((value - unit).abs() <= 1e-14 * unit.abs(), "{name} {rho} {exponent}: {value} {unit}");
                let value = closed(&f, &f, s * s, s * rho, 1.0).value;
                let exact = unit * s.powi(k);
                assert!((value - exact).abs() <= 1e-13 * exact.abs(), "{name} {rho} {exponent}: {value} {exact}");
            }
        }
    }
}

/// erf: `(2/pi) asin(..)` is 1 for equal huge arguments up to the order of 1/s, and linear for tiny ones.
#[test]
fn erf_across_scales() {
    let erf = Activation::erf();
    let slope = std::f64::consts::FRAC_2_SQRT_PI;
    let tiny = closed(&erf, &erf, 1e-30, 0.5e-30, 1e-30);
    close(tiny, slope * slope * 0.5e-30);
    // 1 - (4/pi) asin(1/sqrt(2 (1 + 2 s^2)) ...): the angle from pi/2 is atan(sqrt(1 + 4 s^2) / (2 s^2)).
    let huge = closed(&erf, &erf, 1e30, 1e30, 1e30);
    close(huge, 1.0 - std::f64::consts::FRAC_2_PI * f64::atan(1e-15));
    // Derivatives: E erf'(u) erf'(v) = (4/pi) / sqrt(1 + 2 uu + 2 vv + 4 det).
    let d = erf.derivative().unwrap();
    close(closed(&d, &d, 1e30, 1e30, 1e30), 4.0 / std::f64::consts::PI / f64::sqrt(1.0 + 4e30));
    close(closed(&d, &d, 1e-30, 1e-30, 1e-30), 4.0 / std::f64::consts::PI);
}

/// Waves: `E sin(a u) sin(b v) = exp(-(a^2 uu + b^2 vv)/2) sinh(a b uv)`.
#[test]
fn waves_at_the_edges() {
    let sin = Activation::sin(1.0);
    close(closed(&sin, &sin, 1.0, 1e-20, 1.0), 1e-20 * f64::exp(-1.0));
    close(closed(&sin, &sin, 1e4, 1e4, 1e4), 0.5);
    close(closed(&sin, &sin, 1e-30, -1e-30, 1e-30), -1e-30);
    close(closed(&Activation::exp(1.0), &Activation::exp(2.0), 1.0, 0.5, 1.0), f64::exp(0.5 * (1.0 + 2.0 + 4.0)));
}

/// A constant variable takes the value at zero, which the language fixes for jumps.
#[test]
fn zero_variance() {
    let value = |f: &Activation| closed(f, &Activation::gaussian(0.5), 0.0, 0.0, 1.0).value;
    let half = f64::sqrt(0.5);
    assert_eq!((value(&Activation::step()), value(&Activation::sign()), value(&Activation::erf())), (0.0, 0.0, 0.0));
    assert!((value(&Activation::cos(3.0)) - half).abs() < 1e-15);
    assert_eq!(mean(&Activation::hermite(2), 0.0).unwrap().value, -f64::sqrt(0.5));
}

/// `E gelu(u) gelu(-u) = -E u^2 Phi(u) Phi(-u)`, which is `-5/(6 sqrt(2) pi s)` for a large deviation `s`, where
/// `E relu(u)^2` is `s^2/2`.
#[test]
fn one_sided_functions_on_opposite_sides() {
    let gelu = Activation::gelu();
    for s in [1e8, 1e15] {
        close(closed(&gelu, &gelu, s * s, -s * s, s * s), -5.0 / (6.0 * f64::sqrt(2.0) * std::f64::consts::PI * s));
    }
}

/// The error says when terms cancel: `E h_4(u) h_4(v) = rho^4` for the Hermite polynomial.
#[test]
fn cancellation_is_reported() {
    let h = Activation::hermite(4);
    let estimate = closed(&h, &h, 1.0, 1e-4, 1.0);
    assert!((estimate.value - 1e-16).abs() <= estimate.error && 1e-17 < estimate.error, "{estimate:?}");
}

#[test]
fn weak_derivatives() {
    assert!(Activation::step().derivative().is_none() && Activation::sign().derivative().is_none());
    assert_eq!(Activation::relu().derivative(), Some(Activation::step()));
    assert_eq!(Activation::abs().derivative(), Some(Activation::sign()));
    // 2 step - sign is the constant 1 almost everywhere.
    let constant = Activation::Rectified(Rectified::new(&[], &[2.0], &[-1.0]));
    assert_eq!(constant.derivative(), Some(Activation::polynomial(&[])));
    for (name, f) in all() {
        let Some(derivative) = f.derivative() else {
            continue;
        };
        for u in [-1.3, -0.2, 0.4, 2.1] {
            let h = 1e-3;
            let slope =
                (8.0 * (f.eval(u + h) - f.eval(u - h)) - (f.eval(u + 2.0 * h) - f.eval(u - 2.0 * h))) / (12.0 * h);
            // Fourth order: h^4 times a fifth derivative of up to a few hundred, and eps/h.
            assert!((slope - derivative.eval(u)).abs() < 1e-9 * (1.0 + slope.abs()), "{name} at {u}");
        }
    }
}

#[test]
fn bad_covariances_are_refused() {
    let relu = Activation::relu();
    let refused = |uu, uv, vv| dual(&relu, &relu, uu, uv, vv).unwrap().unwrap_err();
    assert!(matches!(refused(f64::NAN, 0.0, 1.0), GaussError::NotFinite { .. }));
    assert!(matches!(refused(-1.0, 0.0, 1.0), GaussError::NegativeVariance { .. }));
    assert!(matches!(refused(1.0, 1.1, 1.0), GaussError::Correlation { .. }));
    assert!(matches!(refused(0.0, 0.1, 1.0), GaussError::Correlation { .. }));
    let growing = Activation::gaussian(-0.6);
    assert!(matches!(mean(&growing, 1.0), Err(GaussError::Divergent { .. })));
    assert_eq!(mean(&Activation::exp(1e3), 1.0), Err(GaussError::Overflow));
}
