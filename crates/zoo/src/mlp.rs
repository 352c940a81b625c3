//! The multi-layer perceptron (TP IIb §3).

use netsor_ir::{Dim, Network};

use crate::activation::Activation;
use crate::builder::{NetworkBuilder, ZooError, own, positive};

/// A fully connected network: `hidden` layers of width `n`, each a dense matrix, a bias and an activation, and a dense
/// readout.
#[derive(Clone, Debug, PartialEq)]
pub struct Mlp {
    /// Number of inputs in the batch.
    pub inputs: u32,
    /// Dimension of an input.
    pub dim: u32,
    /// Number of hidden layers, at least 1.
    pub hidden: u32,
    /// Number of outputs.
    pub outputs: u32,
    /// The activation after each hidden layer.
    pub activation: Activation,
    /// Standard deviation of weights relative to `1 / sqrt(fan_in)`, in every layer.
    pub w_std: f64,
    /// Standard deviation of biases, in every layer; 0 for no biases.
    pub b_std: f64,
}

impl Default for Mlp {
    fn default() -> Self {
        Self { inputs: 1, dim: 1, hidden: 1, outputs: 1, activation: Activation::Tanh, w_std: 1.0, b_std: 0.0 }
    }
}

impl Mlp {
    /// The network, with data `xi[i]` and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0 or a number is not finite.
    pub fn network(&self) -> Result<Network, ZooError> {
        let mut b = NetworkBuilder::new("mlp");
        let i = b.program.axis("i", positive("inputs", self.inputs)?);
        let family = &[("i", i)][..];
        let dim = Dim::Finite(positive("dim", self.dim)?);
        let n = b.n();
        let mut x = b.input("xi", family, self.dim);
        let mut fan_in = dim;
        for layer in 1..=positive("hidden", self.hidden)? {
            let name = |stem: &str| format!("{stem}@{layer}");
            let w = b.weight(&name("W"), &[], (n, fan_in), fan_in, 1, self.w_std)?;
            let bias = b.bias(&name("b"), n, self.b_std)?;
            let product = if bias.is_some() { name("g") } else { name("h") };
            let product = b.program.matmul(&product, family, (w, &[]), false, (x, &own(1)));
            let h = b.biased(&name("h"), family, product, bias);
            x = b.map(&name("x"), family, h, |exprs, h| self.activation.apply(exprs, h))?;
            fan_in = n;
        }
        let k = Dim::Finite(positive("outputs", self.outputs)?);
        let v = b.weight("v", &[], (n, k), n, 1, self.w_std)?;
        let bias = b.bias("c", k, self.b_std)?;
        let product = if bias.is_some() { "o" } else { "f" };
        let product = b.program.matmul(product, family, (v, &[]), true, (x, &own(1)));
        let f = b.biased("f", family, product, bias);
        b.output(f);
        Ok(b.finish())
    }
}
