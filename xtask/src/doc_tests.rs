//! Doc-tests cost a link each and cargo-nextest does not run them, so only the crates that have one are asked.

use std::path::Path;

use crate::run::{self, Failure};
use crate::tidy::tree::Tree;
use crate::workspace;

pub fn run() -> Result<(), Failure> {
    let tree = Tree::from_git(Path::new("."))?;
    let mut words = Vec::new();
    for package in workspace::packages()?.into_iter().filter(|package| package.has_lib) {
        let sources = format!("{}/src/", package.dir);
        if tree.rust().any(|(path, text)| path.starts_with(&sources) && has_doc_test(text)) {
            words.extend(["--package".to_owned(), package.name]);
        }
    }
    if words.is_empty() {
        println!("xtask: doc-tests: no crate has one");
        return Ok(());
    }
    run::step("doc-tests", run::cargo().args(["test", "--doc", "--quiet"]).args(&words))
}

/// Whether a doc comment holds a code block that rustdoc would compile.
fn has_doc_test(text: &str) -> bool {
    let mut open = false;
    for line in text.lines().map(str::trim_start) {
        let Some(doc) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            open = false;
            continue;
        };
        if let Some(info) = doc.trim().strip_prefix("```") {
            open = !open;
            if open && is_compiled(info) {
                return true;
            }
        }
    }
    false
}

fn is_compiled(info: &str) -> bool {
    let rust = |word: &str| {
        matches!(word, "" | "rust" | "no_run" | "should_panic" | "compile_fail")
            || word.starts_with("edition")
    };
    info.split(',').all(|word| rust(word.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_rust_is_a_doc_test_and_other_text_is_not() {
        assert!(has_doc_test("/// Like so:\n///\n/// ```\n/// let a = 1;\n/// ```\nfn f() {}\n"));
        assert!(has_doc_test("//! ```rust,no_run\n//! main();\n//! ```\n"));
        assert!(!has_doc_test("//! ```text\n//! a -> b\n//! ```\n//!\n//! ```ignore\n//! f()\n//! ```\n"));
        assert!(!has_doc_test("// ``` in an ordinary comment\n"));
    }
}
