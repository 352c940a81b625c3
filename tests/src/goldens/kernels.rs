//! The kernels of networks given as lists of layers: `mlp`, `numerical`, `branch_norm_dropout`, `conv`,
//! `attention_graph`.

use std::collections::BTreeMap;

use netsor_ir::ValueId;
use netsor_ir::transform::kernels;
use netsor_kernel::{Inputs, KernelError, Options, Query, lower};
use netsor_limit::{Data, Deriver, Tolerance};
use netsor_zoo::Network;
use netsor_zoo::layers::{InputShape, Layer, network};
use serde_json::Value;

use super::json::{Array, field, named_cases, optional};
use super::limits::{LimitKernels, limit_kernels};
use super::{Case, Checks, Trouble};

/// Agreement of closed forms, relative to the kernel's diagonal: both sides compute in double precision.
const CLOSED_FORM: f64 = 1e-10;
/// The least agreement to ask for near coincident inputs, where the reference takes the arc cosine of a cancelled
/// difference; see [`coincident`] for what the layers make of it.
const COINCIDENT: f64 = 1e-8;
/// Correlations closer to 1 or -1 than this count as coincident: there an error of 1e-16 in a correlation is one of
/// 1e-12 in its arc cosine, which the layers behind it enlarge.
const NEAR: f64 = 1e-6;
/// Agreement with the two-dimensional integration behind `numerical.json`.
const NUMERICAL: f64 = 1e-7;
/// Up to this many positions the entries are also evaluated one by one, as a second road to the same numbers.
const POSITIONS: u32 = 8;

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
    let read = |name: &str| {
        Array::read(field(case, name)?).ok_or_else(|| Trouble::not_covered(format!("`{name}` is no array")))
    };
    let (first, second) = (read("X1")?.finite("X1")?, read("X2")?.finite("X2")?);
    let batch = Batch::join(case, &first, &second)?;
    let (n1, n2) = (first.shape[0], second.shape[0]);
    let tolerances = Tolerances { numerical, coincident: coincident(&layers) };
    let mut checks = Checks::default();
    let compiled = batch.compiled(&layers, !numerical)?;
    if let Some(compiled) = &compiled {
        compare(case, &batch, (n1, n2), compiled, &tolerances, &mut checks)?;
    }
    if compiled.is_none() || batch.positions() <= POSITIONS {
        compare(case, &batch, (n1, n2), &batch.kernels(&layers, !numerical)?, &tolerances, &mut checks)?;
    }
    Ok(checks)
}

/// Relative errors that are allowed.
struct Tolerances {
    numerical: bool,
    coincident: f64,
}

fn compare(
    case: &Value,
    batch: &Batch,
    (n1, n2): (usize, usize),
    kernels: &LimitKernels,
    tolerances: &Tolerances,
    checks: &mut Checks,
) -> Result<(), Trouble> {
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
                // A correlation with a constant is NaN: nothing is coincident.
                let near = 1.0 - correlation.abs() < NEAR || batch.coincide(i, j);
                let relative = match (tolerances.numerical, near) {
                    (true, _) => NUMERICAL,
                    (false, true) => tolerances.coincident,
                    (false, false) => CLOSED_FORM,
                };
                checks.close(|| format!("{key}[{i}, {}]", j - offset), found[i * n + j], expected, relative * scale);
            }
        }
    }
    Ok(())
}

