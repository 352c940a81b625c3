//! `empirical.json`: explicit weights; outputs, tangent kernels by layer, gradient descent, and linearised descent.

use netsor_finite::{EmpiricalKernel, Inputs, Options, Trainer, empirical_kernel};
use netsor_ir::verify::{Verified, verify_network};
use netsor_ir::{Dim, Index, ValueId};
use netsor_predict::{KernelDescent, Mat, SquaredError};
use netsor_zoo::{Activation, Network, NetworkBuilder};
use serde_json::Value;

use super::json::{Array, count, counts, field, float, list, named_cases, text};
use super::{Case, Checks, Trouble};

/// Double precision on both sides, relative to the largest number of a group.
const TOLERANCE: f64 = 1e-10;
/// Networks with more channels in a layer are not what the file is for.
const MAX_WIDTH: usize = 4096;
const MAX_STEPS: usize = 10_000;

pub(super) fn cases(_: &str, file: &Value) -> Result<Vec<Case>, Trouble> {
    named_cases(file, "cases", check)
}

/// A perceptron with constant widths on the train and test inputs together.
struct Setup {
    network: Verified<Network>,
    xi: ValueId,
    /// Weight, bias and the factors before them, by layer.
    layers: Vec<Layer>,
    train: usize,
    test: usize,
    outputs: usize,
    x: Vec<f64>,
}

struct Layer {
    weight: ValueId,
    bias: Option<ValueId>,
    w_factor: f64,
    b_factor: f64,
    fan_in: usize,
    fan_out: usize,
}

impl Setup {
    fn read(case: &Value) -> Result<Self, Trouble> {
        let widths = counts(case, "widths")?;
        if widths.len() < 2 || widths.iter().any(|w| *w == 0 || MAX_WIDTH < *w) {
            return Err(Trouble::not_covered(format!(
                "widths {widths:?}; two or more from 1 to {MAX_WIDTH} are covered"
            )));
        }
        let name = text(case, "activation")?;
        let activation =
            Activation::from_name(name).ok_or_else(|| Trouble::not_covered(format!("unknown activation `{name}`")))?;
        let (w_std, b_std) = (float(case, "W_std")?, float(case, "b_std")?);
        let train = Array::field(case, "X_train", 2)?.finite("X_train")?;
        let test = Array::field(case, "X_test", 2)?.finite("X_test")?;
        if train.shape[1] != widths[0] || test.shape[1] != widths[0] {
            return Err(Trouble::not_covered("the inputs do not have the first width"));
        }
        let size = |s: usize| u32::try_from(s).map_err(Trouble::not_covered);
        let mut b = NetworkBuilder::new("empirical");
        let i = b.program.axis("i", size(train.shape[0] + test.shape[0])?);
        let family = &[("i", i)][..];
        let own = [Index::Var(0)];
        let xi = b.input("xi", family, size(widths[0])?);
        let mut x = xi;
        let mut layers = Vec::new();
        for (at, pair) in widths.windows(2).enumerate() {
            let (rows, cols) = (Dim::Finite(size(pair[1])?), Dim::Finite(size(pair[0])?));
            let weight =
                b.weight(&format!("W@{at}"), &[], (rows, cols), cols, 1, w_std).map_err(Trouble::not_covered)?;
            let bias = b.bias(&format!("b@{at}"), rows, b_std).map_err(Trouble::not_covered)?;
            let g = b.program.matmul(&format!("g@{at}"), family, (weight, &[]), false, (x, &own));
            let h = b.biased(&format!("h@{at}"), family, g, bias);
            let last = at + 2 == widths.len();
            x = if last {
                h
            } else {
                b.map(&format!("x@{at}"), family, h, |e, h| activation.apply(e, h)).map_err(Trouble::not_covered)?
            };
            layers.push(Layer {
                weight,
                bias,
                w_factor: w_std / (pair[0] as f64).sqrt(),
                b_factor: b_std,
                fan_in: pair[0],
                fan_out: pair[1],
            });
        }
        b.output(x);
        let network = verify_network(b.finish()).map_err(Trouble::failed)?;
        let outputs = widths[widths.len() - 1];
        let numbers = train.numbers.into_iter().chain(test.numbers).collect();
        Ok(Self { network, xi, layers, train: train.shape[0], test: test.shape[0], outputs, x: numbers })
    }

