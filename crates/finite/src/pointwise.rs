//! Expressions at finite width: NONLIN⁺, MOMENT and functions of scalars, by tapes.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use netsor_ir::expr::{ExprId, Symbol};
use netsor_ir::index::{Index, Indices};
use netsor_ir::program::{Kind, Program, ValueId, own_indices, value_of};
use netsor_ir::tape::{BLOCK, Input, Scratch, Setting, Tape, TapeError};
use rayon::prelude::*;
use smallvec::{SmallVec, smallvec};

use crate::float::{Numeric, mean};
use crate::gather::Strides;
use crate::state::{malformed, positions};
use crate::{Block, FiniteError, Float, State};

/// Most members in one tape: more share more subterms, fewer leave work for other threads.
const GROUP: usize = 64;

/// Most operations in all tapes of one definition.
const OPERATIONS: usize = 1 << 24;

/// The leaves of most tapes; a list of more of them would have to be allocated in every step.
const LEAVES: usize = 16;

/// Coordinates that one task handles.
const ROWS: usize = 8192;

/// The expression of a definition, compiled for all members, and where its leaves are.
#[derive(Clone, Debug)]
pub(crate) struct Pointwise<T> {
    groups: Vec<Group<T>>,
    /// Whether one tape serves every member, because its leaves keep the indices of the family; otherwise there are
    /// tapes of several members each, because sums or tables depend on the indices.
    open: bool,
    /// Scalars that are the batch of an open tape and do not lie in order: one list a leaf.
    columns: Vec<Vec<T>>,
}

/// A tape for consecutive members.
#[derive(Clone, Debug)]
struct Group<T> {
    first: usize,
    tape: Tape<T>,
    leaves: Vec<Leaf>,
}

/// A leaf of a tape.
#[derive(Clone, Debug)]
struct Leaf {
    value: ValueId,
    /// Whether it is a vector, which is the batch; otherwise it is a scalar.
    vector: bool,
    members: Strides,
}

impl Leaf {
    fn new(
        program: &Program,
        id: ValueId,
        (symbol, indices): &(Symbol, Indices),
        sizes: &[usize],
    ) -> Result<Self, FiniteError> {
        let value = value_of(*symbol);
        let vector = match program.value(value).ty.kind {
            Kind::Vector(_) => true,
            Kind::Scalar => false,
            Kind::Matrix { .. } => {
                let problem = format!("`{}` is neither a vector nor a scalar", program.value(value).name);
                return Err(malformed(program, id, problem));
            }
        };
        Ok(Self { value, vector, members: Strides::of(program, id, value, indices, sizes)? })
    }
}

/// Memory of the tasks that evaluate tapes: what one gives back the next one takes.
#[derive(Debug, Default)]
pub(crate) struct Arena<T> {
    free: Mutex<Vec<Memory<T>>>,
}

#[derive(Debug, Default)]
struct Memory<T> {
    scratch: Scratch<T>,
    /// The coordinates whose mean a Moment is.
    values: Vec<T>,
}

impl<T> Clone for Arena<T> {
    /// Memory is not shared; the copy starts without.
    fn clone(&self) -> Self {
        Self { free: Mutex::new(Vec::new()) }
    }
}

impl<T: Float> Arena<T> {
    /// Makes room in the memory of every thread for a tape, and for `values` numbers.
    fn fit(&self, tape: &Tape<T>, values: usize) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // One task a thread, and one on a thread that is not rayon's.
        let tasks = rayon::current_num_threads() + 1;
        if free.len() < tasks {
            free.resize_with(tasks, Memory::default);
        }
        for memory in free.iter_mut() {
            memory.scratch.fit(tape);
            memory.values.clear();
            memory.values.reserve(values);
        }
    }

    fn with(&self, task: impl FnOnce(&mut Memory<T>)) {
        let taken = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut memory = taken.unwrap_or_default();
        task(&mut memory);
        self.free.lock().unwrap_or_else(PoisonError::into_inner).push(memory);
    }
}

/// The outputs of a tape in one task: a part of the coordinates of each of its members.
type Targets<'a, T> = SmallVec<[&'a mut [T]; GROUP]>;

