//! `tp_gated.json`: the covariances of the states of gated recurrent networks.

use netsor_limit::Data;
use netsor_zoo::{Activation, Affine, Gate, Gru, Lstm};
use serde_json::Value;

use super::json::{Array, field, float, float_or, list, named_cases, text};
use super::limits::{all_pairs, asked, find, second_moments};
use super::{Case, Checks, Trouble};

/// Allowed errors in units of the reference's standard error, which comes from 8 scrambles: Student's t with 7 degrees
/// of freedom exceeds 8 with a probability of 1e-4.
const STANDARD_ERRORS: f64 = 8.0;
/// What is asked of each integral: below the standard errors of the reference.
const ASKED: f64 = 1e-5;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "cases", check)
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    let name = text(case, "activation")?;
    let activation =
        Activation::from_name(name).ok_or_else(|| Trouble::not_covered(format!("unknown activation `{name}`")))?;
    let gate = match text(case, "gate")? {
        "logistic" | "sigmoid" => Gate::Sigmoid,
        "(1+erf)/2" => Gate::Erf,
        other => return Err(Trouble::not_covered(format!("unknown gate `{other}`"))),
    };
    let sequences = sequences(case)?;
    let steps = sequences.iter().map(Vec::len).max().unwrap_or(0);
    let dim = sequences[0][0].len();
    let size = |s: usize| u32::try_from(s).map_err(Trouble::not_covered);
    let hyper = field(case, "hyper")?;
    // In the file W stands for the weights of inputs and U for those of states.
    let affine = |suffix: &str| -> Result<Affine, Trouble> {
        let variance = |stem: &str| match float(hyper, &format!("{stem}{suffix}"))? {
            v if v.is_finite() && 0.0 <= v => Ok(v.sqrt()),
            v => Err(Trouble::not_covered(format!("`{stem}{suffix}` is {v}, not a variance"))),
        };
        let b_mean = float_or(hyper, &format!("mu{suffix}"), 0.0)?;
        Ok(Affine { u_std: variance("W")?, w_std: variance("U")?, b_std: variance("b")?, b_mean })
    };
    let (inputs, dim) = (size(sequences.len())?, size(dim)?);
    let readout = vec![1.0; steps];
    let network = match text(case, "kind")? {
        "gru_gp" => {
            let (update, reset, candidate) = (affine("z")?, affine("r")?, affine("h")?);
            Gru { inputs, dim, readout, activation, gate, update, reset, candidate, v_std: 1.0 }.network()
        }
        "lstm_gp" => {
            let (input, forget, output, candidate) = (affine("i")?, affine("f")?, affine("o")?, affine("g")?);
            Lstm { inputs, dim, readout, activation, gate, input, forget, output, candidate, v_std: 1.0 }.network()
        }
        other => return Err(Trouble::not_covered(format!("unknown kind `{other}`"))),
    };
    let program = network.map_err(Trouble::not_covered)?.program;
    // A shorter sequence goes on with its last input; states do not see what comes after them.
    let padded = |s: &Vec<Vec<f64>>| (0..steps).flat_map(|t| s[t.min(s.len() - 1)].clone()).collect::<Vec<f64>>();
    let data = Data::new().with(find(&program, "xi")?, sequences.iter().flat_map(padded).collect());
    let mut members = Vec::new();
    for (i, sequence) in sequences.iter().enumerate() {
        for t in 1..=sequence.len() {
            members.push((find(&program, &format!("x@{t}"))?, vec![i as u32]));
        }
    }
    let rows = members.len();
    let expected = Array::shaped(case, "kernel", &[rows, rows])?.finite("kernel")?.numbers;
    let errors = Array::shaped(case, "kernel_stderr", &[rows, rows])?.finite("kernel_stderr")?.numbers;
    let found = second_moments(&program, &data, &all_pairs(&members), asked(ASKED))?;
    let mut checks = Checks::default();
    for (k, found) in found.iter().enumerate() {
        // An error that the engine itself states may not hide a difference.
        if STANDARD_ERRORS * errors[k].max(ASKED) < found.error {
            return Err(Trouble::not_covered(format!("kernel[{k}] is only known up to {:.1e}", found.error)));
        }
        let tolerance = STANDARD_ERRORS * errors[k] + found.error + ASKED;
        checks.close(|| format!("kernel[{k}]"), found.value, expected[k], tolerance);
    }
    Ok(checks)
}

/// Sequences of vectors of one dimension; they may differ in length.
fn sequences(case: &Value) -> Result<Vec<Vec<Vec<f64>>>, Trouble> {
    let mut sequences = Vec::new();
    let mut dim = None;
    for sequence in list(case, "sequences")? {
        let array = Array::read(sequence).filter(|a| a.shape.len() == 2 && a.shape.iter().all(|&s| 0 < s));
        let array =
            array.ok_or_else(|| Trouble::not_covered("a sequence is no list of vectors"))?.finite("sequences")?;
        if *dim.get_or_insert(array.shape[1]) != array.shape[1] {
            return Err(Trouble::not_covered("the vectors of two sequences have different dimensions"));
        }
        sequences.push(array.numbers.chunks(array.shape[1]).map(<[f64]>::to_vec).collect());
    }
    if sequences.is_empty() { Err(Trouble::not_covered("there are no sequences")) } else { Ok(sequences) }
}
