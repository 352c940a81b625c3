//! Runs of small claims: records, resumption, interruption, errors, and the report they leave.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use netsor_lab::stats::{Estimate, mean};
use netsor_lab::{
    Axis, Cancel, Claim, Context, Figure, Outcome, ProgressMode, ReproduceOptions, Scale, Series, State, Style,
    Summary, Table, Test, Verdict, reproduce, terminal,
};

type Work = dyn Fn(&Context) -> anyhow::Result<Outcome> + Send + Sync;

/// A claim made of a closure, which counts its runs.
struct Demo {
    id: &'static str,
    revision: u32,
    runs: Arc<AtomicUsize>,
    work: Box<Work>,
}

impl Demo {
    fn boxed(
        id: &'static str,
        work: impl Fn(&Context) -> anyhow::Result<Outcome> + Send + Sync + 'static,
    ) -> (Box<dyn Claim>, Arc<AtomicUsize>) {
        let runs = Arc::new(AtomicUsize::new(0));
        let claim = Self { id, revision: 1, runs: runs.clone(), work: Box::new(work) };
        (Box::new(claim), runs)
    }
}

impl Claim for Demo {
    fn id(&self) -> &'static str {
        self.id
    }

    fn title(&self) -> &str {
        r"Title with $\frac{1}{n} < 1$ & a sign"
    }

    fn source(&self) -> &str {
        "TP IIb Thm 5.1"
    }

    fn prediction(&self) -> &str {
        r"$\|\mathring{K}_n - K\| \le C n^{-1/2}$"
    }

    fn page(&self) -> Option<&str> {
        Some("experiments/demo.md")
    }

    fn revision(&self) -> u32 {
        self.revision
    }

    fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        (self.work)(ctx)
    }
}

fn options(out: &Path) -> ReproduceOptions {
    ReproduceOptions { scale: Scale::Quick, progress: ProgressMode::Silent, ..ReproduceOptions::new(out, "data") }
}

fn confirmed() -> Outcome {
    let estimate = mean(&[0.99, 1.0, 1.01, 1.0, 1.0]).unwrap();
    let mut table = Table::new("values", ["$n$", "value"]);
    table.push([64.0, 1.0]);
    let points = [(64.0, 0.1), (128.0, 0.05)];
    Outcome {
        tests: vec![Test::equals("$x$", &estimate, 1.0, 0.1).unwrap()],
        tables: vec![table],
        figures: vec![Figure {
            title: "decay".to_owned(),
            x: Axis::log("n"),
            y: Axis::log("error"),
            series: vec![Series::new("a < b", Style::Markers, points)],
            caption: "caption".to_owned(),
        }],
        notes: vec!["a note with $n \\to \\infty$".to_owned()],
    }
}

fn refuted() -> Outcome {
    let test = Test::within("exact", 2.0, 1.0, 1e-9).unwrap();
    Outcome { tests: vec![test], ..Outcome::default() }
}

fn words(summary: &Summary) -> Vec<&'static str> {
    summary.claims.iter().map(|claim| claim.state.word()).collect()
}

/// Every file below a folder, and none with a temporary name or broken JSON.
fn files_are_whole(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        assert!(!name.starts_with('.'), "left behind: {}", path.display());
        if path.is_dir() {
            names.extend(files_are_whole(&path));
            continue;
        }
        if name.ends_with(".json") {
            let text = fs::read(&path).unwrap();
            serde_json::from_slice::<serde_json::Value>(&text).expect(&name);
        }
        names.push(name);
    }
    names.sort();
    names
}

#[test]
fn a_run_leaves_records_figures_summary_and_report() {
    let folder = tempfile::tempdir().unwrap();
    let claims = vec![Demo::boxed("good", |_| Ok(confirmed())).0];
    let summary = reproduce(&claims, &options(folder.path())).unwrap();
    assert_eq!(words(&summary), ["holds"]);
    assert_eq!(summary.n_tests, 1);
    let names = files_are_whole(folder.path());
    assert_eq!(names, ["good-1.svg", "good.json", "report.html", "summary.json"]);
    let stored = fs::read(folder.path().join("summary.json")).unwrap();
    assert_eq!(serde_json::from_slice::<Summary>(&stored).unwrap(), summary);
}

