//! From a list of layers to a network.

mod affine;
mod attention;
mod mixing;
mod pool;
mod recurrent;
mod softmax;

pub(crate) use mixing::normalise;

use std::collections::BTreeMap;

use netsor_ir::number::Power;
use netsor_ir::{Axis, Dim, ExprId, Exprs, Func, Id, Instr, Kind, Network, Number, Parameter, ValueId};

use self::affine::Affine;
use self::pool::Share;
use super::activation::{Refusal, apply};
use super::{InputShape, Layer, LayerError};
use crate::builder::{NetworkBuilder, own, positive};

/// Names of the axes of positions.
const LETTERS: [&str; 4] = ["p", "q", "r", "s"];
/// Most copies of `FanOut`.
const MAX_COPIES: u32 = 64;

/// The network of a list of layers, with data `xi[i, p, ...]` (and `pattern[i, p, q]` for `Aggregate`) and output `f[i]`.
///
/// # Errors
/// If a layer is not supported, does not fit, or the list does not end in `Dense`.
pub fn network(name: &str, layers: &[Layer], input: &InputShape) -> Result<Network, LayerError> {
    let mut b = NetworkBuilder::new(name);
    let i = b.program.axis("i", positive("inputs", input.inputs)?);
    let mut compiler = Compiler { b, i, position: Vec::new(), names: BTreeMap::new(), rescaled: Vec::new() };
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
        Some((other, _)) => return Err(LayerError::NoReadout { found: format!("`{}`", op(other)) }),
        None => return Err(LayerError::NoReadout { found: "no layer".into() }),
    };
    let mut tensors = compiler.list(body, vec![start])?;
    compiler.position = vec![format!("{} (Dense)", body.len())];
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

struct Compiler {
    b: NetworkBuilder,
    i: Id<Axis>,
    /// Where we are, for errors.
    position: Vec<String>,
    /// Number of names given of each stem.
    names: BTreeMap<String, u32>,
    /// Parameters that are not in the NTK parametrization, with the multiplier's square and the exponent `a`.
    rescaled: Vec<(ValueId, Number, Power)>,
}

/// The name of a layer.
fn op(layer: &Layer) -> String {
    let debug = format!("{layer:?}");
    debug.split([' ', '{']).next().unwrap_or_default().to_owned()
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
        let count = self.names.entry(stem.to_owned()).or_default();
        *count += 1;
        format!("{stem}@{count}")
    }

    fn list(&mut self, layers: &[Layer], mut tensors: Vec<Tensor>) -> Compile<Vec<Tensor>> {
        for (at, layer) in layers.iter().enumerate() {
            self.position.push(format!("{at} ({})", op(layer)));
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
            Layer::FanInSum {} => return Ok(vec![self.combine(&tensors, Exprs::add)?]),
            Layer::FanInProd {} => return Ok(vec![self.combine(&tensors, Exprs::mul)?]),
            Layer::FanInMax {} => return Ok(vec![self.combine(&tensors, |e, a, b| e.apply2(Func::Max, a, b))?]),
            Layer::Residual { layers } => {
                let x = self.single(&mut tensors)?;
                let mut ends = self.list(layers, vec![x.clone()])?;
                let y = self.single(&mut ends)?;
                return Ok(vec![self.combine(&[x, y], Exprs::add)?]);
            }
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
            Layer::MaxPool { window_shape, strides, padding } => {
                let windows = self.windows(&x, window_shape, strides.as_deref(), *padding)?;
                self.max_pool(&x, &windows)?
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
            Layer::LayerNorm { axis, epsilon } => {
                self.last_axis(&x, *axis)?;
                self.layer_norm(&x, *epsilon)?
            }
            Layer::BatchNorm { epsilon } => self.batch_norm(&x, *epsilon)?,
            Layer::GlobalSelfAttention { .. } | Layer::SelfAttention { .. } => self.attention(&x, layer)?,
            Layer::Recurrent { .. } => self.recurrent(&x, layer)?,
            Layer::Aggregate { pattern, aggregate_axis: 1, batch_axis: 0, channel_axis } => {
                self.last_axis(&x, *channel_axis)?;
                self.aggregate(&x, pattern.as_deref())?
            }
            Layer::Aggregate { .. } => {
                return Err(self.unsupported("axes other than batch 0, positions 1 and channels last"));
            }
            Layer::Dropout { rate } => self.dropout(&x, *rate)?,
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

    fn combine(&mut self, tensors: &[Tensor], f: fn(&mut Exprs, ExprId, ExprId) -> ExprId) -> Compile<Tensor> {
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

    /// The one block of a tensor whose channels are vectors.
    fn vectors<'a>(&self, x: &'a Tensor) -> Compile<&'a Block> {
        match &x.blocks[..] {
            [block] if block.flat.is_empty() => Ok(block),
            _ => Err(self.unsupported("this layer after Flatten or FanInConcat")),
        }
    }
}
