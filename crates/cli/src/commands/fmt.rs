//! `netsor fmt`: the canonical layout of sources.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::{output, source};

const AFTER: &str = "\
Examples:
  netsor fmt examples/*.netsor           lay out files again
  netsor fmt --check examples/*.netsor   exit with 1 if a file would change
  netsor fmt --stdin < mlp.netsor        for editors";

/// Lay out files of programs and networks
///
/// Comments, blank lines, loops, parentheses and the spelling of numbers are kept.
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct FmtArgs {
    /// Files to lay out
    #[arg(required_unless_present = "stdin", conflicts_with = "stdin")]
    files: Vec<PathBuf>,
    /// Change nothing; list the files that would change and exit with 1 if there are any
    #[arg(long)]
    check: bool,
    /// Read the standard input, write the standard output
    #[arg(long)]
    stdin: bool,
    /// Print what was done as JSON
    #[arg(long)]
    json: bool,
}

/// Formats all files, or none if one of them has errors.
pub(crate) fn run(args: &FmtArgs) -> anyhow::Result<ExitCode> {
    if args.stdin {
        let (before, after) = formatted(Path::new("-"))?;
        if !args.check {
            output::emit(&after)?;
        }
        return Ok(code(args.check && before != after));
    }
    let texts = args.files.iter().map(|path| formatted(path)).collect::<anyhow::Result<Vec<_>>>()?;
    let changed: Vec<(&PathBuf, &String)> =
        args.files.iter().zip(&texts).filter(|(_, (b, a))| b != a).map(|(path, (_, after))| (path, after)).collect();
    if !args.check {
        for (path, after) in &changed {
            output::write_file(path, after.as_bytes())?;
        }
    }
    let names: Vec<String> = changed.iter().map(|(path, _)| path.display().to_string()).collect();
    if args.json {
        let (key, files) = (if args.check { "would_change" } else { "changed" }, args.files.len());
        output::emit_json(&serde_json::json!({ key: names, "files": files }))?;
    } else {
        let word = if args.check { "would change" } else { "changed" };
        output::emit(&names.iter().map(|name| format!("{word}: {name}\n")).collect::<String>())?;
    }
    Ok(code(args.check && !changed.is_empty()))
}

/// A text and its canonical layout.
fn formatted(path: &Path) -> anyhow::Result<(String, String)> {
    let text = source::read(path)?;
    match netsor_ir::syntax::format(&text) {
        Ok(after) => Ok((text, after)),
        Err(diagnostics) => Err(source::SourceError::new(path, text, diagnostics).into()),
    }
}

fn code(failed: bool) -> ExitCode {
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
