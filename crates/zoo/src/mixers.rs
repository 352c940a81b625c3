//! Networks that mix positions: the transformer and the graph network.

use netsor_ir::Network;

use crate::activation::Activation;
use crate::builder::positive;
use crate::layers::{Attention, InputShape, Layer, LayerError, network};

/// A transformer: blocks of attention and a two-layer network with layer norm, the average over tokens, and a readout.
///
/// ```text
/// k = U x                                        keys, queries and values
/// z = norm(k + sum_q softmax_q(<k_p, k_q> / (n temperature)) k_q)
/// x = norm(W2 phi(W1 z + b1) + b2 + z)
/// ```
///
/// Scores are inner products over the width (1/d scaling), which have limits. Keys and queries are one matrix unless
/// `correlation` says otherwise; independent ones have limit scores 0, hence uniform attention.
#[derive(Clone, Debug, PartialEq)]
pub struct Transformer {
    /// Number of sequences in the batch.
    pub inputs: u32,
    /// Tokens of a sequence.
    pub tokens: u32,
    /// Dimension of a token.
    pub dim: u32,
    /// Number of blocks, at least 1.
    pub blocks: u32,
    /// `None` if `k` is key and query; otherwise they are `K k` and `Q k` with matrices of this correlation.
    pub correlation: Option<f64>,
    /// What scores are divided by, besides the width.
    pub temperature: f64,
    /// Whether a token sees only itself and those before it.
    pub causal: bool,
    /// The activation of the two-layer network.
    pub activation: Activation,
    /// What layer norm adds to variances.
    pub epsilon: f64,
    /// Standard deviation of `U` relative to `1 / sqrt(fan_in)`.
    pub u_std: f64,
    /// Standard deviation of `W1` and `W2`.
    pub w_std: f64,
    /// Standard deviation of the biases of the two-layer network; 0 for none.
    pub b_std: f64,
    /// Standard deviation of the readout.
    pub v_std: f64,
}

impl Default for Transformer {
    fn default() -> Self {
        Self {
            inputs: 1,
            tokens: 2,
            dim: 1,
            blocks: 1,
            correlation: None,
            temperature: 1.0,
            causal: false,
            activation: Activation::Relu,
            epsilon: 1e-12,
            u_std: 1.0,
            w_std: 1.0,
            b_std: 0.0,
            v_std: 1.0,
        }
    }
}

impl Transformer {
    /// The layers, of which the last is the readout.
    pub fn layers(&self) -> Vec<Layer> {
        let norm = Layer::LayerNorm { axis: -1, epsilon: self.epsilon };
        let attention = Layer::SelfAttention {
            correlation: self.correlation,
            w_key_std: 1.0,
            w_query_std: 1.0,
            temperature: self.temperature,
            causal: self.causal,
            attention_mechanism: Attention::Softmax,
        };
        let dense = Layer::dense(self.w_std, self.b_std);
        let block = [
            Layer::dense(self.u_std, 0.0),
            Layer::Residual { layers: vec![attention] },
            norm.clone(),
            Layer::Residual { layers: vec![dense.clone(), self.activation.layer(), dense] },
            norm,
        ];
        let blocks = (0..self.blocks).flat_map(|_| block.clone());
        blocks.chain([Layer::GlobalAvgPool {}, Layer::dense(self.v_std, 0.0)]).collect()
    }

    /// The network, with data `xi[i, p]` for the tokens `p` and output `f[i]`. Parameters of a block are in the order
    /// `U, (K, Q,) W1, b1, W2, b2`.
    ///
    /// # Errors
    /// If a size is 0, a number is not finite, or the correlation is not between -1 and 1.
    pub fn network(&self) -> Result<Network, LayerError> {
        positive("blocks", self.blocks)?;
        let input = InputShape { inputs: self.inputs, positions: vec![self.tokens], channels: self.dim };
        network("transformer", &self.layers(), &input)
    }
}

/// A graph network: layers `x_q = phi(W sum_p A[i, p, q] x_p)`, the average over nodes, and a readout.
///
/// The pattern `A` is data, so that each input has its own graph, or given once for all; what to put there (adjacency,
/// normalised or with loops) is up to the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct GraphNetwork {
    /// Number of graphs in the batch.
    pub inputs: u32,
    /// Nodes of a graph.
    pub nodes: u32,
    /// Features of a node.
    pub dim: u32,
    /// Number of layers, at least 1.
    pub hidden: u32,
    /// `pattern[p][q]`, the weight of node `p` in the sum of node `q`, if all inputs have one graph; otherwise it is data.
    pub pattern: Option<Vec<Vec<f64>>>,
    /// The activation after each layer.
    pub activation: Activation,
    /// Standard deviation of weights relative to `1 / sqrt(fan_in)`.
    pub w_std: f64,
    /// Standard deviation of biases; 0 for none.
    pub b_std: f64,
}

impl Default for GraphNetwork {
    fn default() -> Self {
        let activation = Activation::Relu;
        Self { inputs: 1, nodes: 2, dim: 1, hidden: 1, pattern: None, activation, w_std: 1.0, b_std: 0.0 }
    }
}

impl GraphNetwork {
    /// The layers, of which the last is the readout.
    pub fn layers(&self) -> Vec<Layer> {
        let dense = Layer::dense(self.w_std, self.b_std);
        let aggregate =
            Layer::Aggregate { pattern: self.pattern.clone(), aggregate_axis: 1, batch_axis: 0, channel_axis: -1 };
        let layer = [aggregate, dense.clone(), self.activation.layer()];
        (0..self.hidden).flat_map(|_| layer.clone()).chain([Layer::GlobalAvgPool {}, dense]).collect()
    }

    /// The network, with data `xi[i, p]` for the nodes `p`, `pattern[i, p, p']` for the weight of node `p` in the sum of
    /// node `p'` (unless it was given), and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0 or a number is not finite.
    pub fn network(&self) -> Result<Network, LayerError> {
        positive("hidden", self.hidden)?;
        let input = InputShape { inputs: self.inputs, positions: vec![self.nodes], channels: self.dim };
        network("graph_network", &self.layers(), &input)
    }
}
