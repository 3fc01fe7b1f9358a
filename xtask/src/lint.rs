//! `cargo xtask lint`: everything that can be said about the sources without running them. All of it runs, the cheap
//! first, so that one round shows every finding.

use crate::run::{self, Failure};
use crate::{arrows, tidy};

pub fn run() -> Result<(), Failure> {
    let results = [
        run::step("formatting", run::cargo().args(["fmt", "--all", "--check"])),
        arrows::run(),
        tidy::run(),
        run::step(
            "clippy",
            run::cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        ),
        deny(),
    ];
    let failures: Vec<String> = results
        .into_iter()
        .filter_map(Result::err)
        .map(|failure| match failure {
            Failure::Usage(why) | Failure::Failed(why) => why,
        })
        .collect();
    if failures.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!("lint found something:\n  {}", failures.join("\n  "))))
}

/// Licences, duplicates and sources of what we depend on. Left out where cargo-deny is not installed: it takes longer
/// to build than everything else here together. Advisories are not asked for: they need a database from the network.
fn deny() -> Result<(), Failure> {
    if !run::succeeds(run::cargo().args(["deny", "--version"])) {
        println!("xtask: cargo-deny: left out, it is not installed (cargo install cargo-deny --locked)");
        return Ok(());
    }
    run::step(
        "cargo-deny",
        run::cargo().args([
            "deny",
            "--workspace",
            "check",
            "--hide-inclusion-graph",
            "bans",
            "licenses",
            "sources",
        ]),
    )
}
