//! What a run gave: all claims, judged together.

use std::process::ExitCode;

use serde::{Deserialize, Serialize};

use crate::claim::{Claim, Outcome};
use crate::context::Scale;
use crate::record::{Ending, Machine, Record};
use crate::verdict::{Test, Verdict, judge};

/// The result of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Size of the experiments.
    pub scale: Scale,
    /// Seed of all randomness.
    pub seed: u64,
    /// Version of this crate.
    pub version: String,
    /// The commit of the code, when the caller knows it.
    pub commit: Option<String>,
    /// When the run ended, in UTC.
    pub finished_at: String,
    /// Wall-clock time of the run, without what was resumed.
    pub seconds: f64,
    /// Whether the run was stopped before its end.
    pub interrupted: bool,
    /// Number of random tests that were corrected for together.
    pub n_tests: usize,
    /// The machine.
    pub machine: Machine,
    /// The claims, in the order of the run.
    pub claims: Vec<ClaimSummary>,
}

/// One claim in a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClaimSummary {
    /// Id.
    pub id: String,
    /// One line; mathematics as `$...$`.
    pub title: String,
    /// Paper and equation.
    pub source: String,
    /// What is predicted; mathematics as `$...$`.
    pub prediction: String,
    /// Page of the book, below `docs/`.
    pub page: Option<String>,
    /// How it ended.
    pub state: State,
    /// Wall-clock time spent when it was computed.
    pub seconds: f64,
    /// When it was computed, if an earlier run did it.
    pub resumed_from: Option<String>,
    /// The commit it was computed with, when known.
    pub commit: Option<String>,
}

/// How a claim ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// The experiment ran and was judged.
    Judged {
        /// The verdict after correction.
        verdict: Verdict,
        /// What was found, with corrected tests.
        outcome: Outcome,
    },
    /// The experiment could not be done.
    Error {
        /// The chain of causes.
        message: String,
    },
    /// The run was stopped before.
    NotRun,
}

impl State {
    /// One word for tables: a verdict, `error` or `not run`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Judged { verdict, .. } => verdict.word(),
            Self::Error { .. } => "error",
            Self::NotRun => "not run",
        }
    }
}

impl ClaimSummary {
    /// From a record, or from its absence.
    pub(crate) fn new(claim: &dyn Claim, record: Option<Record>, resumed: bool) -> Self {
        let (state, seconds, finished_at, commit) = match record {
            None => (State::NotRun, 0.0, String::new(), None),
            Some(record) => {
                let state = match record.ending {
                    Ending::Finished { outcome } => State::Judged { verdict: outcome.verdict(), outcome },
                    Ending::Error { message } => State::Error { message },
                };
                (state, record.seconds, record.finished_at, record.commit)
            }
        };
        Self {
            id: claim.id().to_owned(),
            title: claim.title().to_owned(),
            source: claim.source().to_owned(),
            prediction: claim.prediction().to_owned(),
            page: claim.page().map(str::to_owned),
            state,
            seconds,
            resumed_from: resumed.then_some(finished_at),
            commit,
        }
    }
}

impl Summary {
    /// Judges the tests of all claims together.
    pub(crate) fn judge(&mut self) {
        let mut claims: Vec<&mut [Test]> = Vec::new();
        for claim in &mut self.claims {
            if let State::Judged { outcome, .. } = &mut claim.state {
                claims.push(&mut outcome.tests);
            }
        }
        self.n_tests = claims.iter().flat_map(|tests| tests.iter()).filter(|test| test.p_value.is_some()).count();
        judge(&mut claims);
        for claim in &mut self.claims {
            if let State::Judged { verdict, outcome } = &mut claim.state {
                *verdict = outcome.verdict();
            }
        }
    }

    /// Number of claims whose [`State::word`] is this.
    #[must_use]
    pub fn count(&self, word: &str) -> usize {
        self.claims.iter().filter(|claim| claim.state.word() == word).count()
    }

    /// Success unless a claim fails or errors (1) or the run was stopped (130).
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        if self.interrupted {
            ExitCode::from(130)
        } else if 0 < self.count("fails") + self.count("error") {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        }
    }
}
