//! `cargo xtask test`: all tests of the workspace, doc-tests included, with cargo's output as it is.

use crate::shell::{cargo, run as run_command};

pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    run_command(cargo(&["test", "--workspace"]).args(args))
}
