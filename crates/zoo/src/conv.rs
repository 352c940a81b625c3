//! One-dimensional convolutional networks.

use netsor_ir::number::fraction;
use netsor_ir::{Dim, Guard, Index, Network, Relation};

use crate::activation::Activation;
use crate::builder::{Axes, NetworkBuilder, ZooError, own, positive};

/// What lies beyond the ends of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Padding {
    /// Zeros; the output is as long as the input.
    Same,
    /// The other end.
    Circular,
}

/// Convolutions over positions with stride 1, an activation after each, then the average over positions and a dense
/// readout.
///
/// A convolution is a matrix product with each tap and a guarded sum: `h[i, p] = sum k, q [q = p + k - c] y[i, k, q]`
/// with `y[i, k, q] = W[k] * x[i, q]` (TP IIb Fig. 5).
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
    /// Taps of each filter, odd.
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
    pub fn network(&self) -> Result<Network, ZooError> {
        let mut b = NetworkBuilder::new("conv");
        let i = b.program.axis("i", positive("inputs", self.inputs)?);
        let p = b.program.axis("p", positive("positions", self.positions)?);
        let k = b.program.axis("k", positive("taps", self.taps)?);
        let n = b.n();
        let at = &[("i", i), ("p", p)][..];
        let tapped: Axes<'_> = vec![("i", i), ("k", k), ("p", p)];
        let (var_i, var_p) = (Index::Var(0), Index::Var(1));
        let mut x = b.input("xi", at, positive("channels", self.channels)?);
        let mut fan_in = Dim::Finite(self.channels);
        for layer in 1..=positive("hidden", self.hidden)? {
            let name = |stem: &str| format!("{stem}@{layer}");
            let w = b.weight(&name("W"), &[("k", k)], (n, fan_in), fan_in, self.taps, self.w_std)?;
            let product = b.program.matmul(
                &name("y"),
                &tapped,
                (w, &[Index::Var(1)]),
                false,
                (x, &[Index::Var(0), Index::Var(2)]),
            );
            // q = p + k - centre
            let (tap, q) = (Index::Var(2), Index::Var(3));
            let centre = i64::from(self.taps / 2);
            let relation = match self.padding {
                Padding::Same => Relation::Eq,
                Padding::Circular => Relation::EqMod(self.positions),
            };
            let guard = Guard::new(relation, [(1, q), (-1, var_p), (-1, tap)], centre);
            let y = b.program.member(product, &[var_i, tap, q]);
            let sum = b.program.exprs.sum(&[(tap, k), (q, p)], [guard], y);
            let h = b.program.map(&name("h"), at, sum);
            x = b.map(&name("x"), at, h, |exprs, h| self.activation.apply(exprs, h))?;
            fan_in = n;
        }
        let q = Index::Var(1);
        let member = b.program.member(x, &[var_i, q]);
        let sum = b.program.exprs.sum(&[(q, p)], [], member);
        let share = b.program.exprs.constant(fraction(1, i64::from(self.positions)));
        let average = b.program.exprs.mul(share, sum);
        let pooled = b.program.map("s", &[("i", i)], average);
        let v = b.weight("v", &[], (n, Dim::Finite(1)), n, 1, self.w_std)?;
        let f = b.program.matmul("f", &[("i", i)], (v, &[]), true, (pooled, &own(1)));
        b.output(f);
        Ok(b.finish())
    }
}
