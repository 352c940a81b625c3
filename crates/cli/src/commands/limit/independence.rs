//! What gradient independence would give, where it is another number, and the smallest program that shows it.

use netsor_ir::syntax::print_program;
use netsor_ir::{Program, ValueId};
use netsor_lab::format;
use netsor_limit::independence::{Counterexample, Target, differ, smallest_difference};
use netsor_limit::{Data, Deriver, Evaluator, Tolerance, Value};
use serde_json::json;

use super::numbers::{Number, Of, Wanted};
use crate::values::member_name;

/// Notes on every number what it would be if `W'` were independent of `W`, where that differs, and reduces the program
/// for the first of these. The numbers are those of `wanted`, member by member.
pub(super) fn compare(
    program: &Program,
    given: &[(ValueId, Vec<f64>)],
    wanted: &[Wanted],
    numbers: &mut [Number],
    tolerance: Tolerance,
) -> anyhow::Result<Option<Counterexample>> {
    let mut deriver = Deriver::assuming_gradient_independence(program);
    let mut exprs = Vec::new();
    for wanted in wanted {
        // Without ZDot a limit may fail to exist that exists.
        exprs.push(match wanted.of {
            Some(Of::Scalar(id)) => deriver.scalar(id).ok(),
            Some(Of::Moment(a, b)) => deriver.second_moment(a, b).ok(),
            None => None,
        });
    }
    let graph = deriver.into_graph();
    let data = given.iter().fold(Data::new(), |data, (id, numbers)| data.with(*id, numbers.clone()));
    let mut evaluator = Evaluator::new(&graph, program, &data, tolerance)?;
    let mut first = None;
    let mut left = numbers;
    for (wanted, expr) in wanted.iter().zip(exprs) {
        let (own, rest) = left.split_at_mut(wanted.sizes.iter().product());
        left = rest;
        let (Some(of), Some(expr)) = (wanted.of, expr) else { continue };
        for number in own {
            let Ok(independent) = evaluator.value(expr, &number.at) else { continue };
            if differ(Value { value: number.value, error: number.error }, independent) {
                number.independent = Some(independent.value);
                first = first.or(Some((of, number.at.clone())));
            }
        }
    }
    let Some((of, at)) = first else { return Ok(None) };
    let target = match of {
        Of::Scalar(id) => Target::Scalar(id, at),
        Of::Moment(a, b) => Target::Moment(a, b, at),
    };
    Ok(smallest_difference(program, &target, given, tolerance)?)
}

/// The numbers that differ, and the program; empty if there are none.
pub(super) fn text(numbers: &[Number], counterexample: Option<&Counterexample>) -> String {
    let differing: Vec<&Number> = numbers.iter().filter(|n| n.independent.is_some()).collect();
    if differing.is_empty() {
        return String::new();
    }
    let mut out = "\nunder gradient independence (W' independent of W) these would be\n".to_owned();
    for number in differing {
        let independent = number.independent.unwrap_or(number.value);
        out.push_str(&format!(
            "  {} = {} instead of {}\n",
            member_name(&number.name, &number.at),
            format::digits(independent, 8),
            format::digits(number.value, 8)
        ));
    }
    if let Some(found) = counterexample {
        out.push_str(&format!(
            "\nthe smallest program that shows it: `{}` tends to {}, and under gradient independence to {}\n{}",
            found.program.value(found.target).name,
            format::precise(found.exact.value, found.exact.error),
            format::precise(found.independent.value, found.independent.error),
            print_program(&found.program)
        ));
        for (id, numbers) in &found.data {
            out.push_str(&format!("with {} = {numbers:?}\n", found.program.value(*id).name));
        }
    }
    out
}

pub(super) fn to_json(found: &Counterexample) -> serde_json::Value {
    let data: serde_json::Map<String, serde_json::Value> =
        found.data.iter().map(|(id, numbers)| (found.program.value(*id).name.clone(), json!(numbers))).collect();
    json!({
        "program": print_program(&found.program),
        "target": found.program.value(found.target).name,
        "exact": found.exact.value,
        "under_gradient_independence": found.independent.value,
        "data": data,
    })
}
