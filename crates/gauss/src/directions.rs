//! Directions in which a line crosses all kinks of a function at a large angle.

use netsor_num::normal;
use netsor_num::sobol::Sobol;

use crate::Integrand;
use crate::covariance::Factor;

/// Points at which the normals of surfaces are taken.
const POINTS: usize = 48;

/// The step of their differences.
const STEP: f64 = 1e-4;

/// Kinks farther away than this are not met by the Gaussian law.
const FAR: f64 = 6.0;

/// Random directions that are tried, and random changes of the best.
const TRIES: usize = 256;

/// Normals of one kink at some points of it, with weights that sum to one.
struct Kink {
    normals: Vec<(f64, Vec<f64>)>,
}

impl Kink {
    /// The mean sine of the angle between a direction and the kink.
    fn angle(&self, direction: &[f64]) -> f64 {
        self.normals.iter().map(|(weight, normal)| weight * dot(normal, direction).abs()).sum()
    }
}

/// Orthonormal axes, the last of which crosses the kinks of `f` at the largest angles found.
pub(crate) fn axes_through(f: &dyn Integrand, factor: &Factor) -> Vec<Vec<f64>> {
    let rank = factor.rank;
    let kinks = kinks(f, factor);
    let score = |direction: &[f64]| kinks.iter().map(|k| k.angle(direction)).fold(f64::INFINITY, f64::min);
    let unit = |i: usize| (0..rank).map(|j| if i == j { 1.0 } else { 0.0 }).collect::<Vec<f64>>();
    let normals = kinks.iter().filter_map(|kink| kink.normals.first()).map(|(_, normal)| normal.clone());
    let candidates = std::iter::once(rank - 1).chain(0..rank).map(unit).chain(normals);
    let (best, _) = best_direction(rank, candidates, score);
    completed(best)
}

/// The unit vector with the largest score among the candidates, random directions, and random changes of the best; and
/// its score. Of about equal ones the first is taken.
pub(crate) fn best_direction(
    rank: usize,
    candidates: impl IntoIterator<Item = Vec<f64>>,
    score: impl Fn(&[f64]) -> f64,
) -> (Vec<f64>, f64) {
    let mut most = f64::NEG_INFINITY;
    let mut best = vec![0.0; rank];
    let mut consider = |direction: Vec<f64>, best: &mut Vec<f64>| {
        let value = score(&direction);
        if most + 1e-9 < value || most == f64::NEG_INFINITY {
            (most, *best) = (value, direction);
        }
    };
    candidates.into_iter().for_each(|direction| consider(direction, &mut best));
    let sobol = Sobol::new(rank, 0, 0);
    let mut point = vec![0.0; rank];
    for i in 0..2 * TRIES {
        sobol.point(i as u64, &mut point);
        let gaussian = point.iter().map(|u| normal::quantile(*u));
        // At first anywhere, then closer and closer to the best.
        let direction = if i < TRIES {
            gaussian.collect()
        } else {
            let scale = 0.5 * libm::exp(-4.0 * (i - TRIES) as f64 / TRIES as f64);
            best.iter().zip(gaussian).map(|(a, x)| a + scale * x).collect()
        };
        if let Some(direction) = normalised(direction) {
            consider(direction, &mut best);
        }
    }
    (best, most)
}

