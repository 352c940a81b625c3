//! Golden files: readers, one a format, and what they found.
//!
//! The name of a file says its format ([`reader`]). A reader splits a file into [`Case`]s; running a case compares
//! numbers and gives a [`Verdict`]. A case that is not understood is *not covered*, never passed, and says why; an
//! error of an engine on a case that is understood is a failure.

mod abc;
mod dual;
mod empirical;
mod jacot_circle;
mod json;
mod kernels;
mod limits;
mod mup_limits;
mod nth;
mod nth_slopes;
mod ntk_exact;
mod ntk_train;
mod predict;
mod tp_batchnorm;
mod tp_gated;
mod tp_rnn;
mod tp_transformer;
mod zcalculus;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use serde_json::Value;

pub use limits::{LimitKernels, asked, limit_kernels};

/// The longest that a case may take, unless the caller says otherwise. What takes longer is not covered: its size is
/// beyond the engine that ran it.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);
/// Recursive JSON and deep programs have room.
const STACK: usize = 256 << 20;

/// Why a case gives no comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The case has something that no engine or reader understands.
    NotCovered(String),
    /// An engine refused a case that it should understand.
    Failed(String),
}

impl Trouble {
    /// Not covered, with the reason.
    pub fn not_covered(reason: impl fmt::Display) -> Self {
        Self::NotCovered(reason.to_string())
    }

    /// Failed, with the reason.
    pub fn failed(reason: impl fmt::Display) -> Self {
        Self::Failed(reason.to_string())
    }
}

/// A comparison of one number.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// What was compared.
    pub what: String,
    /// The distance between the two numbers; NaN if the number found is not finite.
    pub error: f64,
    /// The largest error allowed.
    pub tolerance: f64,
}

impl Comparison {
    /// The error in units of the tolerance; infinite for NaN, so that it is the worst.
    fn excess(&self) -> f64 {
        let ratio = if self.error == 0.0 { 0.0 } else { self.error / self.tolerance };
        if ratio.is_nan() { f64::INFINITY } else { ratio }
    }

    /// Whether the error is within the tolerance.
    pub fn holds(&self) -> bool {
        self.error <= self.tolerance
    }
}

/// The comparisons of one case: how many there were, and the worst one relative to its tolerance.
#[derive(Clone, Debug, Default)]
pub struct Checks {
    /// Numbers compared.
    pub compared: usize,
    /// The comparison with the largest error relative to its tolerance.
    pub worst: Option<Comparison>,
}

impl Checks {
    /// Compares two numbers.
    pub fn close(&mut self, what: impl FnOnce() -> String, found: f64, expected: f64, tolerance: f64) {
        self.compared += 1;
        let comparison = Comparison { what: String::new(), error: (found - expected).abs(), tolerance };
        if self.worst.as_ref().is_none_or(|w| w.excess() < comparison.excess()) {
            let what = format!("{}: {found:e}, expected {expected:e}", what());
            self.worst = Some(Comparison { what, ..comparison });
        }
    }

    /// Compares numbers one by one, by position.
    ///
    /// # Errors
    /// If the lengths differ.
    pub fn all_close(&mut self, what: &str, found: &[f64], expected: &[f64], tolerance: f64) -> Result<(), Trouble> {
        if found.len() != expected.len() {
            let (f, e) = (found.len(), expected.len());
            return Err(Trouble::Failed(format!("{what}: found {f} numbers, expected {e}")));
        }
        for (k, (&found, &expected)) in found.iter().zip(expected).enumerate() {
            self.close(|| format!("{what}[{k}]"), found, expected, tolerance);
        }
        Ok(())
    }
}

/// What became of a case.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// Every number agrees.
    Passed(Checks),
    /// A number does not agree.
    Differs(Checks),
    /// An engine gave an error.
    Failed(String),
    /// The case was not understood.
    NotCovered(String),
}

impl Verdict {
    /// Whether the case failed.
    pub fn failed(&self) -> bool {
        matches!(self, Self::Differs(_) | Self::Failed(_))
    }

    fn of(result: Result<Checks, Trouble>) -> Self {
        match result {
            Ok(Checks { compared: 0, .. }) => Self::NotCovered("there is nothing to compare".into()),
            Ok(checks) if checks.worst.as_ref().is_none_or(Comparison::holds) => Self::Passed(checks),
            Ok(checks) => Self::Differs(checks),
            Err(Trouble::NotCovered(reason)) => Self::NotCovered(reason),
            Err(Trouble::Failed(reason)) => Self::Failed(reason),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = |f: &mut fmt::Formatter<'_>, word: &str, checks: &Checks| {
            write!(f, "{word}: {} numbers", checks.compared)?;
            match &checks.worst {
                Some(w) => write!(f, ", largest error {:.1e}, tolerance {:.1e} ({})", w.error, w.tolerance, w.what),
                None => Ok(()),
            }
        };
        match self {
            Self::Passed(checks) => numbers(f, "passed", checks),
            Self::Differs(checks) => numbers(f, "FAILED", checks),
            Self::Failed(reason) => write!(f, "FAILED: {reason}"),
            Self::NotCovered(reason) => write!(f, "not covered: {reason}"),
        }
    }
}

/// One case of a file: a name, and the comparison.
pub struct Case {
    /// The name in the file.
    pub name: String,
    run: Box<dyn FnOnce() -> Result<Checks, Trouble> + Send>,
}

