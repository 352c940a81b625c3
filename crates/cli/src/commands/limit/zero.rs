//! Where a limit divides by 0: the vectors that vanish, and the data behind them.

use netsor_ir::{Dim, Kind, Program, ValueId};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance};

use crate::values::{member, member_name};

/// The first vector whose coordinates are 0 in the limit, and the data that are 0; `None` if no vector vanishes.
pub(super) fn vanishing(program: &Program, given: &[(ValueId, Vec<f64>)], tolerance: Tolerance) -> Option<String> {
    let mut deriver = Deriver::new(program);
    let wide = |id: &ValueId| matches!(program.value(*id).ty.kind, Kind::Vector(Dim::Width(_)));
    let squares: Vec<_> = program
        .value_ids()
        .filter(wide)
        .filter_map(|id| deriver.second_moment(id, id).ok().map(|square| (id, square)))
        .collect();
    let graph = deriver.into_graph();
    let data = given.iter().fold(Data::new(), |data, (id, numbers)| data.with(*id, numbers.clone()));
    let mut evaluator = Evaluator::new(&graph, program, &data, tolerance).ok()?;
    let vector = squares.into_iter().find_map(|(id, square)| {
        let sizes = program.family_sizes(id);
        (0..sizes.iter().product()).map(|flat| member(&sizes, flat)).find_map(|at| {
            let value = evaluator.value(square, &[&at[..], &at[..]].concat()).ok()?;
            (value.value == 0.0).then(|| member_name(&program.value(id).name, &at))
        })
    })?;
    let rows: Vec<String> = given.iter().flat_map(|(id, numbers)| zeros(program, *id, numbers)).collect();
    let because = if rows.is_empty() { String::new() } else { format!(", as is {} of the data", rows.join(", ")) };
    Some(format!(
        "the vector {vector} is 0{because}: if it is what is divided by, leave it out or add a small number to its norm"
    ))
}

/// The members of a family of data that have norm 0.
fn zeros(program: &Program, id: ValueId, numbers: &[f64]) -> Vec<String> {
    let Kind::Vector(Dim::Finite(size)) = program.value(id).ty.kind else { return Vec::new() };
    let sizes = program.family_sizes(id);
    let rows = numbers.chunks((size as usize).max(1)).enumerate().filter(|(_, row)| row.iter().all(|x| *x == 0.0));
    rows.map(|(flat, _)| member_name(&program.value(id).name, &member(&sizes, flat))).collect()
}
