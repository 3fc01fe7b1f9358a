use std::collections::HashSet;

use grantry_protocol::{Timestamp, TokenId};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::columns::{id, uuid};
use crate::errors::Result;
use crate::link::Link;
use crate::statement::Statement;

pub const EARLY_ENDS_SELECT: Statement = Statement {
    name: "early_ends_select",
    sql: "SELECT id FROM early_ends WHERE id = ANY ($1)",
    types: &[Type::UUID_ARRAY],
};

/// Which of these were ended before they had a row.
pub async fn early_ends_select(link: &Link, ids: &[Uuid]) -> Result<HashSet<TokenId>> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let rows = link.query(&EARLY_ENDS_SELECT, &[&ids]).await?;
    rows.iter().map(|row| id(row, 0, TokenId::from_bytes)).collect()
}

pub const EARLY_ENDS_INSERT: Statement = Statement {
    name: "early_ends_insert",
    sql: "INSERT INTO early_ends (id, keep_until) SELECT * FROM unnest($1::uuid[], $2::bigint[])
          ON CONFLICT (id) DO NOTHING",
    types: &[Type::UUID_ARRAY, Type::INT8_ARRAY],
};

/// One that was ended before stays so: that a token without a row was, is not always known beforehand.
pub async fn early_ends_insert(link: &Link, ends: &[(TokenId, Timestamp)]) -> Result<()> {
    if ends.is_empty() {
        return Ok(());
    }
    let (ids, until): (Vec<Uuid>, Vec<i64>) =
        ends.iter().map(|(id, until)| (uuid(id.as_bytes()), until.as_millis())).unzip();
    link.execute(&EARLY_ENDS_INSERT, &[&ids, &until]).await.map(drop)
}

pub const EARLY_ENDS_SWEEP: Statement = Statement {
    name: "early_ends_sweep",
    sql: "DELETE FROM early_ends WHERE id IN (
              SELECT id FROM early_ends WHERE keep_until <= $1 ORDER BY keep_until LIMIT $2
              FOR UPDATE SKIP LOCKED)",
    types: &[Type::INT8, Type::INT8],
};
