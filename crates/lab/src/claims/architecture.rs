//! The architectures that claims about any network are tried on: 64 numbers an input, in whatever shape it reads.
//!
//! Each is a function of the number of inputs. A further architecture is a function here and a row in the list of each
//! family of claims (`ntk_init`, `ntk_train`).

use netsor_ir::Network;
use netsor_zoo::layers::{InputShape, Layer, network};
use netsor_zoo::{Activation, Conv1d, GraphNetwork, Gru, LayerNormMlp, Mlp, Rnn, Tied, Transformer};

/// A network by its number of inputs.
pub(super) type Build = fn(inputs: u32) -> anyhow::Result<Network>;

/// Two dense layers, tanh.
pub(super) fn mlp(inputs: u32) -> anyhow::Result<Network> {
    Ok(Mlp { inputs, dim: 64, hidden: 2, ..Mlp::default() }.network()?)
}

/// A network that uses W and its transpose in the forward pass.
pub(super) fn tied(inputs: u32) -> anyhow::Result<Network> {
    Ok(Tied { inputs, dim: 64, ..Tied::default() }.network()?)
}

/// Two convolutional layers over 8 positions with 8 channels.
pub(super) fn conv(inputs: u32) -> anyhow::Result<Network> {
    let w_std = std::f64::consts::SQRT_2;
    Ok(Conv1d { inputs, positions: 8, channels: 8, hidden: 2, w_std, ..Conv1d::default() }.network()?)
}

/// A simple recurrent network with biases over 4 steps of 16 numbers, erf, read out on average.
pub(super) fn rnn(inputs: u32) -> anyhow::Result<Network> {
    let readout = vec![0.25; 4];
    Ok(Rnn { inputs, dim: 16, readout, activation: Activation::Erf, b_std: 0.3, ..Rnn::default() }.network()?)
}

/// A gated recurrent unit over 2 steps of 32 numbers, read out at the end.
pub(super) fn gru(inputs: u32) -> anyhow::Result<Network> {
    Ok(Gru { inputs, dim: 32, readout: vec![0.0, 1.0], ..Gru::default() }.network()?)
}

/// Two dense layers with layer norm, relu.
pub(super) fn layer_norm(inputs: u32) -> anyhow::Result<Network> {
    Ok(LayerNormMlp { inputs, dim: 64, hidden: 2, ..LayerNormMlp::default() }.network()?)
}

/// A dense layer with batch norm over all inputs, relu. The variance of a batch of six has a heavy lower tail, which an
/// epsilon of 1 % of a typical variance cuts off.
pub(super) fn batch_norm(inputs: u32) -> anyhow::Result<Network> {
    let dense = Layer::dense(1.0, 0.0);
    let layers = [dense.clone(), Layer::BatchNorm { epsilon: 1e-2 }, Activation::Relu.layer(), dense];
    Ok(network("batch_norm", &layers, &InputShape::vectors(inputs, 64))?)
}

/// One transformer block with tied keys and queries over 4 tokens of 16 numbers.
pub(super) fn transformer(inputs: u32) -> anyhow::Result<Network> {
    Ok(Transformer { inputs, tokens: 4, dim: 16, ..Transformer::default() }.network()?)
}

/// Two layers on a star of four nodes with 16 numbers each.
pub(super) fn graph(inputs: u32) -> anyhow::Result<Network> {
    let network = GraphNetwork { inputs, nodes: 4, dim: 16, hidden: 2, pattern: Some(star(4)), ..Default::default() };
    Ok(network.network()?)
}

/// The graph whose first node has edges to all others, with loops, normalised by the roots of both degrees.
fn star(nodes: usize) -> Vec<Vec<f64>> {
    let degree = |p: usize| if p == 0 { nodes as f64 } else { 2.0 };
    let entry = |p: usize, q: usize| {
        if p == q || p == 0 || q == 0 { 1.0 / (degree(p) * degree(q)).sqrt() } else { 0.0 }
    };
    (0..nodes).map(|p| (0..nodes).map(|q| entry(p, q)).collect()).collect()
}
