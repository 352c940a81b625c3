//! Closed forms on slices: branch-free loops that the compiler vectorises.
//!
//! Only additions, products, quotients and square roots are used, each rounded exactly, so that the bits are the same
//! whatever the width of the registers.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_2, PI, TAU};

use netsor_num::normal::PDF_AT_ZERO;
use pulp::Arch;

use crate::plan::Homogeneous;

/// Correlations this close to 1 are 1: the product has a few roundings and its operands a few each.
const PARALLEL: f64 = 1.0 - 16.0 * f64::EPSILON;

/// `cov inv_u inv_v`, not yet clamped.
pub(crate) fn correlation(cov: &[f64], inv_u: &[f64], inv_v: &[f64], out: &mut [f64]) {
    vectorised(|| {
        for (((o, &c), &u), &v) in out.iter_mut().zip(cov).zip(inv_u).zip(inv_v) {
            *o = c * (u * v);
        }
    });
}

/// Rounds correlations next to 1 or beyond it to 1, and likewise at -1.
pub(crate) fn clamp(rho: &mut [f64]) {
    vectorised(|| {
        for r in rho {
            let above = if PARALLEL < *r { 1.0 } else { *r };
            *r = if above < -PARALLEL { -1.0 } else { above };
        }
    });
}

/// `acos(rho)`.
pub(crate) fn angle(rho: &[f64], out: &mut [f64]) {
    vectorised(|| {
        for (o, &x) in out.iter_mut().zip(rho) {
            *o = acos(x);
        }
    });
}

/// `E f(u) g(v)` for two functions of degree 1: the arc-cosine kernel of degree 1 (Cho and Saul 2009) on each pair of
/// quadrants.
pub(crate) fn degree_one([rho, angle, sd_u, sd_v]: [&[f64]; 4], u: Homogeneous, v: Homogeneous, out: &mut [f64]) {
    let (same, opposite) = quadrants(u, v);
    let n = out.len();
    let (rho, angle, sd_u, sd_v) = (&rho[..n], &angle[..n], &sd_u[..n], &sd_v[..n]);
    vectorised(|| {
        for j in 0..n {
            let (r, a) = (rho[j], angle[j]);
            let sine = ((1.0 - r) * (1.0 + r)).sqrt();
            let with = sine + r * (PI - a);
            let against = sine - r * a;
            out[j] = sd_u[j] * sd_v[j] * (same * with - opposite * against);
        }
    });
}

/// `E f(u) g(v)` for two functions of degree 0.
pub(crate) fn degree_zero([angle, sd_u, sd_v]: [&[f64]; 3], u: Homogeneous, v: Homogeneous, out: &mut [f64]) {
    let (same, opposite) = quadrants(u, v);
    let mean = |f: Homogeneous| 0.5 * (f.right.0 + f.left.0);
    let (mean_u, mean_v, zero_u, zero_v) = (mean(u), mean(v), u.zero.0, v.zero.0);
    let n = out.len();
    let (angle, sd_u, sd_v) = (&angle[..n], &sd_u[..n], &sd_v[..n]);
    vectorised(|| {
        for j in 0..n {
            let both = same * (PI - angle[j]) + opposite * angle[j];
            let first = if sd_u[j] == 0.0 { zero_u } else { mean_u };
            let second = if sd_v[j] == 0.0 { zero_v } else { mean_v };
            out[j] = if sd_u[j] * sd_v[j] == 0.0 { first * second } else { both };
        }
    });
}

/// `E f(u) g(v)` for `f` of degree 1 and `g` of degree 0.
pub(crate) fn degree_mixed([rho, sd_u, sd_v]: [&[f64]; 3], u: Homogeneous, v: Homogeneous, out: &mut [f64]) {
    let with = 0.5 * PDF_AT_ZERO * (u.right.0 * v.right.0 - u.left.0 * v.left.0);
    let against = 0.5 * PDF_AT_ZERO * (u.right.0 * v.left.0 - u.left.0 * v.right.0);
    let alone = PDF_AT_ZERO * (u.right.0 - u.left.0) * v.zero.0;
    let n = out.len();
    let (rho, sd_u, sd_v) = (&rho[..n], &sd_u[..n], &sd_v[..n]);
    vectorised(|| {
        for j in 0..n {
            let both = with * (1.0 + rho[j]) + against * (1.0 - rho[j]);
            out[j] = sd_u[j] * if sd_v[j] == 0.0 { alone } else { both };
        }
    });
}

