//! Networks as lists of layers, the way deep-learning libraries write them.
//!
//! A list and the shape of an input give a [`netsor_ir::Network`]; nothing here knows a particular architecture. The names of the
//! layers and of their options are those of `neural_tangents.stax`, so that a list can be read from JSON:
//!
//! ```
//! use netsor_zoo::layers::{InputShape, Layer, network};
//!
//! let layers: Vec<Layer> = serde_json::from_str(
//!     r#"[{"op": "Conv", "filter_shape": [3], "padding": "SAME", "W_std": 1.4}, {"op": "Relu"},
//!         {"op": "GlobalAvgPool"}, {"op": "Dense", "W_std": 1.0, "b_std": 0.1}]"#,
//! )?;
//! let network = network(&layers, &InputShape { inputs: 2, positions: vec![7], channels: 3 })?;
//! assert_eq!(network.parameters.len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Shapes.** What flows from layer to layer is a family of vectors of channels over the inputs `i` and the positions
//! `p, q, ...`. A convolution multiplies with one matrix a tap and gathers by a guarded sum; `Flatten` turns positions
//! into channels, which the next dense layer consumes by one matrix a position; `FanInConcat` keeps the parts side by
//! side, each with a matrix of its own. All of these count in the fan-in.
//!
//! **The last layer** must be `Dense`: it is the readout `f[i]`, with one component, as all components have one kernel.

mod activation;
mod compile;
mod window;

use serde::{Deserialize, Serialize};

use crate::builder::ZooError;

pub use compile::network;

/// The shape of a batch of inputs, channels last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputShape {
    /// Number of inputs in the batch.
    pub inputs: u32,
    /// Positions along each axis of an image or sequence; empty for vectors.
    pub positions: Vec<u32>,
    /// Channels at each position, or the dimension of a vector.
    pub channels: u32,
}

/// What lies beyond the border of an image or sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Border {
    /// Windows stay inside.
    #[default]
    Valid,
    /// Zeros; the output has `ceil(size / stride)` positions, an odd extra zero is put at the end (XLA's rule).
    Same,
    /// The opposite side; as many positions as with zeros.
    Circular,
}

/// How the weights of a layer are scaled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// NTK parametrization: standard normal weights times `W_std / sqrt(fan_in)`, biases times `b_std`.
    #[default]
    Ntk,
    /// Weights and biases with their variance, whose gradients grow with the fan-in. It needs the widths of the layers.
    Standard,
}

/// What scores are turned into weights by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Attention {
    /// `exp(s) / sum exp(s)`
    #[default]
    Softmax,
    /// The scores themselves.
    Identity,
    /// Their absolute values.
    Abs,
    /// Their positive parts.
    Relu,
}

fn one() -> f64 {
    1.0
}

