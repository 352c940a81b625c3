//! Values as dense blocks of numbers.

use netsor_ir::index::{Index, Indices};
use netsor_ir::program::{Instr, Kind, Program, ValueId};
use netsor_ir::verify::Verified;

use crate::{FiniteError, Float, Options};

/// Entries that one task adds up.
const CHUNK: usize = 1 << 16;

/// All members of one value: each member is a `rows x cols` matrix in column-major order, one after the other, the
/// last index of the family fastest.
///
/// A vector has one column, so a family of vectors is a matrix with one column a member; a scalar has one row and one
/// column.
#[derive(Clone, Debug, PartialEq)]
pub struct Block<T> {
    /// Rows of a member.
    pub rows: usize,
    /// Columns of a member.
    pub cols: usize,
    /// Number of members.
    pub members: usize,
    /// The entries.
    pub data: Vec<T>,
}

impl<T: Float> Block<T> {
    /// A block of zeros.
    pub(crate) fn zeros(shape: Shape) -> Self {
        let Shape { rows, cols, members } = shape;
        Self { rows, cols, members, data: vec![T::of(0.0); rows * cols * members] }
    }

    /// The entries of one member.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn member(&self, member: usize) -> &[T] {
        let size = self.rows * self.cols;
        &self.data[member * size..(member + 1) * size]
    }

    /// The entries of one member, to be changed.
    ///
    /// # Panics
    /// If there is no such member.
    pub fn member_mut(&mut self, member: usize) -> &mut [T] {
        let size = self.rows * self.cols;
        &mut self.data[member * size..(member + 1) * size]
    }

    /// All entries in double precision.
    pub fn to_f64(&self) -> Vec<f64> {
        self.data.iter().map(|x| x.wide()).collect()
    }
}

/// The shape of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) members: usize,
}

impl Shape {
    /// The shape of a value at the given width.
    pub(crate) fn of(program: &Program, id: ValueId, options: &Options) -> Result<Self, FiniteError> {
        let value = program.value(id);
        let n = options.width;
        let (rows, cols) = match value.ty.kind {
            Kind::Matrix { rows, cols } => (program.dim_size(rows, n), program.dim_size(cols, n)),
            Kind::Vector(dim) => (program.dim_size(dim, n), 1),
            Kind::Scalar => (1, 1),
        };
        let sizes = program.family_sizes(id);
        let all = sizes.iter().copied().chain([rows, cols]);
        let elements: f64 = all.clone().map(|s| s as f64).product();
        let fits = all.into_iter().try_fold(1usize, |a, s| a.checked_mul(s)).is_some_and(|e| e <= options.max_elements);
        if !fits {
            return Err(FiniteError::TooLarge { value: value.name.clone(), elements, limit: options.max_elements });
        }
        Ok(Self { rows, cols, members: sizes.iter().product() })
    }

    pub(crate) fn elements(self) -> usize {
        self.rows * self.cols * self.members
    }
}

/// Numbers that the caller supplies: data, and explicit weights instead of drawn ones.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Inputs {
    given: Vec<(ValueId, Vec<f64>)>,
}

impl Inputs {
    /// Nothing supplied.
    pub fn new() -> Self {
        Self::default()
    }

    /// Supplies a value: its members one after the other (last index fastest), a matrix column by column. A later call
    /// for the same value replaces an earlier one.
    #[must_use]
    pub fn with(mut self, value: ValueId, numbers: Vec<f64>) -> Self {
        self.set(value, numbers);
        self
    }

    /// Supplies a single matrix by its rows.
    #[must_use]
    pub fn with_rows(self, value: ValueId, rows: &[Vec<f64>]) -> Self {
        let cols = rows.iter().map(Vec::len).max().unwrap_or(0);
        let entry = |row: &Vec<f64>, col: usize| row.get(col).copied().unwrap_or(f64::NAN);
        let numbers = (0..cols).flat_map(|col| rows.iter().map(move |row| entry(row, col))).collect();
        self.with(value, numbers)
    }

    /// See [`Inputs::with`].
    pub fn set(&mut self, value: ValueId, numbers: Vec<f64>) {
        self.given.retain(|(v, _)| *v != value);
        self.given.push((value, numbers));
    }

    pub(crate) fn given(&self) -> impl Iterator<Item = (ValueId, &[f64])> {
        self.given.iter().map(|(v, numbers)| (*v, &numbers[..]))
    }
}

