//! The kernels of a network as it is, on all index tuples of a batch.

use netsor_finite::{Executor, Inputs, Options, State};
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
/// A [`HierarchyExecutor`] does the same many times.
///
/// # Errors
/// [`NthError::Memory`] before anything is allocated; otherwise as [`netsor_finite::execute()`].
pub fn kernels_at(hierarchy: &Hierarchy, inputs: &Inputs, options: &KernelOptions) -> Result<Kernels, NthError> {
    HierarchyExecutor::new(hierarchy, options)?.kernels(inputs, options.seed)
}

/// A hierarchy prepared for a width, to be run for many parameters or data: what has been run once is run again in the
/// memory that it took the first time.
///
/// ```
/// use netsor_finite::Inputs;
/// use netsor_nth::{HierarchyExecutor, HuangYau, KernelOptions, Smooth, hierarchy, kernels_at};
///
/// let paper = HuangYau { points: 2, dim: 2, hidden: 1, activation: Smooth::Tanh, sigma_w: 1.0, sigma_a: 1.0 };
/// let network = paper.network()?;
/// let x = network.program.find("x").expect("the network's data");
/// let inputs = Inputs::new().with(x, vec![1.0, 0.0, 0.6, 0.8]);
///
/// let program = hierarchy(&network, 3)?;
/// let mut executor = HierarchyExecutor::new(&program, &KernelOptions::new(64, 0))?;
/// for seed in 0..3 {
///     assert_eq!(executor.kernels(&inputs, seed)?, kernels_at(&program, &inputs, &KernelOptions::new(64, seed))?);
/// }
/// # Ok::<(), netsor_nth::NthError>(())
/// ```
#[derive(Clone, Debug)]
pub struct HierarchyExecutor<'h> {
    hierarchy: &'h Hierarchy,
    executor: Executor<'h, f64>,
    state: State<f64>,
    wanted: Vec<ValueId>,
    points: usize,
    n_examples: usize,
    /// Training examples times the components of the output.
    train: usize,
}

impl<'h> HierarchyExecutor<'h> {
    /// Prepares a hierarchy for the width of `options`.
    ///
    /// # Errors
    /// [`NthError::Memory`] if running it would take more than the limit; a number of training examples out of range.
    pub fn new(hierarchy: &'h Hierarchy, options: &KernelOptions) -> Result<Self, NthError> {
        let points = hierarchy.n_points();
        let examples = n_examples(&hierarchy.program, hierarchy.output);
        let n_examples = options.n_train(examples)?;
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
        let state = State::new(&hierarchy.program, &Inputs::new(), &run)?;
        let executor = Executor::new(&hierarchy.program, run)?;
        let train = n_examples * (points / examples);
        Ok(Self { hierarchy, executor, state, wanted, points, n_examples, train })
    }

    /// The kernels for what `inputs` supply; everything else is drawn from the seed.
    ///
    /// # Errors
    /// As [`netsor_finite::execute()`].
    pub fn kernels(&mut self, inputs: &Inputs, seed: u64) -> Result<Kernels, NthError> {
        self.executor.reseed(seed);
        self.state.renew(&self.hierarchy.program, inputs, self.executor.options())?;
        self.executor.run(&mut self.state, &self.wanted)?;
        let Self { hierarchy, state, points, n_examples, train, .. } = self;
        let later = match hierarchy.mode {
            DirectionMode::Live => Later::Ordered,
            DirectionMode::Frozen => Later::Symmetric,
        };
        let numbers = |v| state.block(v).map_or(&[][..], |block| &block.data);
        let tensor = |v, order| KernelTensor::from_full(numbers(v), *points, *train, order, later);
        Ok(Kernels {
            f: state.numbers(hierarchy.output),
            n_examples: *n_examples,
            kernels: hierarchy.kernels.iter().enumerate().map(|(k, &v)| tensor(v, k + 2)).collect(),
            parts: hierarchy.parts.iter().map(|(&parameter, &v)| (parameter, tensor(v, 2))).collect(),
            derivatives: hierarchy.derivatives.iter().map(|&v| state.numbers(v)).collect(),
        })
    }
}