#[test]
fn failing_erring_and_panicking_claims_are_reported_and_the_rest_runs() {
    let folder = tempfile::tempdir().unwrap();
    let nan = |_: &Context| {
        let mut outcome = confirmed();
        outcome.figures[0].series[0].points[0].1 = f64::NAN;
        Ok(outcome)
    };
    let claims = vec![
        Demo::boxed("bad", |_| Ok(refuted())).0,
        Demo::boxed("error", |_| anyhow::bail!("no such data")).0,
        Demo::boxed("panic", |_| panic!("index out of bounds")).0,
        Demo::boxed("nan", nan).0,
        Demo::boxed("empty", |_| Ok(Outcome::default())).0,
        Demo::boxed("good", |_| Ok(confirmed())).0,
    ];
    let summary = reproduce(&claims, &options(folder.path())).unwrap();
    assert_eq!(words(&summary), ["fails", "error", "error", "error", "undecided", "holds"]);
    let text = terminal::text(&summary, false);
    for expected in [
        "error: error: no such data",
        "panic: error: panicked: index out of bounds",
        "series `a < b`: value 0 is (64, NaN)",
        "6 claims: 1 holds, 1 fails, 1 undecided, 3 errors",
    ] {
        assert!(text.contains(expected), "{expected}\n{text}");
    }
    assert!(!text.contains('\u{1b}'), "escape codes in plain text");
    assert_eq!(format!("{:?}", summary.exit_code()), format!("{:?}", std::process::ExitCode::from(1)));
}

#[test]
fn results_are_resumed_until_something_changes() {
    let folder = tempfile::tempdir().unwrap();
    let (claim, runs) = Demo::boxed("good", |_| Ok(confirmed()));
    let claims = vec![claim];
    let opts = options(folder.path());
    let count = |opts: &ReproduceOptions| {
        let summary = reproduce(&claims, opts).unwrap();
        (runs.load(Ordering::SeqCst), summary.claims[0].resumed_from.is_some())
    };
    assert_eq!(count(&opts), (1, false));
    assert_eq!(count(&opts), (1, true));
    assert_eq!(count(&ReproduceOptions { seed: 1, ..opts.clone() }), (2, false));
    assert_eq!(count(&ReproduceOptions { force: true, seed: 1, ..opts.clone() }), (3, false));
    assert_eq!(count(&ReproduceOptions { seed: 1, ..opts.clone() }), (3, true));
    // Half a record, as a power cut might leave on a careless system, counts as none.
    let record = folder.path().join("results/good.json");
    let text = fs::read(&record).unwrap();
    fs::write(&record, &text[..text.len() / 2]).unwrap();
    assert_eq!(count(&ReproduceOptions { seed: 1, ..opts }), (4, false));
}

#[test]
fn a_new_revision_runs_again_and_errors_are_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let runs = Arc::new(AtomicUsize::new(0));
    let claim = |revision, fails: bool| -> Vec<Box<dyn Claim>> {
        let work: Box<Work> =
            if fails { Box::new(|_| anyhow::bail!("not yet")) } else { Box::new(|_| Ok(confirmed())) };
        vec![Box::new(Demo { id: "demo", revision, runs: runs.clone(), work })]
    };
    for (revision, fails, expected_runs) in [(1, true, 1), (1, true, 2), (1, false, 3), (1, false, 3), (2, false, 4)] {
        reproduce(&claim(revision, fails), &options(folder.path())).unwrap();
        assert_eq!(runs.load(Ordering::SeqCst), expected_runs);
    }
}

/// A claim of six units is stopped in the third. The next run takes up the finished ones, and the
/// end is the same as without the interruption, to the last bit.
#[test]
fn an_interrupted_run_leaves_whole_files_and_is_taken_up() {
    let folder = tempfile::tempdir().unwrap();
    let units_run = Arc::new(AtomicUsize::new(0));
    let claims_stopping_at = |stop_at: Option<usize>, cancel: &Cancel| {
        let (counter, cancel) = (units_run.clone(), cancel.clone());
        let work = move |ctx: &Context| {
            let values = (0..6_usize)
                .map(|k| {
                    ctx.unit(&format!("k={k}"), || {
                        counter.fetch_add(1, Ordering::SeqCst);
                        if stop_at == Some(k) {
                            cancel.cancel();
                        }
                        Ok(1.0 + (k as f64).sin() / 300.0)
                    })
                })
                .collect::<anyhow::Result<Vec<f64>>>()?;
            let test = Test::equals("mean", &mean(&values)?, 1.0, 0.1)?;
            Ok(Outcome { tests: vec![test], ..Outcome::default() })
        };
        vec![Demo::boxed("long", work).0, Demo::boxed("next", |_| Ok(confirmed())).0]
    };
    let opts = options(folder.path());
    let interrupted = reproduce(&claims_stopping_at(Some(2), &opts.cancel), &opts).unwrap();
    assert!(interrupted.interrupted);
    assert_eq!(words(&interrupted), ["not run", "not run"]);
    let code = std::process::ExitCode::from(130);
    assert_eq!(format!("{:?}", interrupted.exit_code()), format!("{code:?}"));
    assert_eq!(units_run.load(Ordering::SeqCst), 3);
    files_are_whole(folder.path());
    assert!(!folder.path().join("results/long.json").exists());

    let opts = options(folder.path());
    let resumed = reproduce(&claims_stopping_at(None, &opts.cancel), &opts).unwrap();
    assert_eq!(words(&resumed), ["holds", "holds"]);
    assert_eq!(units_run.load(Ordering::SeqCst), 6, "three units were taken up");

    let other = tempfile::tempdir().unwrap();
    let opts = options(other.path());
    let straight = reproduce(&claims_stopping_at(None, &opts.cancel), &opts).unwrap();
    assert_eq!(straight.claims[0].state, resumed.claims[0].state);
    assert_eq!(fs::read_dir(folder.path().join("units")).unwrap().count(), 0, "units are cleared");
}

