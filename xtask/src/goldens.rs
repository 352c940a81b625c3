//! `cargo xtask goldens [DIR] [--verbose]`: every case of every golden file, run by the package of cross-crate tests.

use crate::shell::{cargo, run as run_command};

pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    run_command(cargo(&["run", "--quiet", "--package", "netsor-tests", "--bin", "goldens", "--"]).args(args))
}
