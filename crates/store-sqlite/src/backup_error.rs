use std::io;
use std::path::{Path, PathBuf};

use grantry_store::StoreError;

use crate::errors::{classify, is_damaged};
use crate::open_error::OpenError;

/// Why a backup was not made, or not restored, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Open(#[from] OpenError),

    #[error("{} exists; a backup never overwrites anything: name another file", path.display())]
    TargetExists { path: PathBuf },

    #[error("{} is empty: there is no store in it", path.display())]
    NoStore { path: PathBuf },

    #[error("{} is damaged ({finding}); use another backup", path.display())]
    Damaged { path: PathBuf, finding: String },

    #[error("{} cannot be written: {source}; its directory must exist and have room for the whole store", path.display())]
    File { path: PathBuf, source: io::Error },

    #[error("{}: {source}", path.display())]
    Store { path: PathBuf, source: StoreError },
}

/// What went wrong at the level of SQLite, with the path to it.
pub fn failed(error: rusqlite::Error, path: &Path) -> BackupError {
    let path = path.to_owned();
    if is_damaged(&error) {
        return BackupError::Damaged { path, finding: error.to_string() };
    }
    BackupError::Store { path, source: classify(error) }
}
