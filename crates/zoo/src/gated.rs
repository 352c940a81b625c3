//! Recurrent networks with gates: GRU and LSTM.

use netsor_ir::Network;

use crate::activation::Activation;
use crate::builder::ZooError;
use crate::recurrent::{Affine, Cell, Gate, Readout};

/// A gated recurrent unit: with update `z_t = gate(U_z xi_t + W_z x_(t-1) + b_z)`, reset `r_t` of the same form and
/// `x_0 = 0`,
///
/// ```text
/// x_t = (1 - z_t) x_(t-1) + z_t phi(U_c xi_t + W_c (r_t x_(t-1)) + b_c)
/// f   = v' sum_t alpha_t x_t
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Gru {
    /// Number of sequences in the batch.
    pub inputs: u32,
    /// Dimension of an input at each step.
    pub dim: u32,
    /// `alpha_1, ..., alpha_T`: the weight of each state in the readout.
    pub readout: Vec<f64>,
    /// The activation of the candidate.
    pub activation: Activation,
    /// What gates are made by.
    pub gate: Gate,
    /// Scales of the update gate.
    pub update: Affine,
    /// Scales of the reset gate.
    pub reset: Affine,
    /// Scales of the candidate.
    pub candidate: Affine,
    /// Standard deviation of `v` relative to `1 / sqrt(n)`.
    pub v_std: f64,
}

impl Default for Gru {
    fn default() -> Self {
        let affine = Affine::default();
        Self {
            inputs: 1,
            dim: 1,
            readout: vec![1.0],
            activation: Activation::Tanh,
            gate: Gate::Sigmoid,
            update: affine,
            reset: affine,
            candidate: affine,
            v_std: 1.0,
        }
    }
}

impl Gru {
    /// The network, with data `xi[i, t]`, states `x@1[i], x@2[i], ...` and output `f[i]`. Parameters are in the order
    /// `U_z, W_z, b_z, U_r, W_r, b_r, U_c, W_c, b_c, v`; a single step has no `W`.
    ///
    /// # Errors
    /// If a size is 0, a number is not finite or every readout weight is 0.
    pub fn network(&self) -> Result<Network, ZooError> {
        Readout {
            name: "gru",
            inputs: self.inputs,
            dim: self.dim,
            cell: Cell::Gru,
            maps: &[self.update, self.reset, self.candidate],
            activation: self.activation,
            gate: self.gate,
            weights: &self.readout,
            v_std: self.v_std,
        }
        .network()
    }
}

/// Long short-term memory: with gates `i_t, f_t, o_t = gate(U xi_t + W x_(t-1) + b)`, each with parameters of its own,
/// and `x_0 = c_0 = 0`,
///
/// ```text
/// c_t = f_t c_(t-1) + i_t phi(U_g xi_t + W_g x_(t-1) + b_g)
/// x_t = o_t phi(c_t)
/// f   = v' sum_t alpha_t x_t
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Lstm {
    /// Number of sequences in the batch.
    pub inputs: u32,
    /// Dimension of an input at each step.
    pub dim: u32,
    /// `alpha_1, ..., alpha_T`: the weight of each state in the readout.
    pub readout: Vec<f64>,
    /// The activation of the candidate and of the memory.
    pub activation: Activation,
    /// What gates are made by.
    pub gate: Gate,
    /// Scales of the input gate.
    pub input: Affine,
    /// Scales of the forget gate.
    pub forget: Affine,
    /// Scales of the output gate.
    pub output: Affine,
    /// Scales of the candidate.
    pub candidate: Affine,
    /// Standard deviation of `v` relative to `1 / sqrt(n)`.
    pub v_std: f64,
}

impl Default for Lstm {
    fn default() -> Self {
        let affine = Affine::default();
        Self {
            inputs: 1,
            dim: 1,
            readout: vec![1.0],
            activation: Activation::Tanh,
            gate: Gate::Sigmoid,
            input: affine,
            forget: affine,
            output: affine,
            candidate: affine,
            v_std: 1.0,
        }
    }
}

impl Lstm {
    /// The network, with data `xi[i, t]`, memories `c@1[i], ...`, states `x@1[i], ...` and output `f[i]`. Parameters are
    /// in the order `U, W, b` for each of `i, f, o, g`, then `v`; a single step has no `W`.
    ///
    /// # Errors
    /// If a size is 0, a number is not finite or every readout weight is 0.
    pub fn network(&self) -> Result<Network, ZooError> {
        Readout {
            name: "lstm",
            inputs: self.inputs,
            dim: self.dim,
            cell: Cell::Lstm,
            maps: &[self.input, self.forget, self.output, self.candidate],
            activation: self.activation,
            gate: self.gate,
            weights: &self.readout,
            v_std: self.v_std,
        }
        .network()
    }
}
