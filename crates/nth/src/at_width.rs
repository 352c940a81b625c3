//! Predictions at a finite width, without training a network: the mean over initialisations to order `1/n`, and the
//! spread of single networks around it.
//!
//! Three parts, each by the road that suits it:
//!
//! - **The limit**: the flow of the limiting kernel from `f_0 = 0`.
//! - **The kernel at initialisation.** A network of width `n` has a kernel of its own, `K2_0`, off the limit by a random
//!   part of order `n^(-1/2)` and a bias of order `1/n`, and an `f_0` of order one. What they do to the fixed-kernel
//!   flow is simulated: networks are drawn and their kernels computed, none is trained. Given its hidden layers, a
//!   network and the one with opposite readout weights are equally likely and have the same `K2_0` and opposite `f_0`,
//!   and the flow is affine in `f_0`; so the average of the two is the flow from `f_0 = 0`, exactly.
//! - **The movement of the kernel**: [`crate::width_correction`], from the limits of `n K4` and `n E K3 f_0`.
//!
//! The mean is complete to order `1/n`. The spread has everything of order one and `n^(-1/2)`, that is its leading terms:
//! what the movement of the kernel adds to it is smaller by a factor `n^(-1)` than the variance from `f_0`.

use netsor_finite::Inputs;
use netsor_ir::network::Network;
use netsor_ir::verify::Verified;
use netsor_num::ode::OdeOptions;

use crate::{
    HierarchyExecutor, KernelOptions, Kernels, LimitKernels, NthError, Truncated, hierarchy, width_correction,
};

/// What networks of a width predict on all points, training points first, at each of the times.
#[derive(Clone, Debug, PartialEq)]
pub struct WidthPrediction {
    /// The width.
    pub width: usize,
    /// The times asked for.
    pub times: Vec<f64>,
    /// The mean at infinite width.
    pub limit: Vec<Vec<f64>>,
    /// What the kernel at initialisation adds to the mean at this width, simulated.
    pub initial: Vec<Vec<f64>>,
    /// The standard error of [`WidthPrediction::initial`].
    pub initial_error: Vec<Vec<f64>>,
    /// What the movement of the kernel adds to the mean at this width, to order `1/n`.
    pub movement: Vec<Vec<f64>>,
    /// The standard deviation of a single network's prediction over initialisations.
    pub deviation: Vec<Vec<f64>>,
}

impl WidthPrediction {
    /// The mean over initialisations at this width, to order `1/n`, for the time number `k` and the point `a`.
    ///
    /// # Panics
    /// If there is no such time or point.
    pub fn mean(&self, k: usize, a: usize) -> f64 {
        self.limit[k][a] + self.initial[k][a] + self.movement[k][a]
    }
}

/// The mean and the spread, over initialisations, of what a network of the width of `options` predicts after training by
/// gradient flow of `1/(2N) sum (f - y)^2`, at times that ascend from 0 or later. `inputs` has the data, and `limits`
/// are those of the same network on the same data, of order 4. `draws` networks are drawn, from the seed of `options`
/// on, and none is trained.
///
/// # Errors
/// As [`crate::width_correction`], [`HierarchyExecutor::kernels`] and [`Truncated::solve`]; fewer than two draws.
pub fn predict_at_width(
    network: &Verified<Network>,
    inputs: &Inputs,
    limits: &LimitKernels,
    targets: &[f64],
    times: &[f64],
    (options, draws): (&KernelOptions, u64),
    ode: &OdeOptions,
) -> Result<WidthPrediction, NthError> {
    if draws < 2 {
        let expected = "at least 2".to_owned();
        return Err(NthError::Order { what: "the number of draws", expected, found: draws as usize });
    }
    let correction = width_correction(limits, targets, times, ode)?;
    let second = hierarchy(network, 2)?;
    let mut executor = HierarchyExecutor::new(&second, options)?;
    let (count, points) = (draws as f64, correction.f.first().map_or(0, Vec::len));
    let zeros = vec![vec![0.0; points]; times.len()];
    // Sums of the flow from zero less the limit, of its square, and of the square of what f_0 adds.
    let (mut sum, mut square, mut own) = (zeros.clone(), zeros.clone(), zeros);
    for draw in 0..draws {
        let start = executor.kernels(inputs, options.seed.wrapping_add(draw))?;
        let [from_zero, from_start] = fixed_kernel_flows(&start, targets, times, ode)?;
        for k in 0..times.len() {
            for a in 0..points {
                let deviation = from_zero[k][a] - correction.f[k][a];
                sum[k][a] += deviation;
                square[k][a] += deviation * deviation;
                own[k][a] += (from_start[k][a] - from_zero[k][a]).powi(2);
            }
        }
    }
    let each = |f: &dyn Fn(usize, usize) -> f64| -> Vec<Vec<f64>> {
        (0..times.len()).map(|k| (0..points).map(|a| f(k, a)).collect()).collect()
    };
    let variance = |k: usize, a: usize| ((square[k][a] - sum[k][a].powi(2) / count) / (count - 1.0)).max(0.0);
    Ok(WidthPrediction {
        width: options.width,
        times: times.to_vec(),
        initial: each(&|k, a| sum[k][a] / count),
        initial_error: each(&|k, a| (variance(k, a) / count).sqrt()),
        movement: each(&|k, a| correction.shift[k][a] / options.width as f64),
        deviation: each(&|k, a| (variance(k, a) + own[k][a] / count).sqrt()),
        limit: correction.f,
    })
}

/// The flow of a network with its kernel held fixed: from `f_0 = 0`, and from its own `f_0`.
fn fixed_kernel_flows(
    start: &Kernels,
    targets: &[f64],
    times: &[f64],
    ode: &OdeOptions,
) -> Result<[Vec<Vec<f64>>; 2], NthError> {
    let zero = Kernels { f: vec![0.0; start.f.len()], ..start.clone() };
    let flow = |kernels: &Kernels| Ok::<_, NthError>(Truncated::new(kernels, targets, 2)?.solve(times, ode)?.f);
    Ok([flow(&zero)?, flow(start)?])
}
