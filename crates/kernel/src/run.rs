//! Running a plan over data sets.
//!
//! First everything that depends on one input, whole columns at a time. Then the entries, in bands of rows that
//! threads share: inner products of data by matrix products of a tile, then each row of the tile through the whole plan
//! in strips short enough for all registers to stay in cache. Tiles do not depend on the number of threads, and every
//! sum has its order: the same inputs give the same bits.

use std::sync::atomic::{AtomicUsize, Ordering};

use faer::linalg::matmul::matmul;
use faer::{Accum, MatMut, MatRef, Par};
use netsor_gauss::Tolerance;
use rayon::prelude::*;
use rustc_hash::FxHashMap;

use crate::error::KernelError;
use crate::execute::{CLOSED, Context, Fault, Scratch, Val, execute};
use crate::grid::GRID;
use crate::inputs::{Inputs, KernelMatrices, Options, Statistics};
use crate::plan::{Arg, Block, DataInfo, Op, Plan, Side};
use crate::series::{Coefficients, Position, Table};

/// Bytes of registers that should stay in the second-level cache, and of tiles of inner products.
const CACHE: usize = 1 << 19;
const TILES: usize = 1 << 21;
/// Rows of a band, and the longest and shortest strips.
const MAX_BAND: usize = 128;
const MAX_STRIP: usize = 512;
const MIN_STRIP: usize = 16;
/// Rows of the squares in which norms are computed.
const SQUARE: usize = 16;

