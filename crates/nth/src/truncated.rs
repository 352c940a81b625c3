//! The hierarchy truncated at order `p`: a closed system for the output and the kernels below `p` (NTH eq. 15).

use netsor_num::ode::{DenseSolution, OdeError, OdeOptions, OdeStatistics, solve, solve_dense};

use crate::fast::{FastReduced, FastResiduals};
use crate::flow::check_targets;
use crate::semi_implicit::solve_stiff;
use crate::{KernelTensor, Kernels, Later, NthError};

/// The truncated hierarchy `d/dt f_a = -1/n sum_b K^(2)(a, b) r_b`,
/// `d/dt K^(r)(..) = -1/n sum_b K^(r+1)(.., b) r_b` for `r < p`, `d/dt K^(p) = 0`, with `r = f - y` on the training
/// points and test points carried along (NTH eqs. 9, 10, 15, 22).
///
/// Against the network, the error of `f` and `K^(2)` is of order `m^(-floor(p/2))`, and at short times `t^p` and
/// `t^(p-1)`. The paper's remark after Theorem 2.6 has `m^(-p/2)` also for `p = 3`; that rate is not reached, because
/// `K^(4)` is of order `1/m` with a deterministic limit.
#[derive(Clone, Debug)]
pub struct Truncated<'a> {
    pub(crate) kernels: &'a Kernels,
    targets: &'a [f64],
    pub(crate) p: usize,
}

/// A solution of the truncated hierarchy.
#[derive(Clone, Debug)]
pub struct TruncatedPath {
    /// The times asked for.
    pub times: Vec<f64>,
    /// The output on all points at each time.
    pub f: Vec<Vec<f64>>,
    /// `K^(2), .., K^(p-1)` at each time; `K^(2)` alone, constant, for `p = 2`.
    pub kernels: Vec<Vec<KernelTensor>>,
    /// The work.
    pub statistics: OdeStatistics,
    /// Whether the system turned out to be stiff, and was solved by a method for such.
    pub stiff: bool,
}

/// A solution of the truncated hierarchy at all times up to an end: between steps a polynomial of order 4.
#[derive(Clone, Debug)]
pub struct DensePath<'a> {
    system: Truncated<'a>,
    solution: DenseSolution,
}

impl DensePath<'_> {
    /// The output on all points and `K^(2), .., K^(p-1)` (`K^(2)` alone, constant, for `p = 2`) at time `t`.
    ///
    /// # Errors
    /// For a time outside of the interval.
    pub fn at(&self, t: f64) -> Result<(Vec<f64>, Vec<KernelTensor>), NthError> {
        let (f, mut kernels) = self.system.split(&self.solution.at(t)?);
        if kernels.is_empty() {
            kernels.push(self.system.kernels.kernels[0].clone());
        }
        Ok((f, kernels))
    }

    /// The end of the interval.
    pub fn end(&self) -> f64 {
        self.solution.end()
    }

    /// The work.
    pub fn statistics(&self) -> OdeStatistics {
        self.solution.statistics
    }
}

impl<'a> Truncated<'a> {
    /// The system of order `p` with the kernels at time 0 and targets on the training points.
    ///
    /// # Errors
    /// If `p` is below 2 or `K^(p)` was not computed, or the targets do not fit; [`NthError::FrozenKernels`] for bold
    /// kernels of fourth order and above, whose equations are others.
    pub fn new(kernels: &'a Kernels, targets: &'a [f64], p: usize) -> Result<Self, NthError> {
        if kernels.of_order(p)?.later() == Later::Symmetric && 3 < p {
            return Err(NthError::FrozenKernels { p });
        }
        check_targets(targets, kernels.kernels[0].n_train())?;
        Ok(Self { kernels, targets, p })
    }

    fn residuals(&self, f: &[f64]) -> Vec<f64> {
        f.iter().zip(self.targets).map(|(f, y)| f - y).collect()
    }

