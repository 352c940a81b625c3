//! Stiff systems whose fast part is known: the linearly implicit Euler method with extrapolation.
//!
//! A step of length `H` is divided into `1, 2, 3, ..` parts of length `h`, each taken by
//! `y -> y + (1 - h J)^(-1) h F(y)`, and the results are extrapolated to `h = 0` (Hairer and Wanner, "Solving ordinary
//! differential equations II", section IV.9: the idea of SEULEX). Order and length of the step follow the error. `J`
//! need not be the Jacobian: its error costs steps and no accuracy, as long as what it leaves out is not stiff. So a
//! system of many unknowns of which few are fast has small matrices only.

use netsor_num::ode::{OdeError, OdeOptions, OdeSolution, OdeStatistics};

/// The most columns of the extrapolation, which is the highest order: beyond it rounding is amplified too much.
const MAX_COLUMNS: usize = 12;
/// Room for the prediction of the next step.
const SAFETY: f64 = 0.9;
/// How much shorter the next step may be, as a factor.
const SHORTEST: f64 = 0.1;
/// The same, upwards.
const LONGEST: f64 = 8.0;

/// An autonomous system `y' = F(y)` with an approximate Jacobian.
pub(crate) trait Stiff {
    /// Writes `F(y)`.
    fn slope(&mut self, y: &[f64], slope: &mut [f64]);

    /// Takes `J`, an approximation of the derivative of `F`, at `y`: called at the start of every step.
    fn linearise(&mut self, y: &[f64]);

    /// Replaces `y` by `(1 - h J)^(-1) y`. Where there is no inverse, `y` may be filled with NaN: the step is shortened.
    fn solve(&mut self, h: f64, y: &mut [f64]);
}

/// Integrates `y' = F(y)` from `y(0) = start` and returns the states at `times`, which ascend from 0 or later. Each time
/// is the end of a step. Of the options the tolerances and the limit of steps count. Arguments are as
/// [`netsor_num::ode::solve`] has checked them.
///
/// # Errors
/// More steps than allowed, or a step below rounding.
pub(crate) fn solve_stiff(
    system: &mut impl Stiff,
    start: &[f64],
    times: &[f64],
    options: &OdeOptions,
) -> Result<OdeSolution, OdeError> {
    let statistics = OdeStatistics::default();
    // A low order would be the best choice for every single step and a bad one for all of them: stiffness takes an order
    // from each column, so that the next one never seems worth its work.
    let least = ((0.5 - 0.6 * options.relative.log10()) as usize).clamp(3, 8);
    let mut stepper =
        Stepper { system, options, state: start.to_vec(), length: 0.0, columns: least + 1, least, statistics };
    let mut states = Vec::new();
    let mut now = 0.0;
    for &t in times {
        stepper.advance(now, t)?;
        now = t;
        states.push(stepper.state.clone());
    }
    Ok(OdeSolution { times: times.to_vec(), states, statistics: stepper.statistics })
}

struct Stepper<'a, S> {
    system: &'a mut S,
    options: &'a OdeOptions,
    state: Vec<f64>,
    /// The length of the next step, if it is not cut by a time that is asked for; 0 at the start.
    length: f64,
    /// The number of columns that was best last.
    columns: usize,
    /// The number of columns that is never gone below, but by one.
    least: usize,
    statistics: OdeStatistics,
}

/// What a trial step gave.
struct Trial {
    /// The state after it, if its error is allowed.
    accepted: Option<Vec<f64>>,
    /// The best length of the next step and its number of columns.
    next: (f64, usize),
}

/// A column of the extrapolation whose error is known.
struct Column {
    number: usize,
    /// Evaluations of the slope up to this column.
    work: f64,
    /// By how much the next step may be longer.
    factor: f64,
}

