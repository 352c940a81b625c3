//! The normal law in one and two dimensions: density, distribution function, quantiles.

use std::f64::consts::{FRAC_1_SQRT_2, TAU};
use std::sync::LazyLock;

use crate::quadrature::{Rule, gauss_legendre};

/// `1 / sqrt(2 pi)`, the density of the standard normal law at 0.
pub const PDF_AT_ZERO: f64 = 0.398_942_280_401_432_7;

/// The density of the standard normal law.
pub fn pdf(x: f64) -> f64 {
    PDF_AT_ZERO * libm::exp(-0.5 * x * x)
}

/// The distribution function of the standard normal law, `P(X <= x)`, accurate in the left tail.
pub fn cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * FRAC_1_SQRT_2)
}

/// The quantile of the standard normal law: the `x` with `cdf(x) = p`, to about 1e-16 relative (Wichura 1988, algorithm AS 241).
///
/// Infinite at 0 and 1, NaN outside of [0, 1].
pub fn quantile(p: f64) -> f64 {
    let q = p - 0.5;
    if q.abs() <= 0.425 {
        let r = 0.180_625 - q * q;
        return q * ratio(&CENTRE, r);
    }
    let tail = if q < 0.0 { p } else { 1.0 - p };
    if tail == 0.0 {
        return f64::INFINITY.copysign(q);
    }
    let r = libm::sqrt(-libm::log(tail));
    let x = if r <= 5.0 { ratio(&TAIL, r - 1.6) } else { ratio(&FAR_TAIL, r - 5.0) };
    x.copysign(q)
}

/// `P(X <= x, Y <= y)` for standard normal variables with correlation `rho`, to about 1e-15 absolute.
///
/// The method is that of Drezner and Wesolowsky (1990) as improved by Genz (2004): integrate over the correlation for moderate `rho`, and expand about `|rho| = 1` otherwise.
/// Correlations outside of [-1, 1] give NaN.
pub fn bivariate_cdf(x: f64, y: f64, rho: f64) -> f64 {
    if x.is_nan() || y.is_nan() || !(-1.0..=1.0).contains(&rho) {
        return f64::NAN;
    }
    if x == f64::NEG_INFINITY || y == f64::NEG_INFINITY {
        return 0.0;
    }
    if x == f64::INFINITY {
        return cdf(y);
    }
    if y == f64::INFINITY {
        return cdf(x);
    }
    upper_orthant(-x, -y, rho).clamp(0.0, 1.0)
}

/// `P(X > h, Y > k)`: function BVND of Genz, with one rule of 20 points throughout.
fn upper_orthant(h: f64, k: f64, rho: f64) -> f64 {
    static RULE: LazyLock<Rule> = LazyLock::new(|| gauss_legendre(20));
    if rho.abs() < 0.925 {
        let mean_square = 0.5 * (h * h + k * k);
        let angle = libm::asin(rho);
        let integral = RULE.integrate(0.0, angle, |t| {
            let s = libm::sin(t);
            libm::exp((s * h * k - mean_square) / (1.0 - s * s))
        });
        return integral / TAU + cdf(-h) * cdf(-k);
    }
    // Reflect so that the correlation is positive; then expand in a = sqrt(1 - rho^2).
    let sign = if rho < 0.0 { -1.0 } else { 1.0 };
    let k = sign * k;
    let hk = h * k;
    let mut near = 0.0;
    if rho.abs() < 1.0 {
        let a_squared = (1.0 - rho) * (1.0 + rho);
        let a = libm::sqrt(a_squared);
        let gap = (h - k) * (h - k);
        let c = (4.0 - hk) / 8.0;
        let d = (12.0 - hk) / 16.0;
        let exponent = -0.5 * (gap / a_squared + hk);
        if -700.0 < exponent {
            near = a
                * libm::exp(exponent)
                * (1.0 - c * (gap - a_squared) * (1.0 - d * gap / 5.0) / 3.0 + c * d * a_squared * a_squared / 5.0);
        }
        if hk < 700.0 {
            let b = libm::sqrt(gap);
            near -= libm::exp(-0.5 * hk)
                * libm::sqrt(TAU)
                * cdf(-b / a)
                * b
                * (1.0 - c * gap * (1.0 - d * gap / 5.0) / 3.0);
        }
        near += RULE.integrate(0.0, a, |t| {
            let t_squared = t * t;
            let exponent = -0.5 * (gap / t_squared + hk);
            if exponent <= -700.0 {
                return 0.0;
            }
            let r = libm::sqrt(1.0 - t_squared);
            let factor = libm::exp(-hk * t_squared / (2.0 * (1.0 + r) * (1.0 + r))) / r;
            libm::exp(exponent) * (factor - (1.0 + c * t_squared * (1.0 + d * t_squared)))
        });
        near /= -TAU;
    }
    if 0.0 < sign {
        near + cdf(-h.max(k))
    } else {
        let strip = if k <= h {
            0.0
        } else if h < 0.0 {
            cdf(k) - cdf(h)
        } else {
            cdf(-h) - cdf(-k)
        };
        strip - near
    }
}

