//! The two sides of eq. 107, of the conclusion, and of the path formula, for a network without families.

use std::collections::{BTreeMap, BTreeSet};

use netsor_gauss::Tolerance;
use netsor_ir::expr::ExprId;
use netsor_ir::number::power;
use netsor_ir::paths::defining_matrix;
use netsor_ir::transform::{Seed, Training, backprop, unroll_network, unroll_program, unroll_sgd};
use netsor_ir::{Dim, Index, Instr, Kind, Network, Program, ValueId};

use super::modulo::Comparison;
use super::{GVarCheck, Induction, InductionError, KernelCheck, OutputCheck, ReturnTerm, Steps, Verdict};
use crate::derive::Deriver;
use crate::error::LimitError;
use crate::eval::{Data, Evaluator};
use crate::paths::{PairSums, PathFormula, PathFormulaError, PathRule};

/// Products of terms that the deriver may take for each monomial that may be compared: some seconds of work.
const PRODUCTS: usize = 20;

/// As [`Induction::check`]; at most so many monomials of integrands are compared.
pub(super) fn check(network: &Network, steps: &Steps, monomials: usize) -> Result<Induction, InductionError> {
    written_out(network, steps, monomials).map_err(|error| match error {
        InductionError::Limit(LimitError::TooManyTerms { name, .. })
        | InductionError::Paths(PathFormulaError::Limit(LimitError::TooManyTerms { name, .. })) => {
            InductionError::TooLong { name, limit: monomials }
        }
        other => other,
    })
}

fn written_out(network: &Network, steps: &Steps, monomials: usize) -> Result<Induction, InductionError> {
    if steps.steps == 0 {
        return Err(InductionError::NoSteps);
    }
    let (plain, _) = unroll_network(network)?;
    let training = unroll_sgd(&plain, &steps.sgd())?;
    let adjoints = backprop(&plain, Seed::Components)?.outputs;
    // Only outputs with several components have families left. What comes before the first of them keeps its id, and
    // so do all values of the network.
    let (program, members) = unroll_program(&training.program)?;
    let mut deriver = Deriver::new(&program);
    deriver.expander.most_products = Some(monomials.saturating_mul(PRODUCTS));
    let mut formula = PathFormula::new(&plain, &mut deriver, PathRule::Printed)?;
    let sums = formula.pair_sums()?;
    let mut path_kernels = BTreeMap::new();
    for &first in &plain.outputs {
        for &second in &plain.outputs {
            path_kernels.insert((first, second), formula.kernel_from(&sums, first, second)?);
        }
    }
    let mut signals: Vec<Signals> = Vec::new();
    for (k, output) in adjoints.iter().enumerate() {
        let components = members[training.outputs[k].target.index()].len();
        for component in 0..components {
            let of = |v: ValueId| members[v.index()].get(component).or(members[v.index()].first()).copied();
            signals.push(Signals {
                output: output.output,
                component,
                chi: training.outputs[k].chi.iter().filter_map(|&v| of(v)).collect(),
                at: training.outputs[k].at.iter().filter_map(|&v| of(v)).collect(),
                adjoints: output.adjoints.iter().filter_map(|(&v, &d)| Some((v, of(d)?))).collect(),
            });
        }
    }
    let comparison = Comparison::new(monomials);
    let mut ctx =
        Ctx { plain: &plain, steps, training: &training, members, deriver, sums, path_kernels, signals, comparison };
    let mut g_vars = Vec::new();
    for t in 1..=steps.steps {
        for g in plain.program.value_ids() {
            g_vars.extend(ctx.g_var(t, g)?);
        }
    }
    let kernels = ctx.kernels()?;
    let outputs = ctx.outputs(&kernels)?;
    let kernels = kernels.into_iter().filter(|k| k.same_component).map(|k| k.check).collect();
    // `E difference^2` of each vector that is left.
    let mut squares = Vec::new();
    for check in &g_vars {
        squares.push(check.difference.and_then(|d| ctx.square(d)));
    }
    let graph = ctx.deriver.into_graph();
    let mut induction = Induction { program, graph, g_vars, outputs, kernels };
    induction.judge(&squares);
    Ok(induction)
}

