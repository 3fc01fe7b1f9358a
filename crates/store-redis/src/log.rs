//! The revocation log as rows: where it ends, its entries by position, and the last rule of each kind and key.

use grantry_protocol::{Epoch, LogEntry, LogHead, LogKind, Position, Seen, Timestamp};
use serde::{Deserialize, Serialize};

use crate::errors::{Cause, Error};
use crate::names::{hex, unhex};
use crate::rows::{RowResult, Rows};

#[derive(Serialize, Deserialize)]
struct HeadRow {
    epoch: Epoch,
    position: Position,
    chain: String,
}

#[derive(Serialize, Deserialize)]
pub struct EntryRow {
    epoch: Epoch,
    position: Position,
    kind: u8,
    key: String,
    keep_until: Timestamp,
    pub logged_at: Timestamp,
}

fn unreadable() -> Error {
    Error::new(Cause::Corrupt, "the revocation log in Redis cannot be read")
}

impl HeadRow {
    fn head(&self) -> Result<LogHead, Error> {
        let chain = unhex(&self.chain).and_then(|chain| chain.try_into().ok()).ok_or_else(unreadable)?;
        Ok(LogHead { epoch: self.epoch, position: self.position, chain })
    }
}

impl EntryRow {
    pub fn entry(&self) -> Result<LogEntry, Error> {
        Ok(LogEntry {
            epoch: self.epoch,
            position: self.position,
            kind: LogKind::from_code(self.kind).ok_or_else(unreadable)?,
            key: unhex(&self.key).ok_or_else(unreadable)?,
            keep_until: self.keep_until,
        })
    }
}

/// Of the row's text; without one the log is empty.
pub fn head(row: Option<&[u8]>) -> Result<LogHead, Error> {
    let Some(row) = row else { return Ok(LogHead::EMPTY) };
    crate::rows::decode::<HeadRow>(row)?.head()
}

impl Rows {
    pub fn log_head(&mut self) -> RowResult<LogHead> {
        let row: Option<HeadRow> = self.get(self.names.head())?;
        Ok(row.map_or(Ok(LogHead::EMPTY), |row| row.head())?)
    }

    pub fn put_log_head(&mut self, head: &LogHead) -> RowResult<()> {
        let row = HeadRow { epoch: head.epoch, position: head.position, chain: hex(&head.chain) };
        self.put(self.names.head(), &row, None)?;
        // Several in one transaction are one to those who listen.
        let bell = self.names.bell();
        if !self.has_command("PUBLISH") {
            self.command("PUBLISH", bell, &[b""]);
        }
        Ok(())
    }

    pub fn log_append(&mut self, kind: LogKind, key: Vec<u8>, keep_until: Timestamp) -> RowResult<Seen> {
        let (entry, head) = self.log_head()?.append(kind, key, keep_until);
        self.put_log_head(&head)?;
        if kind.is_rule() {
            self.put(self.names.rule(kind, &entry.key), &head.seen(), None)?;
        }
        let row = EntryRow {
            epoch: entry.epoch,
            position: entry.position,
            kind: kind.code(),
            key: hex(&entry.key),
            keep_until,
            logged_at: self.now,
        };
        let text =
            serde_json::to_vec(&row).map_err(|_| Error::new(Cause::Rejected, "an entry that has no text"))?;
        let position = entry.position.0.to_string();
        let until = keep_until.as_millis().to_string();
        self.command("ZADD", self.names.log(), &[position.as_bytes(), &text]);
        self.command("ZADD", self.names.log_until(), &[until.as_bytes(), position.as_bytes()]);
        Ok(entry.seen())
    }

    /// Forgets an entry, and the rule that it made if no later one has taken its place.
    pub fn log_forget(&mut self, entry: &LogEntry) -> RowResult<()> {
        if entry.kind.is_rule() {
            let name = self.names.rule(entry.kind, &entry.key);
            if self.get::<Seen>(name.clone())?.is_some_and(|last| last.position == entry.position) {
                self.remove(name);
            }
        }
        let position = entry.position.0.to_string();
        self.command("ZREMRANGEBYSCORE", self.names.log(), &[position.as_bytes(), position.as_bytes()]);
        self.command("ZREM", self.names.log_until(), &[position.as_bytes()]);
        Ok(())
    }
}
