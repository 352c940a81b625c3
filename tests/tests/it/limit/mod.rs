//! The limit engine.

mod existence;
mod feature_learning;
mod jumps;
mod networks;
mod paths;
mod polynomials;
mod rules;
mod training;
mod widths;
