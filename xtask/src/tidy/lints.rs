//! Cargo does not hand the workspace's lints down by itself: a crate that forgets them is held to nothing.

use super::tree::Tree;
use super::{Finding, Rule};

pub const RULE: Rule = Rule { name: "workspace-lints", fix: "add `[lints]` with `workspace = true`", check };

fn check(tree: &Tree) -> Vec<Finding> {
    tree.packages()
        .map(|package| format!("{package}/Cargo.toml"))
        .filter(|path| !tree.text(path).is_some_and(inherits))
        .map(|path| Finding::new(&path, 1, "does not take the workspace's lints"))
        .collect()
}

fn inherits(manifest: &str) -> bool {
    let mut section = "";
    manifest.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).any(|line| {
        if line.starts_with('[') {
            section = line;
        }
        let line: String = line.split_whitespace().collect();
        (section == "[lints]" && line == "workspace=true") || line == "lints.workspace=true"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_crate_without_the_lints_is_found() {
        let elsewhere = "[package]\nedition.workspace = true\n[dependencies.a]\nworkspace = true\n[lints]\n";
        assert_eq!(found(&RULE, &[("crates/a/Cargo.toml", elsewhere)]), [("crates/a/Cargo.toml".into(), 1)]);
    }

    #[test]
    fn a_crate_with_the_lints_is_fine() {
        let files = [
            ("Cargo.toml", "[workspace]\n"),
            ("crates/a/Cargo.toml", "[package]\n\n[lints] # ours\nworkspace = true\n"),
        ];
        assert_eq!(found(&RULE, &files), []);
    }
}
