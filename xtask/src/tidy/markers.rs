//! A note to oneself in the source is seen by nobody who plans.

use super::rust_text::words;
use super::tree::Tree;
use super::{Finding, Rule};

pub const RULE: Rule =
    Rule { name: "no-markers", fix: "do it now, or open an issue and describe the limit as it is", check };

const MARKERS: [&str; 3] = ["TODO", "FIXME", "XXX"];

/// Besides Rust, where only comments count.
const SOURCES: [&str; 9] = [".toml", ".sql", ".sh", ".ci/run", ".js", ".css", ".html", ".yml", ".yaml"];

fn check(tree: &Tree) -> Vec<Finding> {
    let rust = tree.parsed().map(|(path, text)| (path, text.comments.as_str()));
    let others = tree.texts().filter(|(path, _)| SOURCES.iter().any(|end| path.ends_with(end)));
    let mut findings = Vec::new();
    for (path, text) in rust.chain(others) {
        for (number, line) in text.lines().enumerate() {
            for marker in MARKERS.iter().filter(|marker| words(line, marker).next().is_some()) {
                findings.push(Finding::new(path, number + 1, format!("a {marker} in a source")));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_marker_is_found_in_comments_and_in_other_sources() {
        let files =
            [("crates/a/src/a.rs", "fn a() {}\n// TODO later\n/* FIXME: now */\n"), (".ci/run", "# XXX\n")];
        let places = [(".ci/run", 1), ("crates/a/src/a.rs", 2), ("crates/a/src/a.rs", 3)];
        let mut found = found(&RULE, &files);
        found.sort();
        assert_eq!(found, places.map(|(path, line)| (path.to_owned(), line)));
    }

    #[test]
    fn a_name_and_a_string_are_no_markers() {
        let good = "const MAX_TODOS: &str = \"TODO\"; // todo lists hold TODOS\n";
        assert!(found(&RULE, &[("crates/a/src/a.rs", good), ("README.md", "TODO")]).is_empty());
    }
}
