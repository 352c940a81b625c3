//! The files of the project, as opposed to what is built from them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context;

/// Folders that hold results or another tool's data, wherever they are.
const NOT_OURS: [&str; 4] = ["target", "reproduce", "mutants.out", ".git"];

/// All files under `root` in alphabetical order, as paths relative to it.
pub(crate) fn all(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    visit(root, root, &mut found)?;
    found.sort();
    Ok(found)
}

fn visit(root: &Path, folder: &Path, found: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot list `{}`", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            // A folder of sources may be called like one of results.
            let is_source = path.components().any(|it| it.as_os_str() == "src");
            if is_source || !NOT_OURS.iter().any(|it| entry.file_name() == *it) {
                visit(root, &path, found)?;
            }
        } else if let Ok(relative) = path.strip_prefix(root) {
            found.push(relative.to_owned());
        }
    }
    Ok(())
}
