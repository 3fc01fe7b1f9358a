//! Appending a group, without a thread and without a queue.
//!
//! 1. Refuse at once while the disk is resting after failures, and when the journal is full.
//! 2. Begin a segment where there is none, or where the group would make it too large.
//! 3. Write the group at its end.
//! 4. In mode `fsync`, sync it. Only then are the records acknowledged.
//!
//! A segment that could not be written or synced is never written again: after a failed `fdatasync` the kernel may hold
//! the pages for clean, so that a second one succeeds over data that is lost. Only a full disk is different: nothing is
//! unknown about what it refused, so that is cut off and the segment goes on.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use grantry_store::NodeId;
use metrics::{Counter, Histogram, counter, histogram};
use tokio::time::Instant;

use super::disk::{Disk, DiskFile, DiskLock};
use super::errors::JournalError;
use super::header::{HEADER, SegmentHeader, VERSION, segment_name};
use super::ledger::Ledger;
use super::options::{JournalMode, JournalOptions};
use super::record;

pub struct Log {
    disk: Arc<dyn Disk>,
    options: JournalOptions,
    node: NodeId,
    ledger: Arc<Ledger>,
    /// Of the next record. A number is used once, be the record acknowledged or not.
    next_sequence: u64,
    active: Option<Active>,
    health: Health,
    /// Kept for its memory.
    group: Vec<u8>,
    seconds: Histogram,
    batch_size: Histogram,
    _lock: DiskLock,
}

/// The segment that is appended to.
struct Active {
    file: Box<dyn DiskFile>,
    /// Every byte before it is known to be as written.
    len: u64,
}

impl Log {
    /// `disk` is locked and its segments stand in `ledger`; every record in them has a number below `next_sequence`.
    pub fn new(
        disk: Arc<dyn Disk>,
        lock: DiskLock,
        options: JournalOptions,
        node: NodeId,
        ledger: Arc<Ledger>,
        next_sequence: u64,
    ) -> Self {
        Self {
            disk,
            options,
            node,
            ledger,
            next_sequence,
            active: None,
            health: Health::new(options.retry_period),
            group: Vec::new(),
            seconds: histogram!("grantry_journal_append_seconds"),
            batch_size: histogram!("grantry_journal_batch_size"),
            _lock: lock,
        }
    }

    /// The number of the first; the others follow. All of them are acknowledged, or none.
    pub fn append(&mut self, payloads: &[impl AsRef<[u8]>]) -> Result<u64, JournalError> {
        let started = Instant::now();
        self.health.check(started)?;
        let first = self.encode(payloads);
        if self.ledger.held_bytes() + self.group.len() as u64 > self.options.max_bytes {
            return Err(JournalError::Full { max_bytes: self.options.max_bytes });
        }
        self.next_sequence = self.next_sequence.saturating_add(payloads.len() as u64);
        match self.write(first) {
            Ok(()) => self.health.succeeded(),
            Err(error) => return Err(self.health.failed(started, &error)),
        }
        self.ledger.append(payloads.len() as u64, self.group.len() as u64);
        self.batch_size.record(payloads.len() as f64);
        self.seconds.record(started.elapsed());
        Ok(first)
    }

    /// The next group begins a new segment.
    pub fn seal(&mut self) {
        self.active = None;
    }

    /// Removes the segments that hold nothing any more. One that cannot be removed now is tried again with the next.
    pub fn sweep(&self) {
        self.remove(&self.ledger.drained());
    }

    /// How many records were not drained. They stay for the next start; without any, no segment stays.
    pub fn close(self) -> u64 {
        self.remove(&self.ledger.drained_at_close());
        self.ledger.outstanding()
    }

    fn encode(&mut self, payloads: &[impl AsRef<[u8]>]) -> u64 {
        self.group.clear();
        for (sequence, payload) in (self.next_sequence..).zip(payloads) {
            record::encode(&mut self.group, sequence, payload.as_ref());
        }
        self.next_sequence
    }

    fn write(&mut self, first: u64) -> io::Result<()> {
        let mut active = match self.active.take() {
            Some(active) if active.len + self.group.len() as u64 <= self.options.segment_bytes => active,
            _ => self.begin(first)?,
        };
        if let Err(error) = active.file.write_all(&self.group) {
            // What was refused must not come back as a token at the next start, if that can be helped.
            let is_cut_off = active.file.truncate(active.len).is_ok();
            if is_full(&error) && is_cut_off {
                self.active = Some(active);
            }
            return Err(error);
        }
        if self.options.mode == JournalMode::Fsync
            && let Err(error) = active.file.sync_data()
        {
            let _ = active.file.truncate(active.len);
            return Err(error);
        }
        active.len += self.group.len() as u64;
        self.active = Some(active);
        Ok(())
    }

    fn begin(&mut self, first: u64) -> io::Result<Active> {
        let name = segment_name(first);
        let mut file = self.disk.create_new(&name)?;
        // Whatever happens from here on there is a file, which goes when it turns out to hold nothing.
        self.ledger.open(first, HEADER as u64, 0);
        self.sweep();
        file.write_all(&SegmentHeader { version: VERSION, node: self.node, first }.encode())?;
        if self.options.mode == JournalMode::Fsync {
            self.disk.sync_directory()?;
        }
        tracing::debug!(segment = name, "a segment of the journal begins");
        Ok(Active { file, len: HEADER as u64 })
    }

    fn remove(&self, segments: &[u64]) {
        if segments.is_empty() {
            return;
        }
        for &first in segments {
            let name = segment_name(first);
            match self.disk.remove(&name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(%error, segment = name, "a drained segment of the journal cannot be removed");
                }
                _ => self.ledger.remove(first),
            }
        }
        if self.options.mode == JournalMode::Fsync
            && let Err(error) = self.disk.sync_directory()
        {
            tracing::warn!(%error, "drained segments of the journal may come back after a crash");
        }
    }
}

/// What a disk says that has no room. What did fit may have been written.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull, WriteZero};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge | WriteZero)
}

/// Whether the disk is worth trying. One failure may be the segment's; after a second in a row the disk rests, so that
/// callers are refused at once and take another way.
struct Health {
    retry_period: Duration,
    failures_in_a_row: u32,
    rests_until: Option<Instant>,
    last_failure: String,
    failures: Counter,
}

impl Health {
    fn new(retry_period: Duration) -> Self {
        Self {
            retry_period,
            failures_in_a_row: 0,
            rests_until: None,
            last_failure: String::new(),
            failures: counter!("grantry_journal_failures_total"),
        }
    }

    fn check(&self, now: Instant) -> Result<(), JournalError> {
        match self.rests_until {
            Some(until) if now < until => Err(JournalError::Failed(self.last_failure.clone())),
            _ => Ok(()),
        }
    }

    fn failed(&mut self, now: Instant, error: &io::Error) -> JournalError {
        tracing::warn!(%error, "the journal could not be written");
        self.failures.increment(1);
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        if self.failures_in_a_row > 1 {
            self.rests_until = Some(now + self.retry_period);
        }
        self.last_failure = error.to_string();
        JournalError::Failed(self.last_failure.clone())
    }

    fn succeeded(&mut self) {
        if self.failures_in_a_row > 0 {
            tracing::info!("the journal is written again");
        }
        self.failures_in_a_row = 0;
        self.rests_until = None;
    }
}
