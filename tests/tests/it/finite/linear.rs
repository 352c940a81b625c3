//! Taylor expansions, the kernel as a linear map, kernels in the middle of training, and averages over draws.

use netsor_finite::{Inputs, KernelExecutor, Linearised, Options, Taylor, Trainer, empirical_kernel, mean_kernels};
use netsor_ir::syntax::parse_network;
use netsor_ir::verify::verify_network;

use crate::everything::{everything, numbers};

/// The remainder of an expansion of order `k` falls as `t^(k+1)`: by `2^(k+1)` when `t` is halved, up to a share of
/// order `t` (here 0.02, times ratios of derivatives of neighbouring orders, for which a factor of ten is allowed).
#[test]
fn remainders_fall_as_they_should() {
    let e = everything();
    let data = Inputs::new().with(e.xi, numbers(24, 1.7));
    let mut trainer = Trainer::<f64>::new(&e.network, &data, Options::new(6, 11)).unwrap();
    for order in [0, 1, 2, 3] {
        let mut taylor = Taylor::new(&mut trainer, order).unwrap();
        let mut remainder = |t: f64| {
            let mut moved = trainer.clone();
            let mut change = Vec::new();
            for (k, value) in trainer.trained().enumerate() {
                let start = trainer.parameter(value);
                let step: Vec<f64> = numbers(start.len(), 0.3 + k as f64).iter().map(|x| t * x).collect();
                let now: Vec<f64> = start.iter().zip(&step).map(|(x, d)| x + d).collect();
                moved.set_parameter(value, &now).unwrap();
                change.push((value, step));
            }
            let found = taylor.outputs(&change).unwrap().concat();
            let truth = moved.outputs().unwrap().concat();
            found.iter().zip(&truth).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt()
        };
        let (coarse, fine) = (remainder(0.02), remainder(0.01));
        let ratio = coarse / fine / 2f64.powi(order as i32 + 1);
        assert!((ratio - 1.0).abs() < 0.2, "order {order}: {coarse:e} {fine:e}");
    }
}

#[test]
fn the_kernel_is_a_linear_map_at_any_time() {
    let e = everything();
    let data = Inputs::new().with(e.xi, numbers(24, 1.7));
    let mut trainer = Trainer::<f64>::new(&e.network, &data, Options::new(6, 11)).unwrap();
    let mut kernels = KernelExecutor::<f64>::new(&e.network, &Options::new(6, 11)).unwrap();
    for step in 0..3 {
        let lent = kernels.of_trainer(&mut trainer).unwrap();
        let drawn = empirical_kernel::<f64>(&e.network, &trainer.resume(data.clone()), &Options::new(6, 11)).unwrap();
        assert_eq!(lent, drawn, "step {step}");
        let size = lent[0].size;
        let vector = numbers(size, 0.77);
        let mut linear = Linearised::new(trainer.clone()).unwrap();
        let found = linear.kernel_times(std::slice::from_ref(&vector)).unwrap();
        for (row, found) in lent[0].ntk.chunks(size).zip(&found[0]) {
            let expected: f64 = row.iter().zip(&vector).map(|(k, v)| k * v).sum();
            // Some hundred roundings of numbers of order one to ten.
            assert!((found - expected).abs() < 1e-11 * (1.0 + expected.abs()), "{found} {expected}");
        }
        // A step of the linearised network moves the outputs by the kernel, exactly.
        let before = linear.outputs().unwrap();
        linear.step(0.25, &[vector]).unwrap();
        let after = linear.outputs().unwrap();
        for ((a, b), k) in after[0].iter().zip(&before[0]).zip(&found[0]) {
            assert!((a - b + 0.25 * k).abs() < 1e-11 * (1.0 + k.abs()), "{a} {b} {k}");
        }
        trainer.step(0.05, &[numbers(size, 1.3 + step as f64)]).unwrap();
    }
}

/// Over many draws at a large width: the mean of the tangent kernel of one linear layer is exact, `x.x' (1 + 1)`; five
/// standard errors. The readout covariance is `x.x'` in the mean, and `h.h'/n` in each draw.
#[test]
fn averages_have_standard_errors() {
    let text = "network linear {
      axis i = 2
      data xi[i] : 2
      param U : n x 2 ~ N(0, 1)
      param v : n x 1 ~ N(0, 1/n)
      h[i] = U * xi[i]
      output f[i] = v' * h[i]
    }";
    let network = verify_network(parse_network(text).unwrap()).unwrap();
    let find = |name: &str| network.program.find(name).unwrap();
    let x = [1.0, 0.5, -0.25, 2.0];
    let inputs = Inputs::new().with(find("xi"), x.to_vec());
    let options = Options::new(32, 3);
    let mean = mean_kernels::<f64>(&network, &inputs, &options, 200).unwrap();
    let nngp = mean.nngp.unwrap();
    for (i, j) in [(0, 0), (0, 1), (1, 1)] {
        let dot = x[2 * i] * x[2 * j] + x[2 * i + 1] * x[2 * j + 1];
        let at = 2 * i + j;
        assert!((nngp.mean[at] - dot).abs() < 5.0 * nngp.standard_error[at], "{} {dot}", nngp.mean[at]);
        assert!((mean.ntk.mean[at] - 2.0 * dot).abs() < 5.0 * mean.ntk.standard_error[at]);
        // A mean of h h' over n coordinates and 200 draws: variance (k_ii k_jj + k_ij^2) / (200 n), known to a tenth.
        let square = |k: usize| x[2 * k].powi(2) + x[2 * k + 1].powi(2);
        let expected = ((square(i) * square(j) + dot * dot) / (200.0 * 32.0)).sqrt();
        assert!((nngp.standard_error[at] / expected - 1.0).abs() < 0.25, "{} {expected}", nngp.standard_error[at]);
    }
    let one = empirical_kernel::<f64>(&network, &inputs, &options).unwrap().remove(0);
    let mut trainer = Trainer::<f64>::new(&network, &inputs, options).unwrap();
    let state = trainer.values(&[find("h")]).unwrap();
    let h = state.block(find("h")).unwrap();
    let dot = h.member(0).iter().zip(h.member(1)).map(|(a, b)| a * b).sum::<f64>() / 32.0;
    assert!((one.nngp.unwrap()[1] - dot).abs() < 1e-14);
}
