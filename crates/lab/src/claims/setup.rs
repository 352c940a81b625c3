//! What the claims share: digits, limit kernels, seeds in parallel, curves over widths.

use std::collections::BTreeMap;

use anyhow::Context as _;
use netsor_data::{Dataset, Scaling, load_digits, permutation};
use netsor_ir::transform::kernels;
use netsor_ir::{Network, Program, ValueId};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};
use rayon::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::stats::Curve;
use crate::{Axis, Figure, Series, Style, Table};

/// Images of the given classes, `each` of every class, one class after the other, with
/// `|x|^2 = 64`: flat, image after image, row after row.
pub(super) fn digits(ctx: &Context, classes: &[usize], each: usize) -> anyhow::Result<Vec<f64>> {
    let images = load_digits(&ctx.data_dir)?;
    let scaling = Scaling::unit_range(images.inputs());
    let images = images.scaled(&scaling)?.on_sphere()?;
    let labels = images.classes()?;
    let chosen: Vec<usize> = classes
        .iter()
        .flat_map(|class| {
            let of_class = move |k: &usize| labels[*k] == *class;
            (0..labels.len()).filter(of_class).take(each)
        })
        .collect();
    Ok(images.select(&chosen)?.inputs().as_slice().to_vec())
}

/// Two classes of digits as +1 and -1, split into training and test points.
pub(super) struct TwoClasses {
    /// Training points, then test points: flat, each with `|x|^2 = 64`.
    pub(super) inputs: Vec<f64>,
    /// Targets of all points, in the same order.
    pub(super) targets: Vec<f64>,
    pub(super) n_train: usize,
    pub(super) n_test: usize,
}

impl TwoClasses {
    /// A random split of the classes `plus` and `minus`, a function of the seed of the run.
    pub(super) fn load(
        ctx: &Context,
        (plus, minus): (usize, usize),
        (n_train, n_test): (usize, usize),
    ) -> anyhow::Result<Self> {
        let images = load_digits(&ctx.data_dir)?;
        let scaling = Scaling::unit_range(images.inputs());
        let images: Dataset = images.scaled(&scaling)?.on_sphere()?.select_classes(&[plus, minus])?;
        let order = permutation(images.n_points(), ctx.seed);
        let images = images.select(&order[..(n_train + n_test).min(order.len())])?;
        let targets = images.classes()?.iter().map(|&c| if c == 0 { 1.0 } else { -1.0 }).collect();
        let inputs = images.inputs().as_slice().to_vec();
        Ok(Self { inputs, targets, n_train, n_test })
    }

    /// `f - y` at training points and 0 at test points: the derivative of the sum of squares.
    pub(super) fn train_residuals(&self, f: &[f64]) -> Vec<f64> {
        let residual = |(i, (f, y)): (usize, (&f64, &f64))| if i < self.n_train { f - y } else { 0.0 };
        f.iter().zip(&self.targets).enumerate().map(residual).collect()
    }

    pub(super) fn n_points(&self) -> usize {
        self.n_train + self.n_test
    }
}

/// The limit of a network's tangent kernel on some inputs.
pub(super) struct LimitKernel {
    /// Rows and columns.
    pub(super) size: usize,
    /// The kernel by rows.
    pub(super) ntk: Vec<f64>,
    /// The shares of the trained parameters, by name.
    pub(super) parts: BTreeMap<String, Vec<f64>>,
    /// The largest error of an entry, as the engine states it.
    pub(super) error: f64,
}

/// The limit of the tangent kernel of `network`, which has the data `xi` and one output `f[i]`.
///
/// `rows` says which rows are needed: entries (i, j) with `i` below it are computed, and their
/// mirror images; all others are zero.
pub(super) fn limit_kernel(network: &Network, xi: &[f64], rows: usize, tolerance: f64) -> anyhow::Result<LimitKernel> {
    let kernels = kernels(network)?;
    let output = &kernels.outputs[0];
    let (names, parts): (Vec<String>, Vec<ValueId>) =
        output.ntk_parts.iter().map(|(&parameter, &part)| (name(network, parameter), part)).unzip();
    let values: Vec<ValueId> = [output.ntk].into_iter().chain(parts).collect();
    let (mut matrices, error) = limits(&kernels.program, &values, xi, rows, tolerance)?;
    let parts = matrices.split_off(1);
    let size = kernels.program.family_sizes(output.ntk)[0];
    let parts = names.into_iter().zip(parts).collect();
    Ok(LimitKernel { size, ntk: matrices.remove(0), parts, error })
}

/// The limits of symmetric scalar families `K[i, i']` as matrices by rows, and the largest error of
/// an entry. `rows` as for [`limit_kernel`].
pub(super) fn limits(
    program: &Program,
    values: &[ValueId],
    xi: &[f64],
    rows: usize,
    tolerance: f64,
) -> anyhow::Result<(Vec<Vec<f64>>, f64)> {
    let data = Data::new().with(find(program, "xi")?, xi.to_vec());
    let mut deriver = Deriver::new(program);
    let exprs = values.iter().map(|&v| deriver.scalar(v)).collect::<Result<Vec<_>, _>>()?;
    let graph = deriver.into_graph();
    let tolerance = Tolerance { absolute: tolerance, relative: 0.0, ..Tolerance::default() };
    let mut evaluator = Evaluator::new(&graph, program, &data, tolerance)?;
    let mut error: f64 = 0.0;
    let mut matrices = Vec::new();
    for (expr, value) in exprs.into_iter().zip(values) {
        let size = program.family_sizes(*value)[0];
        let mut entries = vec![0.0; size * size];
        for i in 0..rows.min(size) {
            for j in i..size {
                let found = evaluator.value(expr, &[i as u32, j as u32])?;
                error = error.max(found.error);
                entries[i * size + j] = found.value;
                entries[j * size + i] = found.value;
            }
        }
        matrices.push(entries);
    }
    Ok((matrices, error))
}

