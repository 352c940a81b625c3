//! The infinite-width limit of tensor programs.

mod closed_form;
pub mod derive;
mod error;
pub mod eval;
mod expectation;
pub mod graph;
pub mod show;
mod terms;

pub use derive::Deriver;
pub use error::LimitError;
pub use eval::{Data, Evaluator, Value};
pub use graph::Graph;
pub use netsor_gauss::Tolerance;
