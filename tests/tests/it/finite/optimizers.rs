//! Optimisers against a few lines of their own, parametrizations, check-points, batches and gradient flow.

use std::ops::ControlFlow;

use netsor_finite::{
    Decay, Epochs, Examples, ExpressionLoss, FiniteError, Inputs, Loss, Optimizer, Options, Order, Rate, Rule, Trainer,
    Training, gradient_flow, train,
};
use netsor_ir::abc::Abc;
use netsor_ir::number::power;
use netsor_ir::syntax::parse_network;
use netsor_ir::transform::{Parametrization, parametrize};
use netsor_ir::verify::{Verified, verify_network};
use netsor_ir::{Network, ValueId};
use netsor_num::ode::OdeOptions;

fn network(parametrization: &Parametrization, inputs: usize) -> Verified<Network> {
    let text = format!(
        "network mlp {{
           axis i = {inputs}
           data xi[i] : 3
           param U : n x 3 ~ N(0, 1/3)
           param b : n ~ N(0, 1/4)
           param W : n x n ~ N(0, 2/n)
           param v : n x 1 ~ N(0, 1/n)
           g[i] = U * xi[i]
           z[i] = tanh(g[i] + b)
           h[i] = W * z[i]
           x[i] = tanh(h[i])
           output f[i] = v' * x[i]
         }}"
    );
    let network = parse_network(&text).unwrap();
    verify_network(parametrize(&network, parametrization).unwrap()).unwrap()
}

fn numbers(count: usize, salt: f64) -> Vec<f64> {
    (0..count).map(|k| ((k as f64 + 1.0) * salt).sin()).collect()
}

fn trainer(network: &Verified<Network>, n: usize, optimizer: Optimizer) -> Trainer<f64> {
    let xi = network.program.find("xi").unwrap();
    let count = network.program.family_sizes(xi)[0];
    let inputs = Inputs::new().with(xi, numbers(3 * count, 1.7));
    Trainer::new(network, &inputs, Options::new(n, 5)).unwrap().with_optimizer(optimizer).unwrap()
}

fn training(count: usize, rate: Rate, steps: usize) -> Training<'static> {
    Training { loss: Loss::Squared, targets: vec![numbers(count, 0.9)], rate, order: Order::All, steps }
}

fn losses(trainer: &mut Trainer<f64>, training: &Training<'_>) -> Vec<f64> {
    let history = train(trainer, training, &mut |_| ControlFlow::Continue(())).unwrap();
    history.snapshots.iter().map(|s| s.loss).collect()
}

/// Each rule in the tensors `w`, entry by entry, as its definition has it; ours works on `W`. Both round differently,
/// five steps of some dozen operations each.
#[test]
fn rules_are_what_their_definitions_say() {
    let abc = |a, b, c| Abc::new(power(a, 10), power(b, 10), power(c, 10));
    let free = Parametrization::ntk().with("U", abc(3, -3, 2)).with("W", abc(7, -2, -1)).with("v", abc(4, 1, 3));
    let network = network(&free, 4);
    let n = 7usize;
    let sgd = |momentum| Rule::Sgd { momentum };
    let adam = Rule::Adam { beta1: 0.8, beta2: 0.9, epsilon: 1e-3 };
    let decays = [Decay::None, Decay::Coupled(0.03), Decay::Decoupled(0.05)];
    for rule in [sgd(0.0), sgd(0.7), adam] {
        for decay in decays {
            let optimizer = Optimizer { rule, decay };
            let mut ours = trainer(&network, n, optimizer);
            let mut direct = ours.clone();
            let rate = Rate::Schedule(vec![0.1, 0.05, 0.02]);
            let training = training(4, rate.clone(), 5);
            losses(&mut ours, &training);
            let len = |t: &Trainer<f64>, v: ValueId| t.parameter(v).len();
            let mut memory: Vec<(Vec<f64>, Vec<f64>)> =
                direct.trained().map(|v| (vec![0.0; len(&direct, v)], vec![0.0; len(&direct, v)])).collect();
            for step in 0..5 {
                let f = direct.outputs().unwrap().remove(0);
                let residual: Vec<f64> = f.iter().zip(&training.targets[0]).map(|(f, y)| f - y).collect();
                for (k, (value, gradient)) in direct.gradients(&[residual]).unwrap().into_iter().enumerate() {
                    let parameter = network.parameter(value).unwrap();
                    let exponent = |p| netsor_ir::number::power_to_f64(p);
                    let s = netsor_ir::number::to_f64(&parameter.multiplier_squared).sqrt()
                        * (n as f64).powf(-exponent(parameter.a));
                    let eta = rate.at(step) * (n as f64).powf(-exponent(parameter.c));
                    let mut w: Vec<f64> = direct.parameter(value).iter().map(|x| x / s).collect();
                    for (j, w) in w.iter_mut().enumerate() {
                        let (means, squares) = &mut memory[k];
                        let (m, v) = (&mut means[j], &mut squares[j]);
                        let mut g = gradient[j];
                        let before = *w;
                        if let Decay::Coupled(lambda) = decay {
                            g += lambda * before;
                        }
                        match rule {
                            Rule::Sgd { momentum } => {
                                *m = momentum * *m + g;
                                *w -= eta * *m;
                            }
                            Rule::Adam { beta1, beta2, epsilon } => {
                                *m = beta1 * *m + (1.0 - beta1) * g;
                                *v = beta2 * *v + (1.0 - beta2) * g * g;
                                let t = step as i32 + 1;
                                let (mean, square) = (*m / (1.0 - beta1.powi(t)), *v / (1.0 - beta2.powi(t)));
                                *w -= eta * mean / (square.sqrt() + epsilon);
                            }
                        }
                        if let Decay::Decoupled(lambda) = decay {
                            *w -= eta * lambda * before;
                        }
                    }
                    let moved: Vec<f64> = w.iter().map(|w| s * w).collect();
                    direct.set_parameter(value, &moved).unwrap();
                }
            }
            for value in ours.trained() {
                for (a, b) in ours.parameter(value).iter().zip(direct.parameter(value)) {
                    assert!((a - b).abs() < 1e-12, "{optimizer:?}: {a} {b}");
                }
            }
        }
    }
}