#[test]
fn leftovers_of_a_killed_process_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let leftover = folder.path().join("results/.writing-4711-x-good.json");
    fs::create_dir_all(leftover.parent().unwrap()).unwrap();
    fs::write(&leftover, "{\"ha").unwrap();
    reproduce(&[Demo::boxed("good", |_| Ok(confirmed())).0], &options(folder.path())).unwrap();
    files_are_whole(folder.path());
}

#[test]
fn many_claims_are_judged_together() {
    let folder = tempfile::tempdir().unwrap();
    // One-sided p of about 0.02: enough alone, not among three claims; the tests of one claim do not count.
    let weak = |_: &Context| {
        let estimate = Estimate { value: -2.05, standard_error: 1.0, reference: netsor_lab::stats::Reference::Normal };
        Ok(Outcome { tests: vec![Test::at_most("weak", &estimate, 0.0, 0.0)?; 20], ..Outcome::default() })
    };
    let claims = ["one", "two", "three"].map(|id| Demo::boxed(id, weak).0);
    let summary = reproduce(&claims, &options(folder.path())).unwrap();
    assert_eq!(summary.n_tests, 60);
    assert_eq!(words(&summary), ["undecided"; 3]);
    let State::Judged { outcome, .. } = &summary.claims[0].state else { panic!("not judged") };
    assert!((outcome.tests[0].p_adjusted.unwrap() - 3.0 * 0.020_182).abs() < 1e-3);
    assert_eq!(outcome.verdict(), Verdict::Undecided);
}

#[test]
fn only_the_wanted_claims_run_and_ids_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let claims = vec![Demo::boxed("one", |_| Ok(confirmed())).0, Demo::boxed("two", |_| Ok(refuted())).0];
    let only = |id: &str| ReproduceOptions { only: vec![id.to_owned()], ..options(folder.path()) };
    assert_eq!(words(&reproduce(&claims, &only("one")).unwrap()), ["holds"]);
    let error = reproduce(&claims, &only("three")).unwrap_err().to_string();
    assert_eq!(error, "no claim has the id `three`; there are: one, two");
    for (first, second) in [("same", "same"), ("../escape", "b"), ("", "b")] {
        let claims = vec![Demo::boxed(first, |_| Ok(refuted())).0, Demo::boxed(second, |_| Ok(refuted())).0];
        assert!(reproduce(&claims, &options(folder.path())).is_err());
    }
    assert!(netsor_lab::list(&claims).starts_with("one  Title with"));
}

/// Tags open and close in order, nothing is loaded from elsewhere, every claim is there.
#[test]
fn the_report_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let claims = vec![
        Demo::boxed("good", |_| Ok(confirmed())).0,
        Demo::boxed("bad", |_| Ok(refuted())).0,
        Demo::boxed("error", |_| anyhow::bail!("</section> <b> & co")).0,
        Demo::boxed("empty", |_| Ok(Outcome::default())).0,
    ];
    let opts = options(folder.path());
    reproduce(&claims, &opts).unwrap();
    let html = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert_balanced(&html);
    for claim in &claims {
        assert_eq!(html.matches(&format!("<section id=\"{}\">", claim.id())).count(), 1);
    }
    assert!(html.contains("&lt;&#x2f;section&gt; &lt;b&gt; &amp; co"), "errors are escaped");
    assert!(html.contains("<math") && !html.contains("\\mathring"), "formulas are rendered");
    assert!(html.contains("prefers-color-scheme: dark") && html.contains("name=\"viewport\""));
    let outside = html.replace("http://www.w3.org/2000/svg", "").replace("http://www.w3.org/1998/Math/MathML", "");
    for resource in ["http", "src=", "@import", "url(", "<script", "<link"] {
        assert!(!outside.contains(resource), "{resource} in the report");
    }
    let svg = fs::read_to_string(folder.path().join("figures/good-1.svg")).unwrap();
    assert_balanced(&svg);
}

/// A tokenizer that knows void elements and self-closing tags; enough because text is escaped.
#[track_caller]
fn assert_balanced(html: &str) {
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        let end = start + rest[start..].find('>').expect("a tag is closed by >");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        let name = tag.trim_start_matches('/').split([' ', '\n', '/']).next().unwrap();
        let is_void = tag.ends_with('/') || matches!(name, "!doctype" | "meta" | "br");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed out of order before: {rest:.80}");
        } else if !is_void {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "never closed: {open:?}");
}
