//! Hypotheses about networks: readouts, parametrization, transposed matrices, and the shape that the hierarchy asks for.

use std::collections::{BTreeMap, BTreeSet};

use num_traits::{One, Zero};

use super::{Missing, functions};
use crate::calculus::Derivative;
use crate::expr::ExprId;
use crate::index::Index;
use crate::network::{Network, Parameter, Role};
use crate::number::Power;
use crate::program::{Dim, Instr, Kind, Operand, Program, Type, ValueId, own_indices, value_of};

/// The condition behind the Simple GIA Check (Yang 2020a): every output is linear in weights that are independent of
/// everything else, have mean zero and are used for nothing but outputs.
pub(super) fn readouts(network: &Network) -> Vec<Missing> {
    let program = &network.program;
    let mut missing = Vec::new();
    let mut weights = BTreeSet::new();
    let mut linear = Linear::new(program);
    for &output in &network.outputs {
        let name = || program.value(output).name.clone();
        linear.weights.clear();
        match linear.check(output) {
            Err(reason) => missing.push(Missing::FreeReadout { output: name(), reason }),
            Ok(()) if linear.weights.is_empty() => {
                let reason = format!("no random weights are read out by `{}`", name());
                missing.push(Missing::FreeReadout { output: name(), reason });
            }
            Ok(()) => weights.append(&mut linear.weights),
        }
    }
    if network.outputs.is_empty() {
        let reason = format!("`{}` has no output", program.name);
        missing.push(Missing::FreeReadout { output: program.name.clone(), reason });
    }
    let ways = linear.ways;
    // Values on the way from weights to outputs may be used on that way only.
    for id in program.value_ids().filter(|id| !ways.contains_key(id)) {
        for used in program.arguments(id) {
            let what = match (weights.contains(&used), ways.contains_key(&used)) {
                (true, _) => "readout weights",
                (_, true) => "output",
                _ => continue,
            };
            let (used_name, by) = (&program.value(used).name, &program.value(id).name);
            let reason = format!("`{used_name}` ({what}) is also used for `{by}`");
            missing.push(Missing::FreeReadout { output: program.value(used).name.clone(), reason });
        }
    }
    missing
}

/// Looks for the weights in which outputs are linear.
struct Linear<'a> {
    program: &'a Program,
    /// For each value, whether it is random in the limit: a product with a matrix, a Moment with readout weights, a bias,
    /// or something made of these. Scalars that converge are not.
    random: Vec<bool>,
    /// For each value, whether it is made of data and constants alone.
    given: Vec<bool>,
    weights: BTreeSet<ValueId>,
    /// The values on the way from weights to outputs, with the weights of each.
    ways: BTreeMap<ValueId, BTreeSet<ValueId>>,
}

impl<'a> Linear<'a> {
    fn new(program: &'a Program) -> Self {
        let (mut random, mut given) = (Vec::new(), Vec::new());
        for id in program.value_ids() {
            let arguments = program.arguments(id);
            let of = |known: &[bool], a: &ValueId| known.get(a.index()).is_some_and(|&known| known);
            let (is_random, is_given) = match &program.value(id).instr {
                Instr::MatMul { .. } | Instr::Gaussian(_) => (true, false),
                Instr::Moment(_) => (arguments.iter().any(|&a| is_centred_initial(program, a)), false),
                Instr::Map(_) | Instr::Scalar(_) => {
                    (arguments.iter().any(|a| of(&random, a)), arguments.iter().all(|a| of(&given, a)))
                }
                Instr::Data | Instr::Constant(..) => (false, true),
                Instr::Matrix { .. } => (false, false),
            };
            random.push(is_random);
            given.push(is_given);
        }
        Self { program, random, given, weights: BTreeSet::new(), ways: BTreeMap::new() }
    }

    /// Collects the weights in which `value` is linear, and the values on the way.
    fn check(&mut self, value: ValueId) -> Result<(), String> {
        if let Some(known) = self.ways.get(&value) {
            self.weights.extend(known);
            return Ok(());
        }
        let outer = std::mem::take(&mut self.weights);
        self.collect(value)?;
        // Data and output biases may be used elsewhere too.
        if !matches!(self.program.value(value).instr, Instr::Data | Instr::Constant(..) | Instr::Gaussian(_)) {
            self.ways.insert(value, self.weights.clone());
        }
        self.weights.extend(outer);
        Ok(())
    }

