//! The hierarchy at infinite width: the deterministic limits of `n^(r/2-1) K^(r)` for even `r` (NTH eq. 11).
//!
//! The summands of a kernel are moments of forward, adjoint and tangent vectors, so the program of `K^(r)` is a tensor
//! program and its limit follows by the same rules as that of the tangent kernel, for every network. Kernels of odd
//! order are odd in the readout weights: `n^((r-1)/2) K^(r)` converges in law, to a random variable that is no moment
//! of the program. What a prediction needs of `K^(3)` is its covariance with the output at initialisation, and that is
//! deterministic: by Stein's lemma for the readout weights `v`,
//! `E K^(3)(a, b, c) f(d) = sigma^2 E <grad_v K^(3)(a, b, c), grad_v f(d)>`,
//! a share of `K^(4)`. So `n E K^(3) f` has a limit of the same kind.

use netsor_ir::number::power;
use netsor_ir::program::{Instr, Kind, Program, ValueId, own_indices};
use netsor_ir::transform::{Direction, DirectionMode, Tangents};
use netsor_ir::verify::Verified;
use netsor_ir::{ExprId, Id, Network, Role};
use netsor_limit::{Data, Deriver, Evaluator, Graph, Tolerance};
use rayon::prelude::*;

use crate::hierarchy::{Tower, tower};
use crate::tensor::pairs;
use crate::{KernelTensor, Later, NthError};

/// Entries that are computed together over a cloud: enough that to prepare for them takes no time.
const PART: usize = 1024;

/// How the Gaussian expectations of a limit are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Integration {
    /// Each by the method that suits it, to a tolerance: quadrature in few dimensions.
    Adaptive(Tolerance),
    /// All over one cloud of about `points` randomised points, some 1e-3 of a term with 4096 of them.
    Sampled {
        /// The number of points.
        points: usize,
        /// The seed of their randomisation.
        seed: u64,
    },
}

impl Default for Integration {
    fn default() -> Self {
        Self::Adaptive(Tolerance::default())
    }
}

impl Integration {
    /// Adaptive, with one tolerance, relative and absolute.
    pub fn with_tolerance(tolerance: f64) -> Self {
        Self::Adaptive(Tolerance { absolute: tolerance, relative: tolerance, ..Tolerance::default() })
    }
}

/// The limits of a network's kernels as definitions of a moment graph: symbolic, for any data.
#[derive(Clone, Debug)]
pub struct LimitHierarchy {
    program: Program,
    graph: Graph,
    output: ValueId,
    order: usize,
    /// `n^(r/2-1) K^(r)` for `r = 2, 4, ..`
    kernels: Vec<ExprId>,
    nngp: Option<ExprId>,
    with_output: Option<ExprId>,
}

/// The limits on a data set.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitKernels {
    /// The limits of `n^(r/2-1) K^(r)` for `r = 2, 4, ..`
    pub kernels: Vec<KernelTensor>,
    /// The covariance of the outputs at initialisation, if they converge to a Gaussian process.
    pub nngp: Option<KernelTensor>,
    /// The limit of `n E K^(3)(a, b, c) f(d)`, with order 4 or more and trained readouts.
    pub with_output: Option<KernelTensor>,
    /// How many examples are training examples.
    pub n_examples: usize,
    /// The largest error estimate of all entries.
    pub error: f64,
}

/// The limits of `n^(r/2-1) K^(r)` for even `r` up to `order`, with the NNGP kernel and, from order 4 on, the
/// covariance of `K^(3)` and the output.
///
/// ```
/// use netsor_limit::Data;
/// use netsor_nth::{HuangYau, Integration, Smooth, limit_hierarchy};
///
/// // One hidden layer, one input: f = v' tanh(w x) / sqrt(m).
/// let paper = HuangYau { points: 1, dim: 1, hidden: 1, activation: Smooth::Tanh, sigma_w: 1.0, sigma_a: 1.0 };
/// let network = paper.network()?;
/// let x = network.program.find("x").expect("the network's data");
/// let limits = limit_hierarchy(&network, 4)?.evaluate(&Data::new().with(x, vec![1.0]), None, &Integration::default())?;
/// // K^(2) -> E tanh^2 + E v^2 tanh'^2 = 0.394294 + 0.464403.
/// assert!((limits.kernels[0].get(&[0, 0]) - 0.858697).abs() < 1e-6);
/// assert!(limits.kernels[1].get(&[0, 0, 0, 0]).is_finite());
/// # Ok::<(), netsor_nth::NthError>(())
/// ```
///
/// # Errors
/// As [`crate::hierarchy`]; an odd order, whose kernel converges in law only; parametrizations in which the kernels
/// have other sizes.
pub fn limit_hierarchy(network: &Verified<Network>, order: usize) -> Result<LimitHierarchy, NthError> {
    if order % 2 == 1 {
        return Err(NthError::OddLimit { order });
    }
    let Tower { tangents, output, adjoint, kernels, .. } = tower(network, order, DirectionMode::Live)?;
    let mut program = tangents.program;
    let with_output = match (kernels.get(1), output.nngp) {
        (Some(&third), Some(_)) if 4 <= order => {
            let (extended, share) = covariance_with_output(network, program, &adjoint, third)?;
            program = extended;
            share
        }
        _ => None,
    };
    let scaled: Vec<ValueId> = kernels
        .iter()
        .enumerate()
        .step_by(2)
        .map(|(k, &kernel)| times_width(&mut program, kernel, k as i64 / 2))
        .collect();
    let with_output = with_output.map(|share| times_width(&mut program, share, 1));
    let mut deriver = Deriver::new(&program);
    let kernels = scaled.into_iter().map(|v| deriver.scalar(v)).collect::<Result<_, _>>()?;
    let nngp = output.nngp.map(|v| deriver.scalar(v)).transpose()?;
    let with_output = with_output.map(|v| deriver.scalar(v)).transpose()?;
    let graph = deriver.into_graph();
    Ok(LimitHierarchy { graph, output: output.output, order, kernels, nngp, with_output, program })
}