impl Case {
    /// A case that compares when it is run.
    pub fn new(name: impl Into<String>, run: impl FnOnce() -> Result<Checks, Trouble> + Send + 'static) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }

    /// Runs the comparison on a thread of its own, at most for the time limit. A panic of an engine is a failure.
    pub fn run(self, limit: Duration) -> Verdict {
        let (sender, receiver) = mpsc::channel();
        let run = self.run;
        let body = move || {
            let result = catch_unwind(AssertUnwindSafe(run));
            let result = result.unwrap_or_else(|panic| Err(Trouble::Failed(format!("panicked: {}", message(&*panic)))));
            // The receiver is gone when the time is over.
            let _ = sender.send(result);
        };
        if let Err(error) = std::thread::Builder::new().stack_size(STACK).spawn(body) {
            return Verdict::Failed(format!("no thread: {error}"));
        }
        let late = || format!("too large: stopped after {} s", limit.as_secs());
        let result = receiver.recv_timeout(limit).unwrap_or_else(|_| Err(Trouble::NotCovered(late())));
        Verdict::of(result)
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message")
}

/// Splits a file into cases.
pub type Reader = fn(&str, &Value) -> Result<Vec<Case>, Trouble>;

/// The reader of the files with this name, without the extension.
pub fn reader(stem: &str) -> Option<Reader> {
    match stem {
        "zcalculus" => Some(zcalculus::cases),
        "abc_exact_small" => Some(abc::exact_cases),
        "abc_scaling" => Some(abc::scaling_cases),
        "ntk_exact_small" => Some(ntk_exact::cases),
        "mlp" | "numerical" | "branch_norm_dropout" | "conv" | "attention_graph" => Some(kernels::cases),
        "dual_mpmath" => Some(dual::cases),
        "empirical" => Some(empirical::cases),
        "predict" => Some(predict::cases),
        "tp_batchnorm" => Some(tp_batchnorm::cases),
        "tp_gated" => Some(tp_gated::cases),
        "tp_rnn" => Some(tp_rnn::cases),
        "tp_transformer" => Some(tp_transformer::cases),
        "jacot_circle" => Some(jacot_circle::cases),
        "mup_limits" => Some(mup_limits::cases),
        "nth_goldens" => Some(nth::cases),
        "nth_slopes" => Some(nth_slopes::cases),
        _ if stem.starts_with("ntk_train_") => Some(ntk_train::cases),
        _ => None,
    }
}

/// The verdicts of one file.
#[derive(Debug)]
pub struct FileReport {
    /// The file.
    pub path: PathBuf,
    /// Cases in order with their verdicts.
    pub cases: Vec<(String, Verdict)>,
}

/// How many cases there were of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cases whose numbers all agree.
    pub passed: usize,
    /// Cases with a number that does not agree, or an error.
    pub failed: usize,
    /// Cases that were not understood.
    pub not_covered: usize,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.not_covered += other.not_covered;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} not covered", self.passed, self.failed, self.not_covered)
    }
}

impl FileReport {
    /// How many cases there were of each kind.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (_, verdict) in &self.cases {
            match verdict {
                Verdict::Passed(_) => counts.passed += 1,
                Verdict::Differs(_) | Verdict::Failed(_) => counts.failed += 1,
                Verdict::NotCovered(_) => counts.not_covered += 1,
            }
        }
        counts
    }
}

/// Runs every case of a file; `each` hears of a verdict when it is there.
pub fn run_file(path: &Path, limit: Duration, each: &mut dyn FnMut(&str, &Verdict)) -> FileReport {
    let mut cases = Vec::new();
    let mut report = |name: String, verdict: Verdict| {
        each(&name, &verdict);
        cases.push((name, verdict));
    };
    match read(path) {
        Ok(list) if list.is_empty() => report("file".into(), Verdict::NotCovered("it has no cases".into())),
        Ok(list) => {
            for case in list {
                let name = case.name.clone();
                report(name, case.run(limit));
            }
        }
        Err(trouble) => report("file".into(), Verdict::of(Err(trouble))),
    }
    FileReport { path: path.to_owned(), cases }
}

fn read(path: &Path) -> Result<Vec<Case>, Trouble> {
    let stem = path.file_stem().and_then(|s| s.to_str()).unwrap_or_default();
    let text = std::fs::read_to_string(path).map_err(|e| Trouble::not_covered(format!("cannot be read: {e}")))?;
    let value: Value = serde_json::from_str(&text).map_err(|e| Trouble::not_covered(format!("not JSON: {e}")))?;
    match reader(stem) {
        Some(reader) => reader(stem, &value),
        // Still a case for each entry, so that the counts say how much is left.
        None => Ok(json::unread_cases(&value, "no engine compares files of this format yet")),
    }
}

/// Every `.json` file below a directory (or the file itself), sorted by path.
///
/// # Errors
/// If a directory cannot be read.
pub fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![path.to_owned()];
    if path.is_file() {
        return Ok(directories);
    }
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory)? {
            let entry = entry?;
            // Links are not followed, so that a loop of links ends.
            if entry.file_type()?.is_dir() {
                directories.push(entry.path());
            } else if entry.path().extension().is_some_and(|e| e == "json") {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_is_not_finite_is_the_worst_and_fails() {
        let mut checks = Checks::default();
        checks.close(|| "a".into(), f64::NAN, 1.0, 1.0);
        checks.close(|| "b".into(), 3.0, 1.0, 1.0);
        assert!(
            matches!(Verdict::of(Ok(checks)), Verdict::Differs(c) if c.worst.as_ref().is_some_and(|w| w.error.is_nan()))
        );
    }

    #[test]
    fn nothing_compared_is_not_a_pass() {
        assert!(matches!(Verdict::of(Ok(Checks::default())), Verdict::NotCovered(_)));
    }

    #[test]
    fn a_panic_is_a_failure() {
        let verdict = Case::new("p", || panic!("an index")).run(TIME_LIMIT);
        assert!(matches!(verdict, Verdict::Failed(reason) if reason == "panicked: an index"));
    }
}