    /// The tensors of a list of `{W, b}` with their factors, as the network has them.
    fn tensors(&self, case: &Value, name: &str) -> Result<Vec<(ValueId, Vec<f64>)>, Trouble> {
        let entries = list(case, name)?;
        if entries.len() != self.layers.len() {
            return Err(Trouble::not_covered(format!("`{name}` has {} layers", entries.len())));
        }
        let mut tensors = Vec::new();
        for (layer, entry) in self.layers.iter().zip(entries) {
            // By fan-in and then fan-out in the file, which is the network's matrix by columns.
            let w = Array::shaped(entry, "W", &[layer.fan_in, layer.fan_out])?.finite("W")?.numbers;
            tensors.push((layer.weight, w.iter().map(|w| layer.w_factor * w).collect()));
            if let Some(bias) = layer.bias {
                let b = Array::shaped(entry, "b", &[layer.fan_out])?.finite("b")?.numbers;
                tensors.push((bias, b.iter().map(|b| layer.b_factor * b).collect()));
            }
        }
        Ok(tensors)
    }

    fn all(&self) -> usize {
        (self.train + self.test) * self.outputs
    }

    /// The block of a kernel over all inputs and components, with the axes `[n1, n2, out1, out2]`.
    fn block(&self, kernel: &[f64], rows: std::ops::Range<usize>, cols: std::ops::Range<usize>) -> Vec<f64> {
        let (k, all) = (self.outputs, self.all());
        let mut block = Vec::new();
        for i in rows {
            for j in cols.clone() {
                block.extend((0..k * k).map(|c| kernel[(i * k + c / k) * all + j * k + c % k]));
            }
        }
        block
    }
}

fn check(case: &Value) -> Result<Checks, Trouble> {
    let setup = Setup::read(case)?;
    let mut inputs = Inputs::new().with(setup.xi, setup.x.clone());
    for (id, numbers) in setup.tensors(case, "params")? {
        inputs.set(id, numbers);
    }
    let options = Options::new(1, 0);
    let mut checks = Checks::default();
    let kernels = empirical_kernel::<f64>(&setup.network, &inputs, &options).map_err(Trouble::failed)?;
    let kernel = kernels.into_iter().next().ok_or_else(|| Trouble::failed("the network has no output"))?;
    let mut compare = |what: &str, found: &[f64], expected: &[f64]| {
        let scale = expected.iter().fold(1.0f64, |s, x| s.max(x.abs()));
        checks.all_close(what, found, expected, TOLERANCE * scale)
    };
    compare_kernels(case, &setup, &kernel, &mut compare)?;

    let y = Array::shaped(case, "Y_train", &[setup.train, setup.outputs])?.finite("Y_train")?.numbers;
    let start = kernel.f.clone();
    let gd = field(case, "gd")?;
    let lr = float(gd, "lr")? / y.len() as f64;
    let mut trainer = Trainer::<f64>::new(&setup.network, &inputs, options).map_err(Trouble::failed)?;
    let mut last = 0;
    for point in list(gd, "trajectory")? {
        let step = step_of(point, last)?;
        while last < step {
            let f = current(&mut trainer)?;
            trainer.step(lr, &[cotangents(&f, &y)]).map_err(Trouble::failed)?;
            last += 1;
            if last == 1 && gd.get("params_after_step_1").is_some() {
                for (id, expected) in setup.tensors(gd, "params_after_step_1")? {
                    compare("params_after_step_1", &trainer.parameter(id), &expected)?;
                }
            }
        }
        compare_point(&setup, "gd", point, &current(&mut trainer)?, &y, &mut compare)?;
    }
    for (id, expected) in setup.tensors(gd, "final_params")? {
        compare("final_params", &trainer.parameter(id), &expected)?;
    }

    // Linearised: the outputs move by the tangent kernel at the start, every component of every input a point.
    let linear = field(case, "linearized_gd")?;
    let (points, all) = (y.len(), setup.all());
    let k = Mat::from_fn(points, points, |a, b| kernel.ntk[a * all + b]);
    let k_test = Mat::from_fn(all - points, points, |a, b| kernel.ntk[(points + a) * all + b]);
    let column = |numbers: &[f64]| Mat::from_fn(numbers.len(), 1, |a, _| numbers[a]);
    let (targets, f0, f0_test) = (column(&y), column(&start[..points]), column(&start[points..]));
    let mut descent =
        KernelDescent::new(k.as_ref(), k_test.as_ref(), targets.as_ref(), f0.as_ref(), f0_test.as_ref(), SquaredError)
            .map_err(Trouble::failed)?;
    let lr = float(linear, "lr")? / y.len() as f64;
    let mut last = 0;
    for point in list(linear, "trajectory")? {
        let step = step_of(point, last)?;
        while last < step {
            descent.step_full(lr).map_err(Trouble::failed)?;
            last += 1;
        }
        let train = (0..points).map(|a| descent.f_train()[(a, 0)]);
        let f: Vec<f64> = train.chain((0..all - points).map(|a| descent.f_test()[(a, 0)])).collect();
        compare_point(&setup, "linearized_gd", point, &f, &y, &mut compare)?;
    }
    Ok(checks)
}

