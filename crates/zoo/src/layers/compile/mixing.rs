//! Layers that mix positions, inputs or channels without weights: normalisations, aggregation over a graph, dropout.

use netsor_ir::number::{fraction, power};
use netsor_ir::program::Law;
use netsor_ir::{Axis, Dim, ExprId, Func, Id, Index, Kind};
use netsor_num::Real;

use super::{Block, Compile, Compiler, Tensor};
use crate::builder::{NetworkBuilder, number, own};

impl Compiler {
    pub(super) fn layer_norm(&mut self, x: &Tensor, epsilon: f64) -> Compile<Tensor> {
        let block = self.vectors(x)?.clone();
        let family = self.family(&x.positions, &[]);
        let names: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let all = own(family.len());
        let epsilon = number("epsilon", epsilon)?;
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

    /// Mean and variance over the inputs and all positions are vectors: one number a channel.
    pub(super) fn batch_norm(&mut self, x: &Tensor, epsilon: f64) -> Compile<Tensor> {
        let block = self.vectors(x)?.clone();
        let family = self.family(&x.positions, &[]);
        let axes: Vec<Id<Axis>> = family.iter().map(|&(_, axis)| axis).collect();
        let names = (self.name("mean"), self.name("variance"));
        let normalised = normalise(&mut self.b, (&names.0, &names.1), &[], block.value, &axes, epsilon)?;
        let name = self.name("x");
        let value = self.define(&name, &family, block.dim, normalised);
        Ok(Tensor { positions: x.positions.clone(), blocks: vec![Block { value, ..block }] })
    }

    /// `keep / rate * x`, where `keep` is 1 with probability `rate` and else 0, drawn for every input and position.
    ///
    /// With standard normal `a` and `b` of correlation `rho`, both are positive with probability
    /// `1/4 + arcsin(rho) / (2 pi)`, which is any number up to 1/2; for a larger rate `keep` is the opposite of that. So all
    /// jumps are at 0, where expectations have closed forms.
    pub(super) fn dropout(&mut self, x: &Tensor, rate: f64) -> Compile<Tensor> {
        if !(0.0 < rate && rate <= 1.0) {
            return Err(
                self.unsupported(&format!("Dropout that keeps with probability {rate}; expected 0 < rate <= 1"))
            );
        }
        if rate == 1.0 {
            return Ok(x.clone());
        }
        let block = self.vectors(x)?.clone();
        if let Dim::Finite(_) = block.dim {
            return Err(self.unsupported("Dropout of an input of constant dimension; put it after a Dense or Conv"));
        }
        let family = self.family(&x.positions, &[]);
        let names: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        let both = rate.min(1.0 - rate);
        // sin(2 pi (both - 1/4)), and the cosine of the same angle, which is not negative.
        let rho = -Real::cos(std::f64::consts::TAU * both);
        let rest = Real::sin(std::f64::consts::TAU * both);
        let (rho, rest) = (number("rate", rho)?, number("rate", rest)?);
        let share = fraction(1, 1) / number("rate", rate)?;
        let (first_name, second_name, name) = (self.name("a"), self.name("a"), self.name("x"));
        let p = &mut self.b.program;
        let mut noise = |name: &str| {
            let law = Law::iid_family(&mut p.exprs, fraction(0, 1), fraction(1, 1), family.len());
            let noise = p.gaussian(name, &names, block.dim, law);
            p.member(noise, &own(family.len()))
        };
        let (a, other) = (noise(&first_name), noise(&second_name));
        let e = &mut p.exprs;
        let (rho, rest) = (e.constant(rho), e.constant(rest));
        let (along, across) = (e.mul(rho, a), e.mul(rest, other));
        let b = e.add(along, across);
        let (a, b) = (e.apply(Func::Step, a), e.apply(Func::Step, b));
        let positive = e.mul(a, b);
        let one = e.integer(1);
        let keep = if rate <= 0.5 { positive } else { e.sub(one, positive) };
        let member = p.member(block.value, &own(family.len()));
        let share = p.exprs.constant(share);
        let y = p.exprs.mul_all([share, keep, member]);
        let value = self.define(&name, &family, block.dim, y);
        Ok(Tensor { positions: x.positions.clone(), blocks: vec![Block { value, ..block }] })
    }

    /// `y[i, q] = sum p weight(i, p, q) x[i, p]` over one or more axes of positions.
    pub(super) fn mix(
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
        let name = self.name("y");
        let value = self.define(&name, &family, block.dim, sum);
        Ok(Tensor { positions: x.positions.clone(), blocks: vec![Block { value, ..block }] })
    }

    pub(super) fn aggregate(&mut self, x: &Tensor, pattern: Option<&[Vec<f64>]>) -> Compile<Tensor> {
        let [axis] = x.positions[..] else {
            return Err(self.shape("one axis of positions", format!("{} axes", x.positions.len())));
        };
        if let Some(rows) = pattern {
            let size = self.b.program.axis_size(axis) as usize;
            if rows.len() != size || rows.iter().any(|row| row.len() != size) {
                let found = rows.iter().map(|row| row.len().to_string()).collect::<Vec<_>>().join(", ");
                return Err(self.shape(&format!("a pattern of {size} rows of {size}"), format!("rows of {found}")));
            }
            let entries = rows.iter().flatten().map(|&entry| number("pattern", entry)).collect::<Result<_, _>>()?;
            let name = self.name("pattern").replace('@', "_");
            let table = self.b.program.table(&name, &[axis, axis], entries);
            return self.mix(x, |b, from, to| b.program.exprs.table(table, [from[0], to[0]]));
        }
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
}

/// `(x - mean) / sqrt(variance + epsilon)` as an expression over the indices of `x`, whose family is `outer` and then
/// `axes`; mean and variance over `axes` become vectors with the given names and the family `outer`.
pub(crate) fn normalise(
    b: &mut NetworkBuilder,
    (mean_name, variance_name): (&str, &str),
    outer: &[(&str, Id<Axis>)],
    x: netsor_ir::ValueId,
    axes: &[Id<Axis>],
    epsilon: f64,
) -> Result<ExprId, crate::builder::ZooError> {
    let epsilon = number("epsilon", epsilon)?;
    let rank = outer.len();
    let variables: Vec<(Index, Id<Axis>)> =
        axes.iter().enumerate().map(|(k, &axis)| (Index::Var((rank + k) as u32), axis)).collect();
    let all = own(rank + axes.len());
    let p = &mut b.program;
    let count: i64 = axes.iter().map(|&axis| i64::from(p.axis_size(axis))).product();
    let share = p.exprs.constant(fraction(1, count));
    let member = p.member(x, &all);
    let sum = p.exprs.sum(&variables, [], member);
    let mean = p.exprs.mul(share, sum);
    let mean = p.map(mean_name, outer, mean);
    let mean = p.member(mean, &own(rank));
    let centred = p.exprs.sub(member, mean);
    let square = p.exprs.pow(centred, power(2, 1));
    let sum = p.exprs.sum(&variables, [], square);
    let variance = p.exprs.mul(share, sum);
    let variance = p.map(variance_name, outer, variance);
    let variance = p.member(variance, &own(rank));
    let epsilon = p.exprs.constant(epsilon);
    let sum = p.exprs.add(variance, epsilon);
    let root = p.exprs.apply(Func::Sqrt, sum);
    Ok(p.exprs.div(centred, root))
}
