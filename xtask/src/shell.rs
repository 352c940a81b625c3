//! Running other programs, visibly.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};
use cargo_metadata::MetadataCommand;

/// The root of the workspace: the parent of this package.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The cargo that runs us, or the one on the path.
pub(crate) fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args);
    command
}

/// The program of that name, built as the tests of the workspace are.
///
/// `cargo run --package` resolves the features of dependencies for one package alone: after the tests it would compile
/// nearly all of them once more, for each package anew.
pub(crate) fn program(name: &str) -> anyhow::Result<PathBuf> {
    let arguments = ["build", "--quiet", "--workspace", "--bins", "--examples", "--tests"];
    run(&mut cargo(&arguments))?;
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata")?;
    Ok(metadata.target_directory.join("debug").join(format!("{name}{}", env::consts::EXE_SUFFIX)).into())
}

/// Prints the command and runs it with our input and output; an exit status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> anyhow::Result<()> {
    let shown = show(command);
    eprintln!("$ {shown}");
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(())
}

/// The command as one would type it.
fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_stem().unwrap_or(program.as_os_str()).to_string_lossy();
    let settings =
        command.get_envs().filter_map(|(key, value)| Some(format!("{}={}", key.to_str()?, quoted(value?.to_str()?))));
    let words = command.get_args().map(|it| quoted(&it.to_string_lossy()));
    settings.chain([program.into_owned()]).chain(words).collect::<Vec<_>>().join(" ")
}

fn quoted(word: &str) -> String {
    let plain = |it: char| it.is_ascii_alphanumeric() || "-_./=:,+@%".contains(it);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn commands_are_shown_as_typed() {
        let mut command = Command::new("/some/bin/cargo");
        command.args(["test", "-p", "a b", "it's"]).env("RUSTDOCFLAGS", "-D warnings");
        assert_eq!(show(&command), r"RUSTDOCFLAGS='-D warnings' cargo test -p 'a b' 'it'\''s'");
    }

    #[test]
    fn failure_is_an_error_that_names_the_command() {
        let mut command = Command::new("cargo");
        command.arg("--no-such-flag").stderr(Stdio::null());
        let error = run(&mut command).unwrap_err().to_string();
        assert!(error.starts_with("`cargo --no-such-flag` failed"), "{error}");
        assert!(run(&mut Command::new("no-such-program-anywhere")).is_err());
    }
}
