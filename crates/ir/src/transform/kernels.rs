//! `kernels`: a network to the program whose scalars are its NNGP and tangent kernels (TP IIb eq. 97–100).
//!
//! The gradient in a matrix is a sum of rank-one terms, so the inner product of two gradients needs no Jacobian:
//! `<a b', c d'> = <a, c><b, d>`. The kernel is therefore a polynomial in moments of forward and adjoint vectors, the
//! same for a finite network (the empirical kernel) and in the limit. Uses of a matrix and of its transpose need no
//! case of their own: a gradient names its factor on the side of the rows and the one on the side of the columns.

use std::collections::BTreeMap;

use super::TransformError;
use super::backprop::{Backprop, Gradient, OutputAdjoint, Seed, backprop, width_power};
use crate::calculus::{Derivative, Occurrence};
use crate::expr::{Expr, ExprId, Symbol};
use crate::id::Id;
use crate::index::{Guard, Index};
use crate::network::Network;
use crate::number::power;
use crate::program::{Axis, Dim, Instr, Kind, Operand, Program, Scale, ValueId, own_indices, symbol_of, value_of};

/// A program with the kernels of a network as scalar families `K[i, c, i', c']`: output indices, output component (if
/// there is more than one), and the same again with primes.
#[derive(Clone, Debug)]
pub struct Kernels {
    /// The network's values unchanged, then adjoints, moments and kernels.
    pub program: Program,
    /// One entry an output.
    pub outputs: Vec<OutputKernels>,
    /// One entry for each pair of different outputs in the order of their definitions; only [`joint_kernels`] has any.
    pub between: Vec<CrossKernels>,
    /// The adjoints behind the kernels, one entry an output.
    pub adjoints: Vec<OutputAdjoint>,
}

/// The kernels of one output.
#[derive(Clone, Debug)]
pub struct OutputKernels {
    /// The output.
    pub output: ValueId,
    /// Axes of one half of the kernel's indices.
    pub indices: Vec<(String, Id<Axis>)>,
    /// The tangent kernel, summed over trained parameters and weighted by their rates.
    pub ntk: ValueId,
    /// The share of each trained parameter.
    pub ntk_parts: BTreeMap<ValueId, ValueId>,
    /// The covariance of the output at initialisation, if the output is a readout or a sum of readouts.
    pub nngp: Option<ValueId>,
    /// Why there is no `nngp`, if there is none.
    pub nngp_reason: Option<TransformError>,
}

/// The kernels between two outputs `f` and `g`: families `K[i, c, i', c']` over the indices of `f`, then those of `g`.
///
/// The tangent kernel is `<grad f, grad g>`: by how much a step of training on `g` moves `f`.
#[derive(Clone, Debug)]
pub struct CrossKernels {
    /// The outputs of the first and of the second half of the indices.
    pub outputs: (ValueId, ValueId),
    /// The axes of both halves, with primes on the names of the second.
    pub indices: Vec<(String, Id<Axis>)>,
    /// The tangent kernel, summed over trained parameters and weighted by their rates.
    pub ntk: ValueId,
    /// The share of each trained parameter.
    pub ntk_parts: BTreeMap<ValueId, ValueId>,
    /// The covariance of the two outputs at initialisation, if both are sums of readouts.
    pub nngp: Option<ValueId>,
    /// Why there is no `nngp`, if there is none.
    pub nngp_reason: Option<TransformError>,
}

/// The kernels of every output of the network.
pub fn kernels(network: &Network) -> Result<Kernels, TransformError> {
    let Backprop { mut program, outputs } = backprop(network, Seed::Components)?;
    let mut moments = Moments::default();
    let mut result = Vec::new();
    for adjoint in &outputs {
        let name = &network.program.value(adjoint.output).name;
        let suffix = if outputs.len() == 1 { String::new() } else { format!("_{name}") };
        let found = between(network, &mut program, &mut moments, (adjoint, adjoint), &suffix);
        let CrossKernels { ntk, ntk_parts, nngp, nngp_reason, .. } = found;
        let (output, indices) = (adjoint.output, adjoint.seeds.clone());
        result.push(OutputKernels { output, indices, ntk, ntk_parts, nngp, nngp_reason });
    }
    Ok(Kernels { program, outputs: result, between: Vec::new(), adjoints: outputs })
}

