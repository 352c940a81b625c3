//! Kernel matrices of networks between the points of data sets.

use anyhow::bail;
use netsor_data::Matrix;
use netsor_ir::transform::kernels;
use netsor_ir::verify::Verified;
use netsor_ir::Network;
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};
use netsor_predict::Mat;

use crate::output;
use crate::task::{input, with_batch_of};

/// Most entries that are computed one by one.
const LIMIT: usize = 400_000;

/// The kernels of the first output (its first component) between rows and columns.
pub(crate) struct Matrices {
    /// The tangent kernel.
    pub(crate) ntk: Mat<f64>,
    /// The covariance at initialisation, if it exists.
    pub(crate) nngp: Option<Mat<f64>>,
}

/// The kernel matrices between two sets of points, by the limit engine; symmetric when both are the same.
pub(crate) fn kernel_matrices(network: &Verified<Network>, rows: &Matrix, cols: &Matrix) -> anyhow::Result<Matrices> {
    let (m, n) = (rows.n_rows(), cols.n_rows());
    let symmetric = std::ptr::eq(rows, cols);
    if LIMIT < m * n {
        bail!("{m} x {n} points are more than the limit of {LIMIT} entries; use fewer points");
    }
    let total = if symmetric { n } else { m + n };
    let network = with_batch_of(network, total)?;
    let kernels = kernels(&network)?;
    let program = &kernels.program;
    let Some(output) = kernels.outputs.first() else { bail!("`{}` has no output", program.name) };
    // The program of the kernels begins with the network's values.
    let data = input(&network.program)?;
    let mut numbers = rows.as_slice().to_vec();
    if !symmetric {
        numbers.extend_from_slice(cols.as_slice());
    }

    let mut deriver = Deriver::new(program);
    let ntk = deriver.scalar(output.ntk)?;
    let nngp = output.nngp.map(|id| deriver.scalar(id)).transpose()?;
    let graph = deriver.into_graph();
    let data = Data::new().with(data, numbers);
    let tolerance = Tolerance { absolute: 1e-8, relative: 1e-8, ..Tolerance::default() };
    let mut evaluator = Evaluator::new(&graph, program, &data, tolerance)?;
    let half = output.indices.len();
    let offset = if symmetric { 0 } else { m };
    let mut matrices = Matrices { ntk: Mat::zeros(m, n), nngp: nngp.map(|_| Mat::zeros(m, n)) };
    let bar = output::progress(m, "kernel");
    for i in 0..m {
        for j in 0..if symmetric { i + 1 } else { n } {
            let mut at = vec![0u32; 2 * half];
            at[0] = i as u32;
            at[half] = (offset + j) as u32;
            let set = |matrix: &mut Mat<f64>, value: f64| {
                matrix[(i, j)] = value;
                if symmetric {
                    matrix[(j, i)] = value;
                }
            };
            set(&mut matrices.ntk, evaluator.value(ntk, &at)?.value);
            if let (Some(matrix), Some(nngp)) = (&mut matrices.nngp, nngp) {
                set(matrix, evaluator.value(nngp, &at)?.value);
            }
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(matrices)
}
