//! Recurrent layers: an axis of positions read as time.

use netsor_ir::number::fraction;
use netsor_ir::{Guard, Index, Relation};

use super::{Block, Compile, Compiler, Tensor};
use crate::activation::Activation;
use crate::builder::own;
use crate::layers::{Layer, States};
use crate::recurrent::{Affine, Recurrence, weighted};

/// Most steps: each is a list of instructions.
const MAX_STEPS: u32 = 1 << 10;

impl Compiler {
    pub(super) fn recurrent(&mut self, x: &Tensor, layer: &Layer) -> Compile<Tensor> {
        let Layer::Recurrent { cell, function, gate, w_std, u_std, b_std, states } = layer else {
            return Err(self.unsupported("not a recurrent layer"));
        };
        let [axis] = x.positions[..] else {
            return Err(self.shape("one axis of positions, the time", format!("{} axes", x.positions.len())));
        };
        let steps = self.b.program.axis_size(axis);
        if MAX_STEPS < steps {
            return Err(self.shape(&format!("at most {MAX_STEPS} steps"), format!("{steps}")));
        }
        let block = self.vectors(x)?.clone();
        let activation = Activation::from_name(function)
            .ok_or_else(|| self.unsupported(&format!("`{function}` is no activation, such as `tanh`")))?;
        let map = Affine { u_std: *u_std, w_std: *w_std, b_std: *b_std, b_mean: 0.0 };
        let names = &mut self.names;
        let mut name = |stem: &str, _: Option<u32>| {
            let count = names.entry(stem.to_owned()).or_default();
            *count += 1;
            format!("{stem}@{count}")
        };
        let recurrence = Recurrence {
            cell: *cell,
            maps: &vec![map; cell.maps().len()],
            activation,
            gate: *gate,
            i: self.i,
            xi: block.value,
            dim: block.dim,
            steps,
            name: &mut name,
        };
        let all = recurrence.states(&mut self.b)?;
        let dim = self.b.n();
        let block = |value| Block { value, flat: Vec::new(), dim, size: None };
        match (states, all.last()) {
            (States::All, _) => {
                // A family of single values: the member at t is the state whose number is t.
                let mut terms = Vec::new();
                for (t, &state) in all.iter().enumerate() {
                    let here = Guard::new(Relation::Eq, [(1, Index::Var(1))], -(t as i64));
                    let member = self.b.program.member(state, &own(1));
                    terms.push(self.b.program.exprs.sum(&[], [here], member));
                }
                let stacked = self.b.program.exprs.add_all(terms);
                let (name, family) = (self.name("s"), self.family(&x.positions, &[]));
                let value = self.define(&name, &family, dim, stacked);
                Ok(Tensor { positions: x.positions.clone(), blocks: vec![block(value)] })
            }
            (States::Average, _) => {
                let weights = vec![fraction(1, i64::from(steps)); all.len()];
                let average = weighted(&mut self.b, &all, &weights)?;
                let (name, family) = (self.name("s"), self.family(&[], &[]));
                let value = self.define(&name, &family, dim, average);
                Ok(Tensor { positions: Vec::new(), blocks: vec![block(value)] })
            }
            (States::Last, Some(&last)) => Ok(Tensor { positions: Vec::new(), blocks: vec![block(last)] }),
            (States::Last, None) => Err(self.shape("at least one step", "none")),
        }
    }
}
