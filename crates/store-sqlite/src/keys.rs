use async_trait::async_trait;
use grantry_store::{KeyPurpose, KeyRecord, Keys, Result};
use rusqlite::{Connection, Row, params};

use crate::SqliteStore;
use crate::columns::timestamp;
use crate::errors::unreadable;

#[async_trait]
impl Keys for SqliteStore {
    async fn key_list(&self) -> Result<Vec<KeyRecord>> {
        self.readers.run(|snapshot| keys_select(snapshot)).await
    }

    async fn key_insert_first(&self, keys: Vec<KeyRecord>) -> Result<bool> {
        // The write lock is held: of two processes the second finds the first one's keys.
        let insert = move |tx: &Connection| {
            if keys_exist(tx)? {
                return Ok(false);
            }
            keys.iter().try_for_each(|key| key_insert(tx, key))?;
            Ok(true)
        };
        self.writer.run(move |tx| insert(tx)).await
    }
}

const KEYS_SELECT: &str = "SELECT purpose, version, sealed, created_at FROM keys ORDER BY purpose, version";

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
    })
}

const KEYS_EXIST: &str = "SELECT 1 FROM keys LIMIT 1";

fn keys_exist(connection: &Connection) -> rusqlite::Result<bool> {
    connection.prepare_cached(KEYS_EXIST)?.exists([])
}

const KEY_INSERT: &str = "INSERT INTO keys (purpose, version, sealed, created_at) VALUES (?1, ?2, ?3, ?4)";

fn key_insert(connection: &Connection, key: &KeyRecord) -> rusqlite::Result<()> {
    let row = params![key.purpose.as_str(), key.version, key.sealed, key.created_at.as_millis()];
    connection.prepare_cached(KEY_INSERT)?.execute(row)?;
    Ok(())
}