/// The kernels of every output, and those between every two.
///
/// ```
/// use netsor_ir::syntax::parse_network;
/// use netsor_ir::transform::joint_kernels;
///
/// let network = parse_network("
/// network two {
///   data xi : 3
///   param U : n x 3 ~ N(0, 1/3)
///   param v : n x 1 ~ N(0, 1/n)
///   g = U * xi
///   output f = v' * g
///   x = tanh(g)
///   output e = v' * x
/// }")?;
/// let kernels = joint_kernels(&network)?;
/// let text = netsor_ir::syntax::print_program(&kernels.program);
/// assert!(text.contains("scalar nngp_f_e = m_g_x"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn joint_kernels(network: &Network) -> Result<Kernels, TransformError> {
    let mut kernels = kernels(network)?;
    let mut moments = Moments::of(&kernels.program);
    for (k, first) in kernels.adjoints.iter().enumerate() {
        for second in &kernels.adjoints[k + 1..] {
            let [a, b] = [first, second].map(|adjoint| network.program.value(adjoint.output).name.as_str());
            let suffix = format!("_{a}_{b}");
            kernels.between.push(between(network, &mut kernels.program, &mut moments, (first, second), &suffix));
        }
    }
    Ok(kernels)
}

/// The kernels between two outputs, which may be one.
fn between(
    network: &Network,
    program: &mut Program,
    moments: &mut Moments,
    (first, second): (&OutputAdjoint, &OutputAdjoint),
    suffix: &str,
) -> CrossKernels {
    let indices = beside(&first.seeds, &second.seeds);
    let family: Vec<(&str, Id<Axis>)> = indices.iter().map(|(n, a)| (n.as_str(), *a)).collect();
    let halves = (first.seeds.len() as u32, second.seeds.len() as u32);
    let mut ntk_parts = BTreeMap::new();
    let mut all = Vec::new();
    for parameter in network.parameters.iter().filter(|p| p.trained) {
        let of = |adjoint: &OutputAdjoint| -> Vec<Gradient> {
            adjoint.gradients.iter().filter(|g| g.parameter == parameter.value).cloned().collect()
        };
        let (left, right) = (of(first), of(second));
        let mut terms = Vec::new();
        for a in &left {
            for b in &right {
                let product = moments.inner_product(program, a, b, halves);
                // Term by term, so that the powers of the width cancel where they can be seen to.
                let rate = scale(program, &parameter.rate());
                terms.push(program.exprs.mul(rate, product));
            }
        }
        let share = program.exprs.add_all(terms);
        let stem = format!("ntk{suffix}_{}", network.program.value(parameter.value).name);
        let stem = program.unused_name(&stem);
        let part = program.scalar(&stem, &family, share);
        ntk_parts.insert(parameter.value, part);
        let own: Vec<Index> = (0..family.len() as u32).map(Index::Var).collect();
        all.push(program.member(part, &own));
    }
    let total = program.exprs.add_all(all);
    let name = program.unused_name(&format!("ntk{suffix}"));
    let ntk = program.scalar(&name, &family, total);
    let outputs = (first.output, second.output);
    let (nngp, nngp_reason) = match output_covariance(network, program, moments, outputs, halves) {
        Ok(expr) => {
            let name = program.unused_name(&format!("nngp{suffix}"));
            (Some(program.scalar(&name, &family, expr)), None)
        }
        Err(reason) => (None, Some(reason)),
    };
    CrossKernels { outputs, indices, ntk, ntk_parts, nngp, nngp_reason }
}

/// The names of the first half of the indices, then those of the second with a prime each.
fn beside(first: &[(String, Id<Axis>)], second: &[(String, Id<Axis>)]) -> Vec<(String, Id<Axis>)> {
    let mut all = first.to_vec();
    for (name, axis) in second {
        let mut name = format!("{name}'");
        while all.iter().any(|(taken, _)| *taken == name) {
            name.push('\'');
        }
        all.push((name, *axis));
    }
    all
}

pub(super) fn scale(program: &mut Program, scale: &Scale) -> ExprId {
    let coefficient = program.exprs.constant(scale.coefficient.clone());
    let n = program.exprs.width(scale.power);
    program.exprs.mul(coefficient, n)
}

/// `size` of a dimension as an expression.
fn size(program: &mut Program, dim: Dim) -> ExprId {
    match dim {
        Dim::Finite(size) => program.exprs.integer(i64::from(size)),
        Dim::Width(_) => width_power(program, Some(dim), power(1, 1)),
    }
}