impl Plan {
    /// The kernel matrices between `x1` and `x2`, or between `x1` and itself.
    ///
    /// Of a kernel that is symmetric by its form, only half is computed in the latter case.
    ///
    /// # Errors
    /// If numbers are missing, of the wrong size or not finite, if more memory is needed than allowed, if an entry is
    /// not a finite number, or if the run is cancelled.
    pub fn run(
        &self,
        x1: &Inputs<'_>,
        x2: Option<&Inputs<'_>>,
        options: &Options<'_>,
    ) -> Result<KernelMatrices, KernelError> {
        if !(0.0 < options.tolerance && options.tolerance.is_finite()) {
            return Err(KernelError::Tolerance { found: options.tolerance });
        }
        if options.threads == 0 {
            return self.run_here(x1, x2, options);
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(options.threads).build();
        pool.map_err(|e| KernelError::Threads(e.to_string()))?.install(|| self.run_here(x1, x2, options))
    }

    /// Bytes that a run over so many rows and columns needs, about.
    pub fn memory(&self, rows: usize, cols: usize) -> usize {
        let f = size_of::<f64>();
        let n_tables = self.tables().len();
        let tables = |inputs: usize| n_tables.saturating_mul(Table::bytes(inputs));
        let numbers = rows.saturating_add(cols).saturating_mul(self.ones.len() * f);
        let inputs = numbers.saturating_add(tables(rows)).saturating_add(tables(cols));
        let matrices = rows.saturating_mul(cols).saturating_mul(f * self.roots.len());
        let threads = rayon::current_num_threads() * 2 * (CACHE + TILES);
        inputs.saturating_add(matrices).saturating_add(threads)
    }

    fn run_here(
        &self,
        x1: &Inputs<'_>,
        x2: Option<&Inputs<'_>>,
        options: &Options<'_>,
    ) -> Result<KernelMatrices, KernelError> {
        let left = x1.checked(self)?;
        let right = x2.map(|x| x.checked(self)).transpose()?;
        let (rows, cols) = (x1.rows(), x2.unwrap_or(x1).rows());
        let needed = self.memory(rows, cols);
        if options.memory < needed {
            return Err(KernelError::Memory { needed, limit: options.memory });
        }
        let tolerance = 0.1 * options.tolerance;
        let context = Context {
            functions: &self.functions,
            integrands: &self.integrands,
            grid: &GRID,
            tolerance: options.tolerance,
            integrals: Tolerance { absolute: tolerance, relative: tolerance, ..Tolerance::default() },
        };
        let counts = Counts::default();
        let one = OneSided::new(self, &left, rows, &context, &counts)?;
        let other = match &right {
            Some(right) => Some(OneSided::new(self, right, cols, &context, &counts)?),
            None => None,
        };
        let mut values: Vec<Vec<f64>> = self.roots.iter().map(|_| vec![0.0; rows * cols]).collect();
        let half = x2.is_none() && self.roots.iter().all(|root| root.symmetric);
        let program = Program::new(self);
        let tiles = Tiles {
            plan: self,
            program: &program,
            left: &one,
            right: other.as_ref().unwrap_or(&one),
            context: &context,
            counts: &counts,
            half,
            done: AtomicUsize::new(0),
            bands: rows.div_ceil(program.band),
            options,
        };
        let mut bands: Vec<Vec<&mut [f64]>> = (0..tiles.bands).map(|_| Vec::new()).collect();
        for matrix in &mut values {
            for (band, chunk) in bands.iter_mut().zip(matrix.chunks_mut(program.band * cols)) {
                band.push(chunk);
            }
        }
        let results: Vec<Result<(), KernelError>> = bands
            .into_par_iter()
            .enumerate()
            .with_max_len(1)
            .map_init(Memory::default, |memory, (band, chunks)| tiles.band(band, chunks, memory))
            .collect();
        results.into_iter().collect::<Result<(), _>>()?;
        if x2.is_none() {
            for (matrix, root) in values.iter_mut().zip(&self.roots) {
                if half {
                    mirror(matrix, rows, 0, rows);
                }
                for i in 0..rows {
                    matrix[i * rows + i] = one.value(root.diagonal, i);
                }
            }
        }
        self.check_entries(&values, cols)?;
        Ok(KernelMatrices {
            rows,
            cols,
            names: self.roots.iter().map(|r| r.name.clone()).collect(),
            values,
            statistics: Statistics {
                integrals: counts.integrals.into_inner(),
                not_met: counts.not_met.into_inner(),
                memory: needed,
            },
        })
    }

    fn check_entries(&self, values: &[Vec<f64>], cols: usize) -> Result<(), KernelError> {
        for (matrix, root) in values.iter().zip(&self.roots) {
            let bad = matrix.par_chunks(1 << 14).position_first(|chunk| chunk.iter().any(|x| !x.is_finite()));
            let Some(chunk) = bad else { continue };
            let start = chunk << 14;
            if let Some(at) = matrix[start..].iter().position(|x| !x.is_finite()).map(|at| start + at) {
                let (row, column) = (at / cols, at % cols);
                return Err(KernelError::Entry { query: root.name.clone(), row, column, value: matrix[at] });
            }
        }
        Ok(())
    }

    /// The tables of series: a function at a variance, each once.
    fn tables(&self) -> Vec<(u32, u32)> {
        let mut all: Vec<(u32, u32)> = self.ones.iter().chain(&self.pairs).flat_map(tables_of).flatten().collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

/// The tables that an operation reads.
fn tables_of(op: &Op) -> Option<[(u32, u32); 2]> {
    match op {
        Op::Series { f, g, uu: Arg::One(u, _), vv: Arg::One(v, _), .. } => Some([(*f, *u), (*g, *v)]),
        _ => None,
    }
}

/// What the threads count.
#[derive(Default)]
struct Counts {
    integrals: AtomicUsize,
    not_met: AtomicUsize,
}

impl Counts {
    fn add(&self, scratch: &mut Scratch) {
        self.integrals.fetch_add(std::mem::take(&mut scratch.integrals), Ordering::Relaxed);
        self.not_met.fetch_add(std::mem::take(&mut scratch.not_met), Ordering::Relaxed);
    }
}

/// The numbers of each input of one side.
struct OneSided<'a> {
    data: &'a [&'a [f64]],
    rows: usize,
    columns: Vec<Vec<f64>>,
    tables: FxHashMap<(u32, u32), Table>,
}

impl<'a> OneSided<'a> {
    fn new(
        plan: &Plan,
        data: &'a [&'a [f64]],
        rows: usize,
        context: &Context<'_>,
        counts: &Counts,
    ) -> Result<Self, KernelError> {
        let mut sided = Self { data, rows, columns: Vec::with_capacity(plan.ones.len()), tables: FxHashMap::default() };
        // Long enough to be worth a task of its own.
        let strip = 256;
        for op in &plan.ones {
            for (f, variance) in tables_of(op).into_iter().flatten() {
                sided.add_table(plan, f, variance, context);
            }
            let mut column = vec![0.0; rows];
            match op {
                Op::Gram(a, b) => sided.norms(plan, *a, *b, &mut column),
                Op::Load(data, offset) => {
                    let stride = plan.data[*data as usize].stride;
                    let numbers = data_column(sided.data[*data as usize], stride, *offset as usize);
                    column.iter_mut().zip(numbers).for_each(|(c, x)| *c = x);
                }
                _ => {
                    let mut args = Vec::new();
                    op.for_each_arg(|arg| args.push(arg));
                    let tables = tables_of(op);
                    let run = |(chunk, out): (usize, &mut [f64]), scratch: &mut Scratch| {
                        let start = chunk * strip;
                        let vals: Vec<Val<'_>> = args
                            .iter()
                            .map(|&arg| match arg {
                                Arg::Const(c) => Val::Scalar(c.0),
                                Arg::One(id, _) | Arg::Pair(id) => {
                                    Val::Slice(&sided.columns[id as usize][start..start + out.len()])
                                }
                            })
                            .collect();
                        let tables = tables.map(|t| {
                            t.map(|key| Coefficients { table: &sided.tables[&key], at: Position::From(start) })
                        });
                        let result = execute(op, &vals, tables, context, scratch, out);
                        counts.add(scratch);
                        result.map_err(|Fault { at, source }| KernelError::Expectation {
                            row: start + at,
                            column: start + at,
                            source,
                        })
                    };
                    let results: Vec<Result<(), KernelError>> = column
                        .par_chunks_mut(strip)
                        .enumerate()
                        .map_init(Scratch::default, |scratch, part| run(part, scratch))
                        .collect();
                    results.into_iter().collect::<Result<(), _>>()?;
                }
            }
            sided.columns.push(column);
        }
        for (f, variance) in plan.tables() {
            sided.add_table(plan, f, variance, context);
        }
        Ok(sided)
    }

