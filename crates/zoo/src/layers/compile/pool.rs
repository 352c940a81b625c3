//! Windows over positions: sums, averages and largest values.

use netsor_ir::number::fraction;
use netsor_ir::{Axis, Func, Guard, Id, Index};

use super::{Block, Compile, Compiler, LETTERS, Tensor};
use crate::layers::Border;
use crate::layers::window::Window;

/// Most positions of a window of `MaxPool`.
const MAX_WINDOW: u32 = 64;

/// What a pooled sum is multiplied by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// 1.
    One,
    /// One over the size of the window.
    Window,
    /// One over the number of positions inside.
    Inside,
}

impl Compiler {
    pub(super) fn windows(
        &self,
        x: &Tensor,
        taps: &[u32],
        strides: Option<&[u32]>,
        border: Border,
    ) -> Compile<Vec<Window>> {
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
            let found = || format!("{size} positions with a window of {taps} and stride {stride}");
            window.check().map_err(|expected| self.shape(&expected, found()))
        };
        sizes.zip(taps).zip(strides).map(window).collect()
    }

    /// Axes of taps and of output positions.
    pub(super) fn window_axes(&mut self, windows: &[Window]) -> (Vec<Id<Axis>>, Vec<Id<Axis>>) {
        let taps = windows.iter().enumerate().map(|(k, w)| self.axis(&format!("k{}", LETTERS[k]), w.taps)).collect();
        let outputs = windows.iter().enumerate().map(|(k, w)| self.axis(LETTERS[k], w.outputs())).collect();
        (taps, outputs)
    }

    pub(super) fn pool(&mut self, x: &Tensor, windows: &[Window], share: Share) -> Compile<Tensor> {
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

    /// The largest of each window: `max(max(x[s p], x[s p + 1]), ...)`, where each member is gathered by a guard.
    pub(super) fn max_pool(&mut self, x: &Tensor, windows: &[Window]) -> Compile<Tensor> {
        if windows.iter().any(|w| w.border == Border::Same && 1 < w.taps) {
            let reason = "MaxPool with zeros beyond the border, which could be the largest; use VALID or CIRCULAR";
            return Err(self.unsupported(reason));
        }
        let count = windows.iter().try_fold(1u32, |all, w| all.checked_mul(w.taps).filter(|&c| c <= MAX_WINDOW));
        let count = count.ok_or_else(|| self.unsupported("MaxPool over a window of more than 64 positions"))?;
        let block = self.vectors(x)?.clone();
        let (_, outputs) = self.window_axes(windows);
        let family = self.family(&outputs, &[]);
        let rank = family.len() as u32;
        let mut largest = None;
        for flat in 0..count {
            let mut rest = flat;
            let (mut variables, mut guards, mut indices) = (Vec::new(), Vec::new(), vec![Index::Var(0)]);
            for (k, window) in windows.iter().enumerate() {
                let (reached, output) = (Index::Var(rank + k as u32), Index::Var(1 + k as u32));
                guards.push(window.guard(reached, output, Index::At(rest % window.taps)));
                rest /= window.taps;
                variables.push((reached, x.positions[k]));
                indices.push(reached);
            }
            let member = self.b.program.member(block.value, &indices);
            let gathered = self.b.program.exprs.sum(&variables, guards, member);
            largest = Some(match largest {
                None => gathered,
                Some(before) => self.b.program.exprs.apply2(Func::Max, before, gathered),
            });
        }
        let Some(largest) = largest else { return Err(self.unsupported("MaxPool over an empty window")) };
        let name = self.name("s");
        let value = self.define(&name, &family, block.dim, largest);
        Ok(Tensor { positions: outputs, blocks: vec![Block { value, ..block }] })
    }

    pub(super) fn global_pool(&mut self, x: &Tensor, average: bool) -> Compile<Tensor> {
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
}
