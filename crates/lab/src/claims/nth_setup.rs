//! What the claims about the hierarchy share: networks of Huang and Yau on small digits.

use netsor_finite::Inputs;
use netsor_ir::Network;
use netsor_ir::verify::Verified;
use netsor_nth::{
    Hierarchy, HuangYau, KernelOptions, NetworkPath, Smooth, Truncated, TruncatedPath, gradient_flow, hierarchy,
    kernels_at,
};
use netsor_num::ode::OdeOptions;

use super::setup::{TwoClasses, abscissae, find};
use crate::Context;
use crate::stats::{Average, Curve, slope_of_samples};

/// Error of a step of the solvers at short times: 1e3 below the smallest error of a truncation that is measured.
const TOLERANCE: f64 = 1e-13;

/// Side of the images after averaging squares of four pixels.
const SIDE: usize = 4;

/// Training and test points for the hierarchy: digits 4 and 9 of 4 x 4 pixels with `|x| = 1`, as the paper's
/// Assumption 2.2 wants them. Few and small, because `K^(4)` has an entry for every four points.
pub(super) struct SmallDigits {
    inputs: Vec<f64>,
    n_points: usize,
    pub(super) n_train: usize,
    /// +1 and -1 on the training points.
    pub(super) targets: Vec<f64>,
}

impl SmallDigits {
    pub(super) fn load(ctx: &Context, n_train: usize, n_test: usize) -> anyhow::Result<Self> {
        let data = TwoClasses::load(ctx, (4, 9), (n_train, n_test))?;
        let n_points = data.n_points();
        let side = 2 * SIDE;
        let mut inputs = Vec::new();
        for image in data.inputs.chunks(side * side) {
            let pixel = |k: usize| {
                let (row, col) = (2 * (k / SIDE), 2 * (k % SIDE));
                let at = |r: usize, c: usize| image[(row + r) * side + col + c];
                (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / 4.0
            };
            let small: Vec<f64> = (0..SIDE * SIDE).map(pixel).collect();
            let norm = small.iter().map(|x| x * x).sum::<f64>().sqrt();
            inputs.extend(small.iter().map(|x| x / norm));
        }
        Ok(Self { inputs, n_points, n_train, targets: data.targets[..n_train].to_vec() })
    }

    /// Training and test points.
    pub(super) fn n_points(&self) -> usize {
        self.n_points
    }

    /// Pixels of a point.
    pub(super) fn dim(&self) -> usize {
        SIDE * SIDE
    }

    /// The pixels of all points, one point after the other.
    pub(super) fn numbers(&self) -> &[f64] {
        &self.inputs
    }

    /// The network of `hidden` layers with tanh and standard normal weights, with the data.
    pub(super) fn network(&self, hidden: u32) -> anyhow::Result<(Verified<Network>, Inputs)> {
        let paper = HuangYau {
            points: self.n_points as u32,
            dim: (SIDE * SIDE) as u32,
            hidden,
            activation: Smooth::Tanh,
            sigma_w: 1.0,
            sigma_a: 1.0,
        };
        let network = paper.network()?;
        let x = find(&network.program, "x")?;
        Ok((network, Inputs::new().with(x, self.inputs.clone())))
    }
}

/// What truncations of a network's hierarchy are off by.
pub(super) struct TruncationErrors<'a> {
    data: &'a SmallDigits,
    network: Verified<Network>,
    inputs: Inputs,
    second: Hierarchy,
    all: Hierarchy,
}

impl<'a> TruncationErrors<'a> {
    /// For truncations at 2 up to `order`.
    pub(super) fn new(
        data: &'a SmallDigits,
        network: Verified<Network>,
        inputs: Inputs,
        order: usize,
    ) -> anyhow::Result<Self> {
        Ok(Self { data, second: hierarchy(&network, 2)?, all: hierarchy(&network, order)?, network, inputs })
    }

    /// For each time the errors of `f` for p = 2, 3, .. and then those of `K^(2)`: root mean squares over the points.
    pub(super) fn at(&self, m: usize, seed: u64, times: &[f64]) -> anyhow::Result<Vec<Vec<f64>>> {
        let options = KernelOptions::new(m, seed).with_train(self.data.n_train);
        let (truth, paths) = self.solve(&options, times, TOLERANCE)?;
        let mut errors = Vec::new();
        for (k, inputs) in truth.inputs.iter().enumerate() {
            let kernel = kernels_at(&self.second, inputs, &options)?.kernels.remove(0);
            let of_f = paths.iter().map(|path| distance(&path.f[k], &truth.f[k]));
            let of_kernel = paths.iter().map(|path| distance(path.kernels[k][0].packed(), kernel.packed()));
            errors.push(of_f.chain(of_kernel).collect());
        }
        Ok(errors)
    }

    /// The errors of `f` at one time for p = 2, 3, .., with steps of the solvers to a tolerance: root mean squares over
    /// the points.
    pub(super) fn of_f(&self, m: usize, seed: u64, time: f64, tolerance: f64) -> anyhow::Result<Vec<f64>> {
        let options = KernelOptions::new(m, seed).with_train(self.data.n_train);
        let (truth, paths) = self.solve(&options, &[time], tolerance)?;
        Ok(paths.iter().map(|path| distance(&path.f[0], &truth.f[0])).collect())
    }

    /// The network and its truncations at 2, 3, ..
    fn solve(
        &self,
        options: &KernelOptions,
        times: &[f64],
        tolerance: f64,
    ) -> anyhow::Result<(NetworkPath, Vec<TruncatedPath>)> {
        let ode = OdeOptions::with_tolerance(tolerance);
        let y = &self.data.targets;
        let start = kernels_at(&self.all, &self.inputs, options)?;
        let truth = gradient_flow(&self.network, &self.inputs, y, times, options, &ode)?;
        let solve = |p| Truncated::new(&start, y, p)?.solve(times, &ode);
        Ok((truth, (2..=self.all.order()).map(solve).collect::<Result<Vec<_>, _>>()?))
    }
}

/// Curves over widths of the errors at one time for p = 2, 3, ..: geometric means over independent draws. `found` has the
/// draws of each width.
///
/// Errors are polynomials in Gaussian weights, of a degree that grows with p. Once their law is nearly Gaussian, at widths
/// above its kurtosis, the logarithm of a network's error scatters by about one at any width, and its mean has the slope
/// of the size. Below that typical errors are small beside the rare ones and fall more slowly, and root mean squares take
/// thousands of draws: for p = 4 the kurtosis is in the hundreds.
pub(super) fn in_width(widths: &[usize], found: &[Vec<Vec<f64>>]) -> anyhow::Result<Vec<Curve>> {
    let orders = found.first().and_then(|draws| draws.first()).map_or(0, Vec::len);
    let of = |k: usize| -> Vec<Vec<f64>> {
        found.iter().map(|draws| draws.iter().map(|errors| errors[k]).collect()).collect()
    };
    (0..orders).map(|k| Ok(slope_of_samples(&abscissae(widths), &of(k), Average::Geometric)?)).collect()
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    let sum: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (sum / a.len() as f64).sqrt()
}