type GramTable = BTreeMap<(ValueId, ValueId), ValueId>;

/// The Gram moments `mean(a[..] * b[..])` over whole families, each defined once.
#[derive(Clone, Debug, Default)]
pub(super) struct Moments {
    known: GramTable,
}

impl Moments {
    /// The Gram moments that a program has already, so that none is defined twice.
    pub(super) fn of(program: &Program) -> Self {
        let mut known = GramTable::new();
        for id in program.value_ids() {
            if let Some(pair) = as_gram(program, id) {
                known.entry(pair).or_insert(id);
            }
        }
        Self { known }
    }

    /// `<a, b>` as `size * mean(a * b)`.
    pub(super) fn product(&mut self, program: &mut Program, a: &Operand, b: &Operand) -> ExprId {
        let mean = self.mean(program, a, b);
        let size = match program.value(a.value).ty.kind {
            Kind::Vector(dim) => size(program, dim),
            _ => program.exprs.integer(1),
        };
        program.exprs.mul(size, mean)
    }

    /// `mean(a * b)`.
    pub(super) fn mean(&mut self, program: &mut Program, a: &Operand, b: &Operand) -> ExprId {
        let (first, second) = if a.value <= b.value { (a, b) } else { (b, a) };
        let moment = match self.known.get(&(first.value, second.value)) {
            Some(&moment) => moment,
            None => {
                let moment = define_gram(program, first.value, second.value);
                self.known.insert((first.value, second.value), moment);
                moment
            }
        };
        let indices: Vec<Index> = first.indices.iter().chain(&second.indices).copied().collect();
        program.member(moment, &indices)
    }

    /// The inner product of two gradients in the same parameter: the first over the output indices `Var(0..k)`, the
    /// second over `Var(k..k + l)`, where `k, l` are `halves`.
    fn inner_product(
        &mut self,
        program: &mut Program,
        first: &Gradient,
        second: &Gradient,
        (k, l): (u32, u32),
    ) -> ExprId {
        // Variables of the second gradient are renamed apart: output indices by k, summed ones by a block.
        let apart = |index: Index| match index {
            Index::Var(v) if v < l => Index::Var(v + k),
            Index::Var(v) => Index::Var(v + 1_000_000),
            other => other,
        };
        let rename = |operand: &Operand| Operand {
            value: operand.value,
            indices: operand.indices.iter().map(|&i| apart(i)).collect(),
        };
        let mut variables = first.variables.clone();
        variables.extend(second.variables.iter().map(|&(v, axis)| (apart(v), axis)));
        let mut guards = first.guards.clone();
        guards.extend(second.guards.iter().map(|g| g.map(apart)));
        let same = first.member.iter().zip(&second.member).map(|(&a, &b)| (a, apart(b)));
        let mut product = self.product(program, &first.rows, &rename(&second.rows));
        if let (Some(a), Some(b)) = (&first.cols, &second.cols) {
            let cols = self.product(program, a, &rename(b));
            product = program.exprs.mul(product, cols);
        }
        for dim in [first.normalisation, second.normalisation] {
            let factor = width_power(program, dim, power(-1, 2));
            product = program.exprs.mul(factor, product);
        }
        program.exprs.sum_matching(&variables, same, guards, product)
    }
}

/// The families `(a, b)` if a value is `mean(a[I] * b[J])` over all their indices, in the form of [`define_gram`].
fn as_gram(program: &Program, id: ValueId) -> Option<(ValueId, ValueId)> {
    let value = program.value(id);
    let Instr::Moment(expr) = value.instr else { return None };
    let Expr::Mul(x, y) = program.exprs.node(expr) else { return None };
    let (Expr::Ref(a, first), Expr::Ref(b, second)) = (program.exprs.node(*x), program.exprs.node(*y)) else {
        return None;
    };
    let (a, b) = (value_of(*a), value_of(*b));
    let own = first.iter().chain(second).copied().eq(own_indices(value.ty.family.len()));
    (own && a <= b).then_some((a, b))
}

