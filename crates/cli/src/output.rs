//! What goes to the standard output.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Writes text. A closed pipe is an error that `main` turns into a quiet end.
pub(crate) fn emit(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes a value as JSON on several lines.
pub(crate) fn emit_json(value: &serde_json::Value) -> anyhow::Result<()> {
    emit(&format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Writes text to the file, if there is one, or to the standard output.
pub(crate) fn emit_to(file: Option<&Path>, text: &str) -> anyhow::Result<()> {
    match file {
        Some(path) => write_file(path, text.as_bytes()),
        None => emit(text),
    }
}

/// Writes a whole file, or nothing.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    netsor_lab::files::write_atomically(path, bytes).with_context(|| format!("writing {}", path.display()))
}

/// A row of a matrix, with eight decimals.
pub(crate) fn row(entries: &[f64]) -> String {
    entries.iter().map(|x| format!("{x:>13.8}")).collect::<Vec<_>>().join(" ") + "\n"
}

/// A table with the given head: as wide as the terminal, or as its contents when nobody reads it there.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY);
    if std::io::stdout().is_terminal() {
        table.set_content_arrangement(ContentArrangement::Dynamic);
    } else {
        table.force_no_tty().set_content_arrangement(ContentArrangement::Disabled);
    }
    table.set_header(head.iter().copied());
    table
}

/// A bar on the terminal, or nothing when the standard error is none.
pub(crate) fn progress(length: usize, what: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(Some(length as u64), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
