//! `tunable`: a network whose hyper-parameters are scalars of its program.
//!
//! The standard deviation of a parameter is a number of the text. To ask how a kernel depends on it, the number has to
//! be a symbol: [`tunable`] multiplies every use of the parameter by a scalar *factor*, which is data like any other and
//! 1 for the network as it was written. Several parameters may share a factor, and one may have several.
//!
//! Nothing else is needed. The factor goes through `backprop`, kernels, training and both engines as every scalar does,
//! and the derivative of a limit with respect to it is that with respect to a datum. Numbers in formulas, such as the
//! slope of a leaky ReLU, are tuned without this transform: write them as `data slope`.

use std::collections::BTreeMap;

use num_traits::Zero;

use super::TransformError;
use super::copy::{Leaves, copy_instr};
use super::kernels::{Kernels, kernels};
use crate::expr::{ExprId, Symbol};
use crate::id::Id;
use crate::index::{Index, Indices};
use crate::network::{Network, Parameter};
use crate::number::{Number, Power, power};
use crate::program::{Axis, Instr, Kind, Program, Scale, ValueId, own_indices, symbol_of, value_of};

/// What a hyper-parameter does to a parameter of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Act {
    /// It multiplies the tensor in the forward pass, as the standard deviation does under the NTK parametrization: the
    /// gradient in the trained tensor is multiplied too.
    Multiplier,
    /// It multiplies the initial tensor, as the standard deviation does under the standard parametrization: the
    /// gradient is what it was.
    Law,
    /// It multiplies the learning rate.
    Rate,
}

impl Act {
    /// How the standard deviation of a parameter acts: as a multiplier if the trained tensor is standard normal and the
    /// whole standard deviation a factor of it, otherwise in the law.
    pub fn of_std(network: &Network, parameter: &Parameter) -> Self {
        let multiplier = parameter.b.is_zero()
            && match &network.program.value(parameter.value).instr {
                Instr::Matrix { variance } => variance.coefficient == parameter.multiplier_squared,
                Instr::Gaussian(law) => {
                    let constant = super::parametrize::constant_of(&network.program, law.covariance);
                    constant.is_none_or(|c| c == parameter.multiplier_squared)
                }
                _ => true,
            };
        if multiplier { Self::Multiplier } else { Self::Law }
    }
}

/// A hyper-parameter: a factor of standard deviations or of learning rates, 1 for the network as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HyperParameter {
    /// The name of its scalar, if that is free in the program.
    pub name: String,
    /// The parameters that it acts on, and how.
    pub acts: Vec<(ValueId, Act)>,
}

impl HyperParameter {
    /// The standard deviation of one parameter.
    pub fn std(network: &Network, parameter: &Parameter) -> Self {
        let name = format!("std_{}", network.program.value(parameter.value).name);
        Self { name, acts: vec![(parameter.value, Act::of_std(network, parameter))] }
    }

    /// The learning rate of one parameter.
    pub fn rate(network: &Network, parameter: &Parameter) -> Self {
        let name = format!("rate_{}", network.program.value(parameter.value).name);
        Self { name, acts: vec![(parameter.value, Act::Rate)] }
    }

    /// One factor for the standard deviations of all matrices: `sigma_w` of the usual parametrizations.
    pub fn weights(network: &Network) -> Self {
        Self::group(network, "weights", true)
    }

    /// One factor for the standard deviations of all initial vectors that are parameters: `sigma_b`.
    pub fn biases(network: &Network) -> Self {
        Self::group(network, "biases", false)
    }

    fn group(network: &Network, name: &str, matrices: bool) -> Self {
        let wanted = |p: &&Parameter| matches!(network.program.value(p.value).ty.kind, Kind::Matrix { .. }) == matrices;
        let acts = network.parameters.iter().filter(wanted).map(|p| (p.value, Act::of_std(network, p))).collect();
        Self { name: name.to_owned(), acts }
    }
}

