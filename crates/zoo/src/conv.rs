//! Convolutional networks, plain and residual with batch norm.

use netsor_ir::Network;

use crate::activation::Activation;
use crate::layers::{Border, InputShape, Layer, LayerError, network};

/// What lies beyond the ends of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Zeros; the output is as long as the input.
    Same,
    /// The other end.
    Circular,
}

/// What becomes of the positions of an image before the readout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reduction {
    /// Each position has weights of its own in the readout.
    Flatten,
    /// The average over all positions.
    #[default]
    GlobalAverage,
}

impl Reduction {
    fn layer(self) -> Layer {
        match self {
            Self::Flatten => Layer::Flatten {},
            Self::GlobalAverage => Layer::GlobalAvgPool {},
        }
    }
}

/// Convolutions over the positions of a sequence or an image, an activation after each, then the average over positions
/// (or one weight a position) and a dense readout.
///
/// A convolution is a matrix product with each tap and a guarded sum: in one dimension
/// `h[i, p] = sum k, q [q = s p + k - c] g[i, k, q]` with `g[i, k, q] = W[k] * x[i, q]` (TP IIb Fig. 5).
#[derive(Clone, Debug, PartialEq)]
pub struct Cnn {
    /// Number of inputs in the batch.
    pub inputs: u32,
    /// Positions along each axis: one for sequences, two for images.
    pub positions: Vec<u32>,
    /// Channels of an input at each position.
    pub channels: u32,
    /// Number of convolutions, at least 1.
    pub hidden: u32,
    /// Taps of each filter along each axis of positions.
    pub filter: Vec<u32>,
    /// Steps between neighbouring windows along each axis; empty for 1.
    pub strides: Vec<u32>,
    /// What lies beyond the border.
    pub border: Border,
    /// What becomes of the positions before the readout.
    pub reduction: Reduction,
    /// The activation after each convolution.
    pub activation: Activation,
    /// Standard deviation of weights relative to `1 / sqrt(taps * channels)`.
    pub w_std: f64,
    /// Standard deviation of biases, in every layer; 0 for no biases.
    pub b_std: f64,
}

impl Default for Cnn {
    fn default() -> Self {
        Self {
            inputs: 1,
            positions: vec![4],
            channels: 1,
            hidden: 1,
            filter: vec![3],
            strides: Vec::new(),
            border: Border::Same,
            reduction: Reduction::GlobalAverage,
            activation: Activation::Relu,
            w_std: 1.0,
            b_std: 0.0,
        }
    }
}

impl Cnn {
    /// The layers, of which the last is the readout.
    pub fn layers(&self) -> Vec<Layer> {
        let conv = conv(&self.filter, &self.strides, self.border, self.w_std, self.b_std);
        let body = (0..self.hidden).flat_map(|_| [conv.clone(), self.activation.layer()]);
        body.chain([self.reduction.layer(), Layer::dense(self.w_std, self.b_std)]).collect()
    }

    /// The network, with data `xi[i, p]` (`xi[i, p, q]` for images) and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0, a number is not finite, or filter and strides do not fit the positions.
    pub fn network(&self) -> Result<Network, LayerError> {
        crate::builder::positive("hidden", self.hidden)?;
        let positions = self.positions.clone();
        network("cnn", &self.layers(), &InputShape { inputs: self.inputs, positions, channels: self.channels })
    }
}

/// A [`Cnn`] over a sequence with stride 1 and global average.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv1d {
    /// Number of inputs in the batch.
    pub inputs: u32,
    /// Number of positions.
    pub positions: u32,
    /// Channels of an input at each position.
    pub channels: u32,
    /// Number of convolutions, at least 1.
    pub hidden: u32,
    /// Taps of each filter.
    pub taps: u32,
    /// What lies beyond the ends.
    pub padding: Padding,
    /// The activation after each convolution.
    pub activation: Activation,
    /// Standard deviation of weights relative to `1 / sqrt(taps * channels)`.
    pub w_std: f64,
}

