//! Moments of Gaussian variables times steps of some of them.
//!
//! `E[l_1 .. l_n step(u_1) .. step(u_k)]` for centred, jointly Gaussian `l` and `u`, by Stein's lemma: the derivative of
//! a step is a delta, and a delta conditions on `u = 0`, which leaves a Gaussian law and one step less. What remains in
//! the end are probabilities of orthants, which have closed forms for up to three steps.
//!
//! Variables are vectors whose inner products are the covariances; conditioning on `u = 0` is projection, so that no
//! covariance is found as a difference of larger ones, however close to 1 the correlations are.

use std::f64::consts::PI;

/// The most steps in one moment.
pub(crate) const MAX_STEPS: usize = 3;

/// The most factors in one moment; their number of pairings grows like a factorial.
pub(crate) const MAX_FACTORS: usize = 8;

/// The most different variables with steps that one [`Moments`] keeps apart.
pub(crate) const MAX_VARIABLES: usize = 6;

/// A list of variables with its length.
type Factors = ([u8; MAX_FACTORS], usize);

/// A Gaussian law and what has been computed of it.
pub(crate) struct Moments {
    dim: usize,
    /// The variables that steps are taken of.
    steps: Vec<usize>,
    /// All variables, projected, by the set of step variables that they are conditioned on to be 0.
    projected: Vec<Vec<f64>>,
    known: Vec<bool>,
}

impl Moments {
    /// For laws of `count` variables as vectors of `dim` numbers; steps are taken of those in `steps`.
    pub(crate) fn new(count: usize, dim: usize, steps: Vec<usize>) -> Self {
        let sets = 1 << steps.len();
        Self { dim, steps, projected: vec![vec![0.0; count * dim]; sets], known: vec![false; sets] }
    }

    /// The vectors of another law, to be filled, one variable after the other.
    pub(crate) fn law(&mut self) -> &mut [f64] {
        self.known.fill(false);
        self.known[0] = true;
        &mut self.projected[0]
    }

    /// The moment of these variables with steps of a set of step variables.
    ///
    /// Variables that are not in steps should come last: those that are vanish with their delta.
    pub(crate) fn moment(&mut self, set: usize, factors: &[u8]) -> f64 {
        let mut list = [0; MAX_FACTORS];
        list[..factors.len()].copy_from_slice(factors);
        self.given(0, set, (list, factors.len()))
    }

    /// The moment given that the step variables in `zero` are 0.
    fn given(&mut self, zero: usize, set: usize, (list, n): Factors) -> f64 {
        if n == 0 {
            return self.orthant(zero, set);
        }
        let last = list[n - 1] as usize;
        let rest = &list[..n - 1];
        let mut total = 0.0;
        for k in 0..n - 1 {
            let c = self.product(zero, last, rest[k] as usize);
            if c != 0.0 {
                let mut others = [0; MAX_FACTORS];
                others[..k].copy_from_slice(&rest[..k]);
                others[k..n - 2].copy_from_slice(&rest[k + 1..]);
                total += c * self.given(zero, set, (others, n - 2));
            }
        }
        for bit in 0..self.steps.len() {
            let step = self.steps[bit];
            if set & (1 << bit) == 0 || rest.iter().any(|&f| f as usize == step) {
                continue;
            }
            let variance = self.product(zero, step, step);
            let c = self.product(zero, last, step);
            if 0.0 < variance && c != 0.0 {
                self.project(zero, bit);
                let mean = self.given(zero | 1 << bit, set & !(1 << bit), (list, n - 1));
                total += c / libm::sqrt(2.0 * PI * variance) * mean;
            }
        }
        total
    }

