//! From a list of layers to a network.

mod mixing;

use netsor_ir::number::{Power, fraction, integer, power};
use netsor_ir::{Axis, Dim, ExprId, Guard, Id, Index, Instr, Kind, Network, Number, Parameter, ValueId};

use super::activation::{Refusal, apply};
use super::window::Window;
use super::{Border, InputShape, Layer, LayerError, Scaling};
use crate::builder::{NetworkBuilder, own, positive};

/// Names of the axes of positions.
const LETTERS: [&str; 4] = ["p", "q", "r", "s"];
/// Most copies of `FanOut`.
const MAX_COPIES: u32 = 64;
/// The variance that `LayerNorm` adds.
const EPSILON: f64 = 1e-12;

/// The network of a list of layers, with data `xi[i, p, ...]` (and `pattern[i, p, q]` for `Aggregate`) and output `f[i]`.
///
/// # Errors
/// If a layer is not supported, does not fit, or the list does not end in `Dense`.
pub fn network(layers: &[Layer], input: &InputShape) -> Result<Network, LayerError> {
    let mut b = NetworkBuilder::new("layers");
    let i = b.program.axis("i", positive("inputs", input.inputs)?);
    let mut compiler = Compiler { b, i, position: Vec::new(), names: 0, rescaled: Vec::new() };
    if LETTERS.len() < input.positions.len() {
        return Err(compiler.unsupported(&format!("at most {} axes of positions", LETTERS.len())));
    }
    let mut positions = Vec::new();
    for (k, &size) in input.positions.iter().enumerate() {
        positions.push(compiler.axis(LETTERS[k], positive("positions", size)?));
    }
    let mut family: Vec<(&str, Id<Axis>)> = vec![("i", i)];
    family.extend(positions.iter().zip(LETTERS).map(|(&axis, letter)| (letter, axis)));
    let xi = compiler.b.input("xi", &family, positive("channels", input.channels)?);
    let block = Block { value: xi, flat: Vec::new(), dim: Dim::Finite(input.channels), size: Some(input.channels) };
    let start = Tensor { positions, blocks: vec![block] };
    let (last, body) = match layers.split_last() {
        Some((last @ Layer::Dense { .. }, body)) => (last, body),
        Some((other, _)) => return Err(LayerError::NoReadout { found: format!("{other:?}") }),
        None => return Err(LayerError::NoReadout { found: "no layer".into() }),
    };
    let mut tensors = compiler.list(body, vec![start])?;
    compiler.position = vec![body.len().to_string()];
    let x = compiler.single(&mut tensors)?;
    if !x.positions.is_empty() {
        let found = format!("{} axes of positions", x.positions.len());
        return Err(compiler.shape("an input without positions (use Flatten or GlobalAvgPool)", found));
    }
    let affine = Affine::of_dense(last);
    let f = compiler.affine_value(&x, &affine, &[], true)?.0;
    compiler.b.output(f);
    let Compiler { b, rescaled, .. } = compiler;
    let mut network = b.finish();
    for parameter in &mut network.parameters {
        if let Some((_, multiplier_squared, a)) = rescaled.iter().find(|(value, ..)| *value == parameter.value) {
            *parameter = Parameter { multiplier_squared: multiplier_squared.clone(), a: *a, ..parameter.clone() };
        }
    }
    Ok(network)
}

/// What flows between layers: vectors of channels at positions. The channels are those of all blocks together.
#[derive(Clone, Debug)]
struct Tensor {
    positions: Vec<Id<Axis>>,
    blocks: Vec<Block>,
}

/// Some channels: a family over `i`, the positions of the tensor, and positions that have become channels.
#[derive(Clone, Debug)]
struct Block {
    value: ValueId,
    flat: Vec<Id<Axis>>,
    dim: Dim,
    /// Number of channels at each position, if it is known; a width is only known when it was given.
    size: Option<u32>,
}

/// The scales of an affine layer.
#[derive(Clone, Copy, Debug)]
struct Affine {
    w_std: f64,
    b_std: Option<f64>,
    size: Option<u32>,
    scaling: Scaling,
}

