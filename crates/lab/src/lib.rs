//! Experiments: claims, seeds, rate fits, verdicts, figures, report.
//!
//! A [`Claim`] is a statement of a paper (or of our errata) together with an experiment that could
//! refute it. Running it gives an [`Outcome`]: tests, tables, figures and notes. [`reproduce`] runs
//! many, keeps a record of each, judges all their tests together and writes one HTML page.
//!
//! # A claim
//!
//! ```
//! use netsor_lab::{Claim, Context, Outcome, Scale, Test, Verdict, stats};
//!
//! /// The average of n signs has size n^(-1/2).
//! struct Signs;
//!
//! impl Claim for Signs {
//!     fn id(&self) -> &'static str {
//!         "signs"
//!     }
//!     fn title(&self) -> &str {
//!         "An average of $n$ signs is $O(n^{-1/2})$"
//!     }
//!     fn source(&self) -> &str {
//!         "de Moivre 1733"
//!     }
//!     fn prediction(&self) -> &str {
//!         r"The slope of $\log |\epsilon_n|$ over $\log n$ is $-1/2$ up to $0.15$."
//!     }
//!     fn run(&self, ctx: &Context) -> anyhow::Result<Outcome> {
//!         let widths = [16.0, 64.0, 256.0, 1024.0];
//!         let seeds = ctx.seeds(ctx.scale.pick(100, 400, 4000));
//!         ctx.progress().add_units(seeds.len());
//!         let error = |seed: u64, n: f64| {
//!             let bits = (0..n as u64).map(|k| (seed ^ k.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
//!                 .map(|z| (z ^ (z >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 63);
//!             bits.map(|bit| 2.0 * bit as f64 - 1.0).sum::<f64>() / n
//!         };
//!         // One row a seed, the same seed at every width.
//!         let rows: Vec<Vec<f64>> = seeds
//!             .iter()
//!             .map(|&seed| {
//!                 ctx.unit(&format!("seed={seed}"), || {
//!                     Ok(widths.iter().map(|&n| error(seed, n)).collect())
//!                 })
//!             })
//!             .collect::<anyhow::Result<_>>()?;
//!         let curve = stats::slope_over_seeds(&widths, &rows, stats::Average::RootMeanSquare)?;
//!         let test = Test::equals("slope", &curve.fit.slope, -0.5, 0.15)?;
//!         Ok(Outcome { tests: vec![test], ..Outcome::default() })
//!     }
//! }
//!
//! let outcome = Signs.run(&Context::new(Scale::Standard, 0, "data")).unwrap();
//! assert_eq!(outcome.verdict(), Verdict::Holds);
//! ```
//!
//! `examples/demo_report.rs` is a longer one, with figures and with claims that fail.
//!
//! # The modules
//!
//! | module | subject |
//! | --- | --- |
//! | [`stats`] | estimates, intervals, fits, tests, Holm's correction |
//! | [`verdict`] | one comparison of estimate and prediction; judging a whole run |
//! | [`claim`], [`context`] | what an experiment is, and what it is given |
//! | [`claims`] | the claims of the papers |
//! | [`runner`], [`record`], [`summary`] | running, resuming, what is kept |
//! | [`figure`], [`draw`] | figures as data, figures as SVG |
//! | [`report`], [`terminal`] | the page and the table |
//! | [`args`] | the command line |
//! | [`math`], [`mod@format`], [`files`] | formulas, numbers, whole files |
//!
//! # What always holds
//!
//! - A verdict follows from tests alone, and a test has its margin before it has its data.
//! - Over a run, the chance of confirming any claim that is wrong is at most [`LEVEL`], and the chance of
//!   refuting anything right too, whatever the dependence between tests ([`verdict::judge`]).
//! - A result on disk is whole, and is used again only for the same configuration.
//! - The page and the figures are drawn from the summary, and need nothing else.

pub mod args;
pub mod claim;
pub mod claims;
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
