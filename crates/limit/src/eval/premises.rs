//! Whether expectations exist, in numbers: those that are integrated, and those that were taken to vanish.

use netsor_gauss::{Covariance, GaussError, check_existence, check_powers};
use netsor_ir::Index;
use netsor_ir::expr::{ExprId, Symbol};
use netsor_ir::index::{Guard, for_each_assignment};
use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::expectation::with_parts;
use super::groups::{Split, split};
use super::integrand::CompiledFactor;
use super::{Evaluator, Value};
use crate::error::LimitError;
use crate::graph::{Leaf, PremisesId};
use crate::integrable::Reader;
use crate::powers;
use crate::premise::{Premise, Presumed};
use crate::provided::Set;

/// The most positions of index variables at which a premise is looked at: it depends on ranks and signs, which seldom
/// differ between them.
const MAX_POSITIONS: usize = 512;

/// The most positions at which variables are compared: they may be one at a single position.
const MAX_COINCIDENCES: usize = MAX_SEARCHED;

/// A variance that is no larger, relative to what it was before it was conditioned on, is 0 up to rounding.
const NOTHING: f64 = 1e-14;

/// The most positions among which those are searched at which guards hold: about a tenth of a second if they hold at most.
const MAX_SEARCHED: usize = 1 << 20;

/// Whether expectations exist, by integrand and by the bits of covariance and parameters: members of a family share them.
pub(super) type Existing = FxHashMap<(ExprId, Vec<u64>), Result<(), GaussError>>;

/// What there is to show before a product of factors is integrated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Existence {
    /// Nothing: it has all moments.
    Evident,
    /// That it does not outgrow the density: it is nowhere negative, so that a singularity shows in the integral itself.
    ByGrowth,
    /// That the integral of the absolute value is finite.
    Unknown,
}

impl Evaluator<'_> {
    /// Whether premises hold, each looked at once.
    pub(super) fn check_premises(&mut self, premises: PremisesId) -> Result<(), LimitError> {
        let graph = self.graph;
        // Sets come after what they are built of.
        for id in graph.premises_behind(premises, &|id| self.premises.contains_key(&id)) {
            let holds = match graph.premises(id) {
                Set::One(premise) => self.check_premise(premise),
                Set::All(parts) => parts.iter().try_for_each(|part| self.premises[part].clone()),
            };
            self.premises.insert(id, holds);
        }
        self.premises[&premises].clone()
    }

    /// Whether everything holds that was presumed anywhere in the graph.
    pub(crate) fn check_all_premises(&mut self) -> Result<(), LimitError> {
        (0..self.graph.premises.len()).try_for_each(|k| self.check_premises(PremisesId::new(k)))
    }

    fn check_premise(&mut self, premise: &Premise) -> Result<(), LimitError> {
        let most = match premise.what {
            Presumed::Apart { .. } => MAX_COINCIDENCES,
            _ => MAX_POSITIONS,
        };
        positions(premise, most).into_iter().try_for_each(|at| match &premise.what {
            Presumed::Number(scalar) => match self.expr(*scalar, &at, &[]) {
                Err(LimitError::Domain { what, value }) => {
                    Err(LimitError::Multiplier { name: premise.name.clone(), what, value })
                }
                _ => Ok(()),
            },
            Presumed::Divisor(divisor) => match self.expr(*divisor, &at, &[]) {
                Ok(found) if found.value.abs() <= found.error => {
                    let divisor = crate::show::text(self.graph, self.program, *divisor);
                    let what = format!("a quotient, a power or a logarithm of {divisor}");
                    Err(LimitError::Multiplier { name: premise.name.clone(), what, value: 1.0 / found.value })
                }
                _ => Ok(()),
            },
            Presumed::Apart { variance, mean, size } => {
                let [variance, mean, size] = [variance, mean, size].map(|&e| self.expr(e, &at, &[]));
                let (Ok(variance), Ok(mean), Ok(size)) = (variance, mean, size) else { return Ok(()) };
                let small = |square: f64, error: f64| square <= NOTHING * size.value + error;
                let at_the_jump = small(variance.value, variance.error)
                    && small(mean.value * mean.value, mean.error * (2.0 * mean.value.abs() + mean.error));
                // What has no variance at all is a constant, which nothing carries across.
                if 0.0 < size.value && at_the_jump {
                    return Err(LimitError::JumpTimesJump { name: premise.name.clone() });
                }
                Ok(())
            }
            Presumed::Expectation { integrand, covariance, parameters } => {
                // Numbers that cannot be had belong to values that nobody asks for, or are errors of their own.
                let mut entries =
                    |of: &[ExprId]| of.iter().map(|&e| self.entry(e, &at).ok()).collect::<Option<Vec<_>>>();
                let (Some(covariance), Some(parameters)) = (entries(covariance), entries(parameters)) else {
                    return Ok(());
                };
                let numbers = covariance.iter().chain(&parameters).map(|v| v.value.to_bits()).collect();
                let key = (*integrand, numbers);
                let known = match self.existing.get(&key) {
                    Some(known) => known.clone(),
                    None => {
                        let found = self.exists(*integrand, &covariance, &parameters)?;
                        self.existing.entry(key).or_insert(found).clone()
                    }
                };
                known.map_err(|source| LimitError::Existence {
                    name: premise.name.clone(),
                    integrand: crate::show::text(self.graph, self.program, *integrand),
                    source,
                })
            }
        })
    }

    /// Whether `E integrand` exists, as far as numbers tell.
    fn exists(
        &mut self,
        integrand: ExprId,
        lower: &[Value],
        parameters: &[Value],
    ) -> Result<Result<(), GaussError>, LimitError> {
        let graph = self.graph;
        let numbers: Vec<f64> = parameters.iter().map(|p| p.value).collect();
        let slots = (0..).take_while(|k| k * (k + 1) / 2 < lower.len()).count();
        let entry = |i: usize, j: usize| lower[i.max(j) * (i.max(j) + 1) / 2 + i.min(j)].value;
        if let Some(read) = powers::read(graph, integrand, slots, &numbers) {
            let entries = (0..slots * slots).map(|k| entry(k / slots, k % slots)).collect();
            let checked = Covariance::new(slots, entries).and_then(|c| check_powers(&read.terms, &read.quadratics, &c));
            match checked {
                Ok(None) => {}
                Ok(Some(())) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
            }
        }
        let product = self.compiled(integrand)?;
        let Split { same, groups } = split(&product.factors, slots, &entry);
        for group in groups {
            let factors: Vec<&CompiledFactor> = group.iter().map(|&k| &product.factors[k]).collect();
            if self.existence(&factors, &numbers) != Existence::Evident {
                let found = with_parts(graph, &factors, &same, &entry, &numbers, check_existence);
                if found.is_err() {
                    return Ok(found);
                }
            }
        }
        Ok(Ok(()))
    }

    /// What there is to show for a product of factors with these parameters.
    pub(super) fn existence(&mut self, factors: &[&CompiledFactor], parameters: &[f64]) -> Existence {
        let graph = self.graph;
        let mut evident =
            |expr: ExprId| *self.moments.entry(expr).or_insert_with(|| Reader::new(graph, &|_| None).has_moments(expr));
        if factors.iter().all(|f| evident(f.expr)) {
            return Existence::Evident;
        }
        let number = |symbol: Symbol| match graph.leaf(symbol) {
            Leaf::Parameter(k) => parameters.get(k).copied(),
            _ => None,
        };
        let mut reader = Reader::new(graph, &number);
        if factors.iter().all(|f| reader.has_moments(f.expr)) {
            Existence::Evident
        } else if factors.iter().all(|f| reader.is_nonnegative(f.expr)) {
            Existence::ByGrowth
        } else {
            Existence::Unknown
        }
    }
}

