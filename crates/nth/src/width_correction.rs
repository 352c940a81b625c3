//! What a finite width adds to the mean prediction of the kernel regime because the kernel moves: order `1/n`.
//!
//! **The expansion.** Write `f_t` for a network under gradient flow, `f_t^lin` for the same network with its tangent
//! kernel held at its value at initialisation (the hierarchy truncated at `p = 2`), `N` for the number of training
//! examples and `r = f - y`. With `R(t) = int_0^t r`, eqs. 9 and 10 of NTH give
//!
//! ```text
//! K2_t(a, b) - K2_0(a, b) = -1/N sum_c K3_0(a, b, c) R_c(t) + 1/N^2 sum_cd K4_0(a, b, c, d) int_0^t R_d r_c + ...
//! ```
//!
//! where what is left out is of order `n^(-3/2)` and less (`K5, K6` are of order `n^(-2)`; products of two corrections
//! are of order `n^(-3/2)`). To order `1/n` the flow on the right is that of the limiting kernel `Theta` from
//! `r_0 = f_0 - y`. Two numbers survive the mean over initialisations:
//!
//! * `n K4 -> kappa`, deterministic, with the mean of a cubic polynomial in the Gaussian `f_0`, of covariance `Sigma`;
//! * `n E K3(a, b, c) f_0(d) -> S(a, b, c, d)`, deterministic: `K3` is of order `1/n`, random, odd in the readout and
//!   correlated with `f_0`. `n K4` alone is not enough.
//!
//! Both come from the limit engine ([`crate::limit_hierarchy`]), so that `n E (f_t - f_t^lin)` has a deterministic
//! limit which needs no simulation.
//!
//! **What it is not.** `E f_t` itself differs from the prediction of the limiting kernel by further terms of order
//! `1/n`: the bias `E K2_0 - Theta` and the variance of `K2_0`, which enters squared. Neither is a moment of the
//! program of the hierarchy. They are the difference between the limiting kernel and the network's own at
//! initialisation, which a user who has the network can measure; and a single network differs from the mean by its
//! `f_0`, at order one.

use netsor_num::ode::{OdeOptions, solve};

use crate::flow::check_targets;
use crate::kernels::pair;
use crate::{KernelTensor, LimitKernels, NthError};

/// The kernel regime's mean prediction and the leading effect of the width on it.
#[derive(Clone, Debug, PartialEq)]
pub struct WidthCorrection {
    /// The times asked for.
    pub times: Vec<f64>,
    /// The mean of the limiting kernel's flow, from `f_0 = 0`, on all points.
    pub f: Vec<Vec<f64>>,
    /// The limit of `n E (f_t - f_t^lin)` on all points: divide by the width.
    pub shift: Vec<Vec<f64>>,
    /// The limit of `n E (K2_t - K2_0)` on all pairs of points.
    pub kernel_shift: Vec<KernelTensor>,
}

/// One flow of the limiting kernel, driven by a tensor of third and one of fourth order.
struct Run<'a> {
    weight: f64,
    third: Option<Vec<f64>>,
    fourth: Option<&'a KernelTensor>,
    residuals: Vec<f64>,
}

/// The mean prediction of the kernel regime under gradient flow of `1/(2N) sum (f - y)^2`, with the coefficient of
/// `1/n` in the mean effect of the kernel's movement, at times that ascend from 0 or later.
///
/// Cost: `6 N + 1` ordinary differential equations of dimension about `N^2`. The mean over `f_0` is exact: the
/// solution is a polynomial of third degree in `f_0`, and the equations are solved at the points of a rule that is
/// exact for those.
///
/// # Errors
/// [`NthError::Missing`] if the limits have no fourth order, no NNGP kernel or untrained readouts; targets that do not
/// fit; the solver gives up.
pub fn width_correction(
    limits: &LimitKernels,
    targets: &[f64],
    times: &[f64],
    ode: &OdeOptions,
) -> Result<WidthCorrection, NthError> {
    let theta = limits.of_order(2)?;
    let missing = |what, help| NthError::Missing { what, help };
    let fourth =
        limits.of_order(4).map_err(|_| missing("kernel of fourth order", "take `limit_hierarchy` of order 4"))?;
    let sigma = limits.nngp.as_ref().ok_or_else(|| {
        missing("covariance of the output at initialisation", "the output must be a sum of readouts of their own")
    })?;
    let with_output = limits
        .with_output
        .as_ref()
        .ok_or_else(|| missing("covariance of K^(3) with the output", "train every readout of the network"))?;
    check_targets(targets, theta.n_train())?;
    let train = theta.n_train();
    let runs = runs(sigma, with_output, fourth, targets);

    let points = theta.n_points();
    let pairs = points * (points + 1) / 2;
    let mut shift = vec![vec![0.0; points]; times.len()];
    let mut kernel_shift = vec![vec![0.0; pairs]; times.len()];
    let mut f = Vec::new();
    for (number, run) in runs.iter().enumerate() {
        let flow = Flow { theta, run, n: limits.n_examples as f64, train, points };
        let mut start = vec![0.0; points + train + train * train + points];
        start[..train].copy_from_slice(&run.residuals);
        let solution = solve(|_, state, slopes| flow.slopes(state, slopes), &start, times, ode)?;
        for (k, state) in solution.states.iter().enumerate() {
            let moved = &state[state.len() - points..];
            shift[k].iter_mut().zip(moved).for_each(|(s, d)| *s += run.weight * d);
            let kernel = flow.kernel_change(state);
            kernel_shift[k].iter_mut().zip(kernel).for_each(|(s, d)| *s += run.weight * d);
        }
        // The first run starts from f_0 = 0.
        if number == 0 {
            let y = |a: usize| targets.get(a).copied().unwrap_or(0.0);
            f = solution.states.iter().map(|s| (0..points).map(|a| s[a] + y(a)).collect()).collect();
        }
    }
    Ok(WidthCorrection {
        times: times.to_vec(),
        f,
        shift,
        kernel_shift: kernel_shift.into_iter().map(|data| theta.with_data(data)).collect(),
    })
}

