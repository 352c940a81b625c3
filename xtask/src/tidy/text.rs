//! Rules for the content of files.

use std::path::Path;

/// Longer files tell more than one story.
const MAX_LINES: usize = 700;

/// Words that mean unfinished work, in any text. Written in parts, or this file would contain them.
const UNFINISHED: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// What must not stay in Rust code, and why.
const FORBIDDEN_IN_RUST: [(&str, &str); 4] = [
    (concat!("dbg", "!("), "left over from debugging"),
    (concat!("todo", "!("), "unfinished"),
    (concat!("unimplemented", "!("), "unfinished"),
    (concat!("#[", "ignore"), "a test that never runs; assert what is known to be wrong instead"),
];

/// Folders of some machine that no reader has.
const MACHINE_FOLDERS: [&str; 3] = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// All problems of one file.
pub(super) fn check(path: &Path, content: &str) -> Vec<String> {
    let mut problems = Vec::new();
    let is_rust = path.extension().is_some_and(|it| it == "rs");
    let n_lines = content.lines().count();
    if is_rust && MAX_LINES < n_lines {
        problems.push(format!("{}:1: {n_lines} lines; split what is over {MAX_LINES}", path.display()));
    }
    for (idx, line) in content.lines().enumerate() {
        let mut report = |problem: String| problems.push(format!("{}:{}: {problem}", path.display(), idx + 1));
        for word in UNFINISHED.into_iter().filter(|word| has_word(line, word)) {
            report(format!("`{word}`: finish it, or open an issue"));
        }
        for folder in MACHINE_FOLDERS.into_iter().filter(|folder| has_folder(line, folder)) {
            report(format!("`{folder}..`: a path of one machine"));
        }
        if is_rust {
            for (pattern, reason) in FORBIDDEN_IN_RUST.into_iter().filter(|(it, _)| line.contains(it)) {
                report(format!("`{pattern}`: {reason}"));
            }
        }
    }
    problems
}

/// Whether a word stands by itself: not inside a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |it: char| it.is_alphanumeric() || it == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_part) && !line[at + word.len()..].starts_with(is_part))
}

/// Whether an absolute path starts with the folder: no name, no dot before the slash.
fn has_folder(line: &str, folder: &str) -> bool {
    let is_part = |it: char| it.is_ascii_alphanumeric() || it == '_' || it == '.';
    line.match_indices(folder).any(|(at, _)| !line[..at].ends_with(is_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(path: &str, content: &str) -> usize {
        check(Path::new(path), content).len()
    }

    #[test]
    fn unfinished_work() {
        let word = UNFINISHED[0];
        let found = check(Path::new("a.md"), &format!("fine\n{word}: more\n"));
        assert_eq!(found, [format!("a.md:2: `{word}`: finish it, or open an issue")]);
        assert_eq!(count("a.md", &format!("{word}S METHOD{word}")), 0);
        assert_eq!(count("a.rs", &format!("    {}x);", FORBIDDEN_IN_RUST[0].0)), 1);
        assert_eq!(count("a.rs", &format!("{} = \"slow\"]", FORBIDDEN_IN_RUST[3].0)), 1);
        assert_eq!(count("a.md", FORBIDDEN_IN_RUST[3].0), 0);
    }

    #[test]
    fn machine_paths() {
        let folder = MACHINE_FOLDERS[0];
        for line in [format!("{folder}me"), format!("see `{folder}me`"), format!("\"{folder}")] {
            assert_eq!(count("a.json", &line), 1, "{line}");
        }
        for line in [format!("..{folder}me"), format!("https://a.org{folder}x"), format!("my{folder}")] {
            assert_eq!(count("a.json", &line), 0, "{line}");
        }
    }

    #[test]
    fn long_files() {
        assert_eq!(count("a.rs", &"\n".repeat(MAX_LINES)), 0);
        assert_eq!(count("a.rs", &"\n".repeat(MAX_LINES + 1)), 1);
        assert_eq!(count("a.json", &"\n".repeat(MAX_LINES + 1)), 0);
    }
}
