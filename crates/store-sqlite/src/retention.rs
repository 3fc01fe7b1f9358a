use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{GrantId, SlotKey, Timestamp, TokenId};
use grantry_store::{GrantsSwept, Result, Retention, Swept};
use rusqlite::{Connection, params};

use crate::SqliteStore;
use crate::assertions::assertions_sweep;
use crate::columns::{id_above, saturating};
use crate::early_ends::early_ends_sweep;
use crate::nodes::nodes_sweep;
use crate::revocations::{Oldest, entries_sweep};
use crate::tokens::slot_free;
use crate::writer::WriteTx;

#[async_trait]
impl Retention for SqliteStore {
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> Result<Swept> {
        self.writer.run(move |tx| sweep(tx, retention, saturating(limit))).await
    }

    async fn retention_sweep_grants(
        &self,
        after: Option<GrantId>,
        retention: Duration,
        limit: usize,
    ) -> Result<GrantsSwept> {
        self.writer.run(move |tx| sweep_grants(tx, after, retention, saturating(limit))).await
    }
}

fn sweep(tx: &WriteTx<'_>, retention: Duration, limit: i64) -> rusqlite::Result<Swept> {
    let oldest = tx.now.saturating_sub(retention);
    let tokens = tokens_sweep(tx, TokenId::lower_bound(oldest), tx.now, limit)?;
    let mut slots = 0;
    for (id, slot) in &tokens {
        slots += u64::from(slot_free(tx, *slot, *id)?);
    }
    // What was logged while the oldest was made may concern it.
    let concerned = Oldest {
        token: oldest_select(tx, OLDEST_TOKEN_SELECT)?.map_or(i64::MAX, millis_of),
        grant: oldest_select(tx, OLDEST_GRANT_SELECT)?.map_or(i64::MAX, millis_of),
    };
    Ok(Swept {
        tokens: tokens.len() as u64,
        slots,
        log_entries: entries_sweep(tx, tx.now, &concerned, limit)? as u64,
        nodes: nodes_sweep(tx, oldest, limit)? as u64,
        assertions: assertions_sweep(tx, tx.now, limit)? as u64,
        early_ends: early_ends_sweep(tx, tx.now, limit)? as u64,
        partitions: 0,
    })
}

fn sweep_grants(
    tx: &WriteTx<'_>,
    after: Option<GrantId>,
    retention: Duration,
    limit: i64,
) -> rusqlite::Result<GrantsSwept> {
    let after = id_above(after.as_ref().map(GrantId::as_bytes));
    let last = grant_ids_select(tx, after, limit)?.pop();
    let removed = match &last {
        Some(last) => grants_sweep(tx, after, *last, tx.now.saturating_sub(retention))?,
        None => 0,
    };
    Ok(GrantsSwept { removed: removed as u64, last })
}

type Id = [u8; TokenId::LEN];

/// When something was made.
fn millis_of(id: Id) -> i64 {
    TokenId::from_bytes(id).made_at().as_millis()
}

const TOKENS_SWEEP: &str = "
    DELETE FROM tokens WHERE id IN (
        SELECT id FROM tokens WHERE id < ?1 AND expires_at <= ?2 ORDER BY id LIMIT ?3)
    RETURNING id, slot";

fn tokens_sweep(
    connection: &Connection,
    older_than: TokenId,
    now: Timestamp,
    limit: i64,
) -> rusqlite::Result<Vec<(TokenId, SlotKey)>> {
    let mut statement = connection.prepare_cached(TOKENS_SWEEP)?;
    let swept = statement.query_map(params![older_than.as_bytes(), now.as_millis(), limit], |row| {
        Ok((TokenId::from_bytes(row.get(0)?), SlotKey::from_bytes(row.get(1)?)))
    })?;
    swept.collect()
}

const OLDEST_TOKEN_SELECT: &str = "SELECT min(id) FROM tokens";
const OLDEST_GRANT_SELECT: &str = "SELECT min(id) FROM grants";

fn oldest_select(connection: &Connection, statement: &str) -> rusqlite::Result<Option<Id>> {
    connection.prepare_cached(statement)?.query_row([], |row| row.get(0))
}

const GRANT_IDS_SELECT: &str = "SELECT id FROM grants WHERE id > ?1 ORDER BY id LIMIT ?2";

fn grant_ids_select(connection: &Connection, after: &[u8], limit: i64) -> rusqlite::Result<Vec<GrantId>> {
    let mut statement = connection.prepare_cached(GRANT_IDS_SELECT)?;
    statement.query_map(params![after, limit], |row| Ok(GrantId::from_bytes(row.get(0)?)))?.collect()
}

const GRANTS_SWEEP: &str = "
    DELETE FROM grants WHERE id > ?1 AND id <= ?2
      AND min(expires_at, idle_expires_at, coalesce(ended_at, expires_at)) <= ?3";

/// Up to and with `last`, those that were over at `over_at`.
fn grants_sweep(
    connection: &Connection,
    after: &[u8],
    last: GrantId,
    over_at: Timestamp,
) -> rusqlite::Result<usize> {
    let row = params![after, last.as_bytes(), over_at.as_millis()];
    connection.prepare_cached(GRANTS_SWEEP)?.execute(row)
}

#[cfg(test)]
pub const HOT: [&str; 5] =
    [TOKENS_SWEEP, OLDEST_TOKEN_SELECT, OLDEST_GRANT_SELECT, GRANT_IDS_SELECT, GRANTS_SWEEP];
