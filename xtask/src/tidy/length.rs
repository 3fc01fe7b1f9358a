//! A file that has to be scrolled through to be understood holds more than one concept.

use super::tree::Tree;
use super::{Finding, Rule};

pub const RULE: Rule =
    Rule { name: "file-length", fix: "split it by concept; long tests move to a file of their own", check };

/// Lines of a source, and of one under `tests/`, where scenarios are long but flat.
const MAX_LINES: usize = 500;
const MAX_TEST_LINES: usize = 800;

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.rust() {
        let in_tests = path.split('/').rev().skip(1).any(|dir| dir == "tests");
        let most = if in_tests { MAX_TEST_LINES } else { MAX_LINES };
        let lines = text.lines().count();
        if lines > most {
            findings.push(Finding::new(path, most + 1, format!("{lines} lines, at most {most}")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_long_file_is_found_and_tests_may_be_longer() {
        let (long, longer) = ("\n".repeat(501), "\n".repeat(801));
        let files = [
            ("crates/a/src/a.rs", long.as_str()),
            ("crates/a/tests/it/a.rs", long.as_str()),
            ("crates/a/tests/it/b.rs", longer.as_str()),
        ];
        assert_eq!(
            found(&RULE, &files),
            [("crates/a/src/a.rs".into(), 501), ("crates/a/tests/it/b.rs".into(), 801)]
        );
    }

    #[test]
    fn the_bound_itself_is_allowed() {
        assert!(found(&RULE, &[("crates/a/src/a.rs", "\n".repeat(500).as_str())]).is_empty());
    }
}
