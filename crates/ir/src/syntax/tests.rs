//! The examples, and properties of random programs and texts.

mod diagnostics;
mod diagnostics_of_programs;
mod examples;
mod random;
mod recovery;
