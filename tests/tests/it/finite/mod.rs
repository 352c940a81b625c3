//! Networks at finite width.

mod goldens;
mod gradients;
mod kernels;
mod linear;
mod optimizers;
mod paths;
mod sgd;
mod transforms;
