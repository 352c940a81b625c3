//! The command `netsor`.
fn main() {}
