//! `abc_exact_small.json`: explicit weights and SGD under (a, b, c)-parametrizations, which shifts leave as they are.
//! `abc_scaling.json`: predicted exponents, exactly, and measured ones.

use std::ops::ControlFlow;

use netsor_finite::{Inputs, Loss, Options, Order, Rate, Trainer, Training, train};
use netsor_ir::abc::{Abc, MlpExponents};
use netsor_ir::number::{Power, power_to_f64};
use netsor_ir::transform::{Parametrization, parametrize};
use netsor_ir::verify::verify_network;
use netsor_zoo::{Activation, Mlp};
use serde_json::Value;

use super::json::{Array, count, counts, entries, exact, field, float, list, named_cases, text};
use super::{Case, Checks, Trouble};

/// The tolerance that the file states: double precision on both sides.
const EXACT: f64 = 1e-10;
/// Predictions are rationals, printed by the reference after a few roundings of numbers of order one.
const ROUNDED: f64 = 1e-12;
/// The tolerance that the file states for measured exponents; their mean over the steps is compared, since single steps
/// have noise of that size themselves.
const MEASURED: f64 = 0.1;
/// Networks larger than this are not small.
const MAX_WIDTH: usize = 4096;

pub(super) fn exact_cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "cases", check_exact)
}

pub(super) fn scaling_cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    let case = |(name, case): (&str, &Value)| {
        let case = case.clone();
        Case::new(name, move || check_scaling(&case))
    };
    Ok(entries(file, "cases")?.into_iter().map(case).collect())
}

/// The exact power that a JSON number stands for.
fn power(value: f64, name: &str) -> Result<Power, Trouble> {
    let number = exact(value, name)?;
    let parts = (i64::try_from(number.numer()), i64::try_from(number.denom()));
    let (Ok(numerator), Ok(denominator)) = parts else {
        return Err(Trouble::not_covered(format!("`{name}` is not a short decimal")));
    };
    Ok(Power::new(numerator, denominator))
}

/// The exponents of all layers.
fn layers(case: &Value) -> Result<Vec<Abc>, Trouble> {
    let of = |name: &str| -> Result<Vec<Power>, Trouble> {
        let numbers = Array::field(case, name, 1)?.finite(name)?.numbers;
        numbers.into_iter().map(|x| power(x, name)).collect()
    };
    let (a, b, c) = (of("a")?, of("b")?, power(float(case, "c")?, "c")?);
    if a.len() != b.len() {
        return Err(Trouble::not_covered("`a` and `b` have different lengths"));
    }
    Ok(a.into_iter().zip(b).map(|(a, b)| Abc::new(a, b, c)).collect())
}

fn check_exact(case: &Value) -> Result<Checks, Trouble> {
    let (n, hidden, dim) = (count(case, "n")?, count(case, "L")?, count(case, "d")?);
    if n == 0 || MAX_WIDTH < n {
        return Err(Trouble::not_covered(format!("the width is {n}; 1 to {MAX_WIDTH} is covered")));
    }
    let small = |k: usize| u32::try_from(k).ok().filter(|k| (1..=64).contains(k));
    let (Some(hidden), Some(dim)) = (small(hidden), small(dim)) else {
        return Err(Trouble::not_covered("1 to 64 layers and dimensions are covered"));
    };
    let name = match text(case, "activation")? {
        "linear" => "identity",
        name => name,
    };
    let activation = Activation::from_name(name);
    let activation = activation.ok_or_else(|| Trouble::not_covered(format!("unknown activation `{name}`")))?;
    let layers = layers(case)?;
    if layers.len() != hidden as usize + 1 {
        return Err(Trouble::not_covered("`a` and `b` do not have one entry a layer"));
    }
    let mut checks = Checks::default();
    // The shift is a claim of the file, and of ours: with each layer shifted by another amount.
    for shift in [0, 37, -11] {
        let shifted = layers.iter().enumerate().map(|(l, abc)| abc.shifted(Power::new(shift * (l as i64 + 1), 100)));
        run(case, (n, hidden, dim, activation), &shifted.collect::<Vec<_>>(), &layers, &mut checks)?;
    }
    Ok(checks)
}

