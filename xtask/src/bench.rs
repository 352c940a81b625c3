//! `cargo xtask bench`: every benchmark target of the workspace.

use anyhow::Context;
use cargo_metadata::{MetadataCommand, TargetKind};

use crate::shell::{cargo, run as run_command};

pub(crate) fn run(args: &[String]) -> anyhow::Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata")?;
    let mut n_benches = 0;
    for package in &metadata.packages {
        for target in package.targets.iter().filter(|it| it.kind.contains(&TargetKind::Bench)) {
            run_command(cargo(&["bench", "--package", &package.name, "--bench", &target.name, "--"]).args(args))?;
            n_benches += 1;
        }
    }
    println!("bench: {n_benches} benchmark programs");
    Ok(())
}