/// `E erf(a u) erf(b v)` (Williams 1997).
pub(crate) fn arcsine([cov, uu, vv]: [&[f64]; 3], a: f64, b: f64, out: &mut [f64]) {
    let n = out.len();
    let (cov, uu, vv) = (&cov[..n], &uu[..n], &vv[..n]);
    vectorised(|| {
        for j in 0..n {
            let scale = ((1.0 + 2.0 * a * a * uu[j]) * (1.0 + 2.0 * b * b * vv[j])).sqrt();
            out[j] = FRAC_2_PI * asin(2.0 * a * b * cov[j] / scale);
        }
    });
}

/// `E exp(-a u^2) exp(-b v^2)`.
pub(crate) fn gaussians([cov, uu, vv]: [&[f64]; 3], a: f64, b: f64, out: &mut [f64]) {
    let n = out.len();
    let (cov, uu, vv) = (&cov[..n], &uu[..n], &vv[..n]);
    vectorised(|| {
        for j in 0..n {
            let det = uu[j] * vv[j] - cov[j] * cov[j];
            out[j] = 1.0 / (1.0 + 2.0 * a * uu[j] + 2.0 * b * vv[j] + 4.0 * a * b * det).sqrt();
        }
    });
}

/// Runs a loop with the widest registers of this machine.
#[inline(always)]
pub(crate) fn vectorised(f: impl FnOnce()) {
    Arch::new().dispatch(f);
}

/// The weights of the quadrants where the signs agree and where they differ, over `2 pi`.
fn quadrants(u: Homogeneous, v: Homogeneous) -> (f64, f64) {
    ((u.right.0 * v.right.0 + u.left.0 * v.left.0) / TAU, (u.right.0 * v.left.0 + u.left.0 * v.right.0) / TAU)
}

/// `asin(s)` at `s = |x|` below 1/2 or else at `sqrt((1 - |x|) / 2)`, and which it was.
///
/// The rational approximation is that of fdlibm's `e_asin.c` (Sun Microsystems, 1993); its error is below 2^-58.
#[inline(always)]
#[expect(clippy::excessive_precision, reason = "constants as printed in the source")]
fn half_asin(x: f64) -> (f64, bool) {
    let size = x.abs();
    let small = size < 0.5;
    // Rounding may have carried the argument just beyond 1.
    let rest = 0.5 * (1.0 - if 1.0 < size { 1.0 } else { size });
    let z = if small { size * size } else { rest };
    let s = if small { size } else { rest.sqrt() };
    let p = z
        * (1.666_666_666_666_666_574_15e-01
            + z * (-3.255_658_186_224_009_154_05e-01
                + z * (2.012_125_321_348_629_258_81e-01
                    + z * (-4.005_553_450_067_941_140_27e-02
                        + z * (7.915_349_942_898_145_321_76e-04 + z * 3.479_331_075_960_211_675_70e-05)))));
    let q = 1.0
        + z * (-2.403_394_911_734_414_218_78
            + z * (2.020_945_760_233_505_694_71
                + z * (-6.882_839_716_054_532_930_30e-01 + z * 7.703_815_055_590_193_527_91e-02)));
    (s + s * (p / q), small)
}

#[inline(always)]
fn acos(x: f64) -> f64 {
    let (h, small) = half_asin(x);
    let signed = if x < 0.0 { -h } else { h };
    let large = if x < 0.0 { PI - 2.0 * h } else { 2.0 * h };
    if small { FRAC_PI_2 - signed } else { large }
}

#[inline(always)]
fn asin(x: f64) -> f64 {
    let (h, small) = half_asin(x);
    let size = if small { h } else { FRAC_PI_2 - 2.0 * h };
    if x < 0.0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arcs_agree_with_the_scalar_library() {
        for k in -20_000..=20_000 {
            let x = f64::from(k) / 20_000.0;
            // Two units in the last place of the larger of the two halves.
            assert!((acos(x) - x.acos()).abs() <= 4.0 * f64::EPSILON * x.acos().max(f64::EPSILON), "{x}");
            assert!((asin(x) - x.asin()).abs() <= 4.0 * f64::EPSILON * x.asin().abs(), "{x}");
        }
        for x in [1e-300, 1e-20, 1.0 - f64::EPSILON, 1.0 - 1e-12, 0.5, 0.5 - f64::EPSILON] {
            assert!((acos(x) - x.acos()).abs() <= 4.0 * f64::EPSILON * x.acos(), "{x}");
            assert!((asin(-x) - (-x).asin()).abs() <= 4.0 * f64::EPSILON * x.asin(), "{x}");
        }
        assert_eq!((acos(1.0), acos(-1.0), asin(0.0), asin(1.0)), (0.0, PI, 0.0, FRAC_PI_2));
    }
}
