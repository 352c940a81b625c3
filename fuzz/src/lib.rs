//! Fuzz targets: what must hold for any bytes at all.
//!
//! A [`Target`] takes bytes and panics if a property fails. The same targets run in three ways: replayed on the corpus
//! and on everything that ever broke (`cargo test -p netsor-tests fuzz`), by random mutation on a stable compiler
//! (`cargo run -p netsor-fuzz`), and guided by coverage (`fuzz/libfuzzer`, which needs `cargo-fuzz`).

pub mod mutate;
mod targets;

use std::path::{Path, PathBuf};

pub use targets::{TARGETS, Target};

/// The target called `name`.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// The inputs that a target starts from, and those that once broke it, in the order of their names.
///
/// # Errors
/// If a directory that exists cannot be read.
pub fn inputs(target: &Target) -> std::io::Result<Vec<(PathBuf, Vec<u8>)>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders = vec![root.join("corpus").join(target.corpus), root.join("regressions").join(target.name)];
    if target.corpus == "text" {
        folders.push(root.join("../examples"));
    }
    let mut found = Vec::new();
    for folder in folders.into_iter().filter(|folder| folder.is_dir()) {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_file() {
                let bytes = std::fs::read(&path)?;
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    Ok(found)
}
