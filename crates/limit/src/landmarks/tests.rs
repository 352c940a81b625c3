//! Means of narrow functions, against integrals that are cut by hand.

use netsor_gauss::Tolerance;
use netsor_ir::syntax::parse_program;
use netsor_num::normal::pdf;
use netsor_num::quadrature::gauss_legendre;

use crate::Deriver;
use crate::eval::{Data, Evaluator, Value};

/// `mean(text)` for a standard normal `a`, by the engine.
fn by_engine(text: &str) -> Value {
    let program = parse_program(&format!("program p {{\n vector a ~ N(0, 1)\n moment m = mean({text})\n}}\n"));
    let program = program.unwrap_or_else(|e| panic!("{text}: {e:?}"));
    let mut deriver = Deriver::new(&program);
    let limit = deriver.scalar(program.find("m").unwrap()).unwrap_or_else(|e| panic!("{text}: {e}"));
    let graph = deriver.into_graph();
    let data = Data::new();
    let mut evaluator = Evaluator::new(&graph, &program, &data, Tolerance::default()).unwrap();
    evaluator.value(limit, &[]).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// The same by Gauss' rule with 20 nodes on panels of a quarter, and of `width` around each of the places.
fn by_hand(f: impl Fn(f64) -> f64, places: &[f64], width: f64) -> f64 {
    let mut cuts: Vec<f64> = (-40..=40).map(|k| 0.25 * f64::from(k)).collect();
    cuts.extend(places.iter().flat_map(|a| (-50..=50).map(move |k| a + width * f64::from(k))));
    cuts.sort_by(f64::total_cmp);
    let rule = gauss_legendre(20);
    cuts.windows(2).map(|c| rule.integrate(c[0], c[1], |x| pdf(x) * f(x))).sum()
}

#[track_caller]
fn check(text: &str, f: impl Fn(f64) -> f64, places: &[f64], width: f64) {
    let (engine, hand) = (by_engine(text), by_hand(f, places, width));
    // The argument `c (x - a)` has a rounding error of `c a` units in the last place.
    let rounding = f64::EPSILON * places.iter().fold(1.0, |m: f64, a| m.max(a.abs())) / width;
    let gap = (engine.value - hand).abs();
    assert!(gap <= (1e-12 + rounding) * hand.abs(), "{text}: {engine:?}, by hand {hand}");
    assert!(engine.error <= 1e-10 * hand.abs().max(1.0), "{text}: {engine:?}");
}

fn relu(x: f64) -> f64 {
    x.max(0.0)
}

fn step(x: f64) -> f64 {
    if 0.0 < x { 1.0 } else { 0.0 }
}

#[test]
fn hats() {
    for c in [10.0, 200.0, 1000.0, 1e6] {
        let (a, b) = (7.0 / 3.0, 1.0 / 3.0);
        check(&format!("relu(1 - {c} * abs(a - 7/3))"), |x| relu(1.0 - c * (x - a).abs()), &[a], 1.0 / c);
        check(&format!("step(1/{c} - abs(a - 1/3))"), |x| step(1.0 / c - (x - b).abs()), &[b], 1.0 / c);
    }
    check("relu(1 - 10000 * (a - 1/2)^2)", |x| relu(1.0 - 1e4 * (x - 0.5).powi(2)), &[0.5], 0.01);
    check("min(relu(a), 1)", |x| relu(x).min(1.0), &[], 1.0);
    check("relu(tanh(a) - 1/5)", |x| relu(x.tanh() - 0.2), &[0.2f64.atanh()], 0.01);
    check("abs(a^2 - 1/100)", |x| (x * x - 0.01).abs(), &[-0.1, 0.1], 0.01);
}

#[test]
fn bumps() {
    let sech = |x: f64| (1.0 / x.cosh()).powi(2);
    for (c, a, at) in [(300, "1", 1.0), (1000, "1/2", 0.5), (1_000_000, "2", 2.0)] {
        let rate = f64::from(c);
        check(&format!("1 - tanh({c} * (a - {a}))^2"), |x| sech(rate * (x - at)), &[at], 1.0 / rate);
        check(&format!("(1 - tanh({c} * (a - {a}))^2)^2"), |x| sech(rate * (x - at)).powi(2), &[at], 1.0 / rate);
        check(&format!("exp(-{c} * (a - {a})^2)"), |x| (-rate * (x - at).powi(2)).exp(), &[at], rate.powf(-0.5));
    }
    // Inside of another function, and where an argument turns without a root.
    check("1 - tanh(500 * (tanh(a) - 1/5))^2", |x| sech(500.0 * (x.tanh() - 0.2)), &[0.2f64.atanh()], 2e-3);
    check("exp(-90000 * (a^2 - a + 1/4))", |x| (-9e4 * (x - 0.5).powi(2)).exp(), &[0.5], 1.0 / 300.0);
}