    /// Writes the slopes of `[f, K^(2), .., K^(p-1)]`.
    pub(crate) fn slopes(&self, state: &[f64], slopes: &mut [f64]) {
        let tensors = &self.kernels.kernels;
        let n = self.kernels.n_examples as f64;
        let points = self.kernels.f.len();
        let (f, mut rest) = state.split_at(points);
        let (df, mut slopes) = slopes.split_at_mut(points);
        let r = self.residuals(f);
        let train = r.len();
        let frozen = tensors[self.p - 2].packed();
        let mut current: &[f64] = frozen;
        if 2 < self.p {
            (current, rest) = rest.split_at(tensors[0].packed().len());
        }
        for (a, slope) in df.iter_mut().enumerate() {
            let sum: f64 = (0..train).map(|b| current[crate::tensor::pair(a, b)] * r[b]).sum();
            *slope = -sum / n;
        }
        for order in 2..self.p {
            let (own, later) = slopes.split_at_mut(current.len());
            let next;
            if order + 1 == self.p {
                next = frozen;
            } else {
                (next, rest) = rest.split_at(tensors[order - 1].packed().len());
            }
            // The last argument is the fastest: K^(r+1) is a matrix with one row an entry of K^(r).
            for (slope, row) in own.iter_mut().zip(next.chunks_exact(train)) {
                *slope = -row.iter().zip(&r).map(|(k, r)| k * r).sum::<f64>() / n;
            }
            (slopes, current) = (later, next);
        }
    }

    /// The time derivatives at time 0 of `f` and of `K^(2), .., K^(p-1)`.
    pub fn slopes_at_start(&self) -> (Vec<f64>, Vec<KernelTensor>) {
        let start = self.start();
        let mut slopes = vec![0.0; start.len()];
        self.slopes(&start, &mut slopes);
        self.split(&slopes)
    }

    fn start(&self) -> Vec<f64> {
        let moving = self.kernels.kernels[..self.p - 2].iter().flat_map(KernelTensor::packed);
        self.kernels.f.iter().chain(moving).copied().collect()
    }

    fn split(&self, state: &[f64]) -> (Vec<f64>, Vec<KernelTensor>) {
        let (f, mut rest) = state.split_at(self.kernels.f.len());
        let mut tensors = Vec::new();
        for tensor in &self.kernels.kernels[..self.p - 2] {
            let (own, later) = rest.split_at(tensor.packed().len());
            tensors.push(tensor.with_data(own.to_vec()));
            rest = later;
        }
        (f.to_vec(), tensors)
    }

    /// The solution at `times`, which ascend from 0 or later.
    ///
    /// Where the rates of the kernel are far above the inverse of the times, an explicit method would follow them
    /// however smooth the solution. As soon as that is noticed the system is solved once more from the start, by a
    /// method that is implicit in the residuals, with the same tolerance; [`TruncatedPath::stiff`] tells.
    ///
    /// # Errors
    /// The solver gives up: the system blew up, as truncations with odd `p` may at long times.
    pub fn solve(&self, times: &[f64], ode: &OdeOptions) -> Result<TruncatedPath, NthError> {
        let start = self.start();
        let (solution, stiff) = match solve(|_, state, slopes| self.slopes(state, slopes), &start, times, ode) {
            Err(OdeError::Stiff { .. }) => (solve_stiff(&mut FastResiduals::new(self), &start, times, ode)?, true),
            solution => (solution?, false),
        };
        let (f, mut kernels): (Vec<_>, Vec<_>) = solution.states.iter().map(|s| self.split(s)).unzip();
        if self.p == 2 {
            kernels.iter_mut().for_each(|k: &mut Vec<KernelTensor>| k.push(self.kernels.kernels[0].clone()));
        }
        Ok(TruncatedPath { times: times.to_vec(), f, kernels, statistics: solution.statistics, stiff })
    }

