//! Ordinary differential equations under error control: `ode_solvers` wrapped once.
//!
//! What the wrapper is for: the default dense output of `ode_solvers` 0.6 returns a wrong last point; its Dop853 has
//! the node `c_12 = 0` where 1 belongs, which makes it wrong for right-hand sides that depend on time; they cannot
//! fail; and a NaN shrinks the step without an end. Here states are asked for at given times, which are end points of
//! steps; time is a component of the state, so that no node is used; a right-hand side that is not finite at a trial
//! step is a step too long; and every way of giving up is a typed error with the time it happened at.
//!
//! ```
//! use netsor_num::ode::{OdeOptions, solve};
//!
//! // y' = -y from 1: exp(-t).
//! let rhs = |_t: f64, y: &[f64], dy: &mut [f64]| dy[0] = -y[0];
//! let solution = solve(rhs, &[1.0], &[0.0, 1.0, 5.0], &OdeOptions::default())?;
//! assert!((solution.states[2][0] - (-5.0f64).exp()).abs() < 1e-9);
//! # Ok::<(), netsor_num::ode::OdeError>(())
//! ```

use std::cell::{Cell, RefCell};

use ode_solvers::continuous_output_model::ContinuousOutputModel;
use ode_solvers::dop_shared::{IntegrationError, Stats};
use ode_solvers::{DVector, Dop853, Dopri5, OutputType, System};

/// The integration method, explicit Runge-Kutta of Dormand and Prince.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Method {
    /// Order 5(4).
    Dopri5,
    /// Order 8(5,3): the better one for smooth problems at small tolerances.
    #[default]
    Dop853,
}

/// How to integrate.
#[derive(Clone, Debug, PartialEq)]
pub struct OdeOptions {
    /// The method.
    pub method: Method,
    /// Error allowed a step relative to the state.
    pub relative: f64,
    /// Error allowed a step in absolute terms.
    pub absolute: f64,
    /// Give up after this many steps between two times that are asked for.
    pub max_steps: u32,
    /// After how many accepted steps the solver looks for stiffness, again and again.
    pub stiffness_after: u32,
}

impl Default for OdeOptions {
    fn default() -> Self {
        Self { method: Method::Dop853, relative: 1e-11, absolute: 1e-11, max_steps: 100_000, stiffness_after: 1_000 }
    }
}

impl OdeOptions {
    /// The default method with the same tolerance, relative and absolute.
    #[must_use]
    pub fn with_tolerance(tolerance: f64) -> Self {
        Self { relative: tolerance, absolute: tolerance, ..Self::default() }
    }
}

/// The work that was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OdeStatistics {
    /// Evaluations of the right-hand side.
    pub evaluations: usize,
    /// Steps taken.
    pub accepted: usize,
    /// Steps thrown away because their error was too large.
    pub rejected: usize,
}

/// States at the times that were asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct OdeSolution {
    /// The times, as they were given.
    pub times: Vec<f64>,
    /// One state a time.
    pub states: Vec<Vec<f64>>,
    /// The work.
    pub statistics: OdeStatistics,
}

/// Why an equation was not solved.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum OdeError {
    /// An option outside its domain.
    #[error("{what} is {found}, expected {expected}")]
    Option {
        /// Which option.
        what: &'static str,
        /// What was given.
        found: f64,
        /// The domain in words.
        expected: &'static str,
    },
    /// A time that is not finite, negative, or earlier than the one before.
    #[error("time number {index} is {found}; times must be finite, not negative and in ascending order")]
    Time {
        /// Its number.
        index: usize,
        /// The time.
        found: f64,
    },
    /// The state or its derivative is NaN or infinite.
    #[error("the solution left the finite numbers at time {t}")]
    NotFinite {
        /// When.
        t: f64,
    },
    /// Too many steps.
    #[error("more than {limit} steps at time {t}; allow more steps, a larger error or a shorter time")]
    Steps {
        /// Where it stood.
        t: f64,
        /// The limit.
        limit: u32,
    },
    /// The step became smaller than rounding.
    #[error(
        "the step became too small at time {t}: the solution has a singularity, or the tolerance is below rounding"
    )]
    StepSize {
        /// Where it stood.
        t: f64,
    },
    /// The problem is stiff.
    #[error(
        "the equation is stiff at time {t}: an explicit method takes steps as short as the fastest rate, however smooth \
         the solution; stop earlier, or use a closed form or an implicit method"
    )]
    Stiff {
        /// Where it stood.
        t: f64,
    },
}

