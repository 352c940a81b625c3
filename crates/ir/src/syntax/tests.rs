//! The examples, and properties of random programs and texts.

mod diagnostics;
mod examples;
mod random;