impl<S: Stiff> Stepper<'_, S> {
    /// From the time `from` to the time `to`.
    fn advance(&mut self, from: f64, to: f64) -> Result<(), OdeError> {
        let (mut t, mut steps) = (from, 0);
        while t < to {
            if steps == self.options.max_steps {
                return Err(OdeError::Steps { t, limit: steps });
            }
            steps += 1;
            let rest = to - t;
            // The last step may be a little longer, so that no tiny one is left.
            let h = if 0.0 < self.length && self.length < 0.999 * rest { self.length } else { rest };
            if h < rest && t + 1e-3 * h <= t {
                return Err(OdeError::StepSize { t });
            }
            let trial = self.trial(h);
            let cut = trial.accepted.is_some() && h < self.length;
            match trial.accepted {
                Some(state) => {
                    self.state = state;
                    self.statistics.accepted += 1;
                    t = if h == rest { to } else { t + h };
                }
                None => self.statistics.rejected += 1,
            }
            // A step that was cut says little about the length of the next.
            self.length = if cut { self.length.max(trial.next.0) } else { trial.next.0 };
            self.columns = trial.next.1;
        }
        Ok(())
    }

    /// One step of length `length`. Columns are added until the error is allowed, from one less than were best last up
    /// to one more.
    fn trial(&mut self, length: f64) -> Trial {
        let failed = Trial { accepted: None, next: (length * SHORTEST, self.columns) };
        self.system.linearise(&self.state);
        let mut row: Vec<Vec<f64>> = Vec::new();
        // The slope at the start, then the parts of every column.
        let mut work = 1.0;
        let mut found = Vec::new();
        let (first, last) = ((self.columns - 1).max(2), (self.columns + 1).min(MAX_COLUMNS));
        for j in 1..=last {
            let Some(next) = self.euler(length, j) else { return failed };
            row = next_row(&row, next);
            work += j as f64;
            let [.., lower, state] = &row[..] else { continue };
            let error = self.error(state, lower);
            if !error.is_finite() {
                return failed;
            }
            if j < first {
                continue;
            }
            // The error of column j is of order length^j.
            let factor = (SAFETY * (0.5 / error.max(1e-300)).powf(1.0 / j as f64)).clamp(SHORTEST, LONGEST);
            found.push(Column { number: j, work, factor });
            if error <= 1.0 {
                return Trial { accepted: row.pop(), next: self.best(length, &found) };
            }
        }
        let (h, columns) = self.best(length, &found);
        Trial { accepted: None, next: (h.min(0.7 * length), columns) }
    }

    /// The length and the number of columns of the next step: those of least work over length, and one column more if the
    /// last one was well worth its work.
    fn best(&self, length: f64, found: &[Column]) -> (f64, usize) {
        let cost = |k: usize| found[k].work / found[k].factor;
        let Some(k) = (0..found.len()).min_by(|&a, &b| cost(a).total_cmp(&cost(b))) else {
            return (length * SHORTEST, self.columns);
        };
        let Column { number, work, factor } = found[k];
        let rising = k + 1 == found.len() && number < MAX_COLUMNS && (k == 0 || cost(k) < 0.9 * cost(k - 1));
        let (factor, number) = if rising {
            // The next column is expected to keep the work a length.
            let more = (work + (number + 1) as f64) / work;
            ((factor * more).min(LONGEST), number + 1)
        } else {
            (factor, number)
        };
        (length * factor, number.max(self.least))
    }

    /// `parts` linearly implicit Euler steps of together `length`. `None` if a number is not finite.
    fn euler(&mut self, length: f64, parts: usize) -> Option<Vec<f64>> {
        let h = length / parts as f64;
        let (mut y, mut step) = (self.state.clone(), vec![0.0; self.state.len()]);
        for _ in 0..parts {
            self.system.slope(&y, &mut step);
            self.statistics.evaluations += 1;
            step.iter_mut().for_each(|x| *x *= h);
            self.system.solve(h, &mut step);
            for (y, step) in y.iter_mut().zip(&step) {
                *y += step;
                if !y.is_finite() {
                    return None;
                }
            }
        }
        Some(y)
    }

    /// The root mean square of a difference in units of what is allowed.
    fn error(&self, a: &[f64], b: &[f64]) -> f64 {
        let scaled = a.iter().zip(b).zip(&self.state).map(|((a, b), start)| {
            let allowed = self.options.absolute + self.options.relative * a.abs().max(start.abs());
            ((a - b) / allowed).powi(2)
        });
        (scaled.sum::<f64>() / a.len().max(1) as f64).sqrt()
    }
}

