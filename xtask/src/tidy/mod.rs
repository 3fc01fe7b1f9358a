//! `cargo xtask tidy`: the conventions of STYLE.md that a machine can check, one file a rule. A rule that is broken
//! says where, what it wants and what to do; each has a unit test with a bad sample.

mod adr;
mod allow;
mod length;
mod links;
mod lints;
mod markers;
mod orphans;
mod outside;
pub mod rust_text;
mod sleeps;
mod sql;
mod test_binaries;
pub mod tree;

use std::path::Path;

use crate::run::Failure;
use tree::Tree;

struct Rule {
    name: &'static str,
    fix: &'static str,
    check: fn(&Tree) -> Vec<Finding>,
}

#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    /// `line` counts from 1.
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

const RULES: &[Rule] = &[
    allow::RULE,
    markers::RULE,
    length::RULE,
    sleeps::RULE,
    sql::RULE,
    orphans::RULE,
    test_binaries::RULE,
    lints::RULE,
    adr::RULE,
    links::RULE,
    outside::RULE,
];

pub fn run() -> Result<(), Failure> {
    let tree = Tree::from_git(Path::new("."))?;
    let mut count = 0;
    for rule in RULES {
        for finding in (rule.check)(&tree) {
            println!(
                "{}:{}: [{}] {}. Fix: {}",
                finding.path, finding.line, rule.name, finding.what, rule.fix
            );
            count += 1;
        }
    }
    if count > 0 {
        return Err(Failure::Failed(format!("tidy: {count} found")));
    }
    println!("xtask: tidy: {} rules hold in {} files", RULES.len(), tree.len());
    Ok(())
}

/// Shared by the rules' tests.
#[cfg(test)]
fn found(rule: &Rule, files: &[(&str, &str)]) -> Vec<(String, usize)> {
    (rule.check)(&Tree::of(files)).into_iter().map(|finding| (finding.path, finding.line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_name_of_its_own_and_a_fix() {
        for (index, rule) in RULES.iter().enumerate() {
            assert!(!rule.fix.is_empty() && !rule.fix.ends_with('.'), "{}", rule.name);
            assert!(RULES[..index].iter().all(|other| other.name != rule.name), "{} twice", rule.name);
        }
    }

    #[test]
    fn an_empty_repository_is_tidy() {
        assert!(RULES.iter().all(|rule| (rule.check)(&Tree::of(&[])).is_empty()));
    }
}
