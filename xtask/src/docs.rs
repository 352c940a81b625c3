//! `cargo xtask docs`: the commands that README and book show must work, and print what is shown.
//!
//! A block whose info string is `sh` is run, line by line, where a line starts with `cargo` or `netsor`.
//! The lines of an `output` block must be among those that the command before it prints, in this order.
//! `console` and `text` blocks are only shown. Commands that take minutes, or that CI runs by itself, are named and skipped.

use std::process::{Command, Stdio};
use std::time::Instant;
use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, bail};

use crate::{files, shell};

/// `netsor` as a shell function, so that what is tested is this checkout and not an installed one.
const PRELUDE: &str = "netsor() { \"$NETSOR\" \"$@\"; }\n";

/// Other ways to run the same program, which would build it with other features of its dependencies (see
/// [`shell::program`]).
const SAME: [(&str, &str); 2] =
    [("cargo run --quiet --package netsor-cli --", "netsor"), ("cargo xtask reproduce", "netsor reproduce")];

pub(crate) fn run() -> anyhow::Result<()> {
    let root = shell::root();
    let netsor = shell::program("netsor")?;
    let mut seen = BTreeSet::new();
    let (mut n_run, mut failed) = (0, Vec::new());
    for page in files::all(&root)?.into_iter().filter(|path| is_page(path)) {
        let text = fs::read_to_string(root.join(&page)).with_context(|| format!("cannot read `{}`", page.display()))?;
        for Shown { line, command, output } in commands(&text) {
            let place = format!("{}:{line}", page.display());
            if !seen.insert(command.clone()) && output.is_empty() {
                continue;
            }
            if runs_elsewhere(&command) {
                println!("{place}: {command} (run by ci, or takes minutes: skipped)");
                continue;
            }
            println!("{place}: {command}");
            n_run += 1;
            let start = Instant::now();
            let ran = Command::new("sh")
                .args(["-eu", "-c", &format!("{PRELUDE}{}", as_built(&command))])
                .env("NETSOR", &netsor)
                .current_dir(&root)
                .stderr(Stdio::inherit())
                .output()
                .context("cannot start sh")?;
            println!("  {:.1} s", start.elapsed().as_secs_f64());
            let printed = String::from_utf8_lossy(&ran.stdout);
            if !ran.status.success() {
                eprintln!("{printed}{place}: `{command}` failed ({})", ran.status);
                failed.push(place);
            } else if let Some(line) = first_missing(&output, &printed) {
                eprintln!("{printed}{place}: `{command}` does not print this: {line}");
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

/// The command with the program that is built.
fn as_built(command: &str) -> String {
    let found = SAME.iter().find_map(|(shown, same)| Some(format!("{same}{}", command.strip_prefix(shown)?)));
    found.unwrap_or_else(|| command.to_owned())
}

/// A command as a page shows it.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    /// The line of the page where it starts.
    line: usize,
    command: String,
    /// What the page says that it prints; empty if the page does not say.
    output: Vec<String>,
}

/// What a block is for, by its info string.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Commands,
    Output,
    Other,
}

/// The commands of all `sh` blocks, continuation lines joined, with the `output` blocks after them.
fn commands(page: &str) -> Vec<Shown> {
    let mut found: Vec<Shown> = Vec::new();
    let mut fence: Option<(String, Block)> = None;
    let mut open: Option<(usize, String)> = None;
    for (idx, line) in page.lines().enumerate() {
        let text = line.trim();
        match &fence {
            None => {
                let ticks: String = text.chars().take_while(|&it| it == '`').collect();
                if 3 <= ticks.len() {
                    let block = match text[ticks.len()..].trim() {
                        "sh" => Block::Commands,
                        "output" => Block::Output,
                        _ => Block::Other,
                    };
                    fence = Some((ticks, block));
                }
            }
            Some((ticks, _)) if text == ticks => {
                if let Some((line, command)) = open.take() {
                    found.push(Shown { line, command, output: Vec::new() });
                }
                fence = None;
            }
            Some((_, Block::Other)) => {}
            Some((_, Block::Output)) => {
                if let Some(last) = found.last_mut() {
                    last.output.push(line.trim_end().to_owned());
                }
            }
            Some((_, Block::Commands)) => {
                let (line, mut command) = open.take().unwrap_or((idx + 1, String::new()));
                match text.strip_suffix('\\') {
                    Some(part) => {
                        command.push_str(part);
                        open = Some((line, command));
                    }
                    None => {
                        command.push_str(text);
                        found.push(Shown { line, command, output: Vec::new() });
                    }
                }
            }
        }
    }
    found.retain(|it| it.command.starts_with("cargo ") || it.command.starts_with("netsor "));
    found
}

/// The first line that is not among the printed ones after those before it.
fn first_missing<'a>(shown: &'a [String], printed: &str) -> Option<&'a str> {
    let mut lines = printed.lines().map(str::trim_end);
    shown.iter().find(|line| !lines.any(|it| it == line.as_str())).map(String::as_str)
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
        let plain = |line, command: &str| Shown { line, command: command.to_owned(), output: Vec::new() };
        let expected = [plain(6, "cargo xtask tidy"), plain(7, "netsor limit examples/a.netsor")];
        assert_eq!(commands(page), expected);
    }

    #[test]
    fn one_program_is_built_once() {
        assert_eq!(as_built("cargo run --quiet --package netsor-cli -- show a"), "netsor show a");
        assert_eq!(as_built("cargo xtask reproduce --list"), "netsor reproduce --list");
        assert_eq!(as_built("netsor show a"), "netsor show a");
    }

    #[test]
    fn output_belongs_to_the_command_before_it() {
        let page = "```sh\nnetsor a\n```\ntext\n```output\nx  \n\n y\n```\n";
        let output = ["x", "", " y"].map(str::to_owned).to_vec();
        assert_eq!(commands(page), [Shown { line: 2, command: "netsor a".to_owned(), output: output.clone() }]);
        assert_eq!(first_missing(&output, "0\nx\n1\n\n y\n"), None);
        assert_eq!(first_missing(&output, "x\n y\n\n"), Some(" y"));
        assert_eq!(first_missing(&output, ""), Some("x"));
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
