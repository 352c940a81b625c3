//! What a running claim is given: size, seed, data, progress, and where to stop and resume.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use indicatif::ProgressBar;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::files::{fnv1a, write_atomically};

/// How large an experiment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scale {
    /// All claims at small sizes, in a few minutes: does everything still run?
    Quick,
    /// All claims in minutes on a laptop.
    #[default]
    Standard,
    /// The size of the papers.
    Full,
}

impl Scale {
    /// One of three values.
    pub fn pick<T>(self, quick: T, standard: T, full: T) -> T {
        match self {
            Self::Quick => quick,
            Self::Standard => standard,
            Self::Full => full,
        }
    }

    /// The word used in records and options.
    #[must_use]
    pub fn word(self) -> &'static str {
        self.pick("quick", "standard", "full")
    }
}

/// A flag that asks a run to stop at its next unit of work. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Whether stopping was asked for.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Sets the flag on Ctrl-C or a request to terminate; a second one ends the process at once.
    /// Files stay whole either way. One handler a process: a second call is an error.
    pub fn install_ctrl_c(&self) -> anyhow::Result<()> {
        let flag = self.clone();
        ctrlc::set_handler(move || {
            if flag.is_cancelled() {
                std::process::exit(130);
            }
            flag.cancel();
        })?;
        Ok(())
    }
}

/// The error of a claim that was asked to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Progress of one claim, in units of work. Silent when nobody watches.
#[derive(Debug, Clone)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub(crate) fn new(bar: ProgressBar) -> Self {
        Self { bar }
    }

    /// Progress that is shown nowhere.
    #[must_use]
    pub fn hidden() -> Self {
        Self { bar: ProgressBar::hidden() }
    }

    /// Announces further units of work; may be called again when more are found.
    pub fn add_units(&self, count: usize) {
        self.bar.set_length(self.bar.length().unwrap_or(0) + count as u64);
    }

    /// One unit is done. [`Context::unit`] calls it.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// What is being done, in a few words.
    pub fn message(&self, text: impl Into<String>) {
        self.bar.set_message(text.into());
    }
}

/// What a running claim is given.
#[derive(Debug, Clone)]
pub struct Context {
    /// How large the experiment is.
    pub scale: Scale,
    /// Seed of all randomness.
    pub seed: u64,
    /// Folder of the data sets.
    pub data_dir: PathBuf,
    progress: Progress,
    cancel: Cancel,
    units: Option<PathBuf>,
}

impl Context {
    /// A context by itself, for tests and notebooks: progress is hidden, nothing is stored.
    pub fn new(scale: Scale, seed: u64, data_dir: impl Into<PathBuf>) -> Self {
        let data_dir = data_dir.into();
        let (progress, cancel) = (Progress::hidden(), Cancel::default());
        Self { scale, seed, data_dir, progress, cancel, units: None }
    }

    pub(crate) fn observed(self, progress: Progress, cancel: Cancel, units: PathBuf) -> Self {
        Self { progress, cancel, units: Some(units), ..self }
    }

    /// Progress of this claim.
    #[must_use]
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// `count` seeds, a function of [`Context::seed`]. Equal in all claims: tests that compare two
    /// methods compare them on the same draws, and asking for more keeps the first ones.
    #[must_use]
    pub fn seeds(&self, count: usize) -> Vec<u64> {
        (0..count as u64).map(|k| split_mix(self.seed, k)).collect()
    }

    /// Ends the claim with [`Interrupted`] when stopping was asked for. Long loops that are not made
    /// of units call it now and then.
    pub fn checkpoint(&self) -> Result<(), Interrupted> {
        if self.cancel.is_cancelled() { Err(Interrupted) } else { Ok(()) }
    }

    /// Runs one unit of work, a few seconds at most, and counts it as progress.
    ///
    /// A unit that an interrupted run has finished is read back instead, so `key` must name
    /// everything the result depends on besides the configuration of the claim, such as
    /// `"mlp n=256 seed=3"`. May be called from several threads at once, with different keys.
    /// `T` must survive JSON, which has no NaN: use `Result` or an error for what has no value.
    pub fn unit<T>(&self, key: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T>
    where
        T: Serialize + DeserializeOwned,
    {
        self.checkpoint()?;
        let path = self.units.as_ref().map(|folder| folder.join(format!("{:016x}.json", fnv1a(key.as_bytes()))));
        if let Some(value) = path.as_deref().and_then(|path| read_unit(path, key)) {
            self.progress.step();
            return Ok(value);
        }
        let value = work()?;
        if let Some(path) = path {
            write_atomically(&path, &serde_json::to_vec(&(key, &value))?)?;
        }
        self.progress.step();
        Ok(value)
    }
}

/// A stored unit; whatever cannot be read, or is another key's, is computed again.
fn read_unit<T: DeserializeOwned>(path: &Path, key: &str) -> Option<T> {
    let (stored_key, value): (String, T) = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    (stored_key == key).then_some(value)
}

/// The k-th output of SplitMix64 (Steele, Lea, Flood 2014) started at `seed`.
fn split_mix(seed: u64, k: u64) -> u64 {
    let mut z = seed.wrapping_add((k + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs of the reference implementation for seed 1234567.
    #[test]
    fn seeds_are_split_mix() {
        let ctx = Context::new(Scale::Quick, 1_234_567, "");
        assert_eq!(ctx.seeds(2), [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
        assert_eq!(ctx.seeds(5)[..2], ctx.seeds(2)[..]);
    }

    #[test]
    fn units_are_stored_and_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let ctx =
            Context::new(Scale::Quick, 0, "").observed(Progress::hidden(), Cancel::default(), folder.path().to_owned());
        let value = 0.1_f64 + 0.2;
        assert_eq!(ctx.unit("a", || Ok(value)).unwrap(), value);
        let again: f64 = ctx.unit("a", || anyhow::bail!("computed twice")).unwrap();
        assert_eq!(again.to_bits(), value.to_bits());
        // An error is not stored, and half a file counts as none.
        assert!(ctx.unit::<f64>("b", || anyhow::bail!("no")).is_err());
        for entry in fs::read_dir(folder.path()).unwrap() {
            fs::write(entry.unwrap().path(), b"[\"a\", 0.").unwrap();
        }
        assert_eq!(ctx.unit("a", || Ok(7.0)).unwrap(), 7.0);
    }

    #[test]
    fn a_cancelled_context_stops_at_the_next_unit() {
        let ctx = Context::new(Scale::Quick, 0, "");
        ctx.cancel.cancel();
        let error = ctx.unit("a", || Ok(1)).unwrap_err();
        assert!(error.is::<Interrupted>());
    }
}