type Vector = DVector<f64>;

/// A right-hand side that may have a memory, seen through a shared reference. The last component of the state is time.
struct Rhs<'a, F> {
    f: &'a RefCell<F>,
    failed_at: &'a Cell<Option<f64>>,
}

impl<F: FnMut(f64, &[f64], &mut [f64])> System<f64, Vector> for Rhs<'_, F> {
    fn system(&self, _: f64, y: &Vector, dy: &mut Vector) {
        let Some((&t, y)) = y.as_slice().split_last() else { return };
        // A step too long can leave the numbers for which the right-hand side is defined: the step is rejected.
        if y.iter().all(|x| x.is_finite()) {
            (self.f.borrow_mut())(t, y, &mut dy.as_mut_slice()[..y.len()]);
            dy[y.len()] = 1.0;
        } else {
            dy.fill(f64::NAN);
        }
        if dy.iter().any(|x| !x.is_finite()) {
            self.failed_at.set(Some(t));
            dy.fill(f64::NAN);
        }
    }
}

/// The state with the time as last component.
fn with_time(state: &[f64], t: f64) -> Vector {
    Vector::from_iterator(state.len() + 1, state.iter().copied().chain([t]))
}

fn without_time(state: &Vector) -> Vec<f64> {
    state.as_slice()[..state.len() - 1].to_vec()
}

/// Integrates `y' = rhs(t, y)` from `y(0) = start` and returns the states at `times`, which ascend from 0 or later.
///
/// Each time is the end of a step, so no interpolation enters. A right-hand side that cannot be evaluated may fill its
/// result with NaN: the step is then tried again with a third of its length.
///
/// # Errors
/// Options or times outside their domains, a start that is not finite, or the solver gives up.
pub fn solve<F: FnMut(f64, &[f64], &mut [f64])>(
    rhs: F,
    start: &[f64],
    times: &[f64],
    options: &OdeOptions,
) -> Result<OdeSolution, OdeError> {
    check(start, times, options)?;
    let mut rhs = rhs;
    let mut solution = OdeSolution { times: times.to_vec(), states: Vec::new(), statistics: OdeStatistics::default() };
    check_slope(&mut rhs, start, &mut solution.statistics)?;
    let rhs = RefCell::new(rhs);
    let mut state = with_time(start, 0.0);
    let (mut now, mut first_step) = (0.0, 0.0);
    for &t in times {
        if now < t {
            let (last, step) = segment(&rhs, now, t, state, first_step, options, &mut solution.statistics)?;
            (state, first_step, now) = (last, step, t);
            // The sum of the steps, up to rounding.
            *state.as_mut_slice().last_mut().unwrap_or(&mut 0.0) = t;
        }
        solution.states.push(without_time(&state));
    }
    Ok(solution)
}

