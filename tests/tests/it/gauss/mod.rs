//! Gaussian expectations.

mod coverage;
mod dual;
mod expect;
mod powers;
mod product;
