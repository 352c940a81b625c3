//! Expressions at finite width: NONLIN⁺, MOMENT and functions of scalars, by tapes.

use netsor_ir::expr::{ExprId, Symbol};
use netsor_ir::index::{Index, Indices};
use netsor_ir::program::{Kind, Program, ValueId, own_indices, value_of};
use netsor_ir::tape::{Input, Scratch, Setting, Tape, TapeError};
use rayon::prelude::*;

use crate::float::{Numeric, mean};
use crate::gather::Strides;
use crate::state::{Shape, locate, malformed, positions};
use crate::{Block, FiniteError, Float, State};

/// Most members in one tape: more share more subterms, fewer leave work for other threads.
const GROUP: usize = 64;

/// Most operations in all tapes of one definition.
const OPERATIONS: usize = 1 << 24;

/// Coordinates that one task handles.
const ROWS: usize = 8192;

/// The expression of a definition, compiled for all members.
#[derive(Clone, Debug)]
pub(crate) enum Pointwise<T> {
    /// One tape for every member: its leaves keep the indices of the family.
    Open(Tape<T>),
    /// Tapes of several members each, because sums or tables depend on the indices: the first member and the tape.
    Closed(Vec<(usize, Tape<T>)>),
}

/// A tape on a range of coordinates. Tasks write to different places.
struct Task<'a, T> {
    /// The first member.
    first: usize,
    /// The first coordinate.
    start: usize,
    tape: &'a Tape<T>,
    /// The coordinates of each member.
    targets: Vec<&'a mut [T]>,
}

impl<T: Float> Pointwise<T> {
    /// Compiles the expression of the value `id` at width `n`.
    pub(crate) fn compile(program: &Program, id: ValueId, expr: ExprId, n: usize) -> Result<Self, FiniteError> {
        let setting = Setting::of_program(program, n as f64, &Numeric);
        let wrap = |source| FiniteError::Expression { value: program.value(id).name.clone(), source };
        let sizes = program.family_sizes(id);
        let open: Vec<Index> = own_indices(sizes.len()).collect();
        match Tape::compile(&setting, &[(expr, &open)]) {
            Ok(tape) => return Ok(Self::Open(tape)),
            Err(TapeError::OpenVariable(_)) => {}
            Err(source) => return Err(wrap(source)),
        }
        let members: usize = sizes.iter().product();
        let mut tapes = Vec::new();
        let (mut first, mut size, mut operations) = (0, GROUP, 0);
        while first < members {
            let count = size.min(members - first);
            let environments: Vec<Vec<Index>> =
                (first..first + count).map(|m| positions(&sizes, m).into_iter().map(Index::At).collect()).collect();
            let roots: Vec<(ExprId, &[Index])> = environments.iter().map(|e| (expr, &e[..])).collect();
            match Tape::compile(&setting, &roots) {
                Ok(tape) => {
                    operations += tape.len();
                    if OPERATIONS < operations {
                        return Err(wrap(TapeError::TooLarge { limit: OPERATIONS }));
                    }
                    tapes.push((first, tape));
                    first += count;
                }
                Err(TapeError::TooLarge { .. }) if 1 < size => size /= 2,
                Err(source) => return Err(wrap(source)),
            }
        }
        Ok(Self::Closed(tapes))
    }

    /// A tape and its number of members, for each group: `(first member, members, tape)`.
    fn groups(&self, members: usize) -> Vec<(usize, usize, &Tape<T>)> {
        match self {
            Self::Open(tape) => (0..members).map(|m| (m, 1, tape)).collect(),
            Self::Closed(tapes) => tapes.iter().map(|(first, tape)| (*first, tape.n_roots(), tape)).collect(),
        }
    }

    /// NONLIN⁺: a coordinatewise function of vectors.
    pub(crate) fn map(
        &self,
        program: &Program,
        state: &State<T>,
        id: ValueId,
        out: &mut Block<T>,
    ) -> Result<(), FiniteError> {
        let (dim, members) = (out.rows, out.members);
        let leaves = Leaves { program, state, id, sizes: program.family_sizes(id), dim };
        let mut tasks: Vec<Task<'_, T>> = Vec::new();
        let mut columns = out.data.chunks_mut(dim);
        for (first, count, tape) in self.groups(members) {
            let mut rest: Vec<&mut [T]> = columns.by_ref().take(count).collect();
            let mut start = 0;
            while start < dim {
                let rows = ROWS.min(dim - start);
                let (now, later) = rest.into_iter().map(|column| column.split_at_mut(rows)).unzip();
                tasks.push(Task { first, start, tape, targets: now });
                rest = later;
                start += rows;
            }
        }
        let run = |scratch: &mut Scratch<T>, mut task: Task<'_, T>| {
            let rows = task.targets.first().map_or(0, |t| t.len());
            let inputs = leaves.inputs(task.tape.inputs(), task.first, task.start..task.start + rows)?;
            task.tape.eval(&inputs, &mut task.targets, scratch);
            Ok::<(), FiniteError>(())
        };
        if tasks.len() == 1 {
            tasks.into_iter().try_for_each(|task| run(&mut Scratch::default(), task))?;
        } else {
            tasks.into_par_iter().try_for_each_init(Scratch::default, run)?;
        }
        Ok(())
    }

    /// MOMENT: the mean over the coordinates, for each member.
    pub(crate) fn moment(
        &self,
        program: &Program,
        state: &State<T>,
        id: ValueId,
        (dim, shape): (usize, Shape),
    ) -> Result<Block<T>, FiniteError> {
        let leaves = Leaves { program, state, id, sizes: program.family_sizes(id), dim };
        let run = |memory: &mut (Scratch<T>, Vec<T>), (first, count, tape): (usize, usize, &Tape<T>)| {
            let (scratch, values) = memory;
            values.resize(count * dim, T::of(0.0));
            let inputs = leaves.inputs(tape.inputs(), first, 0..dim)?;
            let mut targets: Vec<&mut [T]> = values.chunks_mut(dim).collect();
            tape.eval(&inputs, &mut targets, scratch);
            Ok(values.chunks(dim).map(|v| T::of(mean(v))).collect::<Vec<T>>())
        };
        let memory = || (Scratch::default(), Vec::new());
        let means: Result<Vec<Vec<T>>, FiniteError> =
            self.groups(shape.members).into_par_iter().map_init(memory, run).collect();
        Ok(Block { rows: 1, cols: 1, members: shape.members, data: means?.concat() })
    }

    /// A function of scalars, for each member.
    pub(crate) fn scalar(
        &self,
        program: &Program,
        state: &State<T>,
        id: ValueId,
        out: &mut Block<T>,
    ) -> Result<(), FiniteError> {
        let leaves = Leaves { program, state, id, sizes: program.family_sizes(id), dim: 1 };
        match self {
            Self::Open(tape) => {
                // Members are the batch.
                let gathered: Vec<Vec<T>> =
                    tape.inputs().iter().map(|leaf| leaves.column(leaf)).collect::<Result<_, _>>()?;
                let inputs: Vec<Input<'_, T>> = gathered.iter().map(|column| Input::Batch(column)).collect();
                tape.eval(&inputs, &mut [&mut out.data], &mut Scratch::default());
            }
            Self::Closed(tapes) => {
                for (first, tape) in tapes {
                    let own = positions(&leaves.sizes, *first);
                    let inputs: Vec<T> =
                        tape.inputs().iter().map(|leaf| leaves.scalar(leaf, &own)).collect::<Result<_, _>>()?;
                    out.data[*first..first + tape.n_roots()].copy_from_slice(&tape.eval_once(&inputs));
                }
            }
        }
        Ok(())
    }
}

