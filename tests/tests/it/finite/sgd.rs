//! Training written out as a program against training: the same draws must give the same outputs after every step.
//!
//! The reference knows nothing of rank-one terms, deviations or conditioning: it changes weights by the gradients that
//! `Trainer` takes, with momentum and weight decay written down as they are defined.

use netsor_finite::{Inputs, Options, State, Trainer, execute};
use netsor_ir::number::{Number, fraction, power, power_to_f64, to_f64};
use netsor_ir::program::ValueId;
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{Decay, Loss, Readouts, Sgd, unroll_sgd};
use netsor_ir::verify::{Verified, verify_network, verify_program};
use netsor_ir::{Instr, Network};

use crate::{everything, files};

const WIDTH: usize = 10;
const SEED: u64 = 5;

fn options() -> Options {
    Options::new(WIDTH, SEED)
}

fn example(name: &str) -> Verified<Network> {
    verify_network(files::example(name)).unwrap()
}

fn network(text: &str) -> Verified<Network> {
    verify_network(parse_network(text).unwrap()).unwrap()
}

fn numbers(count: usize, phase: f64) -> Vec<f64> {
    (0..count).map(|k| (phase + 0.9 * k as f64).sin()).collect()
}

/// Data for every data value of a network.
fn data(network: &Network) -> Inputs {
    let program = &network.program;
    let mut inputs = Inputs::new();
    for id in program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data)) {
        let size = match program.value(id).ty.kind {
            netsor_ir::Kind::Vector(dim) => program.dim_size(dim, WIDTH),
            _ => 1,
        };
        let members: usize = program.family_sizes(id).iter().product();
        inputs.set(id, numbers(members * size, 0.4 + id.index() as f64));
    }
    inputs
}

type Loss64 = fn(&[f64], &[f64]) -> Vec<f64>;

fn squared(f: &[f64], y: &[f64]) -> Vec<f64> {
    f.iter().zip(y).map(|(f, y)| f - y).collect()
}

fn softmax(f: &[f64], y: &[f64]) -> Vec<f64> {
    let total: f64 = f.iter().map(|f| f.exp()).sum();
    let mass: f64 = y.iter().sum();
    f.iter().zip(y).map(|(f, y)| mass * f.exp() / total - y).collect()
}

fn logistic(f: &[f64], y: &[f64]) -> Vec<f64> {
    f.iter().zip(y).map(|(f, y)| -y / (1.0 + (y * f).exp())).collect()
}

fn quartic(f: &[f64], y: &[f64]) -> Vec<f64> {
    f.iter().zip(y).map(|(f, y)| (f - y).powi(3)).collect()
}

/// The outputs after each step, by changing weights; and the initial weights times what decay leaves of them, a time each.
struct Reference {
    outputs: Vec<Vec<Vec<f64>>>,
    decayed: Vec<Inputs>,
}

