//! `cargo xtask tidy`: the rules that no compiler checks. All problems are reported, each with its place.

mod graph;
mod links;
mod text;

use std::{fs, path::Path};

use anyhow::{Context, bail};
use cargo_metadata::{Metadata, MetadataCommand};

use crate::{files, shell};

/// The licence of every package, and the files with its text.
const LICENCE: &str = "MIT OR Apache-2.0";
const LICENCE_FILES: [&str; 2] = ["LICENSE-MIT", "LICENSE-APACHE"];

pub(crate) fn run() -> anyhow::Result<()> {
    let root = shell::root();
    let metadata =
        MetadataCommand::new().manifest_path(root.join("Cargo.toml")).no_deps().exec().context("cargo metadata")?;
    let mut problems = graph::check(&graph::edges(&metadata));
    problems.extend(check_packages(&metadata)?);
    problems.extend(check_licences(&root));
    problems.extend(check_data(&root)?);
    let files = files::all(&root)?;
    for path in &files {
        let bytes = fs::read(root.join(path)).with_context(|| format!("cannot read `{}`", path.display()))?;
        // What is not text is data, and data have their own check.
        let Ok(content) = str::from_utf8(&bytes) else { continue };
        problems.extend(text::check(path, content));
        if path.extension().is_some_and(|it| it == "md") {
            problems.extend(links::check(&root, path, content));
        }
    }
    let summary =
        fs::read_to_string(root.join(links::SUMMARY)).with_context(|| format!("cannot read `{}`", links::SUMMARY))?;
    problems.extend(links::check_summary(&summary, &files));
    if !problems.is_empty() {
        for problem in &problems {
            eprintln!("{problem}");
        }
        bail!("tidy: {} problems", problems.len());
    }
    println!("tidy: {} files, {} packages, no problems", files.len(), metadata.packages.len());
    Ok(())
}

/// Every package states the licence and opens each of its libraries and programs with a page `//!`.
fn check_packages(metadata: &Metadata) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    for package in &metadata.packages {
        if package.license.as_deref() != Some(LICENCE) {
            problems.push(format!("{}: the licence is not `{LICENCE}`", package.manifest_path));
        }
        for target in package.targets.iter().filter(|it| it.is_lib() || it.is_bin()) {
            let content =
                fs::read_to_string(&target.src_path).with_context(|| format!("cannot read `{}`", target.src_path))?;
            if !has_page(&content) {
                problems.push(format!("{}:1: no crate page `//!`", target.src_path));
            }
        }
    }
    Ok(problems)
}

fn has_page(content: &str) -> bool {
    content.lines().next().is_some_and(|line| line.starts_with("//! "))
}

fn check_licences(root: &Path) -> Vec<String> {
    LICENCE_FILES
        .iter()
        .filter(|name| fs::metadata(root.join(name)).map_or(0, |it| it.len()) == 0)
        .map(|name| format!("{name}: missing or empty"))
        .collect()
}

/// Every file under `data/` has a row, with source and licence, in `data/README.md`.
fn check_data(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("data");
    let readme = fs::read_to_string(folder.join("README.md")).context("cannot read data/README.md")?;
    let names = files::all(&folder)?.into_iter().map(|path| path.display().to_string());
    Ok(unlisted(&readme, names))
}

fn unlisted(readme: &str, names: impl Iterator<Item = String>) -> Vec<String> {
    let rows: Vec<&str> = readme.lines().filter(|line| line.starts_with('|')).collect();
    names
        .filter(|name| name != "README.md")
        .filter(|name| !rows.iter().any(|row| row.contains(&format!("`{name}`"))))
        .map(|name| format!("data/{name}: not in the table of data/README.md"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_files_need_a_row() {
        let readme = "`c.csv` is only mentioned\n| `a.csv`, `b.csv` | source |\n";
        let names = ["README.md", "a.csv", "b.csv", "c.csv"].map(str::to_owned);
        let expected = ["data/c.csv: not in the table of data/README.md"];
        assert_eq!(unlisted(readme, names.into_iter()), expected);
    }

    #[test]
    fn pages_are_seen() {
        assert!(has_page("//! A page.\n"));
        assert!(!has_page("use std::fs;\n//! Late.\n") && !has_page(""));
    }
}