    /// The solution on `[0, end]`, to be asked for at any time ([`DensePath::at`]).
    ///
    /// ```
    /// use netsor_finite::Inputs;
    /// use netsor_nth::{HuangYau, KernelOptions, Smooth, Truncated, hierarchy, kernels_at};
    /// use netsor_num::ode::OdeOptions;
    ///
    /// let paper = HuangYau { points: 2, dim: 2, hidden: 1, activation: Smooth::Tanh, sigma_w: 1.0, sigma_a: 1.0 };
    /// let network = paper.network()?;
    /// let x = network.program.find("x").expect("the network's data");
    /// let inputs = Inputs::new().with(x, vec![1.0, 0.0, 0.6, 0.8]);
    /// let start = kernels_at(&hierarchy(&network, 3)?, &inputs, &KernelOptions::new(64, 1))?;
    /// let path = Truncated::new(&start, &[1.0, -1.0], 3)?.dense(2.0, &OdeOptions::default())?;
    /// let (f, kernels) = path.at(0.123)?;
    /// assert_eq!((f.len(), kernels[0].order()), (2, 2));
    /// # Ok::<(), netsor_nth::NthError>(())
    /// ```
    ///
    /// # Errors
    /// As [`Truncated::solve`], and [`NthError::Stiff`]: the polynomials are those of an explicit method.
    pub fn dense(&self, end: f64, ode: &OdeOptions) -> Result<DensePath<'a>, NthError> {
        let solution = solve_dense(|_, state, slopes| self.slopes(state, slopes), &self.start(), end, ode);
        Ok(DensePath { system: self.clone(), solution: solution.map_err(|e| self.explain(e))? })
    }

    /// A truncation is stiff when the largest eigenvalue of the kernel is far above those that matter.
    fn explain(&self, error: OdeError) -> NthError {
        match error {
            OdeError::Stiff { t } => {
                let k2 = &self.kernels.kernels[0];
                let trace: f64 = (0..k2.n_train()).map(|a| k2.block(a, a)[0]).sum();
                NthError::Stiff { t, rate: trace / self.kernels.n_examples as f64 }
            }
            error => error.into(),
        }
    }

    /// The solution for `p = 3` by the reduced system (NTH eq. 30 and what follows it, corrected):
    /// `R' = r`, `K^(2)_t = K^(2)_0 - 1/n K^(3)_0[R]`, `r' = -1/n K^(2)_0 r + 1/n^2 K^(3)_0[R, r]`. It has as many
    /// unknowns as there are points and training points, instead of the square of that.
    ///
    /// # Errors
    /// [`NthError::Order`] unless `p = 3`; as [`Truncated::solve`], which meets stiffness in the same way.
    pub fn solve_reduced(&self, times: &[f64], ode: &OdeOptions) -> Result<TruncatedPath, NthError> {
        if self.p != 3 {
            let what = "the order of a reduced system";
            return Err(NthError::Order { what, expected: "3".into(), found: self.p });
        }
        let train = self.kernels.kernels[0].n_train();
        let start: Vec<f64> = std::iter::repeat_n(0.0, train).chain(self.kernels.f.iter().copied()).collect();
        let (solution, stiff) = match solve(|_, state, slopes| self.reduced_slopes(state, slopes), &start, times, ode) {
            Err(OdeError::Stiff { .. }) => (solve_stiff(&mut FastReduced::new(self), &start, times, ode)?, true),
            solution => (solution?, false),
        };
        let kernel = |state: &Vec<f64>| vec![self.kernels.kernels[0].with_data(self.reduced_kernel(state))];
        Ok(TruncatedPath {
            times: times.to_vec(),
            f: solution.states.iter().map(|s| s[train..].to_vec()).collect(),
            kernels: solution.states.iter().map(kernel).collect(),
            statistics: solution.statistics,
            stiff,
        })
    }

    /// The slopes of the reduced system at `[R, f]`.
    pub(crate) fn reduced_slopes(&self, state: &[f64], slopes: &mut [f64]) {
        let (k2, k3) = (&self.kernels.kernels[0], &self.kernels.kernels[1]);
        let n = self.kernels.n_examples as f64;
        let (big_r, f) = state.split_at(k2.n_train());
        let (dr, df) = slopes.split_at_mut(k2.n_train());
        let r = self.residuals(f);
        dr.copy_from_slice(&r);
        for (a, slope) in df.iter_mut().enumerate() {
            let mut sum = 0.0;
            for (b, r) in r.iter().enumerate() {
                let drift: f64 = k3.block(a, b).iter().zip(big_r).map(|(k, r)| k * r).sum();
                sum += (k2.block(a, b)[0] - drift / n) * r;
            }
            *slope = -sum / n;
        }
    }

    /// `K^(2) = K^(2)_0 - 1/n K^(3)_0[R]` at a state of the reduced system, packed.
    pub(crate) fn reduced_kernel(&self, state: &[f64]) -> Vec<f64> {
        let (k2, k3) = (&self.kernels.kernels[0], &self.kernels.kernels[1]);
        let n = self.kernels.n_examples as f64;
        let drift = |row: &[f64]| row.iter().zip(state).map(|(k, r)| k * r).sum::<f64>() / n;
        let rows = k2.packed().iter().zip(k3.packed().chunks_exact(k2.n_train()));
        rows.map(|(k, row)| k - drift(row)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{HuangYau, KernelOptions, Smooth, hierarchy, kernels_at};
    use netsor_finite::Inputs;

    fn kernels(sigma_a: f64) -> Kernels {
        let paper = HuangYau { points: 3, dim: 2, hidden: 1, activation: Smooth::Tanh, sigma_w: 1.0, sigma_a };
        let network = paper.network().unwrap();
        let x = network.program.find("x").unwrap();
        let inputs = Inputs::new().with(x, vec![1.0, 0.0, 0.6, 0.8, -0.3, 0.9]);
        kernels_at(&hierarchy(&network, 4).unwrap(), &inputs, &KernelOptions::new(32, 5).with_train(2)).unwrap()
    }

    #[test]
    fn dense_output_agrees_with_end_points_of_steps() {
        let kernels = kernels(1.0);
        let ode = OdeOptions::with_tolerance(1e-11);
        for p in 2..=4 {
            let system = Truncated::new(&kernels, &[1.0, -1.0], p).unwrap();
            let times = [0.0, 0.377, 1.9, 3.0];
            let steps = system.solve(&times, &ode).unwrap();
            let dense = system.dense(3.0, &ode).unwrap();
            for (k, &t) in times.iter().enumerate() {
                let (f, tensors) = dense.at(t).unwrap();
                assert_eq!(tensors.len(), steps.kernels[k].len());
                let pairs = f.iter().zip(&steps.f[k]);
                for (a, b) in pairs.chain(tensors[0].packed().iter().zip(steps.kernels[k][0].packed())) {
                    // A few dozen steps of 1e-11, and an interpolant of the same order as the method less one.
                    assert!((a - b).abs() < 1e-8, "p = {p}, t = {t}: {a} {b}");
                }
            }
            assert!(dense.at(3.1).is_err() && dense.at(-0.1).is_err());
            assert!(dense.end() == 3.0 && 0 < dense.statistics().accepted);
        }
    }

    /// Rates of 1e7 and 1: noticed within the first thousands of steps, then solved.
    #[test]
    fn stiff_systems_are_solved() {
        let mut kernels = kernels(1.0);
        let k2 = &kernels.kernels[0];
        let scaled = k2.packed().iter().enumerate().map(|(k, x)| if k == 0 { 1e7 } else { *x }).collect();
        kernels.kernels[0] = k2.with_data(scaled);
        let (targets, ode) = ([1.0, -1.0], OdeOptions::with_tolerance(1e-8));
        let times = [1e-7, 1.0, 100.0];
        let two = Truncated::new(&kernels, &targets, 2).unwrap();
        let path = two.solve(&times, &ode).unwrap();
        assert!(path.stiff && path.statistics.accepted < 1_000, "{:?}", path.statistics);
        // r' = -K r / 2 by the eigenvalues of a matrix of two rows.
        let (a, b, d) = (1e7, two.kernels.kernels[0].block(0, 1)[0], two.kernels.kernels[0].block(1, 1)[0]);
        let start = [kernels.f[0] - 1.0, kernels.f[1] + 1.0];
        let angle = 0.5 * (2.0 * b).atan2(a - d);
        let (sin, cos) = angle.sin_cos();
        for (t, f) in times.iter().zip(&path.f) {
            let mut r = [0.0, 0.0];
            for axis in [[cos, sin], [-sin, cos]] {
                let rate = a * axis[0] * axis[0] + 2.0 * b * axis[0] * axis[1] + d * axis[1] * axis[1];
                let size = (axis[0] * start[0] + axis[1] * start[1]) * (-rate * t / 2.0).exp();
                (r[0], r[1]) = (r[0] + size * axis[0], r[1] + size * axis[1]);
            }
            for k in 0..2 {
                // Some hundred steps at 1e-8, whose errors are damped; the small eigenvalue loses 1e7 eps to rounding.
                let error = (f[k] - targets[k] - r[k]).abs();
                assert!(error < 1e-6, "t = {t}: {error:e}");
            }
        }
        // Only values at the times asked for have a method for this.
        let error = two.dense(100.0, &ode).unwrap_err();
        assert!(matches!(error, NthError::Stiff { t, rate } if t < 1.0 && 1e6 < rate), "{error:?}");
    }

    /// The reduced system for `p = 3` has the solution of the whole one, by both methods, stiff or not.
    #[test]
    fn the_reduced_system_agrees_with_the_whole_one() {
        for fastest in [1.0, 1e7] {
            let mut kernels = kernels(1.0);
            let k2 = &kernels.kernels[0];
            let scaled = k2.packed().iter().enumerate().map(|(k, x)| if k == 0 { fastest * x } else { *x }).collect();
            kernels.kernels[0] = k2.with_data(scaled);
            let system = Truncated::new(&kernels, &[1.0, -1.0], 3).unwrap();
            let (times, ode) = ([0.4, 3.0], OdeOptions::with_tolerance(1e-9));
            let whole = system.solve(&times, &ode).unwrap();
            let reduced = system.solve_reduced(&times, &ode).unwrap();
            assert_eq!((whole.stiff, reduced.stiff), (1.0 < fastest, 1.0 < fastest));
            let start: Vec<f64> = [0.0, 0.0].into_iter().chain(kernels.f.iter().copied()).collect();
            let implicit = solve_stiff(&mut FastReduced::new(&system), &start, &times, &ode).unwrap();
            for k in 0..2 {
                let found = whole.f[k].iter().chain(whole.kernels[k][0].packed());
                let others = reduced.f[k].iter().chain(reduced.kernels[k][0].packed());
                let third = system.reduced_kernel(&implicit.states[k]);
                for ((a, b), c) in found.zip(others).zip(implicit.states[k][2..].iter().chain(&third)) {
                    // Some hundred steps at 1e-9, and the rounding of entries of size 1e7.
                    let allowed = 1e-6 * (1.0 + 1e-8 * a.abs());
                    assert!((a - b).abs() < allowed && (a - c).abs() < allowed, "{fastest:e}, time {k}: {a} {b} {c}");
                }
            }
        }
    }

    /// Two times may be the next numbers of each other, as `3 / 10` and `0.1 * 3` are.
    #[test]
    fn neighbouring_times_are_reached() {
        let mut kernels = kernels(1.0);
        let k2 = &kernels.kernels[0];
        let scaled = k2.packed().iter().enumerate().map(|(k, x)| if k == 0 { 1e7 } else { *x }).collect();
        kernels.kernels[0] = k2.with_data(scaled);
        let system = Truncated::new(&kernels, &[1.0, -1.0], 2).unwrap();
        let path = system.solve(&[0.3, 0.3_f64.next_up()], &OdeOptions::with_tolerance(1e-8)).unwrap();
        assert!(path.stiff);
        assert!((path.f[0][1] - path.f[1][1]).abs() < 1e-12);
    }

    /// Where nothing is stiff both methods can solve the moving system, and must agree.
    #[test]
    fn the_implicit_method_agrees_with_the_explicit_one() {
        let kernels = kernels(1.0);
        let ode = OdeOptions::with_tolerance(1e-10);
        for p in 2..=4 {
            let system = Truncated::new(&kernels, &[1.0, -1.0], p).unwrap();
            let times = [0.4, 3.0];
            let explicit = system.solve(&times, &ode).unwrap();
            let implicit = solve_stiff(&mut FastResiduals::new(&system), &system.start(), &times, &ode).unwrap();
            for (k, state) in implicit.states.iter().enumerate() {
                let (f, tensors) = system.split(state);
                let kernels = tensors
                    .iter()
                    .flat_map(KernelTensor::packed)
                    .zip(explicit.kernels[k].iter().flat_map(KernelTensor::packed));
                for (a, b) in f.iter().zip(&explicit.f[k]).chain(kernels) {
                    // A few dozen steps of 1e-10.
                    assert!((a - b).abs() < 1e-8, "p = {p}, time {k}: {a} {b}");
                }
            }
        }
    }
}
