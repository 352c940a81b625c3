//! What is read is the same function, also at zero; what cannot be represented is not read.

use netsor_ir::Program;
use netsor_ir::expr::{Expr, ExprId, Exprs};
use netsor_ir::func::Func;
use netsor_ir::number::{from_f64, integer};

use super::{Function, Leaves, factors, read};
use crate::graph::Graph;

type Build = fn(&mut Exprs, ExprId) -> ExprId;

fn number(pool: &mut Exprs, x: f64) -> ExprId {
    pool.constant(from_f64(x).unwrap())
}

/// What is read of an expression in slot 0, which is `multiple` times the variable.
fn recognised(build: Build, multiple: f64) -> Option<Function> {
    let mut graph = Graph::new(&Program::new("p"));
    let slot = graph.pool.intern(Expr::Ref(Graph::slot_symbol(0), Default::default()));
    let integrand = build(&mut graph.pool, slot);
    let (factors, sign) = factors(&graph, integrand);
    assert_eq!(sign, 1.0, "a sign in front is not part of the factors");
    read(&graph, &factors, Leaves { multiple: &|_| Some(multiple), parameter: &|_| None })
}

#[track_caller]
fn check(build: Build, exact: fn(f64) -> f64) {
    for multiple in [1.0, -2.0] {
        let f = recognised(build, multiple).expect("a closed form");
        for u in [-1.7, -0.3, 0.0, 0.4, 2.1] {
            let value = match &f {
                Function::Single(f) => f.eval(u),
                Function::Product(f, g) => f.eval(u) * g.eval(u),
            };
            let exact = exact(multiple * u);
            assert!((value - exact).abs() <= 1e-13 * exact.abs().max(1e-2), "at {multiple} * {u}: {value}, {exact}");
        }
    }
}

fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

fn step(x: f64) -> f64 {
    if 0.0 < x { 1.0 } else { 0.0 }
}

#[test]
fn on_each_side_and_at_zero() {
    check(|p, u| p.apply(Func::Sign, u), sign);
    check(
        |p, u| {
            let (one, s) = (p.constant(integer(1)), p.apply(Func::Sign, u));
            p.sub(one, s)
        },
        |x| 1.0 - sign(x),
    );
    // The square is 1, but 0 at zero; `sign` and `step` are not the same there as elsewhere either.
    check(
        |p, u| {
            let (s, t) = (p.apply(Func::Sign, u), p.apply(Func::Step, u));
            let both = p.add(s, t);
            let (s, two) = (p.mul(s, s), p.constant(integer(2)));
            let s = p.mul(two, s);
            p.sub(s, both)
        },
        |x| 2.0 * sign(x) * sign(x) - sign(x) - step(x),
    );
    check(|p, u| p.apply(Func::Relu, u), |x| x.max(0.0));
    check(
        |p, u| {
            let (a, r) = (p.apply(Func::Abs, u), p.apply(Func::Relu, u));
            let square = p.mul(r, r);
            p.mul(a, square)
        },
        |x| x.abs() * x.max(0.0).powi(2),
    );
    // Homogeneous functions of homogeneous functions.
    check(
        |p, u| {
            let (two, slope) = (p.constant(integer(2)), number(p, 0.25));
            let (leaky, half) = (p.apply2(Func::LeakyRelu, u, slope), p.neg(u));
            let double = p.mul(two, half);
            p.apply2(Func::Max, leaky, double)
        },
        |x| if 0.0 < x { x } else { -2.0 * x },
    );
    check(
        |p, u| {
            let (minus, one) = (p.neg(u), p.constant(integer(1)));
            let min = p.apply2(Func::Min, u, minus);
            p.add(one, min)
        },
        |x| 1.0 - x.abs(),
    );
}

#[test]
fn families_and_products_of_two() {
    check(
        |p, u| {
            let (two, half) = (p.constant(integer(2)), number(p, -0.5));
            let (root, square) = (p.apply(Func::Sqrt, two), p.mul(u, u));
            let exponent = p.mul(half, square);
            let (g, e) = (p.apply(Func::Gelu, u), p.apply(Func::Exp, exponent));
            let e = p.mul(e, root);
            let sum = p.add(g, e);
            p.div(sum, two)
        },
        |x| 0.5 * (x * 0.5 * tail(-x) + 2f64.sqrt() * (-0.5 * x * x).exp()),
    );
    check(
        |p, u| {
            let one = p.constant(integer(1));
            let shifted = p.add(u, one);
            let wave = p.apply(Func::Sin, shifted);
            p.mul(u, wave)
        },
        |x| x * (x + 1.0).sin(),
    );
    let products: [Build; 3] = [
        |p, u| {
            let e = p.apply(Func::Erf, u);
            let g = p.apply(Func::Gelu, u);
            p.mul(e, g)
        },
        |p, u| {
            let (s, c) = (p.apply(Func::Sin, u), p.apply(Func::Cos, u));
            p.mul(s, c)
        },
        |p, u| {
            let (r, g) = (p.apply(Func::Relu, u), p.apply(Func::Gelu, u));
            p.mul(r, g)
        },
    ];
    for build in products {
        assert!(matches!(recognised(build, 0.7), Some(Function::Product(..))));
    }
    let exact: [fn(f64) -> f64; 3] = [
        |x| (1.0 - tail(x * 2f64.sqrt())) * x * 0.5 * tail(-x),
        |x| x.sin() * x.cos(),
        |x| x.max(0.0) * x * 0.5 * tail(-x),
    ];
    for (build, exact) in products.into_iter().zip(exact) {
        check(build, exact);
    }
}

/// `erfc(x / sqrt 2)`
fn tail(x: f64) -> f64 {
    netsor_num::special::erfc(x / 2f64.sqrt())
}

/// Coefficients that over- or underflow would be silent zeros and infinities.
#[test]
fn what_leaves_the_range_of_numbers_is_not_read() {
    let refused: [Build; 6] = [
        |p, u| {
            let zero = p.constant(integer(0));
            p.div(u, zero)
        },
        |p, u| {
            let tiny = number(p, 1e-200);
            let scaled = p.mul(tiny, u);
            p.mul(scaled, scaled)
        },
        |p, u| {
            let huge = number(p, 1e200);
            let scaled = p.mul(huge, u);
            let wave = p.apply(Func::Sin, u);
            let both = p.mul(scaled, wave);
            p.mul(scaled, both)
        },
        |p, u| {
            let (tiny, r) = (number(p, 1e-160), p.apply(Func::Relu, u));
            let scaled = p.div(r, tiny);
            p.div(scaled, tiny)
        },
        |p, u| {
            let (tiny, e) = (number(p, 1e-160), p.apply(Func::Erf, u));
            let scaled = p.div(e, tiny);
            p.div(scaled, tiny)
        },
        |p, u| {
            let exponent = number(p, -900.0);
            let constant = p.apply(Func::Exp, exponent);
            p.mul(u, constant)
        },
    ];
    for (k, build) in refused.into_iter().enumerate() {
        assert_eq!(recognised(build, 1.0), None, "case {k}");
    }
}
