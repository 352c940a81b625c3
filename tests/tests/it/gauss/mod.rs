//! Gaussian expectations.

mod dual;
mod expect;
mod powers;
mod product;
