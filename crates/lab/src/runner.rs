//! Running claims: progress, records, resumption, interruption.

use std::any::Any;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::claim::{Claim, Outcome};
use crate::context::{Cancel, Context, Interrupted, Progress, Scale};
use crate::draw;
use crate::files::{remove_leftovers, write_atomically};
use crate::format;
use crate::record::{Configuration, Ending, Machine, Record, now};
use crate::report;
use crate::summary::{ClaimSummary, State, Summary};

/// What to run, how large, and where to put it.
#[derive(Debug, Clone)]
pub struct ReproduceOptions {
    /// Folder of everything that is written: `results/<id>.json`, `figures/`, `summary.json`,
    /// `report.html`.
    pub out: PathBuf,
    /// Folder of the data sets.
    pub data_dir: PathBuf,
    /// Size of the experiments.
    pub scale: Scale,
    /// Seed of all randomness.
    pub seed: u64,
    /// Ids of the claims to run; all when empty.
    pub only: Vec<String>,
    /// Run claims again that have a record with the same configuration.
    pub force: bool,
    /// The commit of the code, written into records.
    pub commit: Option<String>,
    /// Where progress is shown.
    pub progress: ProgressMode,
    /// Stops the run at the next unit of work.
    pub cancel: Cancel,
}

/// Where progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProgressMode {
    /// Bars on standard error when it is a terminal, one line a claim when it is not.
    #[default]
    Auto,
    /// Nowhere.
    Silent,
}

impl ReproduceOptions {
    /// Standard size, seed 0, all claims.
    pub fn new(out: impl Into<PathBuf>, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            out: out.into(),
            data_dir: data_dir.into(),
            scale: Scale::default(),
            seed: 0,
            only: Vec::new(),
            force: false,
            commit: None,
            progress: ProgressMode::default(),
            cancel: Cancel::default(),
        }
    }
}

/// Runs claims and writes records, figures, summary and report.
///
/// A claim with a record of the same configuration is not run again. One that errors or panics is
/// reported as such, and the others still run; it is tried again next time. When the run is
/// cancelled, the finished units of the claim in work are kept for the next run, and the report says
/// what is missing.
///
/// # Errors
/// An unusable or doubled id, an unknown id in `only`, or files that cannot be written. A claim that
/// fails is not an error: see [`Summary::exit_code`].
pub fn reproduce(claims: &[Box<dyn Claim>], opts: &ReproduceOptions) -> anyhow::Result<Summary> {
    let selected = select(claims, &opts.only)?;
    let started = Instant::now();
    let machine = Machine::this();
    let results = opts.out.join("results");
    fs::create_dir_all(&results).with_context(|| format!("creating {}", results.display()))?;
    remove_leftovers(&results);
    let board = Board::new(opts.progress, &selected);

    let mut summaries = Vec::new();
    let mut interrupted = false;
    for &claim in &selected {
        let configuration = Configuration::new(claim, opts.scale, opts.seed);
        let found = if opts.force { None } else { Record::find(&opts.out, &configuration) };
        if let Some(record) = found {
            board.ended(claim, "resumed", None);
            summaries.push(ClaimSummary::new(claim, Some(record), true));
            continue;
        }
        interrupted = interrupted || opts.cancel.is_cancelled();
        if interrupted {
            summaries.push(ClaimSummary::new(claim, None, false));
            continue;
        }
        let record = run_one(claim, configuration, opts, &machine, &board)?;
        interrupted = record.is_none();
        summaries.push(ClaimSummary::new(claim, record, false));
    }
    board.finish();

    let mut summary = Summary {
        scale: opts.scale,
        seed: opts.seed,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        commit: opts.commit.clone(),
        finished_at: now(),
        seconds: started.elapsed().as_secs_f64(),
        interrupted,
        n_tests: 0,
        machine,
        claims: summaries,
    };
    summary.judge();
    write_outputs(&summary, &opts.out)?;
    Ok(summary)
}

/// Ids and titles, one a line.
#[must_use]
pub fn list(claims: &[Box<dyn Claim>]) -> String {
    let width = claims.iter().map(|claim| claim.id().len()).max().unwrap_or(0);
    claims
        .iter()
        .map(|claim| {
            let title = crate::math::to_plain(claim.title());
            format!("{:width$}  {title} ({})\n", claim.id(), claim.source())
        })
        .collect()
}

fn select<'a>(claims: &'a [Box<dyn Claim>], only: &[String]) -> anyhow::Result<Vec<&'a dyn Claim>> {
    let mut ids = Vec::new();
    for claim in claims {
        let id = claim.id();
        let usable = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        ensure!(
            !id.is_empty() && id.chars().all(usable),
            "claim id `{id}` may only hold lower-case letters, digits and `-`"
        );
        ensure!(!ids.contains(&id), "two claims have the id `{id}`");
        ids.push(id);
    }
    for wanted in only {
        if !ids.contains(&wanted.as_str()) {
            bail!("no claim has the id `{wanted}`; there are: {}", ids.join(", "));
        }
    }
    let is_wanted = |claim: &&dyn Claim| only.is_empty() || only.iter().any(|id| id == claim.id());
    Ok(claims.iter().map(AsRef::as_ref).filter(is_wanted).collect())
}

