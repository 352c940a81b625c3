//! Compiled kernels.

mod agreement;
