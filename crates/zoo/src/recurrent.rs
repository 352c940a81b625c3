//! Recurrent cells, unrolled: the part that the recurrent architectures and the recurrent layer share.
//!
//! The steps are literal instructions that use the same matrices, as recurrence is in the papers (TP IIb App. D.1). The
//! state before the first step is 0, so that the first step has no matrix product of a state.

use netsor_ir::build::Family;
use netsor_ir::number::{fraction, integer};
use netsor_ir::{Axis, Dim, ExprId, Func, Id, Index, Network, Number, ValueId};
use serde::{Deserialize, Serialize};

use crate::activation::Activation;
use crate::builder::{NetworkBuilder, ZooError, number, own, positive};

/// How a state follows from the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// `x_t = phi(U xi_t + W x_(t-1) + b)`
    #[default]
    Simple,
    /// Update `z`, reset `r` and candidate `c`, each an affine map of `xi_t` and a state:
    /// `x_t = (1 - z) x_(t-1) + z phi(c)`, where the candidate sees `r x_(t-1)`.
    Gru,
    /// Input `i`, forget `f`, output `o` and candidate `g`: `c_t = f c_(t-1) + i phi(g)`, `x_t = o phi(c_t)`.
    Lstm,
}

impl Cell {
    /// Names of the affine maps of the cell, in the order of its parameters.
    pub fn maps(self) -> &'static [&'static str] {
        match self {
            Self::Simple => &[""],
            Self::Gru => &["_z", "_r", "_c"],
            Self::Lstm => &["_i", "_f", "_o", "_g"],
        }
    }
}

/// What a gate is made by: a function with values between 0 and 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gate {
    /// `1 / (1 + exp(-x))`
    #[default]
    Sigmoid,
    /// `(1 + erf(x)) / 2`
    Erf,
}

/// Scales of an affine map `U xi_t + W x_(t-1) + b`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Standard deviation of `U` relative to `1 / sqrt(dim)`.
    pub u_std: f64,
    /// Standard deviation of `W` relative to `1 / sqrt(n)`.
    pub w_std: f64,
    /// Standard deviation of the bias; 0 for no bias, unless it has a mean.
    pub b_std: f64,
    /// Mean of the bias.
    pub b_mean: f64,
}

impl Default for Affine {
    fn default() -> Self {
        Self { u_std: 1.0, w_std: 1.0, b_std: 0.0, b_mean: 0.0 }
    }
}

/// A recurrence over the positions of an input.
pub(crate) struct Recurrence<'a> {
    pub(crate) cell: Cell,
    /// Scales of the maps of [`Cell::maps`].
    pub(crate) maps: &'a [Affine],
    pub(crate) activation: Activation,
    pub(crate) gate: Gate,
    /// The axis of inputs.
    pub(crate) i: Id<Axis>,
    /// The input, a family over inputs and steps.
    pub(crate) xi: ValueId,
    /// Its dimension.
    pub(crate) dim: Dim,
    pub(crate) steps: u32,
    /// The name of a parameter, or of a value at a step.
    pub(crate) name: &'a mut dyn FnMut(&str, Option<u32>) -> String,
}

/// The parameters of one affine map.
struct Map {
    suffix: &'static str,
    u: ValueId,
    /// A single step needs none.
    w: Option<ValueId>,
    bias: Option<ValueId>,
}

