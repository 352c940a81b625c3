//! The minimum of a smooth function of a few variables, by BFGS.
//!
//! Made for marginal likelihoods: an evaluation costs the cube of the number of points, the variables are the logarithms
//! of a handful of hyper-parameters, and there are places where the function does not exist, since a kernel matrix is
//! singular there. The line search steps back from those as from places where the function is too large.

/// How long to search.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// The most iterations.
    pub iterations: usize,
    /// The largest entry of the gradient that counts as 0, relative to `1 + |f|`.
    pub tolerance: f64,
    /// The longest step in any variable.
    pub longest: f64,
}

impl Default for Search {
    fn default() -> Self {
        Self { iterations: 100, tolerance: 1e-6, longest: 1.0 }
    }
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Minimum {
    /// The best point.
    pub at: Vec<f64>,
    /// The function there.
    pub value: f64,
    /// Its gradient there.
    pub gradient: Vec<f64>,
    /// Steps taken.
    pub iterations: usize,
    /// Evaluations of the function.
    pub evaluations: usize,
    /// Whether the gradient is as small as was asked for.
    pub converged: bool,
}

/// Minimises `objective`, which returns its value and gradient, or `None` where it does not exist; `None` if that is so
/// at `start`. `seen` is called with every point that is accepted, the number of its iteration and its value.
///
/// # Errors
/// Those of `objective`.
pub fn minimise<E>(
    start: &[f64],
    search: &Search,
    mut objective: impl FnMut(&[f64]) -> Result<Option<(f64, Vec<f64>)>, E>,
    mut seen: impl FnMut(usize, &[f64], f64),
) -> Result<Option<Minimum>, E> {
    let n = start.len();
    let Some((value, gradient)) = objective(start)?.filter(is_finite) else { return Ok(None) };
    let mut best = Minimum { at: start.to_vec(), value, gradient, iterations: 0, evaluations: 1, converged: false };
    seen(0, &best.at, best.value);
    // The inverse of the Hessian, as far as it is known; `None` before the first step.
    let mut inverse: Option<Vec<Vec<f64>>> = None;
    loop {
        let largest = best.gradient.iter().fold(0.0_f64, |acc, g| acc.max(g.abs()));
        best.converged = largest <= search.tolerance * (1.0 + best.value.abs());
        if best.converged || search.iterations <= best.iterations {
            return Ok(Some(best));
        }
        let mut direction: Vec<f64> = match &inverse {
            Some(inverse) => inverse.iter().map(|row| -dot(row, &best.gradient)).collect(),
            None => best.gradient.iter().map(|g| -g / largest).collect(),
        };
        let longest = direction.iter().fold(0.0_f64, |acc, d| acc.max(d.abs()));
        if search.longest < longest {
            direction.iter_mut().for_each(|d| *d *= search.longest / longest);
        }
        let slope = dot(&direction, &best.gradient);
        if 0.0 <= slope {
            // Rounding has spoilt the matrix: start again with the gradient.
            if inverse.take().is_none() {
                return Ok(Some(best));
            }
            continue;
        }
        let mut step = 1.0;
        let found = loop {
            let at: Vec<f64> = best.at.iter().zip(&direction).map(|(x, d)| x + step * d).collect();
            let there = objective(&at)?.filter(is_finite);
            best.evaluations += 1;
            match there {
                // Armijo's condition.
                Some((value, gradient)) if value <= best.value + 1e-4 * step * slope => {
                    break Some((at, value, gradient));
                }
                // The minimum of the parabola through what is known of the line, within reason.
                Some((value, _)) => {
                    let parabola = -0.5 * slope * step * step / (value - best.value - slope * step);
                    step = parabola.clamp(0.1 * step, 0.5 * step);
                }
                None => step *= 0.25,
            }
            if step < 1e-12 {
                break None;
            }
        };
        let Some((at, value, gradient)) = found else {
            if inverse.take().is_none() {
                return Ok(Some(best));
            }
            continue;
        };
        let s: Vec<f64> = at.iter().zip(&best.at).map(|(a, b)| a - b).collect();
        let y: Vec<f64> = gradient.iter().zip(&best.gradient).map(|(a, b)| a - b).collect();
        let (curvature, yy) = (dot(&s, &y), dot(&y, &y));
        // Without positive curvature along the step there is nothing to learn from it.
        if 1e-10 * (dot(&s, &s) * yy).sqrt() < curvature {
            let known = inverse.take().unwrap_or_else(|| {
                (0..n).map(|i| (0..n).map(|j| if i == j { curvature / yy } else { 0.0 }).collect()).collect()
            });
            inverse = Some(updated(&known, &s, &y, curvature));
        }
        best = Minimum { at, value, gradient, iterations: best.iterations + 1, ..best };
        seen(best.iterations, &best.at, best.value);
    }
}

/// `(I - s y' / c) H (I - y s' / c) + s s' / c`
fn updated(inverse: &[Vec<f64>], s: &[f64], y: &[f64], c: f64) -> Vec<Vec<f64>> {
    let hy: Vec<f64> = inverse.iter().map(|row| dot(row, y)).collect();
    let scale = (1.0 + dot(y, &hy) / c) / c;
    let entry = |i: usize, j: usize| inverse[i][j] + scale * s[i] * s[j] - (hy[i] * s[j] + s[i] * hy[j]) / c;
    (0..s.len()).map(|i| (0..s.len()).map(|j| entry(i, j)).collect()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

fn is_finite((value, gradient): &(f64, Vec<f64>)) -> bool {
    value.is_finite() && gradient.iter().all(|g| g.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Never = std::convert::Infallible;

    /// Rosenbrock's valley, whose minimum is at (1, 1).
    #[test]
    fn a_curved_valley() {
        let f = |x: &[f64]| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            Ok::<_, Never>(Some((a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])))
        };
        let mut values = Vec::new();
        let found = minimise(&[-1.2, 1.0], &Search::default(), f, |_, _, value| values.push(value)).unwrap().unwrap();
        assert!(found.converged && found.at.iter().all(|x| (x - 1.0).abs() < 1e-5), "{found:?}");
        assert!(values.windows(2).all(|w| w[1] < w[0]) && values.len() == found.iterations + 1);
    }

    /// `x - log x`, which does not exist for `x <= 0`, from far away.
    #[test]
    fn where_the_function_does_not_exist() {
        let f = |x: &[f64]| Ok::<_, Never>((0.0 < x[0]).then(|| (x[0] - x[0].ln(), vec![1.0 - 1.0 / x[0]])));
        let search = Search { longest: 100.0, ..Search::default() };
        let found = minimise(&[20.0], &search, f, |_, _, _| {}).unwrap().unwrap();
        assert!(found.converged && (found.at[0] - 1.0).abs() < 1e-5, "{found:?}");
        assert_eq!(minimise(&[-1.0], &search, f, |_, _, _| {}).unwrap(), None);
    }

    #[test]
    fn errors_and_limits_are_passed_on() {
        let f = |_: &[f64]| Err::<Option<(f64, Vec<f64>)>, _>("no");
        assert_eq!(minimise(&[0.0], &Search::default(), f, |_, _, _| {}).unwrap_err(), "no");
        let g = |x: &[f64]| Ok::<_, Never>(Some((x[0].powi(4), vec![4.0 * x[0].powi(3)])));
        let search = Search { iterations: 2, tolerance: 0.0, ..Search::default() };
        let found = minimise(&[3.0], &search, g, |_, _, _| {}).unwrap().unwrap();
        assert!(!found.converged && found.iterations == 2);
    }
}