type Compare<'a> = dyn FnMut(&str, &[f64], &[f64]) -> Result<(), Trouble> + 'a;

fn compare_kernels(
    case: &Value,
    setup: &Setup,
    kernel: &EmpiricalKernel,
    compare: &mut Compare<'_>,
) -> Result<(), Trouble> {
    let (n, m, k) = (setup.train, setup.test, setup.outputs);
    let (train, test) = (0..n, n..n + m);
    compare("f_train", &kernel.f[..n * k], &Array::shaped(case, "f_train", &[n, k])?.numbers)?;
    compare("f_test", &kernel.f[n * k..], &Array::shaped(case, "f_test", &[m, k])?.numbers)?;
    let expected = Array::shaped(case, "ntk_train_train", &[n, n, k, k])?.numbers;
    compare("ntk_train_train", &setup.block(&kernel.ntk, train.clone(), train.clone()), &expected)?;
    let expected = Array::shaped(case, "ntk_test_train", &[m, n, k, k])?.numbers;
    compare("ntk_test_train", &setup.block(&kernel.ntk, test, train.clone()), &expected)?;
    for (at, (layer, entry)) in setup.layers.iter().zip(list(case, "ntk_per_layer")?).enumerate() {
        for (name, id) in [("W", Some(layer.weight)), ("b", layer.bias)] {
            let Some(id) = id else { continue };
            let part = kernel.parts.iter().find(|(p, _)| *p == id).map(|(_, part)| part);
            let part = part.ok_or_else(|| Trouble::failed(format!("no share of {name} in layer {at}")))?;
            let expected = Array::shaped(entry, name, &[n, n, k, k])?.numbers;
            compare(
                &format!("ntk of {name}, layer {at}"),
                &setup.block(part, train.clone(), train.clone()),
                &expected,
            )?;
        }
    }
    Ok(())
}

fn step_of(point: &Value, last: usize) -> Result<usize, Trouble> {
    let step = count(point, "step")?;
    if step < last || MAX_STEPS < step {
        return Err(Trouble::not_covered(format!("step {step} after step {last}")));
    }
    Ok(step)
}

fn current(trainer: &mut Trainer<f64>) -> Result<Vec<f64>, Trouble> {
    Ok(trainer.outputs().map_err(Trouble::failed)?.concat())
}

/// The derivative of `sum (f - y)^2 / 2` over the train inputs, which come first; 0 for test inputs.
fn cotangents(f: &[f64], y: &[f64]) -> Vec<f64> {
    f.iter().enumerate().map(|(k, f)| y.get(k).map_or(0.0, |y| f - y)).collect()
}

fn compare_point(
    setup: &Setup,
    what: &str,
    point: &Value,
    f: &[f64],
    y: &[f64],
    compare: &mut Compare<'_>,
) -> Result<(), Trouble> {
    let step = count(point, "step")?;
    let k = setup.outputs;
    let (train, test) = f.split_at(y.len());
    compare(&format!("{what} f_train {step}"), train, &Array::shaped(point, "f_train", &[setup.train, k])?.numbers)?;
    compare(&format!("{what} f_test {step}"), test, &Array::shaped(point, "f_test", &[setup.test, k])?.numbers)?;
    let squares: f64 = train.iter().zip(y).map(|(f, y)| (f - y) * (f - y)).sum();
    compare(&format!("{what} loss {step}"), &[0.5 * squares / y.len() as f64], &[float(point, "loss")?])
}
