//! Evaluation over a cloud of points: expectations that share a covariance share the evaluation of their functions.
//!
//! A kernel of the hierarchy is a sum of hundreds of expectations in three and four variables for every tuple of points.
//! One at a time and to many digits they take seconds a tuple. Most of them have the same arguments: of one tuple of
//! points they differ in which derivatives of the activation they take. Here all integrands over one covariance are
//! one tape, in which `tanh(Z0)` is computed once for all, on points that are made once for all tuples.
//!
//! Expectations in one and two variables keep their methods: they are the covariances of deeper layers, which have to be
//! exact, or correlations near 1 would not be consistent.

use std::rc::Rc;

use netsor_gauss::{Cloud, Covariance};
use netsor_ir::ExprId;
use netsor_ir::tape::{Input, Scratch, Setting, Tape};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::integrand::Numeric;
use super::{Evaluator, Value};
use crate::error::LimitError;
use crate::graph::{Body, DefId, Graph, Leaf};

/// Most integrands in one tape.
const BUNDLE: usize = 128;

/// Slots that keep their own method.
const EXACT_SLOTS: usize = 2;

/// Violations of positivity that count as rounding, besides the errors of the covariances.
const SLACK: f64 = 1e-8;

/// A cloud, and the definitions that are evaluated over it together.
#[derive(Clone, Debug)]
pub(super) struct Sampled {
    cloud: Cloud,
    bundles: FxHashMap<DefId, Rc<Bundle>>,
}

/// Expectations with one covariance and the same parameters.
#[derive(Debug)]
struct Bundle {
    members: Vec<DefId>,
    tape: Tape<f64>,
}

impl Sampled {
    pub(super) fn new(graph: &Graph, points: usize, seed: u64) -> Result<Self, LimitError> {
        type Key<'a> = (usize, &'a [ExprId], &'a [ExprId]);
        let mut groups: FxHashMap<Key<'_>, Vec<(DefId, ExprId)>> = FxHashMap::default();
        let least = (EXACT_SLOTS + 1) * (EXACT_SLOTS + 2) / 2;
        for (k, def) in graph.defs.iter().enumerate() {
            if let Body::Expect { integrand, covariance, parameters } = &def.body
                && least <= covariance.len()
            {
                groups.entry((def.arity, covariance, parameters)).or_default().push((DefId::new(k), *integrand));
            }
        }
        let setting = Setting::new(&graph.pool, &Numeric);
        let mut bundles = FxHashMap::default();
        for group in groups.values().flat_map(|members| members.chunks(BUNDLE)) {
            let roots: Vec<(ExprId, &[_])> = group.iter().map(|&(_, integrand)| (integrand, &[][..])).collect();
            let tape = Tape::compile(&setting, &roots).map_err(|e| LimitError::Tape(e.to_string()))?;
            let bundle = Rc::new(Bundle { members: group.iter().map(|&(def, _)| def).collect(), tape });
            bundles.extend(bundle.members.iter().map(|&def| (def, bundle.clone())));
        }
        Ok(Self { cloud: Cloud::new(points, seed), bundles })
    }
}

impl Evaluator<'_> {
    /// The value of an expectation, with all others over the same covariance; `None` if it has a method of its own.
    pub(super) fn over_cloud(&mut self, id: DefId, at: &SmallVec<[u32; 6]>) -> Result<Option<Value>, LimitError> {
        let Some(bundle) = self.sampled.as_ref().and_then(|s| s.bundles.get(&id)).cloned() else { return Ok(None) };
        let graph = self.graph;
        let Body::Expect { integrand, covariance, parameters } = &graph.def(id).body else { return Ok(None) };
        let lower: Vec<Value> = covariance.iter().map(|&c| self.expr(c, at, &[])).collect::<Result<_, _>>()?;
        let parameters: Vec<Value> = parameters.iter().map(|&p| self.expr(p, at, &[])).collect::<Result<_, _>>()?;
        let slots = (0..).take_while(|k| k * (k + 1) / 2 < lower.len()).count();
        let entry = |i: usize, j: usize| lower[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)].value;
        let entries = (0..slots * slots).map(|k| entry(k / slots, k % slots)).collect();
        let inherited: f64 = lower.iter().chain(&parameters).map(|v| v.error).sum();
        let largest = (0..slots).map(|k| entry(k, k)).fold(f64::MIN_POSITIVE, f64::max);
        let slack = (SLACK + inherited / largest).min(0.1);
        let fail =
            |source| LimitError::Expectation { integrand: crate::show::text(graph, self.program, *integrand), source };
        let covariance = Covariance::with_slack(slots, entries, slack).map_err(fail)?;

        let numbers: Vec<f64> = parameters.iter().map(|p| p.value).collect();
        let mut scratch = Scratch::default();
        let mut evaluate = |points: &[&[f64]], out: &mut [&mut [f64]]| {
            let inputs: SmallVec<[Input<'_, f64>; 8]> = bundle
                .tape
                .inputs()
                .iter()
                .map(|(symbol, _)| match graph.leaf(*symbol) {
                    Leaf::Slot(k) => Input::Batch(points[k]),
                    Leaf::Parameter(k) => Input::Scalar(numbers[k]),
                    _ => Input::Scalar(f64::NAN),
                })
                .collect();
            bundle.tape.eval(&inputs, out, &mut scratch);
        };
        let Some(sampled) = self.sampled.as_mut() else { return Ok(None) };
        let estimates = sampled.cloud.expect_all(bundle.members.len(), &mut evaluate, &covariance).map_err(fail)?;
        self.statistics.qmc += estimates.len();
        let mut own = None;
        for (&member, estimate) in bundle.members.iter().zip(&estimates) {
            let value = Value { value: estimate.value, error: estimate.error + inherited };
            if !estimate.met(&self.tolerance) {
                self.statistics.not_met += 1;
            }
            if member == id {
                own = Some(value);
            } else {
                self.memo.insert((member, at.clone()), value);
            }
        }
        Ok(own)
    }
}
