//! Every test binary links the whole product again: one a crate, with a module a subject.

use std::collections::BTreeSet;

use super::tree::Tree;
use super::{Finding, Rule};

pub const RULE: Rule = Rule {
    name: "one-test-binary",
    fix: "make it a module of tests/it/main.rs; another link of the whole product costs more than the tests",
    check,
};

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in tree.packages() {
        let prefix = format!("{package}/tests/");
        let binaries: BTreeSet<&str> = tree
            .rust()
            .filter(|(path, _)| path.strip_prefix(&prefix).is_some_and(is_binary))
            .map(|(path, _)| path)
            .collect();
        for path in binaries.iter().skip(1) {
            findings.push(Finding::new(path, 1, "a further test binary of its crate"));
        }
    }
    findings
}

/// What Cargo takes for a test of its own: `x.rs` and `x/main.rs`.
fn is_binary(inside: &str) -> bool {
    match inside.split_once('/') {
        None => true,
        Some((_, rest)) => rest == "main.rs",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_second_binary_is_found() {
        let files = [
            ("crates/a/Cargo.toml", "[package]"),
            ("crates/a/tests/it/main.rs", ""),
            ("crates/a/tests/more.rs", ""),
        ];
        assert_eq!(found(&RULE, &files), [("crates/a/tests/more.rs".into(), 1)]);
    }

    #[test]
    fn one_binary_with_modules_is_fine() {
        let files = [
            ("crates/a/Cargo.toml", "[package]"),
            ("crates/a/tests/it/main.rs", ""),
            ("crates/a/tests/it/one.rs", ""),
            ("crates/b/Cargo.toml", "[package]"),
            ("crates/b/tests/it.rs", ""),
            ("crates/b/tests/common/mod.rs", ""),
        ];
        assert_eq!(found(&RULE, &files), []);
    }
}
