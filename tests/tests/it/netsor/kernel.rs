//! What a project that depends on `netsor` does: build a network, take its kernels, keep them under a snapshot test.

use netsor::ir::{Network, transform::kernels};
use netsor::limit::{Data, Deriver, Evaluator, Tolerance};
use netsor::zoo::{Activation, Mlp};

/// Three points on the unit circle, the last one close to the first.
fn points() -> Vec<f64> {
    [0.0_f64, 1.5, 0.1].iter().flat_map(|angle| [angle.cos(), angle.sin()]).collect()
}

/// The upper triangle of the NNGP and of the tangent kernel, one line an entry.
///
/// Nine decimals: these closed forms are accurate to about 1e-15, so that a printed digit does not hang on rounding.
fn table(network: &Network) -> Result<String, Box<dyn std::error::Error>> {
    let kernels = kernels(network)?;
    let output = &kernels.outputs[0];
    let mut deriver = Deriver::new(&kernels.program);
    let nngp = deriver.scalar(output.nngp.ok_or("the output is a readout")?)?;
    let ntk = deriver.scalar(output.ntk)?;
    let graph = deriver.into_graph();
    let xi = kernels.program.find("xi").ok_or("the network has data")?;
    let data = Data::new().with(xi, points());
    let mut evaluator = Evaluator::new(&graph, &kernels.program, &data, Tolerance::default())?;
    let mut text = String::new();
    for i in 0..3 {
        for j in i..3 {
            let (k, theta) = (evaluator.value(nngp, &[i, j])?.value, evaluator.value(ntk, &[i, j])?.value);
            text.push_str(&format!("[{i}, {j}]  nngp {k:.9}  ntk {theta:.9}\n"));
        }
    }
    Ok(text)
}

#[test]
fn relu_network_with_two_hidden_layers() {
    let network = Mlp {
        inputs: 3,
        dim: 2,
        hidden: 2,
        activation: Activation::Relu,
        w_std: std::f64::consts::SQRT_2,
        ..Mlp::default()
    };
    insta::assert_snapshot!(table(&network.network().unwrap()).unwrap());
}

/// On the unit circle in two dimensions and with weights of variance `2 / fan_in`, every layer of a ReLU network keeps
/// the norm: `S = 1` on the diagonal, and the tangent kernel there is the number of layers (TP IIb §3.2).
#[test]
fn the_diagonal_of_a_relu_network_is_its_depth() {
    for hidden in 1..=4 {
        let network = Mlp {
            inputs: 3,
            dim: 2,
            hidden,
            activation: Activation::Relu,
            w_std: std::f64::consts::SQRT_2,
            ..Mlp::default()
        };
        let text = table(&network.network().unwrap()).unwrap();
        let expected = format!("[0, 0]  nngp 1.000000000  ntk {}.000000000", hidden + 1);
        assert_eq!(text.lines().next(), Some(expected.as_str()));
    }
}
