//! `netsor certify`: the limit engine against simulation, number by number, for one program or a whole folder of them.

mod case;
mod limits;
mod report;
mod statistics;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use netsor_ir::syntax::Item;
use netsor_lab::verdict::judge;
use netsor_lab::{Cancel, Test};

use crate::output;
use crate::source::items_of;
use crate::values::DataArgs;
use case::Case;
use statistics::Number;

const AFTER: &str = "\
Examples:
  netsor certify examples/square.netsor
  netsor certify examples/square.netsor --widths 128,256,512,1024 --seeds 500
  netsor certify examples/tied.netsor --data 'xi=[[1,0],[0,1],[1,1]]' --moments own
  netsor certify examples --json > record.json
  netsor certify examples/tied.netsor --gradient-independence

Two things are tested of each number. Averaged over seeds and extrapolated to infinite width, m + c/n, it is the limit,
up to a margin. And its distance from the limit, averaged over seeds, falls at least like n^(-1/4), where the central
limit theorem and a bias of order 1/n say n^(-1/2); a wrong limit stays where it is. A test holds when that is
sure and fails when the contrary is; a number holds when both tests do. p-values are corrected for all numbers of all
programs (Holm): the chance to confirm any wrong limit is at most 5 % if biases are of order 1/n, and so is the chance to
refute any right one. A value fails only if it does with m + c/n^(1/2), too, as programs of training have such biases.

Data that are not given are standard normal numbers, the same for the same --seed. The exit code is 1 if a test fails.
With --gradient-independence the limits are those for a transposed matrix that is a fresh draw: wrong where a matrix
and its transpose meet, and then the tests have to fail.";

/// The fewest draws from which a standard error is taken: extrapolation weighs widths by them.
const FEWEST_SEEDS: usize = 8;

/// Simulate programs at growing widths and test every scalar and second moment against its limit
#[derive(Args)]
#[command(after_help = AFTER)]
pub(crate) struct CertifyArgs {
    /// Files with programs and networks or lists of layers, and folders of such files; `-` for the standard input
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Only programs and networks of this name
    #[arg(long, value_name = "NAME")]
    item: Option<String>,
    #[command(flatten)]
    data: DataArgs,
    /// Widths n, at least two
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [64, 128, 256, 512])]
    widths: Vec<usize>,
    /// Draws at each width
    #[arg(long, value_name = "COUNT", default_value_t = 128)]
    seeds: usize,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Largest difference that still counts as equal: for E Z^a Z^b as a share of the root of E (Z^a)^2 E (Z^b)^2, for
    /// other numbers as a share of the limit or, for limits below 1, by itself
    #[arg(long, value_name = "SHARE", default_value_t = 0.05)]
    margin: f64,
    /// Which second moments E Z^a Z^b are tested beside the scalars
    #[arg(long, value_name = "WHICH", default_value = "all")]
    moments: Moments,
    /// Most numbers of a program, evenly spread over all of them; 0 for all
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    max_numbers: usize,
    /// Test the limits under gradient independence instead
    #[arg(long)]
    gradient_independence: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Moments {
    /// None: the program's own scalars only
    None,
    /// Of each vector with itself
    Own,
    /// Of each pair of vectors
    All,
}

/// What came out for one program.
struct Certified {
    file: String,
    name: String,
    numbers: Vec<Number>,
    /// Numbers that were left out because of `--max-numbers`.
    left_out: usize,
    /// Numbers that have no limit, or none that is known well enough, and programs that have none; with the reason.
    without: Vec<String>,
    /// Data that were drawn.
    drawn: Vec<String>,
}