    fn add_table(&mut self, plan: &Plan, f: u32, variance: u32, context: &Context<'_>) {
        if !self.tables.contains_key(&(f, variance)) {
            let function = &plan.functions[f as usize];
            let closed = function.shape.activation().is_some();
            let tolerance = if closed { context.tolerance.min(CLOSED) } else { context.tolerance };
            let table = Table::new(&GRID, function, &self.columns[variance as usize], tolerance);
            self.tables.insert((f, variance), table);
        }
    }

    /// Inner products of two vectors of each input, as the diagonals of small matrix products: the same bits as the
    /// entries of the large ones, so that equal inputs have correlation 1.
    fn norms(&self, plan: &Plan, a: Block, b: Block, out: &mut [f64]) {
        out.par_chunks_mut(SQUARE).enumerate().for_each(|(square, out)| {
            let (start, n) = (square * SQUARE, out.len());
            let mut tile = [0.0; SQUARE * SQUARE];
            let (x, y) = (self.block(plan, a, start, n), self.block(plan, b, start, n));
            let target = MatMut::from_row_major_slice_mut(&mut tile[..n * n], n, n);
            matmul(target, Accum::Replace, x, y.transpose(), 1.0, Par::Seq);
            out.iter_mut().enumerate().for_each(|(i, o)| *o = tile[i * (n + 1)]);
        });
    }

    /// The vectors of `n` inputs as rows of a matrix.
    fn block(&self, plan: &Plan, block: Block, start: usize, n: usize) -> MatRef<'_, f64> {
        let DataInfo { coordinates, stride, .. } = plan.data[block.data as usize];
        let rows = &self.data[block.data as usize][start * stride..(start + n) * stride];
        let all = MatRef::from_row_major_slice(rows, n, stride);
        all.subcols(block.position as usize * coordinates, coordinates)
    }

    fn value(&self, arg: Arg, i: usize) -> f64 {
        match arg {
            Arg::Const(c) => c.0,
            Arg::One(id, _) | Arg::Pair(id) => self.columns[id as usize][i],
        }
    }
}

fn data_column(numbers: &[f64], stride: usize, offset: usize) -> impl Iterator<Item = f64> + '_ {
    numbers.iter().skip(offset).step_by(stride).copied()
}

/// The operations on pairs with their operands and registers.
struct Program {
    steps: Vec<Step>,
    grams: Vec<(Block, Block)>,
    registers: usize,
    /// Where each operation's result is.
    places: Vec<Place>,
    band: usize,
    width: usize,
    strip: usize,
}

struct Step {
    op: u32,
    args: Vec<Arg>,
    register: u32,
}

#[derive(Clone, Copy)]
enum Place {
    Gram(u32),
    Register(u32),
}