/// The values of a program at finite width, as far as they have been computed.
///
/// Blocks that were forgotten keep their memory for the next time: a program that runs again allocates none.
#[derive(Clone, Debug)]
pub struct State<T> {
    pub(crate) blocks: Vec<Option<Block<T>>>,
    /// Whether a block has the numbers of the present parameters and data.
    pub(crate) valid: Vec<bool>,
    /// Whether a block was supplied by the caller.
    pub(crate) given: Vec<bool>,
}

impl<T: Float> PartialEq for State<T> {
    /// The same values are known and have the same numbers.
    fn eq(&self, other: &Self) -> bool {
        let same = |k: usize| self.block(ValueId::new(k)) == other.block(ValueId::new(k));
        self.blocks.len() == other.blocks.len() && self.given == other.given && (0..self.blocks.len()).all(same)
    }
}

impl<T: Float> State<T> {
    /// A state with the supplied values.
    ///
    /// # Errors
    /// If a supplied value is not an initial one, has the wrong length or is not finite.
    pub fn new(program: &Verified<Program>, inputs: &Inputs, options: &Options) -> Result<Self, FiniteError> {
        Self::of(program, inputs, options)
    }

    pub(crate) fn of(program: &Program, inputs: &Inputs, options: &Options) -> Result<Self, FiniteError> {
        crate::check::check(program)?;
        if options.width == 0 {
            return Err(FiniteError::ZeroWidth);
        }
        let count = program.values.len();
        let mut state =
            Self { blocks: (0..count).map(|_| None).collect(), valid: vec![false; count], given: vec![false; count] };
        for (id, numbers) in inputs.given() {
            state.supply(program, id, numbers, options)?;
        }
        Ok(state)
    }

    /// Forgets everything, and has the supplied values from now on; a computation in this state takes the memory of the
    /// one before.
    ///
    /// # Errors
    /// As for [`State::new`].
    pub fn renew(&mut self, program: &Program, inputs: &Inputs, options: &Options) -> Result<(), FiniteError> {
        self.valid.fill(false);
        self.given.fill(false);
        inputs.given().try_for_each(|(id, numbers)| self.supply(program, id, numbers, options))
    }

    /// Supplies one value, for instance new data.
    ///
    /// # Errors
    /// As for [`State::new`].
    pub fn supply(
        &mut self,
        program: &Program,
        id: ValueId,
        numbers: &[f64],
        options: &Options,
    ) -> Result<(), FiniteError> {
        if program.values.len() <= id.index() || self.blocks.len() != program.values.len() {
            return Err(FiniteError::UnknownName { name: format!("{id:?}") });
        }
        self.supply_shaped(program, id, numbers, Shape::of(program, id, options)?)
    }

    /// The same for a value whose shape is known.
    pub(crate) fn supply_shaped(
        &mut self,
        program: &Program,
        id: ValueId,
        numbers: &[f64],
        shape: Shape,
    ) -> Result<(), FiniteError> {
        let value = program.value(id);
        if !matches!(value.instr, Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } | Instr::Gaussian(_)) {
            return Err(FiniteError::NotInitial { value: value.name.clone() });
        }
        if numbers.len() != shape.elements() {
            return Err(FiniteError::Length {
                value: value.name.clone(),
                expected: shape.elements(),
                found: numbers.len(),
            });
        }
        let mut block = self.reuse(id, shape);
        block.data.iter_mut().zip(numbers).for_each(|(x, &number)| *x = T::of(number));
        check_finite(program, id, &block)?;
        self.store(id, block);
        self.given[id.index()] = true;
        Ok(())
    }

    /// The block of a value; `None` if it was neither requested nor needed.
    pub fn block(&self, id: ValueId) -> Option<&Block<T>> {
        if self.valid.get(id.index()).is_some_and(|v| *v) { self.blocks[id.index()].as_ref() } else { None }
    }

    /// A block to be overwritten: the old one if it has the right shape.
    pub(crate) fn reuse(&mut self, id: ValueId, shape: Shape) -> Block<T> {
        self.valid[id.index()] = false;
        let old = self.blocks[id.index()].take();
        old.filter(|b| shape == Shape { rows: b.rows, cols: b.cols, members: b.members })
            .unwrap_or_else(|| Block::zeros(shape))
    }

    /// The block of a value from now on.
    pub(crate) fn store(&mut self, id: ValueId, block: Block<T>) {
        self.blocks[id.index()] = Some(block);
        self.valid[id.index()] = true;
    }

    /// The entries of all members of a value in double precision; empty if it was not computed.
    pub fn numbers(&self, id: ValueId) -> Vec<f64> {
        self.block(id).map(Block::to_f64).unwrap_or_default()
    }

    /// Forgets everything that the program computes and keeps what is supplied or drawn.
    pub fn forget_computed(&mut self, program: &Program) {
        for (valid, value) in self.valid.iter_mut().zip(&program.values) {
            if matches!(value.instr, Instr::MatMul { .. } | Instr::Map(_) | Instr::Moment(_) | Instr::Scalar(_)) {
                *valid = false;
            }
        }
    }

    /// The block of a value that an instruction needs.
    pub(crate) fn operand(&self, program: &Program, consumer: ValueId, id: ValueId) -> Result<&Block<T>, FiniteError> {
        self.block(id).ok_or_else(|| malformed(program, consumer, "it needs a value that was not computed"))
    }
}

