//! `ntk_exact_small.json`: explicit weights, tangent kernels by block, five steps of SGD.

use std::ops::ControlFlow;

use netsor_finite::{Inputs, Loss, Options, Order, Rate, Trainer, Training, empirical_kernel, train};
use netsor_ir::ValueId;
use netsor_ir::number::to_f64;
use netsor_ir::program::{Dim, Instr, Kind};
use netsor_ir::verify::verify_network;
use serde_json::Value;

use super::json::{Array, count, counts, entries, field, float, named_cases, text};
use super::ntk_train::Small;
use super::{Case, Checks, Trouble};

/// The tolerance that the file states: double precision on both sides.
const TOLERANCE: f64 = 1e-10;
/// Networks larger than this are not small.
const MAX_WIDTH: usize = 4096;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "cases", check)
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    let small = Small::read(case)?;
    let n = count(case, "n")?;
    if n == 0 || MAX_WIDTH < n {
        return Err(Trouble::not_covered(format!("the width is {n}; 1 to {MAX_WIDTH} is covered")));
    }
    if text(case, "loss")? != "(f-y)^2/2, batch 1" {
        return Err(Trouble::not_covered(format!("unknown loss `{}`", text(case, "loss")?)));
    }
    let inputs = small.inputs;
    let network = verify_network(small.network.clone()).map_err(Trouble::failed)?;
    let mut given = Inputs::new().with(small.xi, small.x.clone());
    for (name, id) in &small.parameters {
        given.set(*id, small.effective(case, "params", name, *id, n)?);
    }
    if entries(case, "params")?.len() != small.parameters.len() {
        return Err(Trouble::not_covered("there are other parameters than those of the network"));
    }
    let mut checks = Checks::default();
    let options = Options::new(n, 0);
    let kernel = |inputs: &Inputs| {
        let kernels = empirical_kernel::<f64>(&network, inputs, &options).map_err(Trouble::failed)?;
        kernels.into_iter().next().ok_or_else(|| Trouble::failed("the network has no output"))
    };
    let square = |value: &Value, name: &str| Ok::<_, Trouble>(Array::shaped(value, name, &[inputs, inputs])?.numbers);
    let before = kernel(&given)?;
    checks.all_close("ntk_init", &before.ntk, &square(case, "ntk_init")?, TOLERANCE)?;
    let blocks = field(case, "ntk_init_blocks")?;
    for (name, id) in &small.parameters {
        let part = before.parts.iter().find(|(p, _)| p == id).map(|(_, part)| &part[..]).unwrap_or_default();
        checks.all_close(&format!("ntk_init_blocks of {name}"), part, &square(blocks, name)?, TOLERANCE)?;
    }

    let order = counts(case, "train_order")?;
    let y = Array::shaped(case, "y", &[inputs])?.finite("y")?.numbers;
    let mut trainer = Trainer::<f64>::new(&network, &given, options.clone()).map_err(Trouble::failed)?;
    let training = Training {
        loss: Loss::Squared,
        targets: vec![y],
        rate: Rate::Constant(float(case, "eta")?),
        steps: order.len(),
        order: Order::single(&order),
    };
    let history = train(&mut trainer, &training, &mut |_| ControlFlow::Continue(())).map_err(Trouble::failed)?;
    let expected = Array::shaped(case, "f_by_step", &[order.len() + 1, inputs])?;
    let found: Vec<f64> = history.snapshots.iter().flat_map(|s| s.outputs.concat()).collect();
    checks.all_close("f_by_step", &found, &expected.numbers, TOLERANCE)?;
    for (name, id) in &small.parameters {
        let expected = small.effective(case, "params_after_5", name, *id, n)?;
        checks.all_close(&format!("params_after_5 of {name}"), &trainer.parameter(*id), &expected, TOLERANCE)?;
    }
    let after = kernel(&trainer.resume(given))?;
    checks.all_close("ntk_after_5", &after.ntk, &square(case, "ntk_after_5")?, TOLERANCE)?;
    Ok(checks)
}

impl Small {
    /// The tensor of a standard normal one in the file (by rows): scaled, by columns.
    fn effective(&self, case: &Value, group: &str, name: &str, id: ValueId, n: usize) -> Result<Vec<f64>, Trouble> {
        let value = self.network.program.value(id);
        let (Kind::Matrix { rows, cols }, Instr::Matrix { variance }) = (value.ty.kind, &value.instr) else {
            return Err(Trouble::failed(format!("`{name}` is not a matrix")));
        };
        let size = |dim| match dim {
            Dim::Width(_) => n,
            Dim::Finite(size) => size as usize,
        };
        let (rows, cols) = (size(rows), size(cols));
        let shape: &[usize] = if cols == 1 && name == "v" { &[rows] } else { &[rows, cols] };
        let tensor = Array::shaped(field(case, group)?, name, shape)?.finite(name)?.numbers;
        let power = f64::from(*variance.power.numer() as i32) / f64::from(*variance.power.denom() as i32);
        let std = (to_f64(&variance.coefficient) * (n as f64).powf(power)).sqrt();
        Ok((0..cols).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| std * tensor[r * cols + c]).collect())
    }
}
