//! Networks of one hidden layer in the maximal update parametrization (TP IV): perceptron, linear network, embedding.

use netsor_ir::number::{integer, power};
use netsor_ir::program::Scale;
use netsor_ir::{Dim, Index, Network, Parameter, Power, ValueId};

use crate::activation::Activation;
use crate::builder::{NetworkBuilder, ZooError, own, positive};

/// `f = V' phi(U xi)` in the maximal update parametrization: `U = sqrt(n) u`, `V = v / sqrt(n)` with entries of `u` and
/// `v` of variance `1 / n`, and a learning rate that does not depend on `n` (Talk, the table of parametrizations).
///
/// With the identity as activation it is the linear network of TP IV, whose infinite-width training is exact.
#[derive(Clone, Debug, PartialEq)]
pub struct OneHidden {
    /// Number of inputs in the batch.
    pub inputs: u32,
    /// Dimension of an input.
    pub dim: u32,
    /// Number of outputs.
    pub outputs: u32,
    /// The activation; the identity for a linear network.
    pub activation: Activation,
}

impl Default for OneHidden {
    fn default() -> Self {
        Self { inputs: 1, dim: 1, outputs: 1, activation: Activation::Identity }
    }
}

impl OneHidden {
    /// The network, with data `xi[i]` and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0.
    pub fn network(&self) -> Result<Network, ZooError> {
        let mut b = Shallow::new("one_hidden", self.inputs)?;
        let xi = b.builder.input("xi", &[("i", b.i)], positive("dim", self.dim)?);
        let (u, v) = b.weights(self.dim, positive("outputs", self.outputs)?);
        let family = &[("i", b.i)][..];
        let h = b.builder.program.matmul("h", family, (u, &[]), false, (xi, &own(1)));
        let x = b.builder.map("x", family, h, |exprs, h| self.activation.apply(exprs, h))?;
        Ok(b.finish(v, x))
    }
}

/// Word vectors (word2vec with a bag of words): the embeddings of the words of a context are averaged, and a linear
/// readout scores every word of the vocabulary: `f = V' (1/T) sum_t U w_t` with one-hot vectors `w_t`.
///
/// The columns of `U` are the embeddings. In the maximal update parametrization they learn features at infinite
/// width (TP IV §6); in the NTK parametrization they would keep their distances.
#[derive(Clone, Debug, PartialEq)]
pub struct Word2vec {
    /// Number of contexts in the batch.
    pub inputs: u32,
    /// Words of a context.
    pub context: u32,
    /// Words of the vocabulary.
    pub vocabulary: u32,
}

impl Default for Word2vec {
    fn default() -> Self {
        Self { inputs: 1, context: 1, vocabulary: 2 }
    }
}

impl Word2vec {
    /// The network, with data `xi[i, t]` (one-hot vectors) and output `f[i]`, a score for each word.
    ///
    /// # Errors
    /// If a size is 0.
    pub fn network(&self) -> Result<Network, ZooError> {
        let mut b = Shallow::new("word2vec", self.inputs)?;
        let t = b.builder.program.axis("t", positive("context", self.context)?);
        let words = &[("i", b.i), ("t", t)][..];
        let xi = b.builder.input("xi", words, positive("vocabulary", self.vocabulary)?);
        let (u, v) = b.weights(self.vocabulary, self.vocabulary);
        let program = &mut b.builder.program;
        let e = program.matmul("e", words, (u, &[]), false, (xi, &own(2)));
        let member = program.member(e, &own(2));
        let sum = program.exprs.sum(&[(Index::Var(1), t)], [], member);
        let share = program.exprs.constant(netsor_ir::number::fraction(1, i64::from(self.context)));
        let mean = program.exprs.mul(share, sum);
        let x = program.map("x", &[("i", b.i)], mean);
        Ok(b.finish(v, x))
    }
}

/// A network of one hidden layer under construction.
struct Shallow {
    builder: NetworkBuilder,
    i: netsor_ir::Id<netsor_ir::Axis>,
    parameters: Vec<Parameter>,
}

impl Shallow {
    fn new(name: &str, inputs: u32) -> Result<Self, ZooError> {
        let mut builder = NetworkBuilder::new(name);
        let i = builder.program.axis("i", positive("inputs", inputs)?);
        Ok(Self { builder, i, parameters: Vec::new() })
    }

    /// `U` with entries of variance 1 and `V` with entries of variance `1 / n^2`.
    fn weights(&mut self, dim: u32, outputs: u32) -> (ValueId, ValueId) {
        let n = self.builder.n();
        let mut weight = |name: &str, cols: u32, scale: Scale, a: Power| {
            let value = self.builder.program.matrix(name, &[], n, Dim::Finite(cols), scale);
            let (b, c) = (power(1, 2), power(0, 1));
            self.parameters.push(Parameter { value, multiplier_squared: integer(1), a, b, c, trained: true });
            value
        };
        let u = weight("U", dim, Scale::constant(integer(1)), power(-1, 2));
        (u, weight("V", outputs, Scale::new(integer(1), power(-2, 1)), power(1, 2)))
    }

    fn finish(mut self, v: ValueId, x: ValueId) -> Network {
        let f = self.builder.program.matmul("f", &[("i", self.i)], (v, &[]), true, (x, &own(1)));
        self.builder.output(f);
        Network { parameters: self.parameters, ..self.builder.finish() }
    }
}
