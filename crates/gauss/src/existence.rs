//! Whether an expectation exists.
//!
//! `E f(Z)` exists if that of `|f(Z)|` is finite. Two things can be in the way: `f` grows faster than the density falls,
//! or it is singular where the density is not 0. Quadrature of `f` itself may see neither: an odd singularity cancels, and
//! a range of integration ends somewhere.

use crate::covariance::Factor;
use crate::directions::best_direction;
use crate::kinked::MAX_RANK;
use crate::product::{Part, Product};
use crate::{Covariance, GaussError, Integrand, Landmark, Method, Tolerance, expect_product};

/// The largest radius at which growth is read; where the function is no floating-point number there, smaller ones are tried
/// by steps of this factor, down to the smallest.
const LARGEST: f64 = 1e8;
const STEP: f64 = 1.2;
const SMALLEST: f64 = 2.0;

/// What each radius is multiplied by, with the largest value taken.
const NEIGHBOURS: [f64; 5] = [0.8, 0.86, 0.91, 0.96, 1.0];

/// A second difference of the logarithm below this is that of a power or of a wave, not of an exponential: at the largest
/// radius where `exp(r^p)` is a number, `r^p` is between 400 and 700, and the second difference for `p = 2` an eighth of it.
const EXPONENTIAL: f64 = 30.0;

/// A function that grows like `exp(g r^2 / 2)` with `g` above this is refused: what powers of `r` do to the second
/// difference is smaller.
const LIMIT: f64 = 0.99;

/// A third difference of the logarithm above this is that of a higher power than the square, of which `r^3` has a tenth and
/// more: what waves leave in four logarithms is less.
const HIGHER: f64 = 28.0;

/// The relative accuracy to which the integral of the absolute value must settle, by quadrature and by sampling: that of
/// `1/|Z|` gains a constant share with every bisection around 0, and scatters by a tenth when it is sampled.
const SETTLED: [f64; 2] = [1e-3, 1e-2];

/// Points of quadrature.
const NODES: usize = 1 << 20;

/// Points where quadrature does not reach.
const SAMPLES: usize = 1 << 17;

