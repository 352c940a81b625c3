//! How much an expectation changes with the numbers that it is given.
//!
//! A covariance that is itself the result of an integral has an error, and the expectation inherits it. By how much is a
//! derivative, which [`crate::price`] knows. Here its covariance and parameters are variables of their own, so that the
//! derivatives of an integrand are derived once and evaluated wherever it occurs.

use netsor_gauss::Tolerance;
use netsor_ir::number::integer;
use netsor_ir::{ExprId, Program};
use rustc_hash::FxHashMap;

use crate::derive::Deriver;
use crate::error::LimitError;
use crate::eval::{Data, Evaluator, Value};
use crate::graph::{Body, Def, DefId, Graph};

/// Derivatives of expectations, by integrand and by which slots are one.
pub(crate) struct Sensitivities<'p> {
    deriver: Deriver<'p>,
    known: FxHashMap<(ExprId, Vec<Alias>), Option<Partials>>,
    data: Data,
}

/// The derivatives of one expectation, over variables that stand for its covariance and parameters.
#[derive(Clone)]
struct Partials {
    variables: Vec<DefId>,
    derivatives: Vec<ExprId>,
}

/// The first slot that a slot is equal to, and whether up to its sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Alias {
    pub(crate) slot: usize,
    pub(crate) negative: bool,
}

/// The slots that are one variable, as on the diagonal of a kernel: an error of their covariance is one of both variances,
/// and none of the correlation. They are equal to the last bit, but so are variables that are closer than rounding can
/// tell, whose correlation has an error of its own: `one` decides.
pub(crate) fn aliases(lower: &[Value], one: &mut dyn FnMut(usize, usize) -> bool) -> Vec<Alias> {
    let slots = (0..).take_while(|k| k * (k + 1) / 2 < lower.len()).count();
    let entry = |i: usize, j: usize| lower[i * (i + 1) / 2 + j].value;
    let equal = |i: usize, j: usize| entry(i, i) == entry(j, j) && entry(i, j).abs() == entry(i, i);
    let alias = |i: usize| match (0..i).find(|&j| equal(i, j) && one(i, j)) {
        Some(j) => Alias { slot: j, negative: entry(i, j) < 0.0 },
        None => Alias { slot: i, negative: false },
    };
    (0..slots).map(alias).collect()
}

impl<'p> Sensitivities<'p> {
    pub(crate) fn new(graph: &Graph, program: &'p Program) -> Self {
        Self { deriver: Deriver::of_graph(graph.clone(), program), known: FxHashMap::default(), data: Data::new() }
    }

    /// What the errors of the covariance (lower triangle) and of the parameters make of `E integrand`, to first order and
    /// with derivatives to about a tenth; `None` if a derivative does not exist.
    pub(crate) fn inherited(
        &mut self,
        integrand: ExprId,
        lower: &[Value],
        aliases: &[Alias],
        parameters: &[Value],
    ) -> Option<f64> {
        let own: Vec<usize> = (0..aliases.len()).filter(|&k| aliases[k].slot == k).collect();
        let entry = |i: usize, j: usize| lower[i * (i + 1) / 2 + j];
        let values: Vec<Value> = own
            .iter()
            .enumerate()
            .flat_map(|(at, &i)| own[..=at].iter().map(move |&j| entry(i, j)))
            .chain(parameters.iter().copied())
            .collect();
        let key = (integrand, aliases.to_vec());
        if !self.known.contains_key(&key) {
            let merged = self.merged(integrand, &key.1, &own);
            let partials = self.partials(merged, values.len() - parameters.len(), parameters.len()).ok();
            self.known.insert(key.clone(), partials);
        }
        let partials = self.known[&key].clone()?;
        // A bar on an error needs one digit.
        let tolerance = Tolerance { absolute: 1e-2, relative: 1e-1, max_points: 1 << 14, ..Tolerance::default() };
        let evaluator = Evaluator::new(&self.deriver.graph, self.deriver.program, &self.data, tolerance);
        let mut evaluator = evaluator.ok()?.strict();
        for (&variable, value) in partials.variables.iter().zip(&values) {
            evaluator.set(variable, Value { error: 0.0, ..*value });
        }
        let mut total = 0.0;
        for (&derivative, value) in partials.derivatives.iter().zip(&values) {
            let size = evaluator.value(derivative, &[]).ok()?;
            total += (size.value.abs() + size.error) * value.error;
        }
        Some(total)
    }

    /// The integrand with each slot in place of its aliases, numbered among those that are left.
    fn merged(&mut self, integrand: ExprId, aliases: &[Alias], own: &[usize]) -> ExprId {
        let mut fresh = self.deriver.expander.fresh;
        let merged = self.deriver.graph.pool.replace_refs(integrand, &mut fresh, &mut |pool, symbol, _, _| {
            let k = (0..aliases.len()).find(|&k| Graph::slot_symbol(k) == symbol)?;
            let place = own.binary_search(&aliases[k].slot).ok()?;
            let slot = pool.reference(Graph::slot_symbol(place), []);
            Some(if aliases[k].negative { pool.neg(slot) } else { slot })
        });
        self.deriver.expander.fresh = fresh;
        merged
    }

