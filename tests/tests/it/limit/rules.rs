//! The Z rules on small programs whose limits are known exactly.

use netsor_ir::number::{fraction, integer, power};
use netsor_ir::program::{Law, Scale};
use netsor_ir::{Func, Program, ValueId};
use netsor_limit::{Data, Deriver, Evaluator, LimitError, Tolerance};

/// A program with one matrix `W` of variance `sigma2 / n` and one standard normal vector `v`.
fn start(sigma2: i64) -> (Program, ValueId, ValueId) {
    let mut p = Program::new("test");
    let n = p.width();
    let w = p.matrix("W", &[], n, n, Scale::new(integer(sigma2), power(-1, 1)));
    let law = Law::iid(&mut p.exprs, integer(0), integer(1));
    let v = p.gaussian("v", &[], n, law);
    (p, w, v)
}

fn second_moment(p: &Program, a: ValueId, b: ValueId) -> f64 {
    let mut deriver = Deriver::new(p);
    let expr = deriver.second_moment(a, b).unwrap();
    let graph = deriver.into_graph();
    let data = Data::new();
    let mut evaluator = Evaluator::new(&graph, p, &data, Tolerance::default()).unwrap();
    evaluator.value(expr, &[]).unwrap().value
}

/// `(1/n) v' (W'W)^k v` tends to the Catalan numbers (Marchenko-Pastur with ratio 1): ZDot with repeated and interleaved
/// `W` and `W'`. Everything is linear, so the result is exact up to rounding of small integers.
#[test]
fn powers_of_the_gram_matrix_have_catalan_moments() {
    let (mut p, w, v) = start(1);
    let mut chain = vec![v];
    for k in 0..5 {
        let y = p.matmul(&format!("y@{k}"), &[], (w, &[]), false, (chain[k], &[]));
        chain.push(p.matmul(&format!("x@{k}"), &[], (w, &[]), true, (y, &[])));
    }
    for (k, catalan) in [1.0, 1.0, 2.0, 5.0, 14.0, 42.0].into_iter().enumerate() {
        assert_eq!(second_moment(&p, v, chain[k]), catalan);
    }
    assert_eq!(second_moment(&p, chain[3], chain[5]), 1430.0);
}

/// The derivative of a step is a density: `Zdot = sigma / sqrt(2 pi) v` (Remark B.6; the golden `step_stein`).
#[test]
fn a_step_has_a_density_for_derivative() {
    let (mut p, w, v) = start(2);
    let y = p.matmul("y", &[], (w, &[]), false, (v, &[]));
    let of_y = p.member(y, &[]);
    let step = p.exprs.apply(Func::Step, of_y);
    let z = p.map("z", &[], step);
    let x = p.matmul("x", &[], (w, &[]), true, (z, &[]));
    let expected = (2.0 / (2.0 * std::f64::consts::PI)).sqrt();
    assert!((second_moment(&p, v, x) - expected).abs() < 1e-14);
    // Var Zhat = sigma^2 P(y > 0) = 1
    assert!((second_moment(&p, x, x) - (1.0 + expected * expected)).abs() < 1e-14);
}

/// `W : m x n` with `m = 3n`: `s(W) = sigma^2`, `s(W') = 3 sigma^2` (`formulas`, section 1, against eq. 67 as printed).
#[test]
fn width_classes_enter_with_their_ratio() {
    let mut p = Program::new("test");
    let n = p.width();
    let m = p.class("m", integer(3));
    let w = p.matrix("W", &[], m, n, Scale::new(integer(1), power(-1, 1)));
    let law = Law::iid(&mut p.exprs, integer(0), integer(1));
    let v = p.gaussian("v", &[], n, law);
    let y = p.matmul("y", &[], (w, &[]), false, (v, &[]));
    let x = p.matmul("x", &[], (w, &[]), true, (y, &[]));
    assert_eq!(second_moment(&p, y, y), 1.0);
    // x = W'W v: mean of v x is tr(W'W)/n = 3, mean of x x is tr((W'W)^2)/n = 9 + 3 (Marchenko-Pastur, ratio 3).
    assert_eq!(second_moment(&p, v, x), 3.0);
    assert_eq!(second_moment(&p, x, x), 12.0);
}