/// That `E prod_k f_k(Z)` exists, as far as numbers tell: the product does not outgrow the density, and the integral of its
/// absolute value settles.
///
/// ```
/// use netsor_gauss::{Covariance, Function, Part, check_existence};
///
/// let c = Covariance::new(1, vec![1.0])?;
/// let power = |p: f64| {
///     Function::new(1, move |x: &[&[f64]], y: &mut [f64]| {
///         y.iter_mut().zip(x[0]).for_each(|(y, x)| *y = x.signum() * x.abs().powf(p));
///     })
/// };
/// let exists = |p: f64| check_existence(&[Part { slots: vec![0], function: &power(p) }], &c);
/// assert!(exists(-0.5).is_ok());
/// assert!(exists(-1.0).is_err());
/// # Ok::<(), netsor_gauss::GaussError>(())
/// ```
///
/// # Errors
/// [`GaussError::Outgrown`], [`GaussError::Unsettled`], or what [`expect_product`] says of the absolute value.
pub fn check_existence(parts: &[Part<'_>], c: &Covariance) -> Result<(), GaussError> {
    check_growth(parts, c)?;
    let absolute: Vec<Absolute<'_>> = parts.iter().map(|p| Absolute::new(p.function)).collect();
    let parts: Vec<Part<'_>> =
        parts.iter().zip(&absolute).map(|(p, f)| Part { slots: p.slots.clone(), function: f }).collect();
    let max_points = if c.factor().rank <= MAX_RANK { NODES } else { SAMPLES };
    let tolerance = Tolerance { absolute: 0.0, relative: SETTLED[0], max_points, ..Tolerance::default() };
    let found = expect_product(&parts, c, &tolerance)?;
    let settled = SETTLED[usize::from(matches!(found.method, Method::Qmc { .. }))];
    if found.error <= settled * found.value.abs() {
        Ok(())
    } else {
        Err(GaussError::Unsettled { value: found.value, error: found.error })
    }
}

/// That a product of functions does not outgrow the density of `Z`, as far as some hundred directions tell.
///
/// Along a ray of length `r`, `log |f| = g r^2 / 2 + b r + c` up to what grows more slowly, and `g` is a second difference,
/// at the largest radius where the function is a floating-point number. Of higher powers of `r` a third difference is left.
///
/// # Errors
/// [`GaussError::Outgrown`].
pub fn check_growth(parts: &[Part<'_>], c: &Covariance) -> Result<(), GaussError> {
    let factor = c.factor();
    if factor.rank == 0 {
        return Ok(());
    }
    let product = Product::new(parts, c.slots());
    let unit = |i: usize, sign: f64| (0..factor.rank).map(|j| if i == j { sign } else { 0.0 }).collect::<Vec<f64>>();
    let along = (0..factor.rank).flat_map(|i| [unit(i, 1.0), unit(i, -1.0)]);
    let (direction, growth) = best_direction(factor.rank, along, |direction| growth(&product, &factor, direction));
    if growth < LIMIT {
        return Ok(());
    }
    let in_slots = (0..c.slots()).map(|k| (0..factor.rank).map(|j| factor.entry(k, j) * direction[j]).sum());
    Err(GaussError::Outgrown { direction: in_slots.collect() })
}

/// The `g` of a direction, infinity for higher powers than the square; minus infinity where the function does not grow like
/// an exponential of that kind, or is 0, infinite or not a number on all of the ray.
fn growth(f: &dyn Integrand, factor: &Factor, direction: &[f64]) -> f64 {
    let along = |k: usize| (0..factor.rank).map(|j| factor.entry(k, j) * direction[j]).sum();
    let steps: Vec<f64> = (0..f.slots()).map(along).collect();
    let mut radius = LARGEST;
    while SMALLEST < radius {
        if let Some([a, b, c, d]) = logarithms(f, &steps, radius) {
            let (second, third) = (d - 2.0 * c + b, d - 3.0 * c + 3.0 * b - a);
            return if second.is_nan() || second < EXPONENTIAL {
                f64::NEG_INFINITY
            } else if HIGHER < third {
                f64::INFINITY
            } else {
                second / (0.0625 * radius * radius)
            };
        }
        radius /= STEP;
    }
    f64::NEG_INFINITY
}

/// `log |f|` at a quarter, a half and three quarters of the radius and at all of it; `None` where a value is not finite.
fn logarithms(f: &dyn Integrand, steps: &[f64], radius: f64) -> Option<[f64; 4]> {
    // The largest of neighbours: a function that changes sign is 0 at places.
    let shares = [0.25, 0.5, 0.75, 1.0];
    let radii: Vec<f64> = shares.iter().flat_map(|share| NEIGHBOURS.map(|near| share * near * radius)).collect();
    let slots: Vec<Vec<f64>> = steps.iter().map(|step| radii.iter().map(|r| r * step).collect()).collect();
    let points: Vec<&[f64]> = slots.iter().map(Vec::as_slice).collect();
    let mut values = vec![0.0; radii.len()];
    f.eval(&points, &mut values);
    let mut logs = [0.0; 4];
    for (log, near) in logs.iter_mut().zip(values.chunks_exact(NEIGHBOURS.len())) {
        *log = libm::log(near.iter().fold(0.0, |m: f64, y| m.max(y.abs())));
    }
    values.iter().all(|y| y.is_finite()).then_some(logs)
}

/// The absolute value of a function. Most functions change sign, or are singular, where an argument is 0: these places are
/// declared beside the function's own, so that pieces end there.
struct Absolute<'a> {
    function: &'a dyn Integrand,
    kinks: Vec<Vec<f64>>,
}

impl<'a> Absolute<'a> {
    fn new(function: &'a dyn Integrand) -> Self {
        let with_zero = |slot| {
            let mut kinks = [function.kinks(slot), &[0.0]].concat();
            kinks.sort_by(f64::total_cmp);
            kinks.dedup();
            kinks
        };
        Self { function, kinks: (0..function.slots()).map(with_zero).collect() }
    }
}

impl Integrand for Absolute<'_> {
    fn slots(&self) -> usize {
        self.function.slots()
    }

    fn eval(&self, points: &[&[f64]], out: &mut [f64]) {
        self.function.eval(points, out);
        out.iter_mut().for_each(|y| *y = y.abs());
    }

    fn kinks(&self, slot: usize) -> &[f64] {
        &self.kinks[slot]
    }

    fn landmarks(&self, slot: usize) -> &[Landmark] {
        self.function.landmarks(slot)
    }

    fn surfaces(&self) -> usize {
        self.function.surfaces()
    }

    fn surface(&self, surface: usize, points: &[&[f64]], out: &mut [f64]) {
        self.function.surface(surface, points, out);
    }

    fn smooth(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Function;

    fn of(slots: usize, f: impl Fn(&[f64]) -> f64 + Copy + 'static) -> Function<impl Fn(&[&[f64]], &mut [f64])> {
        Function::new(slots, move |points: &[&[f64]], out: &mut [f64]| {
            for (j, y) in out.iter_mut().enumerate() {
                let at: Vec<f64> = points.iter().map(|column| column[j]).collect();
                *y = f(&at);
            }
        })
    }

    fn check(slots: usize, f: impl Fn(&[f64]) -> f64 + Copy + 'static) -> Result<(), GaussError> {
        let identity = (0..slots * slots).map(|k| if k % (slots + 1) == 0 { 1.0 } else { 0.0 }).collect();
        let function = of(slots, f);
        let part = Part { slots: (0..slots).collect(), function: &function };
        check_existence(&[part], &Covariance::new(slots, identity).unwrap())
    }

    /// `exp(g q)` for quadratic forms `q` whose largest eigenvalue is 1/2: finite for `g < 1`.
    #[test]
    fn growth_is_read_in_every_direction() {
        for g in [0.5, 0.9, 1.0] {
            let expected = g < 0.99;
            assert_eq!(check(1, move |x| x[0].sin() * (0.5 * g * x[0] * x[0]).exp()).is_ok(), expected, "{g}");
            assert_eq!(check(2, move |x| x[0] * (g * x[0] * x[1] - x[0]).exp()).is_ok(), expected, "{g}");
            let growth = |x: &[f64]| 0.5 / 3.0 * (x[0] + x[1] - x[2]).powi(2);
            let function = of(3, move |x| (g * growth(x)).exp() * (5.0 * x[0]).cos());
            let part = Part { slots: vec![0, 1, 2], function: &function };
            let c = Covariance::new(3, vec![1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]).unwrap();
            assert_eq!(check_growth(&[part], &c).is_ok(), expected, "{g}");
        }
        let outgrows = |found: Result<(), GaussError>| matches!(found, Err(GaussError::Outgrown { .. }));
        assert!(outgrows(check(1, |x| x[0].exp().exp())));
        // However small the coefficient.
        for c in [0.1, 1e-3, 1e-5, 1e-8] {
            assert!(outgrows(check(1, move |x| x[0] * (c * x[0].abs().powi(3)).exp())), "{c}");
            assert!(outgrows(check(3, move |x| (c * (x[0] * x[1] * x[2]).abs()).exp())), "{c}");
        }
        assert!(check(1, |x| x[0].powi(9) * (3.0 * x[0] - (x[0] / 10.0).powi(4)).exp()).is_ok());
        assert!(check(1, |x| (5.0 * x[0]).exp() * (7.0 * x[0]).sin()).is_ok());
    }

    /// `|x|^(-p)` in `d` dimensions has an expectation for `p < d`.
    #[test]
    fn singularities_are_found_behind_a_change_of_sign() {
        let power = |p: f64, d: usize| {
            check(d, move |x| x[0].signum() * x.iter().map(|y| y * y).sum::<f64>().sqrt().powf(-p)).is_ok()
        };
        assert!(power(0.5, 1) && power(0.8, 1));
        assert!(!power(1.0, 1) && !power(1.5, 1) && !power(3.0, 1));
        assert!(power(1.0, 2) && !power(2.0, 2));
        let hidden = |shift: f64| check(1, move |x| 1.0 / (x[0] - shift)).is_ok();
        assert!(!hidden(1.0 / 3.0) && !hidden(0.0));
        // Four variables are sampled.
        assert!(check(4, |x| x[0].signum() * x[1].abs().powf(-0.3) * (1.0 + (x[2] * x[3]).powi(2)).recip()).is_ok());
        assert!(check(4, |x| x[0] / x[1] * (1.0 + (x[2] * x[3]).powi(2)).recip()).is_err());
    }
}
