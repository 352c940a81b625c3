//! Readers of golden files and the checks that the integration tests share.
//!
//! A golden is a number that someone else computed: another library, another method, another program. The command
//! `cargo xtask goldens [DIR] [--verbose]` compares every number of every file below `DIR` with the engines; see
//! [`goldens`].

pub mod goldens;