/// `n^(1/2)` times a moment that vanishes has a law, not a limit.
#[test]
fn a_fluctuation_is_not_a_scalar() {
    let (mut p, w, v) = start(1);
    let y = p.matmul("y", &[], (w, &[]), false, (v, &[]));
    let (of_v, of_y) = (p.member(v, &[]), p.member(y, &[]));
    let product = p.exprs.mul(of_v, of_y);
    let m = p.moment("m", &[], product);
    let of_m = p.member(m, &[]);
    let root = p.exprs.width(power(1, 2));
    let scaled = p.exprs.mul(root, of_m);
    let s = p.scalar("s", &[], scaled);
    let back = p.member(s, &[]);
    let inverse = p.exprs.width(power(-1, 2));
    let harmless = p.exprs.mul(inverse, back);
    let t = p.scalar("t", &[], harmless);
    let mut deriver = Deriver::new(&p);
    assert!(matches!(deriver.scalar(s), Err(LimitError::NotAScalar { .. })));
    let limit = deriver.scalar(t).unwrap();
    assert!(deriver.graph().pool.is_zero(limit));
}

/// Two moments that vanish and one root of the width vanish together, but they do not cancel.
#[test]
fn fluctuations_have_an_order() {
    let (mut p, w, v) = start(1);
    let y = p.matmul("y", &[], (w, &[]), false, (v, &[]));
    let (of_v, of_y) = (p.member(v, &[]), p.member(y, &[]));
    let (first, second) = (p.moment("m", &[], of_v), p.moment("k", &[], of_y));
    let (m, k) = (p.member(first, &[]), p.member(second, &[]));
    let root = p.exprs.width(power(1, 2));
    let scaled = p.exprs.mul(root, m);
    let product = p.exprs.mul(scaled, k);
    let small = p.scalar("small", &[], product);
    // n^(1/2) m times a coordinate that is centred: its mean is m k again.
    let centred = p.exprs.mul(scaled, of_y);
    let mean = p.moment("mean", &[], centred);
    let difference = p.exprs.sub(m, k);
    let difference = p.exprs.mul(root, difference);
    let law = p.scalar("law", &[], difference);
    let mut deriver = Deriver::new(&p);
    for value in [small, mean] {
        let limit = deriver.scalar(value).unwrap();
        assert!(deriver.graph().pool.is_zero(limit));
    }
    assert!(matches!(deriver.scalar(law), Err(LimitError::NotAScalar { .. })));
}

/// Without closed forms the same numbers come from quadrature (the second road).
#[test]
fn quadrature_agrees_with_closed_forms() {
    let (mut p, w, v) = start(2);
    let half = p.exprs.constant(fraction(1, 2));
    let of_v = p.member(v, &[]);
    let scaled = p.exprs.mul(half, of_v);
    let u = p.exprs.apply(Func::Erf, scaled);
    let u = p.map("u", &[], u);
    let y = p.matmul("y", &[], (w, &[]), false, (v, &[]));
    let q = p.matmul("q", &[], (w, &[]), false, (u, &[]));
    let (of_y, of_q) = (p.member(y, &[]), p.member(q, &[]));
    let a = p.exprs.apply(Func::Relu, of_y);
    let b = p.exprs.apply(Func::Gelu, of_q);
    let product = p.exprs.mul(a, b);
    let m = p.moment("m", &[], product);
    let mut deriver = Deriver::new(&p);
    let expr = deriver.scalar(m).unwrap();
    let graph = deriver.into_graph();
    let data = Data::new();
    let evaluator = || Evaluator::new(&graph, &p, &data, Tolerance::default()).unwrap();
    let closed = evaluator().value(expr, &[]).unwrap();
    let numeric = evaluator().without_closed_forms().value(expr, &[]).unwrap();
    assert!((closed.value - numeric.value).abs() <= closed.error + numeric.error + 1e-10, "{closed:?} {numeric:?}");
}

/// `E exp(-b (v - m)^2) = exp(-b m^2 / (1 + 2 b)) / sqrt(1 + 2 b)`, where `exp(-b m^2)` alone underflows.
#[test]
fn bumps_far_from_the_mean_do_not_underflow() {
    for (b, m) in [(100, 3), (60, 4)] {
        let (mut p, _, v) = start(1);
        let of_v = p.member(v, &[]);
        let centre = p.exprs.constant(integer(m));
        let gap = p.exprs.sub(of_v, centre);
        let square = p.exprs.mul(gap, gap);
        let rate = p.exprs.constant(integer(-b));
        let exponent = p.exprs.mul(rate, square);
        let bump = p.exprs.apply(Func::Exp, exponent);
        let bump = p.map("bump", &[], bump);
        let one = p.exprs.constant(integer(1));
        let one = p.map("one", &[], one);
        let (b, m) = (b as f64, m as f64);
        let exact = (-b * m * m / (1.0 + 2.0 * b)).exp() / (1.0 + 2.0 * b).sqrt();
        let found = second_moment(&p, bump, one);
        assert!((found - exact).abs() <= 1e-10 * exact, "{found}, exactly {exact}");
    }
}