impl Induction {
    /// Decides what is not a proof by numbers at generic data.
    fn judge(&mut self, squares: &[Option<ExprId>]) {
        let data = generic_data(&self.program);
        let tolerance = Tolerance { absolute: 1e-6, relative: 1e-6, max_points: 1 << 12, ..Tolerance::default() };
        let Ok(mut evaluator) = Evaluator::new(&self.graph, &self.program, &data, tolerance) else { return };
        let mut verdict = |difference: Option<ExprId>, squared: bool| {
            let Some(expr) = difference else { return Verdict::Open };
            // A difference is of terms to go on with, which do not say what they presume.
            if evaluator.check_all_premises().is_err() {
                return Verdict::Open;
            }
            match evaluator.value(expr, &[]) {
                // Ten errors, and far above the rounding of numbers of size one.
                Ok(found) if 10.0 * found.error + 1e-9 < found.value.abs() => {
                    Verdict::Fails(if squared { found.value.abs().sqrt() } else { found.value })
                }
                _ => Verdict::Open,
            }
        };
        for (check, square) in self.g_vars.iter_mut().zip(squares) {
            check.verdict = if check.difference.is_none() { Verdict::Holds } else { verdict(*square, true) };
        }
        for check in &mut self.outputs {
            check.verdict = check.difference.map_or(Verdict::Holds, |d| verdict(Some(d), false));
        }
        for check in &mut self.kernels {
            check.verdict = check.difference.map_or(Verdict::Holds, |d| verdict(Some(d), false));
        }
    }
}

/// Numbers of size one in general position for all data.
fn generic_data(program: &Program) -> Data {
    let mut k = 0;
    let mut next = || {
        k += 1;
        netsor_num::special::sin(1.7 * f64::from(k) + 0.3)
    };
    let mut data = Data::new();
    for id in program.value_ids().filter(|&id| matches!(program.value(id).instr, Instr::Data)) {
        let size = match program.value(id).ty.kind {
            Kind::Vector(Dim::Finite(size)) => size as usize,
            _ => 1,
        };
        data = data.with(id, (0..size).map(|_| next()).collect());
    }
    data
}

/// The backward pass of one component of one output.
struct Signals {
    output: ValueId,
    component: usize,
    chi: Vec<ValueId>,
    at: Vec<ValueId>,
    adjoints: BTreeMap<ValueId, ValueId>,
}

struct Ctx<'a, 'p> {
    plain: &'a Network,
    steps: &'a Steps,
    training: &'a Training,
    members: Vec<Vec<ValueId>>,
    deriver: Deriver<'p>,
    sums: PairSums,
    path_kernels: BTreeMap<(ValueId, ValueId), ExprId>,
    signals: Vec<Signals>,
    comparison: Comparison,
}

/// A kernel check between two components.
struct Pair {
    at: (usize, usize),
    same_component: bool,
    check: KernelCheck,
}

impl Ctx<'_, '_> {
    /// Eq. 107 for one value after `t` steps, if it is a G-var that training moves.
    fn g_var(&mut self, t: usize, g: ValueId) -> Result<Option<GVarCheck>, InductionError> {
        let program = &self.plain.program;
        let value = program.value(g);
        let width = matches!(value.ty.kind, Kind::Vector(Dim::Width(_)));
        if !width || !matches!(value.instr, Instr::MatMul { .. } | Instr::Gaussian(_)) {
            return Ok(None);
        }
        let Some(&delta) = self.training.deviations[t].get(&g) else { return Ok(None) };
        let delta = self.members[delta.index()][0];
        let derived = self.limit_of(delta)?;
        let claimed = self.claimed(t, g)?;
        let difference = self.deriver.graph.pool.sub(derived, claimed);
        let name = value.name.clone();
        let difference =
            self.deriver.left_modulo(difference, defining_matrix(program, g), &mut self.comparison, &name)?;
        let returns = if difference.is_some() { self.returns(delta)? } else { Vec::new() };
        Ok(Some(GVarCheck { g, time: t, derived, claimed, difference, verdict: Verdict::Open, returns }))
    }

