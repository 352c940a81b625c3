//! Execution: the definitions that are needed, one after the other.

use std::borrow::Cow;

use netsor_ir::index::Index;
use netsor_ir::number::to_f64;
use netsor_ir::program::{Instr, Program, ValueId};
use netsor_ir::verify::Verified;

use crate::pointwise::Pointwise;
use crate::product::{Gram, matrix_product};
use crate::sample;
use crate::state::{Shape, check_finite, malformed, positions};
use crate::{Block, FiniteError, Float, Inputs, Options, State};

/// A program at a width, with its compiled expressions: make one to run the same program many times.
#[derive(Clone, Debug)]
pub struct Executor<'p, T> {
    program: Cow<'p, Program>,
    options: Options,
    compiled: Vec<Option<Compiled<T>>>,
    /// A value whose root mean square is larger has diverged.
    pub(crate) largest: f64,
}

#[derive(Clone, Debug)]
enum Compiled<T> {
    Pointwise(Pointwise<T>),
    Gram(Gram),
}

/// Runs a program: draws what is initial, computes the values `wanted` and what they need.
///
/// # Errors
/// If data are missing or not finite, a covariance is not positive semi-definite, a value is too large, or a number
/// overflows.
pub fn execute<T: Float>(
    program: &Verified<Program>,
    inputs: &Inputs,
    wanted: &[ValueId],
    options: &Options,
) -> Result<State<T>, FiniteError> {
    execute_unverified(program, inputs, wanted, options)
}

/// [`execute`] for programs that transforms made from verified ones; what a verifier would have found are errors.
pub(crate) fn execute_unverified<T: Float>(
    program: &Program,
    inputs: &Inputs,
    wanted: &[ValueId],
    options: &Options,
) -> Result<State<T>, FiniteError> {
    let mut state = State::of(program, inputs, options)?;
    Executor::of(Cow::Borrowed(program), options.clone())?.run(&mut state, wanted)?;
    Ok(state)
}

impl<'p, T: Float> Executor<'p, T> {
    /// Prepares a program. Expressions are compiled when they are first needed.
    ///
    /// # Errors
    /// If the width is zero.
    pub fn new(program: &'p Verified<Program>, options: Options) -> Result<Self, FiniteError> {
        Self::of(Cow::Borrowed(program), options)
    }

