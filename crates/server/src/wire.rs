//! The one file that names concrete back ends.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grantry_protocol::{Clock, Timestamp};
use grantry_store::{MemoryStore, Store};
pub use grantry_store_sqlite::Progress as Copied;
use grantry_store_sqlite::{BackupError, SchemaVersions, SqliteOptions, SqliteStore};

use crate::config::Config;
use crate::failure::Failure;
use crate::private_file::directory_of;

/// Where a store is, from its URL; the URL has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Memory,
    Sqlite(PathBuf),
}

impl Place {
    pub fn of(config: &Config) -> Self {
        match config.store.url.strip_prefix("sqlite:") {
            Some(path) => Self::Sqlite(PathBuf::from(path)),
            None => Self::Memory,
        }
    }

    pub fn file(&self) -> Option<&Path> {
        match self {
            Self::Memory => None,
            Self::Sqlite(path) => Some(path),
        }
    }
}

/// Opens the store, brings its schema up to date, and makes it where it is missing.
pub async fn open(config: &Config, clock: Arc<dyn Clock>) -> Result<Arc<dyn Store>, Failure> {
    let path = match Place::of(config) {
        Place::Memory => return Ok(Arc::new(MemoryStore::new(clock))),
        Place::Sqlite(path) => path,
    };
    let options =
        SqliteOptions { busy_timeout: config.store.busy_timeout.as_duration(), ..SqliteOptions::default() };
    let store = blocking(move || SqliteStore::open(path, options, clock)).await?;
    Ok(Arc::new(store))
}

/// Found and needed version of the schema; `None` where there is no schema.
pub async fn schema_versions(config: &Config) -> Result<Option<(usize, usize)>, Failure> {
    let Place::Sqlite(path) = Place::of(config) else { return Ok(None) };
    let SchemaVersions { found, needed } = blocking(|| SqliteStore::schema_versions(path)).await?;
    Ok(Some((found, needed)))
}

/// Where the store is, for work that needs a file.
pub fn store_path(config: &Config) -> Result<PathBuf, Failure> {
    let place = Place::of(config);
    place.file().map(Path::to_owned).ok_or_else(|| {
        Failure::new(
            "store.url is memory:, and such a store exists only inside the running server and goes with it; backups \
             are for sqlite:",
        )
    })
}

/// The store's file, which a server has made before.
pub fn store_file(config: &Config) -> Result<PathBuf, Failure> {
    let path = store_path(config)?;
    if path.exists() {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "there is no store {} (store.url) here; run this where its files are",
        path.display()
    )))
}

/// Copies a store while servers run on it; answers how many pages it has.
pub async fn backup(
    source: PathBuf,
    target: PathBuf,
    progress: impl FnMut(Copied) + Send + 'static,
) -> Result<u64, Failure> {
    blocking(move || {
        let mut counted = Counted::new(progress);
        SqliteStore::backup(&source, &target, |copied| counted.report(copied))?;
        Ok::<_, BackupError>(counted.pages)
    })
    .await
}

/// Puts a backup in the place of the store; answers how many pages it has.
pub async fn restore(
    backup: PathBuf,
    target: PathBuf,
    keep_until: Timestamp,
    clock: Arc<dyn Clock>,
    progress: impl FnMut(Copied) + Send + 'static,
) -> Result<u64, Failure> {
    blocking(move || {
        let mut counted = Counted::new(progress);
        SqliteStore::restore(&backup, &target, keep_until, clock.as_ref(), |copied| counted.report(copied))?;
        // Each is copied to the side first.
        Ok::<_, BackupError>(counted.pages / 2)
    })
    .await
}

/// Remembers how much there was.
struct Counted<P> {
    progress: P,
    pages: u64,
}

impl<P: FnMut(Copied)> Counted<P> {
    fn new(progress: P) -> Self {
        Self { progress, pages: 0 }
    }

    fn report(&mut self, copied: Copied) {
        self.pages = copied.pages_total;
        (self.progress)(copied);
    }
}

/// A copy of a backup that can be opened as a store, which would change the backup itself. It is gone when this is
/// dropped.
pub struct OpenCopy {
    // In this order: the directory goes when nobody has a file in it open any more.
    store: SqliteStore,
    _directory: Scratch,
}

impl OpenCopy {
    pub fn store(&self) -> &dyn Store {
        &self.store
    }
}

/// Copied beside `near`, where there must be room for it anyway.
pub async fn open_copy(backup: &Path, near: &Path, clock: Arc<dyn Clock>) -> Result<OpenCopy, Failure> {
    let directory = Scratch::make(&directory_of(near))?;
    let (backup, copy) = (backup.to_owned(), directory.0.join("copy.db"));
    let path = copy.clone();
    blocking(move || SqliteStore::backup(&backup, &path, |_| {})).await?;
    let store = blocking(move || SqliteStore::open(copy, SqliteOptions::default(), clock)).await?;
    Ok(OpenCopy { store, _directory: directory })
}

/// A directory that nobody else can look into.
struct Scratch(PathBuf);

impl Scratch {
    fn make(parent: &Path) -> Result<Self, Failure> {
        let path = parent.join(format!(".grantry-{}", std::process::id()));
        // One of a process that had this id and was killed here.
        let _ = fs::remove_dir_all(&path);
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&path);
        made.map_err(|error| Failure::of_file(&path, "made", &error))?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Opening a file may wait for another process.
async fn blocking<T, E, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    E: std::error::Error + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await;
    let done =
        done.map_err(|_| Failure::new("opening the store failed in an unforeseen way; please report it"))?;
    done.map_err(|error| Failure::new(error.to_string()))
}
