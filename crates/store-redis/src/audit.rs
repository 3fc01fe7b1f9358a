use async_trait::async_trait;
use grantry_protocol::Timestamp;
use grantry_store::{AuditEntry, AuditRecord, AuditTrail, Result};
use redis::Pipeline;
use serde::{Deserialize, Serialize};

use crate::RedisStore;
use crate::errors::{Cause, Error};
use crate::names;
use crate::rows::{RowResult, Rows, decode};

/// Its number is its place in the list, counted from 1: nothing is ever taken out.
#[derive(Serialize, Deserialize)]
struct AuditRow {
    at: Timestamp,
    actor: String,
    action: String,
    target: String,
    detail: serde_json::Value,
    request_id: Option<String>,
}

#[async_trait]
impl AuditTrail for RedisStore {
    async fn audit_append(&self, entry: AuditEntry) -> Result<()> {
        self.transact(|rows| rows.audit_row(&entry)).await
    }

    async fn audit_list(&self, after: u64, limit: usize) -> Result<Vec<AuditRecord>> {
        // No list is as long as that.
        let (Some(last), Ok(first)) = (limit.checked_sub(1), u32::try_from(after)) else {
            return Ok(Vec::new());
        };
        let mut commands = Pipeline::new();
        let range = commands.cmd("LRANGE").arg(self.names.audit());
        range.arg(first).arg(i64::from(first).saturating_add(names::limit(last)));
        let (texts,): (Vec<Vec<u8>>,) = self.links.read(&self.names.head(), &commands).await?;
        let records = (1 + after..).zip(&texts).map(|(number, text)| Ok(record(number, decode(text)?)));
        records.collect()
    }
}

impl Rows {
    pub fn audit_row(&mut self, entry: &AuditEntry) -> RowResult<()> {
        let row = AuditRow {
            at: entry.at,
            actor: entry.actor.clone(),
            action: entry.action.to_owned(),
            target: entry.target.clone(),
            detail: entry.detail.clone(),
            request_id: entry.request_id.clone(),
        };
        let text = serde_json::to_vec(&row)
            .map_err(|_| Error::new(Cause::Rejected, "an audit entry that has no text"))?;
        self.command("RPUSH", self.names.audit(), &[&text]);
        Ok(())
    }
}

fn record(number: u64, row: AuditRow) -> AuditRecord {
    AuditRecord {
        number,
        at: row.at,
        actor: row.actor,
        action: row.action,
        target: row.target,
        detail: row.detail,
        request_id: row.request_id,
    }
}
