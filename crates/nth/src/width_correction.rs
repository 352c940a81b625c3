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

/// One flow of the limiting kernel, and its share in the means over `f_0`.
struct Run {
    residuals: Vec<f64>,
    /// In the mean of what is driven by `n K4`.
    fourth: f64,
    /// In the mean of what is driven by `n K3`: the argument `e` of `S(.., e)`, and the weight.
    third: Option<(usize, f64)>,
}

/// The mean prediction of the kernel regime under gradient flow of `1/(2N) sum (f - y)^2`, with the coefficient of
/// `1/n` in the mean effect of the kernel's movement, at times that ascend from 0 or later.
///
/// Cost: one ordinary differential equation with `6 N^3` unknowns for `N` training points, whose slope takes `6 N^4`
/// products. The mean over `f_0` is exact: the solution is a polynomial of third degree in `f_0`, and the equations are
/// solved at the points of a rule that is exact for those. `n K4` and `S` enter linearly, so that they are contracted
/// with means over the rule, and not at each of its points.
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
    let runs = runs(sigma, targets);
    let points = theta.n_points();
    let flow = Flow { theta, fourth, third: with_output, runs: &runs, n: limits.n_examples as f64, train, points };
    let solution = solve(|_, state, slopes| flow.slopes(state, slopes), &flow.start(), times, ode)?;
    let of_points = |from: usize| -> Vec<Vec<f64>> {
        solution.states.iter().map(|state| state[from..from + points].to_vec()).collect()
    };
    Ok(WidthCorrection {
        times: times.to_vec(),
        f: of_points(0),
        shift: of_points(points),
        kernel_shift: solution.states.iter().map(|state| theta.with_data(flow.kernel_shift(state))).collect(),
    })
}

/// The flows whose weighted sum is the mean over `f_0`.
///
/// For a polynomial `C` of third degree, `E C(f_0 - y) = C(-y) + 1/2 sum_e D^2 C(-y)[e, Sigma e]`, and
/// `D^2 C(x)[u, v]` is a quarter of `C(x + u + v) + C(x - u - v) - C(x + u - v) - C(x - u + v)`. For a quadratic `G`
/// driven by `K3`, `E G = sum_e D G_e(-y)[e]`, where `G_e` is driven by `S(.., e)`.
fn runs(sigma: &KernelTensor, targets: &[f64]) -> Vec<Run> {
    let start: Vec<f64> = targets.iter().map(|y| -y).collect();
    let mut runs = vec![Run { residuals: start.clone(), fourth: 1.0, third: None }];
    for e in 0..targets.len() {
        let at = |u: f64, v: f64| -> Vec<f64> {
            let unit = |k| if k == e { u } else { 0.0 };
            start.iter().enumerate().map(|(k, r)| r + unit(k) + v * sigma.get(&[k, e])).collect()
        };
        for (u, v) in [(1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0)] {
            runs.push(Run { residuals: at(u, v), fourth: u * v / 8.0, third: None });
        }
        for u in [1.0, -1.0] {
            runs.push(Run { residuals: at(u, 0.0), fourth: 0.0, third: Some((e, u / 2.0)) });
        }
    }
    runs
}

/// The flows of all runs, and the mean of what they drive. The state is `[f from f_0 = 0, mean n delta f]` on all points,
/// and for each run `[r, R, int R r']` on the training points.
struct Flow<'a> {
    theta: &'a KernelTensor,
    fourth: &'a KernelTensor,
    third: &'a KernelTensor,
    runs: &'a [Run],
    n: f64,
    train: usize,
    points: usize,
}

/// The parts of a run's state: `r`, `R`, and `int R_d r_c` at `[c, d]`.
struct Parts<'s> {
    residuals: &'s [f64],
    integral: &'s [f64],
    products: &'s [f64],
}

