//! Polynomials as coefficient lists, and Gaussian moments.

/// The value at `x`.
pub(super) fn eval(p: &[f64], x: f64) -> f64 {
    p.iter().rev().fold(0.0, |acc, c| acc * x + c)
}

/// The derivative.
pub(super) fn derivative(p: &[f64]) -> Vec<f64> {
    p.iter().enumerate().skip(1).map(|(i, c)| i as f64 * c).collect()
}

/// The polynomial without its leading zeros.
pub(super) fn trimmed(p: &[f64]) -> Vec<f64> {
    let n = p.iter().rposition(|c| *c != 0.0).map_or(0, |i| i + 1);
    p[..n].to_vec()
}

/// `(n - 1)!! = E Z^n` for even `n`, else 0.
pub(super) fn moment(n: usize) -> f64 {
    if n % 2 == 1 { 0.0 } else { (1..n).step_by(2).map(|k| k as f64).product() }
}

/// `E step(Z) Z^n`.
pub(super) fn half_moment(n: usize) -> f64 {
    if n.is_multiple_of(2) {
        0.5 * moment(n)
    } else {
        netsor_num::normal::PDF_AT_ZERO * (2..n).step_by(2).map(|k| k as f64).product::<f64>()
    }
}

/// The number of ways to choose `k` of `n`.
pub(super) fn binomial(n: usize, k: usize) -> f64 {
    (0..k).fold(1.0, |acc, i| acc * (n - i) as f64 / (i + 1) as f64)
}
