//! The weight-tied autoencoder: a matrix and its transpose in one forward pass (TP IIb App. D.4.2).

use netsor_ir::{Dim, Network};

use crate::activation::Activation;
use crate::builder::{NetworkBuilder, ZooError, own, positive};

/// `f = v' phi(W' phi(W phi(U xi)))`.
///
/// Its tangent kernel has a return path through `W` and `W'` that the path formula of TP IIb (Prop. D.3) misses.
#[derive(Clone, Debug, PartialEq)]
pub struct Tied {
    /// Number of inputs in the batch.
    pub inputs: u32,
    /// Dimension of an input.
    pub dim: u32,
    /// The activation.
    pub activation: Activation,
    /// Standard deviation of weights relative to `1 / sqrt(fan_in)`.
    pub w_std: f64,
}

impl Default for Tied {
    fn default() -> Self {
        Self { inputs: 1, dim: 1, activation: Activation::Tanh, w_std: 1.0 }
    }
}

impl Tied {
    /// The network, with data `xi[i]` and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0 or a number is not finite.
    pub fn network(&self) -> Result<Network, ZooError> {
        let mut b = NetworkBuilder::new("tied");
        let i = b.program.axis("i", positive("inputs", self.inputs)?);
        let family = &[("i", i)][..];
        let dim = Dim::Finite(positive("dim", self.dim)?);
        let n = b.n();
        let xi = b.input("xi", family, self.dim);
        let u = b.weight("U", &[], (n, dim), dim, 1, self.w_std)?;
        let w = b.weight("W", &[], (n, n), n, 1, self.w_std)?;
        let v = b.weight("v", &[], (n, Dim::Finite(1)), n, 1, self.w_std)?;
        let phi = |exprs: &mut _, x| self.activation.apply(exprs, x);
        let g = b.program.matmul("g", family, (u, &[]), false, (xi, &own(1)));
        let z = b.map("z", family, g, phi)?;
        let h = b.program.matmul("h", family, (w, &[]), false, (z, &own(1)));
        let y = b.map("y", family, h, phi)?;
        let k = b.program.matmul("k", family, (w, &[]), true, (y, &own(1)));
        let x = b.map("x", family, k, phi)?;
        let f = b.program.matmul("f", family, (v, &[]), true, (x, &own(1)));
        b.output(f);
        Ok(b.finish())
    }
}
