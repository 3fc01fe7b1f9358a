//! `cargo xtask`: the project's own commands. What CI runs is what a developer runs, so a rule that is not in here
//! is not a rule.

#![expect(clippy::print_stdout, reason = "a command line tool for developers: its product is what it prints")]

mod arrows;
mod doc_tests;
mod lint;
mod nearest;
mod needs;
mod run;
mod soak;
mod test;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use run::Failure;

struct Command {
    name: &'static str,
    usage: &'static str,
    about: &'static str,
    run: fn(&[String]) -> Result<(), Failure>,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "test",
        usage: "test [ARGS]",
        about: "install what the tests need, build, run every test; ARGS go to the test runner",
        run: test::run,
    },
    Command {
        name: "lint",
        usage: "lint",
        about: "formatting, arrows, tidy, clippy, and cargo-deny where it is installed",
        run: |args| no_args("lint", args).and_then(|()| lint::run()),
    },
    Command {
        name: "arrows",
        usage: "arrows",
        about: "fail on a dependency between our crates that the design does not list",
        run: |args| no_args("arrows", args).and_then(|()| arrows::run()),
    },
    Command {
        name: "tidy",
        usage: "tidy",
        about: "conventions that a compiler does not check (STYLE.md lists them)",
        run: |args| no_args("tidy", args).and_then(|()| tidy::run()),
    },
    Command {
        name: "soak",
        usage: "soak NAME [--rounds N]",
        about: "the long form of a test; without NAME it lists them",
        run: soak::run,
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match enter_workspace().and_then(|()| dispatch(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => {
            eprintln!("error: {why}\n\n{}", help());
            ExitCode::from(2)
        }
        Err(Failure::Failed(why)) => {
            eprintln!("error: {why}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = args.split_first() else {
        return Err(Failure::Usage("no command given".into()));
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        println!("{}", help());
        return Ok(());
    }
    match COMMANDS.iter().find(|command| command.name == name) {
        Some(command) => (command.run)(rest),
        None => Err(Failure::Usage(nearest::unknown("command", name, COMMANDS.iter().map(|c| c.name)))),
    }
}

/// Every command names files relative to the workspace, wherever it was called from.
fn enter_workspace() -> Result<(), Failure> {
    // Cargo sets the variable at run time; the compiled-in path is for a binary that was started by hand.
    let own = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
    let root = own.parent().map_or_else(|| PathBuf::from("."), PathBuf::from);
    std::env::set_current_dir(&root).map_err(|error| {
        Failure::Failed(format!("cannot enter the workspace at {}: {error}", root.display()))
    })
}

fn no_args(command: &str, args: &[String]) -> Result<(), Failure> {
    match args.first() {
        None => Ok(()),
        Some(arg) => Err(Failure::Usage(format!("`{command}` takes no arguments, but was given `{arg}`"))),
    }
}

fn help() -> String {
    let mut text = String::from("Usage: cargo xtask COMMAND\n\nCommands:\n");
    for command in COMMANDS {
        text.push_str(&format!("  {:<24}{}\n", command.usage, command.about));
    }
    text.push_str(&format!("  {:<24}{}\n", "help", "print this"));
    text.push_str("\nSoak tests:\n");
    text.push_str(&soak::list());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn the_help_has_a_line_for_every_command() {
        let help = help();
        for command in COMMANDS {
            assert!(help.contains(command.usage) && help.contains(command.about), "{}", command.name);
        }
    }

    #[test]
    fn an_unknown_command_names_the_nearest() {
        let Err(Failure::Usage(why)) = dispatch(&words("tset")) else { panic!("must be a usage error") };
        assert!(why.contains("`tset`") && why.contains("did you mean `test`?"), "{why}");
    }

    #[test]
    fn a_command_without_arguments_refuses_one() {
        assert!(matches!(dispatch(&words("tidy --fix")), Err(Failure::Usage(_))));
        assert!(matches!(dispatch(&[]), Err(Failure::Usage(_))));
    }
}
