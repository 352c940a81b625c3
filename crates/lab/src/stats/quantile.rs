//! The normal, Student and chi-square laws, by way of `statrs`.
//!
//! Only the distribution functions come from there.
//! Quantiles are found from these by bisection, so that `cdf(quantile(p)) = p` to rounding for every
//! p (the library's own chi-square quantile is NaN at p = 1e-6).

use statrs::distribution::{ChiSquared, ContinuousCDF, Normal, StudentsT};

use super::StatsError;

/// `P(Z <= x)` for a standard Gaussian Z.
#[must_use]
pub fn normal_cdf(x: f64) -> f64 {
    Normal::standard().cdf(x)
}

/// The x with `P(Z <= x) = p` for a standard Gaussian Z; `p` in (0, 1).
pub fn normal_quantile(p: f64) -> Result<f64, StatsError> {
    open_unit(p)?;
    Ok(symmetric_quantile(&Normal::standard(), p))
}

/// `P(T <= x)` for Student's t with `dof > 0` degrees of freedom.
pub fn t_cdf(x: f64, dof: f64) -> Result<f64, StatsError> {
    Ok(student(dof)?.cdf(x))
}

/// The x with `P(T <= x) = p` for Student's t with `dof > 0` degrees of freedom; `p` in (0, 1).
pub fn t_quantile(p: f64, dof: f64) -> Result<f64, StatsError> {
    open_unit(p)?;
    Ok(symmetric_quantile(&student(dof)?, p))
}

/// `P(X <= x)` for chi-square with `dof > 0` degrees of freedom.
pub fn chi2_cdf(x: f64, dof: f64) -> Result<f64, StatsError> {
    Ok(chi2(dof)?.cdf(x))
}

/// `P(X > x)` for chi-square with `dof > 0` degrees of freedom, accurate in the far tail.
pub fn chi2_upper_tail(x: f64, dof: f64) -> Result<f64, StatsError> {
    Ok(chi2(dof)?.sf(x))
}

/// The x with `P(X <= x) = p` for chi-square with `dof > 0` degrees of freedom; `p` in (0, 1).
pub fn chi2_quantile(p: f64, dof: f64) -> Result<f64, StatsError> {
    open_unit(p)?;
    let law = chi2(dof)?;
    Ok(if p < 0.5 { crossing(|x| p <= law.cdf(x)) } else { crossing(|x| law.sf(x) <= 1.0 - p) })
}

fn open_unit(p: f64) -> Result<(), StatsError> {
    if 0.0 < p && p < 1.0 {
        Ok(())
    } else {
        Err(StatsError::OutOfRange { what: "probability", value: p, expected: "a number in (0, 1)" })
    }
}

fn dof_error(dof: f64) -> StatsError {
    StatsError::OutOfRange { what: "degrees of freedom", value: dof, expected: "a positive finite number" }
}

fn student(dof: f64) -> Result<StudentsT, StatsError> {
    if !dof.is_finite() {
        return Err(dof_error(dof));
    }
    StudentsT::new(0.0, 1.0, dof).map_err(|_| dof_error(dof))
}

fn chi2(dof: f64) -> Result<ChiSquared, StatsError> {
    if !dof.is_finite() {
        return Err(dof_error(dof));
    }
    ChiSquared::new(dof).map_err(|_| dof_error(dof))
}

/// The quantile of a law symmetric about zero.
fn symmetric_quantile(law: &impl ContinuousCDF<f64, f64>, p: f64) -> f64 {
    let upper_half = |tail: f64| crossing(|x| law.sf(x) <= tail);
    if p < 0.5 { -upper_half(p) } else { upper_half(1.0 - p) }
}

/// The point in [0, inf) where a monotone condition becomes true, by doubling and bisection down to
/// neighbouring floating-point numbers.
fn crossing(reached: impl Fn(f64) -> bool) -> f64 {
    if reached(0.0) {
        return 0.0;
    }
    let (mut low, mut high) = (0.0, 1.0);
    while !reached(high) {
        (low, high) = (high, 2.0 * high);
        if high.is_infinite() {
            return high;
        }
    }
    loop {
        let middle = low + 0.5 * (high - low);
        if middle <= low || high <= middle {
            return high;
        }
        if reached(middle) {
            high = middle;
        } else {
            low = middle;
        }
    }
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    /// Tables: NIST Engineering Statistics Handbook 1.3.6.7 gives three decimals; the longer
    /// values are R's `qnorm`, `qt`, `qchisq` (ten digits), hence 1e-9.
    #[test]
    fn quantiles_match_tables() {
        let cases = [
            (normal_quantile(0.975), 1.959_963_985),
            (normal_quantile(0.95), 1.644_853_627),
            (t_quantile(0.975, 1.0), 12.706_204_74),
            (t_quantile(0.975, 4.0), 2.776_445_105),
            (t_quantile(0.975, 10.0), 2.228_138_852),
            (t_quantile(0.95, 30.0), 1.697_260_887),
            (chi2_quantile(0.95, 1.0), 3.841_458_821),
            (chi2_quantile(0.95, 10.0), 18.307_038_05),
        ];
        for (found, expected) in cases {
            assert_relative_eq!(found.unwrap(), expected, max_relative = 1e-9);
        }
    }

    /// Student with one degree of freedom is Cauchy: `cdf(x) = 1/2 + atan(x)/pi`;
    /// chi-square with two is exponential: `P(X > x) = exp(-x/2)`.
    #[test]
    fn laws_match_closed_forms() {
        for x in [-3.0, -0.5, 0.0, 1.0, 20.0_f64] {
            let cauchy = 0.5 + x.atan() / std::f64::consts::PI;
            assert_relative_eq!(t_cdf(x, 1.0).unwrap(), cauchy, max_relative = 1e-12);
        }
        for x in [0.1, 1.0, 30.0, 200.0_f64] {
            let tail = chi2_upper_tail(x, 2.0).unwrap();
            assert_relative_eq!(tail, (-x / 2.0).exp(), max_relative = 1e-10);
        }
    }

    #[test]
    fn quantile_inverts_cdf() {
        for p in [1e-6, 0.01, 0.3, 0.5, 0.9, 0.9999] {
            assert_relative_eq!(normal_cdf(normal_quantile(p).unwrap()), p, max_relative = 1e-12);
            for dof in [1.0, 2.5, 7.0, 100.0] {
                let t = t_cdf(t_quantile(p, dof).unwrap(), dof).unwrap();
                assert_relative_eq!(t, p, max_relative = 1e-11);
                let c = chi2_cdf(chi2_quantile(p, dof).unwrap(), dof).unwrap();
                assert_relative_eq!(c, p, max_relative = 1e-11);
            }
        }
    }

    #[test]
    fn bad_arguments_are_errors() {
        assert!(normal_quantile(0.0).is_err());
        assert!(normal_quantile(f64::NAN).is_err());
        assert!(t_quantile(0.5, 0.0).is_err());
        assert!(t_quantile(0.5, f64::INFINITY).is_err());
        assert!(chi2_quantile(1.0, 3.0).is_err());
    }
}