impl Recurrence<'_> {
    /// The states, one a step. Parameters are in the order `U, W, b` for each map.
    pub(crate) fn states(mut self, b: &mut NetworkBuilder) -> Result<Vec<ValueId>, ZooError> {
        let n = b.n();
        let mut maps = Vec::new();
        for (&suffix, scale) in self.cell.maps().iter().zip(self.maps) {
            let mut name = |stem: &str| (self.name)(&format!("{stem}{suffix}"), None);
            let u = b.weight(&name("U"), &[], (n, self.dim), self.dim, 1, scale.u_std)?;
            let w = if 1 < self.steps { Some(b.weight(&name("W"), &[], (n, n), n, 1, scale.w_std)?) } else { None };
            let bias = b.bias_around(&name("b"), n, scale.b_mean, scale.b_std)?;
            maps.push(Map { suffix, u, w, bias });
        }
        let (mut states, mut memory): (Vec<ValueId>, Option<ValueId>) = (Vec::new(), None);
        for step in 0..self.steps {
            let before = states.last().copied();
            states.push(match self.cell {
                Cell::Simple => {
                    let h = self.affine(b, &maps[0], step, before);
                    let x = self.activation.apply(&mut b.program.exprs, h)?;
                    self.define(b, "x", step, x)
                }
                Cell::Gru => self.gru(b, &maps, step, before)?,
                Cell::Lstm => {
                    let (state, cell) = self.lstm(b, &maps, step, before, memory)?;
                    memory = Some(cell);
                    state
                }
            });
        }
        Ok(states)
    }

    fn gru(
        &mut self,
        b: &mut NetworkBuilder,
        maps: &[Map],
        step: u32,
        before: Option<ValueId>,
    ) -> Result<ValueId, ZooError> {
        let update = self.gate(b, &maps[0], step, before);
        let update = b.program.member(update, &own(1));
        let (kept, seen) = match before {
            Some(before) => {
                let reset = self.gate(b, &maps[1], step, Some(before));
                let (reset, state) = (b.program.member(reset, &own(1)), b.program.member(before, &own(1)));
                let seen = b.program.exprs.mul(reset, state);
                let seen = self.define(b, "y", step, seen);
                let one = b.program.exprs.constant(integer(1));
                let rest = b.program.exprs.sub(one, update);
                (Some(b.program.exprs.mul(rest, state)), Some(seen))
            }
            None => (None, None),
        };
        let candidate = self.affine(b, &maps[2], step, seen);
        let candidate = self.activation.apply(&mut b.program.exprs, candidate)?;
        let new = b.program.exprs.mul(update, candidate);
        let state = b.program.exprs.add_all(kept.into_iter().chain([new]));
        Ok(self.define(b, "x", step, state))
    }

    fn lstm(
        &mut self,
        b: &mut NetworkBuilder,
        maps: &[Map],
        step: u32,
        before: Option<ValueId>,
        memory: Option<ValueId>,
    ) -> Result<(ValueId, ValueId), ZooError> {
        let input = self.gate(b, &maps[0], step, before);
        let input = b.program.member(input, &own(1));
        let kept = memory.map(|memory| {
            let forget = self.gate(b, &maps[1], step, before);
            let (forget, memory) = (b.program.member(forget, &own(1)), b.program.member(memory, &own(1)));
            b.program.exprs.mul(forget, memory)
        });
        let output = self.gate(b, &maps[2], step, before);
        let output = b.program.member(output, &own(1));
        let candidate = self.affine(b, &maps[3], step, before);
        let candidate = self.activation.apply(&mut b.program.exprs, candidate)?;
        let new = b.program.exprs.mul(input, candidate);
        let memory = b.program.exprs.add_all(kept.into_iter().chain([new]));
        let memory = self.define(b, "c", step, memory);
        let seen = b.program.member(memory, &own(1));
        let seen = self.activation.apply(&mut b.program.exprs, seen)?;
        let state = b.program.exprs.mul(output, seen);
        Ok((self.define(b, "x", step, state), memory))
    }

    /// A gate of one step as a value of its own, called like its map.
    fn gate(&mut self, b: &mut NetworkBuilder, map: &Map, step: u32, state: Option<ValueId>) -> ValueId {
        let h = self.affine(b, map, step, state);
        let e = &mut b.program.exprs;
        let value = match self.gate {
            Gate::Sigmoid => e.apply(Func::Sigmoid, h),
            Gate::Erf => {
                let erf = e.apply(Func::Erf, h);
                let (one, half) = (e.integer(1), e.constant(fraction(1, 2)));
                let sum = e.add(one, erf);
                e.mul(half, sum)
            }
        };
        self.define(b, map.suffix.trim_start_matches('_'), step, value)
    }

    /// `U xi_t + W state + b`
    fn affine(&mut self, b: &mut NetworkBuilder, map: &Map, step: u32, state: Option<ValueId>) -> ExprId {
        let family: Family<'_> = &[("i", self.i)];
        let mut name = |stem: &str| (self.name)(&format!("{stem}{}", map.suffix), Some(step + 1));
        let at = [Index::Var(0), Index::At(step)];
        let g = b.program.matmul(&name("g"), family, (map.u, &[]), false, (self.xi, &at));
        let mut terms = vec![b.program.member(g, &own(1))];
        if let (Some(w), Some(state)) = (map.w, state) {
            let r = b.program.matmul(&name("r"), family, (w, &[]), false, (state, &own(1)));
            terms.push(b.program.member(r, &own(1)));
        }
        terms.extend(map.bias.map(|bias| b.program.member(bias, &[])));
        b.program.exprs.add_all(terms)
    }

    fn define(&mut self, b: &mut NetworkBuilder, stem: &str, step: u32, expr: ExprId) -> ValueId {
        let name = (self.name)(stem, Some(step + 1));
        b.program.map(&name, &[("i", self.i)], expr)
    }
}

