use async_trait::async_trait;
use grantry_protocol::LogKind;
use grantry_store::{ClusterId, Observed, Result, Settings, SettingsChange, SettingsOutcome, StoredSettings};
use rusqlite::{Connection, params};

use crate::SqliteStore;
use crate::audit::audit_insert;
use crate::columns::{from_json, saturating, timestamp, to_json};
use crate::writer::WriteTx;

#[async_trait]
impl Settings for SqliteStore {
    async fn cluster_id(&self) -> Result<ClusterId> {
        self.readers.run(|snapshot| cluster_select(snapshot)).await
    }

    async fn settings_find(&self) -> Result<Observed<Option<StoredSettings>>> {
        self.readers
            .run(|snapshot| {
                Ok(Observed { seen: snapshot.log_head()?.seen(), value: settings_select(snapshot)? })
            })
            .await
    }

    async fn settings_replace(&self, change: SettingsChange) -> Result<SettingsOutcome> {
        self.writer.run(move |tx| replace(tx, &change)).await
    }
}

fn replace(tx: &mut WriteTx<'_>, change: &SettingsChange) -> rusqlite::Result<SettingsOutcome> {
    if !settings_update(tx, change)? {
        return Ok(SettingsOutcome::VersionConflict);
    }
    tx.announce(LogKind::SettingsChanged, &[], change.keep_until)?;
    audit_insert(tx, &change.audit)?;
    Ok(SettingsOutcome::Done)
}

const CLUSTER_SELECT: &str = "SELECT id FROM cluster WHERE one = 1";

fn cluster_select(connection: &Connection) -> rusqlite::Result<ClusterId> {
    connection.prepare_cached(CLUSTER_SELECT)?.query_row([], |row| row.get(0).map(ClusterId))
}

const SETTINGS_SELECT: &str = "SELECT version, document, updated_at FROM settings WHERE one = 1";

fn settings_select(connection: &Connection) -> rusqlite::Result<Option<StoredSettings>> {
    connection.prepare_cached(SETTINGS_SELECT)?.query_row([], |row| match row.get(0)? {
        0 => Ok(None),
        version => {
            Ok(Some(StoredSettings { version, document: from_json(row, 1)?, updated_at: timestamp(row, 2)? }))
        }
    })
}

/// Only over the version that the change was made from.
const SETTINGS_UPDATE: &str = "
    UPDATE settings SET version = version + 1, document = ?2, updated_at = ?3 WHERE one = 1 AND version = ?1";

fn settings_update(tx: &WriteTx<'_>, change: &SettingsChange) -> rusqlite::Result<bool> {
    let row = params![saturating(change.from), to_json(&change.document)?, tx.now.as_millis()];
    Ok(tx.prepare_cached(SETTINGS_UPDATE)?.execute(row)? == 1)
}

#[cfg(test)]
pub const HOT: [&str; 3] = [CLUSTER_SELECT, SETTINGS_SELECT, SETTINGS_UPDATE];
