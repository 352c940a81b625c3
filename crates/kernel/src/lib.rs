//! Kernels of wide networks over data sets, compiled from moment graphs.

mod duals;
mod error;
mod execute;
mod expectation;
mod function;
mod inputs;
mod lower;
mod plan;
mod run;
mod series;

pub use error::KernelError;
pub use inputs::{Inputs, KernelMatrices, Options, Statistics};
pub use lower::{At, Query, lower};
pub use plan::{Plan, PlanSize};