/// An error about the definition of `id`.
pub(crate) fn malformed(program: &Program, id: ValueId, problem: impl Into<String>) -> FiniteError {
    FiniteError::Malformed { value: program.value(id).name.clone(), problem: problem.into() }
}

/// Refuses NaN and infinities, and gives the root mean square of the entries.
pub(crate) fn check_finite<T: Float>(program: &Program, id: ValueId, block: &Block<T>) -> Result<f64, FiniteError> {
    let squares = sum_of_squares(&block.data);
    if squares.is_finite() {
        return Ok((squares / block.data.len().max(1) as f64).sqrt());
    }
    // A square may overflow where its root does not.
    let Some(at) = block.data.iter().position(|x| !x.wide().is_finite()) else { return Ok(f64::INFINITY) };
    let member = at / (block.rows * block.cols).max(1);
    let value = program.value(id).name.clone();
    Err(FiniteError::NotFinite { value, member: positions(&program.family_sizes(id), member), step: None })
}

/// `sum x^2` in double precision: in lanes and chunks, whose sums are added by halves.
pub(crate) fn sum_of_squares<T: Float>(data: &[T]) -> f64 {
    if CHUNK < data.len() {
        let (left, right) = data.split_at((data.len() / 2).next_multiple_of(CHUNK));
        let (left, right) = rayon::join(|| sum_of_squares(left), || sum_of_squares(right));
        return left + right;
    }
    // As many lanes as the compiler turns into vectors: it unrolls fewer into single numbers, four times slower.
    let mut lanes = [0.0f64; 32];
    let (whole, rest) = data.as_chunks::<32>();
    for x in whole {
        lanes.iter_mut().zip(x).for_each(|(lane, x)| *lane += x.wide() * x.wide());
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|x| x.wide() * x.wide()).sum::<f64>()
}

/// The positions of member number `member` of a family.
pub(crate) fn positions(sizes: &[usize], mut member: usize) -> Vec<u32> {
    let mut out = vec![0; sizes.len()];
    for (position, &size) in out.iter_mut().zip(sizes).rev() {
        *position = (member % size.max(1)) as u32;
        member /= size.max(1);
    }
    out
}

/// The number of the member of `target` that `indices` name when the consumer's own indices are `own`.
pub(crate) fn locate(
    program: &Program,
    consumer: ValueId,
    target: ValueId,
    indices: &Indices,
    own: &[u32],
) -> Result<usize, FiniteError> {
    let family = &program.value(target).ty.family;
    if family.len() != indices.len() {
        let name = &program.value(target).name;
        let problem = format!("`{name}` has {} indices, {} were given", family.len(), indices.len());
        return Err(malformed(program, consumer, problem));
    }
    let mut member = 0;
    for (&axis, &index) in family.iter().zip(indices) {
        let position = match index {
            Index::At(position) => Some(position),
            Index::Var(k) => own.get(k as usize).copied(),
            Index::Bound(_) => None,
        };
        let size = program.axis_size(axis);
        match position {
            Some(position) if position < size => member = member * size as usize + position as usize,
            Some(position) => {
                let name = &program.value(target).name;
                let problem = format!("position {position} of `{name}` is beyond its axis of size {size}");
                return Err(malformed(program, consumer, problem));
            }
            None => return Err(malformed(program, consumer, format!("the index {index:?} has no value"))),
        }
    }
    Ok(member)
}
