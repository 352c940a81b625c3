//! Dense layers, convolutions and readouts: products with matrices, gathered by guarded sums.

use netsor_ir::number::{Power, integer, power};
use netsor_ir::{Axis, Dim, Id, Index, Number, ValueId};

use super::{Block, Compile, Compiler, Tensor};
use crate::layers::window::Window;
use crate::layers::{Layer, Scaling};

/// The scales of an affine layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Affine {
    pub(super) w_std: f64,
    pub(super) b_std: Option<f64>,
    pub(super) size: Option<u32>,
    pub(super) scaling: Scaling,
}

impl Affine {
    pub(super) fn of_dense(layer: &Layer) -> Self {
        match *layer {
            Layer::Dense { w_std, b_std, out_dim, parameterization } => {
                Self { w_std, b_std, size: out_dim, scaling: parameterization }
            }
            _ => Self { w_std: 1.0, b_std: None, size: None, scaling: Scaling::Ntk },
        }
    }
}

impl Compiler {
    /// A dense layer, or a convolution if there are windows.
    pub(super) fn affine(&mut self, x: &Tensor, affine: &Affine, windows: &[Window]) -> Compile<Tensor> {
        let (value, positions) = self.affine_value(x, affine, windows, false)?;
        let block = Block { value, flat: Vec::new(), dim: self.b.n(), size: affine.size };
        Ok(Tensor { positions, blocks: vec![block] })
    }

    /// The value of an affine layer and its positions; the readout has one component of constant dimension.
    pub(super) fn affine_value(
        &mut self,
        x: &Tensor,
        affine: &Affine,
        windows: &[Window],
        readout: bool,
    ) -> Compile<(ValueId, Vec<Id<Axis>>)> {
        let out = if readout { Dim::Finite(1) } else { self.b.n() };
        let (taps, outputs) =
            if windows.is_empty() { (Vec::new(), x.positions.clone()) } else { self.window_axes(windows) };
        let n_taps = windows.iter().try_fold(1u32, |all, w| all.checked_mul(w.taps));
        let fan_in = self.fan_in(x, n_taps.ok_or_else(|| self.unsupported("more than 2^32 taps"))?)?;
        let family = self.family(&outputs, &[]);
        let rank = family.len() as u32;
        let mut terms = Vec::new();
        let mut plain = None;
        let biased = affine.b_std.is_some_and(|b_std| b_std != 0.0);
        let variables_absent = windows.is_empty() && matches!(&x.blocks[..], [block] if block.flat.is_empty());
        for block in &x.blocks {
            let name = if readout { self.readout_name("v", x) } else { self.name("W") };
            let matrix_axes: Vec<Id<Axis>> = taps.iter().chain(&block.flat).copied().collect();
            let matrix_family = self.family(&matrix_axes, &[]).split_off(1);
            let matrix_family: Vec<(&str, Id<Axis>)> = matrix_family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
            let shape = if readout { (block.dim, out) } else { (out, block.dim) };
            let w = self.b.weight(&name, &matrix_family, shape, fan_in.dim, fan_in.further, affine.w_std)?;
            if affine.scaling == Scaling::Standard {
                let gradient = self.standard_gradient(block, fan_in)?;
                self.rescaled.push((w, gradient.0, gradient.1));
            }
            // y[i, k, q, flat] = W[k, flat] * x[i, q, flat]
            let positions: Vec<Id<Axis>> = taps.iter().chain(&x.positions).copied().collect();
            let product_family = self.family(&positions, &block.flat);
            let (t, p) = (taps.len() as u32, x.positions.len() as u32);
            let all = product_family.len() as u32;
            let vars = |from: u32, to: u32| (from..to).map(Index::Var);
            let of_matrix: Vec<Index> = vars(1, 1 + t).chain(vars(1 + t + p, all)).collect();
            let of_vector: Vec<Index> = vars(0, 1).chain(vars(1 + t, all)).collect();
            let product_family: Vec<(&str, Id<Axis>)> = product_family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
            let name = match (readout, variables_absent && !biased) {
                (true, true) => "f".to_owned(),
                (true, false) => self.readout_name("o", x),
                // Without a sum and a bias the product is the layer.
                (false, true) => self.name("h"),
                (false, false) => self.name("g"),
            };
            let y = self.b.program.matmul(&name, &product_family, (w, &of_matrix), readout, (block.value, &of_vector));
            // Sum over taps with the positions that they reach, and over positions that have become channels.
            let mut variables = Vec::new();
            let mut guards = Vec::new();
            let mut indices = vec![Index::Var(0)];
            let mut fresh = rank;
            let mut next = |axis: Id<Axis>| {
                fresh += 1;
                (Index::Var(fresh - 1), axis)
            };
            if windows.is_empty() {
                indices.extend(vars(1, 1 + p));
            } else {
                let tap: Vec<_> = taps.iter().map(|&axis| next(axis)).collect();
                let reached: Vec<_> = x.positions.iter().map(|&axis| next(axis)).collect();
                for (k, window) in windows.iter().enumerate() {
                    guards.push(window.guard(reached[k].0, Index::Var(1 + k as u32), tap[k].0));
                }
                indices.extend(tap.iter().chain(&reached).map(|&(index, _)| index));
                variables.extend(tap.into_iter().chain(reached));
            }
            let flat: Vec<_> = block.flat.iter().map(|&axis| next(axis)).collect();
            indices.extend(flat.iter().map(|&(index, _)| index));
            variables.extend(flat);
            if variables.is_empty() && x.blocks.len() == 1 {
                plain = Some(y);
            }
            let member = self.b.program.member(y, &indices);
            terms.push(self.b.program.exprs.sum(&variables, guards, member));
        }
        let bias = self.bias(out, affine, readout)?;
        let value = match (plain, bias) {
            (Some(y), None) => y,
            _ => {
                terms.extend(bias.map(|b| self.b.program.member(b, &[])));
                let sum = self.b.program.exprs.add_all(terms);
                let name = if readout { "f".to_owned() } else { self.name("h") };
                self.define(&name, &family, out, sum)
            }
        };
        Ok((value, outputs))
    }

