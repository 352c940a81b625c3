//! The command `netsor`: every engine of Netsor from the command line.
//!
//! A file a subcommand in `commands`; what they share is here:
//!
//! | module | subject |
//! | --- | --- |
//! | `source` | reading programs and networks, with diagnostics |
//! | `values` | numbers for the data of a program |
//! | `task` | data sets, architectures and batches |
//! | `training` | parametrization, optimiser and loss of the commands that train |
//! | `matrices` | kernel matrices over data sets |
//! | `facts` | what a program is and which theorem covers it |
//! | `output` | text, tables and JSON to the standard output |
//!
//! Exit codes: 0, 1 when something that was tested fails, 2 for a bad command line or bad input, 130 when interrupted.

mod commands;
mod facts;
mod matrices;
mod output;
mod source;
mod task;
mod training;
mod values;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use netsor_lab::ReproduceArgs;

const AFTER: &str = "\
Exit codes:
  0    all is well
  1    something that was tested fails: a claim, a certificate, the format of a file
  2    the command line or an input is wrong
  130  interrupted

Examples:
  netsor show examples/mlp.netsor
  netsor limit examples/square.netsor
  netsor certify examples/square.netsor
  netsor predict --on digits --zoo mlp --depth 2 --activation relu
  netsor reproduce --quick";

/// Neural networks as tensor programs, and their infinite-width limits.
#[derive(Parser)]
#[command(name = "netsor", version, after_help = AFTER)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Show(commands::show::ShowArgs),
    Fmt(commands::fmt::FmtArgs),
    Limit(commands::limit::LimitArgs),
    Certify(commands::certify::CertifyArgs),
    Kernel(commands::kernel::KernelArgs),
    Predict(commands::predict::PredictArgs),
    Tune(commands::tune::TuneArgs),
    Train(commands::train::TrainArgs),
    Coordcheck(commands::coordcheck::CoordcheckArgs),
    Ntk(commands::ntk::NtkArgs),
    Transform(commands::transform::TransformArgs),
    Nth(commands::nth::NthArgs),
    /// Check the claims of the papers and write a report
    Reproduce(ReproduceArgs),
    Completions(commands::completions::CompletionsArgs),
}

fn main() -> ExitCode {
    let result = match Args::parse().command {
        Command::Show(args) => commands::show::run(&args),
        Command::Fmt(args) => commands::fmt::run(&args),
        Command::Limit(args) => commands::limit::run(&args),
        Command::Certify(args) => commands::certify::run(&args),
        Command::Kernel(args) => commands::kernel::run(&args),
        Command::Predict(args) => commands::predict::run(&args),
        Command::Tune(args) => commands::tune::run(&args),
        Command::Train(args) => commands::train::run(&args),
        Command::Coordcheck(args) => commands::coordcheck::run(&args),
        Command::Ntk(args) => commands::ntk::run(&args),
        Command::Transform(args) => commands::transform::run(&args),
        Command::Nth(args) => commands::nth::run(&args),
        Command::Reproduce(args) => commands::reproduce::run(&args),
        Command::Completions(args) => commands::completions::run(&args),
    };
    result.unwrap_or_else(|error| code_of(&error))
}

/// Reports an error and says how the process ends.
fn code_of(error: &anyhow::Error) -> ExitCode {
    if error.chain().any(|e| e.is::<netsor_lab::Interrupted>()) {
        eprintln!("interrupted");
        return ExitCode::from(130);
    }
    // A reader that has seen enough (`| head`) is no error.
    let io = |e: &(dyn std::error::Error + 'static)| e.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    if error.chain().filter_map(io).any(|kind| kind == std::io::ErrorKind::BrokenPipe) {
        return ExitCode::SUCCESS;
    }
    match error.downcast_ref::<source::SourceError>() {
        Some(problems) => eprintln!("{}", problems.render(std::io::stderr().is_terminal())),
        None => eprintln!("error: {}", chain(error)),
    }
    ExitCode::from(2)
}

/// An error and its causes in one line; a cause that the message before it has already told is left out.
fn chain(error: &anyhow::Error) -> String {
    let mut told = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if told.is_empty() {
            told = cause;
        } else if !told.ends_with(&cause) {
            told = format!("{told}: {cause}");
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_are_told_once() {
        let cause = anyhow::anyhow!("no such file");
        assert_eq!(chain(&cause.context("reading a: no such file").context("in b")), "in b: reading a: no such file");
        assert_eq!(chain(&anyhow::anyhow!("c").context("b").context("a")), "a: b: c");
    }
}