    fn partials(&mut self, integrand: ExprId, entries: usize, parameters: usize) -> Result<Partials, LimitError> {
        let deriver = &mut self.deriver;
        let mut variables = Vec::new();
        for k in 0..entries + parameters {
            // Definitions of their own: never found again, since the number in them is that of the next definition.
            let unique = deriver.graph.pool.constant(integer(k as i64));
            deriver.graph.defs.push(Def { arity: 0, body: Body::Scalar(unique) });
            variables.push(DefId::new(deriver.graph.defs.len() - 1));
        }
        let mentions: Vec<ExprId> = variables
            .iter()
            .map(|&v| {
                let symbol = deriver.graph.def_symbol(v);
                deriver.graph.pool.reference(symbol, [])
            })
            .collect();
        let (covariance, parameters) = mentions.split_at(entries);
        let [zero, one] = [0, 1].map(|k| deriver.graph.pool.integer(k));
        let mut derivatives = Vec::new();
        for k in 0..mentions.len() {
            let direction: Vec<ExprId> = (0..mentions.len()).map(|l| if k == l { one } else { zero }).collect();
            let (d_covariance, d_parameters) = direction.split_at(entries);
            let (covariance, parameters) = ((covariance, d_covariance), (parameters, d_parameters));
            derivatives.push(deriver.price(integrand, covariance, parameters, "a covariance")?);
        }
        Ok(Partials { variables, derivatives })
    }
}

#[cfg(test)]
mod tests {
    use netsor_ir::syntax::parse_program;

    use super::*;

    /// The errors that a coarse tolerance leaves are within what is said of them, and not far below: the last expectation
    /// has a derivative of about 12 in its covariance, which an error passes on.
    #[test]
    fn errors_of_covariances_are_propagated() {
        let text = "program steep {
          matrix W ~ N(0, 1/n)
          vector a ~ N(0, 1)
          vector b ~ N(0, 1)
          x = tanh(a * b)
          y = tanh(a * b + 0.2 * a)
          g = W * x
          h = W * y
          moment m = mean(exp(2 * g) * exp(2 * h))
        }";
        let program = parse_program(text).unwrap();
        let m = program.find("m").unwrap();
        let mut deriver = Deriver::new(&program);
        let m = deriver.scalar(m).unwrap();
        let graph = deriver.into_graph();
        let data = Data::new();
        let value = |tolerance: f64| {
            let tolerance = Tolerance { absolute: tolerance, relative: 0.0, ..Tolerance::default() };
            Evaluator::new(&graph, &program, &data, tolerance).unwrap().value(m, &[]).unwrap()
        };
        let exact = value(1e-12);
        assert!(exact.error < 1e-8, "{exact:?}");
        for tolerance in [1e-2, 1e-4, 1e-6] {
            let found = value(tolerance);
            let error = (found.value - exact.value).abs();
            assert!(error <= found.error + exact.error, "{tolerance}: {error:e} {found:?}");
        }
    }

    /// `E exp(2 g + 2 h)` with variances `a`, `b` and covariance `c` is `exp(2 a + 2 b + 4 c)`, an exact multiple of its
    /// derivatives.
    #[test]
    fn derivatives_in_the_covariance() {
        let text = "program exponential {
          vector g ~ N(0, 1)
          vector h ~ N(0, 1)
          moment m = mean(exp(2 * g + 0.5 * h) * step(g))
          moment j = mean(step(g) * step(g + h))
        }";
        let program = parse_program(text).unwrap();
        let mut deriver = Deriver::new(&program);
        for name in ["m", "j"] {
            deriver.scalar(program.find(name).unwrap()).unwrap();
        }
        let graph = deriver.into_graph();
        let mut sensitivities = Sensitivities::new(&graph, &program);
        let expectations: Vec<ExprId> = graph
            .defs
            .iter()
            .filter_map(|def| match &def.body {
                Body::Expect { integrand, covariance, .. } if covariance.len() == 3 => Some(*integrand),
                _ => None,
            })
            .collect();
        let exact = |x: f64| Value { value: x, error: 0.0 };
        // The jumps: d/dc E step step = 1 / (2 pi sqrt(a b - c^2)), and -c / (2 a) of that in a.
        let jumps = *expectations.last().unwrap();
        let (a, c, b) = (1.0, 1.3, 2.0);
        let mut size = |values: [f64; 3], at: usize| {
            let mut values = values.map(exact);
            values[at].error = 1.0;
            let aliases = aliases(&values, &mut |_, _| true);
            sensitivities.inherited(jumps, &values, &aliases, &[])
        };
        let by_c = 1.0 / (2.0 * std::f64::consts::PI * f64::sqrt(a * b - c * c));
        for (at, expected) in [c / (2.0 * a) * by_c, by_c, c / (2.0 * b) * by_c].into_iter().enumerate() {
            let found = size([a, c, b], at).unwrap();
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        // At a correlation of 1 there is no derivative, but for a variable with itself, or with its opposite.
        assert_eq!(size([1.0, 2.0, 4.0], 1), None);
        assert_eq!([size([1.0, 1.0, 1.0], 0), size([1.0, -1.0, 1.0], 0)], [Some(0.0); 2]);
    }
}