/// The value times a power of the width.
fn times_width(program: &mut Program, value: ValueId, exponent: i64) -> ValueId {
    let definition = program.value(value).clone();
    let family: Vec<(&str, Id<_>)> =
        definition.index_names.iter().map(String::as_str).zip(definition.ty.family.iter().copied()).collect();
    let own: Vec<_> = own_indices(family.len()).collect();
    let (member, width) = (program.member(value, &own), program.exprs.width(power(exponent, 1)));
    let scaled = program.exprs.mul(width, member);
    let name = program.unused_name(&format!("{}_scaled", definition.name));
    program.scalar(&name, &family, scaled)
}

/// `E K^(3) f` as the derivative of `K^(3)` along the gradient of `f` in the readout weights, weighted by their
/// variance. `None` if a readout is not trained: its gradient is then no part of the program.
fn covariance_with_output(
    network: &Network,
    program: Program,
    adjoint: &netsor_ir::transform::backprop::OutputAdjoint,
    third: ValueId,
) -> Result<(Program, Option<ValueId>), NthError> {
    let mut direction = Direction::new(network, adjoint);
    direction.rates.clear();
    for id in network.program.value_ids() {
        let readout = network.role(id) == Role::OutputLike;
        if let Instr::Matrix { variance } = &network.program.value(id).instr
            && readout
        {
            if network.parameter(id).is_none_or(|p| !p.trained) {
                return Ok((program, None));
            }
            direction.rates.insert(id, variance.clone());
        }
    }
    direction.gradients.retain(|gradient| direction.rates.contains_key(&gradient.parameter));
    let mut tangents = Tangents::new(program, direction, DirectionMode::Live);
    let share = tangents.apply(&[third])?[0];
    Ok((tangents.program, Some(share)))
}

impl LimitHierarchy {
    /// The highest order.
    pub fn order(&self) -> usize {
        self.order
    }

    /// The numbers on a data set. The first two arguments run over all points, later ones over the first `train`
    /// examples (positions on the output's first axis); all of them by default.
    ///
    /// Cost: one Gaussian expectation for every term and every set of distinct points, in as many dimensions as there
    /// are distinct points; tuples that share points share expectations. A term of a convolution or of attention has a
    /// point for each position, so that `n K^(4)` takes the fourth power of the number of positions: there
    /// [`Integration::Sampled`] is the choice, whose expectations cost the same in any number of dimensions.
    ///
    /// # Errors
    /// Data that do not fit, a number of training examples out of range, an expectation that fails. A tolerance that
    /// is not met is no error: see [`LimitKernels::error`].
    pub fn evaluate(
        &self,
        data: &Data,
        train: Option<usize>,
        integration: &Integration,
    ) -> Result<LimitKernels, NthError> {
        self.evaluate_with(data, train, integration, &|| {})
    }

    /// How many entries [`LimitHierarchy::evaluate`] computes for so many training examples.
    ///
    /// # Errors
    /// A number of training examples out of range.
    pub fn n_entries(&self, train: Option<usize>) -> Result<usize, NthError> {
        let points: usize = self.sizes().iter().product();
        let examples = crate::kernels::n_examples(&self.program, self.output);
        let train = crate::kernels::train_examples(train, examples)? * (points / examples);
        let pairs = points * (points + 1) / 2;
        let of_kernels: usize = (0..self.kernels.len()).map(|k| train.saturating_pow(2 * k as u32)).sum();
        let others = usize::from(self.nngp.is_some()) + usize::from(self.with_output.is_some()) * train * train;
        Ok(pairs.saturating_mul(of_kernels.saturating_add(others)))
    }