/// The value of leaf number `k` of a group for the member of this number, on a range of coordinates.
type Lookup<'a, 'f, T> = &'f (dyn Fn(&Group<T>, usize, usize, Range<usize>) -> Input<'a, T> + Sync);

impl<T: Float> Pointwise<T> {
    /// Compiles the expression of the value `id` at width `n`; `coordinates` are those of a Moment's argument.
    pub(crate) fn compile(
        (program, id, expr): (&Program, ValueId, ExprId),
        n: usize,
        coordinates: usize,
        arena: &Arena<T>,
    ) -> Result<Self, FiniteError> {
        let setting = Setting::of_program(program, n as f64, &Numeric);
        let sizes = program.family_sizes(id);
        let (open, tapes) = tapes(program, id, expr, &setting, &sizes)?;
        let mut groups = Vec::with_capacity(tapes.len());
        for (first, tape) in tapes {
            let sizes: &[usize] = if open { &sizes } else { &[] };
            let leaf = |leaf| Leaf::new(program, id, leaf, sizes);
            let leaves = tape.inputs().iter().map(leaf).collect::<Result<Vec<_>, _>>()?;
            arena.fit(&tape, coordinates * tape.n_roots());
            groups.push(Group { first, tape, leaves });
        }
        let leaves = groups.first().map_or(0, |g| g.leaves.len());
        Ok(Self { groups, open, columns: vec![Vec::new(); if open { leaves } else { 0 }] })
    }

    /// NONLIN⁺: a coordinatewise function of vectors.
    pub(crate) fn map(
        &self,
        (program, state, id): (&Program, &State<T>, ValueId),
        out: &mut Block<T>,
        arena: &Arena<T>,
    ) -> Result<(), FiniteError> {
        let dim = out.rows;
        self.check(program, state, id, Some(dim))?;
        let lookup = vectors(state, dim);
        if self.open && self.in_order() {
            // The family is one long vector.
            self.rows(&self.groups[0], 0, 0, smallvec![&mut out.data[..]], &lookup, arena);
        } else if self.open {
            self.members(0, dim, &mut out.data, &lookup, arena);
        } else {
            self.grouped(&self.groups, &mut out.data, &|group: &Group<T>, data: &mut [T]| {
                let targets = data.chunks_mut(dim).collect();
                self.rows(group, 0, 0, targets, &lookup, arena);
            });
        }
        Ok(())
    }

    /// MOMENT: the mean over the coordinates, for each member.
    pub(crate) fn moment(
        &self,
        (program, state, id): (&Program, &State<T>, ValueId),
        dim: usize,
        out: &mut Block<T>,
        arena: &Arena<T>,
    ) -> Result<(), FiniteError> {
        self.check(program, state, id, Some(dim))?;
        let lookup = vectors(state, dim);
        let means = |group: &Group<T>, member: usize, out: &mut [T]| {
            arena.with(|Memory { scratch, values }| {
                values.clear();
                values.resize(out.len() * dim, T::of(0.0));
                let mut targets: Targets<'_, T> = values.chunks_mut(dim).collect();
                group.tape.eval_with(&|k| lookup(group, k, member, 0..dim), &mut targets, scratch);
                drop(targets);
                out.iter_mut().zip(values.chunks(dim)).for_each(|(out, values)| *out = T::of(mean(values)));
            });
        };
        match &self.groups[..] {
            [group] if self.open => {
                out.data.par_iter_mut().enumerate().for_each(|(m, out)| means(group, m, std::slice::from_mut(out)));
            }
            groups => self.grouped(groups, &mut out.data, &|group: &Group<T>, out: &mut [T]| means(group, 0, out)),
        }
        Ok(())
    }

