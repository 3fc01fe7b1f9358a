use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{Epoch, LogEntry, LogHead, LogKind, LogPage, Position, Rule, Seen, Timestamp};
use grantry_store::{Merge, MergeOutcome, Probe, Result, Revocations, RuleAppend};
use rusqlite::{Connection, Row, params};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::SqliteStore;
use crate::audit::audit_insert;
use crate::columns::{saturating, timestamp};
use crate::errors::unreadable;
use crate::nodes::{node_applied_upsert, node_select};
use crate::readers::Snapshot;
use crate::rules::rule_exists;
use crate::status_lists;
use crate::writer::WriteTx;

/// How long an answer waits for the row that says what its node has applied.
const NOTING: Duration = Duration::from_millis(100);

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

    async fn revocation_rule_exists(&self, rule: &Rule) -> Result<bool> {
        let (kind, key) = (rule.kind(), rule.key().to_vec());
        self.readers.run(move |snapshot| rule_exists(snapshot, kind, &key, Seen::NOTHING)).await
    }

    async fn revocation_append(&self, append: RuleAppend) -> Result<Seen> {
        self.writer.run(move |tx| self::append(tx, &append)).await
    }

    async fn revocation_probe(&self, probe: Probe) -> Result<LogPage> {
        let now = self.clock.now();
        let (page, is_noted) = self.readers.run(move |snapshot| probed(snapshot, &probe, now)).await?;
        if !is_noted {
            // There is one file, so having read it is the proof. The row may lag behind: who takes longer to write it,
            // or cannot, because the disk is full or the store is being moved, knows every revocation all the same.
            let noting =
                self.writer.run(move |tx| node_applied_upsert(tx, probe.node, probe.applied, tx.now));
            let _ = timeout(NOTING, noting).await;
        }
        Ok(page)
    }

    async fn revocation_merge(&self, merge: Merge) -> Result<MergeOutcome> {
        self.writer.run(move |tx| self::merge(tx, &merge)).await
    }

    fn revocation_bell(&self) -> watch::Receiver<u64> {
        self.bell.listen()
    }
}

fn append(tx: &mut WriteTx<'_>, append: &RuleAppend) -> rusqlite::Result<Seen> {
    audit_insert(tx, &append.audit)?;
    tx.announce(append.rule.kind(), append.rule.key(), append.keep_until)
}

/// The page, and whether the node's row says what the node has applied.
fn probed(snapshot: &Snapshot<'_>, probe: &Probe, now: Timestamp) -> rusqlite::Result<(LogPage, bool)> {
    expect_readable(snapshot)?;
    let entries = entries_select(snapshot, saturating(probe.applied.position.0), saturating(probe.limit))?;
    let page = LogPage { head: snapshot.log_head()?, entries, now };
    let row = node_select(snapshot, probe.node)?;
    Ok((page, row.is_some_and(|node| node.applied == Some(probe.applied))))
}

fn merge(tx: &mut WriteTx<'_>, merge: &Merge) -> rusqlite::Result<MergeOutcome> {
    if log_head_select(tx)? != merge.from {
        return Ok(MergeOutcome::Moved);
    }
    if merge.raise_epoch {
        tx.raise_epoch()?;
        status_lists::head_update(tx, status_lists::head_select(tx)?.after_loss())?;
    }
    for entry in &merge.entries {
        tx.announce(entry.kind, &entry.key, entry.keep_until)?;
    }
    Ok(MergeOutcome::Merged(tx.moved()?.to))
}

/// A store that was moved away has no clients to read any more. Its log could be read and would say nothing of what has
/// been revoked since, on the store that took its place.
const CLIENTS_READABLE: &str = "SELECT EXISTS (SELECT 1 FROM clients)";

fn expect_readable(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached(CLIENTS_READABLE)?.query_row([], |_| Ok(()))
}

/// Where the log ends within a transaction: read with the first entry, written back last.
#[derive(Default)]
pub struct LogEnd(Option<Moved>);

#[derive(Clone, Copy)]
struct Moved {
    from: LogHead,
    to: LogHead,
}

impl LogEnd {
    /// Whether there was anything to write.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let Some(Moved { from, to }) = &self.0 else { return Ok(false) };
        log_head_update(connection, from, to)?;
        Ok(true)
    }
}

impl WriteTx<'_> {
    /// Appends to the log.
    pub fn announce(&mut self, kind: LogKind, key: &[u8], keep_until: Timestamp) -> rusqlite::Result<Seen> {
        let Moved { from, to: end } = self.moved()?;
        let (entry, to) = end.append(kind, key.to_vec(), keep_until);
        entry_insert(self, &entry, self.now)?;
        self.log_end = LogEnd(Some(Moved { from, to }));
        Ok(entry.seen())
    }

    /// What is appended from here on is of the next epoch.
    fn raise_epoch(&mut self) -> rusqlite::Result<()> {
        let Moved { from, to } = self.moved()?;
        let to = LogHead { epoch: Epoch(to.epoch.0 + 1), ..to };
        self.log_end = LogEnd(Some(Moved { from, to }));
        Ok(())
    }

    fn moved(&self) -> rusqlite::Result<Moved> {
        self.log_end.0.map_or_else(|| log_head_select(self).map(|head| Moved { from: head, to: head }), Ok)
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
    entry_insert(connection, &entry, now)?;
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

fn entry_insert(connection: &Connection, entry: &LogEntry, now: Timestamp) -> rusqlite::Result<()> {
    connection.prepare_cached(ENTRY_INSERT)?.execute(params![
        entry.position.0,
        entry.epoch.0,
        entry.kind.code(),
        entry.key,
        entry.keep_until.as_millis(),
        now.as_millis(),
    ])?;
    Ok(())
}

const ENTRIES_SELECT: &str = "
    SELECT epoch, position, kind, key, keep_until FROM revocation_log
    WHERE position > ?1 ORDER BY position LIMIT ?2";

fn entries_select(connection: &Connection, after: i64, limit: i64) -> rusqlite::Result<Vec<LogEntry>> {
    let mut statement = connection.prepare_cached(ENTRIES_SELECT)?;
    statement.query_map([after, limit], log_entry)?.collect()
}

fn log_entry(row: &Row<'_>) -> rusqlite::Result<LogEntry> {
    let kind =
        LogKind::from_code(row.get(2)?).ok_or_else(|| unreadable(2, "a kind of entry that is not known"))?;
    Ok(LogEntry {
        epoch: Epoch(row.get(0)?),
        position: Position(row.get(1)?),
        kind,
        key: row.get(3)?,
        keep_until: timestamp(row, 4)?,
    })
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