/// `sum_t weights[t] x_t` over the states of a recurrence, as an expression.
///
/// # Errors
/// If all weights are 0.
pub(crate) fn weighted(b: &mut NetworkBuilder, states: &[ValueId], weights: &[Number]) -> Result<ExprId, ZooError> {
    let mut terms = Vec::new();
    for (weight, &x) in weights.iter().zip(states) {
        let weight = b.program.exprs.constant(weight.clone());
        let x = b.program.member(x, &own(1));
        terms.push(b.program.exprs.mul(weight, x));
    }
    let sum = b.program.exprs.add_all(terms);
    if b.program.exprs.is_zero(sum) { Err(ZooError::Empty { what: "readout" }) } else { Ok(sum) }
}

/// A recurrent network with its readout `f = v' sum_t readout_t x_t`.
pub(crate) struct Readout<'a> {
    pub(crate) name: &'a str,
    pub(crate) inputs: u32,
    pub(crate) dim: u32,
    pub(crate) cell: Cell,
    pub(crate) maps: &'a [Affine],
    pub(crate) activation: Activation,
    pub(crate) gate: Gate,
    /// The weight of each state.
    pub(crate) weights: &'a [f64],
    pub(crate) v_std: f64,
}

impl Readout<'_> {
    /// The network, with data `xi[i, t]`, states `x@1[i], x@2[i], ...` and output `f[i]`.
    pub(crate) fn network(self) -> Result<Network, ZooError> {
        let weights = self.weights.iter().map(|&w| number("readout", w)).collect::<Result<Vec<_>, _>>()?;
        let mut b = NetworkBuilder::new(self.name);
        let i = b.program.axis("i", positive("inputs", self.inputs)?);
        let steps = u32::try_from(self.weights.len()).unwrap_or(u32::MAX);
        let t = b.program.axis("t", positive("readout", steps)?);
        let dim = Dim::Finite(positive("dim", self.dim)?);
        let xi = b.input("xi", &[("i", i), ("t", t)], self.dim);
        let mut name = |stem: &str, step: Option<u32>| match step {
            Some(step) => format!("{stem}@{step}"),
            None => stem.to_owned(),
        };
        let Self { cell, maps, activation, gate, .. } = self;
        let states = Recurrence { cell, maps, activation, gate, i, xi, dim, steps, name: &mut name }.states(&mut b)?;
        let sum = weighted(&mut b, &states, &weights)?;
        let s = b.program.map("s", &[("i", i)], sum);
        let n = b.n();
        let v = b.weight("v", &[], (n, Dim::Finite(1)), n, 1, self.v_std)?;
        let f = b.program.matmul("f", &[("i", i)], (v, &[]), true, (s, &own(1)));
        b.output(f);
        Ok(b.finish())
    }
}
