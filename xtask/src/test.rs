//! `cargo xtask test`: everything a fresh machine needs between `git clone` and a verdict.
//!
//! 1. Install what the tests start (`needs.rs`).
//! 2. Build the workspace once, tests and binaries: a test may start a binary of another crate.
//! 3. Run the doc-tests of the crates that have some; the test runner comes last, so that its summary ends the output.
//! 4. Run every test, with cargo-nextest where it is installed.

use crate::run::{self, Failure};
use crate::{doc_tests, needs};

pub fn run(args: &[String]) -> Result<(), Failure> {
    needs::install()?;
    let selection = selection(args);
    run::step("build", run::cargo().args(["build", "--all-targets"]).args(&selection))?;
    if args.is_empty() {
        doc_tests::run()?;
    }
    let nextest = run::succeeds(run::cargo().args(["nextest", "--version"]));
    run::step("test", run::cargo().args(runner(nextest, &selection, args)))
}

/// The packages that the arguments choose, else the workspace. (`--workspace` beside `-p` would win silently.)
fn selection(args: &[String]) -> Vec<String> {
    let mut chosen = Vec::new();
    let mut words = args.iter().take_while(|arg| *arg != "--");
    while let Some(word) = words.next() {
        if matches!(word.as_str(), "-p" | "--package") {
            chosen.push(word.clone());
            chosen.extend(words.next().cloned());
        } else if word.starts_with("--package=") || (word.starts_with("-p") && !word.starts_with("--")) {
            chosen.push(word.clone());
        }
    }
    if chosen.is_empty() { vec!["--workspace".into()] } else { chosen }
}

fn runner(nextest: bool, selection: &[String], args: &[String]) -> Vec<String> {
    let mut words: Vec<String> = match (nextest, args.is_empty()) {
        (true, _) => vec!["nextest".into(), "run".into()],
        // The doc-tests have run before.
        (false, true) => ["test", "--lib", "--bins", "--tests"].map(String::from).to_vec(),
        (false, false) => vec!["test".into()],
    };
    if args.is_empty() {
        // A whole run is to name every failure, not the first.
        words.push("--no-fail-fast".into());
    }
    if selection.first().is_some_and(|word| word == "--workspace")
        && !args.iter().any(|arg| arg == "--workspace")
    {
        words.push("--workspace".into());
    }
    words.extend_from_slice(args);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    fn line(nextest: bool, args: &str) -> String {
        let args = words(args);
        runner(nextest, &selection(&args), &args).join(" ")
    }

    #[test]
    fn without_arguments_the_whole_workspace_runs_to_the_end() {
        assert_eq!(line(true, ""), "nextest run --no-fail-fast --workspace");
        assert_eq!(line(false, ""), "test --lib --bins --tests --no-fail-fast --workspace");
    }

    #[test]
    fn a_package_is_built_and_run_alone() {
        assert_eq!(selection(&words("-p grantry-jose rotates")), ["-p", "grantry-jose"]);
        assert_eq!(
            selection(&words("--package=grantry-jose -pxtask -- -p no")),
            ["--package=grantry-jose", "-pxtask"]
        );
        assert_eq!(line(true, "-p grantry-jose rotates"), "nextest run -p grantry-jose rotates");
    }

    #[test]
    fn a_filter_alone_runs_in_the_workspace() {
        assert_eq!(line(true, "rotates"), "nextest run --workspace rotates");
        assert_eq!(line(false, "rotates -- --nocapture"), "test --workspace rotates -- --nocapture");
    }
}
