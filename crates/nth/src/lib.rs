//! The neural tangent hierarchy (Huang and Yau 2020) of any network, and its truncated dynamics.

mod assumptions;
mod error;
mod hierarchy;
mod kernels;
mod paper;

pub use assumptions::{check_smooth, parallel_points};
pub use error::NthError;
pub use hierarchy::{Hierarchy, bold_hierarchy, hierarchy};
pub use kernels::{KernelTensor, Kernels, KernelOptions, estimated_bytes, kernels_at};
pub use paper::{HuangYau, Smooth};
