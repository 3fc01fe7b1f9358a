use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use grantry_protocol::Timestamp;
use grantry_store::{KeyChange, KeyPurpose, KeyRecord, Keys, Result};
use serde::{Deserialize, Serialize};

use crate::RedisStore;
use crate::errors::{Cause, Error};
use crate::rows::{RowResult, Rows};

#[derive(Serialize, Deserialize)]
struct KeyRow {
    purpose: String,
    version: u8,
    sealed: String,
    created_at: Timestamp,
    active_from: Timestamp,
    needed_until: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
}

#[async_trait]
impl Keys for RedisStore {
    async fn key_list(&self) -> Result<Vec<KeyRecord>> {
        self.look(Rows::key_records).await
    }

    async fn key_replace(&self, change: KeyChange) -> Result<bool> {
        self.transact(|rows| {
            if rows.key_records()? != change.from {
                return Ok(false);
            }
            let mut rows_of_keys: Vec<KeyRow> = change.to.iter().map(row).collect();
            rows_of_keys
                .sort_by(|one, other| (&one.purpose, one.version).cmp(&(&other.purpose, other.version)));
            rows.put(rows.names.keys(), &rows_of_keys, None)?;
            if let Some(audit) = &change.audit {
                rows.audit_row(audit)?;
            }
            Ok(true)
        })
        .await
    }
}

impl Rows {
    fn key_records(&mut self) -> RowResult<Vec<KeyRecord>> {
        let rows: Vec<KeyRow> = self.get(self.names.keys())?.unwrap_or_default();
        Ok(rows.iter().map(record).collect::<std::result::Result<_, _>>()?)
    }
}

fn row(key: &KeyRecord) -> KeyRow {
    KeyRow {
        purpose: key.purpose.as_str().to_owned(),
        version: key.version,
        sealed: STANDARD.encode(&key.sealed),
        created_at: key.created_at,
        active_from: key.active_from,
        needed_until: key.needed_until,
        revoked_at: key.revoked_at,
    }
}

fn record(row: &KeyRow) -> std::result::Result<KeyRecord, Error> {
    let unreadable = || Error::new(Cause::Corrupt, "a key in Redis cannot be read");
    Ok(KeyRecord {
        purpose: KeyPurpose::from_name(&row.purpose).ok_or_else(unreadable)?,
        version: row.version,
        sealed: STANDARD.decode(&row.sealed).map_err(|_| unreadable())?,
        created_at: row.created_at,
        active_from: row.active_from,
        needed_until: row.needed_until,
        revoked_at: row.revoked_at,
    })
}
