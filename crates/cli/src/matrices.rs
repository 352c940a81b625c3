//! Kernel matrices of networks between the points of data sets, by compiled plans.

use anyhow::{anyhow, bail};
use netsor_data::Matrix;
use netsor_ir::Network;
use netsor_ir::transform::kernels;
use netsor_ir::verify::Verified;
use netsor_kernel::{Inputs, Options, Query, lower};
use netsor_limit::Deriver;
use netsor_predict::Mat;

use crate::output;
use crate::task::input;

/// The kernels of the output (its first component) between rows and columns.
pub(crate) struct Matrices {
    /// The tangent kernel.
    pub(crate) ntk: Mat<f64>,
    /// The covariance at initialisation, if it exists.
    pub(crate) nngp: Option<Mat<f64>>,
    /// Integrals whose error is above the tolerance of kernels.
    pub(crate) not_met: usize,
}

/// Says on the error stream how many integrals of kernels are less accurate than kernels should be.
pub(crate) fn warn_not_met(not_met: usize) {
    if 0 < not_met {
        eprintln!(
            "warning: {not_met} integrals of the kernel did not meet their tolerance of {:e}; `netsor limit` has the errors of \
             single entries",
            Options::default().tolerance
        );
    }
}

/// The kernel matrices of `rows` against `cols`, or against themselves.
pub(crate) fn kernel_matrices(
    network: &Verified<Network>,
    rows: &Matrix,
    cols: Option<&Matrix>,
) -> anyhow::Result<Matrices> {
    let kernels = kernels(network)?;
    let program = &kernels.program;
    let [output] = &kernels.outputs[..] else {
        bail!(
            "`{}` has {} outputs, and a kernel matrix has one; leave one in the text",
            program.name,
            kernels.outputs.len()
        );
    };
    let mut deriver = Deriver::new(program);
    let n_axes = output.indices.len();
    let mut queries = vec![Query::component("ntk", deriver.scalar(output.ntk)?, n_axes, &[], &[])];
    if let Some(nngp) = output.nngp {
        queries.push(Query::component("nngp", deriver.scalar(nngp)?, n_axes, &[], &[]));
    }
    let plan = lower(&deriver.into_graph(), program, &queries)?;

    // The program of the kernels begins with the network's values.
    let data = input(&network.program)?;
    let inputs = |points: &'_ Matrix| Inputs::new(points.n_rows()).with(data, points.as_slice().to_vec());
    let bar = output::progress(0, "kernel");
    let progress = |done: usize, all: usize| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    };
    let options = Options { progress: Some(&progress), ..Options::default() };
    let columns = cols.map(inputs);
    let result = plan.run(&inputs(rows), columns.as_ref(), &options)?;
    bar.finish_and_clear();
    let not_met = result.statistics.not_met;
    warn_not_met(not_met);
    let (m, n) = (result.rows, result.cols);
    let matrix = |name: &str| result.get(name).map(|entries| Mat::from_fn(m, n, |i, j| entries[i * n + j]));
    let ntk = matrix("ntk").ok_or_else(|| anyhow!("`{}` has no tangent kernel", program.name))?;
    Ok(Matrices { ntk, nngp: matrix("nngp"), not_met })
}