    /// Prepares a program, which may be the executor's own.
    pub(crate) fn of(program: Cow<'p, Program>, options: Options) -> Result<Self, FiniteError> {
        crate::check::check(&program)?;
        if options.width == 0 {
            return Err(FiniteError::ZeroWidth);
        }
        let compiled = program.values.iter().map(|_| None).collect();
        Ok(Self { program, options, compiled, largest: f64::INFINITY })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Computes the values `wanted` and what they need, unless the state has them already.
    ///
    /// # Errors
    /// As for [`execute`].
    pub fn run(&mut self, state: &mut State<T>, wanted: &[ValueId]) -> Result<(), FiniteError> {
        if state.blocks.len() != self.program.values.len() {
            let problem = format!("the state belongs to a program of {} values", state.blocks.len());
            return Err(FiniteError::Malformed { value: self.program.name.clone(), problem });
        }
        for id in self.needed(state, wanted)? {
            let shape = Shape::of(&self.program, id, &self.options)?;
            let old = state.reuse(id, shape);
            let block = self.compute(state, id, shape, old)?;
            let size = check_finite(&self.program, id, &block)?;
            if self.largest < size {
                let value = self.program.value(id).name.clone();
                return Err(FiniteError::Diverged { value, step: 0, size });
            }
            state.store(id, block);
        }
        Ok(())
    }

    /// The values to compute, in order.
    fn needed(&self, state: &State<T>, wanted: &[ValueId]) -> Result<Vec<ValueId>, FiniteError> {
        let mut needed = vec![false; self.program.values.len()];
        for id in wanted {
            match needed.get_mut(id.index()) {
                Some(flag) => *flag = true,
                None => return Err(FiniteError::UnknownName { name: format!("{id:?}") }),
            }
        }
        for id in self.program.value_ids().rev() {
            if !needed[id.index()] || state.block(id).is_some() {
                needed[id.index()] = false;
                continue;
            }
            for argument in self.program.arguments(id) {
                needed[argument.index()] = true;
            }
            if let Instr::Gaussian(_) = self.program.value(id).instr {
                // The laws of what it is joint with are evaluated too.
                for other in sample::joint(&self.program, id) {
                    needed[other.index()] = true;
                }
            }
        }
        Ok(self.program.value_ids().filter(|id| needed[id.index()]).collect())
    }

    /// The block of a value, in the memory of `out`, which has its shape.
    fn compute(
        &mut self,
        state: &State<T>,
        id: ValueId,
        shape: Shape,
        mut out: Block<T>,
    ) -> Result<Block<T>, FiniteError> {
        self.compile(id)?;
        let program: &Program = &self.program;
        match &program.value(id).instr {
            Instr::Data => Err(FiniteError::Missing { value: program.value(id).name.clone() }),
            Instr::Constant(..) => self.constant(id, shape),
            Instr::Matrix { variance } => sample::matrix(program, id, variance, shape, &self.options),
            Instr::Gaussian(law) => sample::gaussian(program, state, id, law, shape, &self.options),
            Instr::MatMul { matrix, transposed, vector } => {
                matrix_product(program, state, id, (matrix, *transposed, vector), &mut out)?;
                Ok(out)
            }
            Instr::Map(_) => {
                self.pointwise(id)?.map(program, state, id, &mut out)?;
                Ok(out)
            }
            Instr::Scalar(_) => {
                self.pointwise(id)?.scalar(program, state, id, &mut out)?;
                Ok(out)
            }
            Instr::Moment(expr) => match &self.compiled[id.index()] {
                Some(Compiled::Gram(gram)) => {
                    gram.eval(program, state, id, &mut out)?;
                    Ok(out)
                }
                _ => {
                    let dim = program.expr_dim(*expr).map_or(1, |dim| program.dim_size(dim, self.options.width));
                    self.pointwise(id)?.moment(program, state, id, (dim, shape))
                }
            },
        }
    }

    /// Compiles the expression of a definition, if it has one and has not been compiled.
    fn compile(&mut self, id: ValueId) -> Result<(), FiniteError> {
        let (program, n) = (&self.program, self.options.width);
        let slot = &mut self.compiled[id.index()];
        if slot.is_none() {
            *slot = match program.value(id).instr {
                Instr::Moment(expr) => match Gram::recognise(program, id, expr) {
                    Some(gram) => Some(Compiled::Gram(gram)),
                    None => Some(Compiled::Pointwise(Pointwise::compile(program, id, expr, n)?)),
                },
                Instr::Map(expr) | Instr::Scalar(expr) => {
                    Some(Compiled::Pointwise(Pointwise::compile(program, id, expr, n)?))
                }
                _ => None,
            };
        }
        Ok(())
    }

    /// The compiled expression of a definition.
    fn pointwise(&self, id: ValueId) -> Result<&Pointwise<T>, FiniteError> {
        match &self.compiled[id.index()] {
            Some(Compiled::Pointwise(tapes)) => Ok(tapes),
            _ => Err(malformed(&self.program, id, "it has no expression")),
        }
    }

    /// A vector whose coordinates are the last axis of a table.
    fn constant(&self, id: ValueId, shape: Shape) -> Result<Block<T>, FiniteError> {
        let program: &Program = &self.program;
        let Instr::Constant(table, indices) = &program.value(id).instr else {
            return Err(malformed(program, id, "it is no constant"));
        };
        let table = &program.tables[table.index()];
        let sizes = program.family_sizes(id);
        let mut block = Block::zeros(shape);
        let fail = |problem: &str| malformed(program, id, format!("table `{}`: {problem}", table.name));
        let axes: Option<Vec<usize>> =
            table.axes.iter().map(|axis| program.axes.get(axis.index()).map(|a| a.size as usize)).collect();
        let axes = axes.ok_or_else(|| fail("an axis does not exist"))?;
        if axes.len() != indices.len() + 1 || axes.last() != Some(&shape.rows) {
            return Err(fail("its axes are not the indices given and the dimension of the vector"));
        }
        for member in 0..shape.members {
            let own = positions(&sizes, member);
            let mut row = 0;
            for (index, &size) in indices.iter().zip(&axes) {
                let position = match *index {
                    Index::At(position) => position as usize,
                    Index::Var(k) => own.get(k as usize).map_or(usize::MAX, |&p| p as usize),
                    Index::Bound(_) => usize::MAX,
                };
                if size <= position {
                    return Err(fail("an index is beyond its axis"));
                }
                row = row * size + position;
            }
            let entries = table.entries.get(row * shape.rows..(row + 1) * shape.rows);
            let entries = entries.ok_or_else(|| fail("it has too few entries"))?;
            block.member_mut(member).iter_mut().zip(entries).for_each(|(x, e)| *x = T::of(to_f64(e)));
        }
        Ok(block)
    }
}
