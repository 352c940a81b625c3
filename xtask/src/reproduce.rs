//! `cargo xtask reproduce`: the experiments, run by the command `netsor`, and their report.

use crate::shell::{cargo, run as run_command};

pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    run_command(cargo(&["run", "--quiet", "--package", "netsor-cli", "--", "reproduce"]).args(args))
}
