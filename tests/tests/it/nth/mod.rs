//! The neural tangent hierarchy.

mod any_network;
mod goldens;
mod limit;
mod rates;
