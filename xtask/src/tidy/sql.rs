//! SQL lives in the store crates: there the guard and the statement are one, and one person can read all of it.

use super::tree::{Tree, is_test_file};
use super::{Finding, Rule};

pub const RULE: Rule = Rule {
    name: "sql-in-stores",
    fix: "move the statement into a function of crates/store-*, and call it through the store's trait",
    check,
};

const KEYWORDS: [&str; 4] = ["SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM"];

/// `bench` prepares tables of its own for comparisons.
const MAY: [&str; 2] = ["crates/store-", "crates/bench/"];

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.parsed() {
        if !path.starts_with("crates/") || MAY.iter().any(|dir| path.starts_with(dir)) || is_test_file(path) {
            continue;
        }
        for (number, line) in
            text.strings.lines().enumerate().filter(|(number, _)| !text.is_test_line(*number))
        {
            if let Some(keyword) = KEYWORDS.iter().find(|keyword| has_word(line, keyword)) {
                findings.push(Finding::new(
                    path,
                    number + 1,
                    format!("SQL (`{}`) outside a store", keyword.trim()),
                ));
            }
        }
    }
    findings
}

fn has_word(line: &str, keyword: &str) -> bool {
    line.match_indices(keyword)
        .any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_statement_outside_the_stores_is_found() {
        let bad = "fn a() {\n    db.run(\"SELECT 1\");\n    db.run(\n        r#\"with x as (1)\n        DELETE FROM tokens\"#);\n}\n";
        let place = |line| ("crates/grants/src/a.rs".to_owned(), line);
        assert_eq!(found(&RULE, &[("crates/grants/src/a.rs", bad)]), [place(2), place(5)]);
    }

    #[test]
    fn stores_tests_comments_and_ordinary_words_are_fine() {
        let sql = "const A: &str = \"INSERT INTO tokens\";\n";
        let words = "// SELECT x\nconst A: &str = \"UPDATED, AUTOUPDATE x, select one\";\n";
        let files = [
            ("crates/store-sqlite/src/a.rs", sql),
            ("crates/server/tests/it/a.rs", sql),
            ("crates/bench/src/a.rs", sql),
            ("crates/web/src/a.rs", words),
        ];
        assert!(found(&RULE, &files).is_empty());
    }
}