fn reference(network: &Verified<Network>, sgd: &Sgd, targets: &[Vec<f64>], loss: Loss64) -> Reference {
    let data = data(network);
    let start = Trainer::<f64>::new(network, &data, options()).unwrap();
    let trained: Vec<_> = network.parameters.iter().filter(|p| p.trained).collect();
    let initial: Vec<Vec<f64>> = trained.iter().map(|p| start.parameter(p.value)).collect();
    let learning: Vec<f64> = trained.iter().map(|p| (WIDTH as f64).powf(-power_to_f64(p.c))).collect();
    let (coupled, decoupled) = match &sgd.decay {
        Decay::None => (0.0, 0.0),
        Decay::Coupled(lambda) => (to_f64(lambda), 0.0),
        Decay::Decoupled(lambda) => (0.0, to_f64(lambda)),
    };
    let mu = to_f64(&sgd.momentum);
    let mut weights = initial.clone();
    let mut moments: Vec<Vec<f64>> = initial.iter().map(|w| vec![0.0; w.len()]).collect();
    // What a weight of 1 without gradients becomes.
    let mut shares: Vec<(f64, f64)> = vec![(1.0, 0.0); trained.len()];
    let mut found = Reference { outputs: Vec::new(), decayed: Vec::new() };
    for step in 0..=sgd.steps {
        let mut inputs = data.clone();
        let mut decayed = data.clone();
        for (k, p) in trained.iter().enumerate() {
            inputs.set(p.value, weights[k].clone());
            decayed.set(p.value, initial[k].iter().map(|w| w * shares[k].0).collect());
        }
        found.decayed.push(decayed);
        let mut trainer = Trainer::<f64>::new(network, &inputs, options()).unwrap();
        let outputs = trainer.outputs().unwrap();
        found.outputs.push(outputs.clone());
        if step == sgd.steps {
            break;
        }
        let eta = to_f64(sgd.rates.get(step).or(sgd.rates.last()).unwrap());
        let batch = (!sgd.batches.is_empty()).then(|| &sgd.batches[step % sgd.batches.len()]);
        let mut cotangents = Vec::new();
        for ((f, y), &id) in outputs.iter().zip(targets).zip(&network.outputs) {
            let members: usize = network.program.family_sizes(id).iter().product();
            let examples = network.program.family_sizes(id).first().copied().unwrap_or(1);
            let size = f.len() / members;
            let mut all = Vec::new();
            for (m, (f, y)) in f.chunks(size).zip(y.chunks(size)).enumerate() {
                let weight = batch.map_or(1.0, |b| to_f64(&b[m / (members / examples)]));
                all.extend(loss(f, y).into_iter().map(|c| weight * c));
            }
            cotangents.push(all);
        }
        trainer.step(1.0, &cotangents).unwrap();
        for (k, p) in trained.iter().enumerate() {
            let l = learning[k];
            let after = trainer.parameter(p.value);
            for (j, w) in weights[k].iter_mut().enumerate() {
                let gradient = (*w - after[j]) / l;
                moments[k][j] = mu * moments[k][j] + gradient + coupled * *w;
                *w -= eta * l * (moments[k][j] + decoupled * *w);
            }
            let (share, m) = &mut shares[k];
            *m = mu * *m + coupled * *share;
            *share -= eta * l * (*m + decoupled * *share);
        }
    }
    found
}

/// Every output after every step, by the program and by changing weights.
#[track_caller]
fn agrees(network: &Verified<Network>, sgd: &Sgd, loss: Loss64) {
    let targets: Vec<Vec<f64>> = network
        .outputs
        .iter()
        .map(|&id| {
            let members: usize = network.program.family_sizes(id).iter().product();
            let size = match network.program.value(id).ty.kind {
                netsor_ir::Kind::Vector(dim) => network.program.dim_size(dim, WIDTH),
                _ => 1,
            };
            let signs = numbers(members * size, 2.0);
            if sgd.loss == Loss::Logistic { signs.iter().map(|s| s.signum()).collect() } else { signs }
        })
        .collect();
    let reference = reference(network, sgd, &targets, loss);
    let training = unroll_sgd(network, sgd).unwrap();
    let program = verify_program(training.program.clone()).unwrap();
    let mut inputs = data(network);
    for (output, target) in training.outputs.iter().zip(&targets) {
        inputs.set(output.target, target.clone());
    }
    let forward = network.to_program();
    for condition in &training.conditions {
        let state: State<f64> =
            execute(&forward, &reference.decayed[condition.time], &[condition.value], &options()).unwrap();
        inputs.set(condition.data, state.numbers(condition.value));
    }
    let wanted: Vec<ValueId> = training.outputs.iter().flat_map(|o| o.at.iter().copied()).collect();
    let state: State<f64> = execute(&program, &inputs, &wanted, &options()).unwrap();
    let mut moved = 0.0f64;
    for (k, output) in training.outputs.iter().enumerate() {
        for (t, &f) in output.at.iter().enumerate() {
            let found = state.numbers(f);
            let expected = &reference.outputs[t][k];
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                // Rounding: a few hundred operations on numbers of order one to a hundred, differences of deviations
                // that are divided by n^r, and the losses' amplification of it over the steps.
                let tolerance = 1e-11 * (1.0 + expected.abs());
                assert!(
                    (found - expected).abs() < tolerance,
                    "step {t}: {found} by the program, {expected} by training"
                );
            }
            let first = &reference.outputs[0][k];
            moved = expected.iter().zip(first).fold(moved, |m, (a, b)| m.max((a - b).abs()));
        }
    }
    assert!(1e-3 < moved, "training does something: {moved}");
}

/// In all forms: deviations or not, conditioned or not.
#[track_caller]
fn agrees_in_every_form(network: &Verified<Network>, sgd: &Sgd, loss: Loss64) {
    for (exponent, readouts) in [
        (power(1, 2), Readouts::Conditioned),
        (power(1, 2), Readouts::Computed),
        (power(1, 3), Readouts::Computed),
        (power(0, 1), Readouts::Computed),
    ] {
        agrees(network, &Sgd { exponent, readouts, ..sgd.clone() }, loss);
    }
}

