//! Places where smooth functions vary quickly.
//!
//! A bump that is narrow beside the Gaussian law may lie between all nodes of a rule, and two rules that both miss it
//! agree. Functions that know their landmarks say so, and the pieces of the rules shrink towards them.

use crate::Integrand;
use crate::covariance::Factor;

/// A value of a slot around which a smooth function varies on a length of its own, as `tanh(c (u - a))` does around `a` on
/// the length `1/c`: where a rule has to look if the length is far below the deviation of the slot.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Landmark {
    /// The value of the slot.
    pub at: f64,
    /// The length, positive.
    pub scale: f64,
}

impl Landmark {
    /// Whether the length is so small a share of `unit` that a rule of a few nodes for each unit may miss it.
    pub fn narrow(&self, unit: f64) -> bool {
        self.scale < NARROW * unit
    }

    /// The landmark and places around it at distances that double, from a fraction of the length up to `longest`: a
    /// function with singularities at distance `scale` is analytic in a neighbourhood of each piece that is as large as
    /// the piece.
    pub(crate) fn cluster(self, longest: f64) -> impl Iterator<Item = f64> {
        let first = 0.25 * self.scale;
        let steps = std::iter::successors(Some(first), |step| Some(2.0 * step)).take_while(move |step| *step < longest);
        steps.flat_map(move |step| [self.at - step, self.at + step]).chain([self.at])
    }
}

/// A length that is no smaller a share of the deviation is resolved by rules that know nothing of it.
const NARROW: f64 = 0.125;

/// Pieces around a landmark grow up to this share of the deviation.
const LONGEST: f64 = 1.6;

/// Where a function of one slot with this deviation has to be cut: its kinks, and around its narrow landmarks.
pub(crate) fn cuts(f: &dyn Integrand, slot: usize, deviation: f64) -> Vec<f64> {
    let mut cuts = f.kinks(slot).to_vec();
    for landmark in f.landmarks(slot).iter().filter(|l| l.narrow(deviation)) {
        cuts.extend(landmark.cluster(LONGEST * deviation));
    }
    cuts
}

/// Whether a smooth function has landmarks that are narrow beside the deviations.
pub(crate) fn has_narrow_landmarks(f: &dyn Integrand, factor: &Factor) -> bool {
    (0..f.slots()).any(|k| f.landmarks(k).iter().any(|l| l.narrow(factor.deviation(k))))
}

#[cfg(test)]
mod tests {
    use netsor_num::normal::{cdf, pdf};

    use super::*;
    use crate::{Covariance, Estimate, Function, Part, Tolerance, expect, expect_product};

    const SLOPES: [f64; 9] = [1e-6, 0.03, 1.0, 7.5, 40.0, 400.0, 1e4, 1e6, 1e8];

    fn one(slope: f64, at: f64, f: fn(f64) -> f64) -> Function<impl Fn(&[&[f64]], &mut [f64])> {
        let eval = move |points: &[&[f64]], out: &mut [f64]| {
            out.iter_mut().zip(points[0]).for_each(|(y, x)| *y = f(slope * (x - at)));
        };
        Function::new(1, eval).with_landmarks(0, &[Landmark { at, scale: 1.0 / slope }])
    }

    #[track_caller]
    fn check(found: Estimate, exact: f64, relative: f64) {
        let tol = Tolerance::default();
        assert!(found.met(&tol), "{found:?}, exactly {exact}");
        assert!((found.value - exact).abs() <= found.error + relative * exact.abs(), "{found:?}, exactly {exact}");
        assert!((found.value - exact).abs() <= 1e-10 * exact.abs() + 1e-15, "{found:?}, exactly {exact}");
    }

    /// `E Phi(c (s Z - a)) = Phi(-c a / sqrt(1 + c^2 s^2))`, and its derivative in `a`. The argument `c (x - a)` has a
    /// rounding error of `c a` units in the last place.
    #[test]
    fn of_one_variable() {
        for slope in SLOPES {
            for at in [-4.25, -1.0 / 3.0, 0.0, 0.5, 7.0 / 3.0] {
                for s in [1.0, 30.0] {
                    let c = Covariance::new(1, vec![s * s]).unwrap();
                    let tol = Tolerance::default();
                    let spread = (1.0 + (slope * s).powi(2)).sqrt();
                    let sigmoid = expect(&one(slope, at, cdf), &c, &tol).unwrap();
                    let rounding = 1e-13 + slope * at.abs() * f64::EPSILON;
                    check(sigmoid, cdf(-slope * at / spread), rounding);
                    let bump = expect(&one(slope, at, pdf), &c, &tol).unwrap();
                    check(bump, pdf(slope * at / spread) / spread, rounding);
                }
            }
        }
    }

    /// `E pdf(c (u - a)) pdf(c (v - b))` is the density of `(u, v)` with `1/c^2` added to the variances, over `c^2`.
    #[test]
    fn of_two_variables() {
        let (a, b) = (0.5, -1.0 / 3.0);
        for slope in [1.0, 40.0, 1e4, 1e8] {
            for rho in [0.0, 0.6, -0.95, 0.9999] {
                let c = Covariance::new(2, vec![1.0, rho, rho, 1.0]).unwrap();
                let v = 1.0 + 1.0 / (slope * slope);
                let determinant = (v - rho) * (v + rho);
                let square = (v * (a * a + b * b) - 2.0 * rho * a * b) / determinant;
                let exact = (-0.5 * square).exp() / (std::f64::consts::TAU * determinant.sqrt()) / (slope * slope);
                let (f, g) = (one(slope, a, pdf), one(slope, b, pdf));
                let parts = [Part { slots: vec![0], function: &f }, Part { slots: vec![1], function: &g }];
                let found = expect_product(&parts, &c, &Tolerance::default()).unwrap();
                assert!(
                    (found.value - exact).abs() <= 1e-10 * exact + found.error + 1e-15,
                    "{slope} {rho}: {found:?} {exact}"
                );
                assert!(found.error <= 1e-10 * exact + 1e-12, "{slope} {rho}: {found:?} {exact}");
            }
        }
    }
}
