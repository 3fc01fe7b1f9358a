//! The one file that names concrete back ends.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use grantry_protocol::Clock;
use grantry_store::{MemoryStore, Store};
use grantry_store_sqlite::{SchemaVersions, SqliteOptions, SqliteStore};

use crate::config::Config;
use crate::failure::Failure;

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