/// Simulates, tests and prints.
pub(crate) fn run(args: &CertifyArgs) -> anyhow::Result<ExitCode> {
    check(args)?;
    let items = items(args)?;
    let single = items.len() == 1;
    if !single && !args.data.is_empty() {
        bail!("--data is for one program, and {} were found; choose one with --item", items.len());
    }
    let cancel = Cancel::default();
    cancel.install_ctrl_c()?;
    let bar = output::progress(items.len() * args.widths.len() * args.seeds, "certifying");
    let mut all = Vec::new();
    for (k, (file, item)) in items.iter().enumerate() {
        bar.set_message(item.name().to_owned());
        let mut found = Certified::new(file, item.name());
        match certify(item, args, &mut found, &cancel, &bar) {
            Err(error) if single || error.is::<netsor_lab::Interrupted>() => return Err(error),
            Err(error) => found.without.push(format!("{error:#}")),
            Ok(()) => {}
        }
        bar.set_position(((k + 1) * args.widths.len() * args.seeds) as u64);
        all.push(found);
    }
    bar.finish_and_clear();
    let mut numbers: Vec<&mut [Test]> = all.iter_mut().flat_map(|c| &mut c.numbers).map(|n| &mut n.tests[..]).collect();
    if numbers.is_empty() {
        bail!("nothing to test: {}", all.iter().flat_map(|c| &c.without).next().map_or("no programs", |w| w));
    }
    judge(&mut numbers);
    report::print(&all, args)
}

impl Certified {
    fn new(file: &Path, name: &str) -> Self {
        Self {
            file: file.display().to_string(),
            name: name.to_owned(),
            numbers: Vec::new(),
            left_out: 0,
            without: Vec::new(),
            drawn: Vec::new(),
        }
    }
}

fn certify(
    item: &Item,
    args: &CertifyArgs,
    found: &mut Certified,
    cancel: &Cancel,
    bar: &indicatif::ProgressBar,
) -> anyhow::Result<()> {
    let case = Case::new(item, args, found)?;
    let targets = case.targets(args, found, cancel)?;
    if targets.is_empty() {
        bail!("`{}` has no scalar and no second moment with a limit", item.name());
    }
    let draws = statistics::simulate(&case, &targets, args, cancel, bar)?;
    let widths: Vec<f64> = args.widths.iter().map(|&n| n as f64).collect();
    for (target, draws) in targets.into_iter().zip(&draws) {
        let name = target.name.clone();
        match Number::test(target, &widths, draws, args.margin).with_context(|| name.clone())? {
            Some(number) => found.numbers.push(number),
            None => found.without.push(format!("`{name}`: all draws agree at some widths only; take more --seeds")),
        }
    }
    Ok(())
}

fn check(args: &CertifyArgs) -> anyhow::Result<()> {
    let mut widths = args.widths.clone();
    widths.sort_unstable();
    widths.dedup();
    if widths.len() != args.widths.len() || widths.len() < 2 || widths.first() == Some(&0) {
        bail!("--widths: expected at least two different positive widths");
    }
    if args.seeds < FEWEST_SEEDS {
        bail!(
            "--seeds {}: expected at least {FEWEST_SEEDS}; errors that fewer draws estimate are too rough",
            args.seeds
        );
    }
    if !(args.margin.is_finite() && 0.0 < args.margin) {
        bail!("--margin {}: expected a positive number", args.margin);
    }
    Ok(())
}

/// Every program and network of every file, each file's in its order.
fn items(args: &CertifyArgs) -> anyhow::Result<Vec<(PathBuf, Item)>> {
    let mut items = Vec::new();
    for path in &args.paths {
        let mut files = Vec::new();
        if path.is_dir() {
            sources_in(path, &mut files)?;
        } else {
            files.push(path.clone());
        }
        for file in files {
            items.extend(items_of(&file)?.into_iter().map(|item| (file.clone(), item)));
        }
    }
    if let Some(name) = &args.item {
        items.retain(|(_, item)| item.name() == name);
        if items.is_empty() {
            bail!("--item {name}: there is no program or network of this name");
        }
    }
    if items.is_empty() {
        bail!("no programs and no networks were found");
    }
    Ok(items)
}

/// The files below a folder whose names end as those of programs and layer lists do, sorted by name.
fn sources_in(folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    let reading = || format!("reading {}", folder.display());
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(reading)? {
        entries.push(entry.with_context(reading)?.path());
    }
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources_in(&path, found)?;
        } else if path.extension().is_some_and(|e| ["netsor", "toml", "json"].iter().any(|known| e == *known)) {
            found.push(path);
        }
    }
    Ok(())
}
