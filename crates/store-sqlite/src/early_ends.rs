use grantry_protocol::{Timestamp, TokenId};
use rusqlite::{Connection, params};

const EARLY_END_EXISTS: &str = "SELECT 1 FROM early_ends WHERE id = ?1";

pub fn early_end_exists(connection: &Connection, id: TokenId) -> rusqlite::Result<bool> {
    connection.prepare_cached(EARLY_END_EXISTS)?.exists([id.as_bytes()])
}

const EARLY_END_INSERT: &str = "INSERT INTO early_ends (id, expires_by) VALUES (?1, ?2)";

pub fn early_end_insert(connection: &Connection, id: TokenId, expires_by: Timestamp) -> rusqlite::Result<()> {
    connection.prepare_cached(EARLY_END_INSERT)?.execute(params![id.as_bytes(), expires_by.as_millis()])?;
    Ok(())
}

const EARLY_ENDS_SWEEP: &str = "
    DELETE FROM early_ends WHERE id IN (
        SELECT id FROM early_ends WHERE expires_by <= ?1 ORDER BY expires_by LIMIT ?2)";

pub fn early_ends_sweep(connection: &Connection, now: Timestamp, limit: i64) -> rusqlite::Result<usize> {
    connection.prepare_cached(EARLY_ENDS_SWEEP)?.execute(params![now.as_millis(), limit])
}

#[cfg(test)]
pub const HOT: [&str; 3] = [EARLY_END_EXISTS, EARLY_END_INSERT, EARLY_ENDS_SWEEP];