/// A value of a program by its name.
pub(super) fn find(program: &Program, name: &str) -> anyhow::Result<ValueId> {
    let missing = || format!("the program `{}` has no value `{name}`", program.name);
    program.find(name).with_context(missing)
}

/// The name of a value of a network's program.
pub(super) fn name(network: &Network, value: ValueId) -> String {
    network.program.value(value).name.clone()
}

/// One result a seed, computed in parallel, in the order of the seeds. Each is a unit of work that
/// an interrupted run keeps; `key` names what it depends on besides seed and configuration.
pub(super) fn over_seeds<T>(
    ctx: &Context,
    key: &str,
    seeds: &[u64],
    work: impl Fn(u64) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<T>>
where
    T: Serialize + DeserializeOwned + Send,
{
    ctx.progress().add_units(seeds.len());
    let run = |&seed: &u64| ctx.unit(&format!("{key} seed={seed}"), || work(seed));
    seeds.par_iter().map(run).collect()
}

/// Widths, each with its number of draws: `widest` at the largest width and at the next ones, and at the smallest as
/// many more as they are cheaper, up to 4 times.
///
/// Draws at two widths are independent, so that a seed need not serve all of them. A slope is decided by its ends: at a
/// cost of `n^2` a draw its variance is least if the numbers of draws at the ends are as `1/n`.
pub(super) fn draws(widths: &[usize], widest: usize) -> Vec<(usize, usize)> {
    let (first, last) = (widths[0], widths[widths.len() - 1]);
    let count = |n: usize| if n == first { widest * (last / first).clamp(1, 4) } else { widest };
    widths.iter().map(|&n| (n, count(n))).collect()
}

/// One result a draw for each width, in the order of widths and seeds; units of work as for [`over_seeds`].
pub(super) fn over_draws<T>(
    ctx: &Context,
    key: &str,
    draws: &[(usize, usize)],
    work: impl Fn(usize, u64) -> anyhow::Result<T> + Sync,
) -> anyhow::Result<Vec<Vec<T>>>
where
    T: Serialize + DeserializeOwned + Send,
{
    // The dearest first, so that no thread is left with one of them in the end.
    let pairs = |(k, &(n, count)): (usize, &(usize, usize))| ctx.seeds(count).into_iter().map(move |seed| (k, n, seed));
    let all: Vec<(usize, usize, u64)> = draws.iter().enumerate().rev().flat_map(pairs).collect();
    ctx.progress().add_units(all.len());
    let run = |&(k, n, seed): &(usize, usize, u64)| {
        ctx.unit(&format!("{key} n={n} seed={seed}"), || work(n, seed)).map(|found| (k, found))
    };
    let mut columns: Vec<Vec<T>> = draws.iter().map(|_| Vec::new()).collect();
    for (k, found) in all.par_iter().map(run).collect::<anyhow::Result<Vec<_>>>()? {
        columns[k].push(found);
    }
    Ok(columns)
}

/// Numbers of draws in words, for captions.
pub(super) fn draws_text(draws: &[(usize, usize)]) -> String {
    let counts = draws.iter().map(|d| d.1);
    let (least, most) = (counts.clone().min().unwrap_or(0), counts.max().unwrap_or(0));
    if least == most { format!("{least} draws a width") } else { format!("{least} to {most} draws a width") }
}

/// `|a - b| / |b|` in the Frobenius norm.
pub(super) fn relative_distance(a: &[f64], b: &[f64]) -> f64 {
    let distance: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (distance / dot(b, b)).sqrt()
}

/// `<a, b> / <b, b>`: 1 when `a` agrees with `b` in the direction of `b`.
pub(super) fn projection(a: &[f64], b: &[f64]) -> f64 {
    dot(a, b) / dot(b, b)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Column `k` of every row.
pub(super) fn column(rows: &[Vec<Vec<f64>>], k: usize) -> Vec<Vec<f64>> {
    rows.iter().map(|row| row.iter().map(|at_width| at_width[k]).collect()).collect()
}

/// Widths as abscissae.
pub(super) fn abscissae(widths: &[usize]) -> Vec<f64> {
    widths.iter().map(|&n| n as f64).collect()
}

/// A measured curve over widths beside the predicted slope.
pub(super) fn slope_figure(
    title: &str,
    what: &str,
    curves: &[(&str, &Curve)],
    slope: (f64, &str),
    caption: String,
) -> Figure {
    let mut series = Vec::new();
    if let Some((_, curve)) = curves.first()
        && let (Some(first), Some(last)) = (curve.points.first(), curve.points.last())
    {
        let middle = (first.x * last.x).sqrt();
        let anchor = (middle, curve.fit.at(middle));
        series.push(Series::reference_slope(slope.1, slope.0, anchor, (first.x, last.x)));
    }
    for (name, curve) in curves {
        let points = curve.points.iter().map(|p| (p.x, p.y));
        let intervals = curve.points.iter().map(|p| p.interval);
        series.push(Series::new(*name, Style::Markers, points).with_interval(intervals));
    }
    Figure { title: title.to_owned(), x: Axis::log("width n"), y: Axis::log(what), series, caption }
}

/// A measured curve as a table.
pub(super) fn slope_table(title: &str, what: &str, curve: &Curve) -> Table {
    let mut table = Table::new(title, ["$n$", what, "95 % from", "to"]);
    for point in &curve.points {
        table.push([point.x, point.y, point.interval.0, point.interval.1]);
    }
    table
}
