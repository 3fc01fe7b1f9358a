//! All that is in force, as the entries of a page in JSON.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grantry_protocol::{LogKind, Seen, Timestamp};
use grantry_revocation::{FeedEntry, FeedKey, Index};
use grantry_store::{Result, StoreError};
use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep};

use super::not_read;
use crate::tail::Tail;

/// For how long a snapshot is kept for others who ask. It is told with what came since, so it is never out of date; it
/// only grows.
const KEPT: Duration = Duration::from_secs(30);
const PIECE: usize = 64 * 1024;
/// More than the text of an entry, whose numbers have 20 digits at most.
const LONGEST: usize = 128;
/// What every page ends with: the entries, in brackets, are its last member.
const END: &[u8] = b"]}";

pub struct Snapshots {
    tail: Arc<Tail>,
    /// Locked while one is made, which is enough for all who ask meanwhile.
    last: Arc<Mutex<Option<Arc<Snapshot>>>>,
    meters: Meters,
}

pub struct Snapshot {
    /// It has all that was in force here.
    pub head: Seen,
    pub len: usize,
    /// Entries with commas between them.
    pieces: Vec<Bytes>,
}

impl Snapshots {
    pub fn new(tail: Arc<Tail>) -> Self {
        Self { tail, last: Arc::default(), meters: Meters::new() }
    }

    pub async fn get(&self) -> Result<Arc<Snapshot>> {
        let mut last = Arc::clone(&self.last).lock_owned().await;
        if let Some(snapshot) = &*last {
            return Ok(Arc::clone(snapshot));
        }
        let (tail, meters, slot) = (Arc::clone(&self.tail), self.meters.clone(), Arc::clone(&self.last));
        // On its own, with the lock: should whoever asks go away, the next one finds it made.
        let making = tokio::spawn(async move {
            let started = Instant::now();
            let made = tokio::task::spawn_blocking(move || make(&tail)).await;
            let snapshot = Arc::new(made.map_err(|error| failed(&error))??);
            meters.made(&snapshot, started);
            *last = Some(Arc::clone(&snapshot));
            tokio::spawn(drop_later(slot, Arc::clone(&snapshot)));
            Ok(snapshot)
        });
        making.await.map_err(|error| failed(&error))?
    }

    /// The log does not go on from it any more.
    pub async fn discard(&self, snapshot: &Arc<Snapshot>) {
        self.last.lock().await.take_if(|last| Arc::ptr_eq(last, snapshot));
    }
}

async fn drop_later(slot: Arc<Mutex<Option<Arc<Snapshot>>>>, snapshot: Arc<Snapshot>) {
    sleep(KEPT).await;
    slot.lock().await.take_if(|last| Arc::ptr_eq(last, &snapshot));
}

pub fn failed(error: &dyn std::error::Error) -> StoreError {
    StoreError::Corrupt(format!("the feed cannot be written: {error}"))
}

impl Snapshot {
    /// The page, with these entries before its own.
    pub fn within(&self, page: Vec<u8>) -> Vec<Bytes> {
        let page = Bytes::from(page);
        let start = page.windows(2).position(|two| two == b":[").map_or(page.len(), |at| at + 2);
        let (head, tail) = (page.slice(..start), page.slice(start..));
        let comma = (self.len > 0 && &tail[..] != END).then(|| Bytes::from_static(b","));
        std::iter::once(head).chain(self.pieces.iter().cloned()).chain(comma).chain([tail]).collect()
    }
}

/// An end as it was copied. What has a name is hashed once nobody waits for the index any more.
struct Copied {
    kind: LogKind,
    key: CopiedKey,
    at: Seen,
    keep_until: Timestamp,
}

enum CopiedKey {
    Id(FeedKey),
    Name(Box<[u8]>),
}

impl Copied {
    fn of((kind, key, at, keep_until): (LogKind, &[u8], Seen, Timestamp)) -> Self {
        let key = match kind {
            LogKind::Client | LogKind::Subject => CopiedKey::Name(key.into()),
            _ => CopiedKey::Id(FeedKey::of(kind, key)),
        };
        Self { kind, key, at, keep_until }
    }

    fn entry(&self) -> FeedEntry {
        let key = match &self.key {
            CopiedKey::Id(key) => *key,
            CopiedKey::Name(name) => FeedKey::of(self.kind, name),
        };
        FeedEntry { at: self.at, kind: self.kind, key, keep_until: self.keep_until }
    }
}

fn make(tail: &Tail) -> Result<Snapshot> {
    let copy = |index: &Index| (index.seen(), index.ends().map(Copied::of).collect::<Vec<_>>());
    let (head, copied) = tail.ask(copy).ok_or_else(not_read)?;
    let (mut pieces, mut piece) = (Vec::new(), Vec::with_capacity(PIECE));
    for (number, end) in copied.iter().enumerate() {
        if number > 0 {
            piece.push(b',');
        }
        serde_json::to_writer(&mut piece, &end.entry()).map_err(|error| failed(&error))?;
        if piece.len() >= PIECE - LONGEST {
            pieces.push(Bytes::from(std::mem::replace(&mut piece, Vec::with_capacity(PIECE))));
        }
    }
    pieces.push(Bytes::from(piece));
    Ok(Snapshot { head, len: copied.len(), pieces })
}

#[derive(Clone)]
struct Meters {
    made: Counter,
    seconds: Histogram,
    bytes: Gauge,
}

impl Meters {
    fn new() -> Self {
        Self {
            made: counter!("grantry_feed_snapshots_made_total"),
            seconds: histogram!("grantry_feed_snapshot_seconds"),
            bytes: gauge!("grantry_feed_snapshot_bytes"),
        }
    }

    fn made(&self, snapshot: &Snapshot, started: Instant) {
        self.made.increment(1);
        self.seconds.record(started.elapsed());
        self.bytes.set(snapshot.pieces.iter().map(|piece| piece.len() as f64).sum::<f64>());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use grantry_protocol::{Epoch, Position};
    use grantry_revocation::{FeedPage, FeedPageKind};

    use super::*;

    fn entry(position: u64) -> FeedEntry {
        FeedEntry {
            at: Seen { epoch: Epoch(1), position: Position(position) },
            kind: LogKind::Token,
            key: FeedKey::from_bytes([position as u8; FeedKey::LEN]),
            keep_until: Timestamp::from_secs(9),
        }
    }

    fn text(entries: &[FeedEntry]) -> Bytes {
        let text: Vec<_> = entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
        text.join(",").into()
    }

    #[test]
    fn a_page_around_a_snapshot_is_read_as_one_page() {
        for (first, second) in [(0, 0), (0, 2), (3, 0), (3, 2)] {
            let before: Vec<_> = (0..first).map(entry).collect();
            let after: Vec<_> = (first..first + second).map(entry).collect();
            let pieces = vec![text(&before)];
            let snapshot = Snapshot { head: entry(first).at, len: before.len(), pieces };
            let page = FeedPage {
                kind: FeedPageKind::Snapshot,
                head: entry(first + second).at,
                age: Duration::ZERO,
                max_staleness: Duration::from_secs(1),
                now: Timestamp::from_secs(1),
                entries: after.clone(),
            };
            let json = snapshot.within(serde_json::to_vec(&page).unwrap()).concat();
            let read: FeedPage = serde_json::from_slice(&json).unwrap();
            assert_eq!(read, FeedPage { entries: [before, after].concat(), ..page });
        }
    }
}