    /// A function of scalars, for each member.
    pub(crate) fn scalar(
        &mut self,
        (program, state, id): (&Program, &State<T>, ValueId),
        out: &mut Block<T>,
        arena: &Arena<T>,
    ) -> Result<(), FiniteError> {
        self.check(program, state, id, None)?;
        if let (true, Some(group)) = (self.open, self.groups.first()) {
            // Members are the batch.
            for (column, leaf) in self.columns.iter_mut().zip(&group.leaves) {
                if !leaf.members.is_identity() && !leaf.members.is_constant() {
                    let block = state.operand(program, id, leaf.value)?;
                    column.clear();
                    column.extend((0..out.members).map(|member| block.data[leaf.members.at(member)]));
                }
            }
            let lookup = |group: &Group<T>, k: usize, _: usize, range: Range<usize>| {
                let leaf = &group.leaves[k];
                let data = numbers(state, leaf);
                if leaf.members.is_constant() {
                    Input::Scalar(data[leaf.members.at(0)])
                } else if leaf.members.is_identity() {
                    Input::Batch(&data[range])
                } else {
                    Input::Batch(&self.columns[k][range])
                }
            };
            self.rows(group, 0, 0, smallvec![&mut out.data[..]], &lookup, arena);
            return Ok(());
        }
        let lookup = |group: &Group<T>, k: usize, _: usize, _: Range<usize>| {
            let leaf = &group.leaves[k];
            Input::Scalar(numbers(state, leaf)[leaf.members.at(0)])
        };
        self.grouped(&self.groups, &mut out.data, &|group: &Group<T>, data: &mut [T]| {
            self.rows(group, 0, 0, data.chunks_mut(1).collect(), &lookup, arena);
        });
        Ok(())
    }

    /// Refuses leaves that were not computed, and vectors of another dimension; without a dimension, all of them.
    fn check(&self, program: &Program, state: &State<T>, id: ValueId, dim: Option<usize>) -> Result<(), FiniteError> {
        for leaf in self.groups.iter().flat_map(|group| &group.leaves) {
            let block = state.operand(program, id, leaf.value)?;
            if leaf.vector && Some(block.rows) != dim {
                let name = &program.value(leaf.value).name;
                let problem = match dim {
                    Some(dim) => format!("`{name}` has dimension {}, not {dim}", block.rows),
                    None => format!("`{name}` is no scalar"),
                };
                return Err(malformed(program, id, problem));
            }
        }
        Ok(())
    }

    /// Whether the members of all leaves lie as those of the value do.
    fn in_order(&self) -> bool {
        let fits = |leaf: &Leaf| if leaf.vector { leaf.members.is_identity() } else { leaf.members.is_constant() };
        self.groups.iter().flat_map(|group| &group.leaves).all(fits)
    }

    /// The members from `first` on of an open tape, by halves.
    fn members(&self, first: usize, dim: usize, data: &mut [T], lookup: Lookup<'_, '_, T>, arena: &Arena<T>) {
        let count = data.len() / dim;
        if count == 1 || data.len() <= ROWS {
            for (member, column) in (first..).zip(data.chunks_mut(dim)) {
                self.rows(&self.groups[0], member, 0, smallvec![column], lookup, arena);
            }
        } else {
            let (left, right) = data.split_at_mut(count / 2 * dim);
            rayon::join(
                || self.members(first, dim, left, lookup, arena),
                || self.members(first + count / 2, dim, right, lookup, arena),
            );
        }
    }

    /// Runs a task for each group and its part of the data, by halves.
    fn grouped(&self, groups: &[Group<T>], data: &mut [T], task: &(dyn Fn(&Group<T>, &mut [T]) + Sync)) {
        match groups {
            [] => {}
            [group] => task(group, data),
            _ => {
                let members: usize = groups.iter().map(|group| group.tape.n_roots()).sum();
                let (left, right) = groups.split_at(groups.len() / 2);
                let (a, b) = data.split_at_mut((right[0].first - left[0].first) * (data.len() / members.max(1)));
                rayon::join(|| self.grouped(left, a, task), || self.grouped(right, b, task));
            }
        }
    }

