//! The files that tests read: examples, data and goldens.

use std::path::{Path, PathBuf};

use netsor_ir::Network;
use netsor_ir::syntax::parse_network;
use serde_json::Value;

/// A path of the workspace.
pub(crate) fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(relative)
}

/// The text of a file in `examples/`.
pub(crate) fn example_text(name: &str) -> String {
    std::fs::read_to_string(path("examples").join(name)).unwrap()
}

/// The network in `examples/NAME.netsor`.
pub(crate) fn example(name: &str) -> Network {
    parse_network(&example_text(&format!("{name}.netsor"))).unwrap()
}

/// The path of a golden file.
pub(crate) fn golden_path(name: &str) -> PathBuf {
    path("tests/goldens").join(name)
}

/// A golden file.
pub(crate) fn golden(name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(golden_path(name)).unwrap()).unwrap()
}

/// The cases of a golden file that has a list of them.
pub(crate) fn golden_cases(name: &str) -> Vec<Value> {
    golden(name)["cases"].as_array().unwrap().clone()
}