/// Defines `mean(a[I] * b[J])` for two whole families of vectors, or the product for two of scalars.
fn define_gram(program: &mut Program, a: ValueId, b: ValueId) -> ValueId {
    let (left, right) = (program.value(a).clone(), program.value(b).clone());
    let mut family: Vec<(String, Id<Axis>)> =
        left.index_names.iter().cloned().zip(left.ty.family.iter().copied()).collect();
    for (name, &axis) in right.index_names.iter().zip(&right.ty.family) {
        let mut name = name.clone();
        while family.iter().any(|(taken, _)| *taken == name) {
            name.push('\'');
        }
        family.push((name, axis));
    }
    let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(n, x)| (n.as_str(), *x)).collect();
    let split = left.ty.family.len() as u32;
    let total = family.len() as u32;
    let x = program.member(a, &(0..split).map(Index::Var).collect::<Vec<_>>());
    let y = program.member(b, &(split..total).map(Index::Var).collect::<Vec<_>>());
    let product = program.exprs.mul(x, y);
    let name = program.unused_name(&format!("m_{}_{}", left.name, right.name));
    match left.ty.kind {
        Kind::Vector(_) => program.moment(&name, &family, product),
        _ => program.scalar(&name, &family, product),
    }
}

/// `Cov(f[J], g[J'])` at initialisation over `Var(0..k)` and `Var(k..k + l)`, where `J` is the family's indices and the
/// component of the first output, `J'` of the second. A readout `f = V'x` whose `V` is used nowhere else has covariance
/// `sigma^2 <x, x'>` (Talk, NNGP), also with a readout `g = V'y` by the same `V`; sums of readouts and of constant-size
/// Gaussian vectors add up, and different ones are independent.
fn output_covariance(
    network: &Network,
    program: &mut Program,
    moments: &mut Moments,
    outputs: (ValueId, ValueId),
    (k, l): (u32, u32),
) -> Result<ExprId, TransformError> {
    let rank = |output: ValueId| network.program.value(output).ty.family.len() as u32;
    let (own_rank, rank) = (rank(outputs.0), rank(outputs.1));
    // Independent components: the indices beyond the family say which.
    let components = (own_rank..k).zip(rank..l);
    let same_component: Vec<(Index, Index)> = components.map(|(c, d)| (Index::Var(c), Index::Var(k + d))).collect();
    let (mut left, mut right) = (Vec::new(), Vec::new());
    linear_parts(network, program, outputs.0, &mut left)?;
    linear_parts(network, program, outputs.1, &mut right)?;
    let mut terms = Vec::new();
    for first in &left {
        for second in &right {
            if first.source != second.source {
                continue;
            }
            let apart = |index: Index| match index {
                Index::Var(v) if v < rank => Index::Var(v + k),
                Index::Var(v) => Index::Var(v + 1_000_000),
                other => other,
            };
            let mut variables = first.variables.clone();
            variables.extend(second.variables.iter().map(|&(v, axis)| (apart(v), axis)));
            let mut guards = first.guards.clone();
            guards.extend(second.guards.iter().map(|g| g.map(apart)));
            let mut same = same_component.clone();
            let b = program.exprs.map_indices(second.coefficient, &mut |i| apart(i));
            let coefficients = program.exprs.mul(first.coefficient, b);
            let core = match (&first.readout, &second.readout) {
                (Some(x), Some(y)) => {
                    let y = Operand { value: y.value, indices: y.indices.iter().map(|&i| apart(i)).collect() };
                    same.extend(first.member.iter().zip(&second.member).map(|(&a, &b)| (a, apart(b))));
                    let variance = match &network.program.value(first.source).instr {
                        Instr::Matrix { variance } => scale(program, variance),
                        _ => program.exprs.integer(1),
                    };
                    let inner = moments.product(program, x, &y);
                    program.exprs.mul(variance, inner)
                }
                _ => {
                    let Instr::Gaussian(law) = &network.program.value(first.source).instr else { continue };
                    let own: Vec<Index> =
                        first.member.iter().copied().chain(second.member.iter().map(|&i| apart(i))).collect();
                    program.exprs.map_indices(law.covariance, &mut |i| match i {
                        Index::Var(v) => own.get(v as usize).copied().unwrap_or(i),
                        other => other,
                    })
                }
            };
            let product = program.exprs.mul(coefficients, core);
            terms.push(program.exprs.sum_matching(&variables, same, guards, product));
        }
    }
    Ok(program.exprs.add_all(terms))
}

