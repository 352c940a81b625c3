//! Heavy-ball momentum in continuous time, squared loss, in closed form: one damped oscillator an eigenvector.

use faer::{Mat, MatRef};

use crate::{
    FlowOptions, GradientFlow, PredictError, Spectrum,
    flow::{check_momentum, elapsed},
};

/// The flow `f'' + gamma f' + K/N (f - y) = 0` from rest, in the time `s = sqrt(eta) t` with `gamma = (1 - momentum)/sqrt(eta)`:
/// the limit of heavy-ball descent for small steps, with the scaling of time of neural-tangents' `gradient_descent(momentum)`.
///
/// With an eigenvalue `mu` of `K/N` the residual is multiplied by
/// `D(s) = exp(-a s) (cosh(w s) + a/w sinh(w s))`, `a = gamma/2`, `w^2 = a^2 - mu`.
#[derive(Debug, Clone)]
pub struct MomentumFlow {
    flow: GradientFlow,
    divisor: f64,
    time_scale: f64,
    /// `a = gamma/2`.
    damping: f64,
}

impl MomentumFlow {
    /// A flow towards `targets` (`n x k`) with the kernel `k_train_train` (`n x n`) and `0 <= momentum < 1`.
    ///
    /// # Errors
    /// As [`GradientFlow::new`]; [`PredictError::Parameter`] for a momentum outside `[0, 1)`.
    pub fn new(
        k_train_train: MatRef<'_, f64>,
        targets: MatRef<'_, f64>,
        momentum: f64,
        options: &FlowOptions,
    ) -> Result<Self, PredictError> {
        check_momentum(momentum)?;
        let flow = GradientFlow::new(k_train_train, targets, options)?;
        let time_scale = options.learning_rate.sqrt();
        Ok(Self {
            divisor: options.normalisation.divisor(targets.nrows(), targets.ncols()),
            damping: 0.5 * (1.0 - momentum) / time_scale,
            time_scale,
            flow,
        })
    }

    /// `n x k` outputs on the training points at time `t`, from `f0_train` (`n x k`) at rest.
    ///
    /// # Errors
    /// As [`GradientFlow::train`].
    pub fn train(&self, t: f64, f0_train: MatRef<'_, f64>) -> Result<Mat<f64>, PredictError> {
        let s = elapsed(self.time_scale, t)?;
        let residual = self.flow.residual(f0_train)?;
        let moved = self.spectrum().apply(|lambda| self.covered(s, lambda), residual.as_ref());
        Ok(f0_train + moved)
    }

    /// `m x k` outputs at time `t` on points with kernel `k_test_train` (`m x n`), from `f0_train` and `f0_test` (`m x k`) at rest.
    ///
    /// # Errors
    /// As [`GradientFlow::test`].
    pub fn test(
        &self,
        t: f64,
        k_test_train: MatRef<'_, f64>,
        f0_train: MatRef<'_, f64>,
        f0_test: MatRef<'_, f64>,
    ) -> Result<Mat<f64>, PredictError> {
        let s = elapsed(self.time_scale, t)?;
        self.flow.check_test(k_test_train, f0_test)?;
        let residual = self.flow.residual(f0_train)?;
        let response = |lambda: f64| match self.covered(s, lambda) {
            0.0 => 0.0,
            covered => covered / lambda,
        };
        Ok(f0_test + k_test_train * self.spectrum().apply(response, residual.as_ref()))
    }

    /// The eigendecomposition of the kernel.
    pub fn spectrum(&self) -> &Spectrum {
        self.flow.spectrum()
    }

    /// `1 - D(s)` for an eigenvalue of the kernel; zero for eigenvalues that are zero to working precision.
    fn covered(&self, s: f64, lambda: f64) -> f64 {
        if lambda <= self.spectrum().floor() || s == 0.0 {
            return 0.0;
        }
        if s == f64::INFINITY {
            return 1.0;
        }
        covered(s, self.damping, lambda / self.divisor)
    }
}

