//! Rules for Markdown: links lead to files that exist, and every page of the book is in its table of contents.

use std::path::{Path, PathBuf};

/// Where the book lists its pages.
pub(super) const SUMMARY: &str = "docs/src/SUMMARY.md";

/// The links of one page that lead nowhere. Addresses of the web are not checked: that would need a network.
pub(super) fn check(root: &Path, page: &Path, content: &str) -> Vec<String> {
    let folder = page.parent().unwrap_or(Path::new(""));
    links(content)
        .into_iter()
        .filter(|(_, link)| !link.contains("://") && !link.starts_with("mailto:"))
        .filter_map(|(line, link)| {
            let file = link.split('#').next().unwrap_or_default();
            let is_there = file.is_empty() || root.join(folder).join(file).exists();
            (!is_there).then(|| format!("{}:{line}: `{link}` leads nowhere", page.display()))
        })
        .collect()
}

/// The pages of the book that its table of contents leaves out.
pub(super) fn check_summary(summary: &str, files: &[PathBuf]) -> Vec<String> {
    let listed: Vec<PathBuf> = links(summary).into_iter().map(|(_, it)| Path::new("docs/src").join(it)).collect();
    files
        .iter()
        .filter(|it| it.starts_with("docs/src") && it.extension().is_some_and(|it| it == "md"))
        .filter(|it| *it != Path::new(SUMMARY) && !listed.contains(it))
        .map(|it| format!("{}:1: not in {SUMMARY}", it.display()))
        .collect()
}

/// The targets of the links and pictures outside of code blocks, each with its line.
fn links(content: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut is_code = false;
    for (idx, line) in content.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_code = !is_code;
        }
        if is_code {
            continue;
        }
        for (at, _) in line.match_indices("](") {
            let target = &line[at + 2..];
            if let Some(end) = target.find(')') {
                found.push((idx + 1, &target[..end]));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_of_code() {
        let page = "see [a](a.md#x) and ![b](b.svg)\n```text\n[c](c.md)\n```\n[d](#here)\n";
        assert_eq!(links(page), [(1, "a.md#x"), (1, "b.svg"), (5, "#here")]);
    }

    #[test]
    fn dead_links_are_reported_with_their_line() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let page = "[here](Cargo.toml) [web](https://a.org)\n[gone](no/such.md#part)\n";
        let expected = ["page.md:2: `no/such.md#part` leads nowhere"];
        assert_eq!(check(root, Path::new("page.md"), page), expected);
    }

    #[test]
    fn pages_must_be_listed() {
        let files = ["README.md", SUMMARY, "docs/src/a.md", "docs/src/b/c.md"].map(PathBuf::from);
        let expected = [format!("docs/src/b/c.md:1: not in {SUMMARY}")];
        assert_eq!(check_summary("- [A](a.md)\n", &files), expected);
    }
}
