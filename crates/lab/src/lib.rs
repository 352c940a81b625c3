//! Experiments: claims, seeds, rate fits, verdicts, figures, report.
