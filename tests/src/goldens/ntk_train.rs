//! `ntk_train_<net>.json`: limiting NNGP and tangent kernels, and kernel descent from given initial outputs.

use netsor_ir::ValueId;
use netsor_limit::{Data, Tolerance};
use netsor_predict::{KernelDescent, Mat, SquaredError};
use netsor_zoo::{Mlp, Network, Rnn, Tied};
use serde_json::Value;

use super::json::{Array, count, counts, field, float, list, text};
use super::limits::{LimitKernels, asked, limit_kernels};
use super::{Case, Checks, Trouble};

/// The reference is accurate to about 1e-12, but its author states 1e-8; 1e-6 for `tied`.
const TOLERANCE: f64 = 1e-8;
const TOLERANCE_TIED: f64 = 1e-6;
/// Kernel descent amplifies nothing here: steps are within the stable range.
const TOLERANCE_DESCENT: f64 = 1e-8;

pub(super) fn cases(stem: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    let file = file.clone();
    Ok(vec![Case::new(stem.trim_start_matches("ntk_train_"), move || check(&file))])
}

/// A network of these files, `f = v' x` with parameters `u`, `w...`, `v`.
pub(super) struct Small {
    pub(super) network: Network,
    /// The parameters with the names of the files, in order of the forward pass.
    pub(super) parameters: Vec<(String, ValueId)>,
    /// The data.
    pub(super) xi: ValueId,
    /// Number of inputs in the batch.
    pub(super) inputs: usize,
    /// The inputs in the layout of the data.
    pub(super) x: Vec<f64>,
}

impl Small {
    /// The network `kind` of a file or case: `mlp<L>`, `tied`, `rnn_last` or `rnn_sum`.
    pub(super) fn read(case: &Value) -> Result<Self, Trouble> {
        let kind = text(case, "kind")?;
        let x = Array::field(case, "X", 3)?.finite("X")?;
        let size = |k: usize, what: &str| {
            u32::try_from(x.shape[k]).map_err(|_| Trouble::not_covered(format!("too many {what}")))
        };
        let (inputs, steps, dim) = (size(0, "inputs")?, size(1, "steps")?, size(2, "dimensions")?);
        if count(case, "d")? != dim as usize || count(case, "T")? != steps as usize {
            return Err(Trouble::not_covered("`d` and `T` are not the shape of `X`"));
        }
        let single =
            || if steps == 1 { Ok(()) } else { Err(Trouble::not_covered("a sequence for a network without one")) };
        let network = match kind {
            "tied" => {
                single()?;
                Tied { inputs, dim, ..Tied::default() }.network()
            }
            "rnn_last" | "rnn_sum" => {
                let alpha = match super::json::optional(case, "alpha") {
                    Some(_) => Array::shaped(case, "alpha", &[steps as usize])?.finite("alpha")?.numbers,
                    None if kind == "rnn_last" => (1..=steps).map(|t| f64::from(u8::from(t == steps))).collect(),
                    None => vec![1.0; steps as usize],
                };
                Rnn { inputs, dim, readout: alpha, ..Rnn::default() }.network()
            }
            _ => {
                let hidden = kind.strip_prefix("mlp").and_then(|l| l.parse().ok()).filter(|l| (1..=64).contains(l));
                let hidden = hidden.ok_or_else(|| Trouble::not_covered(format!("unknown network `{kind}`")))?;
                single()?;
                Mlp { inputs, dim, hidden, ..Mlp::default() }.network()
            }
        };
        let network = network.map_err(Trouble::not_covered)?;
        let xi = network.program.find("xi").ok_or_else(|| Trouble::failed("the network has no data `xi`"))?;
        let hidden = network.parameters.len() - 2;
        let name = |k: usize| match k {
            0 => "u".to_owned(),
            _ if k == hidden + 1 => "v".to_owned(),
            _ if hidden == 1 => "w".to_owned(),
            _ => format!("w{k}"),
        };
        let parameters = network.parameters.iter().enumerate().map(|(k, p)| (name(k), p.value)).collect();
        Ok(Self { network, parameters, xi, inputs: inputs as usize, x: x.numbers })
    }
}

