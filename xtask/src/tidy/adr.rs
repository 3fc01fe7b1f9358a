//! Decisions are read years later, by number and by whether they still hold.

use super::tree::Tree;
use super::{Finding, Rule};

pub const RULE: Rule = Rule {
    name: "adr",
    fix: "docs/adr/NNNN-some-words.md, the next free number, a `# ` title first and a line that begins with `Status:`",
    check,
};

const DIR: &str = "docs/adr/";

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut expected = 1;
    for (path, text) in tree.texts() {
        let Some(name) = path.strip_prefix(DIR).filter(|name| *name != "README.md") else { continue };
        let Some(number) = number(name) else {
            findings.push(Finding::new(path, 1, "not the name of a decision"));
            continue;
        };
        if number != expected {
            findings.push(Finding::new(path, 1, format!("number {number:04} where {expected:04} is next")));
        }
        expected = number + 1;
        if !text.lines().next().is_some_and(|line| line.starts_with("# ") && line.trim().len() > 2) {
            findings.push(Finding::new(path, 1, "a decision without a title"));
        }
        if !text.lines().any(|line| line.starts_with("Status:") && line.trim().len() > "Status:".len()) {
            findings.push(Finding::new(path, 1, "a decision without a status"));
        }
    }
    findings
}

/// The number in `NNNN-some-words.md`.
fn number(name: &str) -> Option<u32> {
    let (number, words) = name.strip_suffix(".md")?.split_once('-')?;
    let digits = number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit());
    let plain =
        !words.is_empty() && words.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    (digits && plain).then(|| number.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# A title\n\nStatus: accepted\n";

    fn whats(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::of(files)).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn gaps_doubles_and_odd_names_are_found() {
        let gap = [("docs/adr/0001-a.md", GOOD), ("docs/adr/0003-c.md", GOOD), ("docs/adr/0004-d.md", GOOD)];
        assert_eq!(whats(&gap), ["number 0003 where 0002 is next"]);
        let double = [("docs/adr/0001-a.md", GOOD), ("docs/adr/0001-b.md", GOOD)];
        assert_eq!(whats(&double), ["number 0001 where 0002 is next"]);
        assert_eq!(whats(&[("docs/adr/1-a.md", GOOD), ("docs/adr/idea.md", GOOD)]).len(), 2);
    }

    #[test]
    fn a_title_and_a_status_are_wanted() {
        let files = [("docs/adr/0001-a.md", "Title\n\nStatus:\n")];
        assert_eq!(whats(&files), ["a decision without a title", "a decision without a status"]);
    }

    #[test]
    fn good_decisions_and_an_index_are_fine() {
        let files =
            [("docs/adr/0001-a-b.md", GOOD), ("docs/adr/0002-c.md", GOOD), ("docs/adr/README.md", "")];
        assert_eq!(whats(&files), [] as [&str; 0]);
    }
}
