//! Execution: the definitions that are needed, one after the other.

use std::borrow::Cow;

use netsor_ir::index::Index;
use netsor_ir::number::to_f64;
use netsor_ir::program::{Instr, Program, ValueId};
use netsor_ir::verify::Verified;

use crate::pointwise::{Arena, Pointwise};
use crate::product::{Gram, Product};
use crate::sample;
use crate::state::{Shape, check_finite, malformed, positions};
use crate::{Block, FiniteError, Float, Inputs, Options, State};

/// A program at a width, with its compiled expressions: make one to run the same program many times.
///
/// A value that is computed again is computed where it was, with the memory that it needed the first time: what has
/// been run once is run again without allocating.
#[derive(Clone, Debug)]
pub struct Executor<'p, T> {
    program: Cow<'p, Program>,
    options: Options,
    /// How each value is computed, once it has been.
    plans: Vec<Option<Plan<T>>>,
    arena: Arena<T>,
    /// The values that each value needs.
    arguments: Vec<Box<[ValueId]>>,
    /// The values of the present run.
    needed: Vec<bool>,
    /// A value whose root mean square is larger has diverged.
    pub(crate) largest: f64,
}

#[derive(Clone, Debug)]
struct Plan<T> {
    shape: Shape,
    rule: Compiled<T>,
}

#[derive(Clone, Debug)]
enum Compiled<T> {
    /// Data, constants and what is drawn.
    Initial,
    Product(Product<T>),
    Map(Pointwise<T>),
    Scalar(Pointwise<T>),
    /// With the number of coordinates.
    Moment(Pointwise<T>, usize),
    Gram(Gram<T>),
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
        let count = program.values.len();
        let of = |id: ValueId| -> Box<[ValueId]> {
            let joint = match program.value(id).instr {
                // The laws of what it is joint with are evaluated too.
                Instr::Gaussian(_) => sample::joint(&program, id),
                _ => Vec::new(),
            };
            program.arguments(id).into_iter().chain(joint).collect()
        };
        let arguments = program.value_ids().map(of).collect();
        let plans = (0..count).map(|_| None).collect();
        let (arena, needed) = (Arena::default(), vec![false; count]);
        Ok(Self { program, options, plans, arena, arguments, needed, largest: f64::INFINITY })
    }

    /// The program.
    pub fn program(&self) -> &Program {
        &self.program
    }

    /// The options.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Draws from another seed from now on: what a state has already stays.
    pub fn reseed(&mut self, seed: u64) {
        self.options.seed = seed;
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
        self.find_needed(state, wanted)?;
        for id in (0..self.needed.len()).map(ValueId::new) {
            if !self.needed[id.index()] {
                continue;
            }
            let mut plan = match self.plans[id.index()].take() {
                Some(plan) => plan,
                None => self.plan(id)?,
            };
            let mut block = state.reuse(id, plan.shape);
            let done = self.compute(state, id, &mut plan.rule, &mut block);
            self.plans[id.index()] = Some(plan);
            done?;
            let size = check_finite(&self.program, id, &block)?;
            if self.largest < size {
                let value = self.program.value(id).name.clone();
                return Err(FiniteError::Diverged { value, step: 0, size });
            }
            state.store(id, block);
        }
        Ok(())
    }

    /// Replaces an initial value.
    pub(crate) fn supply(&mut self, state: &mut State<T>, id: ValueId, numbers: &[f64]) -> Result<(), FiniteError> {
        match &self.plans.get(id.index()) {
            Some(Some(plan)) => state.supply_shaped(&self.program, id, numbers, plan.shape),
            _ => {
                state.supply(&self.program, id, numbers, &self.options)?;
                self.plans[id.index()] = Some(self.plan(id)?);
                Ok(())
            }
        }
    }

    /// The shape of a value.
    pub(crate) fn shape(&mut self, id: ValueId) -> Result<Shape, FiniteError> {
        match &self.plans[id.index()] {
            Some(plan) => Ok(plan.shape),
            None => Shape::of(&self.program, id, &self.options),
        }
    }

    /// Marks the values to compute.
    fn find_needed(&mut self, state: &State<T>, wanted: &[ValueId]) -> Result<(), FiniteError> {
        self.needed.fill(false);
        for id in wanted {
            match self.needed.get_mut(id.index()) {
                Some(flag) => *flag = true,
                None => return Err(FiniteError::UnknownName { name: format!("{id:?}") }),
            }
        }
        for k in (0..self.needed.len()).rev() {
            if !self.needed[k] || state.block(ValueId::new(k)).is_some() {
                self.needed[k] = false;
                continue;
            }
            for argument in &self.arguments[k] {
                self.needed[argument.index()] = true;
            }
        }
        Ok(())
    }

    /// Computes a value into its block.
    fn compute(
        &self,
        state: &State<T>,
        id: ValueId,
        rule: &mut Compiled<T>,
        out: &mut Block<T>,
    ) -> Result<(), FiniteError> {
        let program: &Program = &self.program;
        let at = (program, state, id);
        match rule {
            Compiled::Initial => {
                let shape = Shape { rows: out.rows, cols: out.cols, members: out.members };
                *out = self.initial(state, id, shape)?;
                Ok(())
            }
            Compiled::Product(product) => product.eval(at, out),
            Compiled::Map(tapes) => tapes.map(at, out, &self.arena),
            Compiled::Scalar(tapes) => tapes.scalar(at, out, &self.arena),
            Compiled::Moment(tapes, dim) => tapes.moment(at, *dim, out, &self.arena),
            Compiled::Gram(gram) => gram.eval(at, out),
        }
    }

    /// Data, constants and what is drawn.
    fn initial(&self, state: &State<T>, id: ValueId, shape: Shape) -> Result<Block<T>, FiniteError> {
        let program: &Program = &self.program;
        match &program.value(id).instr {
            Instr::Constant(..) => self.constant(id, shape),
            Instr::Matrix { variance } => sample::matrix(program, id, variance, shape, &self.options),
            Instr::Gaussian(law) => sample::gaussian(program, state, id, law, shape, &self.options),
            _ => Err(FiniteError::Missing { value: program.value(id).name.clone() }),
        }
    }

    /// Finds out how a value is computed.
    fn plan(&self, id: ValueId) -> Result<Plan<T>, FiniteError> {
        let (program, n) = (&*self.program, self.options.width);
        let pointwise = |expr, coordinates| Pointwise::compile((program, id, expr), n, coordinates, &self.arena);
        let rule = match &program.value(id).instr {
            Instr::MatMul { matrix, transposed, vector } => {
                Compiled::Product(Product::new(program, id, (matrix, *transposed, vector))?)
            }
            Instr::Map(expr) => Compiled::Map(pointwise(*expr, 0)?),
            Instr::Scalar(expr) => Compiled::Scalar(pointwise(*expr, 0)?),
            Instr::Moment(expr) => match Gram::recognise(program, id, *expr)? {
                Some(gram) => Compiled::Gram(gram),
                None => {
                    let dim = program.expr_dim(*expr).map_or(1, |dim| program.dim_size(dim, n));
                    Compiled::Moment(pointwise(*expr, dim)?, dim)
                }
            },
            Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } | Instr::Gaussian(_) => Compiled::Initial,
        };
        Ok(Plan { shape: Shape::of(program, id, &self.options)?, rule })
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
