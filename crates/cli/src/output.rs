//! What goes to the standard output.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Columns of a table where nothing says how wide the reader's window is.
const PAGE_WIDTH: u16 = 120;
/// Narrower than this, a table is unreadable.
const MIN_WIDTH: u16 = 40;

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

/// A matrix, row by row, with eight significant digits of its largest entry. The numbers can be copied into another
/// program: a power of ten that they share stands above them.
pub(crate) fn matrix(entries: &[f64], columns: usize) -> String {
    let largest = entries.iter().copied().filter(|x| x.is_finite()).fold(0.0, |m: f64, x| m.max(x.abs()));
    let exponent = if largest == 0.0 { 0 } else { largest.log10().floor() as i32 };
    let plain = (0..4).contains(&exponent);
    let mut out = if plain { String::new() } else { format!("  in units of 1e{exponent}:\n") };
    // In two steps: a power of ten below the smallest normal number is none.
    let scale = |x: f64| if plain { x } else { x * 10f64.powi(-exponent / 2) * 10f64.powi(-exponent + exponent / 2) };
    for row in entries.chunks(columns.max(1)) {
        let entry = |x: &f64| {
            let text = format!("{:.8}", scale(*x));
            let zero = text.chars().all(|c| matches!(c, '-' | '0' | '.'));
            format!("{:>13}", if zero { text.trim_start_matches('-') } else { &text })
        };
        out.push_str(&row.iter().map(entry).collect::<Vec<_>>().join(" "));
        out.push('\n');
    }
    out
}

/// Columns of the terminal, or of what reads the standard output in its place.
fn width() -> u16 {
    let terminal = Table::new().width().filter(|_| std::io::stdout().is_terminal());
    let told = || std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    terminal.or_else(told).filter(|&columns| MIN_WIDTH <= columns).unwrap_or(PAGE_WIDTH)
}

/// A table with the given head, no wider than the terminal.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_width(width());
    if !std::io::stdout().is_terminal() {
        table.force_no_tty();
    }
    table.set_header(head.iter().copied());
    table
}

/// A line, broken at its spaces to the width of a table; lines after the first one are indented.
pub(crate) fn wrapped(line: &str, indent: usize) -> String {
    wrap(line, indent, usize::from(width()))
}

fn wrap(line: &str, indent: usize, width: usize) -> String {
    let (mut out, mut at) = (String::new(), 0);
    for word in line.split_inclusive(' ') {
        let length = word.trim_end().chars().count();
        if indent < at && width < at + length {
            out.truncate(out.trim_end().len());
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            at = indent;
        }
        out.push_str(word);
        at += word.chars().count();
    }
    out.push('\n');
    out
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_spaces() {
        assert_eq!(wrap("  E0 = a + bb + ccc", 4, 100), "  E0 = a + bb + ccc\n");
        assert_eq!(wrap("  E0 = a + bb + ccc", 4, 12), "  E0 = a +\n    bb + ccc\n");
        // A word that is too long for any line stands alone.
        assert_eq!(wrap("a looooooooong b", 1, 6), "a\n looooooooong\n b\n");
    }

    #[test]
    fn matrices_keep_their_digits() {
        assert_eq!(matrix(&[1.0, -0.5, 0.25, -1e-12], 2), "   1.00000000   -0.50000000\n   0.25000000    0.00000000\n");
        assert_eq!(matrix(&[2.5e-9, -1e-9], 2), "  in units of 1e-9:\n   2.50000000   -1.00000000\n");
        assert_eq!(matrix(&[0.0], 1), "   0.00000000\n");
        assert!(
            matrix(&[1.5e300, f64::NAN, f64::INFINITY], 3)
                .contains("1e300:\n   1.50000000           NaN           inf")
        );
    }
}
