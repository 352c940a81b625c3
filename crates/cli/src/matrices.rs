//! Kernel matrices of networks between the points of data sets, by compiled plans.

use anyhow::{anyhow, bail};
use clap::ValueEnum;
use netsor_data::Matrix;
use netsor_ir::transform::kernels::OutputKernels;
use netsor_ir::transform::{Kernels, joint_kernels, kernels};
use netsor_ir::verify::Verified;
use netsor_ir::{Network, Program, ValueId};
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

/// Which kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// The tangent kernel
    Ntk,
    /// The covariance of the output at initialisation
    Nngp,
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

/// The kernel matrices of `rows` against `cols`, or against themselves, of a network with one output.
pub(crate) fn kernel_matrices(
    network: &Verified<Network>,
    rows: &Matrix,
    cols: Option<&Matrix>,
) -> anyhow::Result<Matrices> {
    let kernels = kernels(network)?;
    let output = the_output(&kernels)?;
    let mut wanted = vec![(output.ntk, output.indices.len())];
    wanted.extend(output.nngp.map(|nngp| (nngp, output.indices.len())));
    let (mut found, not_met) = fill(network, &kernels.program, &wanted, rows, cols)?;
    let nngp = output.nngp.and_then(|_| found.pop());
    let ntk = found.pop().ok_or_else(|| anyhow!("`{}` has no tangent kernel", network.program.name))?;
    Ok(Matrices { ntk, nngp, not_met })
}

/// One kernel matrix of the points against themselves, and how many integrals did not meet their tolerance: of the only
/// output, of the one of this name, or between two of them. The other kernels need not exist.
pub(crate) fn kernel_matrix(
    network: &Verified<Network>,
    kind: Kind,
    names: &[String],
    points: &Matrix,
) -> anyhow::Result<(Mat<f64>, usize)> {
    let kernels = if names.len() == 2 { joint_kernels(network)? } else { kernels(network)? };
    let program = &kernels.program;
    let find = |name: &String| {
        let found = kernels.outputs.iter().position(|output| program.value(output.output).name == *name);
        found.ok_or_else(|| {
            let outputs: Vec<String> =
                kernels.outputs.iter().map(|output| format!("`{}`", program.value(output.output).name)).collect();
            anyhow!("--output {name}: `{}` has no such output; it has {}", program.name, outputs.join(", "))
        })
    };
    let same = |output: &OutputKernels| (output.ntk, output.nngp, output.nngp_reason.clone(), output.indices.len());
    let mut turned = false;
    let (ntk, nngp, reason, n_axes) = match names {
        [] => same(the_output(&kernels)?),
        [name] => same(&kernels.outputs[find(name)?]),
        [first, second] => {
            let (a, b) = (find(first)?, find(second)?);
            turned = b < a;
            let ids = [a.min(b), a.max(b)].map(|k| kernels.outputs[k].output);
            match kernels.between.iter().find(|pair| pair.outputs == (ids[0], ids[1])) {
                Some(pair) => {
                    let axes = [a, b].map(|k| kernels.outputs[k].indices.len());
                    if axes[0] != axes[1] {
                        bail!("--output {first},{second}: the outputs have {} and {} indices", axes[0], axes[1]);
                    }
                    (pair.ntk, pair.nngp, pair.nngp_reason.clone(), axes[0])
                }
                None => same(&kernels.outputs[a]),
            }
        }
        more => bail!("--output {}: expected one output or two", more.join(",")),
    };
    let wanted = match (kind, nngp, reason) {
        (Kind::Ntk, ..) => ntk,
        (Kind::Nngp, Some(nngp), _) => nngp,
        (Kind::Nngp, None, Some(reason)) => return Err(reason.into()),
        (Kind::Nngp, None, None) => bail!("the output of `{}` has no NNGP kernel", program.name),
    };
    let (mut found, not_met) = fill(network, program, &[(wanted, n_axes)], points, None)?;
    let matrix = found.pop().ok_or_else(|| anyhow!("`{}` has no such kernel", program.name))?;
    Ok((if turned { matrix.transpose().to_owned() } else { matrix }, not_met))
}

fn the_output(kernels: &Kernels) -> anyhow::Result<&OutputKernels> {
    let [output] = &kernels.outputs[..] else {
        bail!(
            "`{}` has {} outputs, and a kernel matrix has one; `netsor kernel --output` chooses one, or two",
            kernels.program.name,
            kernels.outputs.len()
        );
    };
    Ok(output)
}

/// Fills the matrices of some kernels, each with the number of indices of an output.
fn fill(
    network: &Verified<Network>,
    program: &Program,
    wanted: &[(ValueId, usize)],
    rows: &Matrix,
    cols: Option<&Matrix>,
) -> anyhow::Result<(Vec<Mat<f64>>, usize)> {
    let mut deriver = Deriver::new(program);
    let mut queries = Vec::new();
    for &(kernel, n_axes) in wanted {
        let name = &program.value(kernel).name;
        queries.push(Query::component(name, deriver.scalar(kernel)?, n_axes, &[], &[]));
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
    let result = plan.run(&inputs(rows), columns.as_ref(), &options);
    bar.finish_and_clear();
    let result = result.map_err(|error| with_zeros(error.into(), rows))?;
    let not_met = result.statistics.not_met;
    warn_not_met(not_met);
    let (m, n) = (result.rows, result.cols);
    let matrix = |query: &Query| result.get(&query.name).map(|entries| Mat::from_fn(m, n, |i, j| entries[i * n + j]));
    Ok((queries.iter().filter_map(matrix).collect(), not_met))
}

/// An error of a kernel, which names points of norm 0, by which layers that normalise divide.
pub(crate) fn with_zeros(error: anyhow::Error, points: &Matrix) -> anyhow::Error {
    let zero = |row: &usize| points.row(*row).iter().all(|x| *x == 0.0);
    let rows: Vec<usize> = (0..points.n_rows()).filter(zero).collect();
    let Some(first) = rows.first() else { return error };
    let (more, s) = match rows.len() {
        1 => (String::new(), ""),
        n => (format!(" and {} more", n - 1), "s"),
    };
    let problem = format!(
        "all features of point{s} {first}{more} (counted from 0) are 0; if the network divides by a norm, remove such rows \
         or use --scale standard"
    );
    error.context(problem)
}
