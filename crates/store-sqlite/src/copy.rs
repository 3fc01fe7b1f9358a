//! Copying a whole store, page by page, and the file that a copy is made in.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process;

use grantry_store::{Outage, StoreError};
use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::backup_error::{BackupError, failed};
use crate::errors::classify;
use crate::open::connect;
use crate::options::SqliteOptions;
use crate::patience::Patience;

/// Between two reports, in all 4 MiB.
const PAGES_PER_STEP: i32 = 1024;

/// How far a backup or a restore is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub pages_done: u64,
    pub pages_total: u64,
}

/// Replaces all of `to` by what `from` holds, in one commit; whatever fails leaves `to` as it was. `from` should be in
/// a transaction: otherwise each write to it makes the copy start over.
pub fn copy(
    from: &Connection,
    to: &mut Connection,
    patience: &mut Patience,
    mut progress: impl FnMut(Progress),
) -> Result<(), StoreError> {
    let backup = Backup::new(from, to).map_err(classify)?;
    loop {
        let step = backup.step(PAGES_PER_STEP).map_err(classify)?;
        let state = backup.progress();
        let (total, remaining) = (state.pagecount.unsigned_abs(), state.remaining.unsigned_abs());
        let report = Progress { pages_done: u64::from(total - remaining), pages_total: u64::from(total) };
        match step {
            StepResult::Done => {
                progress(report);
                return Ok(());
            }
            StepResult::More => progress(report),
            // Another program holds the lock.
            _ if patience.wait() => {}
            _ => return Err(StoreError::unavailable(Outage::Busy, "the database is locked")),
        }
    }
}

/// A file that is being written. It is gone when this is dropped, unless it was given its name before.
pub struct Partial {
    pub path: PathBuf,
}

impl Partial {
    /// An empty file that only its owner can read, in the directory of `path`.
    pub fn beside(path: &Path) -> Result<Self, BackupError> {
        for number in 0_u32.. {
            let partial = with_suffix(path, &format!("-partial-{}-{number}", process::id()));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial) {
                Ok(_) => return Ok(Self { path: partial }),
                // Of another copy that is being made, or of one that was killed in a process of the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(BackupError::File { path: partial, source }),
            }
        }
        Err(BackupError::TargetExists { path: path.to_owned() })
    }

    /// A connection to it. Nothing is synced on the way, since a copy that was interrupted is thrown away.
    pub fn connect(&self) -> Result<Connection, BackupError> {
        let connected = connect(&self.path, &SqliteOptions::default()).and_then(|connection| {
            connection.pragma_update(None, "synchronous", "off")?;
            Ok(connection)
        });
        connected.map_err(|error| failed(error, &self.path))
    }

    /// Gives it its name, where it is there for good.
    pub fn persist(self, path: &Path) -> Result<(), BackupError> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let persisted = File::open(&self.path)
            .and_then(|file| file.sync_all())
            .and_then(|()| refuse_existing(path))
            .and_then(|()| fs::rename(&self.path, path))
            .and_then(|()| File::open(directory.unwrap_or(Path::new(".")))?.sync_all());
        persisted.map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => BackupError::TargetExists { path: path.to_owned() },
            _ => BackupError::File { path: path.to_owned(), source },
        })
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        for suffix in ["", "-journal", "-wal", "-shm"] {
            // Most of them do not exist.
            let _ = fs::remove_file(with_suffix(&self.path, suffix));
        }
    }
}

pub fn refuse_existing(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = OsString::from(path);
    path.push(suffix);
    path.into()
}

/// Turns a fresh copy of a store into a file that is complete without others beside it, and looks at all of it.
/// `origin` is what to name if it is damaged.
pub fn finish(copy: &Connection, origin: &Path) -> Result<(), BackupError> {
    let finding = copy
        .pragma_update_and_check(None, "journal_mode", "delete", |_| Ok(()))
        .and_then(|()| copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get::<_, String>(0)))
        .map_err(|error| failed(error, origin))?;
    if finding == "ok" {
        return Ok(());
    }
    Err(BackupError::Damaged { path: origin.to_owned(), finding })
}
