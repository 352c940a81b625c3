//! One step of gradient descent from the bold kernels (NTH eq. 29, corrected).

use netsor_ir::transform::DirectionMode;

use crate::flow::check_targets;
use crate::{Hierarchy, KernelTensor, Kernels, NthError};

/// The output and `K^(2)` after one step of gradient descent with learning rate `eta`, by their Taylor series in `eta`
/// up to `eta^order`:
///
/// `f_a(t+1) = f_a + sum_(k>=1) (1/k!) (-eta/n)^k (nabla^k f_a)(g_b1, .., g_bk) r_b1 .. r_bk`,
/// `K^(2)(t+1)(a, b) = sum_(k>=0) (1/k!) (-eta/n)^k bold K^(k+2)(a, b, c_1, .., c_k) r_c1 .. r_ck`.
///
/// The paper's eq. 29 lacks the factorial and has the power `r` where `r - 2` belongs; as printed, the correction does
/// not reduce the order of the error. The remainder is of order `eta^(order+1)`. The output's series needs
/// `nabla^k f` for `k <= order` only, so it goes as far as the kernels given, at most to `order`.
///
/// # Errors
/// If the hierarchy is not a bold one or `bold K^(order+2)` was not computed; targets that do not fit.
pub fn discrete_step(
    hierarchy: &Hierarchy,
    bold: &Kernels,
    targets: &[f64],
    eta: f64,
    order: usize,
) -> Result<(Vec<f64>, KernelTensor), NthError> {
    bold.of_order(order + 2)?;
    if hierarchy.mode != DirectionMode::Frozen {
        return Err(NthError::LiveKernels);
    }
    let k2 = &bold.kernels[0];
    let (points, train) = (k2.n_points(), k2.n_train());
    check_targets(targets, train)?;
    let rate = -eta / bold.n_examples as f64;
    let residuals: Vec<f64> = bold.f.iter().zip(targets).map(|(f, y)| f - y).collect();
    let mut all = residuals.clone();
    all.resize(points, 0.0);

    let mut f = bold.f.clone();
    let mut factor = 1.0;
    for (k, derivative) in bold.derivatives.iter().enumerate().take(order) {
        factor *= rate / (k + 1) as f64;
        // Test points have residual 0, so that later arguments may run over all points.
        let contracted = (0..=k).fold(derivative.clone(), |tensor, _| contract(&tensor, &all));
        f.iter_mut().zip(contracted).for_each(|(f, d)| *f += factor * d);
    }
    let mut kernel = k2.packed().to_vec();
    let mut factor = 1.0;
    for (k, tensor) in bold.kernels.iter().enumerate().skip(1).take(order) {
        factor *= rate / k as f64;
        kernel.iter_mut().zip(tensor.contracted(&residuals)).for_each(|(x, d)| *x += factor * d);
    }
    Ok((f, k2.with_data(kernel)))
}

/// The sum over the last argument.
fn contract(tensor: &[f64], weights: &[f64]) -> Vec<f64> {
    tensor.chunks_exact(weights.len()).map(|row| row.iter().zip(weights).map(|(x, w)| x * w).sum()).collect()
}
