//! A sleep in a test is a guess about a machine: too short on a busy one, wasted on a fast one. The few that are
//! right wait for something that has no event, and say what.

use super::rust_text::words;
use super::tree::{Tree, is_test_file};
use super::{Finding, Rule};

pub const RULE: Rule = Rule {
    name: "no-sleep",
    fix: "wait for the event or drive the ManualClock; if there is no event, write `// wait: WHAT` above",
    check,
};

fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.parsed() {
        let comments: Vec<&str> = text.comments.lines().collect();
        let code: Vec<&str> = text.code.lines().collect();
        for (number, line) in code.iter().enumerate() {
            let in_test = is_test_file(path) || text.is_test_line(number);
            if in_test && sleeps(line) && !explained(&comments, &code, number) {
                findings.push(Finding::new(path, number + 1, "a test sleeps and does not say for what"));
            }
        }
    }
    findings
}

/// A call of `sleep` or `sleep_until`, by path or bare; a method of that name is somebody's own clock.
fn sleeps(code: &str) -> bool {
    ["sleep", "sleep_until"].iter().any(|word| {
        words(code, word).any(|at| {
            let before = code[..at].trim_end();
            code[at + word.len()..].trim_start().starts_with('(')
                && !before.ends_with('.')
                && !before.ends_with("fn")
        })
    })
}

/// `// wait:` on the line itself, or in the comment that ends on the line before.
fn explained(comments: &[&str], code: &[&str], number: usize) -> bool {
    let says = |line: usize| comments.get(line).is_some_and(|comment| comment.contains("// wait:"));
    says(number)
        || (0..number)
            .rev()
            .take_while(|line| code[*line].trim().is_empty() && !comments[*line].trim().is_empty())
            .any(says)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::found;
    use crate::tidy::rust_text::RustText;

    #[test]
    fn a_sleep_without_a_reason_is_found() {
        let bad = "async fn a() {\n    tokio::time::sleep(ms(5)).await;\n    // settle\n    std::thread::sleep(ms(5));\n    sleep (x);\n}\n";
        let lines: Vec<usize> =
            found(&RULE, &[("crates/a/tests/it/a.rs", bad)]).into_iter().map(|(_, line)| line).collect();
        assert_eq!(lines, [2, 4, 5]);
        let unit = "fn a() { sleep(b); }\n#[cfg(test)]\nmod tests {\n    fn t() { sleep(b); }\n}\n";
        assert_eq!(found(&RULE, &[("crates/a/src/a.rs", unit)]), [("crates/a/src/a.rs".into(), 4)]);
    }

    #[test]
    fn a_sleep_with_a_reason_is_fine() {
        let good = "fn a() {\n    sleep(b); // wait: for the kernel to give the port back\n    // wait: for a file system whose clock\n    // ticks in seconds\n    sleep(c);\n    clock.sleep(d);\n}\n";
        assert!(found(&RULE, &[("crates/a/tests/it/a.rs", good)]).is_empty());
    }

    #[test]
    fn a_reason_does_not_reach_past_other_code() {
        let bad = "fn a() {\n    // wait: for b\n    let x = 1;\n    sleep(c);\n}\n";
        assert_eq!(found(&RULE, &[("crates/a/tests/it/a.rs", bad)]), [("crates/a/tests/it/a.rs".into(), 4)]);
    }

    #[test]
    fn only_the_call_counts() {
        assert!(sleeps("thread::sleep(x)") && sleeps("sleep_until(x)"));
        assert!(!sleeps("use tokio::time::sleep;") && !sleeps("fn sleep(x)") && !sleeps("asleep(x)"));
        assert!(!sleeps(&RustText::parse("\"sleep(x)\"").code));
    }
}
