//! `goldens [DIR] [--verbose] [--limit SECONDS]`: compares every golden file below a directory with the engines.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use netsor_tests::goldens::{Counts, TIME_LIMIT, files, run_file};

/// Compare every case of every golden file with the engines.
///
/// The last line is `goldens: N passed, N failed, N not covered`; the exit code is 1 if a case failed.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// A directory with golden files in any arrangement, or one file; the project's own goldens by default.
    dir: Option<PathBuf>,
    /// One line a case: numbers compared, largest error, tolerance, verdict.
    #[arg(long, short)]
    verbose: bool,
    /// The longest that a case may take; a slower one is not covered.
    #[arg(long, value_name = "SECONDS", default_value_t = TIME_LIMIT.as_secs())]
    limit: u64,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let dir = args.dir.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/goldens")));
    let files = files(&dir).map_err(|e| anyhow::anyhow!("{}: {e}", dir.display()))?;
    let mut total = Counts::default();
    for path in files {
        let name = path.strip_prefix(&dir).unwrap_or(&path).display().to_string();
        let name = if name.is_empty() { path.display().to_string() } else { name };
        let report = run_file(&path, Duration::from_secs(args.limit), &mut |case, verdict| {
            if args.verbose {
                println!("  {name} / {case}: {verdict}");
            }
        });
        println!("{name}: {}", report.counts());
        if !args.verbose {
            for (case, verdict) in report.cases.iter().filter(|(_, v)| v.failed()) {
                println!("  {case}: {verdict}");
            }
        }
        total += report.counts();
    }
    println!("goldens: {total}");
    Ok(if total.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