/// A network with factors, and what these do to learning rates.
#[derive(Clone, Debug)]
pub struct Tunable {
    /// The network; its new scalars come first.
    pub network: Network,
    /// The scalar of each hyper-parameter, in the order given. Their value for the original network is 1.
    pub factors: Vec<ValueId>,
    /// The new id of each value of the original program.
    pub image: Vec<ValueId>,
    /// Factors of learning rates: powers of hyper-parameters, by parameter.
    rates: BTreeMap<ValueId, Vec<(ValueId, Power)>>,
}

impl Tunable {
    /// The kernels of the network, as functions of the factors: [`kernels()`] with learning rates as the factors say.
    ///
    /// # Errors
    /// As for [`kernels()`].
    pub fn kernels(&self) -> Result<Kernels, TransformError> {
        let mut kernels = kernels(&self.network)?;
        if self.rates.is_empty() {
            return Ok(kernels);
        }
        let program = &mut kernels.program;
        for output in &mut kernels.outputs {
            let mut all = Vec::new();
            for (parameter, part) in &mut output.ntk_parts {
                if let Some(factors) = self.rates.get(parameter) {
                    *part = weighted(program, *part, factors);
                }
                let rank = program.value(*part).ty.family.len();
                all.push(program.exprs.reference(symbol_of(*part), own_indices(rank)));
            }
            let total = program.exprs.add_all(all);
            output.ntk = scalar_like(program, output.ntk, total);
        }
        Ok(kernels)
    }
}

/// `part` times powers of factors, as a new scalar.
fn weighted(program: &mut Program, part: ValueId, factors: &[(ValueId, Power)]) -> ValueId {
    let rank = program.value(part).ty.family.len();
    let mut product = program.exprs.reference(symbol_of(part), own_indices(rank));
    for &(factor, exponent) in factors {
        let factor = program.member(factor, &[]);
        let factor = program.exprs.pow(factor, exponent);
        product = program.exprs.mul(factor, product);
    }
    scalar_like(program, part, product)
}

fn scalar_like(program: &mut Program, like: ValueId, expr: ExprId) -> ValueId {
    let value = program.value(like).clone();
    let family: Vec<(&str, Id<Axis>)> =
        value.index_names.iter().map(String::as_str).zip(value.ty.family.iter().copied()).collect();
    let name = program.unused_name(&format!("{}_tuned", value.name));
    program.scalar(&name, &family, expr)
}

