//! The kernels of networks given as lists of layers: `mlp`, `numerical`, `branch_norm_dropout`, `conv`,
//! `attention_graph`.

use netsor_limit::{Data, Tolerance};
use netsor_zoo::layers::{InputShape, Layer, network};
use serde_json::Value;

use super::json::{Array, field, named_cases, optional};
use super::limits::{LimitKernels, limit_kernels};
use super::{Case, Checks, Trouble};

/// Agreement of closed forms, relative to the kernel's diagonal: both sides compute in double precision.
const CLOSED_FORM: f64 = 1e-10;
/// Agreement near coincident inputs, where the reference takes the arc cosine of a cancelled difference.
const COINCIDENT: f64 = 1e-8;
/// Correlations closer to 1 or -1 than this count as coincident: there an error of 1e-16 in a correlation is one of
/// 1e-12 in its arc cosine, which the layers behind it enlarge.
const NEAR: f64 = 1e-6;
/// Agreement with the two-dimensional integration behind `numerical.json`.
const NUMERICAL: f64 = 1e-7;

pub(super) fn cases(stem: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "cases", if stem == "numerical" { check_numerical } else { check_closed })
}

fn check_closed(case: &Value) -> Result<Checks, Trouble> {
    check(case, false)
}

fn check_numerical(case: &Value) -> Result<Checks, Trouble> {
    check(case, true)
}

/// The layers of a field, or why they are not covered.
pub(super) fn layers(case: &Value) -> Result<Vec<Layer>, Trouble> {
    serde_json::from_value(field(case, "arch")?.clone()).map_err(|e| Trouble::not_covered(format!("`arch`: {e}")))
}

fn check(case: &Value, numerical: bool) -> Result<Checks, Trouble> {
    let layers = layers(case)?;
    let read = |name: &str| Array::read(field(case, name)?).ok_or_else(|| Trouble::not_covered(format!("`{name}` is no array")));
    let (first, second) = (read("X1")?.finite("X1")?, read("X2")?.finite("X2")?);
    let batch = Batch::join(case, &first, &second)?;
    let (n1, n2) = (first.shape[0], second.shape[0]);
    let kernels = batch.kernels(&layers, !numerical)?;
    let mut checks = Checks::default();
    let n = n1 + n2;
    for (name, found) in [("nngp", &kernels.nngp), ("ntk", &kernels.ntk)] {
        for (suffix, offset, columns) in [("11", 0, n1), ("12", n1, n2)] {
            let key = format!("{name}_{suffix}");
            if optional(case, &key).is_none() {
                continue;
            }
            let expected = Array::shaped(case, &key, &[n1, columns])?.numbers;
            for (at, &expected) in expected.iter().enumerate() {
                let (i, j) = (at / columns, offset + at % columns);
                // `null`: the library gave no finite number.
                if expected.is_nan() {
                    continue;
                }
                let diagonal = |k: usize, of: &[f64]| of[k * n + k];
                let scale = (diagonal(i, found) * diagonal(j, found)).sqrt().max(expected.abs());
                let nngp = &kernels.nngp;
                let correlation = nngp[i * n + j] / (diagonal(i, nngp) * diagonal(j, nngp)).sqrt();
                let relative = match () {
                    () if numerical => NUMERICAL,
                    // NaN is a correlation with a constant: nothing is coincident.
                    () if 1.0 - correlation.abs() < NEAR || batch.coincide(i, j) => COINCIDENT,
                    () => CLOSED_FORM,
                };
                checks.close(|| format!("{key}[{i}, {}]", j - offset), found[i * n + j], expected, relative * scale);
            }
        }
    }
    Ok(checks)
}

/// Both batches as one, so that every kernel between them is in one matrix.
pub(super) struct Batch {
    shape: InputShape,
    x: Vec<f64>,
    patterns: Option<Vec<f64>>,
}

impl Batch {
    /// Joins the batches; inputs have the channels last.
    pub(super) fn join(case: &Value, first: &Array, second: &Array) -> Result<Self, Trouble> {
        if first.shape.len() < 2 || first.shape[1..] != second.shape[1..] {
            return Err(Trouble::not_covered("the inputs have different shapes or no channels"));
        }
        let size = |s: usize| u32::try_from(s).map_err(|_| Trouble::not_covered("an input with more than 2^32 entries"));
        let inputs = size(first.shape[0] + second.shape[0])?;
        let (channels, positions) = first.shape[1..].split_last().map_or((0, &[][..]), |(c, p)| (*c, p));
        let positions: Vec<u32> = positions.iter().map(|&p| size(p)).collect::<Result<_, _>>()?;
        let x = first.numbers.iter().chain(&second.numbers).copied().collect();
        let patterns = match (optional(case, "pattern1"), optional(case, "pattern2")) {
            (None, None) => None,
            _ => {
                let of = |name: &str, n: usize| {
                    let sizes: Vec<usize> = [n].into_iter().chain(first.shape[1..2].repeat(2)).collect();
                    Array::shaped(case, name, &sizes)?.finite(name)
                };
                let (a, b) = (of("pattern1", first.shape[0])?, of("pattern2", second.shape[0])?);
                Some(a.numbers.into_iter().chain(b.numbers).collect())
            }
        };
        Ok(Self { shape: InputShape { inputs, positions, channels: size(channels)? }, x, patterns })
    }

    /// The limiting kernels of the network of a list of layers. `closed` asks for full precision.
    pub(super) fn kernels(&self, layers: &[Layer], closed: bool) -> Result<LimitKernels, Trouble> {
        let network = network(layers, &self.shape).map_err(Trouble::not_covered)?;
        let xi = network.program.find("xi").ok_or_else(|| Trouble::failed("the network has no data `xi`"))?;
        let mut data = Data::new().with(xi, self.x.clone());
        match (network.program.find("pattern"), &self.patterns) {
            (Some(pattern), Some(numbers)) => data = data.with(pattern, numbers.clone()),
            (None, None) => {}
            _ => return Err(Trouble::not_covered("patterns without an Aggregate, or the other way round")),
        }
        let precision = if closed { 1e-12 } else { NUMERICAL / 100.0 };
        let asked =
            Tolerance { absolute: precision, relative: precision, max_points: 1 << 20, ..Tolerance::default() };
        limit_kernels(&network, &data, asked)
    }

    /// Whether two inputs are parallel, up to rounding.
    fn coincide(&self, i: usize, j: usize) -> bool {
        let size = self.x.len() / self.shape.inputs.max(1) as usize;
        let (a, b) = (&self.x[i * size..(i + 1) * size], &self.x[j * size..(j + 1) * size]);
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let correlation = dot(a, b) / (dot(a, a) * dot(b, b)).sqrt();
        1.0 - correlation.abs() < NEAR
    }
}
