use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{ManualClock, Timestamp};
use grantry_store::conformance::Harness;
use grantry_store_sqlite::{OpenError, SqliteOptions, SqliteStore};
use tempfile::TempDir;

/// A path in a directory of its own.
pub struct Scratch {
    pub path: PathBuf,
    directory: TempDir,
}

impl Scratch {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { path: directory.path().join("grantry.db"), directory }
    }

    /// A store at the path, alone or as one of several.
    pub fn open(&self) -> SqliteStore {
        self.try_open().unwrap_or_else(|error| panic!("{error}"))
    }

    pub fn try_open(&self) -> Result<SqliteStore, OpenError> {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)));
        SqliteStore::open(&self.path, patient(), clock)
    }

    /// What is wrong with the path, for a person.
    pub fn complaint(&self) -> String {
        self.try_open().err().expect("the store opened").to_string()
    }

    pub fn harness(self) -> Harness {
        self.harness_with(patient())
    }

    pub fn harness_with(self, options: SqliteOptions) -> Harness {
        let harness = Harness::new(|clock| Arc::new(SqliteStore::open(&self.path, options, clock).unwrap()));
        harness.keeping(self.directory)
    }
}

/// For what must not fail for want of a lock, however slow the disk.
pub fn patient() -> SqliteOptions {
    SqliteOptions { busy_timeout: Duration::from_secs(120), ..SqliteOptions::default() }
}

/// For what must fail for want of a lock: soon.
pub fn impatient() -> SqliteOptions {
    SqliteOptions { busy_timeout: Duration::from_millis(30), ..SqliteOptions::default() }
}
