//! Families of tests.

/// Holm's step-down correction: with `p_(1) <= p_(2) <= ..` of m tests,
/// `adjusted_(k) = max_{j <= k} min(1, (m - j + 1) p_(j))`, in the order of the arguments.
///
/// Rejecting where `adjusted <= a` keeps the chance of any false rejection below a, whatever the
/// dependence between the tests (Holm 1979). A NaN counts as 1: a test that said nothing.
#[must_use]
pub fn holm(p_values: &[f64]) -> Vec<f64> {
    let clean: Vec<f64> = p_values.iter().map(|p| if p.is_nan() { 1.0 } else { p.clamp(0.0, 1.0) }).collect();
    let mut order: Vec<usize> = (0..clean.len()).collect();
    order.sort_by(|&i, &j| clean[i].total_cmp(&clean[j]));
    let mut adjusted = vec![1.0; clean.len()];
    let mut running = 0.0_f64;
    for (rank, &i) in order.iter().enumerate() {
        running = running.max(((clean.len() - rank) as f64 * clean[i]).min(1.0));
        adjusted[i] = running;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use approx::assert_relative_eq;

    use super::*;

    /// By hand for 0.01, 0.04, 0.03, 0.005 (m = 4): sorted 0.005, 0.01, 0.03, 0.04 times
    /// 4, 3, 2, 1 gives 0.02, 0.03, 0.06, 0.04; the running maximum 0.02, 0.03, 0.06, 0.06.
    #[test]
    fn holm_worked_by_hand() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        for (found, expected) in adjusted.iter().zip([0.03, 0.06, 0.06, 0.02]) {
            assert_relative_eq!(*found, expected, max_relative = 1e-15);
        }
    }

    #[test]
    fn edges() {
        assert!(holm(&[]).is_empty());
        assert_eq!(holm(&[0.04]), [0.04]);
        assert_eq!(holm(&[0.6, 0.9]), [1.0, 1.0]);
        assert_eq!(holm(&[f64::NAN, 0.01]), [1.0, 0.02]);
    }
}
