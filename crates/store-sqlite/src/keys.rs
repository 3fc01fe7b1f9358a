use async_trait::async_trait;
use grantry_protocol::Timestamp;
use grantry_store::{KeyChange, KeyPurpose, KeyRecord, Keys, Result};
use rusqlite::{Connection, Row, params};

use crate::SqliteStore;
use crate::audit::audit_insert;
use crate::columns::{optional_timestamp, timestamp};
use crate::errors::unreadable;

#[async_trait]
impl Keys for SqliteStore {
    async fn key_list(&self) -> Result<Vec<KeyRecord>> {
        self.readers.run(|snapshot| keys_select(snapshot)).await
    }

    async fn key_replace(&self, change: KeyChange) -> Result<bool> {
        self.writer.run(move |tx| replace(tx, &change)).await
    }
}

/// The write lock is held: whoever comes second compares with what the first one wrote.
fn replace(connection: &Connection, change: &KeyChange) -> rusqlite::Result<bool> {
    if keys_select(connection)? != change.from {
        return Ok(false);
    }
    keys_delete(connection)?;
    change.to.iter().try_for_each(|key| key_insert(connection, key))?;
    if let Some(audit) = &change.audit {
        audit_insert(connection, audit)?;
    }
    Ok(true)
}

/// Where `into` is an older state of the same deployment's keys, it gets what became of them since: none that was made
/// is lost, and none that was revoked comes back.
pub fn keys_carry_over(from: &Connection, into: &Connection) -> rusqlite::Result<()> {
    let (mut present, older) = (keys_select(from)?, keys_select(into)?);
    let same_key = |key: &KeyRecord, other: &KeyRecord| {
        (key.purpose, key.version, key.created_at) == (other.purpose, other.version, other.created_at)
    };
    let name_of_another = |key: &KeyRecord, other: &KeyRecord| {
        (key.purpose, key.version) == (other.purpose, other.version) && !same_key(key, other)
    };
    let any = |pair: &dyn Fn(&KeyRecord, &KeyRecord) -> bool| {
        present.iter().any(|key| older.iter().any(|other| pair(key, other)))
    };
    if !any(&same_key) || any(&name_of_another) {
        return Ok(());
    }
    let gone = older.into_iter().filter(|key| !present.iter().any(|other| same_key(key, other)));
    let gone: Vec<KeyRecord> = gone.collect();
    present.extend(gone);
    keys_delete(into)?;
    present.iter().try_for_each(|key| key_insert(into, key))
}

const KEYS_SELECT: &str = "
    SELECT purpose, version, sealed, created_at, active_from, needed_until, revoked_at
    FROM keys ORDER BY purpose, version";

fn keys_select(connection: &Connection) -> rusqlite::Result<Vec<KeyRecord>> {
    let mut statement = connection.prepare_cached(KEYS_SELECT)?;
    statement.query_map([], key_record)?.collect()
}

fn key_record(row: &Row<'_>) -> rusqlite::Result<KeyRecord> {
    let purpose: String = row.get(0)?;
    Ok(KeyRecord {
        purpose: KeyPurpose::from_name(&purpose)
            .ok_or_else(|| unreadable(0, "a purpose that is not known"))?,
        version: row.get(1)?,
        sealed: row.get(2)?,
        created_at: timestamp(row, 3)?,
        active_from: timestamp(row, 4)?,
        needed_until: optional_timestamp(row, 5)?,
        revoked_at: optional_timestamp(row, 6)?,
    })
}

const KEYS_DELETE: &str = "DELETE FROM keys";

fn keys_delete(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached(KEYS_DELETE)?.execute([])?;
    Ok(())
}

const KEY_INSERT: &str = "
    INSERT INTO keys (purpose, version, sealed, created_at, active_from, needed_until, revoked_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

fn key_insert(connection: &Connection, key: &KeyRecord) -> rusqlite::Result<()> {
    connection.prepare_cached(KEY_INSERT)?.execute(params![
        key.purpose.as_str(),
        key.version,
        key.sealed,
        key.created_at.as_millis(),
        key.active_from.as_millis(),
        key.needed_until.map(Timestamp::as_millis),
        key.revoked_at.map(Timestamp::as_millis),
    ])?;
    Ok(())
}
