//! The limits of many numbers of one program, as well as a test needs them.
//!
//! A margin of some percent asks for three digits. Where integrals are over many variables these come from randomised
//! points, and what the error of one does to the next is seen by evaluating the whole program with other points: errors
//! that are carried from integral to integral by exact derivatives, as [`Evaluator`] does it, would cost more than the
//! integrals.

use netsor_ir::{ExprId, Program};
use netsor_lab::stats::Running;
use netsor_limit::{Data, Evaluator, Graph, LimitError, Tolerance, Value};

/// Evaluations of the whole program with points of their own.
const REPLICATES: u64 = 8;

/// What the level of a bound is: three standard errors have this level for a Gaussian.
const LEVEL: f64 = 0.9973;

/// Far below any margin that simulation could resolve.
const TOLERANCE: Tolerance = Tolerance { absolute: 1e-5, relative: 1e-4, max_points: 1 << 13, seed: 0 };

/// Evaluators with different randomised points.
pub(super) struct Limits<'g> {
    replicates: Vec<Evaluator<'g>>,
}

impl<'g> Limits<'g> {
    pub(super) fn new(graph: &'g Graph, program: &'g Program, data: &'g Data) -> Result<Self, LimitError> {
        let evaluator = |seed| {
            let tolerance = Tolerance { seed, ..TOLERANCE };
            Ok(Evaluator::new(graph, program, data, tolerance)?.without_inherited_errors())
        };
        Ok(Self { replicates: (0..REPLICATES).map(evaluator).collect::<Result<_, LimitError>>()? })
    }

    /// The value of an expression, with what its error is at most. The other replicates are evaluated only once the
    /// first has used randomised points.
    pub(super) fn value(&mut self, expr: ExprId, at: &[u32]) -> Result<Value, LimitError> {
        let Some((first, others)) = self.replicates.split_first_mut() else {
            unreachable!("there are always replicates");
        };
        let value = first.value(expr, at)?;
        if first.statistics().qmc == 0 {
            return Ok(value);
        }
        let mut all = Running::default();
        all.add(value.value);
        for other in others {
            all.add(other.value(expr, at)?.value);
        }
        let Ok(mean) = all.estimate() else { return Ok(Value { error: f64::INFINITY, ..value }) };
        let half = mean.interval(LEVEL).map_or(f64::INFINITY, |(low, high)| (high - low) / 2.0);
        let of_quadrature = TOLERANCE.absolute.max(TOLERANCE.relative * mean.value.abs());
        Ok(Value { value: mean.value, error: half + of_quadrature })
    }
}
