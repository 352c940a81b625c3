//! A run as one HTML page that needs nothing else: style, figures and formulas are inside.

use minijinja::{Environment, Value, context};

use crate::claim::{Cell, Outcome, Table};
use crate::draw;
use crate::figure::Figure;
use crate::format;
use crate::math::to_html;
use crate::summary::{ClaimSummary, State, Summary};
use crate::terminal::counts;
use crate::verdict::Test;

const TEMPLATE: &str = include_str!("report.html");

/// The page.
///
/// # Errors
/// Only when the template itself is broken.
pub fn html(summary: &Summary) -> anyhow::Result<String> {
    let mut environment = Environment::new();
    // Names that end in .html are escaped by default; what is marked safe below comes from `math`,
    // `draw` and `format`, which escape by themselves.
    environment.add_template("report.html", TEMPLATE)?;
    let claims: Vec<Value> = summary.claims.iter().map(claim_view).collect();
    let page = environment.get_template("report.html")?.render(context! {
        claims,
        counts => counts(summary),
        interrupted => summary.interrupted,
        n_tests => summary.n_tests,
        plot_style => Value::from_safe_string(draw::STYLE.to_owned()),
        facts => facts(summary),
    })?;
    Ok(page)
}

fn facts(summary: &Summary) -> Vec<(&'static str, String)> {
    let machine = &summary.machine;
    let processor = if machine.processor.is_empty() { &machine.platform } else { &machine.processor };
    let mut facts = vec![
        ("finished", summary.finished_at.clone()),
        ("size", summary.scale.word().to_owned()),
        ("seed", summary.seed.to_string()),
        ("time of this run", format::duration(summary.seconds)),
        ("netsor", summary.version.clone()),
    ];
    if let Some(commit) = &summary.commit {
        facts.push(("commit", commit.clone()));
    }
    facts.push(("machine", format!("{processor}, {} threads, {}", machine.threads, machine.platform)));
    facts
}

fn claim_view(claim: &ClaimSummary) -> Value {
    let (outcome, error) = match &claim.state {
        State::Judged { outcome, .. } => (Some(outcome_view(outcome)), None),
        State::Error { message } => (None, Some(message.clone())),
        State::NotRun => (None, None),
    };
    context! {
        id => claim.id,
        title => safe(to_html(&claim.title)),
        source => safe(to_html(&claim.source)),
        prediction => safe(to_html(&claim.prediction)),
        page => claim.page,
        word => claim.state.word(),
        class => claim.state.word().replace(' ', "-"),
        time => format::duration(claim.seconds),
        resumed_from => claim.resumed_from,
        commit => claim.commit,
        outcome,
        error,
    }
}

fn outcome_view(outcome: &Outcome) -> Value {
    context! {
        tests => outcome.tests.iter().map(test_view).collect::<Vec<_>>(),
        figures => outcome.figures.iter().map(figure_view).collect::<Vec<_>>(),
        tables => outcome.tables.iter().map(table_view).collect::<Vec<_>>(),
        notes => outcome.notes.iter().map(|note| safe(to_html(note))).collect::<Vec<_>>(),
    }
}

fn test_view(test: &Test) -> Value {
    let error = test.standard_error;
    let interval = test
        .interval
        .map(|(low, high)| format!("{} … {}", format::with_error(low, error), format::with_error(high, error)));
    context! {
        name => safe(to_html(&test.name)),
        estimate => format::with_error(test.estimate, error),
        interval => interval.unwrap_or_else(|| "exact".to_owned()),
        prediction => test.prediction.to_string(),
        p => test.p_adjusted.map(format::p_value),
        p_against => test.p_against_adjusted.map(format::p_value),
        word => test.verdict.word(),
    }
}

fn figure_view(figure: &Figure) -> Value {
    context! {
        title => safe(to_html(&figure.title)),
        caption => safe(to_html(&figure.caption)),
        svg => safe(draw::inline(figure)),
    }
}

fn table_view(table: &Table) -> Value {
    let is_number = |k: usize| {
        let mut column = table.rows.iter().filter_map(|row| row.get(k));
        column.all(|cell| !matches!(cell, Cell::Text(_)))
    };
    let cell = |(k, cell): (usize, &Cell)| {
        let text = match cell {
            Cell::Number(value) => safe(format::number(*value)),
            Cell::Text(text) => safe(to_html(text)),
            Cell::Missing(()) => safe("–".to_owned()),
        };
        context! { text, number => is_number(k) }
    };
    let heads = table.columns.iter().enumerate();
    let columns = heads.map(|(k, head)| context! { text => safe(to_html(head)), number => is_number(k) });
    let rows = table.rows.iter().map(|row| row.iter().enumerate().map(cell).collect::<Vec<_>>());
    context! {
        title => safe(to_html(&table.title)),
        columns => columns.collect::<Vec<_>>(),
        rows => rows.collect::<Vec<_>>(),
    }
}

fn safe(html: String) -> Value {
    Value::from_safe_string(html)
}
