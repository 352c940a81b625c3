//! The options of `reproduce` on a command line, in one place for every program that offers them.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;

use crate::claim::Claim;
use crate::context::Scale;
use crate::runner::{ReproduceOptions, list, reproduce};
use crate::terminal;

/// Options of `reproduce`; flatten them into a parser with `#[command(flatten)]`.
#[derive(Debug, Clone, Args)]
pub struct ReproduceArgs {
    /// All claims at small sizes, in a few minutes: does everything still run?
    #[arg(long, conflicts_with = "full")]
    pub quick: bool,
    /// The size of the papers: hours
    #[arg(long)]
    pub full: bool,
    /// Run only these claims (repeat it, or separate ids by commas)
    #[arg(long, value_name = "ID", value_delimiter = ',')]
    pub only: Vec<String>,
    /// List the claims and stop
    #[arg(long)]
    pub list: bool,
    /// Run claims again that already have a result of the same configuration
    #[arg(long)]
    pub force: bool,
    /// Seed of all randomness
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Folder for results, figures and report
    #[arg(long, value_name = "DIR", default_value = "target/reproduce")]
    pub out: PathBuf,
    /// Folder of the data sets
    #[arg(long, value_name = "DIR", default_value = "data")]
    pub data: PathBuf,
    /// Commit of the code, to be written into the results
    #[arg(long, value_name = "HASH")]
    pub commit: Option<String>,
    /// Print the summary as JSON instead of a table
    #[arg(long)]
    pub json: bool,
}

impl ReproduceArgs {
    /// The options they stand for.
    #[must_use]
    pub fn options(&self) -> ReproduceOptions {
        let scale = match (self.quick, self.full) {
            (true, _) => Scale::Quick,
            (_, true) => Scale::Full,
            _ => Scale::Standard,
        };
        ReproduceOptions {
            scale,
            seed: self.seed,
            only: self.only.clone(),
            force: self.force,
            commit: self.commit.clone(),
            ..ReproduceOptions::new(&self.out, &self.data)
        }
    }
}

/// The whole command: lists or runs, prints the table (or JSON) and where the report is.
///
/// Ctrl-C stops between units of work and keeps what is done.
pub fn run(claims: &[Box<dyn Claim>], args: &ReproduceArgs) -> anyhow::Result<ExitCode> {
    let mut stdout = std::io::stdout().lock();
    if args.list {
        print(&mut stdout, &list(claims))?;
        return Ok(ExitCode::SUCCESS);
    }
    let opts = args.options();
    opts.cancel.install_ctrl_c().context("installing the handler of Ctrl-C")?;
    let summary = reproduce(claims, &opts)?;
    if args.json {
        print(&mut stdout, &format!("{}\n", serde_json::to_string_pretty(&summary)?))?;
    } else {
        let coloured = stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print(&mut stdout, &terminal::text(&summary, coloured))?;
        print(&mut stdout, &format!("\nreport: {}\n", opts.out.join("report.html").display()))?;
    }
    Ok(summary.exit_code())
}

/// A reader that has seen enough (`| head`) is no error.
fn print(stdout: &mut impl Write, text: &str) -> anyhow::Result<()> {
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