/// The network with a scalar factor for each hyper-parameter.
///
/// A matrix is multiplied where it is used, through the vector that it multiplies; an initial vector where it is
/// mentioned, about its mean.
///
/// # Errors
/// [`TransformError::NotTunable`] for a hyper-parameter that acts on nothing, or on what is no parameter.
pub fn tunable(network: &Network, hyper_parameters: &[HyperParameter]) -> Result<Tunable, TransformError> {
    let program = &network.program;
    let mut new = Program {
        axes: program.axes.clone(),
        classes: program.classes.clone(),
        tables: program.tables.clone(),
        ..Program::new(&program.name)
    };
    let mut factors = Vec::new();
    // Factors of tensors and of rates, by the old id of the parameter.
    let mut of_tensor: BTreeMap<ValueId, Vec<ValueId>> = BTreeMap::new();
    let mut of_rate: BTreeMap<ValueId, Vec<(ValueId, Power)>> = BTreeMap::new();
    for hyper in hyper_parameters {
        let refuse = |reason: String| Err(TransformError::NotTunable { name: hyper.name.clone(), reason });
        if hyper.acts.is_empty() {
            return refuse("the network has no parameter of this kind".to_owned());
        }
        let name = free_name(program, &new, &hyper.name);
        let factor = new.data(&name, &[], Kind::Scalar);
        factors.push(factor);
        for &(value, act) in &hyper.acts {
            if network.parameter(value).is_none() {
                let name = program.values.get(value.index()).map_or("?", |v| &v.name);
                return refuse(format!("`{name}` is not a parameter of the network"));
            }
            match act {
                Act::Multiplier => of_tensor.entry(value).or_default().push(factor),
                Act::Law => {
                    of_tensor.entry(value).or_default().push(factor);
                    of_rate.entry(value).or_default().push((factor, power(-2, 1)));
                }
                Act::Rate => of_rate.entry(value).or_default().push((factor, power(1, 1))),
            }
        }
    }
    let mut tuning = Tuning { old: program, new, of_tensor: BTreeMap::new(), scaled: BTreeMap::new() };
    let mut image: Vec<ValueId> = Vec::with_capacity(program.values.len());
    for id in program.value_ids() {
        let value = program.value(id);
        if let Some(later) = program.arguments(id).iter().find(|a| id <= **a) {
            let reason = format!("it mentions definition number {}, which is not earlier", later.index());
            return Err(TransformError::IllFormed { name: value.name.clone(), reason });
        }
        let mention = |symbol, indices: Indices| (symbol_of(image[value_of(symbol).index()]), indices);
        let leaves = Leaves { mention: &mention, index: &|i| i, axis: &|a| a, table: &|t| t };
        let mut instr = copy_instr(program, &mut tuning.new.exprs, &value.instr, &leaves);
        tuning.instr(&mut instr);
        tuning.new.values.push(crate::program::Value { instr, ..value.clone() });
        let at = ValueId::new(tuning.new.values.len() - 1);
        image.push(at);
        if let Some(factors) = of_tensor.remove(&id) {
            tuning.of_tensor.insert(at, factors);
        }
    }
    let at = |id: ValueId| image[id.index()];
    let parameters = network.parameters.iter().map(|p| Parameter { value: at(p.value), ..p.clone() }).collect();
    let outputs: Vec<ValueId> = network.outputs.iter().map(|&o| at(o)).collect();
    let outputs = outputs.into_iter().map(|o| tuning.output(o)).collect();
    let rates = of_rate.into_iter().map(|(value, rates)| (at(value), rates)).collect();
    Ok(Tunable { network: Network { program: tuning.new, parameters, outputs }, factors, image, rates })
}

/// A name that starts with `stem` and is taken neither in what there is of the new program nor in what will be copied.
fn free_name(old: &Program, new: &Program, stem: &str) -> String {
    let mut name = old.unused_name(stem);
    loop {
        let next = old.unused_name(&new.unused_name(&name));
        if next == name {
            return name;
        }
        name = next;
    }
}

/// The network with the hyper-parameters at these values: the same as [`tunable`] with its scalars at them, with the
/// numbers in the laws and learning rates. Negative factors of standard deviations are as good as their sizes.
///
/// # Errors
/// [`TransformError::NotTunable`] for a hyper-parameter that acts on what is no parameter, or without a value.
pub fn tuned(
    network: &Network,
    hyper_parameters: &[HyperParameter],
    values: &[Number],
) -> Result<Network, TransformError> {
    let mut result = network.clone();
    for (k, hyper) in hyper_parameters.iter().enumerate() {
        let refuse = |reason: &str| TransformError::NotTunable { name: hyper.name.clone(), reason: reason.to_owned() };
        let factor = values.get(k).ok_or_else(|| refuse("it has no value"))?;
        let square = factor * factor;
        for &(value, act) in &hyper.acts {
            let parameter = result.parameters.iter_mut().find(|p| p.value == value);
            let parameter = parameter.ok_or_else(|| refuse("it acts on what is no parameter"))?;
            match act {
                Act::Multiplier => parameter.multiplier_squared *= square.clone(),
                Act::Rate => {
                    parameter.multiplier_squared *= factor.clone();
                    continue;
                }
                Act::Law => {}
            }
            let program = &mut result.program;
            match program.values[value.index()].instr.clone() {
                Instr::Matrix { variance } => {
                    let variance = Scale::new(variance.coefficient * square.clone(), variance.power);
                    program.values[value.index()].instr = Instr::Matrix { variance };
                }
                Instr::Gaussian(_) => super::parametrize::scale_deviation(program, value, factor),
                _ => return Err(refuse("it acts on a value that is not drawn")),
            }
        }
    }
    Ok(result)
}

