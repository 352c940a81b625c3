//! The simple recurrent network (TP IIb App. D.1, with any number of steps).

use netsor_ir::number::from_f64;
use netsor_ir::{Dim, Index, Network};

use crate::activation::Activation;
use crate::builder::{NetworkBuilder, ZooError, own, positive};

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
        let mut b = NetworkBuilder::new("rnn");
        let i = b.program.axis("i", positive("inputs", self.inputs)?);
        let steps = u32::try_from(self.readout.len()).unwrap_or(u32::MAX);
        let t = b.program.axis("t", positive("readout", steps)?);
        let family = &[("i", i)][..];
        let dim = Dim::Finite(positive("dim", self.dim)?);
        let n = b.n();
        let xi = b.input("xi", &[("i", i), ("t", t)], self.dim);
        let u = b.weight("U", &[], (n, dim), dim, 1, self.u_std)?;
        let w = if 1 < steps { Some(b.weight("W", &[], (n, n), n, 1, self.w_std)?) } else { None };
        let bias = b.bias("b", n, self.b_std)?;
        let mut states = Vec::new();
        for step in 0..steps {
            let name = |stem: &str| format!("{stem}@{}", step + 1);
            let g = b.program.matmul(&name("g"), family, (u, &[]), false, (xi, &[Index::Var(0), Index::At(step)]));
            let mut terms = vec![b.program.member(g, &own(1))];
            if let (Some(w), Some(&x)) = (w, states.last()) {
                let r = b.program.matmul(&name("r"), family, (w, &[]), false, (x, &own(1)));
                terms.push(b.program.member(r, &own(1)));
            }
            terms.extend(bias.map(|bias| b.program.member(bias, &[])));
            let sum = b.program.exprs.add_all(terms);
            let x = self.activation.apply(&mut b.program.exprs, sum)?;
            states.push(b.program.map(&name("x"), family, x));
        }
        let mut terms = Vec::new();
        for (&alpha, &x) in self.readout.iter().zip(&states) {
            let alpha = from_f64(alpha).ok_or(ZooError::NotFinite { what: "readout", value: alpha })?;
            let alpha = b.program.exprs.constant(alpha);
            let x = b.program.member(x, &own(1));
            terms.push(b.program.exprs.mul(alpha, x));
        }
        let sum = b.program.exprs.add_all(terms);
        if b.program.exprs.is_zero(sum) {
            return Err(ZooError::Empty { what: "readout" });
        }
        let s = b.program.map("s", family, sum);
        let v = b.weight("v", &[], (n, Dim::Finite(1)), n, 1, self.v_std)?;
        let f = b.program.matmul("f", family, (v, &[]), true, (s, &own(1)));
        b.output(f);
        Ok(b.finish())
    }
}