fn check(file: &Value) -> Result<Checks, Trouble> {
    let small = Small::read(file)?;
    let inputs = small.inputs;
    let tied = text(file, "kind")? == "tied";
    let tolerance = if tied { TOLERANCE_TIED } else { TOLERANCE };
    let data = Data::new().with(small.xi, small.x.clone());
    // A tenth of what is compared is asked of every integral; errors of the layers add up. The tied network has
    // expectations in more variables than a grid can take, so points are not spared.
    let wanted = Tolerance { max_points: Tolerance::default().max_points, ..asked(tolerance / 10.0) };
    let LimitKernels { nngp, ntk, mut parts } = limit_kernels(&small.network, &data, wanted)?;
    let mut checks = Checks::default();
    let expected = |name: &str| Array::shaped(file, name, &[inputs, inputs]).map(|a| a.numbers);
    checks.all_close("limit_nngp", &nngp, &expected("limit_nngp")?, tolerance)?;
    let expected_ntk = expected("limit_ntk")?;
    checks.all_close("limit_ntk", &ntk, &expected_ntk, tolerance)?;
    let expected = Array::field(file, "limit_ntk_parts", 3)?;
    let found = small
        .parameters
        .iter()
        .map(|(name, p)| parts.remove(p).ok_or_else(|| Trouble::failed(format!("no share of `{name}`"))))
        .collect::<Result<Vec<_>, _>>()?;
    for (name, found, expected) in pair_parts(tied, &small.parameters, found, &expected, inputs)? {
        checks.all_close(&format!("limit_ntk_parts of {name}"), &found, &expected, tolerance)?;
    }
    // The trajectories are exact for their kernel: where ours is only known to 1e-6, descent is checked with theirs.
    let kernel = if tied { expected_ntk } else { ntk };
    descend(file, &kernel, inputs, &mut checks)?;
    Ok(checks)
}

type Part = (String, Vec<f64>, Vec<f64>);

/// The shares of the parameters, found and expected. The file of the tied network has five: `v`, one for each of the two
/// uses of the one matrix, and two for `u`, directly and by the return path through both uses.
fn pair_parts(
    tied: bool,
    parameters: &[(String, ValueId)],
    found: Vec<Vec<f64>>,
    expected: &Array,
    inputs: usize,
) -> Result<Vec<Part>, Trouble> {
    if expected.shape[1..] != [inputs, inputs] {
        return Err(Trouble::not_covered("`limit_ntk_parts` does not fit the inputs"));
    }
    let size = inputs * inputs;
    let mut shares: Vec<Vec<f64>> = expected.numbers.chunks(size.max(1)).map(<[f64]>::to_vec).collect();
    if tied && shares.len() == 5 {
        let sum = |a: usize, b: usize| (0..size).map(|k| shares[a][k] + shares[b][k]).collect();
        shares = vec![sum(3, 4), sum(1, 2), shares[0].clone()];
    }
    if shares.len() != found.len() {
        return Err(Trouble::not_covered(format!("{} shares for {} parameters", shares.len(), found.len())));
    }
    Ok(parameters.iter().zip(found).zip(shares).map(|(((name, _), f), e)| (name.clone(), f, e)).collect())
}

/// Kernel descent with the limiting kernel from the initial outputs of the simulations.
fn descend(file: &Value, ntk: &[f64], inputs: usize, checks: &mut Checks) -> Result<(), Trouble> {
    let y = Array::shaped(file, "y", &[inputs])?.finite("y")?.numbers;
    let eta = float(file, "eta")?;
    let order = counts(file, "train_order")?;
    let loss = text(file, "loss")?;
    if loss != "(f-y)^2/2, batch 1" {
        return Err(Trouble::not_covered(format!("unknown loss `{loss}`")));
    }
    let k = Mat::from_fn(inputs, inputs, |i, j| ntk[i * inputs + j]);
    let targets = Mat::from_fn(inputs, 1, |i, _| y[i]);
    let no_tests = Mat::<f64>::zeros(0, inputs);
    let no_outputs = Mat::<f64>::zeros(0, 1);
    for (at, trajectory) in list(file, "example_trajectories")?.iter().enumerate() {
        let expected = Array::shaped(trajectory, "f_kernel", &[order.len() + 1, inputs])?;
        let start = Array::read(field(trajectory, "f")?).filter(|f| f.shape.last() == Some(&inputs));
        let start = start.ok_or_else(|| Trouble::not_covered("`f` is not a trajectory"))?.finite("f")?.numbers;
        let f0 = Mat::from_fn(inputs, 1, |i, _| start[i]);
        let mut descent = KernelDescent::new(
            k.as_ref(),
            no_tests.as_ref(),
            targets.as_ref(),
            f0.as_ref(),
            no_outputs.as_ref(),
            SquaredError,
        )
        .map_err(Trouble::failed)?;
        for (step, expected) in expected.numbers.chunks(inputs).enumerate() {
            let found: Vec<f64> = (0..inputs).map(|i| descent.f_train()[(i, 0)]).collect();
            checks.all_close(&format!("trajectory {at} after {step} steps"), &found, expected, TOLERANCE_DESCENT)?;
            if let Some(&point) = order.get(step) {
                descent.step_at(eta, point).map_err(Trouble::failed)?;
            }
        }
    }
    Ok(())
}