impl Program {
    fn new(plan: &Plan) -> Self {
        let n = plan.pairs.len();
        let mut last_use: Vec<usize> = (0..n).collect();
        for (at, op) in plan.pairs.iter().enumerate() {
            op.for_each_arg(|arg| {
                if let Arg::Pair(p) = arg {
                    last_use[p as usize] = at;
                }
            });
        }
        for root in &plan.roots {
            if let Arg::Pair(p) = root.value {
                last_use[p as usize] = n;
            }
        }
        let (mut steps, mut grams, mut places) = (Vec::new(), Vec::new(), Vec::with_capacity(n));
        let (mut free, mut registers) = (Vec::new(), 0);
        for (at, op) in plan.pairs.iter().enumerate() {
            if let Op::Gram(a, b) = op {
                places.push(Place::Gram(grams.len() as u32));
                grams.push((*a, *b));
                continue;
            }
            let register = free.pop().unwrap_or_else(|| {
                registers += 1;
                registers - 1
            });
            places.push(Place::Register(register));
            let mut args = Vec::new();
            op.for_each_arg(|arg| args.push(arg));
            // Registers of operands that end here are free for the operations that follow, not for this one.
            let mut ended: Vec<u32> = args
                .iter()
                .filter_map(|arg| match arg {
                    Arg::Pair(p) if last_use[*p as usize] == at => match places[*p as usize] {
                        Place::Register(r) => Some(r),
                        Place::Gram(_) => None,
                    },
                    _ => None,
                })
                .collect();
            ended.sort_unstable();
            ended.dedup();
            free.extend(ended);
            steps.push(Step { op: at as u32, args, register });
        }
        let registers = registers as usize;
        let fitting = CACHE / (size_of::<f64>() * registers.max(1));
        let strip = (fitting / 8 * 8).clamp(MIN_STRIP, MAX_STRIP);
        // Tiles of all inner products together fit.
        let entries = TILES / (size_of::<f64>() * grams.len().max(1));
        let width = (entries / MAX_BAND / strip * strip).clamp(strip, 2048);
        let band = (entries / width).clamp(8, MAX_BAND);
        Self { steps, grams, registers, places, band, width, strip }
    }
}

/// Memory of one thread.
#[derive(Default)]
struct Memory {
    registers: Vec<Vec<f64>>,
    tiles: Vec<Vec<f64>>,
    scratch: Scratch,
}

struct Tiles<'a> {
    plan: &'a Plan,
    program: &'a Program,
    left: &'a OneSided<'a>,
    right: &'a OneSided<'a>,
    context: &'a Context<'a>,
    counts: &'a Counts,
    half: bool,
    done: AtomicUsize,
    bands: usize,
    options: &'a Options<'a>,
}

