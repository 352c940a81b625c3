//! Empirical tangent kernels against gradients, and against finite differences for every architecture.

use netsor_finite::{
    Float, Inputs, KernelExecutor, Loss, Options, Order, Rate, Trainer, Training, empirical_kernel, train,
};
use netsor_ir::Kind;
use netsor_ir::network::Network;
use netsor_ir::number::{power_to_f64, to_f64};
use netsor_ir::program::{Instr, ValueId};
use netsor_ir::syntax::{Item, parse};
use netsor_ir::verify::{Verified, verify_network};

use crate::everything::{everything, numbers};
use crate::files::path;

/// The tangent kernel from moments of forward and adjoint vectors, against inner products of whole gradients. Rounding
/// only: gradients of some hundred numbers of order one.
#[test]
fn the_tangent_kernel_is_the_gram_matrix_of_gradients() {
    let e = everything();
    let data = Inputs::new().with(e.xi, numbers(24, 1.7));
    let start = Trainer::<f64>::new(&e.network, &data, Options::new(6, 11)).unwrap();
    // Steps of rate 1 with one output component each: changes are rate * gradient.
    let changes: Vec<Vec<Vec<f64>>> = (0..6)
        .map(|k| {
            let mut moved = start.clone();
            let cotangent = (0..6).map(|j| if j == k { 1.0 } else { 0.0 }).collect();
            moved.step(1.0, &[cotangent]).unwrap();
            let change = |id: ValueId| {
                start.parameter(id).iter().zip(moved.parameter(id)).map(|(a, b)| a - b).collect::<Vec<f64>>()
            };
            e.network.parameters.iter().map(|p| change(p.value)).collect()
        })
        .collect();
    let kernel = &empirical_kernel::<f64>(&e.network, &data, &Options::new(6, 11)).unwrap()[0];
    assert_eq!(kernel.size, 6);
    let mut total = [0.0; 36];
    for (at, (parameter, part)) in kernel.parts.iter().enumerate() {
        assert_eq!(*parameter, e.network.parameters[at].value);
        let scale = e.network.parameters[at].rate();
        let rate = to_f64(&scale.coefficient) * 6f64.powf(power_to_f64(scale.power));
        for k in 0..36 {
            let (a, b) = (&changes[k / 6][at], &changes[k % 6][at]);
            let product = a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>() / rate;
            assert!(
                (product - part[k]).abs() < 1e-12 * (1.0 + product.abs()),
                "{parameter:?} {k}: {product} {}",
                part[k]
            );
            total[k] += product;
        }
    }
    for (k, (expected, found)) in total.iter().zip(&kernel.ntk).enumerate() {
        assert!((expected - found).abs() < 1e-12 * (1.0 + expected.abs()), "{k}: {expected} {found}");
    }
}

/// The width of the architectures: some have widths in the ratio 1 : 2 and 3 : 2.
const WIDTH: usize = 4;

/// Every network in `examples/`, with its file.
fn networks() -> Vec<(String, Verified<Network>)> {
    let mut files: Vec<_> = ["examples", "examples/architectures"]
        .map(path)
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .filter(|path| path.extension().is_some_and(|e| e == "netsor"))
        .collect();
    files.sort();
    let mut networks = Vec::new();
    for file in files {
        for item in parse(&std::fs::read_to_string(&file).unwrap()).unwrap() {
            if let Item::Network(network) = item.item {
                networks.push((file.display().to_string(), verify_network(network).unwrap()));
            }
        }
    }
    networks
}

/// Numbers for all data of a network.
fn data(network: &Network) -> Inputs {
    let program = &network.program;
    let mut inputs = Inputs::new();
    for id in program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data)) {
        let dim = match program.value(id).ty.kind {
            Kind::Vector(dim) => program.dim_size(dim, WIDTH),
            _ => 1,
        };
        let count = dim * program.family_sizes(id).iter().product::<usize>();
        inputs.set(id, numbers(count, 1.3 + id.index() as f64));
    }
    inputs
}

