//! Which pair of slots is integrated inside, and the law of the others.

use crate::Covariance;
use crate::covariance::Factor as Root;
use crate::product::{Part, hides_kinks};
use crate::roots::{PLACES, affine_root};

/// Correlations of the pair above this need too many terms of Mehler's series.
const CORRELATION: f64 = 0.93;

/// The part of its variance that a slot with kinks must keep: below, the kink is hardly smoothed.
const KEPT: f64 = 0.05;

/// Which slots are integrated inside, and the law of the others.
pub(super) struct Plan {
    pub(super) slots: usize,
    pub(super) pair: [usize; 2],
    /// Standard deviations of the pair, given the others.
    pub(super) deviation: [f64; 2],
    /// Their correlation, given the others.
    pub(super) correlation: f64,
    /// All slots in terms of the outer variables: values of the outer slots, conditional means of the pair.
    pub(super) outer: Root,
    /// The factors with the first of the pair, the second, neither.
    pub(super) groups: [Vec<usize>; 3],
}

impl Plan {
    /// The pair with the smallest correlation among those that no factor joins.
    pub(super) fn new(parts: &[Part<'_>], c: &Covariance) -> Option<Self> {
        let d = c.slots();
        if d < 2 || c.factor().rank < d {
            return None;
        }
        let kinked = |slot: usize| {
            let has = |p: &Part<'_>, k: usize| !p.function.kinks(k).is_empty() || 0 < p.function.surfaces();
            parts.iter().any(|p| p.slots.iter().position(|&s| s == slot).is_some_and(|k| has(p, k)))
        };
        // A kink that is not declared could be anywhere.
        if parts.iter().any(hides_kinks) {
            return None;
        }
        let straight = |slot: usize| {
            parts.iter().all(|p| p.slots.iter().position(|&s| s == slot).is_none_or(|k| straight_in(p, k, c)))
        };
        let mut best: Option<(f64, Self)> = None;
        for j in 0..d {
            for i in 0..j {
                if parts.iter().any(|p| p.slots.contains(&i) && p.slots.contains(&j)) {
                    continue;
                }
                let Some(plan) = Self::for_pair(parts, c, [i, j]) else { continue };
                let enough = |k: usize, slot: usize| {
                    !kinked(slot) || KEPT * c.entry(slot, slot) <= plan.deviation[k] * plan.deviation[k]
                };
                if CORRELATION < plan.correlation.abs() || !enough(0, i) || !enough(1, j) {
                    continue;
                }
                // The place of other kinks inside would not be a smooth function of the outer variables.
                if !(straight(i) && straight(j)) {
                    continue;
                }
                // Kinks are better inside, where they are known exactly.
                let score = plan.correlation.abs() - 2.0 * f64::from(u8::from(kinked(i)) + u8::from(kinked(j)));
                if best.as_ref().is_none_or(|(least, _)| score < *least) {
                    best = Some((score, plan));
                }
            }
        }
        best.map(|(_, plan)| plan)
    }

    fn for_pair(parts: &[Part<'_>], c: &Covariance, pair: [usize; 2]) -> Option<Self> {
        let d = c.slots();
        let order: Vec<usize> = (0..d).filter(|k| !pair.contains(k)).chain(pair).collect();
        let entries =
            order.iter().flat_map(|&a| order.iter().map(move |&b| (a, b))).map(|(a, b)| c.entry(a, b)).collect();
        let l = cholesky(d, entries)?;
        let at = |k: usize, j: usize| l[k * d + j];
        let rank = d - 2;
        let mut rows = vec![0.0; d * rank];
        for (k, &slot) in order.iter().enumerate() {
            for j in 0..rank.min(k + 1) {
                rows[slot * rank + j] = at(k, j);
            }
        }
        let (first, cross, second) = (at(d - 2, d - 2), at(d - 1, d - 2), at(d - 1, d - 1));
        let length = libm::hypot(cross, second);
        let group = |p: &Part<'_>| {
            if p.slots.contains(&pair[0]) {
                0
            } else if p.slots.contains(&pair[1]) {
                1
            } else {
                2
            }
        };
        let groups = [0, 1, 2].map(|g| (0..parts.len()).filter(|&k| group(&parts[k]) == g).collect());
        let relative = (0..rank)
            .map(|j| order.iter().map(|&s| (rows[s * rank + j] / libm::sqrt(c.entry(s, s))).abs()).fold(0.0, f64::max))
            .collect();
        Some(Self {
            slots: d,
            pair,
            deviation: [first, length],
            correlation: cross / length,
            outer: Root::new(rank, rows, relative),
            groups,
        })
    }
}

/// Whether all surfaces of a part are affine in one of its slots, at a few values of the others.
fn straight_in(part: &Part<'_>, slot: usize, c: &Covariance) -> bool {
    let deviation = |k: usize| libm::sqrt(c.entry(part.slots[k], part.slots[k]));
    (0..part.function.surfaces()).all(|surface| {
        [-0.8, 0.3, 1.1].into_iter().all(|others| {
            let column = |k: usize| {
                let fixed = [others * (1.0 + 0.37 * k as f64); PLACES.len()];
                let places = if k == slot { PLACES } else { fixed };
                places.map(|x| x * deviation(k))
            };
            let columns: Vec<[f64; PLACES.len()]> = (0..part.slots.len()).map(column).collect();
            let columns: Vec<&[f64]> = columns.iter().map(|column| &column[..]).collect();
            let mut values = [0.0; PLACES.len()];
            part.function.surface(surface, &columns, &mut values);
            affine_root(&values).is_some()
        })
    })
}

/// The lower triangular factor of a positive definite matrix; `None` if it is not.
fn cholesky(d: usize, mut a: Vec<f64>) -> Option<Vec<f64>> {
    for j in 0..d {
        for i in j..d {
            let mut sum = a[i * d + j];
            for k in 0..j {
                sum -= a[i * d + k] * a[j * d + k];
            }
            if i == j {
                if sum <= 64.0 * f64::EPSILON * a[j * d + j] {
                    return None;
                }
                a[j * d + j] = libm::sqrt(sum);
            } else {
                a[i * d + j] = sum / a[j * d + j];
            }
        }
        for i in 0..j {
            a[i * d + j] = 0.0;
        }
    }
    Some(a)
}