impl Affine {
    fn of_dense(layer: &Layer) -> Self {
        match *layer {
            Layer::Dense { w_std, b_std, out_dim, parameterization } => {
                Self { w_std, b_std, size: out_dim, scaling: parameterization }
            }
            _ => Self { w_std: 1.0, b_std: None, size: None, scaling: Scaling::Ntk },
        }
    }
}

struct Compiler {
    b: NetworkBuilder,
    i: Id<Axis>,
    /// Where we are, for errors.
    position: Vec<String>,
    /// Number of names given.
    names: u32,
    /// Parameters that are not in the NTK parametrization, with the multiplier's square and the exponent `a`.
    rescaled: Vec<(ValueId, Number, Power)>,
}

type Compile<T> = Result<T, LayerError>;

impl Compiler {
    fn unsupported(&self, reason: &str) -> LayerError {
        LayerError::Unsupported { at: self.position.join(":"), reason: reason.to_owned() }
    }

    fn shape(&self, expected: &str, found: impl Into<String>) -> LayerError {
        LayerError::Shape { at: self.position.join(":"), expected: expected.to_owned(), found: found.into() }
    }

    /// The axis of `size` positions with this stem, made at first use, so that branches of one size share it.
    fn axis(&mut self, stem: &str, size: u32) -> Id<Axis> {
        let name = format!("{stem}{size}");
        self.b.program.find_axis(&name).unwrap_or_else(|| self.b.program.axis(&name, size))
    }

    fn name(&mut self, stem: &str) -> String {
        self.names += 1;
        format!("{stem}@{}", self.names)
    }

    fn list(&mut self, layers: &[Layer], mut tensors: Vec<Tensor>) -> Compile<Vec<Tensor>> {
        for (at, layer) in layers.iter().enumerate() {
            self.position.push(at.to_string());
            tensors = self.layer(layer, tensors)?;
            self.position.pop();
        }
        Ok(tensors)
    }

    fn single(&self, tensors: &mut Vec<Tensor>) -> Compile<Tensor> {
        let count = tensors.len();
        match tensors.pop() {
            Some(tensor) if count == 1 => Ok(tensor),
            _ => Err(self.shape("one input (use FanInSum, FanInProd or FanInConcat)", format!("{count} inputs"))),
        }
    }

    fn layer(&mut self, layer: &Layer, mut tensors: Vec<Tensor>) -> Compile<Vec<Tensor>> {
        match layer {
            Layer::FanOut { num } => {
                if *num == 0 || MAX_COPIES < *num {
                    return Err(self.unsupported(&format!("{num} copies; 1 to {MAX_COPIES} are supported")));
                }
                let x = self.single(&mut tensors)?;
                return Ok(vec![x; *num as usize]);
            }
            Layer::Parallel { branches } => {
                if branches.len() != tensors.len() {
                    let found = format!("{} branches", branches.len());
                    return Err(self.shape(&format!("{} branches", tensors.len()), found));
                }
                let mut out = Vec::new();
                for (k, (branch, x)) in branches.iter().zip(tensors).enumerate() {
                    self.position.push(k.to_string());
                    let mut ends = self.list(branch, vec![x])?;
                    out.push(self.single(&mut ends)?);
                    self.position.pop();
                }
                return Ok(out);
            }
            Layer::FanInSum {} => return Ok(vec![self.combine(&tensors, netsor_ir::Exprs::add)?]),
            Layer::FanInProd {} => return Ok(vec![self.combine(&tensors, netsor_ir::Exprs::mul)?]),
            Layer::FanInConcat { axis } => return Ok(vec![self.concat(tensors, *axis)?]),
            _ => {}
        }
        let x = self.single(&mut tensors)?;
        let y = match layer {
            Layer::Dense { .. } => self.affine(&x, &Affine::of_dense(layer), &[])?,
            Layer::Conv { filter_shape, strides, padding, w_std, b_std, out_chan, parameterization } => {
                let windows = self.windows(&x, filter_shape, strides.as_deref(), *padding)?;
                let affine = Affine { w_std: *w_std, b_std: *b_std, size: *out_chan, scaling: *parameterization };
                self.affine(&x, &affine, &windows)?
            }
            Layer::AvgPool { window_shape, strides, padding, normalize_edges } => {
                let windows = self.windows(&x, window_shape, strides.as_deref(), *padding)?;
                self.pool(&x, &windows, if *normalize_edges { Share::Inside } else { Share::Window })?
            }
            Layer::SumPool { window_shape, strides, padding } => {
                let windows = self.windows(&x, window_shape, strides.as_deref(), *padding)?;
                self.pool(&x, &windows, Share::One)?
            }
            Layer::Flatten {} => {
                let mut y = x;
                let positions = std::mem::take(&mut y.positions);
                for block in &mut y.blocks {
                    // The family of the block is i, positions, flat: the order stays as it is.
                    block.flat.splice(0..0, positions.iter().copied());
                }
                y
            }
            Layer::GlobalAvgPool {} => self.global_pool(&x, true)?,
            Layer::GlobalSumPool {} => self.global_pool(&x, false)?,
            Layer::LayerNorm { axis } => {
                self.last_axis(&x, *axis)?;
                self.layer_norm(&x)?
            }
            Layer::GlobalSelfAttention { .. } => self.attention(&x, layer)?,
            Layer::Aggregate { aggregate_axis: 1, batch_axis: 0, channel_axis } => {
                self.last_axis(&x, *channel_axis)?;
                self.aggregate(&x)?
            }
            Layer::Aggregate { .. } => {
                return Err(self.unsupported("axes other than batch 0, positions 1 and channels last"));
            }
            Layer::Dropout { .. } => {
                return Err(self.unsupported("Dropout draws new zeros for every input; no family of a program does"));
            }
            Layer::ExpNormalized { .. } => {
                return Err(self.unsupported("ExpNormalized is a kernel that belongs to no activation"));
            }
            _ => self.coordinatewise(&x, layer)?,
        };
        Ok(vec![y])
    }