/// A layer. The options have the defaults of `neural_tangents.stax`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", deny_unknown_fields)]
#[expect(missing_docs, reason = "the options are named as in the library that they come from")]
pub enum Layer {
    /// `W_std / sqrt(fan_in) W x + b_std b` on the channels.
    Dense {
        #[serde(rename = "W_std", default = "one")]
        w_std: f64,
        #[serde(default)]
        b_std: Option<f64>,
        /// The width behind this layer, which only the standard scaling needs.
        #[serde(default)]
        out_dim: Option<u32>,
        #[serde(default)]
        parameterization: Scaling,
    },
    /// A convolution; the fan-in counts every tap, also those on zeros.
    Conv {
        filter_shape: Vec<u32>,
        #[serde(default)]
        strides: Option<Vec<u32>>,
        #[serde(default)]
        padding: Border,
        #[serde(rename = "W_std", default = "one")]
        w_std: f64,
        #[serde(default)]
        b_std: Option<f64>,
        #[serde(default)]
        out_chan: Option<u32>,
        #[serde(default)]
        parameterization: Scaling,
    },
    /// The average over a window.
    AvgPool {
        window_shape: Vec<u32>,
        #[serde(default)]
        strides: Option<Vec<u32>>,
        #[serde(default)]
        padding: Border,
        /// Whether to divide by the number of positions inside rather than by the size of the window.
        #[serde(default)]
        normalize_edges: bool,
    },
    /// The sum over a window.
    SumPool {
        window_shape: Vec<u32>,
        #[serde(default)]
        strides: Option<Vec<u32>>,
        #[serde(default)]
        padding: Border,
    },
    /// Positions become channels.
    Flatten {},
    /// The average over all positions.
    GlobalAvgPool {},
    /// The sum over all positions.
    GlobalSumPool {},
    Identity {},
    Relu {},
    LeakyRelu {
        alpha: f64,
    },
    /// `a min(x, 0) + b max(x, 0)`
    ABRelu {
        a: f64,
        b: f64,
    },
    Abs {},
    Sign {},
    /// `a erf(b x) + c`
    Erf {
        #[serde(default = "one")]
        a: f64,
        #[serde(default = "one")]
        b: f64,
        #[serde(default)]
        c: f64,
    },
    /// `erf(x / 2.402...) / 2 + 1 / 2`, close to the logistic function.
    #[serde(rename = "Sigmoid_like")]
    SigmoidLike {},
    Gelu {},
    /// `a sin(b x + c)`
    Sin {
        #[serde(default = "one")]
        a: f64,
        #[serde(default = "one")]
        b: f64,
        #[serde(default)]
        c: f64,
    },
    /// `a cos(b x + c)`
    Cos {
        #[serde(default = "one")]
        a: f64,
        #[serde(default = "one")]
        b: f64,
        #[serde(default)]
        c: f64,
    },
    /// `sqrt(2) sin(sqrt(2 gamma) x + pi / 4)`, whose kernel is Gaussian.
    Rbf {
        #[serde(default = "one")]
        gamma: f64,
    },
    /// `a exp(b x^2)`
    Gaussian {
        #[serde(default = "one")]
        a: f64,
        #[serde(default = "minus_one")]
        b: f64,
    },
    /// `a exp(b x)`
    Exp {
        #[serde(default = "one")]
        a: f64,
        #[serde(default = "one")]
        b: f64,
    },
    /// `exp(-x^2) sin(x)`
    Gabor {},
    /// `x^degree`
    Monomial {
        degree: u32,
    },
    /// `max(x, 0)^degree`
    RectifiedMonomial {
        degree: u32,
    },
    /// `sum coef[k] x^k`
    Polynomial {
        coef: Vec<f64>,
    },
    /// The Hermite polynomial `He_degree / sqrt(degree!)`.
    Hermite {
        degree: u32,
    },
    /// A function of the language by its name.
    Elementwise {
        #[serde(rename = "fn")]
        function: String,
    },
    /// The same; the degree of another library's quadrature is taken note of and not used.
    ElementwiseNumerical {
        #[serde(rename = "fn")]
        function: String,
        #[serde(default)]
        deg: Option<u32>,
    },
    /// Copies.
    FanOut {
        num: u32,
    },
    /// One list of layers for each copy.
    Parallel {
        branches: Vec<Vec<Layer>>,
    },
    FanInSum {},
    /// The coordinatewise product.
    FanInProd {},
    /// Channels side by side; only the last axis is supported.
    FanInConcat {
        #[serde(default = "last_axis")]
        axis: i32,
    },
    /// `(x - mean) / sqrt(variance + 1e-12)` over channels.
    LayerNorm {
        #[serde(default = "last_axis")]
        axis: i32,
    },
    /// Random zeros with the given probability of keeping, and rescaling.
    Dropout {
        rate: f64,
    },
    /// A kernel that belongs to no activation.
    ExpNormalized {
        gamma: f64,
        shift: f64,
    },
    /// Attention over all positions with scores `W_key_std W_query_std <x_p, x_q> / channels`.
    GlobalSelfAttention {
        #[serde(default = "yes")]
        linear_scaling: bool,
        #[serde(rename = "W_key_std", default = "one")]
        w_key_std: f64,
        #[serde(rename = "W_query_std", default = "one")]
        w_query_std: f64,
        #[serde(rename = "W_value_std", default = "one")]
        w_value_std: f64,
        #[serde(rename = "W_out_std", default = "one")]
        w_out_std: f64,
        #[serde(default)]
        b_std: Option<f64>,
        #[serde(default)]
        attention_mechanism: Attention,
    },
    /// `y_q = sum_p pattern[i, p, q] x_p` with the data `pattern`.
    Aggregate {
        #[serde(default = "first_position")]
        aggregate_axis: i32,
        #[serde(default)]
        batch_axis: i32,
        #[serde(default = "last_axis")]
        channel_axis: i32,
    },
}

fn minus_one() -> f64 {
    -1.0
}

fn yes() -> bool {
    true
}

fn last_axis() -> i32 {
    -1
}

fn first_position() -> i32 {
    1
}

/// Why a list of layers is not a network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LayerError {
    /// A number is not finite or a size is 0.
    #[error(transparent)]
    Value(#[from] ZooError),
    /// A layer that no tensor program expresses, or an option of it.
    #[error("layer {at}: {reason}")]
    Unsupported {
        /// The number of the layer in its list, from 0; after the number of a branch and a colon inside of branches.
        at: String,
        /// What is not supported.
        reason: String,
    },
    /// A layer does not fit what comes before it.
    #[error("layer {at}: expected {expected}, found {found}")]
    Shape {
        /// The number of the layer.
        at: String,
        /// What the layer needs.
        expected: String,
        /// What it gets.
        found: String,
    },
    /// The list does not end in a readout.
    #[error("the last layer must be `Dense`, which is the readout; found {found}")]
    NoReadout {
        /// What the list ends in.
        found: String,
    },
}