/// The kinks that a function declares, in whitened coordinates, and where it may vary quickly.
fn kinks(f: &dyn Integrand, factor: &Factor) -> Vec<Kink> {
    let rank = factor.rank;
    let mut kinks = Vec::new();
    for k in 0..f.slots() {
        let row: Vec<f64> = (0..rank).map(|j| factor.entry(k, j)).collect();
        let length = libm::sqrt(dot(&row, &row));
        if f.kinks(k).iter().any(|t| t.abs() < FAR * length)
            && let Some(normal) = normalised(row)
        {
            kinks.push(Kink { normals: vec![(1.0, normal)] });
        }
    }
    if f.surfaces() + f.arguments() == 0 {
        return kinks;
    }
    // Normals of surfaces, by differences at points of the Gaussian law; those near to the surface count.
    let sobol = Sobol::new(rank, 0, 1);
    let mut point = vec![0.0; rank];
    let mut columns = vec![Vec::new(); rank];
    for i in 0..POINTS {
        sobol.point(i as u64, &mut point);
        point.iter_mut().for_each(|u| *u = normal::quantile(*u));
        for shifted in 0..=2 * rank {
            for (j, column) in columns.iter_mut().enumerate() {
                let here = shifted > 0 && (shifted - 1) / 2 == j;
                let step = if !here {
                    0.0
                } else if shifted % 2 == 1 {
                    STEP
                } else {
                    -STEP
                };
                column.push(point[j] + step);
            }
        }
    }
    let slots: Vec<Vec<f64>> = (0..f.slots())
        .map(|k| {
            let mut slot = vec![0.0; columns[0].len()];
            for (j, column) in columns.iter().enumerate() {
                let l = factor.entry(k, j);
                slot.iter_mut().zip(column).for_each(|(s, x)| *s += l * x);
            }
            slot
        })
        .collect();
    let slots: Vec<&[f64]> = slots.iter().map(Vec::as_slice).collect();
    let mut values = vec![0.0; columns[0].len()];
    for surface in 0..f.surfaces() + f.arguments() {
        match surface.checked_sub(f.surfaces()) {
            None => f.surface(surface, &slots, &mut values),
            Some(argument) => f.argument(argument, &slots, &mut values),
        }
        let mut normals = Vec::new();
        for around in values.chunks_exact(2 * rank + 1) {
            let gradient: Vec<f64> =
                (0..rank).map(|j| (around[2 * j + 1] - around[2 * j + 2]) / (2.0 * STEP)).collect();
            let length = libm::sqrt(dot(&gradient, &gradient));
            let distance = around[0] / length;
            if distance.abs() < FAR
                && let Some(normal) = normalised(gradient)
            {
                normals.push((libm::exp(-0.5 * distance * distance), normal));
            }
        }
        let total: f64 = normals.iter().map(|n| n.0).sum();
        if 0.0 < total {
            normals.iter_mut().for_each(|n| n.0 /= total);
            kinks.push(Kink { normals });
        }
    }
    kinks
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn normalised(mut x: Vec<f64>) -> Option<Vec<f64>> {
    let length = libm::sqrt(dot(&x, &x));
    let usable = 0.0 < length && length.is_finite();
    x.iter_mut().for_each(|x| *x /= length);
    usable.then_some(x)
}

/// Orthonormal axes with this one last: Gram and Schmidt on unit vectors, the nearest to it left out.
pub(crate) fn completed(last: Vec<f64>) -> Vec<Vec<f64>> {
    let dims = last.len();
    let skip = (0..dims).max_by(|a, b| last[*a].abs().total_cmp(&last[*b].abs())).unwrap_or(0);
    let others = units(dims).enumerate().filter(|(i, _)| *i != skip).map(|(_, unit)| unit);
    let mut axes = orthonormal(std::iter::once(last).chain(others));
    axes.rotate_left(1);
    axes
}

/// Orthonormal axes that begin with the span of some vectors, in their order.
pub(crate) fn beginning_with(vectors: impl Iterator<Item = Vec<f64>>, dims: usize) -> Vec<Vec<f64>> {
    orthonormal(vectors.chain(units(dims)))
}

fn units(dims: usize) -> impl Iterator<Item = Vec<f64>> {
    (0..dims).map(move |i| (0..dims).map(|j| if i == j { 1.0 } else { 0.0 }).collect())
}

/// Gram and Schmidt; vectors that depend on those before them are left out.
fn orthonormal(vectors: impl Iterator<Item = Vec<f64>>) -> Vec<Vec<f64>> {
    let mut axes: Vec<Vec<f64>> = Vec::new();
    for mut vector in vectors {
        let size = libm::sqrt(dot(&vector, &vector));
        // The second time removes what rounding left the first time.
        for axis in axes.iter().chain(&axes) {
            let along = dot(&vector, axis);
            vector.iter_mut().zip(axis).for_each(|(a, b)| *a -= along * b);
        }
        if 1e-9 * size < libm::sqrt(dot(&vector, &vector)) {
            axes.extend(normalised(vector));
        }
    }
    axes
}
