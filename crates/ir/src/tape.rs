//! Tapes: expressions compiled to straight-line code that is evaluated on batches.
//!
//! A [`Tape`] is a list of operations on registers. Finite sums are expanded while compiling (guards are evaluated, and
//! solved where they determine a variable), equal operations are merged, and table entries, constants and powers of
//! the width become numbers. Its leaves become numbered inputs, which are slices (one entry a batch element) or scalars
//! (the same for the whole batch). A batch is processed in blocks of [`BLOCK`] elements, so that the registers stay
//! in cache; what depends on scalars only is computed once.
//!
//! This crate knows no numerics: the functions come from the caller, by name, through [`Functions`].
//!
//! ```
//! use netsor_ir::expr::{Exprs, Symbol};
//! use netsor_ir::func::Func;
//! use netsor_ir::index::Index;
//! use netsor_ir::tape::{Functions, Input, Scratch, Setting, Tape};
//!
//! struct Std;
//! impl Functions<f64> for Std {
//!     fn unary(&self, name: &str) -> Option<fn(f64) -> f64> {
//!         (name == "tanh").then_some(f64::tanh as fn(f64) -> f64)
//!     }
//!     fn binary(&self, _: &str) -> Option<fn(f64, f64) -> f64> {
//!         None
//!     }
//!     fn power(&self) -> fn(f64, f64) -> f64 {
//!         f64::powf
//!     }
//! }
//!
//! // c * tanh(x[1]), with a scalar c
//! let mut pool = Exprs::new();
//! let x = pool.reference(Symbol(0), [Index::Var(0)]);
//! let c = pool.reference(Symbol(1), []);
//! let t = pool.apply(Func::Tanh, x);
//! let e = pool.mul(c, t);
//!
//! let setting = Setting::new(&pool, &Std);
//! let tape = Tape::compile(&setting, &[(e, &[Index::At(1)])]).unwrap();
//! let inputs: Vec<Input<'_, f64>> = tape
//!     .inputs()
//!     .iter()
//!     .map(|(symbol, _)| if *symbol == Symbol(0) { Input::Batch(&[0.0, 1.0, 2.0]) } else { Input::Scalar(2.0) })
//!     .collect();
//! let mut y = [0.0; 3];
//! tape.eval(&inputs, &mut [&mut y], &mut Scratch::default());
//! assert_eq!(y, [0.0, 2.0 * 1f64.tanh(), 2.0 * 2f64.tanh()]);
//! ```

mod compile;

use std::fmt::Debug;
use std::ops::{Add, Div, Mul, Neg, Sub};

use thiserror::Error;

use crate::expr::{ExprId, Exprs, Symbol};
use crate::index::{Index, Indices};
use crate::program::{Axis, Program, Table};

/// Number of batch elements that are processed together.
pub const BLOCK: usize = 512;

/// The numbers that tapes run on: `f32` and `f64`.
pub trait Scalar:
    Copy
    + Debug
    + Default
    + PartialEq
    + Send
    + Sync
    + 'static
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// The nearest value to `x`.
    fn from_f64(x: f64) -> Self;
}

impl Scalar for f32 {
    fn from_f64(x: f64) -> Self {
        x as f32
    }
}

impl Scalar for f64 {
    fn from_f64(x: f64) -> Self {
        x
    }
}

/// A function of all numbers of a slice, into another one of the same length.
pub type SliceFunction<T> = fn(&[T], &mut [T]);

/// The numerical functions that a tape calls.
pub trait Functions<T> {
    /// The function of one argument called `name` (see [`crate::func::Func::name`]).
    fn unary(&self, name: &str) -> Option<fn(T) -> T>;
    /// The function of one argument called `name` for all numbers of a slice, into another: faster, with the same bits.
    fn unary_slice(&self, name: &str) -> Option<SliceFunction<T>> {
        let _ = name;
        None
    }
    /// The function of two arguments called `name`.
    fn binary(&self, name: &str) -> Option<fn(T, T) -> T>;
    /// `power(x, p) = x^p` for exponents that are neither integers nor halves of integers.
    fn power(&self) -> fn(T, T) -> T;
}

/// What expressions are compiled against.
pub struct Setting<'a, T> {
    /// The pool of the expressions.
    pub exprs: &'a Exprs,
    /// The axes that sums range over.
    pub axes: &'a [Axis],
    /// The tables that expressions mention.
    pub tables: &'a [Table],
    /// The width `n`.
    pub width: f64,
    /// The numerical functions.
    pub functions: &'a dyn Functions<T>,
    /// Largest number of operations, and of assignments tried while expanding sums.
    pub limit: usize,
}

