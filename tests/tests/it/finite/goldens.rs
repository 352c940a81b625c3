//! Explicit weights against JAX: outputs, tangent kernels by block, five steps of SGD (`ntk_exact_small.json`).

use std::ops::ControlFlow;

use netsor_finite::{Inputs, Loss, Options, Order, Rate, Trainer, Training, empirical_kernel, train};
use netsor_ir::func::Func;
use netsor_ir::index::Index;
use netsor_ir::network::{Network, Parameter};
use netsor_ir::number::{fraction, integer, power};
use netsor_ir::program::{Dim, Kind, Program, Scale, ValueId};
use netsor_ir::verify::verify_network;
use serde_json::Value;

use crate::files::golden_cases;

const I: Index = Index::Var(0);

/// A network in the NTK parametrization: three inputs of dimension 3 at `times` times.
struct Build {
    p: Program,
    input: netsor_ir::Id<netsor_ir::Axis>,
    parameters: Vec<Parameter>,
    xi: ValueId,
}

impl Build {
    fn new(times: u32) -> Self {
        let mut p = Program::new("golden");
        let (input, time) = (p.axis("input", 3), p.axis("time", times));
        let xi = p.data("xi", &[("i", input), ("t", time)], Kind::Vector(Dim::Finite(3)));
        Self { p, input, parameters: Vec::new(), xi }
    }

    fn parameter(&mut self, name: &str, cols: Dim, variance: &Scale) -> ValueId {
        let n = self.p.width();
        let value = self.p.matrix(name, &[], n, cols, variance.clone());
        self.parameters.push(Parameter::ntk(value, variance));
        value
    }

    fn over_n(&mut self, name: &str, cols: Dim) -> ValueId {
        self.parameter(name, cols, &Scale::new(integer(1), power(-1, 1)))
    }

    fn u(&mut self) -> ValueId {
        self.parameter("u", Dim::Finite(3), &Scale::constant(fraction(1, 3)))
    }

    fn matmul(&mut self, name: &str, w: ValueId, transposed: bool, x: ValueId) -> ValueId {
        self.p.matmul(name, &[("i", self.input)], (w, &[]), transposed, (x, &[I]))
    }

    fn at_time(&mut self, name: &str, u: ValueId, t: u32) -> ValueId {
        self.p.matmul(name, &[("i", self.input)], (u, &[]), false, (self.xi, &[I, Index::At(t)]))
    }

    fn tanh_of_sum(&mut self, name: &str, terms: &[ValueId]) -> ValueId {
        let terms: Vec<_> = terms.iter().map(|&t| self.p.member(t, &[I])).collect();
        let sum = self.p.exprs.add_all(terms);
        let e = self.p.exprs.apply(Func::Tanh, sum);
        self.p.map(name, &[("i", self.input)], e)
    }

    fn readout(mut self, x: ValueId) -> (Network, ValueId) {
        let v = self.over_n("v", Dim::Finite(1));
        let f = self.matmul("f", v, true, x);
        (Network { program: self.p, parameters: self.parameters, outputs: vec![f] }, self.xi)
    }
}

fn network(kind: &str, times: u32) -> (Network, ValueId) {
    let mut b = Build::new(times);
    let n = b.p.width();
    let u = b.u();
    match kind {
        "mlp1" | "mlp2" | "mlp3" | "tied" => {
            let names: &[(&str, bool)] = match kind {
                "mlp1" => &[],
                "mlp2" => &[("w", false)],
                "mlp3" => &[("w1", false), ("w2", false)],
                _ => &[("w", false), ("w", true)],
            };
            let h = b.at_time("h", u, 0);
            let mut x = b.tanh_of_sum("x", &[h]);
            for (layer, &(name, transposed)) in names.iter().enumerate() {
                let w = b.p.find(name).unwrap_or_else(|| b.over_n(name, n));
                let h = b.matmul(&format!("h{layer}"), w, transposed, x);
                x = b.tanh_of_sum(&format!("x{layer}"), &[h]);
            }
            b.readout(x)
        }
        _ => {
            let w = b.over_n("w", n);
            let mut xs: Vec<ValueId> = Vec::new();
            for t in 0..times {
                let mut terms = vec![b.at_time(&format!("g{t}"), u, t)];
                if let Some(&x) = xs.last() {
                    terms.push(b.matmul(&format!("h{t}"), w, false, x));
                }
                xs.push(b.tanh_of_sum(&format!("x{t}"), &terms));
            }
            if kind == "rnn_last" {
                return b.readout(xs[xs.len() - 1]);
            }
            let terms: Vec<_> = xs.iter().map(|&x| b.p.member(x, &[I])).collect();
            let sum = b.p.exprs.add_all(terms);
            let sum = b.p.map("total", &[("i", b.input)], sum);
            b.readout(sum)
        }
    }
}