/// Numerator and denominator coefficients, constant term first.
type Ratio = [[f64; 8]; 2];

fn ratio(coefficients: &Ratio, r: f64) -> f64 {
    let horner = |c: &[f64; 8]| c.iter().rev().fold(0.0, |acc, c| acc * r + c);
    horner(&coefficients[0]) / horner(&coefficients[1])
}

const CENTRE: Ratio = [
    [
        3.387_132_872_796_366_5,
        133.141_667_891_784_38,
        1_971.590_950_306_551_3,
        13_731.693_765_509_46,
        45_921.953_931_549_87,
        67_265.770_927_008_7,
        33_430.575_583_588_13,
        2_509.080_928_730_122_7,
    ],
    [
        1.0,
        42.313_330_701_600_91,
        687.187_007_492_057_9,
        5_394.196_021_424_751,
        21_213.794_301_586_597,
        39_307.895_800_092_71,
        28_729.085_735_721_943,
        5_226.495_278_852_854,
    ],
];

const TAIL: Ratio = [
    [
        1.423_437_110_749_683_5,
        4.630_337_846_156_546,
        5.769_497_221_460_691,
        3.647_848_324_763_204_5,
        1.270_458_252_452_368_4,
        0.241_780_725_177_450_6,
        0.022_723_844_989_269_184,
        7.745_450_142_783_414e-4,
    ],
    [
        1.0,
        2.053_191_626_637_759,
        1.676_384_830_183_803_8,
        0.689_767_334_985_1,
        0.148_103_976_427_480_08,
        0.015_198_666_563_616_457,
        5.475_938_084_995_345e-4,
        1.050_750_071_644_416_9e-9,
    ],
];

const FAR_TAIL: Ratio = [
    [
        6.657_904_643_501_103,
        5.463_784_911_164_114,
        1.784_826_539_917_291_3,
        0.296_560_571_828_504_87,
        0.026_532_189_526_576_124,
        1.242_660_947_388_078_4e-3,
        2.711_555_568_743_487_6e-5,
        2.010_334_399_292_288_1e-7,
    ],
    [
        1.0,
        0.599_832_206_555_888,
        0.136_929_880_922_735_8,
        0.014_875_361_290_850_615,
        7.868_691_311_456_133e-4,
        1.846_318_317_510_054_8e-5,
        1.421_511_758_316_446e-7,
        2.044_263_103_389_939_8e-15,
    ],
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::streams::{Streams, uniform};

    /// The distribution function undoes the quantile; its condition number `x pdf(x) / cdf(x)` bounds what rounding can do.
    #[test]
    fn quantile_inverts_cdf() {
        let mut p = 1e-300;
        while p < 0.5 {
            let x = quantile(p);
            let condition = 1.0 + x.abs() * pdf(x) / p;
            assert!((cdf(x) - p).abs() <= 4.0 * condition * f64::EPSILON * p, "{p} {x}");
            let upper = 1.0 - p;
            if upper < 1.0 {
                assert_eq!(quantile(upper), -quantile(1.0 - upper));
            }
            p *= 1.7;
        }
        assert_eq!(quantile(0.5), 0.0);
        assert_eq!(quantile(0.0), f64::NEG_INFINITY);
        assert_eq!(quantile(1.0), f64::INFINITY);
        assert!(quantile(1.5).is_nan() && quantile(f64::NAN).is_nan());
    }

    /// At the origin the orthant probability is `1/4 + asin(rho)/(2 pi)` (Sheppard 1899).
    #[test]
    fn bivariate_at_the_origin() {
        for i in -1000..=1000 {
            let rho = f64::from(i) / 1000.0;
            let exact = 0.25 + libm::asin(rho) / TAU;
            assert!((bivariate_cdf(0.0, 0.0, rho) - exact).abs() < 1e-15, "{rho}");
        }
    }

    /// Against the integral of `pdf(s) cdf((y - rho s)/sqrt(1 - rho^2))` by a composite rule that resolves the width of the second factor.
    #[test]
    fn bivariate_against_an_integral() {
        let rule = gauss_legendre(30);
        let mut rng = Streams::new(3).stream("bivariate", 0);
        for case in 0..200 {
            let x = 8.0 * uniform(&mut rng) - 4.0;
            let y = 8.0 * uniform(&mut rng) - 4.0;
            let c = 10.0_f64.powf(-1.5 * uniform(&mut rng));
            let rho = libm::sqrt(1.0 - c * c) * if case % 2 == 0 { 1.0 } else { -1.0 };
            let c = libm::sqrt((1.0 - rho) * (1.0 + rho));
            let pieces = (14.0 / c).ceil();
            let width = (x + 9.0) / pieces;
            let exact: f64 = (0..pieces as usize)
                .map(|i| {
                    let a = -9.0 + width * i as f64;
                    rule.integrate(a, a + width, |s| pdf(s) * cdf((y - rho * s) / c))
                })
                .sum();
            let value = bivariate_cdf(x, y, rho);
            assert!((value - exact).abs() < 2e-15, "{x} {y} {rho}: {value} {exact}");
        }
    }
}
