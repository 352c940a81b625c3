//! Prediction from kernels.

mod goldens;