/// The flows whose weighted sum is the mean over `f_0`.
///
/// For a polynomial `C` of third degree, `E C(f_0 - y) = C(-y) + 1/2 sum_e D^2 C(-y)[e, Sigma e]`, and
/// `D^2 C(x)[u, v]` is a quarter of `C(x + u + v) + C(x - u - v) - C(x + u - v) - C(x - u + v)`. For a quadratic `G`
/// driven by `K3`, `E G = sum_e D G_e(-y)[e]`, where `G_e` is driven by `S(.., e)`.
fn runs<'a>(
    sigma: &KernelTensor,
    with_output: &KernelTensor,
    fourth: &'a KernelTensor,
    targets: &[f64],
) -> Vec<Run<'a>> {
    let start: Vec<f64> = targets.iter().map(|y| -y).collect();
    let mut runs = vec![Run { weight: 1.0, third: None, fourth: Some(fourth), residuals: start.clone() }];
    for e in 0..targets.len() {
        let at = |u: f64, v: f64| -> Vec<f64> {
            let unit = |k| if k == e { u } else { 0.0 };
            start.iter().enumerate().map(|(k, r)| r + unit(k) + v * sigma.get(&[k, e])).collect()
        };
        for (u, v) in [(1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0)] {
            runs.push(Run { weight: u * v / 8.0, third: None, fourth: Some(fourth), residuals: at(u, v) });
        }
        let slice: Vec<f64> = with_output.packed().iter().skip(e).step_by(targets.len()).copied().collect();
        for u in [1.0, -1.0] {
            runs.push(Run { weight: u / 2.0, third: Some(slice.clone()), fourth: None, residuals: at(u, 0.0) });
        }
    }
    runs
}

/// The state is `[r on all points (on test points: f), R, int R r', delta f]`.
struct Flow<'a> {
    theta: &'a KernelTensor,
    run: &'a Run<'a>,
    n: f64,
    train: usize,
    points: usize,
}

impl Flow<'_> {
    fn slopes(&self, state: &[f64], slopes: &mut [f64]) {
        let (points, train) = (self.points, self.train);
        let (r, rest) = state.split_at(points);
        let (r_train, (integral, rest)) = (&r[..train], rest.split_at(train));
        let moved = &rest[train * train..];
        let (dr, rest) = slopes.split_at_mut(points);
        let (d_integral, rest) = rest.split_at_mut(train);
        let (d_products, d_moved) = rest.split_at_mut(train * train);
        let change = self.kernel_change(state);
        for a in 0..points {
            let (mut own, mut other) = (0.0, 0.0);
            for (b, r) in r_train.iter().enumerate() {
                let theta = self.theta.block(a, b)[0];
                own += theta * r;
                other += theta * moved[b] + change[pair(a, b)] * r;
            }
            dr[a] = -own / self.n;
            d_moved[a] = -other / self.n;
        }
        d_integral.copy_from_slice(r_train);
        for (c, r) in r_train.iter().enumerate() {
            for (d, big) in integral.iter().enumerate() {
                d_products[c * train + d] = r * big;
            }
        }
    }

    /// `n (K2_t - K2_0)` for all pairs.
    fn kernel_change(&self, state: &[f64]) -> Vec<f64> {
        let (train, integral) = (self.train, &state[self.points..]);
        let products = &integral[train..train + train * train];
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let mut change = vec![0.0; self.points * (self.points + 1) / 2];
        if let Some(third) = &self.run.third {
            for (slot, row) in change.iter_mut().zip(third.chunks_exact(train)) {
                *slot -= dot(row, integral) / self.n;
            }
        }
        if let Some(fourth) = self.run.fourth {
            for (slot, row) in change.iter_mut().zip(fourth.packed().chunks_exact(train * train)) {
                *slot += dot(row, products) / (self.n * self.n);
            }
        }
        change
    }
}