fn batches(rows: &[&[i64]]) -> Vec<Vec<Number>> {
    rows.iter().map(|row| row.iter().map(|&w| fraction(w, 2)).collect()).collect()
}

/// Three steps with batches, a schedule and momentum.
fn plan(rows: &[&[i64]]) -> Sgd {
    Sgd {
        steps: 3,
        rates: vec![fraction(1, 5), fraction(1, 10)],
        batches: batches(rows),
        momentum: fraction(1, 2),
        ..Sgd::default()
    }
}

#[test]
fn a_perceptron() {
    agrees_in_every_form(&example("mlp"), &plan(&[&[2, 0, 1, 0], &[0, 2, 1, 0]]), squared);
    let sgd = Sgd { loss: Loss::Value("(f - y)^4 / 4".into()), batches: Vec::new(), ..plan(&[]) };
    agrees_in_every_form(&example("mlp"), &sgd, quartic);
    let sgd = Sgd { loss: Loss::Logistic, ..plan(&[&[2, 1, 0, 0]]) };
    agrees_in_every_form(&example("mlp"), &sgd, logistic);
}

#[test]
fn a_matrix_and_its_transpose() {
    agrees_in_every_form(&example("tied"), &plan(&[&[2, 0, 1], &[0, 2, 1]]), squared);
}

#[test]
fn convolution_and_layer_norm() {
    agrees_in_every_form(&example("conv"), &Sgd { steps: 2, ..plan(&[&[2, 1]]) }, squared);
    agrees_in_every_form(&example("layernorm"), &Sgd { steps: 2, ..plan(&[&[2, 1, 0]]) }, squared);
}

#[test]
fn recurrence_several_outputs_and_biases() {
    let text = "network rnn {
      axis i = 3
      data xi[i] : 2
      data eta[i] : 2
      param U : n x 2 ~ N(0, 1/2)
      param W : n x n ~ N(0, 1/n)
      param b : n ~ N(0, 0.25)
      param V : n x 3 ~ N(0, 1/n)
      param c : 3 ~ N(0, 1)
      g[i] = U * xi[i]
      x[i] = tanh(g[i] + b)
      k[i] = U * eta[i]
      h[i] = W * x[i]
      x2[i] = tanh(h[i] + k[i] + b)
      o[i] = V' * x[i]
      o2[i] = V' * x2[i]
      output f[i] = o[i] + 0.5 * o2[i] + c
      output last[i] = V' * x2[i]
    }";
    let network = network(text);
    agrees_in_every_form(&network, &plan(&[&[2, 0, 1], &[0, 2, 1]]), squared);
    agrees_in_every_form(&network, &Sgd { loss: Loss::CrossEntropy, ..plan(&[&[2, 0, 1]]) }, softmax);
    let loss = Loss::Value("(sum c y[c]) * log(sum c exp(f[c])) - sum c y[c] * f[c]".into());
    agrees_in_every_form(&network, &Sgd { loss, ..plan(&[&[2, 0, 1]]) }, softmax);
}

#[test]
fn weight_decay_moves_the_reference() {
    for decay in [Decay::Coupled(fraction(1, 3)), Decay::Decoupled(fraction(1, 3))] {
        let sgd = Sgd { decay, ..plan(&[&[2, 1, 0, 0]]) };
        agrees_in_every_form(&example("mlp"), &sgd, squared);
        let sgd = Sgd { steps: 2, batches: batches(&[&[2, 1, 0]]), ..sgd };
        agrees_in_every_form(&example("layernorm"), &sgd, squared);
    }
}

/// Everything that the language has; its attention divides by `sqrt(n)`, and its head is nonlinear.
#[test]
fn everything_at_once() {
    let e = everything::everything();
    for (exponent, decay) in [(power(1, 2), Decay::None), (power(0, 1), Decay::Coupled(fraction(1, 10)))] {
        let readouts = Readouts::Computed;
        let rates = vec![fraction(1, 100)];
        let sgd = Sgd { steps: 2, rates, exponent, readouts, decay, ..plan(&[&[2, 1, 0]]) };
        agrees(&e.network, &sgd, squared);
    }
}