    /// `- sum over s, j of C_ts chi_s(j) sum over g' of A(g, g') Z^{dg'} (size of g' / n)^(-1/2)`
    fn claimed(&mut self, t: usize, g: ValueId) -> Result<ExprId, InductionError> {
        let program = &self.plain.program;
        let mut total = self.deriver.graph.pool.integer(0);
        for other in program.value_ids() {
            let Some(sum) = self.sums.get(g, other) else { continue };
            let scale = self.size_power(other);
            for k in 0..self.signals.len() {
                let Some(&adjoint) = self.signals[k].adjoints.get(&other) else { continue };
                let chi = self.descent(t, k)?;
                let signal = self.limit_of(adjoint)?;
                let pool = &mut self.deriver.graph.pool;
                let term = pool.mul_all([chi, sum, scale, signal]);
                total = pool.sub(total, term);
            }
        }
        Ok(total)
    }

    /// `sum over s of C_ts chi_s` of one component of an output.
    fn descent(&mut self, t: usize, k: usize) -> Result<ExprId, InductionError> {
        let mut total = self.deriver.graph.pool.integer(0);
        for s in 0..t {
            let chi = self.deriver.scalar_limit(self.signals[k].chi[s])?;
            let pool = &mut self.deriver.graph.pool;
            let share = pool.constant(self.steps.share(t, s));
            let term = pool.mul(share, chi);
            total = pool.add(total, term);
        }
        Ok(total)
    }

    /// `(size / n)^(-1/2)` of a vector whose dimension is a width: adjoints have the root of their own size in front.
    fn size_power(&mut self, value: ValueId) -> ExprId {
        let program = &self.plain.program;
        let pool = &mut self.deriver.graph.pool;
        match program.value(value).ty.kind {
            Kind::Vector(Dim::Width(class)) => {
                let ratio = pool.constant(program.classes[class.index()].ratio.clone());
                pool.pow(ratio, power(-1, 2))
            }
            _ => pool.integer(1),
        }
    }

    /// The limit of `Z^x`: 0 if the vector vanishes.
    fn limit_of(&mut self, value: ValueId) -> Result<ExprId, InductionError> {
        let z = self.deriver.z(value)?;
        let leading = crate::order::Leading { power: z.power, coefficient: z.coefficient, law: z.law };
        let name = self.deriver.name(value).to_owned();
        Ok(self.deriver.limit_of(&leading, &name)?)
    }

    /// `E x^2`, if it can be derived.
    fn square(&mut self, x: ExprId) -> Option<ExprId> {
        let square = self.deriver.graph.pool.mul(x, x);
        self.deriver.expectation(square, "the difference").ok()
    }

    /// The terms of ZDot in the products that a deviation is made of whose vectors are no error signals.
    fn returns(&mut self, delta: ValueId) -> Result<Vec<ReturnTerm>, LimitError> {
        let program = self.deriver.program();
        let signals = self.error_signals();
        let mut found = Vec::new();
        for product in program.arguments(delta) {
            if !matches!(program.value(product).instr, Instr::MatMul { .. }) {
                continue;
            }
            for term in self.deriver.z(product)?.dot {
                if !signals.contains(&term.vector) {
                    found.push(ReturnTerm { product, vector: term.vector, coefficient: term.coefficient });
                }
            }
        }
        Ok(found)
    }

    /// The values of the backward pass at all times.
    fn error_signals(&self) -> BTreeSet<ValueId> {
        let count = self.plain.program.values.len();
        let versions = self.training.times.iter().chain(&self.training.deviations);
        let backward = versions.flat_map(|t| t.iter().filter(|(old, _)| count <= old.index()).map(|(_, &new)| new));
        let initial = self.signals.iter().flat_map(|s| s.adjoints.values().copied());
        backward.flat_map(|v| self.members[v.index()].iter().copied()).chain(initial).collect()
    }