impl Flow<'_> {
    fn run_len(&self) -> usize {
        2 * self.train + self.train * self.train
    }

    fn start(&self) -> Vec<f64> {
        let mut start = vec![0.0; 2 * self.points];
        for run in self.runs {
            start.extend(&run.residuals);
            start.resize(start.len() + self.train + self.train * self.train, 0.0);
        }
        start
    }

    fn parts<'s>(&self, state: &'s [f64]) -> impl Iterator<Item = (&Run, Parts<'s>)> {
        let train = self.train;
        self.runs.iter().zip(state[2 * self.points..].chunks_exact(self.run_len())).map(move |(run, own)| {
            let (residuals, rest) = own.split_at(train);
            let (integral, products) = rest.split_at(train);
            (run, Parts { residuals, integral, products })
        })
    }

    fn slopes(&self, state: &[f64], slopes: &mut [f64]) {
        let (points, train) = (self.points, self.train);
        let (d_points, d_runs) = slopes.split_at_mut(2 * points);
        // Means over the rule: of int R_d r_c times r_b at [b, c, d], and of R_c r_b at [b, c, e].
        let (mut cubic, mut quadratic) = (vec![0.0; train.pow(3)], vec![0.0; train.pow(3)]);
        for ((run, own), d_own) in self.parts(state).zip(d_runs.chunks_exact_mut(self.run_len())) {
            let (d_residuals, rest) = d_own.split_at_mut(train);
            let (d_integral, d_products) = rest.split_at_mut(train);
            for (a, slope) in d_residuals.iter_mut().enumerate() {
                *slope = self.pull(a, own.residuals);
            }
            d_integral.copy_from_slice(own.residuals);
            for (row, r) in d_products.chunks_exact_mut(train).zip(own.residuals) {
                row.iter_mut().zip(own.integral).for_each(|(slot, big)| *slot = r * big);
            }
            if run.fourth != 0.0 {
                for (block, r) in cubic.chunks_exact_mut(train * train).zip(own.residuals) {
                    let weight = run.fourth * r;
                    block.iter_mut().zip(own.products).for_each(|(slot, x)| *slot += weight * x);
                }
            }
            if let Some((e, weight)) = run.third {
                for (block, r) in quadratic.chunks_exact_mut(train * train).zip(own.residuals) {
                    let slots = block.iter_mut().skip(e).step_by(train);
                    slots.zip(own.integral).for_each(|(slot, big)| *slot += weight * r * big);
                }
            }
        }
        // The first run is that from f_0 = 0; it and the mean have test points as well.
        let first = &state[2 * points..2 * points + train];
        let moved = &state[points..points + train];
        let block = train * train;
        for a in 0..points {
            d_points[a] = self.pull(a, first);
            let driven: f64 = (0..train)
                .map(|b| {
                    let means = b * block..(b + 1) * block;
                    dot(self.fourth.block(a, b), &cubic[means.clone()]) / (self.n * self.n)
                        - dot(self.third.block(a, b), &quadratic[means]) / self.n
                })
                .sum();
            d_points[points + a] = self.pull(a, moved) - driven / self.n;
        }
    }

    /// `-1/n sum_b Theta(a, b) r_b`.
    fn pull(&self, a: usize, residuals: &[f64]) -> f64 {
        -residuals.iter().enumerate().map(|(b, r)| self.theta.block(a, b)[0] * r).sum::<f64>() / self.n
    }

    /// The mean of `n (K2_t - K2_0)` for all pairs.
    fn kernel_shift(&self, state: &[f64]) -> Vec<f64> {
        let block = self.train * self.train;
        let (mut products, mut integrals) = (vec![0.0; block], vec![0.0; block]);
        for (run, own) in self.parts(state) {
            products.iter_mut().zip(own.products).for_each(|(slot, x)| *slot += run.fourth * x);
            if let Some((e, weight)) = run.third {
                let slots = integrals.iter_mut().skip(e).step_by(self.train);
                slots.zip(own.integral).for_each(|(slot, x)| *slot += weight * x);
            }
        }
        let rows = self.fourth.packed().chunks_exact(block).zip(self.third.packed().chunks_exact(block));
        rows.map(|(fourth, third)| dot(fourth, &products) / (self.n * self.n) - dot(third, &integrals) / self.n)
            .collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