/// `(a + t, b - t, c - t)` with `epsilon n^-t` is the same network under Adam, up to rounding.
#[test]
fn adam_does_not_see_a_shift() {
    let run = |t: i64| {
        let shift = |abc: Abc| abc.shifted_for_adam(power(t, 10));
        let mut mup = Parametrization::maximal_update_adam();
        (mup.input, mup.hidden, mup.output) = (shift(mup.input), mup.hidden.map(shift), shift(mup.output));
        let epsilon = 1e-2 * 16f64.powf(-t as f64 / 10.0);
        let rule = Rule::Adam { beta1: 0.9, beta2: 0.99, epsilon };
        let mut trainer = trainer(&network(&mup, 4), 16, Optimizer { rule, decay: Decay::None });
        losses(&mut trainer, &training(4, Rate::Constant(0.1), 6))
    };
    let there = run(0);
    assert!(there[6] < 0.9 * there[0], "{there:?}");
    for t in [-3, 7] {
        assert!(run(t).iter().zip(&there).all(|(a, b)| (a - b).abs() < 1e-12), "{:?} {there:?}", run(t));
    }
}

#[test]
fn check_points_resume_bit_for_bit() {
    for optimizer in [Optimizer::default(), Optimizer::momentum(0.9), Optimizer::adam()] {
        let network = network(&Parametrization::maximal_update(), 4);
        let training = |steps| training(4, Rate::Cosine { first: 0.2, last: 0.0, steps: 8 }, steps);
        let mut whole = trainer(&network, 9, optimizer);
        let all = losses(&mut whole, &training(8));
        let mut half = trainer(&network, 9, optimizer);
        losses(&mut half, &training(3));
        let bytes = half.checkpoint("a note").unwrap();
        let mut resumed = trainer(&network, 9, optimizer);
        resumed.restore(&bytes, "a note").unwrap();
        assert_eq!(losses(&mut resumed, &training(5)), all[3..]);
        for value in whole.trained() {
            assert_eq!(whole.parameter(value), resumed.parameter(value));
        }
        // Other runs, and damage.
        let fails = |trainer: &mut Trainer<f64>, bytes: &[u8], note: &str| {
            let error = trainer.restore(bytes, note).unwrap_err();
            assert!(matches!(error, FiniteError::Checkpoint { .. }), "{error}");
        };
        fails(&mut trainer(&network, 10, optimizer), &bytes, "a note");
        fails(&mut resumed, &bytes, "another");
        // Another network with parameters of the same names and shapes.
        fails(&mut trainer(&self::network(&Parametrization::ntk(), 4), 9, optimizer), &bytes, "a note");
        for at in [0, 30, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            fails(&mut resumed, &damaged, "a note");
            fails(&mut resumed, &bytes[..at], "a note");
        }
    }
}

