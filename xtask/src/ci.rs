//! `cargo xtask ci`: what a change must pass besides the tests.
//! Every step runs even when one before it failed, and the last line says which did.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail};

use crate::{
    docs,
    shell::{cargo, program, run as run_command},
    tidy,
};

type Step = (&'static str, fn() -> anyhow::Result<()>);

const STEPS: [Step; 7] = [
    ("format", format),
    ("lints", lints),
    ("documentation", documentation),
    ("tidy", tidy::run),
    // What takes longer is beyond the engines anyhow, and would keep a core busy.
    ("goldens", || run_command(Command::new(program("goldens")?).args(["--limit", "20"]))),
    ("reproduce", || run_command(Command::new(program("netsor")?).args(["reproduce", "--quick", "--force"]))),
    ("commands in the docs", docs::run),
];

pub(crate) fn run() -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for (name, step) in STEPS {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let result = step();
        eprintln!("== {name}: {:.0} s", start.elapsed().as_secs_f64());
        if let Err(error) = result {
            eprintln!("{name}: {error:#}");
            failed.push(name);
        }
    }
    if failed.is_empty() {
        println!("\nci: {} steps passed", STEPS.len());
        Ok(())
    } else {
        bail!("ci: {} of {} steps failed: {}", failed.len(), STEPS.len(), failed.join(", "))
    }
}

fn format() -> anyhow::Result<()> {
    has_component("fmt", "rustfmt")?;
    run_command(&mut cargo(&["fmt", "--all", "--check"]))
}

fn lints() -> anyhow::Result<()> {
    has_component("clippy", "clippy")?;
    run_command(&mut cargo(&["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))
}

fn documentation() -> anyhow::Result<()> {
    run_command(cargo(&["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Whether cargo has the subcommand that a rustup component brings.
fn has_component(subcommand: &str, component: &str) -> anyhow::Result<()> {
    let output = cargo(&[subcommand, "--version"]).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo {subcommand}` is not installed; add it with `rustup component add {component}`");
    }
    Ok(())
}
