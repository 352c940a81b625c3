//! The simple recurrent network (TP IIb App. D.1, with any number of steps).

use netsor_ir::Network;

use crate::activation::Activation;
use crate::builder::ZooError;
use crate::recurrent::{Affine, Cell, Gate, Readout};

/// `h_t = W x_(t-1) + U xi_t + b`, `x_t = phi(h_t)`, without `x_0`, and the readout `f = v' sum_t alpha_t x_t`.
///
/// The steps are literal instructions that use the same `W`, as recurrence is in the papers; a sequence is therefore as
/// long as its readout weights `alpha` say.
#[derive(Clone, Debug, PartialEq)]
pub struct Rnn {
    /// Number of sequences in the batch.
    pub inputs: u32,
    /// Dimension of an input at each step.
    pub dim: u32,
    /// `alpha_1, ..., alpha_T`: the weight of each state in the readout.
    pub readout: Vec<f64>,
    /// The activation of the states.
    pub activation: Activation,
    /// Standard deviation of `W` relative to `1 / sqrt(n)`.
    pub w_std: f64,
    /// Standard deviation of `U` relative to `1 / sqrt(dim)`.
    pub u_std: f64,
    /// Standard deviation of the bias; 0 for no bias.
    pub b_std: f64,
    /// Standard deviation of `v` relative to `1 / sqrt(n)`.
    pub v_std: f64,
}

impl Default for Rnn {
    fn default() -> Self {
        Self {
            inputs: 1,
            dim: 1,
            readout: vec![1.0],
            activation: Activation::Tanh,
            w_std: 1.0,
            u_std: 1.0,
            b_std: 0.0,
            v_std: 1.0,
        }
    }
}

impl Rnn {
    /// The network, with data `xi[i, t]`, states `x@1[i], x@2[i], ...` and output `f[i]`. Parameters are in the order
    /// `U, W, b, v`; a single step has no `W`.
    ///
    /// # Errors
    /// If a size is 0, a number is not finite or every readout weight is 0.
    pub fn network(&self) -> Result<Network, ZooError> {
        let map = Affine { u_std: self.u_std, w_std: self.w_std, b_std: self.b_std, b_mean: 0.0 };
        Readout {
            name: "rnn",
            inputs: self.inputs,
            dim: self.dim,
            cell: Cell::Simple,
            maps: &[map],
            activation: self.activation,
            gate: Gate::Sigmoid,
            weights: &self.readout,
            v_std: self.v_std,
        }
        .network()
    }
}
