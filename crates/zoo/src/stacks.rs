//! Networks of dense layers in other arrangements: residual, normalised, with products and maxima of branches.

use netsor_ir::Network;

use crate::activation::Activation;
use crate::builder::{NetworkBuilder, ZooError, own, positive};
use crate::layers::{InputShape, Layer, LayerError, network, normalise};
use netsor_ir::{Dim, Index};

/// A residual MLP: `x = U xi`, then blocks `x + W phi(x)`, and the readout `f = v' phi(x)`.
#[derive(Clone, Debug, PartialEq)]
pub struct ResidualMlp {
    /// Number of inputs in the batch.
    pub inputs: u32,
    /// Dimension of an input.
    pub dim: u32,
    /// Number of blocks.
    pub blocks: u32,
    /// The activation in each block and before the readout.
    pub activation: Activation,
    /// Standard deviation of weights relative to `1 / sqrt(fan_in)`.
    pub w_std: f64,
    /// Standard deviation of biases; 0 for no biases.
    pub b_std: f64,
}

impl Default for ResidualMlp {
    fn default() -> Self {
        Self { inputs: 1, dim: 1, blocks: 1, activation: Activation::Tanh, w_std: 1.0, b_std: 0.0 }
    }
}

impl ResidualMlp {
    /// The layers, of which the last is the readout.
    pub fn layers(&self) -> Vec<Layer> {
        let dense = Layer::dense(self.w_std, self.b_std);
        let block = Layer::Residual { layers: vec![self.activation.layer(), dense.clone()] };
        let blocks = std::iter::repeat_n(block, self.blocks as usize);
        [dense.clone()].into_iter().chain(blocks).chain([self.activation.layer(), dense]).collect()
    }

    /// The network, with data `xi[i]` and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0 or a number is not finite.
    pub fn network(&self) -> Result<Network, LayerError> {
        network("residual_mlp", &self.layers(), &InputShape::vectors(self.inputs, self.dim))
    }
}

/// An MLP with layer norm: `h = W x`, `x = phi((h - mean(h)) / sqrt(var(h) + epsilon))`, over the coordinates of `h`.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNormMlp {
    /// Number of inputs in the batch.
    pub inputs: u32,
    /// Dimension of an input.
    pub dim: u32,
    /// Number of hidden layers, at least 1.
    pub hidden: u32,
    /// The activation after each norm.
    pub activation: Activation,
    /// What is added to variances.
    pub epsilon: f64,
    /// Standard deviation of weights relative to `1 / sqrt(fan_in)`.
    pub w_std: f64,
    /// Standard deviation of biases; 0 for no biases.
    pub b_std: f64,
}

impl Default for LayerNormMlp {
    fn default() -> Self {
        let activation = Activation::Relu;
        Self { inputs: 1, dim: 1, hidden: 1, activation, epsilon: 1e-5, w_std: 1.0, b_std: 0.0 }
    }
}

impl LayerNormMlp {
    /// The layers, of which the last is the readout.
    pub fn layers(&self) -> Vec<Layer> {
        let dense = Layer::dense(self.w_std, self.b_std);
        let norm = Layer::LayerNorm { axis: -1, epsilon: self.epsilon };
        let hidden = (0..self.hidden).flat_map(|_| [dense.clone(), norm.clone(), self.activation.layer()]);
        hidden.chain([dense.clone()]).collect()
    }

    /// The network, with data `xi[i]` and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0 or a number is not finite.
    pub fn network(&self) -> Result<Network, LayerError> {
        positive("hidden", self.hidden)?;
        network("layer_norm_mlp", &self.layers(), &InputShape::vectors(self.inputs, self.dim))
    }
}

/// An MLP with batch norm, on several batches, each of which is normalised by itself: `h = W x`,
/// `x = phi((h - mean) / sqrt(variance + epsilon))` with mean and variance over the batch, coordinate by coordinate.
///
/// Its kernels couple all inputs of a batch. With `epsilon = 0` they are finite for batches of 4 or more
/// inputs; that the kernel at width `n` is off by `1 / sqrt(n)` needs 6.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNormMlp {
    /// Number of batches.
    pub batches: u32,
    /// Inputs of each batch.
    pub size: u32,
    /// Dimension of an input.
    pub dim: u32,
    /// Number of hidden layers, at least 1.
    pub hidden: u32,
    /// The activation after each norm.
    pub activation: Activation,
    /// What is added to variances.
    pub epsilon: f64,
    /// Standard deviation of weights relative to `1 / sqrt(fan_in)`.
    pub w_std: f64,
}