/// The error of a reference near coincident inputs. Near correlation 1 a jump has a kernel with a square root in it, and
/// a kink has one in the derivative: an error `e` in the covariance becomes `sqrt(e)` in the covariance behind a jump,
/// and in the tangent kernel behind a kink. Both start at rounding.
fn coincident(layers: &[Layer]) -> f64 {
    fn pass(layers: &[Layer], nngp: &mut f64, ntk: &mut f64) {
        for layer in layers {
            match layer {
                Layer::Parallel { branches } => branches.iter().for_each(|branch| pass(branch, nngp, ntk)),
                Layer::Sign {} | Layer::RectifiedMonomial { degree: 0 } => *nngp = nngp.sqrt(),
                Layer::Relu {}
                | Layer::LeakyRelu { .. }
                | Layer::ABRelu { .. }
                | Layer::Abs {}
                | Layer::RectifiedMonomial { .. } => *ntk += nngp.sqrt(),
                _ => {}
            }
        }
    }
    let (mut nngp, mut ntk) = (f64::EPSILON, 0.0);
    pass(layers, &mut nngp, &mut ntk);
    COINCIDENT.max(nngp).max(ntk)
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
        let size =
            |s: usize| u32::try_from(s).map_err(|_| Trouble::not_covered("an input with more than 2^32 entries"));
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
        let network = network("layers", layers, &self.shape).map_err(Trouble::not_covered)?;
        let data = self.numbers(&network)?.into_iter().fold(Data::new(), |d, (id, x)| d.with(id, x.to_vec()));
        let precision = if closed { 1e-12 } else { NUMERICAL / 100.0 };
        let asked = Tolerance { absolute: precision, relative: precision, max_points: 1 << 20, ..Tolerance::default() };
        limit_kernels(&network, &data, asked)
    }

    /// The same kernels by a compiled plan; `None` if they are no function of two inputs alone, as with dropout, whose
    /// zeros are the same only for an input and itself.
    fn compiled(&self, layers: &[Layer], closed: bool) -> Result<Option<LimitKernels>, Trouble> {
        let network = network("layers", layers, &self.shape).map_err(Trouble::not_covered)?;
        let kernels = kernels(&network).map_err(Trouble::failed)?;
        let output = kernels.outputs.first().ok_or_else(|| Trouble::failed("the network has no output"))?;
        let nngp = output.nngp.ok_or_else(|| Trouble::failed("the output has no NNGP kernel"))?;
        let mut deriver = Deriver::new(&kernels.program);
        let nngp = deriver.scalar(nngp).map_err(Trouble::failed)?;
        let ntk = deriver.scalar(output.ntk).map_err(Trouble::failed)?;
        let graph = deriver.into_graph();
        let queries = [Query::new("nngp", nngp), Query::new("ntk", ntk)];
        let plan = match lower(&graph, &kernels.program, &queries) {
            Err(KernelError::DependsOnPosition { .. }) => return Ok(None),
            plan => plan.map_err(Trouble::failed)?,
        };
        let inputs = Inputs::new(self.shape.inputs as usize);
        let inputs = self.numbers(&network)?.into_iter().fold(inputs, |all, (id, x)| all.with(id, x));
        let options = Options { tolerance: if closed { 1e-11 } else { NUMERICAL / 100.0 }, ..Options::default() };
        let mut values = plan.run(&inputs, None, &options).map_err(Trouble::failed)?.values.into_iter();
        let mut next = || values.next().ok_or_else(|| Trouble::failed("a query has no answer"));
        Ok(Some(LimitKernels { nngp: next()?, ntk: next()?, parts: BTreeMap::new() }))
    }

    /// The numbers of the network's data.
    fn numbers(&self, network: &Network) -> Result<Vec<(ValueId, &[f64])>, Trouble> {
        let xi = network.program.find("xi").ok_or_else(|| Trouble::failed("the network has no data `xi`"))?;
        let mut numbers = vec![(xi, &self.x[..])];
        match (network.program.find("pattern"), &self.patterns) {
            (Some(pattern), Some(of_pattern)) => numbers.push((pattern, of_pattern)),
            (None, None) => {}
            _ => return Err(Trouble::not_covered("patterns without an Aggregate, or the other way round")),
        }
        Ok(numbers)
    }

    /// The number of positions of an input.
    fn positions(&self) -> u32 {
        self.shape.positions.iter().fold(1, |all, &p| all.saturating_mul(p))
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