impl<'a, T> Setting<'a, T> {
    /// A setting without axes and tables, of width 1, with a limit of 2^22 operations.
    pub fn new(exprs: &'a Exprs, functions: &'a dyn Functions<T>) -> Self {
        Self { exprs, axes: &[], tables: &[], width: 1.0, functions, limit: 1 << 22 }
    }

    /// The setting of a program's own expressions at width `width`.
    pub fn of_program(program: &'a Program, width: f64, functions: &'a dyn Functions<T>) -> Self {
        let new = Self::new(&program.exprs, functions);
        Self { axes: &program.axes, tables: &program.tables, width, ..new }
    }
}

/// Why an expression has no tape.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TapeError {
    /// The caller's [`Functions`] do not know a function.
    #[error("no numerical function `{name}` of {arguments} argument(s) is known")]
    UnknownFunction {
        /// Its name.
        name: &'static str,
        /// The number of arguments it was given.
        arguments: usize,
    },
    /// The environment has no entry for a free variable, or a bound variable is outside its sum.
    #[error("the index variable {0:?} has no value")]
    MissingVariable(Index),
    /// A guard or table needs the position of a variable that the environment leaves open.
    #[error("a guard or table needs the position of the index {0:?}, which was left open")]
    OpenVariable(Index),
    /// An entry outside a table was asked for, or a table or axis that does not exist.
    #[error("table {table} has no entry at the positions {positions:?}")]
    NoEntry {
        /// Position of the table among the tables.
        table: usize,
        /// The positions asked for.
        positions: Vec<u32>,
    },
    /// A sum ranges over an axis that the setting does not have.
    #[error("a sum ranges over axis number {axis}, but there are {found} axes")]
    NoAxis {
        /// Number of the axis.
        axis: usize,
        /// How many axes there are.
        found: usize,
    },
    /// The expanded expression exceeds the limit.
    #[error("the expression expands to more than {limit} operations")]
    TooLarge {
        /// The limit of the setting.
        limit: usize,
    },
    /// Sums are nested too deeply.
    #[error("nested sums bind more than {limit} variables")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
}

/// An input of a tape during evaluation.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a, T> {
    /// The same number for the whole batch.
    Scalar(T),
    /// One number an element of the batch.
    Batch(&'a [T]),
}

/// The position of an operation on the tape.
type Reg = u32;

/// An operation; operands are earlier operations.
#[derive(Clone, Copy, Debug)]
enum Op<T> {
    Input(u32),
    Const(T),
    Neg(Reg),
    Add(Reg, Reg),
    Sub(Reg, Reg),
    Mul(Reg, Reg),
    Div(Reg, Reg),
    Unary(Unary<T>, Reg),
    Binary(fn(T, T) -> T, Reg, Reg),
}

/// A function of one argument.
#[derive(Clone, Copy, Debug)]
struct Unary<T> {
    one: fn(T) -> T,
    many: Option<SliceFunction<T>>,
}

impl<T> Op<T> {
    fn operands(&self) -> (Option<Reg>, Option<Reg>) {
        match *self {
            Op::Input(_) | Op::Const(_) => (None, None),
            Op::Neg(a) | Op::Unary(_, a) => (Some(a), None),
            Op::Add(a, b) | Op::Sub(a, b) | Op::Mul(a, b) | Op::Div(a, b) | Op::Binary(_, a, b) => (Some(a), Some(b)),
        }
    }
}

/// Compiled expressions.
#[derive(Clone, Debug)]
pub struct Tape<T> {
    ops: Vec<Op<T>>,
    /// Where each operation leaves its result.
    slots: Vec<Slot>,
    n_slots: usize,
    inputs: Vec<(Symbol, Indices)>,
    /// The operation behind each root.
    roots: Vec<Reg>,
    /// The roots that lie in a register or are an input, sorted by their operation, so that a root is stored as soon as
    /// it is known.
    stores: Vec<(Reg, u32)>,
}

/// Where the result of an operation is during the evaluation of a block.
#[derive(Clone, Copy, Debug)]
enum Slot {
    /// Inputs and constants are not computed.
    None,
    /// A register.
    Register(u32),
    /// The output of this root: no other operation reads it.
    Root(u32),
}

/// Memory for evaluation, to be reused between calls.
#[derive(Clone, Debug, Default)]
pub struct Scratch<T> {
    registers: Vec<Vec<T>>,
    /// The value of each operation that is the same for the whole batch.
    uniform: Vec<Option<T>>,
}

/// An operand during evaluation of a block.
#[derive(Clone, Copy)]
enum Operand<'a, T> {
    Uniform(T),
    Slice(&'a [T]),
}

