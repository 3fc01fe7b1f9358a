//! A copy of a store while servers run on it.
//!
//! 1. Begin a read transaction, so that every page is of one moment; writers go on, and none of them makes the copy
//!    start over. The write-ahead log cannot be folded in completely for as long as it takes.
//! 2. Copy all pages to a file with a name of its own.
//! 3. Make a plain file of it, and look whether it is sound: a backup that nobody has read is a hope.
//! 4. Sync it and give it its name. What is under that name is a whole backup.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::backup_error::{BackupError, failed};
use crate::copy::{Partial, Progress, copy, finish, refuse_existing};
use crate::open::connect;
use crate::options::SqliteOptions;
use crate::patience::Patience;
use crate::{SqliteStore, schema};

/// How long a lock of another program is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

impl SqliteStore {
    /// Copies the store at `source`, with whatever schema it has, to `target`, which must not exist; only its owner can
    /// read it. Blocks.
    pub fn backup(source: &Path, target: &Path, progress: impl FnMut(Progress)) -> Result<(), BackupError> {
        if refuse_existing(target).is_err() {
            return Err(BackupError::TargetExists { path: target.to_owned() });
        }
        // 1.
        let connection = open_store(source)?;
        let snapshot = begin(&connection).map_err(|error| failed(error, source))?;
        // 2.
        let partial = Partial::beside(target)?;
        let mut file = partial.connect()?;
        copy(&snapshot, &mut file, &mut Patience::lasting(PATIENCE), progress)
            .map_err(|error| BackupError::Store { path: target.to_owned(), source: error })?;
        drop(snapshot);
        // 3.
        finish(&file, source)?;
        drop(file);
        // 4.
        partial.persist(target)
    }
}

/// A connection to what is a store of Grantry and not too new; it never writes.
pub fn open_store(path: &Path) -> Result<Connection, BackupError> {
    let connected = connect(path, &SqliteOptions::default()).and_then(|connection| {
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    });
    let connection = connected.map_err(|error| schema::failed(error, path))?;
    match schema::versions(&connection, path)?.found {
        0 => Err(BackupError::NoStore { path: path.to_owned() }),
        _ => Ok(connection),
    }
}

/// The snapshot is taken by the first read.
pub fn begin(connection: &Connection) -> rusqlite::Result<Transaction<'_>> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(transaction)
}