    /// Checks that `axis` is that of the channels.
    fn last_axis(&self, x: &Tensor, axis: i32) -> Compile<()> {
        let rank = x.positions.len() as i32 + 2;
        if axis == -1 || axis == rank - 1 { Ok(()) } else { Err(self.unsupported("axes other than the channels")) }
    }

    /// The family of a block with names for its index variables.
    fn family(&self, positions: &[Id<Axis>], flat: &[Id<Axis>]) -> Vec<(String, Id<Axis>)> {
        let mut family = vec![("i".to_owned(), self.i)];
        for &axis in positions.iter().chain(flat) {
            let full = &self.b.program.axes[axis.index()].name;
            let mut name = full.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
            while family.iter().any(|(taken, _)| *taken == name) {
                name.push('\'');
            }
            family.push((name, axis));
        }
        family
    }

    /// Defines a coordinatewise function of a family.
    fn define(&mut self, name: &str, family: &[(String, Id<Axis>)], dim: Dim, expr: ExprId) -> ValueId {
        let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, a)| (n.as_str(), *a)).collect();
        self.b.program.define(name, &family, Kind::Vector(dim), Instr::Map(expr))
    }

    fn coordinatewise(&mut self, x: &Tensor, layer: &Layer) -> Compile<Tensor> {
        let mut blocks = Vec::new();
        for block in &x.blocks {
            let family = self.family(&x.positions, &block.flat);
            let member = self.b.program.member(block.value, &own(family.len()));
            let y = match apply(layer, &mut self.b.program.exprs, member) {
                Ok(Some(y)) => y,
                Ok(None) => return Err(self.unsupported("not a coordinatewise layer")),
                Err(Refusal::Text(reason)) => return Err(self.unsupported(&reason)),
                Err(Refusal::Number(error)) => return Err(error.into()),
            };
            let value = if y == member {
                block.value
            } else {
                let name = self.name("x");
                self.define(&name, &family, block.dim, y)
            };
            blocks.push(Block { value, ..block.clone() });
        }
        Ok(Tensor { positions: x.positions.clone(), blocks })
    }

    fn combine(
        &mut self,
        tensors: &[Tensor],
        f: fn(&mut netsor_ir::Exprs, ExprId, ExprId) -> ExprId,
    ) -> Compile<Tensor> {
        let [first, rest @ ..] = tensors else { return Err(self.shape("at least one input", "none")) };
        let mut blocks = Vec::new();
        for (k, block) in first.blocks.iter().enumerate() {
            let family = self.family(&first.positions, &block.flat);
            let mut total = self.b.program.member(block.value, &own(family.len()));
            for other in rest {
                let matching = other.blocks.get(k).filter(|b| b.flat == block.flat && b.dim == block.dim);
                let Some(part) = matching.filter(|_| other.positions == first.positions) else {
                    return Err(self.shape("inputs of one shape", "different shapes"));
                };
                if other.blocks.len() != first.blocks.len() {
                    return Err(self.shape("inputs of one shape", "different shapes"));
                }
                let member = self.b.program.member(part.value, &own(family.len()));
                total = f(&mut self.b.program.exprs, total, member);
            }
            let name = self.name("x");
            let value = self.define(&name, &family, block.dim, total);
            blocks.push(Block { value, ..block.clone() });
        }
        Ok(Tensor { positions: first.positions.clone(), blocks })
    }

    fn concat(&self, tensors: Vec<Tensor>, axis: i32) -> Compile<Tensor> {
        let [first, ..] = &tensors[..] else { return Err(self.shape("at least one input", "none")) };
        self.last_axis(first, axis)?;
        if tensors.iter().any(|t| t.positions != first.positions) {
            return Err(self.shape("inputs at the same positions", "different positions"));
        }
        let positions = first.positions.clone();
        Ok(Tensor { positions, blocks: tensors.into_iter().flat_map(|t| t.blocks).collect() })
    }

    fn windows(&self, x: &Tensor, taps: &[u32], strides: Option<&[u32]>, border: Border) -> Compile<Vec<Window>> {
        let rank = x.positions.len();
        let ones = vec![1; rank];
        let strides = strides.unwrap_or(&ones);
        if rank == 0 || taps.len() != rank || strides.len() != rank {
            let found = format!("a window with {} and strides with {}", taps.len(), strides.len());
            return Err(self.shape(&format!("one size for each of {rank} axes of positions"), found));
        }
        let sizes = x.positions.iter().map(|&axis| self.b.program.axis_size(axis));
        let window = |((size, &taps), &stride): ((u32, &u32), &u32)| {
            let window = Window { size, taps, stride, border };
            window.check().map_err(|expected| self.shape(&expected, format!("{window:?}")))
        };
        sizes.zip(taps).zip(strides).map(window).collect()
    }

    /// Axes of taps and of output positions.
    fn window_axes(&mut self, windows: &[Window]) -> (Vec<Id<Axis>>, Vec<Id<Axis>>) {
        let taps = windows.iter().enumerate().map(|(k, w)| self.axis(&format!("k{}", LETTERS[k]), w.taps)).collect();
        let outputs = windows.iter().enumerate().map(|(k, w)| self.axis(LETTERS[k], w.outputs())).collect();
        (taps, outputs)
    }

    /// A dense layer, or a convolution if there are windows.
    fn affine(&mut self, x: &Tensor, affine: &Affine, windows: &[Window]) -> Compile<Tensor> {
        let (value, positions) = self.affine_value(x, affine, windows, false)?;
        let block = Block { value, flat: Vec::new(), dim: self.b.n(), size: affine.size };
        Ok(Tensor { positions, blocks: vec![block] })
    }

    /// The value of an affine layer and its positions; the readout has one component of constant dimension.
    fn affine_value(
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
        for block in &x.blocks {
            let name = self.name(if readout { "v" } else { "W" });
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
            let name = self.name(if readout { "o" } else { "g" });
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
        let bias = self.bias(out, affine)?;
        let value = match (plain, bias) {
            (Some(y), None) => y,
            _ => {
                terms.extend(bias.map(|b| self.b.program.member(b, &[])));
                let sum = self.b.program.exprs.add_all(terms);
                let name = self.name(if readout { "f" } else { "h" });
                self.define(&name, &family, out, sum)
            }
        };
        Ok((value, outputs))
    }

    fn bias(&mut self, out: Dim, affine: &Affine) -> Compile<Option<ValueId>> {
        let Some(b_std) = affine.b_std else { return Ok(None) };
        let name = self.name("b");
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

    fn pool(&mut self, x: &Tensor, windows: &[Window], share: Share) -> Compile<Tensor> {
        let (taps, outputs) = self.window_axes(windows);
        let mut factors = Vec::new();
        for (k, window) in windows.iter().enumerate() {
            factors.push(match share {
                Share::One => self.b.program.exprs.integer(1),
                Share::Window => self.b.program.exprs.constant(fraction(1, i64::from(window.taps))),
                Share::Inside => {
                    let share = |p| fraction(1, i64::from(window.inside(p).max(1)));
                    let entries = (0..window.outputs()).map(share).collect();
                    let name = self.name("share").replace('@', "_");
                    let table = self.b.program.table(&name, &[outputs[k]], entries);
                    self.b.program.exprs.table(table, [Index::Var(1 + k as u32)])
                }
            });
        }
        let mut blocks = Vec::new();
        for block in &x.blocks {
            let family = self.family(&outputs, &block.flat);
            let rank = family.len() as u32;
            let r = windows.len() as u32;
            let tap = |k: u32| Index::Var(rank + k);
            let reached = |k: u32| Index::Var(rank + r + k);
            let guards: Vec<Guard> = windows
                .iter()
                .enumerate()
                .map(|(k, w)| w.guard(reached(k as u32), Index::Var(1 + k as u32), tap(k as u32)))
                .collect();
            let variables: Vec<_> = (0..r)
                .map(|k| (tap(k), taps[k as usize]))
                .chain((0..r).map(|k| (reached(k), x.positions[k as usize])))
                .collect();
            let flat = (1 + r..rank).map(Index::Var);
            let indices: Vec<Index> = [Index::Var(0)].into_iter().chain((0..r).map(reached)).chain(flat).collect();
            let member = self.b.program.member(block.value, &indices);
            let sum = self.b.program.exprs.sum(&variables, guards, member);
            let product = self.b.program.exprs.mul_all(factors.iter().copied().chain([sum]));
            let name = self.name("s");
            let value = self.define(&name, &family, block.dim, product);
            blocks.push(Block { value, ..block.clone() });
        }
        Ok(Tensor { positions: outputs, blocks })
    }

    fn global_pool(&mut self, x: &Tensor, average: bool) -> Compile<Tensor> {
        let mut blocks = Vec::new();
        let size: i64 = x.positions.iter().map(|&axis| i64::from(self.b.program.axis_size(axis))).product();
        for block in &x.blocks {
            let family = self.family(&[], &block.flat);
            let rank = family.len() as u32;
            let variables: Vec<_> =
                x.positions.iter().enumerate().map(|(k, &axis)| (Index::Var(rank + k as u32), axis)).collect();
            let pooled = variables.iter().map(|&(index, _)| index);
            let flat = (1..rank).map(Index::Var);
            let indices: Vec<Index> = [Index::Var(0)].into_iter().chain(pooled).chain(flat).collect();
            let member = self.b.program.member(block.value, &indices);
            let mut sum = self.b.program.exprs.sum(&variables, [], member);
            if average {
                let share = self.b.program.exprs.constant(fraction(1, size));
                sum = self.b.program.exprs.mul(share, sum);
            }
            let name = self.name("s");
            let value = self.define(&name, &family, block.dim, sum);
            blocks.push(Block { value, ..block.clone() });
        }
        Ok(Tensor { positions: Vec::new(), blocks })
    }

    /// The one block of a tensor whose channels are vectors.
    fn vectors<'a>(&self, x: &'a Tensor) -> Compile<&'a Block> {
        match &x.blocks[..] {
            [block] if block.flat.is_empty() => Ok(block),
            _ => Err(self.unsupported("this layer after Flatten or FanInConcat")),
        }
    }
}

/// What a pooled sum is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    /// 1.
    One,
    /// One over the size of the window.
    Window,
    /// One over the number of positions inside.
    Inside,
}

/// `dim * further`
#[derive(Clone, Copy, Debug)]
struct FanIn {
    dim: Dim,
    further: u32,
}