impl<T: Scalar> Tape<T> {
    /// Compiles expressions, each in its own environment, whose entry `k` is what `Var(k)` stands for: a position, or
    /// a variable that stays open in the leaves (then [`Tape::inputs`] shows it).
    ///
    /// # Errors
    /// See [`TapeError`].
    pub fn compile(setting: &Setting<'_, T>, roots: &[(ExprId, &[Index])]) -> Result<Self, TapeError> {
        compile::compile(setting, roots)
    }

    /// The leaves in the order in which [`Tape::eval`] takes their values.
    pub fn inputs(&self) -> &[(Symbol, Indices)] {
        &self.inputs
    }

    /// Number of expressions that were compiled.
    pub fn n_roots(&self) -> usize {
        self.roots.len()
    }

    /// Number of operations, those that load inputs and constants included.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Whether there are no operations.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// The values of all roots for one value of each input.
    ///
    /// # Panics
    /// If the number of inputs is not that of [`Tape::inputs`].
    pub fn eval_once(&self, inputs: &[T]) -> Vec<T> {
        assert_eq!(inputs.len(), self.inputs.len(), "one value an input");
        let mut values: Vec<T> = Vec::with_capacity(self.ops.len());
        for op in &self.ops {
            let at = |r: Reg| values[r as usize];
            let value = match *op {
                Op::Input(k) => inputs[k as usize],
                _ => scalar_op(op, at),
            };
            values.push(value);
        }
        self.roots.iter().map(|&r| values[r as usize]).collect()
    }

    /// Evaluates all roots on a batch, whose size is the length of the slices of `out`.
    ///
    /// # Panics
    /// If the numbers of inputs or roots, or the lengths of the slices, do not fit.
    pub fn eval(&self, inputs: &[Input<'_, T>], out: &mut [&mut [T]], scratch: &mut Scratch<T>) {
        assert_eq!(inputs.len(), self.inputs.len(), "one value an input");
        self.eval_with(&|k| inputs[k], out, scratch);
    }

    /// [`Tape::eval`] with inputs that are looked up by their number. Nothing is allocated if `scratch` has room for
    /// this tape, see [`Scratch::fit`].
    ///
    /// # Panics
    /// As for [`Tape::eval`].
    pub fn eval_with<'a>(
        &self,
        input: &impl Fn(usize) -> Input<'a, T>,
        out: &mut [&mut [T]],
        scratch: &mut Scratch<T>,
    ) {
        assert_eq!(out.len(), self.roots.len(), "one slice a root");
        let batch = out.first().map_or(0, |o| o.len());
        assert!(out.iter().all(|o| o.len() == batch), "output slices of one length");
        let fits = |input: Input<'_, T>| match input {
            Input::Scalar(_) => true,
            Input::Batch(slice) => slice.len() == batch,
        };
        assert!((0..self.inputs.len()).all(|k| fits(input(k))), "input slices as long as the output");

        scratch.fit(self);
        self.eval_uniform(input, &mut scratch.uniform);
        for (&reg, out) in self.roots.iter().zip(out.iter_mut()) {
            if let Some(value) = scratch.uniform[reg as usize] {
                out.fill(value);
            }
        }
        let mut start = 0;
        while start < batch {
            let end = batch.min(start + BLOCK);
            self.eval_block(input, out, scratch, start, end);
            start = end;
        }
    }

    /// Computes what is the same for the whole batch.
    fn eval_uniform<'a>(&self, input: &impl Fn(usize) -> Input<'a, T>, uniform: &mut Vec<Option<T>>) {
        uniform.clear();
        for op in &self.ops {
            let known = |r: Option<Reg>| r.is_none_or(|r| uniform[r as usize].is_some());
            let value = match *op {
                Op::Input(k) => match input(k as usize) {
                    Input::Scalar(value) => Some(value),
                    Input::Batch(_) => None,
                },
                _ => {
                    let (a, b) = op.operands();
                    let at = |r: Reg| uniform[r as usize].unwrap_or_default();
                    (known(a) && known(b)).then(|| scalar_op(op, at))
                }
            };
            uniform.push(value);
        }
    }

    fn eval_block<'a>(
        &self,
        input: &impl Fn(usize) -> Input<'a, T>,
        out: &mut [&mut [T]],
        scratch: &mut Scratch<T>,
        start: usize,
        end: usize,
    ) {
        let mut stores = self.stores.iter().peekable();
        for (at, op) in self.ops.iter().enumerate() {
            if scratch.uniform[at].is_none() {
                match self.slots[at] {
                    Slot::None => {}
                    Slot::Root(root) => {
                        let target = &mut out[root as usize][start..end];
                        block_op(op, target, |r| self.operand(r, input, scratch, start, end));
                    }
                    Slot::Register(slot) => {
                        let mut target = std::mem::take(&mut scratch.registers[slot as usize]);
                        block_op(op, &mut target[..end - start], |r| self.operand(r, input, scratch, start, end));
                        scratch.registers[slot as usize] = target;
                    }
                }
                while let Some(&&(_, root)) = stores.peek().filter(|(reg, _)| *reg as usize == at) {
                    if let Operand::Slice(slice) = self.operand(at as Reg, input, scratch, start, end) {
                        out[root as usize][start..end].copy_from_slice(slice);
                    }
                    stores.next();
                }
            }
            while stores.peek().is_some_and(|(reg, _)| *reg as usize <= at) {
                stores.next();
            }
        }
    }

    fn operand<'a, 'b: 'a>(
        &self,
        reg: Reg,
        input: &impl Fn(usize) -> Input<'b, T>,
        scratch: &'a Scratch<T>,
        start: usize,
        end: usize,
    ) -> Operand<'a, T> {
        let at = reg as usize;
        if let Some(value) = scratch.uniform[at] {
            return Operand::Uniform(value);
        }
        match (&self.ops[at], self.slots[at]) {
            (&Op::Input(k), _) => match input(k as usize) {
                Input::Scalar(value) => Operand::Uniform(value),
                Input::Batch(slice) => Operand::Slice(&slice[start..end]),
            },
            (_, Slot::Register(slot)) => Operand::Slice(&scratch.registers[slot as usize][..end - start]),
            (_, Slot::Root(_) | Slot::None) => {
                unreachable!("constants are uniform, and nobody reads a root's own slot")
            }
        }
    }
}