/// From `from` to `to`: the last state and the length of the longest step, with which to go on.
fn segment<F: FnMut(f64, &[f64], &mut [f64])>(
    rhs: &RefCell<F>,
    from: f64,
    to: f64,
    start: Vector,
    first_step: f64,
    options: &OdeOptions,
    statistics: &mut OdeStatistics,
) -> Result<(Vector, f64), OdeError> {
    let failed_at = Cell::new(None);
    let system = Rhs { f: rhs, failed_at: &failed_at };
    let length = to - from;
    let h = first_step.min(length);
    let o = options;
    let (result, times, states) = match o.method {
        Method::Dopri5 => {
            let mut solver = Dopri5::from_param(
                system,
                0.0,
                length,
                length,
                start,
                o.relative,
                o.absolute,
                0.9,
                0.04,
                0.2,
                10.0,
                length,
                h,
                o.max_steps,
                o.stiffness_after,
                OutputType::Sparse,
            );
            let result = solver.integrate();
            (result, solver.x_out().clone(), solver.y_out().last().cloned())
        }
        Method::Dop853 => {
            let mut solver = Dop853::from_param(
                system,
                0.0,
                length,
                length,
                start,
                o.relative,
                o.absolute,
                0.9,
                0.0,
                0.333,
                6.0,
                length,
                h,
                o.max_steps,
                o.stiffness_after,
                OutputType::Sparse,
            );
            let result = solver.integrate();
            (result, solver.x_out().clone(), solver.y_out().last().cloned())
        }
    };
    statistics.add(&result.map_err(|error| failure(&error, from, failed_at.get(), options))?);
    let longest = times.windows(2).map(|w| w[1] - w[0]).fold(0.0, f64::max);
    match states {
        Some(last) if last.iter().all(|x| x.is_finite()) => Ok((last, longest)),
        _ => Err(OdeError::NotFinite { t: to }),
    }
}

/// A solution that can be asked for its state at any time in between.
///
/// Between steps it is a polynomial of order 4; five states are kept a step.
#[derive(Clone, Debug)]
pub struct DenseSolution {
    model: ContinuousOutputModel<f64, Vector>,
    start: Vector,
    end: f64,
    /// The work.
    pub statistics: OdeStatistics,
}

impl DenseSolution {
    /// The state at time `t`.
    ///
    /// # Errors
    /// [`OdeError::Option`] for a time outside the interval of integration.
    pub fn at(&self, t: f64) -> Result<Vec<f64>, OdeError> {
        let outside = OdeError::Option { what: "the time", found: t, expected: "within the interval of integration" };
        if !(0.0..=self.end).contains(&t) {
            return Err(outside);
        }
        if self.end == 0.0 {
            return Ok(without_time(&self.start));
        }
        self.model.evaluate(t).as_ref().map(without_time).ok_or(outside)
    }

    /// The end of the interval.
    #[must_use]
    pub fn end(&self) -> f64 {
        self.end
    }
}

/// Integrates from 0 to `end` by [`Method::Dopri5`] (the one with an interpolant of its own, whatever the options say)
/// and keeps the solution in between.
///
/// # Errors
/// As [`solve`].
pub fn solve_dense<F: FnMut(f64, &[f64], &mut [f64])>(
    rhs: F,
    start: &[f64],
    end: f64,
    options: &OdeOptions,
) -> Result<DenseSolution, OdeError> {
    check(start, &[end], options)?;
    let mut rhs = rhs;
    let mut statistics = OdeStatistics::default();
    check_slope(&mut rhs, start, &mut statistics)?;
    let rhs = RefCell::new(rhs);
    let failed_at = Cell::new(None);
    let system = Rhs { f: &rhs, failed_at: &failed_at };
    let start = with_time(start, 0.0);
    let mut model = ContinuousOutputModel::default();
    let o = options;
    if 0.0 < end {
        let mut solver = Dopri5::from_param(
            system,
            0.0,
            end,
            end,
            start.clone(),
            o.relative,
            o.absolute,
            0.9,
            0.04,
            0.2,
            10.0,
            end,
            0.0,
            o.max_steps,
            o.stiffness_after,
            OutputType::Continuous,
        );
        let result = solver.integrate_with_continuous_output_model(&mut model);
        statistics.add(&result.map_err(|error| failure(&error, 0.0, failed_at.get(), options))?);
    }
    Ok(DenseSolution { model, start, end, statistics })
}

impl OdeStatistics {
    fn add(&mut self, stats: &Stats) {
        self.evaluations += stats.num_eval as usize;
        self.accepted += stats.accepted_steps as usize;
        self.rejected += stats.rejected_steps as usize;
    }
}

