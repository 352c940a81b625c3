//! The comparison as a proof: both sides as expressions, and numbers where they are not one expression.

mod canonical;
mod dependent;
mod modulo;
mod roots;
mod slots;

use netsor_gauss::Tolerance;
use netsor_ir::expr::ExprId;
use netsor_ir::{Dim, Instr, Kind, Network, Program, ValueId};

use self::modulo::Comparison;
use super::sides::{Change, compare};
use super::training::Unrolled;
use super::{GVarCheck, Induction, InductionError, KernelCheck, OutputCheck, ReturnTerm, Steps, Verdict};
use crate::derive::Deriver;
use crate::error::LimitError;
use crate::eval::{Data, Evaluator};
use crate::paths::Paths;

/// Products of terms that the deriver may take for each monomial that may be compared: some seconds of work.
const PRODUCTS: usize = 20;

/// As [`Induction::check`]; at most so many monomials of integrands are compared.
pub(super) fn check(network: &Network, steps: &Steps, monomials: usize) -> Result<Induction, InductionError> {
    written_out(network, steps, monomials).map_err(|error| match error {
        InductionError::Limit(LimitError::TooManyTerms { name, .. }) => {
            InductionError::TooLong { name, limit: monomials }
        }
        other => other,
    })
}

fn written_out(network: &Network, steps: &Steps, monomials: usize) -> Result<Induction, InductionError> {
    let unrolled = Unrolled::new(network, steps)?;
    let paths = Paths::new(&unrolled.network)?;
    let mut deriver = Deriver::new(&unrolled.program);
    deriver.expander.most_products = Some(monomials.saturating_mul(PRODUCTS));
    let sides = compare(&unrolled, &paths, &mut deriver, &mut Comparison::new(monomials))?;

    let verdict = Verdict::Open;
    let mut g_vars = Vec::new();
    for Change { g, time, delta, derived, claimed, left: difference } in sides.changes {
        let returns = if difference.is_some() { returns(&mut deriver, &unrolled, delta)? } else { Vec::new() };
        g_vars.push(GVarCheck { g, time, derived, claimed, difference, verdict, returns });
    }
    let signals = &unrolled.signals;
    let same_component = sides.kernels.iter().filter(|k| signals[k.at.0].component == signals[k.at.1].component);
    let kernels = same_component.map(|kernel| KernelCheck {
        first: signals[kernel.at.0].output,
        second: signals[kernel.at.1].output,
        by_paths: kernel.by_paths,
        by_moments: kernel.by_moments,
        difference: kernel.left,
        verdict,
    });
    let outputs = sides.descents.iter().map(|descent| OutputCheck {
        output: signals[descent.signals].output,
        component: signals[descent.signals].component,
        time: descent.time,
        difference: descent.left,
        verdict,
    });
    let (kernels, outputs) = (kernels.collect(), outputs.collect());
    let squares: Vec<Option<ExprId>> =
        g_vars.iter().map(|check| check.difference.and_then(|d| square(&mut deriver, d))).collect();
    let graph = deriver.into_graph();
    let mut induction = Induction { program: unrolled.program, graph, g_vars, outputs, kernels };
    induction.judge(&squares);
    Ok(induction)
}

/// `E x^2`, if it can be derived.
fn square(deriver: &mut Deriver<'_>, x: ExprId) -> Option<ExprId> {
    let square = deriver.graph.pool.mul(x, x);
    deriver.expectation(square, "the difference").ok()
}

/// The terms of ZDot in the products that a deviation is made of whose vectors are no error signals.
fn returns(deriver: &mut Deriver<'_>, unrolled: &Unrolled, delta: ValueId) -> Result<Vec<ReturnTerm>, LimitError> {
    let program = deriver.program();
    let signals = unrolled.error_signals();
    let mut found = Vec::new();
    for product in program.arguments(delta) {
        if !matches!(program.value(product).instr, Instr::MatMul { .. }) {
            continue;
        }
        for term in deriver.z(product)?.dot {
            if !signals.contains(&term.vector) {
                found.push(ReturnTerm { product, vector: term.vector, coefficient: term.coefficient });
            }
        }
    }
    Ok(found)
}

impl Induction {
    /// Decides what is not a proof by numbers at generic data; `squares` are `E difference^2` of the vectors that are
    /// left.
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
