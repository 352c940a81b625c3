//! One program to certify: with second moments as scalars of their own, numbers for its data, and the limits.

use std::collections::BTreeMap;

use anyhow::anyhow;
use netsor_ir::program::own_indices;
use netsor_ir::syntax::Item;
use netsor_ir::transform::kernels;
use netsor_ir::verify::{Verified, verify_program};
use netsor_ir::{Axis, Dim, ExprId, Id, Index, Instr, Kind, Program, ValueId};
use netsor_lab::{Cancel, Interrupted};
use netsor_limit::{Data, Deriver};
use netsor_num::streams::{Streams, fill_normal};

use super::limits::Limits;
use super::{Certified, CertifyArgs, Moments};
use crate::values::{count, data_of, member, member_name};

/// The largest share of the margin that the error of a limit may take.
const LIMIT_ERROR: f64 = 0.1;

/// A program with every number that is tested.
pub(super) struct Case {
    pub(super) program: Verified<Program>,
    pub(super) given: Vec<(ValueId, Vec<f64>)>,
    /// The scalars that were added, with the two vectors each is the mean product of.
    pairs: BTreeMap<ValueId, (ValueId, ValueId)>,
}

/// A number of the program, and what the limit engine says it is.
pub(super) struct Target {
    pub(super) name: String,
    pub(super) value: ValueId,
    pub(super) flat: usize,
    pub(super) limit: f64,
    /// How large the number could be: differences are measured by it.
    pub(super) scale: f64,
}

/// The limit of a scalar of the program.
struct Known {
    value: ValueId,
    limit: ExprId,
}

impl Case {
    /// Adds moments, and draws the data that are not given.
    pub(super) fn new(item: &Item, args: &CertifyArgs, found: &mut Certified) -> anyhow::Result<Self> {
        let n_vectors = item.program().values.len();
        let mut program = match item {
            Item::Program(program) => program.clone(),
            Item::Network(network) => kernels(network)?.program,
        };
        let mut given = args.data.read(&program)?;
        for id in data_of(&program) {
            if given.iter().all(|(other, _)| *other != id) {
                let name = &program.value(id).name;
                let mut numbers = vec![0.0; count(&program, id)];
                fill_normal(&mut Streams::new(args.seed).stream(&format!("data {name}"), 0), &mut numbers);
                found.drawn.push(name.clone());
                given.push((id, numbers));
            }
        }
        let pairs = add_moments(&mut program, n_vectors, args.moments);
        Ok(Self { program: verify_program(program)?, given, pairs })
    }

    /// The limits of all scalars, member by member; notes those that have none.
    pub(super) fn targets(
        &self,
        args: &CertifyArgs,
        found: &mut Certified,
        cancel: &Cancel,
    ) -> anyhow::Result<Vec<Target>> {
        let program: &Program = &self.program;
        let mut deriver = match args.gradient_independence {
            false => Deriver::new(program),
            true => Deriver::assuming_gradient_independence(program),
        };
        let mut known: Vec<Known> = Vec::new();
        for value in program.value_ids() {
            if program.value(value).ty.kind != Kind::Scalar || matches!(program.value(value).instr, Instr::Data) {
                continue;
            }
            match deriver.scalar(value) {
                Ok(limit) => known.push(Known { value, limit }),
                Err(reason) => found.without.push(reason.to_string()),
            }
        }
        let own: BTreeMap<ValueId, ExprId> = known
            .iter()
            .filter_map(|k| self.pairs.get(&k.value).filter(|(a, b)| a == b).map(|&(a, _)| (a, k.limit)))
            .collect();
        let graph = deriver.into_graph();
        let data = self.given.iter().fold(Data::new(), |data, (id, numbers)| data.with(*id, numbers.clone()));
        let mut limits = Limits::new(&graph, program, &data)?;

        let members = self.members(&known);
        let wanted = spread(members.len(), args.max_numbers);
        found.left_out = members.len() - wanted.len();
        let mut targets = Vec::new();
        for (Known { value, limit }, flat) in wanted.into_iter().map(|k| members[k]) {
            if cancel.is_cancelled() {
                return Err(Interrupted.into());
            }
            let at = member(&program.family_sizes(*value), flat);
            let name = member_name(&program.value(*value).name, &at);
            let mut second_moment = |vector: ValueId, at: &[u32]| -> Option<f64> {
                let twice: Vec<u32> = at.iter().chain(at).copied().collect();
                Some(limits.value(*own.get(&vector)?, &twice).ok()?.value)
            };
            let scale = match self.pairs.get(value) {
                Some(&(a, b)) => {
                    let (of_a, of_b) = at.split_at(program.value(a).ty.family.len());
                    second_moment(a, of_a).zip(second_moment(b, of_b)).map(|(x, y)| (x * y).abs().sqrt())
                }
                None => None,
            };
            match limits.value(*limit, &at).map_err(|error| anyhow!("`{name}`: {error}")) {
                Ok(found_limit) => {
                    let scale = scale.filter(|&s| 0.0 < s).unwrap_or_else(|| found_limit.value.abs().max(1.0));
                    if LIMIT_ERROR * args.margin * scale < found_limit.error {
                        let (value, error) = (found_limit.value, found_limit.error);
                        found.without.push(format!("`{name}`: its limit {value} is known to {error:.0e} only"));
                        continue;
                    }
                    targets.push(Target { name, value: *value, flat, limit: found_limit.value, scale });
                }
                Err(error) => found.without.push(error.to_string()),
            }
        }
        Ok(targets)
    }

