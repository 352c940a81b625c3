//! Architectures as networks.
//!
//! Every function here returns a [`Network`]: a program that could have been typed (the same networks stand as text in
//! `examples/`), so that no engine has to know an architecture. Parameters are in the NTK parametrization: a dense
//! layer with `fan_in` inputs multiplies by `w_std / sqrt(fan_in)` times a standard normal matrix.
//!
//! ```
//! use netsor_zoo::{Activation, Mlp};
//!
//! let network = Mlp { inputs: 4, dim: 3, hidden: 2, ..Mlp::default() }.network()?;
//! assert_eq!(network.parameters.len(), 3);
//! # Ok::<(), netsor_zoo::ZooError>(())
//! ```

mod activation;
mod builder;
mod conv;
mod gated;
pub mod layers;
mod mixers;
mod mlp;
mod recurrent;
mod rnn;
mod shallow;
mod stacks;
mod tied;

pub use activation::Activation;
pub use builder::{NetworkBuilder, ZooError};
pub use conv::{Cnn, Conv1d, Padding, Reduction, ResidualCnn};
pub use gated::{Gru, Lstm};
pub use mixers::{GraphNetwork, Transformer};
pub use mlp::Mlp;
pub use netsor_ir::Network;
pub use recurrent::{Affine, Cell, Gate};
pub use rnn::Rnn;
pub use shallow::{OneHidden, Word2vec};
pub use stacks::{BatchNormMlp, BranchedMlp, Join, LayerNormMlp, ResidualMlp};
pub use tied::Tied;
