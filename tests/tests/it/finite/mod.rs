//! Networks at finite width.

mod goldens;
mod gradients;
mod kernels;
mod linear;
mod optimizers;
mod sgd;
mod transforms;
