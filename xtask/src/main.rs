//! Automation of the workspace: `cargo xtask <command>`.
//!
//! One file a command; each prints the commands that it runs, so that they can be repeated by hand.
//! xtask depends on no crate of the product: it must build, and say what is wrong, when they do not.
//!
//! | command | what it does |
//! | --- | --- |
//! | `test` | all tests, doc-tests included |
//! | `reproduce` | the experiments and their report |
//! | `goldens` | every case of every golden file |
//! | `bench` | all benchmarks |
//! | `tidy` | the rules that no compiler checks |
//! | `docs` | the commands that README and book show |
//! | `ci` | what a change must pass besides the tests |

mod bench;
mod ci;
mod docs;
mod files;
mod goldens;
mod reproduce;
mod shell;
mod test;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Automation of the Netsor workspace.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all tests of the workspace, doc-tests included
    Test(Passed),
    /// Run the experiments and write their report: --quick, --only ID, --list, ...
    Reproduce(Passed),
    /// Check every case of every golden file: a directory if not the default one, --verbose
    Goldens(Passed),
    /// Run all benchmarks
    Bench(Passed),
    /// Check the crate graph and the rules for files
    Tidy,
    /// Run the commands in the `sh` blocks of README.md and docs/src
    Docs,
    /// Formatting, lints, documentation, tidy, goldens, experiments (quick), shown commands
    Ci,
}

/// Arguments for the program behind a command.
#[derive(clap::Args)]
struct Passed {
    /// Passed on as they are
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    args: Vec<String>,
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Test(passed) => test::run(&passed.args),
        Command::Reproduce(passed) => reproduce::run(&passed.args),
        Command::Goldens(passed) => goldens::run(&passed.args),
        Command::Bench(passed) => bench::run(&passed.args),
        Command::Tidy => tidy::run(),
        Command::Docs => docs::run(),
        Command::Ci => ci::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