impl Tiles<'_> {
    /// Computes the rows of one band into `out`, a slice a root.
    fn band(&self, band: usize, mut out: Vec<&mut [f64]>, memory: &mut Memory) -> Result<(), KernelError> {
        let program = self.program;
        let cols = self.right.rows;
        let top = band * program.band;
        let rows = program.band.min(self.left.rows - top);
        memory.registers.resize_with(program.registers, || vec![0.0; program.strip]);
        memory.tiles.resize_with(program.grams.len(), || vec![0.0; program.band * program.width]);
        let first = if self.half { top } else { 0 };
        for start in (first..cols).step_by(program.width) {
            if self.options.cancel.is_some_and(|c| c.load(Ordering::Relaxed)) {
                return Err(KernelError::Cancelled);
            }
            let width = program.width.min(cols - start);
            self.grams(memory, (top, rows), (start, width));
            for row in 0..rows {
                // Of the square on the diagonal only what is right of it.
                let skip = if self.half { (top + row).saturating_sub(start) } else { 0 };
                for from in (skip..width).step_by(program.strip) {
                    let len = program.strip.min(width - from);
                    self.strip(memory, (top, row), (start, width, from, len), &mut out)?;
                }
            }
        }
        self.counts.add(&mut memory.scratch);
        let done = 1 + self.done.fetch_add(1, Ordering::Relaxed);
        if let Some(progress) = self.options.progress {
            progress(done, self.bands);
        }
        Ok(())
    }

    fn grams(&self, memory: &mut Memory, (top, rows): (usize, usize), (start, width): (usize, usize)) {
        for (tile, (a, b)) in memory.tiles.iter_mut().zip(&self.program.grams) {
            let x = self.left.block(self.plan, *a, top, rows);
            let y = self.right.block(self.plan, *b, start, width);
            let target = MatMut::from_row_major_slice_mut(&mut tile[..rows * width], rows, width);
            matmul(target, Accum::Replace, x, y.transpose(), 1.0, Par::Seq);
        }
    }

    /// Runs all operations on `len` entries of a row.
    fn strip(
        &self,
        memory: &mut Memory,
        (top, row): (usize, usize),
        (start, width, from, len): (usize, usize, usize, usize),
        out: &mut [&mut [f64]],
    ) -> Result<(), KernelError> {
        let (i, j) = (top + row, start + from);
        let Memory { registers, tiles, scratch } = memory;
        let value = |arg: Arg, registers: &[Vec<f64>]| -> Source {
            match arg {
                Arg::Const(c) => Source::Number(c.0),
                Arg::One(id, Side::Row) => Source::Number(self.left.columns[id as usize][i]),
                Arg::One(id, Side::Col) => Source::Column(id as usize),
                Arg::Pair(p) => match self.program.places[p as usize] {
                    Place::Gram(g) => Source::Tile(g as usize),
                    Place::Register(r) => {
                        debug_assert!(!registers[r as usize].is_empty(), "an operand's register is not its result's");
                        Source::Register(r as usize)
                    }
                },
            }
        };
        let mut vals: Vec<Val<'_>> = Vec::new();
        for step in &self.program.steps {
            let mut target = std::mem::take(&mut registers[step.register as usize]);
            vals = recycle(vals);
            vals.extend(step.args.iter().map(|&arg| match value(arg, registers) {
                Source::Number(x) => Val::Scalar(x),
                Source::Column(id) => Val::Slice(&self.right.columns[id][j..j + len]),
                Source::Tile(g) => Val::Slice(&tiles[g][row * width + from..row * width + from + len]),
                Source::Register(r) => Val::Slice(&registers[r][..len]),
            }));
            let op = &self.plan.pairs[step.op as usize];
            let tables = self.tables(op, i, j);
            let result = execute(op, &vals, tables, self.context, scratch, &mut target[..len]);
            vals = recycle(vals);
            registers[step.register as usize] = target;
            result.map_err(|Fault { at, source }| KernelError::Expectation { row: i, column: j + at, source })?;
        }
        let cols = self.right.rows;
        for (matrix, root) in out.iter_mut().zip(&self.plan.roots) {
            let target = &mut matrix[row * cols + j..row * cols + j + len];
            match value(root.value, registers) {
                Source::Number(x) => target.fill(x),
                Source::Column(id) => target.copy_from_slice(&self.right.columns[id][j..j + len]),
                Source::Tile(g) => {
                    target.copy_from_slice(&tiles[g][row * width + from..row * width + from + len]);
                }
                Source::Register(r) => target.copy_from_slice(&registers[r][..len]),
            }
        }
        Ok(())
    }

    fn tables(&self, op: &Op, i: usize, j: usize) -> Option<[Coefficients<'_>; 2]> {
        let Op::Series { f, g, uu: Arg::One(u, of_u), vv: Arg::One(v, of_v), .. } = op else { return None };
        let table = |key: (u32, u32), side: &Side| match side {
            Side::Row => Coefficients { table: &self.left.tables[&key], at: Position::Row(i) },
            Side::Col => Coefficients { table: &self.right.tables[&key], at: Position::From(j) },
        };
        Some([table((*f, *u), of_u), table((*g, *v), of_v)])
    }
}

/// Where an operand is.
enum Source {
    Number(f64),
    Column(usize),
    Tile(usize),
    Register(usize),
}

/// The allocation of a vector of borrows for the next ones.
fn recycle<'b>(mut vals: Vec<Val<'_>>) -> Vec<Val<'b>> {
    vals.clear();
    vals.into_iter().map(|_| Val::Scalar(0.0)).collect()
}

/// Copies what is right of the diagonal to the left of it: rows `first..first + rows` of a square matrix, whose
/// entries are `matrix`, in the columns of the same numbers.
fn mirror(matrix: &mut [f64], cols: usize, first: usize, rows: usize) {
    const SMALL: usize = 64;
    if rows <= SMALL {
        for i in 0..rows {
            for j in 0..i {
                matrix[i * cols + first + j] = matrix[j * cols + first + i];
            }
        }
        return;
    }
    let half = rows / 2;
    let (top, bottom) = matrix.split_at_mut(half * cols);
    // Below the diagonal block of the upper half: the transpose of what is right of it.
    let source: &[f64] = top;
    bottom.par_chunks_mut(SMALL * cols).enumerate().for_each(|(chunk, band)| {
        for from in (0..half).step_by(SMALL) {
            for (r, row) in band.chunks_exact_mut(cols).enumerate() {
                let i = first + half + chunk * SMALL + r;
                for j in from..half.min(from + SMALL) {
                    row[first + j] = source[j * cols + i];
                }
            }
        }
    });
    rayon::join(|| mirror(top, cols, first, half), || mirror(bottom, cols, first + half, rows - half));
}
