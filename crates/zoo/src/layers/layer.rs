//! The layers, their options and their defaults.

use serde::{Deserialize, Serialize};

use crate::recurrent::{Cell, Gate};

/// The shape of a batch of inputs, channels last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputShape {
    /// Number of inputs in the batch; 2 if a file does not say it.
    #[serde(default = "two")]
    pub inputs: u32,
    /// Positions along each axis of an image or sequence; empty for vectors.
    #[serde(default)]
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
    #[serde(alias = "dense")]
    Dense {
        #[serde(rename = "W_std", alias = "w_std", default = "one")]
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
    #[serde(alias = "conv")]
    Conv {
        filter_shape: Vec<u32>,
        #[serde(default)]
        strides: Option<Vec<u32>>,
        #[serde(default)]
        padding: Border,
        #[serde(rename = "W_std", alias = "w_std", default = "one")]
        w_std: f64,
        #[serde(default)]
        b_std: Option<f64>,
        #[serde(default)]
        out_chan: Option<u32>,
        #[serde(default)]
        parameterization: Scaling,
    },
    /// The average over a window.
    #[serde(alias = "avg_pool")]
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
    #[serde(alias = "sum_pool")]
    SumPool {
        window_shape: Vec<u32>,
        #[serde(default)]
        strides: Option<Vec<u32>>,
        #[serde(default)]
        padding: Border,
    },
    /// Positions become channels.
    #[serde(alias = "flatten")]
    Flatten {},
    /// The largest of a window, channel by channel. Windows stay inside or wrap around.
    #[serde(alias = "max_pool")]
    MaxPool {
        window_shape: Vec<u32>,
        #[serde(default)]
        strides: Option<Vec<u32>>,
        #[serde(default)]
        padding: Border,
    },
    /// The average over all positions.
    #[serde(alias = "global_avg_pool")]
    GlobalAvgPool {},
    /// The sum over all positions.
    #[serde(alias = "global_sum_pool")]
    GlobalSumPool {},
    #[serde(alias = "identity")]
    Identity {},
    #[serde(alias = "relu")]
    Relu {},
    #[serde(alias = "leaky_relu")]
    LeakyRelu { alpha: f64 },
    /// `a min(x, 0) + b max(x, 0)`
    #[serde(alias = "ab_relu")]
    ABRelu { a: f64, b: f64 },
    #[serde(alias = "abs")]
    Abs {},
    #[serde(alias = "sign")]
    Sign {},
    /// `a erf(b x) + c`
    #[serde(alias = "erf")]
    Erf {
        #[serde(default = "one")]
        a: f64,
        #[serde(default = "one")]
        b: f64,
        #[serde(default)]
        c: f64,
    },
    /// `erf(x / 2.402...) / 2 + 1 / 2`, close to the logistic function.
    #[serde(rename = "Sigmoid_like", alias = "sigmoid_like")]
    SigmoidLike {},
    #[serde(alias = "gelu")]
    Gelu {},
    /// `a sin(b x + c)`
    #[serde(alias = "sin")]
    Sin {
        #[serde(default = "one")]
        a: f64,
        #[serde(default = "one")]
        b: f64,
        #[serde(default)]
        c: f64,
    },
    /// `a cos(b x + c)`
    #[serde(alias = "cos")]
    Cos {
        #[serde(default = "one")]
        a: f64,
        #[serde(default = "one")]
        b: f64,
        #[serde(default)]
        c: f64,
    },
    /// `sqrt(2) sin(sqrt(2 gamma) x + pi / 4)`, whose kernel is Gaussian.
    #[serde(alias = "rbf")]
    Rbf {
        #[serde(default = "one")]
        gamma: f64,
    },
    /// `a exp(b x^2)`
    #[serde(alias = "gaussian")]
    Gaussian {
        #[serde(default = "one")]
        a: f64,
        #[serde(default = "minus_one")]
        b: f64,
    },
    /// `a exp(b x)`
    #[serde(alias = "exp")]
    Exp {
        #[serde(default = "one")]
        a: f64,
        #[serde(default = "one")]
        b: f64,
    },
    /// `exp(-x^2) sin(x)`
    #[serde(alias = "gabor")]
    Gabor {},
    /// `x^degree`
    #[serde(alias = "monomial")]
    Monomial { degree: u32 },
    /// `max(x, 0)^degree`
    #[serde(alias = "rectified_monomial")]
    RectifiedMonomial { degree: u32 },
    /// `sum coef[k] x^k`
    #[serde(alias = "polynomial")]
    Polynomial { coef: Vec<f64> },
    /// The Hermite polynomial `He_degree / sqrt(degree!)`.
    #[serde(alias = "hermite")]
    Hermite { degree: u32 },
    /// A function of the language by its name.
    #[serde(alias = "activation")]
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
    #[serde(alias = "fan_out")]
    FanOut { num: u32 },
    /// One list of layers for each copy.
    #[serde(alias = "parallel")]
    Parallel { branches: Vec<Vec<Layer>> },
    #[serde(alias = "fan_in_sum")]
    FanInSum {},
    /// The coordinatewise product.
    #[serde(alias = "fan_in_prod")]
    FanInProd {},
    /// The larger of the coordinates (maxout).
    #[serde(alias = "fan_in_max")]
    FanInMax {},
    /// `x + layers(x)`
    #[serde(alias = "residual")]
    Residual { layers: Vec<Layer> },
    /// Channels side by side; only the last axis is supported.
    #[serde(alias = "fan_in_concat")]
    FanInConcat {
        #[serde(default = "last_axis")]
        axis: i32,
    },
    /// `(x - mean) / sqrt(variance + epsilon)` over channels.
    #[serde(alias = "layer_norm")]
    LayerNorm {
        #[serde(default = "last_axis")]
        axis: i32,
        #[serde(default = "tiny")]
        epsilon: f64,
    },
    /// `(x - mean) / sqrt(variance + epsilon)` over the inputs of the batch and all positions, channel by channel.
    #[serde(alias = "batch_norm")]
    BatchNorm {
        #[serde(default = "small")]
        epsilon: f64,
    },
    /// Each coordinate of each input is kept with probability `rate` and divided by it, and is 0 otherwise.
    #[serde(alias = "dropout")]
    Dropout { rate: f64 },
    /// A kernel that belongs to no activation.
    ExpNormalized { gamma: f64, shift: f64 },
    /// Attention over all positions with scores `W_key_std W_query_std <x_p, x_q> / channels`.
    #[serde(alias = "global_self_attention")]
    GlobalSelfAttention {
        #[serde(default = "yes")]
        linear_scaling: bool,
        #[serde(rename = "W_key_std", alias = "w_key_std", default = "one")]
        w_key_std: f64,
        #[serde(rename = "W_query_std", alias = "w_query_std", default = "one")]
        w_query_std: f64,
        #[serde(rename = "W_value_std", alias = "w_value_std", default = "one")]
        w_value_std: f64,
        #[serde(rename = "W_out_std", alias = "w_out_std", default = "one")]
        w_out_std: f64,
        #[serde(default)]
        b_std: Option<f64>,
        #[serde(default)]
        attention_mechanism: Attention,
    },
    /// `sum_q softmax_q(<key_p, query_q> / (channels temperature)) x_q` for every position `p`, without matrices for
    /// values.
    #[serde(alias = "self_attention")]
    SelfAttention {
        /// The correlation of the entries of the matrices of keys and queries: 1 for one matrix, 0 for independent ones,
        /// whose scores vanish in the limit. Without it keys and queries are `x` itself.
        #[serde(default)]
        correlation: Option<f64>,
        #[serde(rename = "W_key_std", alias = "w_key_std", default = "one")]
        w_key_std: f64,
        #[serde(rename = "W_query_std", alias = "w_query_std", default = "one")]
        w_query_std: f64,
        #[serde(default = "one")]
        temperature: f64,
        /// Whether a position sees only itself and those before it; it needs one axis of positions.
        #[serde(default)]
        causal: bool,
        #[serde(default)]
        attention_mechanism: Attention,
    },
    /// A recurrent network over the one axis of positions, from the first to the last, with weights that all steps share.
    #[serde(alias = "recurrent")]
    Recurrent {
        #[serde(default)]
        cell: Cell,
        /// The activation of the state.
        #[serde(rename = "fn", default = "tanh")]
        function: String,
        /// What gates are made by.
        #[serde(default)]
        gate: Gate,
        /// Standard deviation of the weights of the state, times the root of its width.
        #[serde(rename = "W_std", alias = "w_std", default = "one")]
        w_std: f64,
        /// Standard deviation of the weights of the input, times the root of its channels.
        #[serde(rename = "U_std", alias = "u_std", default = "one")]
        u_std: f64,
        #[serde(default)]
        b_std: f64,
        /// What of the states goes on.
        #[serde(default)]
        states: States,
    },
    /// `y_q = sum_p pattern[i, p, q] x_p` with the data `pattern`, or with one `pattern[p][q]` for all inputs.
    #[serde(alias = "aggregate")]
    Aggregate {
        #[serde(default)]
        pattern: Option<Vec<Vec<f64>>>,
        #[serde(default = "first_position")]
        aggregate_axis: i32,
        #[serde(default)]
        batch_axis: i32,
        #[serde(default = "last_axis")]
        channel_axis: i32,
    },
}

impl InputShape {
    /// A batch of vectors.
    pub fn vectors(inputs: u32, dim: u32) -> Self {
        Self { inputs, positions: Vec::new(), channels: dim }
    }
}

impl Layer {
    /// A dense layer in the NTK parametrization, without a bias if `b_std` is 0.
    pub fn dense(w_std: f64, b_std: f64) -> Self {
        let b_std = (b_std != 0.0).then_some(b_std);
        Self::Dense { w_std, b_std, out_dim: None, parameterization: Scaling::Ntk }
    }
}

/// Which states of a recurrent layer go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum States {
    /// The last.
    #[default]
    Last,
    /// Their average.
    Average,
    /// All, at the positions where they were.
    All,
}

fn tanh() -> String {
    "tanh".to_owned()
}

fn tiny() -> f64 {
    1e-12
}

fn small() -> f64 {
    1e-5
}

fn two() -> u32 {
    2
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