    /// The covariance of two variables given that those in `zero` are 0.
    fn product(&self, zero: usize, i: usize, j: usize) -> f64 {
        let law = &self.projected[zero];
        let (a, b) = (&law[i * self.dim..][..self.dim], &law[j * self.dim..][..self.dim]);
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// Conditions further on one step variable.
    fn project(&mut self, zero: usize, bit: usize) {
        let target = zero | 1 << bit;
        if self.known[target] {
            return;
        }
        self.known[target] = true;
        let dim = self.dim;
        let mut projected = std::mem::take(&mut self.projected[target]);
        projected.copy_from_slice(&self.projected[zero]);
        let axis = &self.projected[zero][self.steps[bit] * dim..][..dim];
        let square: f64 = axis.iter().map(|a| a * a).sum();
        for row in projected.chunks_exact_mut(dim) {
            // Twice is enough: what one projection leaves along the axis by rounding the second removes.
            for _ in 0..2 {
                let along = row.iter().zip(axis).map(|(x, a)| x * a).sum::<f64>() / square;
                row.iter_mut().zip(axis).for_each(|(x, a)| *x -= along * a);
            }
        }
        projected[self.steps[bit] * dim..][..dim].fill(0.0);
        self.projected[target] = projected;
    }

    /// The probability that all variables of the set are positive.
    fn orthant(&self, zero: usize, set: usize) -> f64 {
        let mut bits = [0; MAX_STEPS];
        let mut n = 0;
        for bit in (0..self.steps.len()).filter(|bit| set & (1 << bit) != 0) {
            bits[n] = self.steps[bit];
            n += 1;
        }
        let right = |i: usize, j: usize| self.excess(zero, bits[i], bits[j]);
        match n {
            0 => 1.0,
            1 => 0.5,
            2 => 0.25 + right(0, 1) / (2.0 * PI),
            _ => 0.125 + (right(0, 1) + right(0, 2) + right(1, 2)) / (4.0 * PI),
        }
    }

    /// The arcsine of the correlation, as `pi/2` less the angle between the vectors by Kahan's formula, which keeps its
    /// accuracy near correlations of 1 and -1.
    fn excess(&self, zero: usize, i: usize, j: usize) -> f64 {
        let law = &self.projected[zero];
        let (a, b) = (&law[i * self.dim..][..self.dim], &law[j * self.dim..][..self.dim]);
        let length = |v: &[f64]| libm::sqrt(v.iter().map(|x| x * x).sum());
        let (la, lb) = (length(a), length(b));
        if la == 0.0 || lb == 0.0 {
            return 0.0;
        }
        let (mut minus, mut plus) = (0.0, 0.0);
        for (x, y) in a.iter().zip(b) {
            let (x, y) = (x / la, y / lb);
            minus += (x - y) * (x - y);
            plus += (x + y) * (x + y);
        }
        PI / 2.0 - 2.0 * libm::atan2(libm::sqrt(minus), libm::sqrt(plus))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Covariance, Function, Tolerance, expect};

    /// Against nested quadrature that is cut at the jumps.
    #[track_caller]
    fn check(vectors: &[[f64; 3]], steps: &[usize], factors: &[u8]) {
        let mut moments = Moments::new(vectors.len(), 3, steps.to_vec());
        moments.law().copy_from_slice(&vectors.concat());
        let found = moments.moment((1 << steps.len()) - 1, factors);
        let entry = |i: usize, j: usize| -> f64 { vectors[i].iter().zip(&vectors[j]).map(|(a, b)| a * b).sum() };
        let d = vectors.len();
        let c = Covariance::new(d, (0..d * d).map(|k| entry(k / d, k % d)).collect()).unwrap();
        let mut f = Function::new(d, |points, out| {
            for (j, y) in out.iter_mut().enumerate() {
                let inside = steps.iter().all(|&s| 0.0 < points[s][j]);
                let product: f64 = factors.iter().map(|&k| points[k as usize][j]).product();
                *y = if inside { product } else { 0.0 };
            }
        });
        for &s in steps {
            f = f.with_kinks(s, &[0.0]);
        }
        let tol = Tolerance { absolute: 1e-9, relative: 1e-9, ..Tolerance::default() };
        let reference = expect(&f, &c, &tol).unwrap();
        assert!((found - reference.value).abs() <= 1e-8, "{found} {reference:?}");
    }

    #[test]
    fn agrees_with_quadrature() {
        let v = [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.5, 0.7], [0.2, -0.9, 0.4]];
        check(&v, &[], &[0, 1, 2, 3]);
        check(&v, &[0], &[0]);
        check(&v, &[0], &[0, 2, 3]);
        check(&v, &[0, 1], &[]);
        check(&v, &[0, 1], &[2]);
        check(&v, &[0, 1], &[0, 1, 2]);
        let flat = [[1.0, 0.0, 0.0], [0.6, 0.8, 0.0], [-0.3, 0.5, 0.0], [0.2, -0.9, 0.0]];
        check(&flat, &[0, 1], &[0, 0, 3, 2, 1]);
        check(&flat, &[0, 1, 2], &[3, 3]);
        check(&v, &[0, 1, 2], &[]);
        check(&v, &[0, 1, 2], &[3]);
        check(&v, &[0, 1, 2], &[0, 3]);
    }

    /// `E relu(u) relu(v)` is the arc-cosine kernel up to correlations of exactly 1 and -1.
    #[test]
    fn correlations_up_to_one() {
        for theta in [1e-12, 1e-8, 1e-4, 0.3, 1.5, 3.0, PI - 1e-4, PI - 1e-8] {
            let (sin, cos) = (libm::sin(theta), libm::cos(theta));
            let mut moments = Moments::new(2, 2, vec![0, 1]);
            moments.law().copy_from_slice(&[1.0, 0.0, cos, sin]);
            let found = moments.moment(3, &[0, 1]);
            let exact = (sin + (PI - theta) * cos) / (2.0 * PI);
            // Rounding of the two, each of a few operations.
            assert!((found - exact).abs() <= 2.0 * f64::EPSILON, "{theta}: {found} {exact}");
        }
    }
}