    /// Both kernels for every pair of components of outputs, the earlier one second.
    fn kernels(&mut self) -> Result<Vec<Pair>, InductionError> {
        let mut found = Vec::new();
        for i in 0..self.signals.len() {
            for j in 0..=i {
                let (first, second) = (self.signals[i].output, self.signals[j].output);
                let same_component = self.signals[i].component == self.signals[j].component;
                // Components have independent readouts.
                let by_paths = if same_component {
                    self.path_kernels[&(first, second)]
                } else {
                    self.deriver.graph.pool.integer(0)
                };
                let by_moments = self.kernel_by_moments(i, j)?;
                let difference = self.deriver.graph.pool.sub(by_paths, by_moments);
                let difference = self.deriver.left_modulo(difference, None, &mut self.comparison, "the kernel")?;
                let check = KernelCheck { first, second, by_paths, by_moments, difference, verdict: Verdict::Open };
                found.push(Pair { at: (i, j), same_component, check });
            }
        }
        Ok(found)
    }

    /// `sum over W and g = W h, g' = W h' of E[Z^dg Z^dg'] E[Z^h Z^h']` (eq. 100), with the first and last layers.
    fn kernel_by_moments(&mut self, i: usize, j: usize) -> Result<ExprId, InductionError> {
        let program = &self.plain.program;
        let mut total = self.deriver.graph.pool.integer(0);
        for (&g, &dg) in &self.signals[i].adjoints.clone() {
            for (&h, &dh) in &self.signals[j].adjoints.clone() {
                let Some(share) = self.sums.shortest(g, h) else { continue };
                let signals = match program.value(g).ty.kind {
                    Kind::Vector(Dim::Width(_)) => self.deriver.second_moment_limit(dg, dh)?,
                    _ => self.finite_product(dg, dh)?,
                };
                let pool = &mut self.deriver.graph.pool;
                let term = pool.mul(share, signals);
                total = pool.add(total, term);
            }
        }
        Ok(total)
    }

    /// `x . y` of vectors of constant dimension.
    fn finite_product(&mut self, x: ValueId, y: ValueId) -> Result<ExprId, InductionError> {
        let (a, b) = (self.limit_of(x)?, self.limit_of(y)?);
        let product = self.deriver.graph.pool.mul(a, b);
        Ok(match self.deriver.program().value(x).ty.kind {
            Kind::Vector(Dim::Finite(size)) => self.deriver.sum_of_coordinates(Index::Var(0), size, product),
            _ => product,
        })
    }

    /// Kernel gradient descent for every output and time.
    fn outputs(&mut self, kernels: &[Pair]) -> Result<Vec<OutputCheck>, InductionError> {
        let mut found = Vec::new();
        for t in 1..=self.steps.steps {
            for i in 0..self.signals.len() {
                let (output, component) = (self.signals[i].output, self.signals[i].component);
                let now = self.deriver.scalar_limit(self.signals[i].at[t])?;
                let before = self.deriver.scalar_limit(self.signals[i].at[0])?;
                let mut difference = self.deriver.graph.pool.sub(now, before);
                for pair in kernels {
                    let other = match pair.at {
                        (a, b) if a == i => b,
                        (a, b) if b == i => a,
                        _ => continue,
                    };
                    let chi = self.descent(t, other)?;
                    let pool = &mut self.deriver.graph.pool;
                    let term = pool.mul(chi, pair.check.by_moments);
                    difference = pool.add(difference, term);
                }
                let difference = self.deriver.left_modulo(difference, None, &mut self.comparison, "an output")?;
                found.push(OutputCheck { output, component, time: t, difference, verdict: Verdict::Open });
            }
        }
        Ok(found)
    }
}
