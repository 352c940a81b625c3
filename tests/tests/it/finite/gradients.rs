//! Training against finite differences, on a network that has everything.

use std::ops::ControlFlow;

use netsor_finite::{FiniteError, Float, Inputs, KernelExecutor, Loss, Options, Order, Rate, Trainer, Training, train};
use netsor_ir::network::Network;
use netsor_ir::program::Program;
use netsor_ir::verify::verify_network;

use crate::everything::{Everything, everything, numbers};

fn training(steps: usize) -> Training<'static> {
    Training {
        loss: Loss::CrossEntropy,
        targets: vec![vec![1.0, 0.0, 0.25, 0.75, 0.0, 1.0]],
        rate: Rate::Schedule(vec![0.5, 0.25]),
        order: Order::Batches(vec![vec![2, 0], vec![1, 1]]),
        steps,
    }
}

fn run<T: Float>(e: &Everything, inputs: &Inputs, training: &Training<'_>) -> (Trainer<T>, Vec<f64>) {
    let mut trainer = Trainer::<T>::new(&e.network, inputs, Options::new(6, 11)).unwrap();
    let history = train(&mut trainer, training, &mut |_| ControlFlow::Continue(())).unwrap();
    let losses = history.snapshots.iter().map(|s| s.loss).collect();
    (trainer, losses)
}

/// A step of rate 1 on all examples moves each parameter by minus its rate times the derivative of the loss. Central
/// differences of step 1e-4 have an error of some 1e-8 times third derivatives of order one to ten.
#[test]
fn a_step_is_minus_the_derivative_of_the_loss() {
    let e = everything();
    let n = 6.0f64;
    let data = Inputs::new().with(e.xi, numbers(24, 1.7));
    let all = Training { rate: Rate::Constant(1.0), order: Order::All, ..training(1) };
    let start = Trainer::<f64>::new(&e.network, &data, Options::new(6, 11)).unwrap();
    let (moved, _) = run::<f64>(&e, &data, &all);
    let rates = [("U", 2.0), ("b", n.sqrt()), ("W", 1.0 / n), ("O", 3.0 / n), ("V", 1.0 / n), ("H", 1.0)];
    for (name, rate) in rates {
        let id = e.network.program.find(name).unwrap();
        let before = start.parameter(id);
        let after = moved.parameter(id);
        let mut largest = 0.0f64;
        for k in (0..before.len()).step_by(1 + before.len() / 7) {
            let loss = |h: f64| {
                let mut changed = before.clone();
                changed[k] += h;
                let inputs = start.resume(data.clone()).with(id, changed);
                run::<f64>(&e, &inputs, &Training { steps: 0, ..all.clone() }).1[0]
            };
            let slope = (loss(1e-4) - loss(-1e-4)) / 2e-4;
            let found = (before[k] - after[k]) / rate;
            assert!((found - slope).abs() < 2e-7, "{name}[{k}]: {found}, finite differences give {slope}");
            largest = largest.max(slope.abs());
        }
        assert!(1e-3 < largest, "{name} matters: {largest}");
    }
}

#[test]
fn training_is_reproducible_and_resumes() {
    let e = everything();
    let data = Inputs::new().with(e.xi, numbers(24, 1.7));
    let bits = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run::<f64>(&e, &data, &training(4)).1)
    };
    let losses = bits(1);
    assert_eq!(losses, bits(2));
    assert_eq!(losses, bits(4));
    assert!(losses[4] < losses[0], "{losses:?}");

    // Two steps, and two more from what the first run left.
    let (half, first) = run::<f64>(&e, &data, &training(2));
    let resumed = half.resume(data.clone());
    let mut trainer = Trainer::<f64>::new(&e.network, &resumed, Options::new(6, 11)).unwrap().after(2);
    let history = train(&mut trainer, &training(2), &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(first, losses[..3]);
    assert_eq!(history.snapshots.iter().map(|s| s.loss).collect::<Vec<_>>(), losses[2..]);

    // Single precision: rounding of 2^-24 through some hundred operations and four steps.
    let (_, single) = run::<f32>(&e, &data, &training(4));
    assert!(losses.iter().zip(&single).all(|(a, b)| (a - b).abs() < 1e-4 * a.abs()), "{losses:?} {single:?}");
}