/// Runs one claim and saves its record; `None` when it was interrupted.
fn run_one(
    claim: &dyn Claim,
    configuration: Configuration,
    opts: &ReproduceOptions,
    machine: &Machine,
    board: &Board,
) -> anyhow::Result<Option<Record>> {
    let hash = configuration.hash();
    let units = opts.out.join("units").join(format!("{}-{hash}", claim.id()));
    if opts.force {
        remove_folder(&units)?;
    }
    let ctx = Context::new(opts.scale, opts.seed, &opts.data_dir).observed(
        board.start(claim),
        opts.cancel.clone(),
        units.clone(),
    );
    let started = Instant::now();
    let ran = catch_unwind(AssertUnwindSafe(|| claim.run(&ctx)))
        .unwrap_or_else(|panic| bail!("panicked: {}", panic_message(&*panic)))
        .and_then(|outcome: Outcome| outcome.check().map(|()| outcome));
    let ending = match ran {
        Ok(outcome) => Ending::Finished { outcome },
        Err(error) if error.chain().any(|cause| cause.is::<Interrupted>()) => {
            board.ended(claim, "interrupted", Some(started.elapsed()));
            return Ok(None);
        }
        Err(error) => Ending::Error { message: format!("{error:#}") },
    };
    match &ending {
        Ending::Finished { .. } => board.ended(claim, "done", Some(started.elapsed())),
        Ending::Error { message } => {
            board.ended(claim, &format!("error: {message}"), Some(started.elapsed()));
        }
    }
    let record = Record {
        hash,
        configuration,
        ending,
        seconds: started.elapsed().as_secs_f64(),
        finished_at: now(),
        commit: opts.commit.clone(),
        machine: machine.clone(),
    };
    record.save(&opts.out)?;
    // The units are in the record now. Those of a claim that errored stay, to be used next time.
    if matches!(record.ending, Ending::Finished { .. }) {
        remove_folder(&units)?;
    }
    Ok(Some(record))
}

fn write_outputs(summary: &Summary, out: &Path) -> anyhow::Result<()> {
    for claim in &summary.claims {
        let State::Judged { outcome, .. } = &claim.state else {
            continue;
        };
        for (k, figure) in outcome.figures.iter().enumerate() {
            let path = out.join("figures").join(format!("{}-{}.svg", claim.id, k + 1));
            write_atomically(&path, draw::standalone(figure).as_bytes())?;
        }
    }
    let mut json = serde_json::to_vec_pretty(summary)?;
    json.push(b'\n');
    write_atomically(&out.join("summary.json"), &json)?;
    write_atomically(&out.join("report.html"), report::html(summary)?.as_bytes())
}

fn remove_folder(folder: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("removing {}", folder.display()))
        }
        _ => Ok(()),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("without a message")
}

/// Progress of a run: one bar for claims, one for the units of the claim in work.
struct Board {
    bars: MultiProgress,
    total: ProgressBar,
    lines: bool,
    n_claims: usize,
    id_width: usize,
}

impl Board {
    fn new(mode: ProgressMode, claims: &[&dyn Claim]) -> Self {
        let target = match mode {
            ProgressMode::Auto => ProgressDrawTarget::stderr(),
            ProgressMode::Silent => ProgressDrawTarget::hidden(),
        };
        let bars = MultiProgress::with_draw_target(target);
        let lines = mode == ProgressMode::Auto && bars.is_hidden();
        let total = bars.add(ProgressBar::new(claims.len() as u64));
        total.set_style(style("{wide_bar} {pos}/{len} claims, {elapsed}"));
        let id_width = claims.iter().map(|claim| claim.id().len()).max().unwrap_or(0);
        Self { bars, total, lines, n_claims: claims.len(), id_width }
    }

    fn start(&self, claim: &dyn Claim) -> Progress {
        let bar = self.bars.insert_before(&self.total, ProgressBar::new(0));
        bar.set_style(style("{spinner} {prefix} {pos}/{len} {msg}"));
        bar.set_prefix(claim.id());
        bar.enable_steady_tick(Duration::from_millis(200));
        Progress::new(bar)
    }

    fn ended(&self, claim: &dyn Claim, how: &str, elapsed: Option<Duration>) {
        self.total.inc(1);
        let time = elapsed.map(|elapsed| format!(" ({})", format::duration(elapsed.as_secs_f64()))).unwrap_or_default();
        let line = format!(
            "[{}/{}] {:width$}  {how}{time}",
            self.total.position(),
            self.n_claims,
            claim.id(),
            width = self.id_width
        );
        if self.lines {
            eprintln!("{line}");
        } else if !self.bars.is_hidden() {
            // Asked before: within `suspend` the bars are locked.
            self.total.suspend(|| eprintln!("{line}"));
        }
    }

    fn finish(&self) {
        self.total.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("templates of progress bars are constants")
}