    /// Every member of every scalar; of a vector's moments with itself each once.
    fn members<'a>(&self, known: &'a [Known]) -> Vec<(&'a Known, usize)> {
        let mut members = Vec::new();
        for known in known {
            let sizes = self.program.family_sizes(known.value);
            let count = sizes.iter().product::<usize>();
            let square = self.pairs.get(&known.value).filter(|(a, b)| a == b).map(|_| count.isqrt().max(1));
            members.extend((0..count).filter(|k| square.is_none_or(|n| k / n <= k % n)).map(|k| (known, k)));
        }
        members
    }
}

/// Numbers below `count`: all, or `most` of them at equal distances.
fn spread(count: usize, most: usize) -> Vec<usize> {
    if most == 0 || count <= most {
        return (0..count).collect();
    }
    (0..most).map(|k| k * count / most).collect()
}

/// Appends `mean(a * b)` for pairs among the first `n_vectors` values.
fn add_moments(program: &mut Program, n_vectors: usize, which: Moments) -> BTreeMap<ValueId, (ValueId, ValueId)> {
    let mut pairs = BTreeMap::new();
    let vectors: Vec<ValueId> = (0..n_vectors)
        .map(ValueId::new)
        .filter(|&id| matches!(program.value(id).ty.kind, Kind::Vector(Dim::Width(_))))
        .collect();
    for (k, &a) in vectors.iter().enumerate() {
        for &b in &vectors[k..] {
            let wanted = match which {
                Moments::None => false,
                Moments::Own => a == b,
                Moments::All => true,
            };
            if wanted && program.value(a).ty.kind == program.value(b).ty.kind {
                let names = [a, b].map(|id| program.value(id).name.replace('@', "_"));
                let name = program.unused_name(&format!("E_{}_{}", names[0], names[1]));
                let family = joined_family(program, a, b);
                let split = program.value(a).ty.family.len();
                let own: Vec<Index> = own_indices(family.len()).collect();
                let (x, y) = (program.member(a, &own[..split]), program.member(b, &own[split..]));
                let product = program.exprs.mul(x, y);
                let family: Vec<(&str, Id<Axis>)> = family.iter().map(|(name, axis)| (name.as_str(), *axis)).collect();
                pairs.insert(program.moment(&name, &family, product), (a, b));
            }
        }
    }
    pairs
}

/// The indices of `a` and then those of `b`, with primes where names meet.
fn joined_family(program: &Program, a: ValueId, b: ValueId) -> Vec<(String, Id<Axis>)> {
    let mut family: Vec<(String, Id<Axis>)> = Vec::new();
    for value in [program.value(a), program.value(b)] {
        for (name, &axis) in value.index_names.iter().zip(&value.ty.family) {
            let mut name = name.clone();
            while family.iter().any(|(other, _)| *other == name) {
                name.push('\'');
            }
            family.push((name, axis));
        }
    }
    family
}

#[cfg(test)]
mod tests {
    use super::spread;

    #[test]
    fn a_sample_is_spread_evenly() {
        assert_eq!(spread(3, 0), [0, 1, 2]);
        assert_eq!(spread(3, 5), [0, 1, 2]);
        assert_eq!(spread(10, 4), [0, 2, 5, 7]);
    }
}