    /// Evaluates a tape on the coordinates from `start` on, by halves.
    fn rows(
        &self,
        group: &Group<T>,
        member: usize,
        start: usize,
        mut targets: Targets<'_, T>,
        lookup: Lookup<'_, '_, T>,
        arena: &Arena<T>,
    ) {
        let rows = targets.first().map_or(0, |target| target.len());
        if rows <= ROWS {
            let range = start..start + rows;
            let find = |k: usize| lookup(group, k, member, range.clone());
            arena.with(|memory| {
                if group.leaves.len() <= LEAVES {
                    // Every operation asks for its operands: looked up once.
                    let inputs: SmallVec<[Input<'_, T>; LEAVES]> = (0..group.leaves.len()).map(find).collect();
                    group.tape.eval(&inputs, &mut targets, &mut memory.scratch);
                } else {
                    group.tape.eval_with(&find, &mut targets, &mut memory.scratch);
                }
            });
            return;
        }
        let middle = (rows / 2).next_multiple_of(BLOCK);
        let (left, right): (Targets<'_, T>, Targets<'_, T>) =
            targets.into_iter().map(|target| target.split_at_mut(middle)).unzip();
        rayon::join(
            || self.rows(group, member, start, left, lookup, arena),
            || self.rows(group, member, start + middle, right, lookup, arena),
        );
    }
}

/// Tapes with their first members.
type Numbered<T> = Vec<(usize, Tape<T>)>;

/// One open tape, or closed ones.
fn tapes<T: Float>(
    program: &Program,
    id: ValueId,
    expr: ExprId,
    setting: &Setting<'_, T>,
    sizes: &[usize],
) -> Result<(bool, Numbered<T>), FiniteError> {
    let wrap = |source| FiniteError::Expression { value: program.value(id).name.clone(), source };
    let open: Vec<Index> = own_indices(sizes.len()).collect();
    match Tape::compile(setting, &[(expr, &open)]) {
        Ok(tape) => return Ok((true, vec![(0, tape)])),
        Err(TapeError::OpenVariable(_)) => {}
        Err(source) => return Err(wrap(source)),
    }
    let members: usize = sizes.iter().product();
    let mut tapes = Vec::new();
    let (mut first, mut size, mut operations) = (0, GROUP, 0);
    while first < members {
        let count = size.min(members - first);
        let environments: Vec<Vec<Index>> =
            (first..first + count).map(|m| positions(sizes, m).into_iter().map(Index::At).collect()).collect();
        let roots: Vec<(ExprId, &[Index])> = environments.iter().map(|e| (expr, &e[..])).collect();
        match Tape::compile(setting, &roots) {
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
    Ok((false, tapes))
}

/// The numbers of a leaf that [`Pointwise::check`] has seen.
fn numbers<'a, T: Float>(state: &'a State<T>, leaf: &Leaf) -> &'a [T] {
    state.block(leaf.value).map_or(&[], |block| &block.data)
}

/// Looks up vectors of dimension `dim`, and scalars.
fn vectors<'a, T: Float>(
    state: &'a State<T>,
    dim: usize,
) -> impl Fn(&Group<T>, usize, usize, Range<usize>) -> Input<'a, T> + Sync {
    move |group, k, member, range| {
        let leaf = &group.leaves[k];
        let at = leaf.members.at(member);
        let data = numbers(state, leaf);
        if leaf.vector {
            Input::Batch(&data[at * dim + range.start..at * dim + range.end])
        } else {
            Input::Scalar(data[at])
        }
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
    let mut values = Vec::with_capacity(environments.len());
    for group in environments.chunks(4096) {
        let indices: Vec<Vec<Index>> = group.iter().map(|e| e.iter().map(|&p| Index::At(p)).collect()).collect();
        let roots: Vec<(ExprId, &[Index])> = indices.iter().map(|e| (expr, &e[..])).collect();
        let tape = Tape::<f64>::compile(&setting, &roots)
            .map_err(|source| FiniteError::Expression { value: program.value(id).name.clone(), source })?;
        let scalar = |leaf| -> Result<f64, FiniteError> {
            let leaf = Leaf::new(program, id, leaf, &[])?;
            if leaf.vector {
                let problem = format!("`{}` is no scalar", program.value(leaf.value).name);
                return Err(malformed(program, id, problem));
            }
            Ok(state.operand(program, id, leaf.value)?.data[leaf.members.at(0)].wide())
        };
        let inputs: Vec<f64> = tape.inputs().iter().map(scalar).collect::<Result<_, _>>()?;
        values.extend(tape.eval_once(&inputs));
    }
    Ok(values)
}
