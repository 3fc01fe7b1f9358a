use std::collections::BTreeMap;
use std::ffi::OsString;

use super::Problem;

/// The variables that are ours: those whose names begin with `GRANTRY_`. Some hold secrets, so there is no `Debug`.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, String>);

pub const PREFIX: &str = "GRANTRY_";

/// Variables that are not the name of a key.
const SPECIAL: &[&str] = &[
    "GRANTRY_MASTER_KEY",
    "GRANTRY_NEW_MASTER_KEY",
    "GRANTRY_BOOTSTRAP_CLIENT_ID",
    "GRANTRY_BOOTSTRAP_CLIENT_SECRET",
    "GRANTRY_BOOTSTRAP_CLIENT_SECRET_FILE",
    "GRANTRY_CLIENT_ID",
    "GRANTRY_CLIENT_SECRET",
    "GRANTRY_CLIENT_SECRET_FILE",
    "GRANTRY_CONFIG",
    "GRANTRY_LOG",
];

/// Whose keys are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Server,
    Gateway,
}

/// With one underscore, so that a missing second one is found.
const GATEWAY: &str = "GRANTRY_GATEWAY_";

/// Prefixes of the variables of our other programs.
const FOREIGN: &[&str] = &["GRANTRY_BENCH_", "GRANTRY_SOAK_", GATEWAY];

/// Names that suggest themselves, and what they are really called.
const MISTAKEN: &[(&str, &str)] = &[("GRANTRY_MASTER_KEY_FILE", "GRANTRY_KEYS__MASTER_KEY_FILE")];

impl Environment {
    /// # Errors
    /// A value that is not UTF-8.
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Self, Vec<Problem>> {
        let mut ours = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
            match value.into_string() {
                Ok(value) => drop(ours.insert(name.to_owned(), value)),
                Err(_) => problems.push(Problem::at(name, "the value is not UTF-8")),
            }
        }
        if problems.is_empty() { Ok(Self(ours)) } else { Err(problems) }
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Names that are neither special nor for another of our programs: they have to be names of keys.
    pub fn key_names(&self, program: Program) -> impl Iterator<Item = &str> {
        let is_own = move |name: &str| match program {
            Program::Server => !FOREIGN.iter().any(|prefix| name.starts_with(prefix)),
            // It may share a machine, and an environment, with a server.
            Program::Gateway => name.starts_with(GATEWAY),
        };
        self.0.keys().map(String::as_str).filter(move |name| !SPECIAL.contains(name) && is_own(name))
    }
}

pub fn special_names() -> &'static [&'static str] {
    SPECIAL
}

pub fn really_called(name: &str) -> Option<&'static str> {
    MISTAKEN.iter().find(|(wrong, _)| *wrong == name).map(|(_, right)| *right)
}