#[test]
fn divergence_and_unfit_options_are_errors() {
    let e = everything();
    let data = Inputs::new().with(e.xi, numbers(24, 1.7));
    let fail = |t: &Training<'_>| {
        let mut trainer = Trainer::<f64>::new(&e.network, &data, Options::new(6, 11)).unwrap();
        train(&mut trainer, t, &mut |_| ControlFlow::Continue(())).unwrap_err()
    };
    let t = training(50);
    let error = fail(&Training { rate: Rate::Constant(1e200), ..t.clone() });
    assert!(matches!(error, FiniteError::Diverged { step: 1.., .. }), "{error}");
    assert!(matches!(fail(&Training { rate: Rate::Constant(f64::NAN), ..t.clone() }), FiniteError::Option { .. }));
    assert!(matches!(fail(&Training { rate: Rate::Schedule(vec![]), ..t.clone() }), FiniteError::Option { .. }));
    let beyond = Order::Batches(vec![vec![3]]);
    assert!(matches!(fail(&Training { order: beyond, ..t.clone() }), FiniteError::Option { found: 3.0, .. }));
    let short = vec![vec![1.0]];
    assert!(matches!(
        fail(&Training { targets: short, ..t.clone() }),
        FiniteError::Length { expected: 6, found: 1, .. }
    ));
    assert!(matches!(fail(&Training { loss: Loss::Logistic, ..t }), FiniteError::Option { .. }));
    // 3/2 of 5 coordinates.
    let error = Trainer::<f64>::new(&e.network, &data, Options::new(5, 0)).unwrap_err();
    assert!(matches!(error, FiniteError::FractionalDimension { width: 5, .. }), "{error}");
    let nothing = verify_network(Network { program: Program::new("nothing"), ..Network::default() }).unwrap();
    let error = Trainer::<f64>::new(&nothing, &Inputs::new(), Options::new(5, 0)).unwrap_err();
    assert!(matches!(error, FiniteError::Transform(_)), "{error}");
}

/// Products that are cut into blocks and vectors that are cut into parts: training and the tangent kernel have the same
/// bits whatever the number of threads.
fn bits_of_a_wide_network<T: Float>(threads: usize) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let text = "network wide {
      axis i = 9
      data xi[i] : 3
      param U : n x 3 ~ N(0, 1/3)
      param W : n x n ~ N(0, 1/n)
      param v : n x 1 ~ N(0, 1/n)
      h[i] = U * xi[i]
      x[i] = tanh(h[i])
      g[i] = W * x[i]
      k[i] = W' * x[i]
      y[i] = tanh(g[i]) + k[i]
      output f[i] = v' * y[i]
    }";
    let network = verify_network(netsor_ir::syntax::parse_network(text).unwrap()).unwrap();
    let inputs = Inputs::new().with(network.program.find("xi").unwrap(), numbers(27, 1.7));
    let (loss, order, rate) = (Loss::Squared, Order::All, Rate::Constant(0.02));
    let training = Training { loss, targets: vec![numbers(9, 0.3)], rate, order, steps: 3 };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    pool.install(|| {
        let mut trainer = Trainer::<T>::new(&network, &inputs, Options::new(1100, 3)).unwrap();
        train(&mut trainer, &training, &mut |_| ControlFlow::Continue(())).unwrap();
        let mut kernels = KernelExecutor::new(&network, trainer.options()).unwrap();
        let kernel = kernels.of_trainer(&mut trainer).unwrap().swap_remove(0);
        let w = network.program.find("W").unwrap();
        (trainer.parameter(w), trainer.outputs().unwrap().concat(), kernel.ntk)
    })
}

#[test]
fn wide_networks_have_the_same_bits_for_any_number_of_threads() {
    let one = bits_of_a_wide_network::<f64>(1);
    assert!(bits_of_a_wide_network::<f64>(2) == one && bits_of_a_wide_network::<f64>(4) == one);
    let one = bits_of_a_wide_network::<f32>(1);
    assert!(bits_of_a_wide_network::<f32>(2) == one && bits_of_a_wide_network::<f32>(4) == one);
}
