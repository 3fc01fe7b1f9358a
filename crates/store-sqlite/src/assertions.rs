use grantry_protocol::Timestamp;
use grantry_store::AssertionKey;
use rusqlite::{Connection, params};

use crate::columns::timestamp;

/// Over a row only if that one has expired.
const ASSERTION_UPSERT: &str = "
    INSERT INTO assertions (key, expires_at) VALUES (?1, ?2)
    ON CONFLICT (key) DO UPDATE SET expires_at = excluded.expires_at WHERE assertions.expires_at <= ?3";

pub fn assertion_upsert(
    connection: &Connection,
    key: AssertionKey,
    expires_at: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let row = params![key.0, expires_at.as_millis(), now.as_millis()];
    Ok(connection.prepare_cached(ASSERTION_UPSERT)?.execute(row)? == 1)
}

/// Those that have not expired are used in `into`, too.
pub fn assertions_carry_over(from: &Connection, into: &Connection, now: Timestamp) -> rusqlite::Result<()> {
    let mut statement = from.prepare(ASSERTIONS_SELECT)?;
    let mut rows = statement.query([now.as_millis()])?;
    while let Some(row) = rows.next()? {
        assertion_upsert(into, AssertionKey(row.get(0)?), timestamp(row, 1)?, now)?;
    }
    Ok(())
}

const ASSERTIONS_SELECT: &str = "SELECT key, expires_at FROM assertions WHERE expires_at > ?1";

const ASSERTIONS_SWEEP: &str = "
    DELETE FROM assertions WHERE key IN (
        SELECT key FROM assertions WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)";

pub fn assertions_sweep(connection: &Connection, now: Timestamp, limit: i64) -> rusqlite::Result<usize> {
    connection.prepare_cached(ASSERTIONS_SWEEP)?.execute(params![now.as_millis(), limit])
}

#[cfg(test)]
pub const HOT: [&str; 2] = [ASSERTION_UPSERT, ASSERTIONS_SWEEP];