impl Default for Conv1d {
    fn default() -> Self {
        Self {
            inputs: 1,
            positions: 4,
            channels: 1,
            hidden: 1,
            taps: 3,
            padding: Padding::Same,
            activation: Activation::Relu,
            w_std: 1.0,
        }
    }
}

impl Conv1d {
    /// The network, with data `xi[i, p]` and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0 or a number is not finite.
    pub fn network(&self) -> Result<Network, LayerError> {
        let border = match self.padding {
            Padding::Same => Border::Same,
            Padding::Circular => Border::Circular,
        };
        let cnn = Cnn {
            inputs: self.inputs,
            positions: vec![self.positions],
            channels: self.channels,
            hidden: self.hidden,
            filter: vec![self.taps],
            border,
            activation: self.activation,
            w_std: self.w_std,
            ..Cnn::default()
        };
        cnn.network()
    }
}

/// A residual convolutional network with batch norm: a convolution, then blocks
/// `x + conv(phi(norm(conv(phi(norm(x))))))` (pre-activation), a last norm and activation, the average over positions
/// and a dense readout.
///
/// Batch norm divides by the root of the variance over the batch and all positions plus `epsilon`, so that the output
/// on one input depends on all others.
#[derive(Clone, Debug, PartialEq)]
pub struct ResidualCnn {
    /// Number of inputs in the batch.
    pub inputs: u32,
    /// Positions along each axis.
    pub positions: Vec<u32>,
    /// Channels of an input at each position.
    pub channels: u32,
    /// Number of blocks, of two convolutions each.
    pub blocks: u32,
    /// Taps of each filter along each axis of positions.
    pub filter: Vec<u32>,
    /// What lies beyond the border: zeros or the other side.
    pub border: Border,
    /// The activation.
    pub activation: Activation,
    /// What batch norm adds to variances.
    pub epsilon: f64,
    /// Standard deviation of weights relative to `1 / sqrt(taps * channels)`.
    pub w_std: f64,
}

impl Default for ResidualCnn {
    fn default() -> Self {
        Self {
            inputs: 2,
            positions: vec![4],
            channels: 1,
            blocks: 1,
            filter: vec![3],
            border: Border::Same,
            activation: Activation::Relu,
            epsilon: 1e-5,
            w_std: 1.0,
        }
    }
}

impl ResidualCnn {
    /// The layers, of which the last is the readout.
    pub fn layers(&self) -> Vec<Layer> {
        let conv = conv(&self.filter, &[], self.border, self.w_std, 0.0);
        let norm = Layer::BatchNorm { epsilon: self.epsilon };
        let half = [norm.clone(), self.activation.layer(), conv.clone()];
        let block = Layer::Residual { layers: half.iter().chain(&half).cloned().collect() };
        let blocks = std::iter::repeat_n(block, self.blocks as usize);
        let end = [norm, self.activation.layer(), Layer::GlobalAvgPool {}, Layer::dense(self.w_std, 0.0)];
        [conv].into_iter().chain(blocks).chain(end).collect()
    }

    /// The network, with data `xi[i, p]` and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0, a number is not finite, or the filter does not fit the positions.
    pub fn network(&self) -> Result<Network, LayerError> {
        let input = InputShape { inputs: self.inputs, positions: self.positions.clone(), channels: self.channels };
        network("residual_cnn", &self.layers(), &input)
    }
}

fn conv(filter: &[u32], strides: &[u32], padding: Border, w_std: f64, b_std: f64) -> Layer {
    Layer::Conv {
        filter_shape: filter.to_vec(),
        strides: (!strides.is_empty()).then(|| strides.to_vec()),
        padding,
        w_std,
        b_std: (b_std != 0.0).then_some(b_std),
        out_chan: None,
        parameterization: Default::default(),
    }
}
