//! The neural tangent hierarchy.

mod any_network;
mod extrapolated;
mod goldens;
mod limit;