/// All numbers of a nested list, in order.
fn flat(value: &Value) -> Vec<f64> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        other => vec![other.as_f64().unwrap()],
    }
}

/// A standard normal matrix of the file (by rows) as the effective one (by columns).
fn effective(rows: &Value, variance: f64) -> Vec<f64> {
    let rows: Vec<Vec<f64>> = rows.as_array().unwrap().iter().map(flat).collect();
    (0..rows[0].len()).flat_map(|c| rows.iter().map(move |r| r[c] * variance.sqrt())).collect()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (k, (a, b)) in found.iter().zip(expected).enumerate() {
        // The tolerance that the file states.
        assert!((a - b).abs() < 1e-10, "{what}[{k}]: {a}, the file has {b}");
    }
}

#[test]
fn explicit_weights_agree_with_jax() {
    let cases = golden_cases("programs/ntk_exact_small.json");
    assert_eq!(cases.len(), 6);
    for case in cases {
        let kind = case["kind"].as_str().unwrap();
        let (n, d) = (case["n"].as_u64().unwrap() as usize, case["d"].as_f64().unwrap());
        let (network, xi) = network(kind, case["T"].as_u64().unwrap() as u32);
        let network = verify_network(network).unwrap();
        let variance = |name: &str| if name == "u" { 1.0 / d } else { 1.0 / n as f64 };
        let mut inputs = Inputs::new().with(xi, flat(&case["X"]));
        for (name, rows) in case["params"].as_object().unwrap() {
            inputs.set(network.program.find(name).unwrap(), effective(rows, variance(name)));
        }

        let options = Options::new(n, 0);
        let kernel = &empirical_kernel::<f64>(&network, &inputs, &options).unwrap()[0];
        close(&kernel.ntk, &flat(&case["ntk_init"]), &format!("{kind}: ntk"));
        for (parameter, part) in &kernel.parts {
            let name = &network.program.value(*parameter).name;
            close(part, &flat(&case["ntk_init_blocks"][name]), &format!("{kind}: ntk of {name}"));
        }

        let mut trainer = Trainer::<f64>::new(&network, &inputs, options.clone()).unwrap();
        let order: Vec<usize> = flat(&case["train_order"]).into_iter().map(|e| e as usize).collect();
        let training = Training {
            loss: Loss::Squared,
            targets: vec![flat(&case["y"])],
            rate: Rate::Constant(case["eta"].as_f64().unwrap()),
            steps: order.len(),
            order: Order::single(&order),
        };
        let history = train(&mut trainer, &training, &mut |_| ControlFlow::Continue(())).unwrap();
        for (snapshot, f) in history.snapshots.iter().zip(case["f_by_step"].as_array().unwrap()) {
            close(&snapshot.outputs[0], &flat(f), &format!("{kind}: f before step {}", snapshot.step));
        }
        assert_eq!(history.snapshots.len(), 6);
        for (name, rows) in case["params_after_5"].as_object().unwrap() {
            let found = trainer.parameter(network.program.find(name).unwrap());
            close(&found, &effective(rows, variance(name)), &format!("{kind}: {name} after 5 steps"));
        }
        let kernel = &empirical_kernel::<f64>(&network, &trainer.resume(inputs), &options).unwrap()[0];
        close(&kernel.ntk, &flat(&case["ntk_after_5"]), &format!("{kind}: ntk after 5 steps"));
    }
}
