//! The repository stands alone: what it needs is in it or is installed by name. A path of the machine that somebody
//! happened to work on means nothing to the next reader.

use super::tree::Tree;
use super::{Finding, Rule};

pub const RULE: Rule = Rule {
    name: "stands-alone",
    fix: "bring what is needed into the repository, or say it in its own words",
    check,
};

/// Where a path out of the repository begins. In two pieces, because this file is in the repository too.
const OUTSIDE: [&str; 3] = [concat!("/wor", "k/"), concat!(".lib", "rary"), concat!("../sha", "red")];

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.texts() {
        for (number, line) in text.lines().enumerate() {
            for outside in OUTSIDE.iter().filter(|outside| names(line, outside)) {
                findings.push(Finding::new(
                    path,
                    number + 1,
                    format!("names a path outside the repository (`{outside}`)"),
                ));
            }
        }
    }
    findings
}

/// Whether `line` has `start` where a path begins (not inside one, as in `https://example.com/...`) and ends a word.
fn names(line: &str, start: &str) -> bool {
    let inner = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '}' | ')');
    line.match_indices(start).any(|(at, _)| {
        let after = &line[at + start.len()..];
        !line[..at].ends_with(inner)
            && (start.ends_with('/') || !after.starts_with(|c: char| c.is_alphanumeric()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn a_path_out_of_the_repository_is_found() {
        let text = OUTSIDE.map(|outside| format!("see `{outside}`\n")).concat();
        let lines: Vec<usize> =
            found(&RULE, &[("docs/a.md", &text)]).into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, [1, 2, 3]);
        assert!(
            names(&format!("{}main", OUTSIDE[0]), OUTSIDE[0])
                && names(&format!("../{}/x", OUTSIDE[2]), OUTSIDE[2])
        );
    }

    #[test]
    fn the_same_letters_inside_a_longer_path_are_fine() {
        let good = ["https://example.com", "$HOME", "target"]
            .map(|before| format!("{before}{}x\n", OUTSIDE[0]))
            .concat();
        assert_eq!(found(&RULE, &[("docs/a.md", &good)]), []);
        assert!(!names(&format!("self{}(x)", OUTSIDE[1]), OUTSIDE[1]));
    }
}
