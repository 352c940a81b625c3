//! Layers that mix positions or channels: layer norm, aggregation over a graph, attention.

use netsor_ir::number::{from_f64, power};
use netsor_ir::{Axis, ExprId, Func, Id, Index, Kind};

use super::{Affine, Block, Compile, Compiler, EPSILON, Tensor};
use crate::builder::{NetworkBuilder, ZooError, own};
use crate::layers::{Attention, Layer, Scaling};

impl Compiler {
    pub(super) fn layer_norm(&mut self, x: &Tensor) -> Compile<Tensor> {
        let block = self.vectors(x)?.clone();
        let family = self.family(&x.positions, &[]);
        let names: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let all = own(family.len());
        let epsilon = from_f64(EPSILON).ok_or(ZooError::NotFinite { what: "epsilon", value: EPSILON })?;
        let (mean_name, variance_name, name) = (self.name("mean"), self.name("variance"), self.name("x"));
        let p = &mut self.b.program;
        let member = p.member(block.value, &all);
        let mean = p.moment(&mean_name, &names, member);
        let mean = p.member(mean, &all);
        let centred = p.exprs.sub(member, mean);
        let square = p.exprs.pow(centred, power(2, 1));
        let variance = p.moment(&variance_name, &names, square);
        let variance = p.member(variance, &all);
        let epsilon = p.exprs.constant(epsilon);
        let sum = p.exprs.add(variance, epsilon);
        let root = p.exprs.apply(Func::Sqrt, sum);
        let y = p.exprs.div(centred, root);
        let value = self.define(&name, &family, block.dim, y);
        Ok(Tensor { positions: x.positions.clone(), blocks: vec![Block { value, ..block }] })
    }

    /// `y[i, q] = sum p weight(i, p, q) x[i, p]` over one or more axes of positions.
    fn mix(
        &mut self,
        x: &Tensor,
        weight: impl FnOnce(&mut NetworkBuilder, &[Index], &[Index]) -> ExprId,
    ) -> Compile<Tensor> {
        let block = self.vectors(x)?.clone();
        let family = self.family(&x.positions, &[]);
        let rank = family.len() as u32;
        let variables: Vec<_> =
            x.positions.iter().enumerate().map(|(k, &axis)| (Index::Var(rank + k as u32), axis)).collect();
        let from: Vec<Index> = variables.iter().map(|&(index, _)| index).collect();
        let to: Vec<Index> = (1..rank).map(Index::Var).collect();
        let weight = weight(&mut self.b, &from, &to);
        let indices: Vec<Index> = [Index::Var(0)].into_iter().chain(from).collect();
        let member = self.b.program.member(block.value, &indices);
        let term = self.b.program.exprs.mul(weight, member);
        let sum = self.b.program.exprs.sum(&variables, [], term);
        let name = self.name("a");
        let value = self.define(&name, &family, block.dim, sum);
        Ok(Tensor { positions: x.positions.clone(), blocks: vec![Block { value, ..block }] })
    }

    pub(super) fn aggregate(&mut self, x: &Tensor) -> Compile<Tensor> {
        let [axis] = x.positions[..] else {
            return Err(self.shape("one axis of positions", format!("{} axes", x.positions.len())));
        };
        let pattern = match self.b.program.find("pattern") {
            Some(pattern) => pattern,
            None => {
                let family = [("i", self.i), ("p", axis), ("p'", axis)];
                self.b.program.data("pattern", &family, Kind::Scalar)
            }
        };
        if self.b.program.value(pattern).ty.family != [self.i, axis, axis] {
            return Err(self.shape("the same positions in every Aggregate", "different positions"));
        }
        self.mix(x, |b, from, to| {
            let indices: Vec<Index> = [Index::Var(0)].iter().chain(from).chain(to).copied().collect();
            b.program.member(pattern, &indices)
        })
    }

    pub(super) fn attention(&mut self, x: &Tensor, layer: &Layer) -> Compile<Tensor> {
        let &Layer::GlobalSelfAttention {
            linear_scaling,
            w_key_std,
            w_query_std,
            w_value_std,
            w_out_std,
            b_std,
            attention_mechanism,
        } = layer
        else {
            return Err(self.unsupported("not an attention layer"));
        };
        if !linear_scaling {
            return Err(self.unsupported("attention with scores over the square root of the width, which stay random"));
        }
        if x.positions.is_empty() {
            return Err(self.shape("positions", "none"));
        }
        let block = self.vectors(x)?.clone();
        // scores[i, p, q] = W_key_std W_query_std <x_p, x_q> / channels, which has a limit.
        let doubled: Vec<Id<Axis>> = x.positions.iter().chain(&x.positions).copied().collect();
        let pairs = self.family(&doubled, &[]);
        let pair_names: Vec<(&str, Id<Axis>)> = pairs.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let r = x.positions.len() as u32;
        let first: Vec<Index> = (0..=r).map(Index::Var).collect();
        let second: Vec<Index> = [Index::Var(0)].into_iter().chain((r + 1..=2 * r).map(Index::Var)).collect();
        let std = w_key_std * w_query_std;
        let std = from_f64(std).ok_or(ZooError::NotFinite { what: "W_key_std * W_query_std", value: std })?;
        let (moment_name, weight_name) = (self.name("m"), self.name("w"));
        let p = &mut self.b.program;
        let (a, b) = (p.member(block.value, &first), p.member(block.value, &second));
        let product = p.exprs.mul(a, b);
        let moment = p.moment(&moment_name, &pair_names, product);
        let member = p.member(moment, &own(pairs.len()));
        let std = p.exprs.constant(std);
        let score = p.exprs.mul(std, member);
        let unnormalised = match attention_mechanism {
            Attention::Softmax => p.exprs.apply(Func::Exp, score),
            Attention::Identity => score,
            Attention::Abs => p.exprs.apply(Func::Abs, score),
            Attention::Relu => p.exprs.apply(Func::Relu, score),
        };
        let weights = p.scalar(&weight_name, &pair_names, unnormalised);
        let norm = if attention_mechanism == Attention::Softmax {
            let single = self.family(&x.positions, &[]);
            let names: Vec<(&str, Id<Axis>)> = single.iter().map(|(n, a)| (n.as_str(), *a)).collect();
            let name = self.name("z");
            let p = &mut self.b.program;
            let variables: Vec<_> = second[1..].iter().copied().zip(x.positions.iter().copied()).collect();
            let member = p.member(weights, &own(pairs.len()));
            let sum = p.exprs.sum(&variables, [], member);
            Some(p.scalar(&name, &names, sum))
        } else {
            None
        };
        let mixed = self.mix(x, |b, from, to| {
            let at = |rest: &[&[Index]]| -> Vec<Index> { [Index::Var(0)].into_iter().chain(rest.concat()).collect() };
            let weight = b.program.member(weights, &at(&[to, from]));
            match norm {
                Some(norm) => {
                    let norm = b.program.member(norm, &at(&[to]));
                    b.program.exprs.div(weight, norm)
                }
                None => weight,
            }
        })?;
        let scale = |w_std, b_std| Affine { w_std, b_std, size: None, scaling: Scaling::Ntk };
        let values = self.affine(&mixed, &scale(w_value_std, None), &[])?;
        self.affine(&values, &scale(w_out_std, b_std), &[])
    }
}