impl Default for BatchNormMlp {
    fn default() -> Self {
        let activation = Activation::Relu;
        Self { batches: 1, size: 4, dim: 1, hidden: 1, activation, epsilon: 1e-5, w_std: 1.0 }
    }
}

impl BatchNormMlp {
    /// The network, with data `xi[b, i]`, layers `x@1[b, i], ...` and output `f[b, i]`.
    ///
    /// # Errors
    /// If a size is 0 or a number is not finite.
    pub fn network(&self) -> Result<Network, ZooError> {
        let mut b = NetworkBuilder::new("batch_norm_mlp");
        let batch = b.program.axis("b", positive("batches", self.batches)?);
        let i = b.program.axis("i", positive("size", self.size)?);
        let family = &[("b", batch), ("i", i)][..];
        let dim = Dim::Finite(positive("dim", self.dim)?);
        let n = b.n();
        let mut x = b.input("xi", family, self.dim);
        let mut fan_in = dim;
        for layer in 1..=positive("hidden", self.hidden)? {
            let name = |stem: &str| format!("{stem}@{layer}");
            let w = b.weight(&name("W"), &[], (n, fan_in), fan_in, 1, self.w_std)?;
            let h = b.program.matmul(&name("h"), family, (w, &[]), false, (x, &own(2)));
            let names = (&name("mean")[..], &name("variance")[..]);
            let normalised = normalise(&mut b, names, &[("b", batch)], h, &[i], self.epsilon)?;
            let y = self.activation.apply(&mut b.program.exprs, normalised)?;
            x = b.program.map(&name("x"), family, y);
            fan_in = n;
        }
        let v = b.weight("v", &[], (n, Dim::Finite(1)), n, 1, self.w_std)?;
        let f = b.program.matmul("f", family, (v, &[]), true, (x, &[Index::Var(0), Index::Var(1)]));
        b.output(f);
        Ok(b.finish())
    }
}

/// How branches of dense layers are joined coordinate by coordinate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Join {
    /// Their product: gated linear units and their relatives, if one branch has the identity as activation.
    #[default]
    Product,
    /// The largest: maxout.
    Largest,
}

/// A network of layers with branches: each layer is a product or a maximum over branches `phi_k(W_k x)`, and each
/// branch may apply several functions in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct BranchedMlp {
    /// Number of inputs in the batch.
    pub inputs: u32,
    /// Dimension of an input.
    pub dim: u32,
    /// Number of hidden layers, at least 1.
    pub hidden: u32,
    /// The functions of each branch, applied one after the other; none for a linear branch.
    pub branches: Vec<Vec<Activation>>,
    /// How the branches are joined.
    pub join: Join,
    /// Standard deviation of weights relative to `1 / sqrt(fan_in)`.
    pub w_std: f64,
}

impl Default for BranchedMlp {
    fn default() -> Self {
        let branches = vec![vec![], vec![Activation::Sigmoid]];
        Self { inputs: 1, dim: 1, hidden: 1, branches, join: Join::Product, w_std: 1.0 }
    }
}

impl BranchedMlp {
    /// The layers, of which the last is the readout.
    pub fn layers(&self) -> Vec<Layer> {
        let dense = || Layer::dense(self.w_std, 0.0);
        let branch = |functions: &Vec<Activation>| {
            [dense()].into_iter().chain(functions.iter().map(|f| f.layer())).collect::<Vec<_>>()
        };
        let branches: Vec<Vec<Layer>> = self.branches.iter().map(branch).collect();
        let num = u32::try_from(branches.len()).unwrap_or(u32::MAX);
        let join = match self.join {
            Join::Product => Layer::FanInProd {},
            Join::Largest => Layer::FanInMax {},
        };
        let layer = [Layer::FanOut { num }, Layer::Parallel { branches }, join];
        (0..self.hidden).flat_map(|_| layer.clone()).chain([dense()]).collect()
    }

    /// The network, with data `xi[i]` and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0, a number is not finite, or there are no branches or more than 64.
    pub fn network(&self) -> Result<Network, LayerError> {
        positive("hidden", self.hidden)?;
        network("branched_mlp", &self.layers(), &InputShape::vectors(self.inputs, self.dim))
    }
}