fn check(start: &[f64], times: &[f64], options: &OdeOptions) -> Result<(), OdeError> {
    for (what, found) in [("the relative tolerance", options.relative), ("the absolute tolerance", options.absolute)] {
        if !(1e-15..1.0).contains(&found) {
            return Err(OdeError::Option { what, found, expected: "a number from 1e-15 up to and without 1" });
        }
    }
    for (what, found) in
        [("the limit of steps", options.max_steps), ("the stiffness interval", options.stiffness_after)]
    {
        if found == 0 {
            return Err(OdeError::Option { what, found: 0.0, expected: "at least 1" });
        }
    }
    let mut before = 0.0;
    for (index, &found) in times.iter().enumerate() {
        if !found.is_finite() || found < before {
            return Err(OdeError::Time { index, found });
        }
        before = found;
    }
    if start.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(OdeError::NotFinite { t: 0.0 }) }
}

/// Refuses a problem whose slope is not finite at the start, where no shorter step helps.
fn check_slope(
    rhs: &mut impl FnMut(f64, &[f64], &mut [f64]),
    start: &[f64],
    statistics: &mut OdeStatistics,
) -> Result<(), OdeError> {
    let mut slope = vec![0.0; start.len()];
    rhs(0.0, start, &mut slope);
    statistics.evaluations += 1;
    if slope.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(OdeError::NotFinite { t: 0.0 }) }
}

