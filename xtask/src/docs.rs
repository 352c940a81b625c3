//! `cargo xtask docs`: the commands that README and book show must work.
//!
//! A block whose info string is `sh` is run, line by line, where a line starts with `cargo` or `netsor`.
//! `console` and `text` blocks are only shown. Commands that take minutes, or that CI runs by itself, are named and skipped.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, bail};

use crate::{files, shell};

/// `netsor` as a shell function, so that what is tested is this checkout and not an installed one.
const PRELUDE: &str = "netsor() { cargo run --quiet --package netsor-cli -- \"$@\"; }\n";

pub(crate) fn run() -> anyhow::Result<()> {
    let root = shell::root();
    let mut seen = BTreeSet::new();
    let (mut n_run, mut failed) = (0, Vec::new());
    for page in files::all(&root)?.into_iter().filter(|path| is_page(path)) {
        let text = fs::read_to_string(root.join(&page)).with_context(|| format!("cannot read `{}`", page.display()))?;
        for (line, command) in commands(&text) {
            let place = format!("{}:{line}", page.display());
            if !seen.insert(command.clone()) {
                continue;
            }
            if runs_elsewhere(&command) {
                println!("{place}: {command} (run by ci, or takes minutes: skipped)");
                continue;
            }
            println!("{place}: {command}");
            n_run += 1;
            let status = Command::new("sh")
                .args(["-eu", "-c", &format!("{PRELUDE}{command}")])
                .current_dir(&root)
                .status()
                .context("cannot start sh")?;
            if !status.success() {
                eprintln!("{place}: `{command}` failed ({status})");
                failed.push(place);
            }
        }
    }
    if !failed.is_empty() {
        bail!("{} of {n_run} commands failed: {}", failed.len(), failed.join(", "));
    }
    println!("docs: {n_run} commands passed");
    Ok(())
}

fn is_page(path: &Path) -> bool {
    path == Path::new("README.md")
        || (path.starts_with("docs/src") && path.extension().is_some_and(|extension| extension == "md"))
}

/// Tests and ci would run themselves; the full reproduction has its quick form in ci.
fn runs_elsewhere(command: &str) -> bool {
    let is = |prefix: &str| command == prefix || command.starts_with(&format!("{prefix} "));
    let reproduces = is("cargo xtask reproduce") || is("netsor reproduce");
    ["test", "ci", "docs", "bench"].iter().any(|it| is(&format!("cargo xtask {it}")))
        || is("cargo test")
        || is("cargo install")
        || (reproduces && !["--quick", "--list", "--help"].iter().any(|it| command.contains(it)))
}

/// The commands of all `sh` blocks with their lines, continuation lines joined.
fn commands(page: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence: Option<(String, bool)> = None;
    let mut open: Option<(usize, String)> = None;
    for (idx, line) in page.lines().enumerate() {
        let text = line.trim();
        match &fence {
            None => {
                let ticks: String = text.chars().take_while(|&it| it == '`').collect();
                if 3 <= ticks.len() {
                    let info = text[ticks.len()..].trim();
                    fence = Some((ticks, info == "sh"));
                }
            }
            Some((ticks, _)) if text == ticks => {
                found.extend(open.take());
                fence = None;
            }
            Some((_, false)) => {}
            Some((_, true)) => {
                let (start, mut command) = open.take().unwrap_or((idx + 1, String::new()));
                match text.strip_suffix('\\') {
                    Some(part) => {
                        command.push_str(part);
                        open = Some((start, command));
                    }
                    None => {
                        command.push_str(text);
                        found.push((start, command));
                    }
                }
            }
        }
    }
    found.retain(|(_, it)| it.starts_with("cargo ") || it.starts_with("netsor "));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sh_blocks_and_only_our_commands() {
        let page = "\
text `cargo no`

```sh
# a comment
git clone x
cargo xtask tidy
netsor limit \\
    examples/a.netsor
```

```console
$ netsor no
```
````text
```sh
cargo no
```
````
```rust
cargo no
```
";
        let expected = [(6, "cargo xtask tidy".to_owned()), (7, "netsor limit examples/a.netsor".to_owned())];
        assert_eq!(commands(page), expected);
    }

    #[test]
    fn ci_does_not_run_itself() {
        for command in ["cargo xtask ci", "cargo xtask test", "cargo xtask reproduce", "cargo xtask docs"] {
            assert!(runs_elsewhere(command), "{command}");
        }
        for command in ["cargo xtask reproduce --quick", "cargo xtask goldens", "netsor reproduce --list"] {
            assert!(!runs_elsewhere(command), "{command}");
        }
    }

    #[test]
    fn pages() {
        assert!(is_page(Path::new("README.md")) && is_page(Path::new("docs/src/guide/a.md")));
        assert!(!is_page(Path::new("data/README.md")) && !is_page(Path::new("docs/src/a.svg")));
    }
}
