use std::path::PathBuf;
use std::sync::Arc;

use grantry_protocol::{ManualClock, Timestamp};
use tempfile::TempDir;

use crate::{SqliteOptions, SqliteStore};

/// A store in a directory of its own.
pub struct Scratch {
    pub store: Arc<SqliteStore>,
    pub path: PathBuf,
    pub directory: TempDir,
}

impl Scratch {
    pub fn new(options: SqliteOptions) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("grantry.db");
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
        let store = Arc::new(SqliteStore::open(&path, options, clock).unwrap());
        Self { store, path, directory }
    }
}