    fn collect(&mut self, value: ValueId) -> Result<(), String> {
        let program = self.program;
        let definition = program.value(value);
        let name = &definition.name;
        match &definition.instr {
            Instr::Data | Instr::Constant(..) => Ok(()),
            // An output bias.
            Instr::Gaussian(_) if matches!(definition.ty.kind, Kind::Vector(Dim::Finite(_))) => Ok(()),
            Instr::MatMul { matrix, vector, .. } => {
                if !matches!(program.value(matrix.value).instr, Instr::Matrix { .. }) {
                    return Err(format!(
                        "`{name}` is a product with `{}`, which is computed",
                        program.value(matrix.value).name
                    ));
                }
                if !functions::is_wide(program, vector.value) {
                    return Err(format!("`{name}` does not read a vector whose dimension is a width"));
                }
                self.weights.insert(matrix.value);
                Ok(())
            }
            Instr::Map(expr) | Instr::Scalar(expr) => {
                let found = parts(program, *expr);
                let random = |id: ValueId| self.random[id.index()];
                for (part, mentioned) in &found {
                    if random(*part) && mentioned.iter().any(|&id| random(id)) {
                        return Err(format!("`{name}` is not linear in `{}`", program.value(*part).name));
                    }
                }
                if let Some(rest) = remainder(program, *expr, &random).into_iter().find(|r| !self.given[r.index()]) {
                    return Err(format!(
                        "`{name}` has a part with `{}` that no readout weights multiply",
                        program.value(rest).name
                    ));
                }
                let random: Vec<ValueId> = found.iter().map(|(part, _)| *part).filter(|&id| random(id)).collect();
                random.into_iter().try_for_each(|part| self.check(part))
            }
            Instr::Moment(expr) => {
                // Weights whose coefficients mention none of the others.
                let mut chosen: BTreeMap<ValueId, Vec<ValueId>> = BTreeMap::new();
                for (part, mentioned) in parts(program, *expr) {
                    let apart = !mentioned.contains(&part)
                        && !mentioned.iter().any(|id| chosen.contains_key(id))
                        && !chosen.values().flatten().any(|&id| id == part);
                    if apart && is_centred_initial(program, part) {
                        chosen.entry(part).or_default().extend(mentioned);
                    }
                }
                let left = remainder(program, *expr, &|id| chosen.contains_key(&id));
                if chosen.is_empty() || !left.is_empty() {
                    return Err(format!("the Moment `{name}` is not linear in independent centred initial vectors"));
                }
                self.weights.extend(chosen.keys());
                Ok(())
            }
            Instr::Matrix { .. } | Instr::Gaussian(_) => Err(format!("`{name}` is an initial value")),
        }
    }
}

/// Every value that the term mentions, with the values that the derivative in it mentions.
fn parts(program: &Program, expr: ExprId) -> Vec<(ValueId, Vec<ValueId>)> {
    let mut exprs = program.exprs.clone();
    let mut fresh = 1000;
    let occurrences = exprs.occurrences(expr, Derivative::Pointwise, &mut fresh, &|_| true);
    let mentioned = |e: ExprId| exprs.refs(e).into_iter().map(|(s, _)| value_of(s)).collect();
    occurrences.iter().map(|o| (value_of(o.symbol), mentioned(o.coefficient))).collect()
}

/// The values that the term still mentions when some are 0.
fn remainder(program: &Program, expr: ExprId, zero: &dyn Fn(ValueId) -> bool) -> Vec<ValueId> {
    let mut exprs = program.exprs.clone();
    let mut fresh = 1000;
    let rest =
        exprs.replace_refs(expr, &mut fresh, &mut |pool, symbol, _, _| zero(value_of(symbol)).then(|| pool.integer(0)));
    exprs.refs(rest).into_iter().map(|(symbol, _)| value_of(symbol)).collect()
}

/// Whether a value is an initial vector of mean 0 that is independent of all others.
fn is_centred_initial(program: &Program, id: ValueId) -> bool {
    let Instr::Gaussian(law) = &program.value(id).instr else { return false };
    let joint = program
        .values
        .iter()
        .any(|v| matches!(&v.instr, Instr::Gaussian(other) if other.cross.iter().any(|&(with, _)| with == id)));
    functions::is_wide(program, id) && program.exprs.is_zero(law.mean) && law.cross.is_empty() && !joint
}

/// Trained parameters that are not in the NTK parametrization, up to the shift `(a + t, b - t, c - 2t)` and constants.
pub(super) fn parametrization(network: &Network) -> Vec<Missing> {
    let program = &network.program;
    let mut missing = Vec::new();
    for parameter in &network.parameters {
        let value = program.value(parameter.value);
        let (variance, role) = match &value.instr {
            Instr::Matrix { variance } => (variance.power, network.role(parameter.value)),
            _ => (Power::zero(), Role::InputLike),
        };
        // fan_in is a width for hidden matrices and readouts, and constant otherwise.
        let expected = match role {
            Role::Hidden | Role::OutputLike => -Power::one(),
            Role::InputLike | Role::Finite => Power::zero(),
        };
        let rate = rate_power(parameter);
        if variance != expected || (parameter.trained && rate != expected) {
            missing.push(Missing::NtkParametrization {
                parameter: value.name.clone(),
                variance: variance.to_string(),
                rate: if parameter.trained { rate } else { expected }.to_string(),
                expected: expected.to_string(),
            });
        }
    }
    missing
}