/// The next row of Neville's tableau for the value at `h = 0`, from the row above and the first entry. The parts of row
/// `j` are `j` in number.
fn next_row(above: &[Vec<f64>], first: Vec<f64>) -> Vec<Vec<f64>> {
    let j = (above.len() + 1) as f64;
    let mut row = vec![first];
    for (k, above) in above.iter().enumerate() {
        let factor = 1.0 / (j / (j - k as f64 - 1.0) - 1.0);
        let next = row[k].iter().zip(above).map(|(now, then)| now + factor * (now - then)).collect();
        row.push(next);
    }
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `y' = -a (y - cos x), x' = 1, z' = -y z`: the slow solution is a smooth curve (Prothero and Robinson), the rate is
    /// `a`. `J` leaves out what is not stiff: the row of `z`.
    struct Relaxation {
        rate: f64,
        /// Where `J` is taken.
        x: f64,
    }

    impl Stiff for Relaxation {
        fn slope(&mut self, y: &[f64], slope: &mut [f64]) {
            slope[0] = -self.rate * (y[0] - y[1].cos());
            slope[1] = 1.0;
            slope[2] = -y[0] * y[2];
        }

        fn linearise(&mut self, y: &[f64]) {
            self.x = y[1];
        }

        fn solve(&mut self, h: f64, y: &mut [f64]) {
            y[0] = (y[0] - h * self.rate * self.x.sin() * y[1]) / (1.0 + h * self.rate);
        }
    }

    /// The exact solution from `y(0) = start`.
    fn exact(a: f64, start: f64, t: f64) -> f64 {
        let slow = |t: f64| (a * a * t.cos() + a * t.sin()) / (1.0 + a * a);
        slow(t) + (start - slow(0.0)) * (-a * t).exp()
    }

    /// The integral of the exact solution, so that `z = exp(-integral)`.
    fn integral(a: f64, start: f64, t: f64) -> f64 {
        let slow = |t: f64| (a * a * t.sin() - a * t.cos()) / (1.0 + a * a);
        slow(t) - slow(0.0) + (start - a * a / (1.0 + a * a)) * (1.0 - (-a * t).exp()) / a
    }

    #[test]
    fn slow_and_fast_solutions_are_right() {
        for (rate, tolerance) in [(1.0, 1e-11), (1e3, 1e-9), (1e7, 1e-7)] {
            let options = OdeOptions::with_tolerance(tolerance);
            let times = [0.0, 1e-8, 0.5, 0.5, 3.0];
            let mut system = Relaxation { rate, x: 0.0 };
            let solution = solve_stiff(&mut system, &[2.0, 0.0, 1.0], &times, &options).unwrap();
            for (&t, state) in times.iter().zip(&solution.states) {
                // At most some hundred steps, whose errors are damped.
                let errors = [state[0] - exact(rate, 2.0, t), state[2] - (-integral(rate, 2.0, t)).exp()];
                assert!(errors.iter().all(|e| e.abs() < 300.0 * tolerance), "rate {rate}, t = {t}: {errors:?}");
            }
            assert!(solution.statistics.accepted < 300, "rate {rate}: {:?}", solution.statistics);
        }
    }

    #[test]
    fn errors_follow_the_tolerance() {
        let error = |tolerance| {
            let mut system = Relaxation { rate: 1.0, x: 0.0 };
            let options = OdeOptions::with_tolerance(tolerance);
            let solution = solve_stiff(&mut system, &[2.0, 0.0, 1.0], &[10.0], &options).unwrap();
            (solution.states[0][0] - exact(1.0, 2.0, 10.0)).abs()
        };
        assert!(error(1e-10) < 1e-3 * error(1e-4));
    }

    /// `y' = y^2` from 1 is infinite at `t = 1`.
    struct Explosion;

    impl Stiff for Explosion {
        fn slope(&mut self, y: &[f64], slope: &mut [f64]) {
            slope[0] = y[0] * y[0];
        }

        fn linearise(&mut self, _: &[f64]) {}

        fn solve(&mut self, _: f64, _: &mut [f64]) {}
    }

    #[test]
    fn what_cannot_be_solved_is_said() {
        let error = solve_stiff(&mut Explosion, &[1.0], &[2.0], &OdeOptions::default()).unwrap_err();
        assert!(matches!(error, OdeError::StepSize { t } if (t - 1.0).abs() < 1e-3), "{error:?}");
        let few = OdeOptions { max_steps: 2, ..OdeOptions::default() };
        let error = solve_stiff(&mut Explosion, &[1.0], &[0.9], &few).unwrap_err();
        assert!(matches!(error, OdeError::Steps { limit: 2, .. }), "{error:?}");
    }
}
