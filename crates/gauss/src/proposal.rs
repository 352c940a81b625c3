//! Laws to sample from in place of the normal one, for functions that vary in a place that it hardly ever meets.
//!
//! A bump of width `w` in one of many variables is met by one of `1/w` normal points, and two such bumps by one of `1/w^2`.
//! Here half of the points of a variable are drawn around the landmarks of the slots that it completes, at distances whose
//! logarithm is uniform; each point has the ratio of the densities as its weight, at most two for each variable.

use netsor_num::normal;

use crate::Integrand;
use crate::covariance::Factor;
use crate::directions::{beginning_with, dot};

/// Distances from a landmark go up to this many deviations.
const REACH: f64 = 1.6;

/// Places farther out are left to the normal law.
const FAR: f64 = 8.3;

/// A landmark of a slot, given in whitened coordinates by `normal x = at`, where `x` ends with the variable in question.
struct Place {
    normal: Vec<f64>,
    at: f64,
    scale: f64,
}

/// A law of whitened variables, drawn one after the other.
pub(crate) struct Proposal {
    /// For each variable the landmarks whose slots depend on it and on no later one.
    places: Vec<Vec<Place>>,
}

impl Proposal {
    /// The law for the narrow landmarks of a function, and the factor in the coordinates that it is for: those of the slots
    /// that have landmarks come first. `None` if no landmark is narrow.
    pub(crate) fn new(f: &dyn Integrand, factor: &Factor) -> Option<(Self, Factor)> {
        let rank = factor.rank;
        let narrow = |k: usize| f.landmarks(k).iter().filter(move |l| l.narrow(factor.deviation(k)));
        let slots: Vec<usize> = (0..f.slots()).filter(|&k| narrow(k).next().is_some()).collect();
        if slots.is_empty() {
            return None;
        }
        let row = |factor: &Factor, k: usize| (0..rank).map(|j| factor.entry(k, j)).collect::<Vec<f64>>();
        let turned = factor.turned(&beginning_with(slots.iter().map(|&k| row(factor, k)), rank));
        let mut places: Vec<Vec<Place>> = (0..rank).map(|_| Vec::new()).collect();
        for &k in &slots {
            let normal = row(&turned, k);
            let deviation = libm::sqrt(dot(&normal, &normal));
            let Some(last) = normal.iter().rposition(|l| 1e-9 * deviation < l.abs()) else { continue };
            for landmark in narrow(k) {
                let normal = normal[..=last].to_vec();
                places[last].push(Place { normal, at: landmark.at, scale: landmark.scale });
            }
        }
        Some((Self { places }, turned))
    }

    /// Turns uniform variables into a point of the law, and returns its weight.
    pub(crate) fn draw(&self, point: &mut [f64]) -> f64 {
        let mut weight = 1.0;
        let mut bumps: Vec<Bump> = Vec::new();
        for (j, places) in self.places.iter().enumerate() {
            bumps.clear();
            bumps.extend(places.iter().map(|p| p.given(&point[..j])).filter(|b| b.at.abs() < FAR && b.scale < REACH));
            let u = point[j];
            if bumps.is_empty() {
                point[j] = normal::quantile(u);
                continue;
            }
            let count = bumps.len() as f64;
            point[j] = if u < 0.5 {
                normal::quantile(2.0 * u)
            } else {
                let v = (2.0 * u - 1.0) * count;
                let which = (v as usize).min(bumps.len() - 1);
                bumps[which].quantile(v - which as f64)
            };
            let x = point[j];
            let own = normal::pdf(x);
            let mixed = 0.5 * own + 0.5 * bumps.iter().map(|b| b.density(x)).sum::<f64>() / count;
            weight *= own / mixed;
        }
        weight
    }
}

impl Place {
    /// The place on the line of the last variable, given the others.
    fn given(&self, others: &[f64]) -> Bump {
        let (last, rest) = (self.normal[others.len()], &self.normal[..others.len()]);
        Bump { at: (self.at - dot(rest, others)) / last, scale: self.scale / last.abs() }
    }
}

/// A density around a place that falls with the inverse distance from it, beyond `scale`.
struct Bump {
    at: f64,
    scale: f64,
}

impl Bump {
    fn total(&self) -> f64 {
        libm::log1p(REACH / self.scale)
    }

    fn density(&self, x: f64) -> f64 {
        let distance = (x - self.at).abs();
        if distance < REACH { 0.5 / (self.total() * (self.scale + distance)) } else { 0.0 }
    }

    fn quantile(&self, u: f64) -> f64 {
        let side = 2.0 * u - 1.0;
        self.at + (self.scale * libm::expm1(self.total() * side.abs())).copysign(side)
    }
}

#[cfg(test)]
mod tests {
    use netsor_num::normal::pdf;

    use crate::{Covariance, Function, Landmark, Method, Tolerance, expect};

    /// `E prod pdf(c (x_k - a_k)) cos(t x_1 x_2 x_3 x_4)` in four correlated variables, two of which are pinned by bumps of
    /// width 1e-4 to 1e-8: the density of the two, with `1/c^2` added to the variances, over `c^2`, times
    /// `E cos(t a_1 a_2 x_3 x_4)`, which is `(1 + (t a_1 a_2)^2)^(-1/2)` for independent `x_3` and `x_4`.
    #[test]
    fn two_bumps_in_four_variables() {
        let (a, b, t, rho) = (1.0, -0.75, 0.5, 0.5);
        for slope in [1e4, 1e8] {
            let f = Function::new(4, move |points, out| {
                for (j, y) in out.iter_mut().enumerate() {
                    let (u, v) = (points[0][j], points[3][j]);
                    let wave = f64::cos(t * u * points[1][j] * points[2][j] * v);
                    *y = pdf(slope * (u - a)) * pdf(slope * (v - b)) * wave;
                }
            });
            let f = f.with_landmarks(0, &[Landmark { at: a, scale: 1.0 / slope }]);
            let f = f.with_landmarks(3, &[Landmark { at: b, scale: 1.0 / slope }]);
            let mut entries = vec![0.0; 16];
            (0..4).for_each(|k| entries[5 * k] = 1.0);
            (entries[3], entries[12]) = (rho, rho);
            let c = Covariance::new(4, entries).unwrap();
            let found =
                expect(&f, &c, &Tolerance { absolute: 0.0, max_points: 1 << 18, ..Tolerance::default() }).unwrap();
            let v: f64 = 1.0 + 1.0 / (slope * slope);
            let determinant = (v - rho) * (v + rho);
            let square = (v * (a * a + b * b) - 2.0 * rho * a * b) / determinant;
            let density = (-0.5 * square).exp() / (std::f64::consts::TAU * determinant.sqrt());
            let exact = density / (slope * slope) / (1.0 + (t * a * b).powi(2)).sqrt();
            assert!(matches!(found.method, Method::Qmc { .. }), "{found:?}");
            assert!((found.value - exact).abs() <= found.error, "{found:?}, exactly {exact}");
            assert!(found.error <= 0.08 * exact, "{found:?}, exactly {exact}");
        }
    }
}