fn rate_power(parameter: &Parameter) -> Power {
    parameter.rate().power
}

/// Matrices that multiply vectors from both sides.
pub(super) fn both_directions(program: &Program) -> Vec<Missing> {
    let product = |id: ValueId, way: bool| {
        program.values.iter().find(|v| {
            let wide = matches!(v.ty.kind, Kind::Vector(Dim::Width(_)));
            matches!(&v.instr, Instr::MatMul { matrix, transposed, vector }
                if matrix.value == id && *transposed == way && wide && functions::is_wide(program, vector.value))
        })
    };
    program
        .value_ids()
        .filter_map(|id| {
            let (plain, transposed) = (product(id, false)?, product(id, true)?);
            Some(Missing::OneDirection {
                matrix: program.value(id).name.clone(),
                plain: plain.name.clone(),
                transposed: transposed.name.clone(),
            })
        })
        .collect()
}

/// What keeps a network from being the fully connected one of the hierarchy's theorems: `x_l = s(W_l x_(l-1))` with one
/// function `s`, different trained matrices, one width, no biases, and one scalar readout.
pub(super) fn fully_connected(network: &Network) -> Vec<Missing> {
    match chain(network) {
        Ok(activations) => {
            let program = &network.program;
            let found =
                activations.iter().find_map(|&(id, e)| Some((id, functions::unbounded_derivative(program, e)?)));
            let bounded = found
                .map(|(id, function)| Missing::BoundedDerivatives { value: program.value(id).name.clone(), function });
            bounded.into_iter().collect()
        }
        Err((value, reason)) => {
            let name = network.program.values.get(value.index()).map_or(&network.program.name, |v| &v.name);
            vec![Missing::FullyConnected { value: name.clone(), reason: reason.to_owned() }]
        }
    }
}

/// The activations of the network from the last to the first, or where it is not fully connected.
fn chain(network: &Network) -> Result<Vec<(ValueId, ExprId)>, (ValueId, &'static str)> {
    let program = &network.program;
    let &[output] = &network.outputs[..] else {
        let at = network.outputs.first().copied().unwrap_or(ValueId::new(0));
        return Err((at, "there is not exactly one output"));
    };
    let mut exprs = program.exprs.clone();
    let mut matrices = BTreeSet::new();
    let mut on_chain = BTreeSet::from([output]);
    let mut activations: Vec<(ValueId, ExprId)> = Vec::new();
    let mut shape = None;
    let mut at = output;
    if program.value(output).ty.kind != Kind::Vector(Dim::Finite(1)) {
        return Err((output, "the output is not a scalar `v' x`"));
    }
    loop {
        let Instr::MatMul { matrix, vector, .. } = &program.value(at).instr else {
            return Err((at, "it is not a product with one weight matrix"));
        };
        if !same_member(vector, &program.value(at).ty) || !matrix.indices.is_empty() {
            return Err((at, "it mixes members of a family"));
        }
        if !matrices.insert(matrix.value) {
            return Err((at, "its matrix is used twice"));
        }
        if !network.parameter(matrix.value).is_some_and(|p| p.trained) {
            return Err((matrix.value, "it is not trained"));
        }
        on_chain.extend([matrix.value, at, vector.value]);
        let below = program.value(vector.value);
        match &below.instr {
            Instr::Data | Instr::Constant(..) => break,
            Instr::Map(expr) => {
                let refs = program.exprs.refs(*expr);
                let [(symbol, indices)] = &refs[..] else {
                    return Err((vector.value, "it is not a function of one vector"));
                };
                if !indices.iter().copied().eq(own_indices(below.ty.family.len())) {
                    return Err((vector.value, "it mixes members of a family"));
                }
                let mut fresh = 1000;
                let of_common = exprs.replace_refs(*expr, &mut fresh, &mut |pool, _, _, _| {
                    Some(pool.reference(crate::Symbol(u32::MAX), [] as [Index; 0]))
                });
                if *shape.get_or_insert(of_common) != of_common {
                    return Err((vector.value, "its activation differs from that of a later layer"));
                }
                activations.push((vector.value, *expr));
                at = value_of(*symbol);
            }
            _ => return Err((vector.value, "it is not an activation of a layer")),
        }
    }
    if activations.is_empty() {
        return Err((output, "there is no hidden layer"));
    }
    if 1 < program.classes.len() {
        return Err((output, "the layers have different widths"));
    }
    match program.value_ids().find(|id| !on_chain.contains(id)) {
        Some(other) => Err((other, "it is not part of a layer")),
        None => Ok(activations),
    }
}

/// Whether a vector is the member with the product's own indices.
fn same_member(vector: &Operand, ty: &Type) -> bool {
    vector.indices.iter().copied().eq(own_indices(ty.family.len()))
}
