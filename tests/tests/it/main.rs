//! The integration tests of the workspace, in one binary: one to link, and its tests share all cores.
//!
//! A folder for each crate; beside them the tests of several crates at once.

mod architectures;
mod everything;
mod files;
mod finite;
mod fuzz;
mod gauss;
mod goldens;
mod kernel;
mod lab;
mod limit;
mod netsor;
mod nth;
mod predict;
mod transforms;
