//! The crate graph: which package may depend on which. A new edge is a change of the design (ARCHITECTURE.md).

use cargo_metadata::{DependencyKind, Metadata};

/// Packages and the packages of this workspace that they may depend on.
const ALLOWED: [(&str, Allowed); 18] = [
    ("netsor-num", Only(&[])),
    ("netsor-ir", Only(&[])),
    ("netsor-zoo", Only(&["netsor-ir", "netsor-num"])),
    ("netsor-gauss", Only(&["netsor-num"])),
    ("netsor-limit", Only(&["netsor-ir", "netsor-gauss", "netsor-num"])),
    ("netsor-kernel", Only(&["netsor-limit", "netsor-gauss", "netsor-ir", "netsor-num"])),
    ("netsor-predict", Only(&["netsor-num"])),
    ("netsor-finite", Only(&["netsor-ir", "netsor-num"])),
    ("netsor-nth", Only(&["netsor-limit", "netsor-finite", "netsor-ir", "netsor-num"])),
    ("netsor-data", Only(&["netsor-num"])),
    ("netsor-lab", AllBut(&["netsor", "netsor-cli"])),
    ("netsor", AllBut(&["netsor-lab", "netsor-cli"])),
    ("netsor-cli", AllBut(&[])),
    ("netsor-tests", AllBut(&[])),
    ("netsor-benches", AllBut(&[])),
    ("netsor-examples", AllBut(&[])),
    ("netsor-fuzz", AllBut(&[])),
    ("xtask", Only(&[])),
];

/// The two back ends: that their numbers agree is evidence, so not even their tests may share code.
const STRANGERS: (&str, &str) = ("netsor-limit", "netsor-finite");

use Allowed::{AllBut, Only};

/// What a package may depend on.
enum Allowed {
    Only(&'static [&'static str]),
    AllBut(&'static [&'static str]),
}

/// A dependency between two packages of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    from: String,
    /// `None` stands for the package itself, so that packages without dependencies are checked, too.
    to: Option<String>,
    /// A dependency of tests and examples only. These may point anywhere but between the strangers.
    is_dev: bool,
}

pub(super) fn edges(metadata: &Metadata) -> Vec<Edge> {
    let mut edges = Vec::new();
    for package in &metadata.packages {
        let from = package.name.to_string();
        edges.push(Edge { from: from.clone(), to: None, is_dev: false });
        for dependency in package.dependencies.iter().filter(|it| it.path.is_some()) {
            edges.push(Edge {
                from: from.clone(),
                to: Some(dependency.name.clone()),
                is_dev: dependency.kind == DependencyKind::Development,
            });
        }
    }
    edges
}

/// The edges that the design forbids, and the packages that it does not know.
pub(super) fn check(edges: &[Edge]) -> Vec<String> {
    let mut problems = Vec::new();
    for Edge { from, to, is_dev } in edges {
        let Some((_, allowed)) = ALLOWED.iter().find(|(name, _)| name == from) else {
            if to.is_none() {
                problems.push(format!("crate graph: `{from}` has no row in xtask/src/tidy/graph.rs"));
            }
            continue;
        };
        let Some(to) = to else { continue };
        let strangers = [(STRANGERS.0, STRANGERS.1), (STRANGERS.1, STRANGERS.0)];
        let fits = match allowed {
            Only(names) => names.contains(&to.as_str()),
            AllBut(names) => !names.contains(&to.as_str()),
        };
        if strangers.contains(&(from.as_str(), to.as_str())) {
            problems.push(format!("crate graph: `{from}` and `{to}` must not know each other"));
        } else if !fits && !is_dev {
            problems.push(format!("crate graph: `{from}` must not depend on `{to}`"));
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_edge(from: &str, to: &str, is_dev: bool, expected: &[&str]) {
        let edge = Edge { from: from.to_owned(), to: Some(to.to_owned()), is_dev };
        assert_eq!(check(&[edge]), expected);
    }

    #[test]
    fn arrows_point_down() {
        check_edge("netsor-limit", "netsor-ir", false, &[]);
        check_edge("netsor-cli", "netsor-lab", false, &[]);
        let up = "crate graph: `netsor-ir` must not depend on `netsor-limit`";
        check_edge("netsor-ir", "netsor-limit", false, &[up]);
        check_edge("netsor-ir", "netsor-zoo", true, &[]);
        let facade = "crate graph: `netsor` must not depend on `netsor-cli`";
        check_edge("netsor", "netsor-cli", false, &[facade]);
        let product = "crate graph: `xtask` must not depend on `netsor-num`";
        check_edge("xtask", "netsor-num", false, &[product]);
    }

    #[test]
    fn the_back_ends_are_strangers_even_in_tests() {
        for is_dev in [false, true] {
            let a = "crate graph: `netsor-limit` and `netsor-finite` must not know each other";
            check_edge("netsor-limit", "netsor-finite", is_dev, &[a]);
            let b = "crate graph: `netsor-finite` and `netsor-limit` must not know each other";
            check_edge("netsor-finite", "netsor-limit", is_dev, &[b]);
        }
    }

    #[test]
    fn a_new_package_needs_a_row() {
        let alone = Edge { from: "netsor-new".to_owned(), to: None, is_dev: false };
        assert_eq!(check(&[alone]).len(), 1);
    }
}
