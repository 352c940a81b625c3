//! Experiments: claims, seeds, rate fits, verdicts, figures, report.

pub mod claim;
pub mod context;
pub mod figure;
pub mod files;
pub mod format;
pub mod stats;
pub mod verdict;