/// The positions at which a premise matters, or about `most` of them, spread evenly.
fn positions(premise: &Premise, most: usize) -> Vec<SmallVec<[u32; 6]>> {
    let Premise { sizes, arity, guards, .. } = premise;
    if guards.is_empty() {
        return spread(&sizes[..*arity], most).map(SmallVec::from_vec).collect();
    }
    // The last axes are searched, the others looked at here and there if there are too many positions.
    let mut searched = sizes.len();
    let mut count: usize = 1;
    while 0 < searched && count.saturating_mul(sizes[searched - 1] as usize) <= MAX_SEARCHED {
        searched -= 1;
        count *= sizes[searched] as usize;
    }
    let bind = |i: Index| if let Index::Var(k) = i { Index::Bound(k) } else { i };
    let guards: Vec<Guard> = guards.iter().map(|guard| guard.map(bind)).collect();
    let mut found: Vec<SmallVec<[u32; 6]>> = Vec::new();
    for mut bound in spread(&sizes[..searched], MAX_SEARCHED / count.max(1)) {
        bound.resize(sizes.len(), 0);
        // In lexicographic order: positions that differ in the others only follow each other.
        for_each_assignment(&sizes[searched..], &guards, searched, &[], &mut bound, &mut |all| {
            if found.last().is_none_or(|last| last[..] != all[..*arity]) {
                found.push(all[..*arity].into());
            }
        });
    }
    let step = found.len().div_ceil(most).max(1);
    found.into_iter().step_by(step).collect()
}

/// All positions on axes of these sizes, or about so many of them, spread evenly.
fn spread(sizes: &[u32], most: usize) -> impl Iterator<Item = Vec<u32>> {
    let total = sizes.iter().fold(1_u128, |all, &size| all.saturating_mul(u128::from(size)));
    let step = (total / most as u128).max(1);
    // An odd step, so that positions do not repeat the same last index.
    let step = if step.is_multiple_of(2) { step + 1 } else { step };
    (0..total.div_ceil(step)).map(move |k| {
        let mut flat = k * step;
        let mut at = vec![0; sizes.len()];
        for (place, &size) in at.iter_mut().zip(sizes).rev() {
            *place = (flat % u128::from(size.max(1))) as u32;
            flat /= u128::from(size.max(1));
        }
        at
    })
}

