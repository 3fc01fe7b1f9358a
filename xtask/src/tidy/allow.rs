//! An `allow` outlives its reason silently; an `expect` complains when its reason is gone.

use super::rust_text::line_of;
use super::tree::Tree;
use super::{Finding, Rule};

pub const RULE: Rule = Rule {
    name: "no-allow",
    fix: "#[expect(lint, reason = \"...\")], on the smallest item that needs it",
    check,
};

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.parsed() {
        for (at, _) in text.code.match_indices("#[").chain(text.code.match_indices("#![")) {
            let attribute: String = bracketed(&text.code[at..]).split_whitespace().collect();
            let attribute = attribute.trim_start_matches(['#', '!', '[']);
            let conditional = attribute.starts_with("cfg_attr(") && attribute.contains(",allow(");
            if attribute.starts_with("allow(") || conditional {
                findings.push(Finding::new(path, line_of(&text.code, at) + 1, "an `allow` attribute"));
            }
        }
    }
    findings
}

/// From the start to the bracket that closes the first one.
fn bracketed(text: &str) -> &str {
    let mut depth = 0_u32;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' if depth <= 1 => return &text[..at],
            ']' => depth -= 1,
            _ => {}
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;

    #[test]
    fn an_allow_is_found_in_every_spelling() {
        let bad = "#[allow(dead_code)]\nfn a() {}\n#![allow(unused)]\n#[cfg_attr(test, allow(x))]\n#[\n  allow(y)]\nfn b() {}\n";
        let mut lines: Vec<usize> =
            found(&RULE, &[("crates/a/src/a.rs", bad)]).into_iter().map(|(_, line)| line).collect();
        lines.sort_unstable();
        assert_eq!(lines, [1, 3, 4, 5]);
    }

    #[test]
    fn an_expect_and_a_string_are_fine() {
        let good = "#[expect(dead_code, reason = \"#[allow(x)]\")]\nfn allow() { let a = [allow(b)]; }\n// #[allow(c)]\n";
        assert!(found(&RULE, &[("crates/a/src/a.rs", good)]).is_empty());
    }
}