fn failure(error: &IntegrationError, offset: f64, failed_at: Option<f64>, options: &OdeOptions) -> OdeError {
    match *error {
        IntegrationError::MaxNumStepReached { x, .. } => OdeError::Steps { t: offset + x, limit: options.max_steps },
        IntegrationError::StepSizeUnderflow { x } => match failed_at {
            // Steps shrank towards a time at which the right-hand side was not finite.
            Some(at) if (at - offset - x).abs() <= 1e-6 * (1.0 + x.abs()) => OdeError::NotFinite { t: offset + x },
            _ => OdeError::StepSize { t: offset + x },
        },
        IntegrationError::StiffnessDetected { x } => OdeError::Stiff { t: offset + x },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(tolerance: f64) -> [OdeOptions; 2] {
        [Method::Dopri5, Method::Dop853].map(|method| OdeOptions { method, ..OdeOptions::with_tolerance(tolerance) })
    }

    /// Problems with their exact solutions: right-hand side, start, solution.
    type Problem = (fn(f64, &[f64], &mut [f64]), Vec<f64>, fn(f64) -> Vec<f64>);

    fn problems() -> [Problem; 3] {
        [
            (|_, y, dy| dy[0] = -y[0], vec![1.0], |t| vec![(-t).exp()]),
            (|_, y, dy| (dy[0], dy[1]) = (y[1], -y[0]), vec![0.0, 1.0], |t| vec![t.sin(), t.cos()]),
            (|t, y, dy| dy[0] = -2.0 * t * y[0] * y[0], vec![1.0], |t| vec![1.0 / (1.0 + t * t)]),
        ]
    }

    #[test]
    fn every_time_is_right_and_the_end_most_of_all() {
        for (rhs, start, exact) in problems() {
            for options in both(1e-11) {
                let times = [0.0, 0.3, 0.3, 2.0, 5.0, 5.0 + 1e-9];
                let solution = solve(rhs, &start, &times, &options).unwrap();
                let dense = solve_dense(rhs, &start, 5.0, &options).unwrap();
                for (&t, state) in times.iter().zip(&solution.states) {
                    for (y, e) in state.iter().zip(exact(t)) {
                        // A few hundred steps at 1e-11 each, on problems that do not amplify errors.
                        assert!((y - e).abs() < 2e-9, "{options:?} t = {t}: {y} {e}");
                    }
                }
                for t in [0.0, 0.01, 1.234, 4.999, 5.0] {
                    for (y, e) in dense.at(t).unwrap().iter().zip(exact(t)) {
                        assert!((y - e).abs() < 2e-8, "{options:?} dense t = {t}: {y} {e}");
                    }
                }
            }
        }
    }

    #[test]
    fn errors_follow_the_tolerance() {
        let (rhs, start, exact) = problems()[1].clone();
        for method in [Method::Dopri5, Method::Dop853] {
            let error = |tolerance| {
                let options = OdeOptions { method, ..OdeOptions::with_tolerance(tolerance) };
                let end = &solve(rhs, &start, &[10.0], &options).unwrap().states[0];
                end.iter().zip(exact(10.0)).map(|(y, e)| (y - e).abs()).fold(0.0, f64::max)
            };
            let (coarse, fine) = (error(1e-4), error(1e-10));
            assert!(fine < 1e-4 * coarse, "{method:?}: {coarse:e} {fine:e}");
        }
    }

    #[test]
    fn work_is_counted() {
        let (rhs, start, _) = problems()[1].clone();
        let calls = Cell::new(0);
        let counted = |t: f64, y: &[f64], dy: &mut [f64]| {
            calls.set(calls.get() + 1);
            rhs(t, y, dy);
        };
        let solution = solve(counted, &start, &[1.0, 10.0], &OdeOptions::default()).unwrap();
        assert_eq!(solution.statistics.evaluations, calls.get());
        assert!((10..200).contains(&solution.statistics.accepted), "{:?}", solution.statistics);
    }

    #[test]
    fn what_cannot_be_solved_is_said() {
        let options = OdeOptions::default();
        // y' = y^2 from 1 is infinite at t = 1.
        let explode = |_: f64, y: &[f64], dy: &mut [f64]| dy[0] = y[0] * y[0];
        let error = solve(explode, &[1.0], &[2.0], &options).unwrap_err();
        assert!(matches!(error, OdeError::StepSize { t } | OdeError::NotFinite { t } if (t - 1.0).abs() < 1e-3));
        // A right-hand side that ends at t = 0.5.
        let ends = |t: f64, _: &[f64], dy: &mut [f64]| dy[0] = if t < 0.5 { 1.0 } else { f64::NAN };
        let error = solve(ends, &[0.0], &[1.0], &options).unwrap_err();
        assert!(matches!(error, OdeError::NotFinite { t } if (t - 0.5).abs() < 1e-6), "{error:?}");
        let nan = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = f64::NAN;
        let at_once = solve(nan, &[0.0], &[1.0], &options).unwrap_err();
        assert!(matches!(at_once, OdeError::NotFinite { t } if t == 0.0), "{at_once:?}");
        // Rates 1 and 1e6: the explicit method would need millions of steps.
        let stiff = |_: f64, y: &[f64], dy: &mut [f64]| (dy[0], dy[1]) = (-y[0], -1e6 * (y[1] - y[0]));
        let error = solve(stiff, &[1.0, 1.0], &[100.0], &OdeOptions::with_tolerance(1e-6)).unwrap_err();
        assert!(matches!(error, OdeError::Stiff { .. }), "{error:?}");
        let few = OdeOptions { max_steps: 3, ..options.clone() };
        let error = solve(problems()[1].0, &[0.0, 1.0], &[100.0], &few).unwrap_err();
        assert!(matches!(error, OdeError::Steps { limit: 3, .. }), "{error:?}");
    }

    #[test]
    fn arguments_are_checked() {
        let rhs = |_: f64, _: &[f64], dy: &mut [f64]| dy[0] = 0.0;
        let options = OdeOptions::default();
        for times in [&[-1.0][..], &[1.0, 0.5], &[f64::NAN], &[f64::INFINITY]] {
            assert!(matches!(solve(rhs, &[0.0], times, &options), Err(OdeError::Time { .. })));
        }
        assert!(matches!(solve(rhs, &[f64::NAN], &[1.0], &options), Err(OdeError::NotFinite { .. })));
        for tolerance in [0.0, -1.0, f64::NAN, 2.0] {
            assert!(solve(rhs, &[0.0], &[1.0], &OdeOptions::with_tolerance(tolerance)).is_err());
        }
        assert!(solve(rhs, &[0.0], &[], &options).unwrap().states.is_empty());
        assert_eq!(solve_dense(rhs, &[3.0], 0.0, &options).unwrap().at(0.0), Ok(vec![3.0]));
        assert!(solve_dense(rhs, &[3.0], 1.0, &options).unwrap().at(1.5).is_err());
    }
}
