//! A run as text for a terminal.

use std::fmt::Write as _;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table};

use crate::format;
use crate::math::to_plain;
use crate::summary::{State, Summary};

/// One line a test, then the errors, then the counts. Without `coloured` there are no escape codes.
#[must_use]
pub fn text(summary: &Summary, coloured: bool) -> String {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    if coloured {
        table.enforce_styling();
        // Squeezed into less, columns become one letter wide: the terminal may wrap or scroll.
        if table.width().is_none_or(|width| width < 90) {
            table.set_content_arrangement(ContentArrangement::Disabled);
        }
    } else {
        table.force_no_tty().set_width(120);
    }
    table.set_header(["claim", "test", "estimate", "95 % interval", "prediction", "p", "verdict"]);
    for claim in &summary.claims {
        let State::Judged { outcome, verdict } = &claim.state else {
            table.add_row([Cell::new(&claim.id)].into_iter().chain(blank(5)).chain([verdict_cell(claim.state.word())]));
            continue;
        };
        if outcome.tests.is_empty() {
            table.add_row([Cell::new(&claim.id)].into_iter().chain(blank(5)).chain([verdict_cell(verdict.word())]));
        }
        for (k, test) in outcome.tests.iter().enumerate() {
            let interval = test.interval.map_or_else(
                || "exact".to_owned(),
                |(low, high)| {
                    let error = test.standard_error;
                    format!("{} … {}", format::with_error(low, error), format::with_error(high, error))
                },
            );
            table.add_row([
                Cell::new(if k == 0 { claim.id.as_str() } else { "" }),
                Cell::new(to_plain(&test.name)),
                Cell::new(format::with_error(test.estimate, test.standard_error)),
                Cell::new(interval),
                Cell::new(test.prediction.to_string()),
                Cell::new(test.p_adjusted.map(format::p_value).unwrap_or_default()),
                verdict_cell(test.verdict.word()),
            ]);
        }
    }
    let mut out = format!("{table}\n");
    for claim in &summary.claims {
        if let State::Error { message } = &claim.state {
            let _ = writeln!(out, "{}: error: {message}", claim.id);
        }
    }
    let _ = writeln!(out, "{}", counts(summary));
    if 0 < summary.n_tests {
        let _ = writeln!(
            out,
            "p to confirm: of the hypothesis that the prediction is wrong, corrected for the number of claims \
             (Holm; {} tests in all); the intervals are not corrected",
            summary.n_tests
        );
    }
    out
}

/// Such as `3 claims: 2 hold, 1 fails`.
#[must_use]
pub fn counts(summary: &Summary) -> String {
    let total = summary.claims.len();
    let words = [
        ("holds", "holds", "hold"),
        ("fails", "fails", "fail"),
        ("undecided", "undecided", "undecided"),
        ("error", "error", "errors"),
        ("not run", "not run", "not run"),
    ];
    let parts: Vec<String> = words
        .iter()
        .filter_map(|(word, one, many)| match summary.count(word) {
            0 => None,
            1 => Some(format!("1 {one}")),
            count => Some(format!("{count} {many}")),
        })
        .collect();
    let noun = if total == 1 { "claim" } else { "claims" };
    format!("{total} {noun}: {}", if parts.is_empty() { "none".to_owned() } else { parts.join(", ") })
}

fn blank(count: usize) -> impl Iterator<Item = Cell> {
    (0..count).map(|_| Cell::new(""))
}

fn verdict_cell(word: &str) -> Cell {
    let colour = match word {
        "holds" => Color::Green,
        "fails" | "error" => Color::Red,
        _ => Color::Yellow,
    };
    Cell::new(word).fg(colour).add_attribute(Attribute::Bold)
}
