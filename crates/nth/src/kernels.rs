//! The kernels of a network as it is, on all index tuples of a batch.

use netsor_finite::{Inputs, Options, State, execute};
use netsor_ir::program::{Instr, Kind, Program, ValueId};
use netsor_ir::transform::DirectionMode;

use crate::{Hierarchy, KernelTensor, Later, NthError};

/// The output and the kernels at one set of parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernels {
    /// The output on all points.
    pub f: Vec<f64>,
    /// The number `n` of training examples, by which the loss is divided: `L = 1/(2n) sum (f - y)^2`.
    pub n_examples: usize,
    /// `K^(2), K^(3), ...`
    pub kernels: Vec<KernelTensor>,
    /// The share of each trained parameter in `K^(2)`.
    pub parts: Vec<(ValueId, KernelTensor)>,
    /// `(nabla^k f_a)(g_b1, .., g_bk)` for `k = 1, 2, ..` and all points: full, `a` slowest. Only with bold kernels.
    pub derivatives: Vec<Vec<f64>>,
}

impl Kernels {
    /// `K^(r)`.
    ///
    /// # Errors
    /// If it was not computed.
    pub fn of_order(&self, r: usize) -> Result<&KernelTensor, NthError> {
        r.checked_sub(2).and_then(|k| self.kernels.get(k)).ok_or_else(|| {
            let expected = format!("between 2 and {}", self.kernels.len() + 1);
            NthError::Order { what: "the order of a kernel", expected, found: r }
        })
    }
}

/// How kernels are computed.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelOptions {
    /// The width `m`.
    pub width: usize,
    /// The seed of drawn parameters.
    pub seed: u64,
    /// How many examples (positions on the first axis of the output), from the first on, are training examples; all of
    /// them by default. The others are test points.
    pub train: Option<usize>,
    /// Refuse to start if more bytes than this would be needed; 4 GB by default.
    pub memory_limit: u128,
}

impl KernelOptions {
    /// The options for width `width` and seed `seed`.
    pub fn new(width: usize, seed: u64) -> Self {
        Self { width, seed, train: None, memory_limit: 4_000_000_000 }
    }

    /// With the first `train` examples as training examples.
    #[must_use]
    pub fn with_train(self, train: usize) -> Self {
        Self { train: Some(train), ..self }
    }

    /// The number of training examples among `examples`.
    pub(crate) fn n_train(&self, examples: usize) -> Result<usize, NthError> {
        train_examples(self.train, examples)
    }
}

/// The number of training examples among `examples`; all of them by default.
pub(crate) fn train_examples(train: Option<usize>, examples: usize) -> Result<usize, NthError> {
    let train = train.unwrap_or(examples);
    if (1..=examples).contains(&train) {
        return Ok(train);
    }
    let expected = format!("between 1 and {examples}");
    Err(NthError::Order { what: "the number of training examples", expected, found: train })
}

/// The bytes that running the hierarchy at a width needs: every value of the program once, in double precision.
pub fn estimated_bytes(hierarchy: &Hierarchy, width: usize) -> u128 {
    let program = &hierarchy.program;
    let of = |id: ValueId| -> u128 {
        let value = program.value(id);
        let size = |dim| program.dim_size(dim, width) as u128;
        let member = match value.ty.kind {
            Kind::Matrix { rows, cols } => size(rows) * size(cols),
            Kind::Vector(dim) => size(dim),
            Kind::Scalar => 1,
        };
        // A matrix product gathers its operands and its results once more.
        let copies = if matches!(value.instr, Instr::MatMul { .. }) { 2 } else { 1 };
        program.family_sizes(id).iter().fold(member, |n, &k| n.saturating_mul(k as u128)).saturating_mul(8 * copies)
    };
    program.value_ids().fold(0, |sum: u128, id| sum.saturating_add(of(id)))
}

/// Positions on the first axis of an output.
pub(crate) fn n_examples(program: &Program, output: ValueId) -> usize {
    program.family_sizes(output).first().copied().unwrap_or(1)
}

/// Runs a hierarchy at a width with drawn parameters, or with those that `inputs` supply; `inputs` also has the data.
///
/// # Errors
/// [`NthError::Memory`] before anything is allocated; otherwise as [`execute`].
pub fn kernels_at(hierarchy: &Hierarchy, inputs: &Inputs, options: &KernelOptions) -> Result<Kernels, NthError> {
    let points = hierarchy.n_points();
    let examples = n_examples(&hierarchy.program, hierarchy.output);
    let n_examples = options.n_train(examples)?;
    let train = n_examples * (points / examples);
    let bytes = estimated_bytes(hierarchy, options.width);
    if options.memory_limit < bytes {
        let (order, width, limit) = (hierarchy.order(), options.width, options.memory_limit);
        return Err(NthError::Memory { order, points, width, bytes, limit });
    }
    let mut wanted = hierarchy.kernels.clone();
    wanted.push(hierarchy.output);
    wanted.extend(&hierarchy.derivatives);
    wanted.extend(hierarchy.parts.values());
    let run = Options::new(options.width, options.seed);
    let state: State<f64> = execute(&hierarchy.program, inputs, &wanted, &run)?;
    let later = match hierarchy.mode {
        DirectionMode::Live => Later::Ordered,
        DirectionMode::Frozen => Later::Symmetric,
    };
    let tensor = |v, order| KernelTensor::from_full(&state.numbers(v), points, train, order, later);
    Ok(Kernels {
        f: state.numbers(hierarchy.output),
        n_examples,
        kernels: hierarchy.kernels.iter().enumerate().map(|(k, &v)| tensor(v, k + 2)).collect(),
        parts: hierarchy.parts.iter().map(|(&parameter, &v)| (parameter, tensor(v, 2))).collect(),
        derivatives: hierarchy.derivatives.iter().map(|&v| state.numbers(v)).collect(),
    })
}
