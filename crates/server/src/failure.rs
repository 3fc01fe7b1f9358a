use std::fmt;
use std::path::Path;

use grantry_grants::{ClientAdminError, GrantError, KeyAdminError, KeyRingError, SettingsAdminError};
use grantry_persistence::journal::JournalOpenError;
use grantry_persistence::{PersistenceError, QueueError};
use grantry_store::StoreError;

use crate::config::Problems;

/// Why the program ends: a sentence for the person at the terminal, with what to do about it.
#[derive(Debug)]
pub struct Failure(String);

impl Failure {
    pub fn new(sentence: impl Into<String>) -> Self {
        Self(sentence.into())
    }

    /// A file or directory that cannot be used; `verb` as in "cannot be read".
    pub fn of_file(path: &Path, verb: &str, error: &std::io::Error) -> Self {
        Self(format!("{} cannot be {verb}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

macro_rules! failure_from {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self(error.to_string())
            }
        })*
    };
}

failure_from!(
    Problems,
    StoreError,
    KeyRingError,
    SettingsAdminError,
    ClientAdminError,
    KeyAdminError,
    GrantError,
    JournalOpenError,
    QueueError,
    PersistenceError,
);
