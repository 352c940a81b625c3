//! `tp_rnn.json`: recurrent networks in the convention of NTK4A, where weights are drawn with their variance and the
//! gradient is taken with respect to them.

use netsor_ir::transform::kernels;
use netsor_limit::Data;
use netsor_zoo::{Activation, Rnn};
use serde_json::Value;

use super::json::{Array, field, float, named_cases, text};
use super::limits::{all_pairs, asked, find, limit_kernels, second_moments, with_variance};
use super::{Case, Checks, Trouble};

/// Closed forms on both sides; the reference is within 1e-12 of its own limit.
const TOLERANCE: f64 = 1e-10;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "cases", check)
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    if text(case, "kind")? != "rnn" {
        return Err(Trouble::not_covered(format!("unknown kind `{}`", text(case, "kind")?)));
    }
    let name = text(case, "activation")?;
    let activation =
        Activation::from_name(name).ok_or_else(|| Trouble::not_covered(format!("unknown activation `{name}`")))?;
    let x = Array::field(case, "X", 3)?.finite("X")?;
    let [inputs, steps, dim] = x.shape[..] else { return Err(Trouble::not_covered("`X` has not three axes")) };
    let hyper = field(case, "hyper")?;
    let variances = [float(hyper, "varw")?, float(hyper, "varu")?, float(hyper, "varb")?, float(hyper, "varv")?];
    let [varw, varu, varb, varv] = variances;
    if variances.iter().any(|v| !v.is_finite() || *v < 0.0) {
        return Err(Trouble::not_covered("a variance is negative"));
    }
    let average = field(hyper, "avgpool")?.as_bool();
    let average = average.ok_or_else(|| Trouble::not_covered("`avgpool` is neither true nor false"))?;
    let weight = |t: usize| match (average, t + 1 == steps) {
        (true, _) => 1.0 / steps as f64,
        (false, last) => f64::from(u8::from(last)),
    };
    let size = |s: usize| u32::try_from(s).map_err(Trouble::not_covered);
    let rnn = Rnn {
        inputs: size(inputs)?,
        dim: size(dim)?,
        readout: (0..steps).map(weight).collect(),
        activation,
        w_std: varw.sqrt(),
        u_std: varu.sqrt(),
        b_std: varb.sqrt(),
        v_std: varv.sqrt(),
    };
    let mut network = rnn.network().map_err(Trouble::not_covered)?;
    with_variance(&mut network, |name| match name {
        "W" => varw,
        "U" => varu,
        "b" => varb,
        _ => varv,
    })?;
    let xi = find(&network.program, "xi")?;
    let data = Data::new().with(xi, x.numbers);
    let found = limit_kernels(&network, &data, asked(TOLERANCE / 100.0))?;
    let mut checks = Checks::default();
    let expected = Array::shaped(case, "ntk", &[inputs, inputs])?.numbers;
    checks.all_close("ntk", &found.ntk, &expected, TOLERANCE)?;

    // E s^t s^r for every pair of sequence and time. The file's note says that it is multiplied by varv; in fact it is by
    // varw (its entries exceed 1, the largest square of erf, exactly when varw does), the covariance of W s.
    let program = &kernels(&network).map_err(Trouble::failed)?.program;
    let mut members = Vec::new();
    for i in 0..rnn.inputs {
        for t in 1..=steps {
            members.push((find(program, &format!("x@{t}"))?, vec![i]));
        }
    }
    let rows = inputs * steps;
    let expected = Array::shaped(case, "gp_kernel_outputs", &[rows, rows])?.numbers;
    let moments = second_moments(program, &data, &all_pairs(&members), asked(TOLERANCE / 100.0))?;
    let gp: Vec<f64> = moments.iter().map(|moment| varw * moment.value).collect();
    checks.all_close("gp_kernel_outputs", &gp, &expected, TOLERANCE)?;
    Ok(checks)
}
