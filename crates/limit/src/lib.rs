//! The infinite-width limit of tensor programs.
