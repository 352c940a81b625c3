//! The neural tangent hierarchy (Huang and Yau 2020) of any network, and its truncated dynamics.

mod assumptions;
mod discrete;
mod error;
mod flow;
mod hierarchy;
mod kernels;
mod paper;
mod truncated;

pub use assumptions::{check_smooth, parallel_points};
pub use discrete::discrete_step;
pub use error::NthError;
pub use flow::{NetworkPath, gradient_flow, gradient_step};
pub use hierarchy::{Hierarchy, bold_hierarchy, hierarchy};
pub use kernels::{KernelOptions, KernelTensor, Kernels, estimated_bytes, kernels_at};
pub use paper::{HuangYau, Smooth};
pub use truncated::{Truncated, TruncatedPath};
