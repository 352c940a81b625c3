//! Numbers of the limit: what is asked for, and its evaluation member by member.

use anyhow::{anyhow, bail};
use netsor_ir::{ExprId, Instr, Kind, Program, ValueId};
use netsor_limit::{Data, Deriver, Evaluator, LimitError, Tolerance};

use crate::output;
use crate::values::member;

/// A number of the limit.
pub(super) struct Number {
    pub(super) name: String,
    pub(super) at: Vec<u32>,
    pub(super) value: f64,
    pub(super) error: f64,
    /// How its expectations were found.
    pub(super) method: String,
    /// Whether the error is within the tolerance.
    pub(super) met: bool,
    /// What it would be if `W'` were independent of `W`, where that is another number.
    pub(super) independent: Option<f64>,
}

/// A symbolic result with the family that it ranges over.
pub(super) struct Wanted {
    pub(super) name: String,
    pub(super) expr: ExprId,
    pub(super) sizes: Vec<usize>,
    /// What it is of its program, if it is anything by itself.
    pub(super) of: Option<Of>,
    /// Whether it is the same after its two halves of indices are exchanged.
    pub(super) symmetric: bool,
}

/// A number that was asked for and does not exist.
#[derive(serde::Serialize)]
pub(super) struct Missing {
    pub(super) name: String,
    /// The member at which it was found out.
    pub(super) at: Vec<u32>,
    pub(super) reason: String,
    /// Whether a function was taken outside of its domain, as a quotient by 0.
    #[serde(skip)]
    pub(super) domain: bool,
}

impl Missing {
    pub(super) fn new(name: &str, error: &anyhow::Error) -> Self {
        let outside = |e: &(dyn std::error::Error + 'static)| {
            matches!(e.downcast_ref(), Some(LimitError::Domain { .. } | LimitError::Multiplier { .. }))
        };
        let (name, reason) = (name.to_owned(), crate::chain(error));
        Self { name, at: Vec::new(), reason, domain: error.chain().any(outside) }
    }
}

/// A scalar of a program, or the mean of a product.
#[derive(Clone, Copy)]
pub(super) enum Of {
    Scalar(ValueId),
    Moment(ValueId, ValueId),
}

/// Every scalar with a limit that is not simply given.
pub(super) fn scalars(deriver: &mut Deriver<'_>, program: &Program) -> Vec<Wanted> {
    let scalar = |id: &ValueId| {
        let value = program.value(*id);
        value.ty.kind == Kind::Scalar && !matches!(value.instr, Instr::Data)
    };
    let ids: Vec<ValueId> = program.value_ids().filter(scalar).collect();
    ids.into_iter()
        .filter_map(|id| {
            let expr = deriver.scalar(id).ok()?;
            let name = program.value(id).name.clone();
            Some(Wanted { name, expr, sizes: program.family_sizes(id), of: Some(Of::Scalar(id)), symmetric: false })
        })
        .collect()
}

pub(super) fn moment(deriver: &mut Deriver<'_>, program: &Program, pair: &str) -> anyhow::Result<Wanted> {
    let (a, b) = pair.split_once(',').ok_or_else(|| anyhow!("--moment {pair}: expected two names, as in a,b"))?;
    let find = |name: &str| {
        let id = program.find(name.trim()).ok_or_else(|| anyhow!("--moment {pair}: there is no `{}`", name.trim()))?;
        match program.value(id).ty.kind {
            Kind::Vector(netsor_ir::Dim::Width(_)) => Ok(id),
            _ => Err(anyhow!("--moment {pair}: `{}` is not a vector whose dimension is a width", name.trim())),
        }
    };
    let (a, b) = (find(a)?, find(b)?);
    if program.value(a).ty.kind != program.value(b).ty.kind {
        bail!("--moment {pair}: the two vectors have different widths");
    }
    let expr = deriver.second_moment(a, b)?;
    let sizes = [program.family_sizes(a), program.family_sizes(b)].concat();
    let name = format!("E {} {}", program.value(a).name, program.value(b).name);
    Ok(Wanted { name, expr, sizes, of: Some(Of::Moment(a, b)), symmetric: a == b })
}

/// The members of all that is wanted. What has no limit is taken out of `wanted` and named among `missing`: the others
/// are numbers all the same.
pub(super) fn evaluate(
    deriver: Deriver<'_>,
    program: &Program,
    given: &[(ValueId, Vec<f64>)],
    wanted: &mut Vec<Wanted>,
    missing: &mut Vec<Missing>,
    tolerance: Tolerance,
) -> anyhow::Result<Vec<Number>> {
    let graph = deriver.into_graph();
    let data = given.iter().fold(Data::new(), |data, (id, numbers)| data.with(*id, numbers.clone()));
    let mut evaluator = Evaluator::new(&graph, program, &data, tolerance)?;
    let count = wanted.iter().map(|wanted| wanted.sizes.iter().product::<usize>()).sum();
    let bar = output::progress(count, "limits");
    let mut out = Vec::new();
    wanted.retain(|wanted| match members(&mut evaluator, wanted, tolerance, &bar) {
        Ok(numbers) => {
            out.extend(numbers);
            true
        }
        Err(error) => {
            let (at, error) = error;
            missing.push(Missing { at, ..Missing::new(&wanted.name, &error.into()) });
            false
        }
    });
    bar.finish_and_clear();
    Ok(out)
}

fn members(
    evaluator: &mut Evaluator<'_>,
    Wanted { name, expr, sizes, symmetric, .. }: &Wanted,
    tolerance: Tolerance,
    bar: &indicatif::ProgressBar,
) -> Result<Vec<Number>, (Vec<u32>, LimitError)> {
    let mut out: Vec<Number> = Vec::new();
    for flat in 0..sizes.iter().product::<usize>() {
        bar.inc(1);
        let at = member(sizes, flat);
        let (left, right) = at.split_at(at.len() / 2);
        if *symmetric && right < left {
            // The mirror image was computed before: it comes first.
            let mirrored = [right, left].concat();
            let known = out.iter().find(|n| n.at == mirrored).map(|n| Number {
                name: name.clone(),
                at: at.clone(),
                method: n.method.clone(),
                ..*n
            });
            out.extend(known);
            continue;
        }
        let before = evaluator.statistics().clone();
        let value = evaluator.value(*expr, &at).map_err(|error| (at.clone(), error))?;
        let after = evaluator.statistics();
        let used = [
            (after.closed_form - before.closed_form, "closed form"),
            (after.quadrature - before.quadrature, "quadrature"),
            (after.qmc - before.qmc, "quasi-Monte Carlo"),
            (after.not_met - before.not_met, "tolerance not met"),
        ];
        let mut method: Vec<&str> = used.iter().filter(|(count, _)| 0 < *count).map(|(_, name)| *name).collect();
        if method.is_empty() {
            method.push(if value.error == 0.0 { "algebra" } else { "from above" });
        }
        let (value, error) = (value.value, value.error);
        let met = error <= tolerance.absolute.max(tolerance.relative * value.abs());
        let method = method.join(", ");
        out.push(Number { name: name.clone(), at, value, error, method, met, independent: None });
    }
    Ok(out)
}
