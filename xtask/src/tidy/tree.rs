//! The files of the repository: what git tracks, and what it would track.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use super::rust_text::RustText;
use crate::run::{self, Failure};

#[derive(Debug, Default)]
pub struct Tree {
    paths: BTreeSet<String>,
    texts: BTreeMap<String, String>,
    rust: BTreeMap<String, RustText>,
}

impl Tree {
    /// Reads the working tree at `root`. Files that are not UTF-8 are there, but have no text.
    pub fn from_git(root: &Path) -> Result<Self, Failure> {
        let listed = run::output(Command::new("git").current_dir(root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let mut tree = Self::default();
        for path in listed.split('\0').filter(|path| !path.is_empty()) {
            let file = root.join(path);
            // What is deleted but not yet committed is still listed.
            if file.is_file() {
                tree.add(path, std::fs::read_to_string(file).ok());
            }
        }
        Ok(tree)
    }

    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let mut tree = Self::default();
        for (path, text) in files {
            tree.add(path, Some((*text).to_owned()));
        }
        tree
    }

    fn add(&mut self, path: &str, text: Option<String>) {
        self.paths.insert(path.to_owned());
        if let Some(text) = text {
            if is_rust(path) {
                self.rust.insert(path.to_owned(), RustText::parse(&text));
            }
            self.texts.insert(path.to_owned(), text);
        }
    }

    pub fn len(&self) -> usize {
        self.paths.len()
    }

    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    pub fn text(&self, path: &str) -> Option<&str> {
        self.texts.get(path).map(String::as_str)
    }

    /// Paths and texts of the Rust sources.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.texts().filter(|(path, _)| is_rust(path))
    }

    /// The Rust sources, taken apart.
    pub fn parsed(&self) -> impl Iterator<Item = (&str, &RustText)> {
        self.rust.iter().map(|(path, text)| (path.as_str(), text))
    }

    pub fn parsed_file(&self, path: &str) -> Option<&RustText> {
        self.rust.get(path)
    }

    /// Whether a file or a directory of that name is in the repository; `""` is its root.
    pub fn exists(&self, path: &str) -> bool {
        let dir = format!("{path}/");
        path.is_empty()
            || self.paths.contains(path)
            || self.paths.range(dir.clone()..).next().is_some_and(|first| first.starts_with(&dir))
    }

    /// The directories that hold a package: those of every `Cargo.toml` with a `[package]`.
    pub fn packages(&self) -> impl Iterator<Item = &str> {
        self.texts()
            .filter(|(_, text)| text.lines().any(|line| line.trim() == "[package]"))
            .filter_map(|(path, _)| path.strip_suffix("/Cargo.toml"))
    }
}

fn is_rust(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "rs")
}

/// Whether a file holds nothing but tests.
pub fn is_test_file(path: &str) -> bool {
    let stem = path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rs");
    path.split('/').any(|dir| dir == "tests") || stem == "tests" || stem.ends_with("_tests")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_exists_through_its_files() {
        let tree = Tree::of(&[("docs/adr/0001-a.md", ""), ("docs-old.md", "")]);
        assert!(
            tree.exists("docs")
                && tree.exists("docs/adr")
                && tree.exists("docs/adr/0001-a.md")
                && tree.exists("")
        );
        assert!(!tree.exists("doc") && !tree.exists("docs/adr/0002-b.md"));
    }

    #[test]
    fn test_files_are_known_by_their_place_or_name() {
        assert!(is_test_file("crates/web/tests/it/main.rs") && is_test_file("crates/web/src/token/tests.rs"));
        assert!(!is_test_file("crates/web/src/token.rs") && !is_test_file("crates/web/src/attests.rs"));
    }
}
