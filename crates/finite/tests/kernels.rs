//! Empirical tangent kernels against gradients.

mod everything;

use everything::{everything, numbers};
use netsor_finite::{Inputs, Options, Trainer, empirical_kernel};
use netsor_ir::number::{power_to_f64, to_f64};
use netsor_ir::program::ValueId;

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