/// Looks up the leaves of the tapes of one definition.
struct Leaves<'a, T> {
    program: &'a Program,
    state: &'a State<T>,
    id: ValueId,
    sizes: Vec<usize>,
    dim: usize,
}

impl<'a, T: Float> Leaves<'a, T> {
    /// The inputs of a tape for the member `member` on a range of coordinates.
    fn inputs(
        &self,
        leaves: &[(Symbol, Indices)],
        member: usize,
        rows: std::ops::Range<usize>,
    ) -> Result<Vec<Input<'a, T>>, FiniteError> {
        let own = positions(&self.sizes, member);
        leaves
            .iter()
            .map(|leaf| {
                let value = value_of(leaf.0);
                if let Kind::Vector(_) = self.program.value(value).ty.kind {
                    let block = self.state.operand(self.program, self.id, value)?;
                    if block.rows != self.dim {
                        let name = &self.program.value(value).name;
                        let problem = format!("`{name}` has dimension {}, not {}", block.rows, self.dim);
                        return Err(malformed(self.program, self.id, problem));
                    }
                    let at = locate(self.program, self.id, value, &leaf.1, &own)?;
                    Ok(Input::Batch(&block.member(at)[rows.clone()]))
                } else {
                    self.scalar(leaf, &own).map(Input::Scalar)
                }
            })
            .collect()
    }

    /// The values of a leaf that is a scalar, for all members.
    fn column(&self, (symbol, indices): &(Symbol, Indices)) -> Result<Vec<T>, FiniteError> {
        let block = self.scalar_block(value_of(*symbol))?;
        let strides = Strides::of(self.program, self.id, value_of(*symbol), indices, &self.sizes)?;
        Ok(strides.members().map(|at| block.data[at]).collect())
    }

    /// The value of a leaf that is a scalar.
    fn scalar(&self, (symbol, indices): &(Symbol, Indices), own: &[u32]) -> Result<T, FiniteError> {
        let value = value_of(*symbol);
        let block = self.scalar_block(value)?;
        let at = locate(self.program, self.id, value, indices, own)?;
        Ok(block.data[at])
    }

    /// The block of a value that must be a scalar.
    fn scalar_block(&self, value: ValueId) -> Result<&'a Block<T>, FiniteError> {
        if self.program.value(value).ty.kind != Kind::Scalar {
            let problem = format!("`{}` is no scalar", self.program.value(value).name);
            return Err(malformed(self.program, self.id, problem));
        }
        self.state.operand(self.program, self.id, value)
    }
}

/// The values of an expression in scalars, in double precision, for several values of the index variables.
pub(crate) fn scalar_values<T: Float>(
    program: &Program,
    state: &State<T>,
    id: ValueId,
    expr: ExprId,
    n: usize,
    environments: &[Vec<u32>],
) -> Result<Vec<f64>, FiniteError> {
    let setting = Setting::of_program(program, n as f64, &Numeric);
    let leaves = Leaves { program, state, id, sizes: Vec::new(), dim: 1 };
    let mut values = Vec::with_capacity(environments.len());
    for group in environments.chunks(4096) {
        let indices: Vec<Vec<Index>> = group.iter().map(|e| e.iter().map(|&p| Index::At(p)).collect()).collect();
        let roots: Vec<(ExprId, &[Index])> = indices.iter().map(|e| (expr, &e[..])).collect();
        let tape = Tape::<f64>::compile(&setting, &roots)
            .map_err(|source| FiniteError::Expression { value: program.value(id).name.clone(), source })?;
        let inputs: Vec<f64> =
            tape.inputs().iter().map(|leaf| leaves.scalar(leaf, &[]).map(T::wide)).collect::<Result<_, _>>()?;
        values.extend(tape.eval_once(&inputs));
    }
    Ok(values)
}