impl<T: Scalar> Scratch<T> {
    /// Makes room for a tape, so that its evaluation allocates nothing.
    pub fn fit(&mut self, tape: &Tape<T>) {
        if self.registers.len() < tape.n_slots {
            self.registers.resize_with(tape.n_slots, || vec![T::default(); BLOCK]);
        }
        self.uniform.clear();
        self.uniform.reserve(tape.ops.len());
    }
}

/// The value of an operation that is not an input.
fn scalar_op<T: Scalar>(op: &Op<T>, at: impl Fn(Reg) -> T) -> T {
    match *op {
        Op::Input(_) => T::default(),
        Op::Const(value) => value,
        Op::Neg(a) => -at(a),
        Op::Add(a, b) => at(a) + at(b),
        Op::Sub(a, b) => at(a) - at(b),
        Op::Mul(a, b) => at(a) * at(b),
        Op::Div(a, b) => at(a) / at(b),
        Op::Unary(f, a) => (f.one)(at(a)),
        Op::Binary(f, a, b) => f(at(a), at(b)),
    }
}

/// One operation on a block.
fn block_op<'a, T: Scalar>(op: &Op<T>, target: &mut [T], operand: impl Fn(Reg) -> Operand<'a, T>) {
    match *op {
        Op::Input(_) => {}
        Op::Const(value) => target.fill(value),
        Op::Neg(a) => unary(target, operand(a), |x| -x),
        Op::Unary(f, a) => match (f.many, operand(a)) {
            (Some(many), Operand::Slice(a)) => many(a, target),
            (_, a) => unary(target, a, f.one),
        },
        Op::Add(a, b) => binary(target, operand(a), operand(b), |x, y| x + y),
        Op::Sub(a, b) => binary(target, operand(a), operand(b), |x, y| x - y),
        Op::Mul(a, b) => binary(target, operand(a), operand(b), |x, y| x * y),
        Op::Div(a, b) => binary(target, operand(a), operand(b), |x, y| x / y),
        Op::Binary(f, a, b) => binary(target, operand(a), operand(b), f),
    }
}

#[inline]
fn unary<T: Scalar>(target: &mut [T], a: Operand<'_, T>, f: impl Fn(T) -> T) {
    match a {
        Operand::Uniform(x) => target.fill(f(x)),
        Operand::Slice(a) => target.iter_mut().zip(a).for_each(|(t, &x)| *t = f(x)),
    }
}

#[inline]
fn binary<T: Scalar>(target: &mut [T], a: Operand<'_, T>, b: Operand<'_, T>, f: impl Fn(T, T) -> T) {
    match (a, b) {
        (Operand::Uniform(x), Operand::Uniform(y)) => target.fill(f(x, y)),
        (Operand::Slice(a), Operand::Uniform(y)) => target.iter_mut().zip(a).for_each(|(t, &x)| *t = f(x, y)),
        (Operand::Uniform(x), Operand::Slice(b)) => target.iter_mut().zip(b).for_each(|(t, &y)| *t = f(x, y)),
        (Operand::Slice(a), Operand::Slice(b)) => {
            target.iter_mut().zip(a).zip(b).for_each(|((t, &x), &y)| *t = f(x, y));
        }
    }
}

#[cfg(test)]
mod tests;
