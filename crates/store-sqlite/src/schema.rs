use std::path::Path;

use rusqlite::Connection;
use rusqlite_migration::{M, Migrations, SchemaVersion};

use crate::errors::classify;
use crate::open_error::OpenError;

/// Each is applied once, in a transaction of its own; never changed after a release.
const STEPS: &[M<'static>] = &[
    M::up(include_str!("migrations/0001_initial.sql")),
    M::up(include_str!("migrations/0002_grants.sql")),
    M::up(include_str!("migrations/0003_deferred.sql")),
    M::up(include_str!("migrations/0004_applied.sql")),
    M::up(include_str!("migrations/0005_settings.sql")),
    M::up(include_str!("migrations/0006_status_lists.sql")),
];

/// Set by the first migration.
const APPLICATION_ID: i32 = i32::from_be_bytes(*b"GrNt");

/// The schema that a file has, and the one that this version of grantry works with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaVersions {
    /// 0 for a new file.
    pub found: usize,
    pub needed: usize,
}

impl SchemaVersions {
    pub const fn needed_only() -> Self {
        Self { found: 0, needed: STEPS.len() }
    }

    /// Whether opening the store will change the schema.
    pub const fn is_behind(&self) -> bool {
        self.found < self.needed
    }
}

/// Refuses what is not ours to migrate.
pub fn versions(connection: &Connection, path: &Path) -> Result<SchemaVersions, OpenError> {
    let found =
        Migrations::from_slice(STEPS).current_version(connection).map_err(|error| unlike(error, path))?;
    let versions = match found {
        SchemaVersion::NoneSet => SchemaVersions::needed_only(),
        SchemaVersion::Inside(found) => SchemaVersions { found: found.get(), needed: STEPS.len() },
        SchemaVersion::Outside(found) => SchemaVersions { found: found.get(), needed: STEPS.len() },
    };
    refuse_another_program(connection, versions, path)?;
    if versions.found > versions.needed {
        let SchemaVersions { found, needed: known } = versions;
        return Err(OpenError::NewerSchema { path: path.to_owned(), found, known });
    }
    Ok(versions)
}

/// Two processes that start at once both call this inside the turnstile; the second finds nothing left to do.
pub fn migrate(connection: &mut Connection, path: &Path) -> Result<(), OpenError> {
    versions(connection, path)?;
    Migrations::from_slice(STEPS).to_latest(connection).map_err(|error| unlike(error, path))
}

fn refuse_another_program(
    connection: &Connection,
    versions: SchemaVersions,
    path: &Path,
) -> Result<(), OpenError> {
    let number =
        |sql| connection.query_row(sql, [], |row| row.get::<_, i32>(0)).map_err(|error| failed(error, path));
    let application = number("SELECT application_id FROM pragma_application_id")?;
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    let is_new = application == 0 && tables == 0 && versions.found == 0;
    if application == APPLICATION_ID || is_new {
        return Ok(());
    }
    Err(OpenError::AnotherProgram { path: path.to_owned() })
}

/// What went wrong at the level of SQLite, with the path to it.
pub fn failed(error: rusqlite::Error, path: &Path) -> OpenError {
    let path = path.to_owned();
    if crate::errors::is_damaged(&error) {
        return OpenError::NotADatabase { path };
    }
    OpenError::Store { path, source: classify(error) }
}

fn unlike(error: rusqlite_migration::Error, path: &Path) -> OpenError {
    match error {
        rusqlite_migration::Error::RusqliteError { err, .. } => failed(err, path),
        rusqlite_migration::Error::InvalidUserVersion => OpenError::AnotherProgram { path: path.to_owned() },
        other => failed(crate::errors::unwritable(other), path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_migrations_apply() {
        Migrations::from_slice(STEPS).validate().unwrap();
    }
}
