//! Eigenvalues and eigenvectors of small symmetric matrices.

/// The spectral decomposition of a symmetric matrix.
#[derive(Clone, Debug)]
pub(crate) struct Spectrum {
    /// Eigenvalues, in no particular order.
    pub(crate) values: Vec<f64>,
    /// Column `k`, at `vectors[i * d + k]`, is the unit eigenvector of `values[k]`.
    pub(crate) vectors: Vec<f64>,
}

/// By Jacobi rotations, which find small eigenvalues of graded matrices accurately.
pub(crate) fn spectrum(d: usize, mut a: Vec<f64>) -> Spectrum {
    let mut vectors = vec![0.0; d * d];
    for k in 0..d {
        vectors[k * (d + 1)] = 1.0;
    }
    let rotate = |m: &mut [f64], i: usize, j: usize, c: f64, s: f64| {
        let (x, y) = (m[i], m[j]);
        (m[i], m[j]) = (c * x - s * y, s * x + c * y);
    };
    for _ in 0..40 {
        let mut rotated = false;
        for p in 0..d {
            for q in 0..p {
                let apq = a[p * d + q];
                let (app, aqq) = (a[p * d + p], a[q * d + q]);
                // Off the diagonal nothing is left but rounding.
                if apq.abs() <= 1e-17 * libm::sqrt(app.abs()) * libm::sqrt(aqq.abs()) || apq == 0.0 {
                    continue;
                }
                rotated = true;
                let theta = (aqq - app) / (2.0 * apq);
                let t = 1.0_f64.copysign(theta) / (theta.abs() + libm::hypot(theta, 1.0));
                let c = 1.0 / libm::hypot(t, 1.0);
                let s = t * c;
                for k in 0..d {
                    rotate(&mut a, k * d + p, k * d + q, c, s);
                    rotate(&mut vectors, k * d + p, k * d + q, c, s);
                }
                for k in 0..d {
                    rotate(&mut a, p * d + k, q * d + k, c, s);
                }
            }
        }
        if !rotated {
            break;
        }
    }
    Spectrum { values: (0..d).map(|k| a[k * (d + 1)]).collect(), vectors }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `A V = V diag(values)` to rounding, for a graded matrix with a null vector.
    #[test]
    fn reconstructs() {
        let d = 4;
        let rows = [[1.0, 2.0, 0.5, 3.5], [0.0, 1e-3, 2e-3, 3e-3], [4e-6, 0.0, 1e-6, 5e-6]];
        let a: Vec<f64> = (0..d * d).map(|i| rows.iter().map(|r| r[i / d] * r[i % d]).sum()).collect();
        let found = spectrum(d, a.clone());
        for i in 0..d {
            for k in 0..d {
                let left: f64 = (0..d).map(|j| a[i * d + j] * found.vectors[j * d + k]).sum();
                let right = found.vectors[i * d + k] * found.values[k];
                assert!((left - right).abs() <= 64.0 * f64::EPSILON * 18.0, "{i} {k}: {left} {right}");
            }
        }
        let smallest = found.values.iter().copied().fold(f64::INFINITY, f64::min);
        assert!(smallest.abs() < 1e-15);
    }
}
