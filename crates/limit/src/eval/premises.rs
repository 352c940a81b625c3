//! Whether expectations exist, in numbers: those that are integrated, and those that were taken to vanish.

use netsor_gauss::{Covariance, GaussError, check_existence, check_powers};
use netsor_ir::Index;
use netsor_ir::expr::{ExprId, Symbol};
use netsor_ir::index::Truth;

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
        let positions = spread(&premise.sizes, MAX_POSITIONS).filter(|at| {
            let fixed = |i: Index| if let Index::Var(k) = i { Index::At(at[k as usize]) } else { i };
            premise.guards.iter().all(|guard| guard.map(fixed).truth() != Truth::Never)
        });
        let positions: Vec<_> = positions.collect();
        positions.into_iter().try_for_each(|at| match &premise.what {
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
            Presumed::Expectation { integrand, covariance, parameters } => {
                // Numbers that cannot be had belong to values that nobody asks for, or are errors of their own.
                let mut entries =
                    |of: &[ExprId]| of.iter().map(|&e| self.entry(e, &at).ok()).collect::<Option<Vec<_>>>();
                let (Some(covariance), Some(parameters)) = (entries(covariance), entries(parameters)) else {
                    return Ok(());
                };
                self.exists(*integrand, &covariance, &parameters)?.map_err(|source| LimitError::Existence {
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
    use super::*;

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