#[cfg(test)]
mod tests {
    use netsor_gauss::Tolerance;
    use netsor_ir::Id;
    use netsor_ir::index::Relation;
    use netsor_ir::syntax::parse_program;

    use super::*;
    use crate::{Data, Deriver};

    /// The limit of `mean(function)`, with `s` and `t` over the axes `i` and `k`; 0 if there is one.
    fn mean(size: usize, function: &str, s: &dyn Fn(usize) -> f64) -> Result<f64, LimitError> {
        let text = format!(
            "program p {{
              axis i = {size}
              axis k = 2
              data s[i] : scalar
              data t[k] : scalar
              vector a ~ N(0, 1)
              vector b ~ N(0, 1)
              moment m = mean({function})
            }}"
        );
        let program = parse_program(&text).unwrap();
        let mut deriver = Deriver::new(&program);
        let m = deriver.scalar(program.find("m").unwrap())?;
        let graph = deriver.into_graph();
        let [of_s, of_t] = ["s", "t"].map(|name| program.find(name).unwrap());
        let data = Data::new().with(of_s, (0..size).map(s).collect()).with(of_t, vec![1.0, 1.0]);
        Ok(Evaluator::new(&graph, &program, &data, Tolerance::default())?.value(m, &[])?.value)
    }

    /// `E exp(s a^2)` exists for `s < 1/2`. Which `s` are in the sum the guards say, here by way of `k`, which is no index of
    /// what is integrated.
    #[test]
    fn a_premise_matters_where_the_guards_hold() {
        let function = "sum i, k [i <= k] [k <= 0] t[k] * b * exp(s[i] * a^2)";
        assert_eq!(mean(2, function, &|i| [0.25, 0.75][i]), Ok(0.0));
        for function in [function, "sum i, k [i <= k] t[k] * b * exp(s[i] * a^2)"] {
            let error = mean(2, function, &|i| [0.75, 0.25][i]).expect_err(function);
            assert!(matches!(&error, LimitError::Existence { name, .. } if name == "m"), "{error}");
        }
        let error = mean(2, "sum i, k [i <= k] t[k] * b * exp(s[i] * a^2)", &|i| [0.25, 0.75][i]).unwrap_err();
        assert!(matches!(error, LimitError::Existence { .. }), "{error}");
    }

    /// One term of a million, at a position that guards lead to.
    #[test]
    fn positions_are_found_by_guards() {
        let function = "sum i, j in i [j = 2*i] b * exp((s[i] + s[j]) * a^2)";
        let only = |at: usize| move |i: usize| if i == at || i == 2 * at { 0.3 } else { 0.1 };
        for at in [3, 211, 498] {
            let error = mean(1000, function, &only(at)).expect_err(function);
            assert!(matches!(error, LimitError::Existence { .. }), "{error}");
        }
        assert_eq!(mean(1000, function, &|i| if i == 3 || i == 211 { 0.3 } else { 0.1 }), Ok(0.0));

        let what = Presumed::Number(Id::new(0));
        let guard = Guard::new(Relation::Eq, [(1, Index::Var(1)), (-2, Index::Var(0))], 0);
        let many =
            Premise { name: String::new(), what, sizes: vec![60_000, 60_000, 64], arity: 2, guards: vec![guard] };
        let found = positions(&many, 512);
        assert!(!found.is_empty() && found.len() <= 512 && found.iter().all(|at| at[1] == 2 * at[0]), "{found:?}");
        let narrow = Premise { sizes: vec![60_000, 8], ..many };
        let found: Vec<Vec<u32>> = positions(&narrow, 512).into_iter().map(SmallVec::into_vec).collect();
        assert_eq!(found, [[0, 0], [1, 2], [2, 4], [3, 6]]);
    }

    #[test]
    fn positions_are_all_or_spread() {
        assert_eq!(spread(&[], 8).collect::<Vec<_>>(), [Vec::<u32>::new()]);
        assert_eq!(spread(&[2, 2], 8).collect::<Vec<_>>(), [[0, 0], [0, 1], [1, 0], [1, 1]]);
        assert_eq!(spread(&[0, 2], 8).count(), 0);
        let many: Vec<_> = spread(&[60_000, 60_000, 64], 512).collect();
        assert!((500..=512).contains(&many.len()));
        for k in 0..3 {
            let seen: std::collections::BTreeSet<u32> = many.iter().map(|at| at[k]).collect();
            assert!(50 < seen.len(), "{k}: {}", seen.len());
        }
    }
}
