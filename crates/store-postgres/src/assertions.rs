use std::collections::BTreeMap;

use grantry_protocol::Timestamp;
use grantry_store::AssertionKey;
use tokio_postgres::types::Type;

use crate::columns::{bytes, timestamp};
use crate::errors::{Cause, Error, Result};
use crate::link::Link;
use crate::statement::Statement;

pub const ASSERTIONS_LOCK: Statement = Statement {
    name: "assertions_lock",
    sql: "SELECT key, expires_at FROM assertions WHERE key = ANY ($1) ORDER BY key FOR NO KEY UPDATE",
    types: &[Type::BYTEA_ARRAY],
};

pub async fn assertions_lock(link: &Link, keys: &[&[u8]]) -> Result<BTreeMap<AssertionKey, Timestamp>> {
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let rows = link.query(&ASSERTIONS_LOCK, &[&keys]).await?;
    rows.iter().map(|row| Ok((AssertionKey(bytes(row, 0)?), timestamp(row, 1)?))).collect()
}

/// Over rows that had expired by `$3` alone: one that somebody else wrote meanwhile stays.
pub const ASSERTIONS_UPSERT: Statement = Statement {
    name: "assertions_upsert",
    sql: "INSERT INTO assertions AS a (key, expires_at)
          SELECT * FROM unnest($1::bytea[], $2::bigint[]) AS w(key, expires_at) ORDER BY w.key
          ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at WHERE a.expires_at <= $3",
    types: &[Type::BYTEA_ARRAY, Type::INT8_ARRAY, Type::INT8],
};

pub async fn assertions_upsert(
    link: &Link,
    consumed: &BTreeMap<AssertionKey, Timestamp>,
    now: Timestamp,
) -> Result<()> {
    if consumed.is_empty() {
        return Ok(());
    }
    let (keys, until): (Vec<&[u8]>, Vec<i64>) =
        consumed.iter().map(|(key, until)| (key.0.as_slice(), until.as_millis())).unzip();
    let written = link.execute(&ASSERTIONS_UPSERT, &[&keys, &until, &now.as_millis()]).await?;
    if written == keys.len() as u64 {
        return Ok(());
    }
    Err(Error::new(Cause::Conflict, "an assertion was used elsewhere at the same time"))
}

pub const ASSERTIONS_SWEEP: Statement = Statement {
    name: "assertions_sweep",
    sql: "DELETE FROM assertions WHERE key IN (
              SELECT key FROM assertions WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2
              FOR UPDATE SKIP LOCKED)",
    types: &[Type::INT8, Type::INT8],
};
