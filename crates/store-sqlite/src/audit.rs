use async_trait::async_trait;
use grantry_store::{AuditEntry, AuditRecord, AuditTrail, Result};
use rusqlite::{Connection, Row, params};

use crate::SqliteStore;
use crate::columns::{from_json, saturating, timestamp, to_json};

#[async_trait]
impl AuditTrail for SqliteStore {
    async fn audit_append(&self, entry: AuditEntry) -> Result<()> {
        self.writer.run(move |tx| audit_insert(tx, &entry)).await
    }

    async fn audit_list(&self, after: u64, limit: usize) -> Result<Vec<AuditRecord>> {
        self.readers.run(move |snapshot| audit_select(snapshot, saturating(after), saturating(limit))).await
    }
}

const AUDIT_SELECT: &str = "
    SELECT number, at, actor, action, target, detail, request_id
    FROM audit WHERE number > ?1 ORDER BY number LIMIT ?2";

fn audit_select(connection: &Connection, after: i64, limit: i64) -> rusqlite::Result<Vec<AuditRecord>> {
    let mut statement = connection.prepare_cached(AUDIT_SELECT)?;
    statement.query_map([after, limit], audit_record)?.collect()
}

fn audit_record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    Ok(AuditRecord {
        number: row.get(0)?,
        at: timestamp(row, 1)?,
        actor: row.get(2)?,
        action: row.get(3)?,
        target: row.get(4)?,
        detail: from_json(row, 5)?,
        request_id: row.get(6)?,
    })
}

const AUDIT_INSERT: &str = "
    INSERT INTO audit (at, actor, action, target, detail, request_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

pub fn audit_insert(connection: &Connection, entry: &AuditEntry) -> rusqlite::Result<()> {
    connection.prepare_cached(AUDIT_INSERT)?.execute(params![
        entry.at.as_millis(),
        entry.actor,
        entry.action,
        entry.target,
        to_json(&entry.detail)?,
        entry.request_id,
    ])?;
    Ok(())
}

#[cfg(test)]
pub const HOT: [&str; 2] = [AUDIT_SELECT, AUDIT_INSERT];
