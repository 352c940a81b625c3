//! The fast part of a truncated hierarchy: the residuals on the training points, which decay at the rates of the kernel.
//!
//! The kernels follow the residuals, and nothing decays but these. So of the Jacobian the columns of the training
//! residuals are kept: a matrix of as many rows as there are training points has to be factored, whatever the order.

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

use crate::Truncated;
use crate::semi_implicit::Stiff;
use crate::tensor::pair;

/// A truncated hierarchy for a method that is implicit in the residuals.
pub(crate) struct FastResiduals<'a> {
    system: &'a Truncated<'a>,
    /// The state at which the derivative is taken.
    at: Vec<f64>,
}

impl<'a> FastResiduals<'a> {
    pub(crate) fn new(system: &'a Truncated<'a>) -> Self {
        Self { system, at: Vec::new() }
    }

    /// `K^(2), .., K^(p)` where the derivative is taken, one after the other.
    fn tensors(&self) -> impl Iterator<Item = &[f64]> {
        let (tensors, p) = (&self.system.kernels.kernels, self.system.p);
        let mut rest = &self.at[self.system.kernels.f.len()..];
        tensors[..p - 1].iter().enumerate().map(move |(k, tensor)| {
            if k == p - 2 {
                return tensor.packed();
            }
            let (own, later) = rest.split_at(tensor.packed().len());
            rest = later;
            own
        })
    }
}

impl Stiff for FastResiduals<'_> {
    fn slope(&mut self, y: &[f64], slope: &mut [f64]) {
        self.system.slopes(y, slope);
    }

    fn linearise(&mut self, y: &[f64]) {
        self.at = y.to_vec();
    }

    fn solve(&mut self, h: f64, y: &mut [f64]) {
        let k2 = &self.system.kernels.kernels[0];
        let (points, train) = (k2.n_points(), k2.n_train());
        let rate = h / self.system.kernels.n_examples as f64;
        let current = self.tensors().next().unwrap_or(&[]).to_vec();
        let Some(residuals) = solve_residuals(&current, rate, train, &mut y[..points]) else {
            y.fill(f64::NAN);
            return;
        };
        // K^(r)' = -1/n K^(r+1) r: row by row, as in the slopes.
        for (slot, row) in y[points..].iter_mut().zip(self.tensors().skip(1).flat_map(|t| t.chunks_exact(train))) {
            *slot -= rate * dot(row, &residuals);
        }
    }
}

/// The same for the reduced system of `p = 3`, whose state is `[R, f]`.
pub(crate) struct FastReduced<'a> {
    system: &'a Truncated<'a>,
    /// `K^(2)` where the derivative is taken, packed.
    kernel: Vec<f64>,
}

impl<'a> FastReduced<'a> {
    pub(crate) fn new(system: &'a Truncated<'a>) -> Self {
        Self { system, kernel: Vec::new() }
    }
}

impl Stiff for FastReduced<'_> {
    fn slope(&mut self, y: &[f64], slope: &mut [f64]) {
        self.system.reduced_slopes(y, slope);
    }

    fn linearise(&mut self, y: &[f64]) {
        self.kernel = self.system.reduced_kernel(y);
    }

    fn solve(&mut self, h: f64, y: &mut [f64]) {
        let train = self.system.kernels.kernels[0].n_train();
        let rate = h / self.system.kernels.n_examples as f64;
        let (big_r, f) = y.split_at_mut(train);
        match solve_residuals(&self.kernel, rate, train, f) {
            // R' = r.
            Some(residuals) => big_r.iter_mut().zip(residuals).for_each(|(slot, r)| *slot += h * r),
            None => y.fill(f64::NAN),
        }
    }
}

/// Replaces `f` by `(1 + rate K P)^(-1) f` for a packed kernel `K`, where `P` keeps the training points, and gives its
/// part on these. `None` for a kernel with an eigenvalue below `-1/rate`, which truncation allows: exponential growth,
/// and steps short of it.
fn solve_residuals(kernel: &[f64], rate: f64, train: usize, f: &mut [f64]) -> Option<Vec<f64>> {
    let entry = |a: usize, b: usize| kernel[pair(a, b)];
    // 1 - h J on the training residuals is 1 + h/n K^(2).
    let matrix = Mat::from_fn(train, train, |a, b| f64::from(u8::from(a == b)) + rate * entry(a, b));
    let factor = matrix.llt(Side::Lower).ok()?;
    let solution = factor.solve(Mat::from_fn(train, 1, |a, _| f[a]));
    let residuals: Vec<f64> = (0..train).map(|a| solution[(a, 0)]).collect();
    let (of_train, of_test) = f.split_at_mut(train);
    of_train.copy_from_slice(&residuals);
    for (a, slot) in (train..).zip(of_test) {
        *slot -= rate * (0..train).map(|b| entry(a, b) * residuals[b]).sum::<f64>();
    }
    Some(residuals)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}