    /// Names of the readout have no numbers, unless it has several parts.
    fn readout_name(&mut self, stem: &str, x: &Tensor) -> String {
        if x.blocks.len() == 1 { stem.to_owned() } else { self.name(stem) }
    }

    fn bias(&mut self, out: Dim, affine: &Affine, readout: bool) -> Compile<Option<ValueId>> {
        let Some(b_std) = affine.b_std else { return Ok(None) };
        let name = if readout { "c".to_owned() } else { self.name("b") };
        let bias = self.b.bias(&name, out, b_std)?;
        if affine.scaling == Scaling::Standard {
            match bias {
                Some(bias) => self.rescaled.push((bias, integer(1), Power::from_integer(0))),
                None => return Err(self.unsupported("the standard scaling with b_std = 0")),
            }
        }
        Ok(bias)
    }

    /// The fan-in of an affine layer: a width or a constant, times a number.
    fn fan_in(&self, x: &Tensor, taps: u32) -> Compile<FanIn> {
        let (mut wide, mut narrow) = (0u32, 0u32);
        let too_many = || self.unsupported("more than 2^32 inputs of a layer");
        for block in &x.blocks {
            let copies = block.flat.iter().try_fold(taps, |all, &axis| all.checked_mul(self.b.program.axis_size(axis)));
            let copies = copies.ok_or_else(too_many)?;
            let (total, more) = match block.dim {
                Dim::Width(_) => (&mut wide, Some(copies)),
                Dim::Finite(size) => (&mut narrow, copies.checked_mul(size)),
            };
            *total = more.and_then(|m| total.checked_add(m)).ok_or_else(too_many)?;
        }
        match (wide, narrow) {
            (further, 0) => Ok(FanIn { dim: self.b.n(), further }),
            (0, size) => Ok(FanIn { dim: Dim::Finite(size), further: 1 }),
            _ => Err(self.unsupported("channels of constant number beside channels whose number tends to infinity")),
        }
    }

    /// The weight of the gradient in the standard scaling, in which the gradient of a weight is a plain product of an
    /// activation and an adjoint: 1 for a constant fan-in, and `size / n` for a layer of `size` channels.
    fn standard_gradient(&self, block: &Block, fan_in: FanIn) -> Compile<(Number, Power)> {
        match (fan_in.dim, block.size) {
            (Dim::Finite(_), _) => Ok((integer(1), Power::from_integer(0))),
            (Dim::Width(_), Some(size)) => Ok((integer(i64::from(size)), power(1, 2))),
            (Dim::Width(_), None) => {
                Err(self.unsupported("the standard scaling needs the `out_dim` of every layer before"))
            }
        }
    }
}

/// `dim * further`
#[derive(Clone, Copy, Debug)]
struct FanIn {
    dim: Dim,
    further: u32,
}
