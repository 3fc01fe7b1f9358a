use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{SlotKey, Timestamp, TokenId};
use grantry_store::{Result, Retention, Swept};
use rusqlite::{Connection, params};

use crate::SqliteStore;
use crate::columns::saturating;
use crate::nodes::nodes_sweep;
use crate::revocations::entries_sweep;
use crate::tokens::slot_free;
use crate::writer::WriteTx;

#[async_trait]
impl Retention for SqliteStore {
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> Result<Swept> {
        self.writer.run(move |tx| sweep(tx, retention, saturating(limit))).await
    }
}

fn sweep(tx: &WriteTx<'_>, retention: Duration, limit: i64) -> rusqlite::Result<Swept> {
    let oldest = tx.now.saturating_sub(retention);
    let tokens = tokens_sweep(tx, TokenId::lower_bound(oldest), tx.now, limit)?;
    let mut slots = 0;
    for (id, slot) in &tokens {
        slots += u64::from(slot_free(tx, *slot, *id)?);
    }
    // What was logged while the oldest token was made may concern it.
    let logged_before = oldest_token_select(tx)?.map_or(i64::MAX, millis_of);
    Ok(Swept {
        tokens: tokens.len() as u64,
        slots,
        log_entries: entries_sweep(tx, tx.now, logged_before, limit)? as u64,
        nodes: nodes_sweep(tx, oldest, limit)? as u64,
    })
}

/// When the token was made: the first 48 bits of a UUIDv7 (RFC 9562 §5.7).
fn millis_of(id: TokenId) -> i64 {
    id.as_bytes()[..6].iter().fold(0, |millis, byte| millis << 8 | i64::from(*byte))
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

fn oldest_token_select(connection: &Connection) -> rusqlite::Result<Option<TokenId>> {
    let id: Option<[u8; TokenId::LEN]> =
        connection.prepare_cached(OLDEST_TOKEN_SELECT)?.query_row([], |row| row.get(0))?;
    Ok(id.map(TokenId::from_bytes))
}

#[cfg(test)]
pub const HOT: [&str; 2] = [TOKENS_SWEEP, OLDEST_TOKEN_SELECT];
