//! `netsor reproduce`: the claims of the papers, checked.

use std::process::ExitCode;

use netsor_lab::ReproduceArgs;

/// Runs the claims and writes the report.
pub(crate) fn run(args: &ReproduceArgs) -> anyhow::Result<ExitCode> {
    netsor_lab::run(&netsor_lab::claims::all(), args)
}
