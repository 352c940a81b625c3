//! Every dual of the table of closed forms, over correlations from -1 to 1 and variances from 2^-100 to 2^100.
//!
//! The reference values were computed with 400 digits, where cancellation does not matter: `E u^i v^j erf(a u) erf(b v)`
//! and Gaussians by Stein's lemma, with jumps as error functions of infinite rate, and waves from the generating function;
//! that the formulas are right is another question, which the quadrature of `tests/tests/it/gauss/dual.rs` answers at
//! moderate covariances. A line of the table has the exponents of the two variances, which are powers of 2, and a value
//! for each correlation: the covariances are exact.

use super::{Activation, Rectified, dual};

const TABLE: &str = include_str!("table.txt");

fn correlations() -> [f64; 9] {
    let (near, small) = (1.0 - 2f64.powi(-30), 2f64.powi(-40));
    [-1.0, -near, -0.75, -small, 0.0, small, 0.5, near, 1.0]
}

fn named(name: &str) -> Activation {
    let slope = |f: Activation| f.derivative().expect("a smooth function");
    if let Some(of) = name.strip_suffix('\'') {
        return slope(named(of));
    }
    match name {
        "erf" => Activation::erf(),
        "gelu" => Activation::gelu(),
        "gaussian" => Activation::gaussian(1.0),
        "relu" => Activation::relu(),
        "leaky_relu" => Activation::leaky_relu(0.25),
        "abs" => Activation::abs(),
        "step" => Activation::step(),
        "sign" => Activation::sign(),
        "rectified_square" => Activation::rectified_monomial(2),
        "rectified_cube" => Activation::rectified_monomial(3),
        "identity" => Activation::identity(),
        "square" => Activation::monomial(2),
        "fourth" => Activation::monomial(4),
        "cubic" => Activation::Rectified(Rectified::new(&[1.0, -2.0, 0.0, 0.5], &[], &[])),
        "sin" => Activation::sin(1.0),
        "cos" => Activation::cos(1.0),
        "exp" => Activation::exp(1.0),
        _ => panic!("no function {name}"),
    }
}

/// The largest relative errors, by pair of functions: at correlations in (-1, 1), and at -1 and 1.
fn errors() -> Vec<(String, [f64; 2], usize)> {
    let mut all: Vec<(String, [f64; 2], usize)> = Vec::new();
    let mut pair = None;
    for line in TABLE.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let numbers: Vec<f64> = words.iter().filter_map(|w| w.parse().ok()).collect();
        if numbers.len() != words.len() {
            pair = Some((named(words[0]), named(words[1])));
            all.push((line.to_owned(), [0.0; 2], 0));
            continue;
        }
        let ((f, g), (_, worst, count)) = (pair.as_ref().unwrap(), all.last_mut().unwrap());
        let (a, b) = (numbers[0] as i32, numbers[1] as i32);
        for (rho, &exact) in correlations().into_iter().zip(&numbers[2..]) {
            let (uu, uv, vv) = (2f64.powi(a), rho * 2f64.powi((a + b) / 2), 2f64.powi(b));
            let found = dual(f, g, uu, uv, vv).expect("a closed form").unwrap();
            let error = if exact == 0.0 { found.value.abs() } else { (found.value / exact - 1.0).abs() };
            assert!((found.value - exact).abs() <= found.error, "{line} {rho}: {found:?}, exactly {exact}");
            let worst = &mut worst[usize::from(rho.abs() == 1.0)];
            *worst = worst.max(error);
            *count += 1;
        }
    }
    all
}

/// `E [u < 0] gelu'(u)` tends to the integral of `gelu'` over a half line, which is 0: there is nothing of order `1/s`, and
/// closed forms are differences of such terms. The error says so.
const CANCELS: &str = "step gelu'";

#[test]
fn to_twelve_digits_from_one_end_to_the_other() {
    let all = errors();
    for (pair, [inside, ends], count) in &all {
        println!("| {pair} | {count} | {inside:.0e} | {ends:.0e} |");
        let ends = if pair == CANCELS { 0.0 } else { *ends };
        assert!(0 < *count && inside.max(ends) <= 1e-12, "{pair}: {inside:e} {ends:e}");
    }
    assert_eq!(all.iter().map(|(_, _, count)| count).sum::<usize>(), 31 * 81 + 45);
}