/// `1 - D(s)` for finite `s > 0`, damping `a > 0` and `mu > 0`.
fn covered(s: f64, a: f64, mu: f64) -> f64 {
    let square = a * a - mu;
    let w = square.abs().sqrt();
    if 0.5 * a < w && 0.0 < square {
        // The roots of r^2 + 2 a r + mu, the slow one in the form that does not cancel:
        // small mu must keep their digits, because the response divides by them.
        let (slow, fast) = (-mu / (a + w), -(a + w));
        return (fast * (slow * s).exp_m1() - slow * (fast * s).exp_m1()) / (2.0 * w);
    }
    let x = w * s;
    let envelope = (-a * s).exp();
    if envelope == 0.0 {
        return 1.0;
    }
    if x < 1e-3 {
        // cosh x + a s sinh(x)/x by its series in x^2 (cos and sin: the sign turns); the next term is below x^6/5040.
        let signed = if square < 0.0 { -x * x } else { x * x };
        let cosh = 1.0 + signed / 2.0 + signed * signed / 24.0;
        let sinhc = 1.0 + signed / 6.0 + signed * signed / 120.0;
        1.0 - envelope * (cosh + a * s * sinhc)
    } else if square < 0.0 {
        1.0 - envelope * (x.cos() + a / w * x.sin())
    } else {
        // w <= a/2, so neither exponential grows.
        let (slow, fast) = (((w - a) * s).exp(), (-(w + a) * s).exp());
        1.0 - 0.5 * (slow + fast + a / w * (slow - fast))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiagReg, Normalisation};

    /// A second way: many steps of the classical Runge-Kutta method on `r'' = -2 a r' - mu r`, `r(0) = 1` at rest.
    fn by_steps(s: f64, a: f64, mu: f64) -> f64 {
        let n_steps = 4000;
        let h = s / f64::from(n_steps);
        let slope = |(r, v): (f64, f64)| (v, -2.0 * a * v - mu * r);
        let at = |(r, v): (f64, f64), (dr, dv): (f64, f64), h: f64| (r + h * dr, v + h * dv);
        let mut state = (1.0, 0.0);
        for _ in 0..n_steps {
            let k1 = slope(state);
            let k2 = slope(at(state, k1, h / 2.0));
            let k3 = slope(at(state, k2, h / 2.0));
            let k4 = slope(at(state, k3, h));
            for (k, weight) in [(k1, 1.0), (k2, 2.0), (k3, 2.0), (k4, 1.0)] {
                state = at(state, k, h * weight / 6.0);
            }
        }
        1.0 - state.0
    }

    #[test]
    fn all_dampings_agree_with_runge_kutta() {
        // Overdamped, the border between the formulas, critical and its neighbours, underdamped.
        for (a, mu) in [
            (1.0, 1e-6),
            (1.0, 0.3),
            (1.0, 0.75),
            (1.0, 0.76),
            (1.0, 1.0 - 1e-9),
            (1.0, 1.0),
            (1.0, 1.0 + 1e-9),
            (1.0, 1.5),
            (0.05, 4.0),
        ] {
            for s in [1e-3, 0.5, 3.0, 12.0] {
                let (ours, steps) = (covered(s, a, mu), by_steps(s, a, mu));
                // Steps of 12/4000 on rates up to 2 leave 12 (0.006)^4 2/120 = 3e-10 at most.
                assert!((ours - steps).abs() < 1e-9, "a {a}, mu {mu}, s {s}: {ours} against {steps}");
            }
        }
    }

    #[test]
    fn the_ends_of_time_and_the_points_agree() {
        let k = Mat::from_fn(5, 5, |i, j| (-(i as f64 - j as f64).abs()).exp());
        let y = Mat::from_fn(5, 2, |i, j| ((i + 2 * j) as f64).cos());
        let f0 = Mat::from_fn(5, 2, |i, j| ((i + 7 * j) as f64).sin());
        let options =
            FlowOptions { learning_rate: 0.25, normalisation: Normalisation::PerPoint, diag_reg: DiagReg::None };
        let flow = MomentumFlow::new(k.as_ref(), y.as_ref(), 0.5, &options).unwrap();
        // The condition number of K is below 10.
        let tolerance = 200.0 * f64::EPSILON;
        for (t, expected) in [(0.0, &f0), (f64::INFINITY, &y), (1e300, &y)] {
            assert!((flow.train(t, f0.as_ref()).unwrap() - expected).norm_max() < tolerance, "t = {t}");
        }
        for t in [0.1, 2.0, 40.0] {
            let train = flow.train(t, f0.as_ref()).unwrap();
            let test = flow.test(t, k.as_ref(), f0.as_ref(), f0.as_ref()).unwrap();
            assert!((train - test).norm_max() < tolerance, "t = {t}");
        }
        for momentum in [-0.1, 1.0, f64::NAN] {
            assert!(MomentumFlow::new(k.as_ref(), y.as_ref(), momentum, &options).is_err());
        }
    }
}