/// Batches of a data set, the last one smaller, are those of a network that has all of the data.
#[test]
fn batches_are_parts_of_the_data() {
    let (x, y) = (numbers(3 * 7, 1.1), numbers(7, 0.4));
    let epochs = Epochs { examples: 7, batch: 3, seed: Some(4) };
    let batches: Vec<Vec<usize>> = (0..6).map(|step| epochs.batch(step)).collect();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 1, 3, 3, 1]);
    for epoch in batches.chunks(3) {
        let mut seen = epoch.concat();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2, 3, 4, 5, 6]);
    }
    let small = network(&Parametrization::ntk(), 3);
    let mut by_batches = trainer(&small, 11, Optimizer::momentum(0.5));
    let examples = Examples::new(&small, 7, &x, &y).unwrap();
    let large = network(&Parametrization::ntk(), 7);
    let xi = large.program.find("xi").unwrap();
    let mut whole = Trainer::<f64>::new(&large, &Inputs::new().with(xi, x.clone()), Options::new(11, 5)).unwrap();
    whole = whole.with_optimizer(Optimizer::momentum(0.5)).unwrap();
    for batch in &batches {
        let loss = examples.step(&mut by_batches, batch, Loss::Squared, 0.3).unwrap();
        let f = whole.outputs().unwrap().remove(0);
        let mean = batch.iter().map(|&e| (f[e] - y[e]).powi(2) / 2.0).sum::<f64>() / batch.len() as f64;
        assert!((loss - mean).abs() < 1e-13, "{loss} {mean}");
        let cotangent = |e: usize| if batch.contains(&e) { (f[e] - y[e]) / batch.len() as f64 } else { 0.0 };
        whole.step(0.3, &[(0..7).map(cotangent).collect()]).unwrap();
    }
    let (f, loss) = examples.evaluate(&mut by_batches, 3, Loss::Squared).unwrap();
    let expected = whole.outputs().unwrap().remove(0);
    assert!(f.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-13), "{f:?} {expected:?}");
    let mean = f.iter().zip(&y).map(|(f, y)| (f - y).powi(2) / 2.0).sum::<f64>() / 7.0;
    assert!((loss - mean).abs() < 1e-14);
    let quartic = ExpressionLoss::parse("(f - y)^4 / 4", 1).unwrap();
    let before = examples.step(&mut by_batches, &[0, 6], Loss::Expression(&quartic), 0.1).unwrap();
    assert!((before - [0, 6].map(|e: usize| (f[e] - y[e]).powi(4) / 4.0).iter().sum::<f64>() / 2.0).abs() < 1e-14);
}

/// Short steps of gradient descent approach the flow at first order; extrapolated to step size zero, at second.
#[test]
fn gradient_flow_is_descent_with_short_steps() {
    let network = network(&Parametrization::maximal_update(), 4);
    let start = trainer(&network, 8, Optimizer::default());
    let mut moved = start.clone();
    let flow = training(4, Rate::Constant(0.7), 0);
    let path = gradient_flow(&mut moved, &flow, &[0.0, 0.5, 1.0], &OdeOptions::with_tolerance(1e-10)).unwrap();
    let descend = |steps: usize| {
        let mut trainer = start.clone();
        let history = train(&mut trainer, &training(4, Rate::Constant(0.7 / steps as f64), steps), &mut |_| {
            ControlFlow::Continue(())
        });
        history.unwrap().snapshots.pop().unwrap().outputs.remove(0)
    };
    let (coarse, fine) = (descend(200), descend(400));
    for ((coarse, fine), flow) in coarse.iter().zip(&fine).zip(&path.snapshots[2].outputs[0]) {
        assert!((2.0 * fine - coarse - flow).abs() < 1e-5, "{coarse} {fine} {flow}");
        // The error of the finer one is of first order: the test can tell the difference.
        assert!(1e-5 < (coarse - flow).abs(), "{coarse} {flow}");
    }
    assert!(path.snapshots[2].loss < path.snapshots[1].loss && path.snapshots[1].loss < path.snapshots[0].loss);
    assert_eq!(moved.outputs().unwrap(), path.snapshots[2].outputs);
    let rate = Rate::Decay { initial: 1.0, factor: 0.5, every: 1 };
    assert!(gradient_flow(&mut moved, &training(4, rate, 0), &[1.0], &OdeOptions::default()).is_err());
}