struct Tuning<'a> {
    old: &'a Program,
    new: Program,
    /// Factors by the new id of the tensor.
    of_tensor: BTreeMap<ValueId, Vec<ValueId>>,
    /// Vectors times factors, by vector and factors.
    scaled: BTreeMap<(ValueId, Vec<ValueId>), ValueId>,
}

impl Tuning<'_> {
    /// Multiplies what an instruction takes from tensors with factors.
    fn instr(&mut self, instr: &mut Instr) {
        match instr {
            Instr::Map(expr) | Instr::Moment(expr) | Instr::Scalar(expr) => *expr = self.expr(*expr),
            Instr::MatMul { matrix, vector, .. } => {
                // The operand may be an initial vector with factors of its own, the matrix has others.
                if let Some(own) = self.of_tensor.get(&vector.value).cloned() {
                    vector.value = self.scaled(vector.value, own);
                }
                if let Some(factors) = self.of_tensor.get(&matrix.value).cloned() {
                    vector.value = self.scaled(vector.value, factors);
                }
            }
            Instr::Data | Instr::Constant(..) | Instr::Matrix { .. } | Instr::Gaussian(_) => {}
        }
    }

    /// An output, which may itself be an initial vector.
    fn output(&mut self, output: ValueId) -> ValueId {
        match self.of_tensor.get(&output).cloned() {
            Some(factors) => self.scaled(output, factors),
            None => output,
        }
    }

    /// The expression with initial vectors multiplied by their factors.
    fn expr(&mut self, expr: ExprId) -> ExprId {
        let of_tensor = &self.of_tensor;
        let Program { values, exprs, .. } = &mut self.new;
        if !exprs.refs(expr).iter().any(|(symbol, _)| of_tensor.contains_key(&value_of(*symbol))) {
            return expr;
        }
        let mean = |symbol: Symbol| match &values[value_of(symbol).index()].instr {
            Instr::Gaussian(law) => Some(law.mean),
            _ => None,
        };
        let mut fresh = 1_000_000;
        exprs.replace_refs(expr, &mut fresh, &mut |pool, symbol, indices, _| {
            let factors = of_tensor.get(&value_of(symbol))?;
            let vector = pool.reference(symbol, indices.iter().copied());
            let mean = pool.map_indices(mean(symbol)?, &mut |i| match i {
                Index::Var(k) => indices.get(k as usize).copied().unwrap_or(i),
                other => other,
            });
            let centred = pool.sub(vector, mean);
            let product = factors.iter().fold(centred, |product, &factor| {
                let factor = pool.reference(symbol_of(factor), []);
                pool.mul(factor, product)
            });
            Some(pool.add(mean, product))
        })
    }

    /// A vector times factors, defined once.
    fn scaled(&mut self, vector: ValueId, factors: Vec<ValueId>) -> ValueId {
        let key = (vector, factors);
        if let Some(&known) = self.scaled.get(&key) {
            return known;
        }
        let value = self.new.value(vector).clone();
        let own: Vec<Index> = own_indices(value.ty.family.len()).collect();
        let mention = self.new.member(vector, &own);
        let expr = if self.of_tensor.get(&vector) == Some(&key.1) {
            self.expr(mention)
        } else {
            key.1.iter().fold(mention, |product, &factor| {
                let factor = self.new.member(factor, &[]);
                self.new.exprs.mul(factor, product)
            })
        };
        let name = free_name(self.old, &self.new, &format!("{}_scaled", value.name));
        let family: Vec<(&str, Id<Axis>)> =
            value.index_names.iter().map(String::as_str).zip(value.ty.family.iter().copied()).collect();
        let defined = self.new.define(&name, &family, value.ty.kind, Instr::Map(expr));
        self.scaled.insert(key, defined);
        defined
    }
}
