//! `cargo xtask soak NAME`: a test that also runs in CI with a few rounds, here with enough of them to find what is
//! rare. Plain `cargo test` and not nextest, because its progress must be seen while it runs.

use crate::run::{self, Failure};
use crate::{nearest, needs};

struct Soak {
    name: &'static str,
    /// They run side by side.
    tests: &'static [&'static str],
    rounds: u32,
    about: &'static str,
}

const SOAKS: &[Soak] = &[
    Soak {
        name: "collide",
        tests: &["soak::collide"],
        rounds: 1000,
        about: "two processes on one SQLite file, the same requests to both",
    },
    Soak {
        name: "crash",
        tests: &["soak::crash"],
        rounds: 50,
        about: "kill -9 with writes in flight, restart, check every acknowledged token",
    },
    Soak {
        name: "crash-matrix",
        tests: &[
            "soak::crash_matrix_sync",
            "soak::crash_matrix_async_fsync",
            "soak::crash_matrix_async_os",
            "soak::crash_matrix_async_off",
        ],
        rounds: 100,
        about: "servers, databases, connections, disks and power fail, in every mode of persistence",
    },
    Soak {
        name: "gateways",
        tests: &["soak::gateways"],
        rounds: 2500,
        about: "one issuer and three gateways behind nginx, while links, gateways and the issuer fail, until so many revocations",
    },
    Soak {
        name: "lost-commits",
        tests: &["soak::lost_commits"],
        rounds: 20,
        about: "a standby that lacks the last revocations is promoted: what nodes give back, and what is lost",
    },
    Soak {
        name: "recoveries",
        tests: &["soak::recoveries"],
        rounds: 2000,
        about: "two processes on one PostgreSQL, the same requests to both, until so many recoveries",
    },
    Soak {
        name: "refresh",
        tests: &["soak::refresh"],
        rounds: 2000,
        about: "two processes spend the same refresh token at the same instant",
    },
    Soak {
        name: "refresh-crash",
        tests: &["soak::refresh_crash"],
        rounds: 100,
        about: "kill -9 before the commit of a rotation, after it, and under load; then retry",
    },
    Soak {
        name: "revocations",
        tests: &["soak::revocations"],
        rounds: 5000,
        about: "three nodes on PostgreSQL with a standby, while links, nodes and databases fail, until so many revocations",
    },
    Soak {
        name: "rotate-keys",
        tests: &["soak::rotate_keys"],
        rounds: 60,
        about: "signing and MAC keys rotated under load, then revoked",
    },
    Soak {
        name: "switching",
        tests: &["soak::switching"],
        rounds: 200,
        about: "the mode switched from sync to none, back and to async at two nodes, under load",
    },
];

pub fn run(args: &[String]) -> Result<(), Failure> {
    let (soak, rounds) = parse(args)?;
    needs::install()?;
    let cargo_test = || {
        let mut command = run::cargo();
        command.args(["test", "--release", "--package", "grantry-server", "--test", "it", "--", "--exact"]);
        command.args(soak.tests);
        command
    };
    // A filter that matches nothing passes; a soak that tests nothing must not.
    println!("xtask: soak: build the release profile and look for {}", soak.tests.join(", "));
    let listed = run::output(cargo_test().arg("--list"))?;
    let is_listed = |test: &str| listed.lines().any(|line| line.strip_suffix(": test") == Some(test));
    if let Some(missing) = soak.tests.iter().find(|test| !is_listed(test)) {
        return Err(Failure::Failed(format!(
            "the test `{missing}` is not in crates/server/tests/it. Fix: write it, or correct SOAKS in \
             xtask/src/soak.rs"
        )));
    }
    println!("xtask: soak: {}: {rounds} rounds of {}", soak.name, soak.about);
    run::step("soak", cargo_test().arg("--nocapture").env("GRANTRY_SOAK_ROUNDS", rounds.to_string()))
}

/// One line for each soak test, for the help.
pub fn list() -> String {
    let line = |soak: &Soak| format!("  {:<24}{} ({} rounds)\n", soak.name, soak.about, soak.rounds);
    SOAKS.iter().map(line).collect()
}

fn parse(args: &[String]) -> Result<(&'static Soak, u32), Failure> {
    let mut name = None;
    let mut rounds = None;
    let mut words = args.iter().map(String::as_str);
    while let Some(word) = words.next() {
        if word == "--rounds" {
            rounds = Some(parse_rounds(words.next().unwrap_or_default())?);
        } else if let Some(number) = word.strip_prefix("--rounds=") {
            rounds = Some(parse_rounds(number)?);
        } else if word.starts_with('-') {
            return Err(Failure::Usage(format!("`soak` does not know `{word}`; it takes --rounds N")));
        } else if name.replace(word).is_some() {
            return Err(Failure::Usage(format!(
                "`soak` runs one test at a time, but was given `{word}` as well"
            )));
        }
    }
    let name = name.ok_or_else(|| Failure::Usage("`soak` needs the name of a soak test".into()))?;
    let soak = SOAKS.iter().find(|soak| soak.name == name).ok_or_else(|| {
        Failure::Usage(nearest::unknown("soak test", name, SOAKS.iter().map(|soak| soak.name)))
    })?;
    Ok((soak, rounds.unwrap_or(soak.rounds)))
}

fn parse_rounds(word: &str) -> Result<u32, Failure> {
    match word.parse() {
        Ok(rounds) if rounds > 0 => Ok(rounds),
        _ => Err(Failure::Usage(format!("--rounds takes a whole number from 1, not `{word}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<(&'static str, u32), String> {
        let words: Vec<String> = line.split_whitespace().map(String::from).collect();
        match parse(&words) {
            Ok((soak, rounds)) => Ok((soak.tests[0], rounds)),
            Err(Failure::Usage(why) | Failure::Failed(why)) => Err(why),
        }
    }

    #[test]
    fn a_soak_has_its_own_number_of_rounds_unless_told() {
        assert_eq!(parsed("collide"), Ok(("soak::collide", 1000)));
        assert_eq!(parsed("crash --rounds 3"), Ok(("soak::crash", 3)));
        assert_eq!(parsed("--rounds=7 crash"), Ok(("soak::crash", 7)));
    }

    #[test]
    fn what_it_cannot_do_is_said() {
        assert!(parsed("crush").is_err_and(|why| why.contains("did you mean `crash`?")));
        assert!(parsed("crash --rounds").is_err_and(|why| why.contains("whole number")));
        assert!(parsed("crash --rounds 0").is_err_and(|why| why.contains("from 1")));
        assert!(parsed("crash collide").is_err_and(|why| why.contains("one test at a time")));
        assert!(parsed("").is_err_and(|why| why.contains("needs the name")));
    }
}
