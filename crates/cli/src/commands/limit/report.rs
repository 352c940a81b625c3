//! What `netsor limit` prints: text, JSON, LaTeX.

use netsor_ir::Program;
use netsor_lab::format;
use netsor_limit::independence::Counterexample;
use netsor_limit::ztable::ZTable;
use serde_json::{Value, json};

use super::independence;
use super::numbers::{Missing, Number};
use crate::output;
use crate::values::member_name;

pub(super) fn to_text(table: &ZTable, numbers: &[Number], missing: &[Missing], has_data: bool) -> String {
    let mut rows = output::table(&["value", "rule", "limit"]);
    for row in &table.rows {
        let mut limit = row.limit.clone();
        for dot in &row.dot {
            limit.push_str(&format!("\nZdot: coefficient of Z({}) is {}", dot.vector, dot.coefficient));
        }
        if let Some(reason) = &row.reason {
            limit = if limit.is_empty() { reason.clone() } else { format!("{limit}\n({reason})") };
        }
        rows.add_row([row.value.as_str(), row.rule.name(), &limit]);
    }
    let mut out = format!("{rows}\n");
    if !table.definitions.is_empty() {
        out.push_str("\nwhere\n");
        for definition in &table.definitions {
            out.push_str(&output::wrapped(&format!("  {} = {}", definition.name, definition.text), 4));
        }
    }
    let (matrices, single): (Vec<&Number>, Vec<&Number>) = numbers.iter().partition(|n| n.at.len() == 2);
    if !single.is_empty() {
        let mut rows = output::table(&["limit of", "value", "error", "by"]);
        for number in single {
            rows.add_row([
                member_name(&number.name, &number.at),
                format::precise(number.value, number.error),
                format::error(number.error),
                number.method.clone(),
            ]);
        }
        out.push_str(&format!("\n{rows}\n"));
    }
    for matrix in matrices.chunk_by(|a, b| a.name == b.name) {
        out.push_str(&as_matrix(matrix));
    }
    for same in missing.chunk_by(|a, b| a.reason == b.reason) {
        out.push('\n');
        out.push_str(&output::wrapped(&format!("no {}", reason(same)), 4));
    }
    if numbers.is_empty() && missing.is_empty() && has_data {
        out.push_str("\nno numbers: give the data with --data NAME=VALUES\n");
    }
    out
}

/// What does not exist, and why: numbers with one reason.
pub(super) fn reason(same: &[Missing]) -> String {
    let names: Vec<String> = same.iter().map(|m| member_name(&m.name, &m.at)).collect();
    format!("{}: {}", names.join(", "), same.first().map_or("", |m| m.reason.as_str()))
}

/// A family over two indices, row by row.
fn as_matrix(entries: &[&Number]) -> String {
    let error = entries.iter().map(|n| n.error).fold(0.0, f64::max);
    let name = entries.first().map_or("", |n| n.name.as_str());
    let columns = entries.iter().take_while(|n| n.at[0] == entries[0].at[0]).count();
    let numbers: Vec<f64> = entries.iter().map(|n| n.value).collect();
    let exact = if error == 0.0 { "exact".to_owned() } else { format!("errors at most {}", format::error(error)) };
    let mut out = format!("\n{name} ({exact})\n{}", output::matrix(&numbers, columns));
    let not_met = entries.iter().filter(|n| !n.met).count();
    if 0 < not_met {
        let all = entries.len();
        out.push_str(&format!("tolerance not met: {not_met} of {all} entries have errors above what was asked\n"));
    }
    out
}

pub(super) fn to_json(
    program: &Program,
    table: &ZTable,
    numbers: &[Number],
    missing: &[Missing],
    counterexample: Option<&Counterexample>,
) -> Value {
    let numbers: Vec<Value> = numbers
        .iter()
        .map(|n| {
            json!({
                "name": n.name,
                "at": n.at,
                "value": n.value,
                "error": n.error,
                "method": n.method,
                "tolerance_met": n.met,
                "under_gradient_independence": n.independent,
            })
        })
        .collect();
    json!({
        "name": program.name,
        "table": table.rows,
        "definitions": table.definitions,
        "numbers": numbers,
        "missing": missing,
        "counterexample": counterexample.map(independence::to_json),
    })
}

/// The table and its definitions as two `align*` environments.
pub(super) fn latex(table: &ZTable) -> String {
    let mut out = String::from("\\begin{align*}\n");
    let rows: Vec<String> = table
        .rows
        .iter()
        .filter(|row| !row.latex.is_empty())
        .map(|row| {
            let name = row.value.replace('_', "\\_");
            format!("  Z^{{\\mathtt{{{name}}}}} &= {} && \\text{{{}}}", row.latex, row.rule.name())
        })
        .collect();
    out.push_str(&rows.join(" \\\\\n"));
    out.push_str("\n\\end{align*}\n");
    if !table.definitions.is_empty() {
        let rows: Vec<String> = table
            .definitions
            .iter()
            .map(|d| format!("  E^{{({})}} &= {}", d.name.trim_start_matches('E'), d.latex))
            .collect();
        out.push_str(&format!("where\n\\begin{{align*}}\n{}\n\\end{{align*}}\n", rows.join(" \\\\\n")));
    }
    out
}
