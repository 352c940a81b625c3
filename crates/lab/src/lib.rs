//! Experiments: claims, seeds, rate fits, verdicts, figures, report.

pub mod args;
pub mod claim;
pub mod context;
pub mod draw;
pub mod figure;
pub mod files;
pub mod format;
pub mod math;
pub mod record;
pub mod report;
pub mod runner;
pub mod stats;
pub mod summary;
pub mod terminal;
pub mod verdict;

pub use args::{ReproduceArgs, run};
pub use claim::{Cell, Claim, Outcome, Table};
pub use context::{Cancel, Context, Interrupted, Progress, Scale};
pub use figure::{Axis, Figure, Series, Style};
pub use runner::{ProgressMode, ReproduceOptions, list, reproduce};
pub use summary::{ClaimSummary, State, Summary};
pub use verdict::{LEVEL, Prediction, Test, Verdict};
