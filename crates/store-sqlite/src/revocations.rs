use async_trait::async_trait;
use grantry_protocol::{Epoch, LogEntry, LogHead, LogKind, Position, Seen, Timestamp};
use grantry_store::{Result, Revocations, RuleAppend};
use rusqlite::{Connection, Row, params};

use crate::SqliteStore;
use crate::audit::audit_insert;
use crate::columns::{saturating, timestamp};
use crate::errors::unreadable;
use crate::writer::WriteTx;

#[async_trait]
impl Revocations for SqliteStore {
    async fn revocation_head(&self) -> Result<LogHead> {
        self.readers.run(|snapshot| log_head_select(snapshot)).await
    }

    async fn revocation_list(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>> {
        self.readers
            .run(move |snapshot| entries_select(snapshot, saturating(after.0), saturating(limit)))
            .await
    }

    async fn revocation_append(&self, append: RuleAppend) -> Result<Seen> {
        self.writer.run(move |tx| self::append(tx, &append)).await
    }
}

fn append(tx: &mut WriteTx<'_>, append: &RuleAppend) -> rusqlite::Result<Seen> {
    audit_insert(tx, &append.audit)?;
    let position = tx.announce(append.rule.kind(), append.rule.key(), append.keep_until)?;
    Ok(Seen { epoch: log_head_select(tx)?.epoch, position })
}

/// Where the log ends within a transaction: read with the first entry, written back last.
#[derive(Default)]
pub struct LogEnd(Option<Moved>);

struct Moved {
    from: LogHead,
    to: LogHead,
}

impl LogEnd {
    /// Nothing if no entry was appended.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        self.0.as_ref().map_or(Ok(()), |moved| log_head_update(connection, &moved.from, &moved.to))
    }
}

impl WriteTx<'_> {
    /// Appends to the log.
    pub fn announce(
        &mut self,
        kind: LogKind,
        key: &[u8],
        keep_until: Timestamp,
    ) -> rusqlite::Result<Position> {
        let (from, end) = match &self.log_end.0 {
            Some(moved) => (moved.from, moved.to),
            None => {
                let head = log_head_select(self)?;
                (head, head)
            }
        };
        let (entry, to) = end.append(kind, key.to_vec(), keep_until);
        entry_insert(self, to.epoch, &entry, self.now)?;
        self.log_end = LogEnd(Some(Moved { from, to }));
        Ok(entry.position)
    }
}

/// Begins an epoch with a rule about everything, so that nothing from before it is left.
pub fn epoch_begin(
    connection: &Connection,
    from: &LogHead,
    epoch: Epoch,
    keep_until: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let raised = LogHead { epoch, ..*from };
    let (entry, to) = raised.append(LogKind::All, Vec::new(), keep_until);
    entry_insert(connection, epoch, &entry, now)?;
    log_head_update(connection, from, &to)
}

const LOG_HEAD_SELECT: &str = "SELECT epoch, position, chain FROM log_head WHERE one = 1";

pub fn log_head_select(connection: &Connection) -> rusqlite::Result<LogHead> {
    connection.prepare_cached(LOG_HEAD_SELECT)?.query_row([], |row| {
        Ok(LogHead { epoch: Epoch(row.get(0)?), position: Position(row.get(1)?), chain: row.get(2)? })
    })
}

const LOG_HEAD_UPDATE: &str = "
    UPDATE log_head SET epoch = ?3, position = ?4, chain = ?5 WHERE one = 1 AND epoch = ?1 AND position = ?2";

fn log_head_update(connection: &Connection, from: &LogHead, to: &LogHead) -> rusqlite::Result<()> {
    let row = params![from.epoch.0, from.position.0, to.epoch.0, to.position.0, to.chain];
    match connection.prepare_cached(LOG_HEAD_UPDATE)?.execute(row)? {
        1 => Ok(()),
        changed => Err(rusqlite::Error::StatementChangedRows(changed)),
    }
}

const ENTRY_INSERT: &str = "
    INSERT INTO revocation_log (position, epoch, kind, key, keep_until, logged_at)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

fn entry_insert(
    connection: &Connection,
    epoch: Epoch,
    entry: &LogEntry,
    now: Timestamp,
) -> rusqlite::Result<()> {
    connection.prepare_cached(ENTRY_INSERT)?.execute(params![
        entry.position.0,
        epoch.0,
        entry.kind.code(),
        entry.key,
        entry.keep_until.as_millis(),
        now.as_millis(),
    ])?;
    Ok(())
}

const ENTRIES_SELECT: &str = "
    SELECT position, kind, key, keep_until FROM revocation_log
    WHERE position > ?1 ORDER BY position LIMIT ?2";

fn entries_select(connection: &Connection, after: i64, limit: i64) -> rusqlite::Result<Vec<LogEntry>> {
    let mut statement = connection.prepare_cached(ENTRIES_SELECT)?;
    statement.query_map([after, limit], log_entry)?.collect()
}

fn log_entry(row: &Row<'_>) -> rusqlite::Result<LogEntry> {
    let kind =
        LogKind::from_code(row.get(1)?).ok_or_else(|| unreadable(1, "a kind of entry that is not known"))?;
    Ok(LogEntry { position: Position(row.get(0)?), kind, key: row.get(2)?, keep_until: timestamp(row, 3)? })
}

const ENTRIES_SWEEP: &str = "
    DELETE FROM revocation_log WHERE position IN (
        SELECT position FROM revocation_log
        WHERE keep_until <= ?1 AND logged_at < ?2 AND (kind NOT IN (2, 3, 4, 5, 8) OR logged_at < ?3)
        ORDER BY position LIMIT ?4)";

/// When the oldest of what entries may concern was made, in milliseconds.
pub struct Oldest {
    pub token: i64,
    /// Concerned by rules alone; the end of a single grant stands in its own row.
    pub grant: i64,
}

/// Removes entries that may be forgotten by `now` and were logged before anything that they may concern.
pub fn entries_sweep(
    connection: &Connection,
    now: Timestamp,
    oldest: &Oldest,
    limit: i64,
) -> rusqlite::Result<usize> {
    let row = params![now.as_millis(), oldest.token, oldest.grant, limit];
    connection.prepare_cached(ENTRIES_SWEEP)?.execute(row)
}

#[cfg(test)]
pub const HOT: [&str; 4] = [LOG_HEAD_SELECT, LOG_HEAD_UPDATE, ENTRY_INSERT, ENTRIES_SELECT];
