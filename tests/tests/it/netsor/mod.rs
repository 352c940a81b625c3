//! The facade.

mod kernel;
