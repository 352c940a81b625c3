//! Networks as lists of layers, the way deep-learning libraries write them.
//!
//! A list and the shape of an input give a [`netsor_ir::Network`]; nothing here knows a particular architecture. The names of the
//! layers and of their options are those of `neural_tangents.stax`, so that a list can be read from JSON:
//!
//! ```
//! use netsor_zoo::layers::{InputShape, Layer, network};
//!
//! let layers: Vec<Layer> = serde_json::from_str(
//!     r#"[{"op": "Conv", "filter_shape": [3], "padding": "SAME", "W_std": 1.4}, {"op": "Relu"},
//!         {"op": "GlobalAvgPool"}, {"op": "Dense", "W_std": 1.0, "b_std": 0.1}]"#,
//! )?;
//! let network = network("conv", &layers, &InputShape { inputs: 2, positions: vec![7], channels: 3 })?;
//! assert_eq!(network.parameters.len(), 3);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Shapes.** What flows from layer to layer is a family of vectors of channels over the inputs `i` and the positions
//! `p, q, ...`. A convolution multiplies with one matrix a tap and gathers by a guarded sum; `Flatten` turns positions
//! into channels, which the next dense layer consumes by one matrix a position; `FanInConcat` keeps the parts side by
//! side, each with a matrix of its own. All of these count in the fan-in.
//!
//! **Files.** A [`LayerList`] is read from TOML or JSON; names of layers and options may also be in lower case with
//! underscores, as in `avg_pool` and `w_std`.
//!
//! **The last layer** must be `Dense`: it is the readout `f[i]`, with one component, as all components have one kernel.

mod activation;
mod compile;
mod layer;
mod list;
mod window;

pub use compile::network;
pub(crate) use compile::normalise;
pub use layer::{Attention, Border, InputShape, Layer, Scaling, States};
pub use list::{LayerList, ListError};

use crate::builder::ZooError;

/// Why a list of layers is not a network.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LayerError {
    /// A number is not finite or a size is 0.
    #[error(transparent)]
    Value(#[from] ZooError),
    /// A layer that no tensor program expresses, or an option of it.
    #[error("layer {at}: {reason}")]
    Unsupported {
        /// The number of the layer in its list, from 0, and its name; inside of branches after those around it.
        at: String,
        /// What is not supported.
        reason: String,
    },
    /// A layer does not fit what comes before it.
    #[error("layer {at}: expected {expected}, found {found}")]
    Shape {
        /// The number of the layer.
        at: String,
        /// What the layer needs.
        expected: String,
        /// What it gets.
        found: String,
    },
    /// The list does not end in a readout.
    #[error("the last layer must be `Dense`, which is the readout; found {found}")]
    NoReadout {
        /// What the list ends in.
        found: String,
    },
}
