//! The law of two Gaussian variables, with everything that must not suffer from cancellation.

use crate::GaussError;

/// Correlations larger than 1 by this much are taken for rounding, as in [`Covariance`](crate::Covariance).
const SLACK: f64 = 1e-8;

/// The covariance `[[uu, uv], [uv, vv]]` with its determinant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pair {
    uu: f64,
    uv: f64,
    vv: f64,
    det: f64,
    rho: f64,
    sine: f64,
}

impl Pair {
    /// Checks the covariance and takes its determinant from the exact products.
    pub(super) fn new(uu: f64, uv: f64, vv: f64) -> Result<Self, GaussError> {
        for (row, column, value) in [(0, 0, uu), (0, 1, uv), (1, 1, vv)] {
            if !value.is_finite() {
                return Err(GaussError::NotFinite { row, column, value });
            }
        }
        for (slot, value) in [(0, uu), (1, vv)] {
            if value < 0.0 {
                return Err(GaussError::NegativeVariance { slot, value });
            }
        }
        // Scaled by powers of two, exactly, so that no product over- or underflows.
        let (_, a) = libm::frexp(uu);
        let (_, b) = libm::frexp(vv);
        let (a, b) = (a / 2, b / 2);
        let (x, y, z) = (libm::ldexp(uu, -2 * a), libm::ldexp(uv, -a - b), libm::ldexp(vv, -2 * b));
        let product = x * z;
        let root = libm::sqrt(product);
        if root * (1.0 + SLACK) < y.abs() {
            return Err(GaussError::Correlation {
                row: 0,
                column: 1,
                covariance: uv,
                row_variance: uu,
                column_variance: vv,
            });
        }
        if product == 0.0 {
            return Ok(Self { uu, uv: 0.0, vv, det: 0.0, rho: 0.0, sine: 1.0 });
        }
        // Kahan's difference of products: the two roundings are put back.
        let square = y * y;
        let det = ((product - square) + (libm::fma(x, z, -product) - libm::fma(y, y, -square))).max(0.0);
        let rho = (y / root).clamp(-1.0, 1.0);
        Ok(Self { uu, uv, vv, det: libm::ldexp(det, 2 * (a + b)), rho, sine: libm::sqrt(det) / root })
    }

    /// A covariance whose determinant is known by other means.
    pub(super) fn with_det(uu: f64, uv: f64, vv: f64, det: f64) -> Self {
        let root = libm::sqrt(uu) * libm::sqrt(vv);
        let (rho, sine) = if root == 0.0 { (0.0, 1.0) } else { ((uv / root).clamp(-1.0, 1.0), libm::sqrt(det) / root) };
        Self { uu, uv, vv, det, rho, sine }
    }

    pub(super) fn uu(&self) -> f64 {
        self.uu
    }

    pub(super) fn uv(&self) -> f64 {
        self.uv
    }

    pub(super) fn vv(&self) -> f64 {
        self.vv
    }

    /// `uu vv - uv^2`.
    pub(super) fn det(&self) -> f64 {
        self.det
    }

    /// The correlation.
    pub(super) fn rho(&self) -> f64 {
        self.rho
    }

    /// `sqrt(1 - rho^2)`, from the determinant.
    pub(super) fn sine(&self) -> f64 {
        self.sine
    }

    /// The law of `(u, 0)`.
    pub(super) fn first(&self) -> Self {
        Self::with_det(self.uu, 0.0, 0.0, 0.0)
    }

    /// The law of `(v, 0)`.
    pub(super) fn second(&self) -> Self {
        Self::with_det(self.vv, 0.0, 0.0, 0.0)
    }

    /// The law of `(v, u)`.
    pub(super) fn swapped(&self) -> Self {
        Self { uu: self.vv, vv: self.uu, ..*self }
    }

    /// `sd(u)^i sd(v)^j`, without rounding twice where the two are equal.
    pub(super) fn scale(&self, i: usize, j: usize) -> f64 {
        let common = i.min(j);
        let product = self.uu * self.vv;
        let both = if product.is_normal() { libm::sqrt(product) } else { libm::sqrt(self.uu) * libm::sqrt(self.vv) };
        power(both, common) * half_power(self.uu, i - common) * half_power(self.vv, j - common)
    }

    /// The law weighted by `exp(b u^2 + d v^2)`, and its total mass.
    pub(super) fn tilted(&self, b: f64, d: f64) -> Result<(Self, f64), GaussError> {
        if b == 0.0 && d == 0.0 {
            return Ok((*self, 1.0));
        }
        for (variance, rate) in [(self.uu, b), (self.vv, d)] {
            if 1.0 <= 2.0 * rate * variance {
                return Err(GaussError::Divergent { variance, rate });
            }
        }
        let mass = 1.0 - 2.0 * b * self.uu - 2.0 * d * self.vv + 4.0 * b * d * self.det;
        if mass <= 0.0 {
            return Err(GaussError::Divergent { variance: self.uu, rate: b });
        }
        let uu = (self.uu - 2.0 * d * self.det) / mass;
        let vv = (self.vv - 2.0 * b * self.det) / mass;
        let pair = Self::with_det(uu, self.uv / mass, vv, self.det / mass);
        Ok((pair, 1.0 / libm::sqrt(mass)))
    }
}

/// `x^n`.
pub(super) fn power(x: f64, n: usize) -> f64 {
    (0..n).fold(1.0, |acc, _| acc * x)
}

/// `x^(n/2)`.
fn half_power(x: f64, n: usize) -> f64 {
    power(x, n / 2) * if n % 2 == 1 { libm::sqrt(x) } else { 1.0 }
}