    /// [`LimitHierarchy::evaluate`], which tells `each` of every entry: for a progress bar.
    ///
    /// Over a cloud, entries are computed on all threads, in parts that each forget their expectations: those of four
    /// points are nearly all that there are, and belong to one entry each. Integrals to a tolerance are few and dear,
    /// and are shared by all entries.
    ///
    /// # Errors
    /// As there.
    pub fn evaluate_with(
        &self,
        data: &Data,
        train: Option<usize>,
        integration: &Integration,
        each: &(dyn Fn() + Sync),
    ) -> Result<LimitKernels, NthError> {
        let points: usize = self.sizes().iter().product();
        let examples = crate::kernels::n_examples(&self.program, self.output);
        let n_examples = crate::kernels::train_examples(train, examples)?;
        let train = n_examples * (points / examples);
        // All tensors run over the same pairs of first arguments.
        let tensors: Vec<(ExprId, usize)> = (self.kernels.iter().enumerate().map(|(k, &e)| (e, 2 * k + 2)))
            .chain(self.nngp.map(|e| (e, 2)))
            .chain(self.with_output.map(|e| (e, 4)))
            .collect();
        let all: Vec<(usize, usize)> = pairs(points).collect();
        let entries_of_pair: usize = tensors.iter().map(|&(_, order)| train.pow(order as u32 - 2)).sum();
        let part = match integration {
            Integration::Adaptive(_) => all.len(),
            Integration::Sampled { .. } => PART.div_ceil(entries_of_pair),
        };
        let evaluate = |pairs: &[(usize, usize)]| self.part(data, pairs, train, &tensors, integration, each);
        let parts: Vec<Part> = all.par_chunks(part.max(1)).map(evaluate).collect::<Result<_, _>>()?;
        let error = parts.iter().map(|part| part.error).fold(0.0, f64::max);
        let tensor = |k: usize| {
            let data = parts.iter().flat_map(|part| &part.entries[k]).copied().collect();
            KernelTensor::from_packed(points, train, tensors[k].1, data)
        };
        let n_kernels = self.kernels.len();
        Ok(LimitKernels {
            kernels: (0..n_kernels).map(tensor).collect(),
            nngp: self.nngp.map(|_| tensor(n_kernels)),
            with_output: self.with_output.map(|_| tensor(tensors.len() - 1)),
            n_examples,
            error,
        })
    }

    /// The entries of all tensors, given with their orders, whose first two arguments are one of the pairs.
    fn part(
        &self,
        data: &Data,
        pairs: &[(usize, usize)],
        train: usize,
        tensors: &[(ExprId, usize)],
        integration: &Integration,
        each: &(dyn Fn() + Sync),
    ) -> Result<Part, NthError> {
        let sizes = self.sizes();
        let mut evaluator = match *integration {
            Integration::Adaptive(tolerance) => Evaluator::new(&self.graph, &self.program, data, tolerance)?,
            Integration::Sampled { points, seed } => {
                let tolerance = Tolerance { seed, ..Tolerance::default() };
                Evaluator::new(&self.graph, &self.program, data, tolerance)?.sampled(points)?
            }
        };
        let mut part = Part { entries: vec![Vec::new(); tensors.len()], error: 0.0 };
        let later: Vec<_> = tensors.iter().map(|&(_, order)| Later::Ordered.tuples(train, order - 2)).collect();
        for &(a, b) in pairs {
            for ((&(expr, _), tuples), entries) in tensors.iter().zip(&later).zip(&mut part.entries) {
                for tuple in tuples {
                    let at: Vec<u32> = [a, b].iter().chain(tuple).flat_map(|&a| unravel(a, &sizes)).collect();
                    let entry = evaluator.value(expr, &at)?;
                    part.error = part.error.max(entry.error);
                    entries.push(entry.value);
                    each();
                }
            }
        }
        Ok(part)
    }

    /// The sizes of the axes of one argument of a kernel: the output's family and its component.
    fn sizes(&self) -> Vec<usize> {
        let mut sizes = self.program.family_sizes(self.output);
        if let Kind::Vector(netsor_ir::Dim::Finite(size)) = self.program.value(self.output).ty.kind
            && 1 < size
        {
            sizes.push(size as usize);
        }
        sizes
    }
}

/// Entries of every tensor for some pairs of first arguments.
struct Part {
    entries: Vec<Vec<f64>>,
    error: f64,
}

fn unravel(mut point: usize, sizes: &[usize]) -> Vec<u32> {
    let mut at = vec![0; sizes.len()];
    for (position, &size) in at.iter_mut().zip(sizes).rev() {
        *position = (point % size) as u32;
        point /= size;
    }
    at
}

impl LimitKernels {
    /// The limit of `n^(r/2-1) K^(r)`.
    ///
    /// # Errors
    /// If it was not computed.
    pub fn of_order(&self, r: usize) -> Result<&KernelTensor, NthError> {
        let found = if r.is_multiple_of(2) { r.checked_sub(2).and_then(|k| self.kernels.get(k / 2)) } else { None };
        found.ok_or_else(|| {
            let expected = format!("even and at most {}", 2 * self.kernels.len());
            NthError::Order { what: "the order of a limit", expected, found: r }
        })
    }
}