/// One term of an output that is linear in centred Gaussians of their own.
struct LinearPart {
    /// The readout matrix, or the constant-size initial vector.
    source: ValueId,
    /// Its member.
    member: Vec<Index>,
    /// The vector that the readout multiplies; `None` for an initial vector.
    readout: Option<Operand>,
    coefficient: ExprId,
    variables: Vec<(Index, Id<Axis>)>,
    guards: Vec<Guard>,
}

fn linear_parts(
    network: &Network,
    program: &mut Program,
    output: ValueId,
    parts: &mut Vec<LinearPart>,
) -> Result<(), TransformError> {
    let one = program.exprs.integer(1);
    let value = network.program.value(output);
    match &value.instr {
        Instr::Map(expr) => {
            let mut fresh = 1000;
            // Scalar data are numbers that the caller knows: coefficients like any other.
            let random = |s: Symbol| {
                let value = network.program.value(value_of(s));
                !(matches!(value.instr, Instr::Data) && value.ty.kind == Kind::Scalar)
            };
            let occurrences = program.exprs.occurrences(*expr, Derivative::Pointwise, &mut fresh, &random);
            let vector = |v: ValueId| matches!(network.program.value(v).ty.kind, Kind::Vector(_));
            for occurrence in occurrences {
                let source = value_of(occurrence.symbol);
                let name = || network.program.value(source).name.clone();
                if !vector(source) {
                    let reason = "it mentions a scalar".to_owned();
                    return Err(TransformError::NoGaussianProcess { name: name(), reason });
                }
                if program.expr_dim(occurrence.coefficient).is_some() {
                    let reason = "the output is not linear in it".to_owned();
                    return Err(TransformError::NoGaussianProcess { name: name(), reason });
                }
                push_part(network, source, &occurrence, parts)?;
            }
            Ok(())
        }
        Instr::MatMul { .. } => {
            let indices = (0..value.ty.family.len() as u32).map(Index::Var).collect();
            let occurrence = Occurrence {
                symbol: symbol_of(output),
                indices,
                variables: Default::default(),
                guards: Default::default(),
                coefficient: one,
            };
            push_part(network, output, &occurrence, parts)
        }
        _ => Err(TransformError::NoGaussianProcess {
            name: value.name.clone(),
            reason: "it is not a vector of constant dimension made of readouts".into(),
        }),
    }
}

fn push_part(
    network: &Network,
    value: ValueId,
    at: &Occurrence,
    parts: &mut Vec<LinearPart>,
) -> Result<(), TransformError> {
    let definition = network.program.value(value);
    let refuse = |reason: &str| {
        Err(TransformError::NoGaussianProcess { name: definition.name.clone(), reason: reason.to_owned() })
    };
    let rename = |index: Index| match index {
        Index::Var(k) => at.indices.get(k as usize).copied().unwrap_or(index),
        other => other,
    };
    let part = |source, member, readout| LinearPart {
        source,
        member,
        readout,
        coefficient: at.coefficient,
        variables: at.variables.to_vec(),
        guards: at.guards.to_vec(),
    };
    match &definition.instr {
        Instr::MatMul { matrix, vector, .. } => {
            if !matches!(network.program.value(matrix.value).instr, Instr::Matrix { .. }) {
                return refuse("its matrix is not an initial matrix");
            }
            // The Simple GIA Check's condition: the readout weights are used for nothing but the output.
            let uses = network.program.value_ids().filter(|&v| network.program.arguments(v).contains(&matrix.value));
            let others = uses.filter(|&v| !network.outputs.contains(&v) && !feeds_only_outputs(network, v)).count();
            if 0 < others {
                return refuse("its weights are also used inside the network");
            }
            let readout = Operand { value: vector.value, indices: vector.indices.iter().map(|&i| rename(i)).collect() };
            parts.push(part(matrix.value, matrix.indices.iter().map(|&i| rename(i)).collect(), Some(readout)));
            Ok(())
        }
        Instr::Gaussian(_) => {
            parts.push(part(value, at.indices.to_vec(), None));
            Ok(())
        }
        _ => refuse("it is neither a readout nor an initial vector"),
    }
}

/// Whether every value that mentions `value` is an output.
fn feeds_only_outputs(network: &Network, value: ValueId) -> bool {
    network
        .program
        .value_ids()
        .filter(|&v| network.program.arguments(v).contains(&value))
        .all(|v| network.outputs.contains(&v))
}
