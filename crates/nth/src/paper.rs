//! The networks of Huang and Yau, in the paper's parametrization.

use netsor_finite::Inputs;
use netsor_ir::index::Index;
use netsor_ir::network::{Network, Parameter};
use netsor_ir::number::{Power, from_f64, integer, power};
use netsor_ir::program::{Dim, Kind, Program, Scale, ValueId};
use netsor_ir::verify::{Verified, verify_network};
use netsor_ir::{ExprId, Exprs, Func};
use num_traits::Zero;

use crate::NthError;

/// Activations that satisfy Assumption 2.1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Smooth {
    /// Hyperbolic tangent.
    Tanh,
    /// Error function.
    Erf,
    /// Logistic function.
    Sigmoid,
    /// `log(1 + exp(a x)) / a`, which tends to relu as the sharpness `a` grows.
    Softplus {
        /// The sharpness, positive.
        sharpness: f64,
    },
}

impl Smooth {
    fn apply(self, exprs: &mut Exprs, x: ExprId) -> Result<ExprId, NthError> {
        Ok(match self {
            Self::Tanh => exprs.apply(Func::Tanh, x),
            Self::Erf => exprs.apply(Func::Erf, x),
            Self::Sigmoid => exprs.apply(Func::Sigmoid, x),
            Self::Softplus { sharpness } => {
                let what = "the sharpness of softplus";
                let a = number(what, "positive and finite", sharpness, 0.0 < sharpness)?;
                let a = exprs.constant(a);
                let scaled = exprs.mul(a, x);
                let value = exprs.apply(Func::Softplus, scaled);
                exprs.div(value, a)
            }
        })
    }
}

fn number(
    what: &'static str,
    expected: &'static str,
    found: f64,
    allowed: bool,
) -> Result<netsor_ir::Number, NthError> {
    from_f64(found).filter(|_| allowed).ok_or(NthError::Number { what, expected, found })
}

/// The fully connected network of the paper (eq. 1 there): `x^0 = x`, `x^l = sigma(W^l x^(l-1)) / sqrt(m)`,
/// `f = a . x^H`, with `W` of variance `sigma_w^2` and `a` of variance `sigma_a^2`, trained by
/// `d theta / dt = -grad L` with `L = 1/(2n) sum (f - y)^2`.
///
/// **The map to the NTK parametrization.** With `X^l = sqrt(m) x^l`, of order one a coordinate, the network is
/// `h^1 = W^1 x`, `h^(l+1) = (W^(l+1)/sqrt(m)) X^l`, `f = (a/sqrt(m)) . X^H`. So the effective matrices have variances
/// `sigma_w^2`, `sigma_w^2/m`, `sigma_a^2/m` and rates 1, `1/m`, `1/m`: an MLP in the NTK parametrization, but for the
/// constants `sigma` in the rates and `1/sqrt(d)` at the input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HuangYau {
    /// Number of inputs in the batch.
    pub points: u32,
    /// Dimension of an input.
    pub dim: u32,
    /// Number of hidden layers `H`.
    pub hidden: u32,
    /// The activation.
    pub activation: Smooth,
    /// Standard deviation of the entries of `W`.
    pub sigma_w: f64,
    /// Standard deviation of the entries of `a`.
    pub sigma_a: f64,
}

impl HuangYau {
    /// The network, with data `x[i]`, parameters `W@1 .. W@H` and `a`, and output `f[i]`.
    ///
    /// # Errors
    /// If a size is 0 or a standard deviation is not finite.
    pub fn network(&self) -> Result<Verified<Network>, NthError> {
        for (what, size) in [("the number of points", self.points), ("the dimension", self.dim), ("H", self.hidden)] {
            if size == 0 {
                return Err(NthError::Number { what, expected: "at least 1", found: 0.0 });
            }
        }
        let finite = "finite";
        let sigma_w = number("sigma_w", finite, self.sigma_w, true)?;
        let sigma_a = number("sigma_a", finite, self.sigma_a, true)?;
        let mut p = Program::new("huang_yau");
        let i = p.axis("i", self.points);
        let family = &[("i", i)][..];
        let own = &[Index::Var(0)][..];
        let n = p.width();
        let mut parameters = Vec::new();
        let mut weight = |p: &mut Program, name: &str, cols: Dim, variance: netsor_ir::Number, over_n: bool| {
            let scale = if over_n { Scale::new(variance, power(-1, 1)) } else { Scale::constant(variance) };
            let value = p.matrix(name, &[], n, cols, scale);
            let a = if over_n { power(1, 2) } else { Power::zero() };
            let (b, c) = (Power::zero(), Power::zero());
            parameters.push(Parameter { value, multiplier_squared: integer(1), a, b, c, trained: true });
            value
        };
        let mut x = p.data("x", family, Kind::Vector(Dim::Finite(self.dim)));
        for layer in 1..=self.hidden {
            let cols = if layer == 1 { Dim::Finite(self.dim) } else { n };
            let w = weight(&mut p, &format!("W@{layer}"), cols, &sigma_w * &sigma_w, 1 < layer);
            let h = p.matmul(&format!("h@{layer}"), family, (w, &[]), false, (x, own));
            let h = p.member(h, own);
            let y = self.activation.apply(&mut p.exprs, h)?;
            x = p.map(&format!("x@{layer}"), family, y);
        }
        let a = weight(&mut p, "a", Dim::Finite(1), &sigma_a * &sigma_a, true);
        let f = p.matmul("f", family, (a, &[]), true, (x, own));
        let network = Network { program: p, parameters, outputs: vec![f] };
        verify_network(network).map_err(|d| NthError::Invalid(d.to_string()))
    }

    /// Explicit weights of the paper (`W^l` by rows, `a`) and data as inputs of [`HuangYau::network`] at width
    /// `m = a.len()`: hidden matrices after the first and the readout are divided by `sqrt(m)`.
    ///
    /// # Errors
    /// If the network does not exist, or the number of matrices is not `H`. Shapes are checked when it is run.
    pub fn inputs(&self, x: &[Vec<f64>], weights: &[Vec<Vec<f64>>], a: &[f64]) -> Result<Inputs, NthError> {
        let network = self.network()?;
        let expected = self.hidden as usize;
        if weights.len() != expected {
            return Err(NthError::Length { what: "the list of hidden matrices", expected, found: weights.len() });
        }
        let value = |name: &str| network.program.find(name).unwrap_or_else(|| ValueId::new(0));
        let root = (a.len() as f64).sqrt();
        let mut inputs = Inputs::new().with(value("x"), x.concat());
        for (layer, rows) in weights.iter().enumerate() {
            let factor = if layer == 0 { 1.0 } else { 1.0 / root };
            let rows: Vec<Vec<f64>> = rows.iter().map(|r| r.iter().map(|w| w * factor).collect()).collect();
            inputs = inputs.with_rows(value(&format!("W@{}", layer + 1)), &rows);
        }
        Ok(inputs.with(value("a"), a.iter().map(|a| a / root).collect()))
    }
}
