//! What the tests run besides our own binary, and how to get it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::run::{self, Failure};

/// Binary -> Debian package. Only what a test of today starts: a longer list costs everybody a longer first run.
const NEEDS: &[(&str, &str)] = &[
    ("sqlite3", "sqlite3"),
    ("curl", "curl"),
    ("postgres", "postgresql"),
    ("pgbouncer", "pgbouncer"),
    ("redis-server", "redis-server"),
    ("nginx", "nginx-light"),
];

/// Debian starts what it installs, on the ports that everybody knows, and tests start their own. It asks this policy
/// first, which is there for as long as the installation takes, unless the machine has one of its own.
const WITHOUT_STARTING: &str = r#"policy=/usr/sbin/policy-rc.d; [ -e "$policy" ] || { trap 'rm -f "$policy"' EXIT; printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod 755 "$policy"; }; "$@""#;

/// Installs what is missing, or says exactly what to type.
pub fn install() -> Result<(), Failure> {
    let directories = directories();
    let on_path = |binary: &str| directories.iter().any(|directory| directory.join(binary).is_file());
    let packages = missing(on_path);
    if packages.is_empty() {
        println!("xtask: needs: {} are installed", names().join(", "));
        return Ok(());
    }
    let Some(sudo) = privilege(on_path) else {
        return Err(Failure::Failed(format!(
            "the tests need {}, and this user may not install packages. Run: sudo apt-get update && sudo {}",
            packages.join(", "),
            apt_install(&packages).join(" "),
        )));
    };
    // Lists first: on a machine that was never updated apt knows no package at all.
    run::step("update the package lists", &mut apt(sudo, &["apt-get".into(), "update".into()]))?;
    run::step("install what the tests need", &mut install_only(sudo, &packages))
}

/// Installs and starts nothing.
fn install_only(sudo: &[&str], packages: &[&str]) -> Command {
    let quietly = ["sh", "-c", WITHOUT_STARTING, "sh"].map(str::to_owned);
    apt(sudo, &[quietly.to_vec(), apt_install(packages)].concat())
}

/// The path, and where Debian puts servers: a user's path has neither, and the tests look there, too.
fn directories() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let servers = versions.map(|version| version.path().join("bin"));
    std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).chain(servers).collect()
}

fn names() -> Vec<&'static str> {
    NEEDS.iter().map(|(binary, _)| *binary).collect()
}

fn missing(on_path: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        NEEDS.iter().filter(|(binary, _)| !on_path(binary)).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

/// What to put in front of apt-get: nothing as root, `sudo -n` where it asks no password; `None` where neither works.
fn privilege(on_path: impl Fn(&str) -> bool) -> Option<&'static [&'static str]> {
    if !on_path("apt-get") {
        return None;
    }
    if run::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0") {
        return Some(&[]);
    }
    run::succeeds(Command::new("sudo").args(["-n", "true"])).then_some(&["sudo", "-n"])
}

fn apt_install(packages: &[&str]) -> Vec<String> {
    ["apt-get", "install", "--yes", "--no-install-recommends"]
        .iter()
        .chain(packages)
        .map(|word| (*word).to_owned())
        .collect()
}

fn apt(sudo: &[&str], words: &[String]) -> Command {
    // Through `env`, because sudo drops the variable; without it a package may stop to ask a question.
    let mut line = sudo.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    line.extend(["env".into(), "DEBIAN_FRONTEND=noninteractive".into()]);
    line.extend_from_slice(words);
    let mut command = Command::new(Path::new(&line[0]));
    command.args(&line[1..]);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_installed() {
        assert!(missing(|_| true).is_empty());
        assert_eq!(missing(|binary| binary != "sqlite3"), ["sqlite3"]);
    }

    #[test]
    fn a_policy_is_there_while_packages_are_installed_and_not_afterwards() {
        let policy = std::env::temp_dir().join(format!("xtask-policy-{}", std::process::id()));
        let script = WITHOUT_STARTING.replace("/usr/sbin/policy-rc.d", policy.to_str().unwrap());
        let during = |command: &str| {
            Command::new("sh").args(["-c", &script, "sh", "sh", "-c", command]).status().unwrap().code()
        };
        let asked = format!("{}; exit $?", policy.display());
        assert_eq!(during(&asked), Some(101), "nothing may be started");
        assert_eq!(during("exit 7"), Some(7), "a failure is not hidden");
        assert!(!policy.exists());
        fs::write(&policy, "the machine's own").unwrap();
        assert_eq!(during("true"), Some(0));
        assert_eq!(fs::read_to_string(&policy).unwrap(), "the machine's own");
        fs::remove_file(policy).unwrap();
    }

    #[test]
    fn the_command_asks_nothing_and_starts_nothing() {
        let as_root = run::shown(&install_only(&[], &["curl"]));
        assert!(as_root.starts_with("env DEBIAN_FRONTEND=noninteractive sh -c policy="), "{as_root}");
        assert!(as_root.ends_with(" sh apt-get install --yes --no-install-recommends curl"), "{as_root}");
        assert!(
            run::shown(&apt(&["sudo", "-n"], &apt_install(&["curl"])))
                .starts_with("sudo -n env DEBIAN_FRONTEND=")
        );
    }
}
