//! Starting other programs: one line says what, its output goes straight through.

use std::ffi::OsString;
use std::process::{Command, Stdio};

/// Why a command of ours did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// The command line was wrong: exit status 2, with the help.
    Usage(String),
    /// The work was done and something is wrong: exit status 1.
    Failed(String),
}

/// The cargo that started us, without what it set for our own build: build scripts watch some of those variables,
/// and would rebuild the workspace because it was xtask that asked.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    for (name, _) in std::env::vars_os() {
        let own = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_", "CARGO_PRIMARY_"];
        if name.to_str().is_some_and(|name| own.iter().any(|prefix| name.starts_with(prefix))) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs one step in the foreground after saying what it is for.
pub fn step(purpose: &str, command: &mut Command) -> Result<(), Failure> {
    let line = shown(command);
    println!("xtask: {purpose}: {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::Failed(format!("{purpose} failed ({status}): {line}"))),
        Err(error) => Err(Failure::Failed(format!("{purpose} could not start: {line}: {error}"))),
    }
}

/// Runs quietly and returns what it printed; its errors are shown.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let line = shown(command);
    let out = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::Failed(format!("could not start `{line}`: {error}")))?;
    if !out.status.success() {
        return Err(Failure::Failed(format!("`{line}` failed ({})", out.status)));
    }
    String::from_utf8(out.stdout).map_err(|_| Failure::Failed(format!("`{line}` did not print UTF-8")))
}

/// Whether a command exists and succeeds; nothing is shown.
pub fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as one would type it. The cargo binary's full path would only hide what matters.
pub fn shown(command: &Command) -> String {
    let program = command.get_program().to_string_lossy();
    let program = program.rsplit('/').next().unwrap_or_default().to_owned();
    let args = command.get_args().map(|arg| arg.to_string_lossy().into_owned());
    std::iter::once(program).chain(args).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_that_fails_says_which_and_how() {
        let Err(Failure::Failed(why)) = step("try", &mut Command::new("false")) else {
            panic!("false succeeded")
        };
        assert!(why.starts_with("try failed") && why.ends_with("false"), "{why}");
        let Err(Failure::Failed(why)) = step("try", &mut Command::new("no-such-program")) else {
            panic!("it exists")
        };
        assert!(why.contains("could not start"), "{why}");
    }

    #[test]
    fn a_command_is_shown_as_one_would_type_it() {
        assert_eq!(shown(Command::new("/usr/bin/cargo").args(["fmt", "--all"])), "cargo fmt --all");
    }
}
