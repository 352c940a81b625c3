//! Records: what one claim gave, on disk, with the configuration and the machine.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::claim::{Claim, Outcome};
use crate::context::Scale;
use crate::files::{fnv1a, write_atomically};

/// Version of the form of a record.
const FORMAT: u32 = 1;

/// Everything that decides what a claim computes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// Id of the claim.
    pub id: String,
    /// Its revision.
    pub revision: u32,
    /// Size of the experiment.
    pub scale: Scale,
    /// Seed of all randomness.
    pub seed: u64,
    /// Version of this crate.
    pub version: String,
}

impl Configuration {
    /// The configuration of a claim in this version of the crate.
    pub fn new(claim: &dyn Claim, scale: Scale, seed: u64) -> Self {
        Self {
            id: claim.id().to_owned(),
            revision: claim.revision(),
            scale,
            seed,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// Sixteen hexadecimal digits; a record with the same ones need not be made again.
    #[must_use]
    pub fn hash(&self) -> String {
        let Self { id, revision, scale, seed, version } = self;
        let text = format!("{FORMAT}\n{id}\n{revision}\n{}\n{seed}\n{version}", scale.word());
        format!("{:016x}", fnv1a(text.as_bytes()))
    }
}

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Ending {
    /// The experiment ran. The verdicts in it are of each test by itself; those corrected for the
    /// number of tests belong to a run and are in its summary.
    Finished {
        /// What it found.
        outcome: Outcome,
    },
    /// The experiment could not be done.
    Error {
        /// The chain of causes.
        message: String,
    },
}

/// The machine a result was made on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system and architecture.
    pub platform: String,
    /// Model of the processor, where the system tells.
    pub processor: String,
    /// Hardware threads that the process may use.
    pub threads: usize,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn this() -> Self {
        let processor = fs::read_to_string("/proc/cpuinfo")
            .ok()
            .and_then(|text| {
                let line = text.lines().find(|line| line.starts_with("model name"))?;
                Some(line.split_once(':')?.1.trim().to_owned())
            })
            .unwrap_or_default();
        Self {
            platform: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            processor,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        }
    }
}

/// What one claim gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Hash of the configuration.
    pub hash: String,
    /// The configuration.
    pub configuration: Configuration,
    /// How it ended.
    #[serde(flatten)]
    pub ending: Ending,
    /// Wall-clock time spent.
    pub seconds: f64,
    /// When it ended, in UTC.
    pub finished_at: String,
    /// The commit of the code, when the caller knows it.
    pub commit: Option<String>,
    /// Where it ran.
    pub machine: Machine,
}

impl Record {
    /// Where the record of a claim lives.
    #[must_use]
    pub fn path(out: &Path, id: &str) -> PathBuf {
        out.join("results").join(format!("{id}.json"))
    }

    /// The finished record with this configuration, if there is one. A record of another
    /// configuration, of an error, or that cannot be read counts as none.
    #[must_use]
    pub fn find(out: &Path, configuration: &Configuration) -> Option<Self> {
        let text = fs::read(Self::path(out, &configuration.id)).ok()?;
        let record: Self = serde_json::from_slice(&text).ok()?;
        let same = record.configuration == *configuration && record.hash == configuration.hash();
        (same && matches!(record.ending, Ending::Finished { .. })).then_some(record)
    }

    /// Writes the record; the old one stays whole until the new one is.
    pub fn save(&self, out: &Path) -> anyhow::Result<()> {
        let mut text = serde_json::to_vec_pretty(self)?;
        text.push(b'\n');
        write_atomically(&Self::path(out, &self.configuration.id), &text)
    }
}

/// The present in UTC, such as `2026-11-21 22:33:16 UTC`.
#[must_use]
pub fn now() -> String {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    utc(elapsed.as_secs())
}

/// Calendar from seconds since 1970, by Hinnant's `civil_from_days`.
fn utc(seconds: u64) -> String {
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute) = (second / 3600, second % 3600 / 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{:02} UTC", second % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Known instants: the epoch, a leap day, and the second 10^9.
    #[test]
    fn calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_000_000_000), "2001-09-09 01:46:40 UTC");
    }

    #[test]
    fn every_part_of_a_configuration_changes_its_hash() {
        let base = Configuration {
            id: "a".to_owned(),
            revision: 1,
            scale: Scale::Quick,
            seed: 0,
            version: "0.1.0".to_owned(),
        };
        let others = [
            Configuration { id: "b".to_owned(), ..base.clone() },
            Configuration { revision: 2, ..base.clone() },
            Configuration { scale: Scale::Full, ..base.clone() },
            Configuration { seed: 1, ..base.clone() },
            Configuration { version: "0.2.0".to_owned(), ..base.clone() },
        ];
        assert!(others.iter().all(|other| other.hash() != base.hash()));
        assert_eq!(base.clone().hash(), base.hash());
    }
}