/// Trains under the exponents `layers`, starting from the tensors `W = n^-a w` of the exponents of the file.
fn run(
    case: &Value,
    (n, hidden, dim, activation): (usize, u32, u32, Activation),
    layers: &[Abc],
    of_file: &[Abc],
    checks: &mut Checks,
) -> Result<(), Trouble> {
    let x = Array::field(case, "X", 2)?.finite("X")?;
    let [inputs, _] = x.shape[..] else { return Err(Trouble::not_covered("`X` is not a matrix")) };
    let network = Mlp { inputs: inputs as u32, dim, hidden, activation, ..Mlp::default() }.network();
    let network = network.map_err(Trouble::not_covered)?;
    let value = |name: &str| {
        network.program.find(name).ok_or_else(|| Trouble::failed(format!("the network has no value `{name}`")))
    };
    let name = |l: usize| if l < hidden as usize { format!("W@{}", l + 1) } else { "v".to_owned() };
    let tensors: Vec<String> = (0..layers.len()).map(name).collect();
    let abc = tensors.iter().zip(layers).fold(Parametrization::standard(), |p, (name, abc)| p.with(name, *abc));
    let network = verify_network(parametrize(&network, &abc).map_err(Trouble::failed)?).map_err(Trouble::failed)?;

    let mut given = Inputs::new().with(value("xi")?, x.numbers.clone());
    for (l, name) in tensors.iter().enumerate() {
        given.set(value(name)?, effective(case, "w", (l, layers.len()), (n, dim as usize), of_file[l].a)?);
    }
    let order = counts(case, "order")?;
    let y = Array::shaped(case, "y", &[inputs])?.finite("y")?.numbers;
    let training = Training {
        loss: Loss::Squared,
        targets: vec![y],
        rate: Rate::Constant(float(case, "eta")?),
        steps: order.len(),
        order: Order::single(&order),
    };
    let mut trainer = Trainer::<f64>::new(&network, &given, Options::new(n, 0)).map_err(Trouble::failed)?;
    let history = train(&mut trainer, &training, &mut |_| ControlFlow::Continue(())).map_err(Trouble::failed)?;
    let found: Vec<f64> = history.snapshots.iter().flat_map(|s| s.outputs.concat()).collect();
    let expected = Array::shaped(case, "f_by_step", &[order.len() + 1, inputs])?;
    checks.all_close("f_by_step", &found, &expected.numbers, EXACT)?;
    for (l, name) in tensors.iter().enumerate() {
        let expected = effective(case, "w_final", (l, layers.len()), (n, dim as usize), of_file[l].a)?;
        checks.all_close(&format!("w_final of layer {}", l + 1), &trainer.parameter(value(name)?), &expected, EXACT)?;
    }
    let expected = Array::shaped(case, "h_final_last_input", &[hidden as usize, n])?.numbers;
    for (l, expected) in expected.chunks(n).enumerate() {
        let h = value(&format!("h@{}", l + 1))?;
        let state = trainer.values(&[h]).map_err(Trouble::failed)?;
        let found = state.block(h).map_or(&[][..], |block| block.member(inputs - 1));
        checks.all_close(&format!("h_final_last_input of layer {}", l + 1), found, expected, EXACT)?;
    }
    Ok(())
}

/// The tensor `n^-a w` of layer `l` of `count`, by columns; the file has `w` by rows, the readout as a list.
fn effective(
    case: &Value,
    group: &str,
    (l, count): (usize, usize),
    (n, dim): (usize, usize),
    a: Power,
) -> Result<Vec<f64>, Trouble> {
    let tensors = list(case, group)?;
    let tensor = tensors.get(l).and_then(Array::read).filter(|_| tensors.len() == count);
    let tensor = tensor.ok_or_else(|| Trouble::not_covered(format!("`{group}` has no layer {}", l + 1)))?;
    let (rows, cols) = (n, if l == 0 { dim } else { n });
    let shape = if l + 1 == count { vec![n] } else { vec![rows, cols] };
    if tensor.shape != shape {
        let problem = format!("layer {} of `{group}` has the shape {:?}, expected {shape:?}", l + 1, tensor.shape);
        return Err(Trouble::not_covered(problem));
    }
    let w = tensor.finite(group)?.numbers;
    let factor = (n as f64).powf(-power_to_f64(a));
    if l + 1 == count {
        return Ok(w.iter().map(|x| factor * x).collect());
    }
    Ok((0..cols).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| factor * w[r * cols + c]).collect())
}

