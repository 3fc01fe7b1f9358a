use async_trait::async_trait;
use grantry_store::{AuditEntry, AuditRecord, AuditTrail, Result as StoreResult};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::PostgresStore;
use crate::columns::{from_json, get, saturating, timestamp, to_json, unsigned};
use crate::errors::Result;
use crate::link::{Begin, Link};
use crate::pipeline::pipelined;
use crate::statement::Statement;
use crate::store::{reading, transact};

#[async_trait]
impl AuditTrail for PostgresStore {
    async fn audit_append(&self, entry: AuditEntry) -> StoreResult<()> {
        let entries = [entry];
        transact!(self, |link| {
            pipelined!(link.begin(Begin::Write), audit_insert(link, &entries), link.commit())?;
            Ok(())
        })
    }

    async fn audit_list(&self, after: u64, limit: usize) -> StoreResult<Vec<AuditRecord>> {
        let (after, limit) = (saturating(after), saturating(limit));
        reading!(self, |link| { audit_select(link, after, limit).await })
    }
}

pub const AUDIT_SELECT: Statement = Statement {
    name: "audit_select",
    sql: "SELECT number, at, actor, action, target, detail, request_id
          FROM audit WHERE number > $1 ORDER BY number LIMIT $2",
    types: &[Type::INT8, Type::INT8],
};

async fn audit_select(link: &Link, after: i64, limit: i64) -> Result<Vec<AuditRecord>> {
    link.query(&AUDIT_SELECT, &[&after, &limit]).await?.iter().map(audit_record).collect()
}

fn audit_record(row: &Row) -> Result<AuditRecord> {
    Ok(AuditRecord {
        number: unsigned(row, 0)?,
        at: timestamp(row, 1)?,
        actor: get(row, 2)?,
        action: get(row, 3)?,
        target: get(row, 4)?,
        detail: from_json(row, 5)?,
        request_id: get(row, 6)?,
    })
}

/// The numbers are taken from a row that stays locked until the transaction ends, so they appear in order.
pub const AUDIT_INSERT: Statement = Statement {
    name: "audit_insert",
    sql: "WITH head AS (UPDATE audit_head SET number = number + cardinality($1) WHERE one
                        RETURNING number - cardinality($1) AS last)
          INSERT INTO audit (number, at, actor, action, target, detail, request_id)
          SELECT head.last + w.n, w.at, w.actor, w.action, w.target, w.detail, w.request_id
          FROM head
          CROSS JOIN unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) WITH ORDINALITY
              AS w(at, actor, action, target, detail, request_id, n)",
    types: &[
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

/// To be sent right before the revocation log's statements, if there are any.
pub async fn audit_insert(link: &Link, entries: &[AuditEntry]) -> Result<()> {
    if entries.is_empty() {
        return Ok(());
    }
    let at: Vec<i64> = entries.iter().map(|entry| entry.at.as_millis()).collect();
    let actors: Vec<&str> = entries.iter().map(|entry| entry.actor.as_str()).collect();
    let actions: Vec<&str> = entries.iter().map(|entry| entry.action).collect();
    let targets: Vec<&str> = entries.iter().map(|entry| entry.target.as_str()).collect();
    let details: Vec<String> = entries.iter().map(|entry| to_json(&entry.detail)).collect::<Result<_>>()?;
    let requests: Vec<Option<&str>> = entries.iter().map(|entry| entry.request_id.as_deref()).collect();
    let row: [&(dyn tokio_postgres::types::ToSql + Sync); 6] =
        [&at, &actors, &actions, &targets, &details, &requests];
    link.execute(&AUDIT_INSERT, &row).await.map(drop)
}