/// Two steps of gradient descent on the squared loss of the first example, in the second step taken twice.
fn two_steps<T: Float>(network: &Verified<Network>) -> (Trainer<T>, Vec<f64>) {
    let mut trainer = Trainer::<T>::new(network, &data(network), Options::new(WIDTH, 2)).unwrap();
    let outputs = trainer.outputs().unwrap();
    let targets = outputs.iter().map(|f| numbers(f.len(), 0.7)).collect();
    let order = Order::Batches(vec![vec![0], vec![0, 0]]);
    let training = Training { loss: Loss::Squared, targets, rate: Rate::Constant(0.05), order, steps: 2 };
    let history = train(&mut trainer, &training, &mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    (trainer, history.snapshots.iter().flat_map(|s| s.outputs.concat()).collect())
}

/// Every architecture runs and trains in both precisions, and its tangent kernel after two steps is that of finite
/// differences of its outputs in every single parameter, which know nothing of adjoints.
///
/// The stencil of five points with step `1e-5`, short because of kinks, has rounding of `1e-11`, and its own error is
/// below that; kernels are sums of up to a few hundred products. Single precision: two steps of some
/// hundred operations, and divisions by variances that are not small.
#[test]
fn every_architecture_trains_and_has_the_kernel_of_finite_differences() {
    let networks = networks();
    assert!(20 <= networks.len(), "{}", networks.len());
    for (name, network) in &networks {
        let (mut trainer, outputs) = two_steps::<f64>(network);
        let (_, single) = two_steps::<f32>(network);
        let size = outputs.iter().fold(1.0f64, |s, f| s.max(f.abs()));
        assert!(
            outputs.iter().zip(&single).all(|(a, b)| (a - b).abs() < 1e-4 * size),
            "{name}: {outputs:?} {single:?}"
        );
        let mut executor = KernelExecutor::new(network, trainer.options()).unwrap();
        let kernels = executor.of_trainer(&mut trainer).unwrap();
        let mut totals: Vec<Vec<f64>> = kernels.iter().map(|k| vec![0.0; k.ntk.len()]).collect();
        for parameter in network.parameters.iter().filter(|p| p.trained) {
            let jacobians = jacobians(&mut trainer, parameter.value);
            let scale = parameter.rate();
            let rate = to_f64(&scale.coefficient) * (WIDTH as f64).powf(power_to_f64(scale.power));
            for ((kernel, total), jacobian) in kernels.iter().zip(&mut totals).zip(jacobians) {
                let (_, part) = kernel.parts.iter().find(|(id, _)| *id == parameter.value).unwrap();
                let largest = kernel.ntk.iter().fold(0.0f64, |s, k| s.max(k.abs()));
                for (at, (found, total)) in part.iter().zip(total).enumerate() {
                    let (a, b) = (&jacobian[at / kernel.size], &jacobian[at % kernel.size]);
                    let expected = rate * a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
                    *total += expected;
                    let value = &network.program.value(parameter.value).name;
                    assert!((found - expected).abs() < 1e-8 * largest, "{name}, {value} {at}: {found} {expected}");
                }
            }
        }
        for (kernel, total) in kernels.iter().zip(&totals) {
            let largest = total.iter().fold(0.0f64, |s, k| s.max(k.abs()));
            assert!(1e-6 < largest, "{name} has a kernel");
            assert!(kernel.ntk.iter().zip(total).all(|(a, b)| (a - b).abs() < 1e-8 * largest), "{name}");
        }
    }
}

/// `[output][component][entry]`: the derivatives of every output in every entry of a parameter.
fn jacobians(trainer: &mut Trainer<f64>, parameter: ValueId) -> Vec<Vec<Vec<f64>>> {
    const STEP: f64 = 1e-5;
    let start = trainer.parameter(parameter);
    let sizes: Vec<usize> = trainer.outputs().unwrap().iter().map(Vec::len).collect();
    let mut jacobians: Vec<Vec<Vec<f64>>> = sizes.iter().map(|&k| vec![vec![0.0; start.len()]; k]).collect();
    for entry in 0..start.len() {
        for (steps, weight) in [(1.0, 8.0), (-1.0, -8.0), (2.0, -1.0), (-2.0, 1.0)] {
            let mut moved = start.clone();
            moved[entry] += steps * STEP;
            trainer.set_parameter(parameter, &moved).unwrap();
            for (jacobian, f) in jacobians.iter_mut().zip(trainer.outputs().unwrap()) {
                jacobian.iter_mut().zip(f).for_each(|(row, f)| row[entry] += weight * f / (12.0 * STEP));
            }
        }
    }
    trainer.set_parameter(parameter, &start).unwrap();
    jacobians
}