fn check_scaling(case: &Value) -> Result<Checks, Trouble> {
    let layers = layers(case)?;
    let exponents = MlpExponents::new(&layers).ok_or_else(|| Trouble::not_covered("fewer than two layers"))?;
    let mut checks = Checks::default();
    let floats = |powers: &[Power]| -> Vec<f64> { powers.iter().map(|p| power_to_f64(*p)).collect() };
    let change = floats(&exponents.change());
    for (name, found) in [
        ("r", exponents.r),
        ("two_a_plus_c", exponents.readout_update),
        ("a_plus_b", exponents.readout),
        ("a_plus_b_plus_r", exponents.readout + exponents.r),
        ("pred_df", exponents.output_change()),
        ("pred_df_step1", exponents.output_change_in_first_step()),
    ] {
        checks.close(|| name.to_owned(), power_to_f64(found), float(case, name)?, ROUNDED);
    }
    for (name, found) in [
        ("r_l", floats(&exponents.r_by_layer)),
        ("pred_dh", change.clone()),
        ("pred_dh_step1", floats(&exponents.change_in_first_step())),
    ] {
        checks.all_close(name, &found, &Array::field(case, name, 1)?.numbers, ROUNDED)?;
    }
    let truth = |value: &Value, name: &str| {
        value
            .as_bool()
            .map(|b| f64::from(u8::from(b)))
            .ok_or_else(|| Trouble::not_covered(format!("`{name}` is no truth value")))
    };
    for (name, found) in [
        ("init_ok", exponents.initialised_well()),
        ("stable", exponents.stable()),
        ("nontrivial", exponents.nontrivial()),
        ("feature_learning", exponents.feature_learning()),
        ("kernel_regime", exponents.kernel_regime()),
        ("readout_init_maximal", exponents.readout_initialised_maximally()),
    ] {
        checks.close(|| name.to_owned(), f64::from(u8::from(found)), truth(field(case, name)?, name)?, 0.0);
    }
    let maximal: Vec<f64> = exponents.maximal_updates().iter().map(|&m| f64::from(u8::from(m))).collect();
    let expected: Vec<f64> =
        list(case, "maximal_update")?.iter().map(|v| truth(v, "maximal_update")).collect::<Result<_, _>>()?;
    checks.all_close("maximal_update", &maximal, &expected, 0.0)?;
    if exponents.stable() {
        measured(case, &change, power_to_f64(exponents.output_change()), &mut checks)?;
    }
    Ok(checks)
}

/// Measured exponents, the mean over the steps.
fn measured(case: &Value, change: &[f64], output: f64, checks: &mut Checks) -> Result<(), Trouble> {
    let measured = field(case, "measured_exponent_by_step")?;
    let names: Option<Vec<&str>> = list(measured, "order")?.iter().map(Value::as_str).collect();
    let names = names.ok_or_else(|| Trouble::not_covered("`order` is no list of names"))?;
    let steps = Array::field(measured, "steps", 3)?;
    if steps.shape[1] != names.len() || steps.shape[2] != 2 {
        return Err(Trouble::not_covered("`steps` does not have a value and its error for each name"));
    }
    for (k, name) in names.iter().enumerate() {
        let layer = name.strip_prefix("dh").or(name.strip_prefix("dx")).and_then(|l| l.parse::<usize>().ok());
        let expected = match layer.and_then(|l| change.get(l.wrapping_sub(1))) {
            Some(expected) => *expected,
            None if *name == "df" => output,
            None => return Err(Trouble::not_covered(format!("unknown vector `{name}`"))),
        };
        let values = steps.numbers.chunks(2 * names.len()).map(|step| step[2 * k]);
        let mean = values.sum::<f64>() / steps.shape[0] as f64;
        checks.close(|| format!("measured exponent of {name}"), expected, mean, MEASURED);
    }
    Ok(())
}
