//! Opening the store: what may be wrong with the file is found here, before anybody is answered.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grantry_protocol::Clock;
use grantry_store::Bell;
use rusqlite::{Connection, OpenFlags};

use crate::SqliteStore;
use crate::metrics::Metrics;
use crate::open_error::OpenError;
use crate::options::SqliteOptions;
use crate::patience::Patience;
use crate::readers::Readers;
use crate::schema::{self, SchemaVersions, failed};
use crate::turnstile::Turnstile;
use crate::wal::WalBound;
use crate::writer::{WriteConnection, Writer};

const WRITE_CACHE_KIB: u32 = 64 * 1024;
/// A reader's cache does not outlive the next commit of the writer: a large one would be filled for nothing.
const READ_CACHE_KIB: u32 = 16 * 1024;

impl SqliteStore {
    /// Opens the file, makes it and its directory where they are missing, and brings its schema up to date. Blocks.
    pub fn open(
        path: impl AsRef<Path>,
        options: SqliteOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let path = prepare_file(path.as_ref())?;
        let turnstile = open_turnstile(&path)?;
        let connection = open_writing(&path, &turnstile, &options)?;
        let reading = (0..options.reader_threads.max(1))
            .map(|_| open_reading(&path, &options))
            .collect::<Result<_, _>>()?;

        let metrics = Metrics::new();
        let wal = WalBound::new(&connection, options.wal_pages, metrics.wal_pages.clone());
        let readers = Readers::start(reading, &options, &metrics).map_err(OpenError::Thread)?;
        let bell = Bell::default();
        let connection = WriteConnection {
            connection,
            turnstile,
            clock: Arc::clone(&clock),
            bell: bell.clone(),
            wal,
            metrics,
        };
        let writer = Writer::start(connection, &options).map_err(OpenError::Thread)?;
        Ok(Self { readers, writer, clock, bell })
    }

    /// Which schema the file has, and which one it would have once it is opened. Changes neither.
    pub fn schema_versions(path: impl AsRef<Path>) -> Result<SchemaVersions, OpenError> {
        let path = path.as_ref();
        match fs::metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(SchemaVersions::needed_only()),
            Err(source) => return Err(OpenError::NotWritable { path: path.to_owned(), source }),
            Ok(metadata) if metadata.is_dir() => {
                return Err(OpenError::IsADirectory { path: path.to_owned() });
            }
            Ok(_) => {}
        }
        let connection = connect(path, &SqliteOptions::default()).map_err(|error| failed(error, path))?;
        schema::versions(&connection, path)
    }
}

/// The absolute path of a file that exists and can be written.
pub fn prepare_file(path: &Path) -> Result<PathBuf, OpenError> {
    if let Some(directory) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| OpenError::Directory { path: directory.to_owned(), source })?;
    }
    // SQLite gives its other files the permissions of this one.
    let opened =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
    opened.and_then(|_| fs::canonicalize(path)).map_err(|source| match source.kind() {
        io::ErrorKind::IsADirectory => OpenError::IsADirectory { path: path.to_owned() },
        _ => OpenError::NotWritable { path: path.to_owned(), source },
    })
}

pub fn open_turnstile(path: &Path) -> Result<Turnstile, OpenError> {
    let refused = |source| OpenError::NotWritable { path: Turnstile::path_beside(path), source };
    Turnstile::open(path).map_err(refused)
}

/// The connection that writes, with the write-ahead log on and the schema up to date.
pub fn open_writing(
    path: &Path,
    turnstile: &Turnstile,
    options: &SqliteOptions,
) -> Result<Connection, OpenError> {
    let not_opened = |source| OpenError::Store { path: path.to_owned(), source };
    let _passage = turnstile.enter(&mut Patience::lasting(options.busy_timeout)).map_err(not_opened)?;
    let mut connection = connect(path, options).map_err(|error| failed(error, path))?;
    schema::versions(&connection, path)?;
    switch_to_wal(&connection, path)?;
    schema::migrate(&mut connection, path)?;
    configure_writing(&connection, options).map_err(|error| failed(error, path))?;
    Ok(connection)
}

fn open_reading(path: &Path, options: &SqliteOptions) -> Result<Connection, OpenError> {
    let configured = connect(path, options).and_then(|connection| {
        connection.pragma_update(None, "cache_size", -i64::from(READ_CACHE_KIB))?;
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    });
    configured.map_err(|error| failed(error, path))
}

/// The path is taken literally: no URI, and no new file should it vanish meanwhile.
pub fn connect(path: &Path, options: &SqliteOptions) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(options.busy_timeout)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn switch_to_wal(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    let mode: String = connection
        .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))
        .map_err(|error| failed(error, path))?;
    if mode == "wal" { Ok(()) } else { Err(OpenError::NoWal { path: path.to_owned(), mode }) }
}

fn configure_writing(connection: &Connection, options: &SqliteOptions) -> rusqlite::Result<()> {
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "cache_size", -i64::from(WRITE_CACHE_KIB))?;
    if let Some(pages) = options.max_pages {
        connection.pragma_update(None, "max_page_count", pages)?;
    }
    // From here on the writer itself waits for the lock, in smaller steps than SQLite does.
    connection.busy_timeout(std::time::Duration::ZERO)
}
