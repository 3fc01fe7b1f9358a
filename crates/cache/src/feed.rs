//! What resource servers are told of the log, from this node's memory alone.
//!
//! 1. The proof first, so that what it proves is in what is read next.
//! 2. Whoever has followed so far is told the entries since.
//! 3. A position that this node has not come to may be known to another node already, so the log is read once more. If
//!    it is still ahead, or from elsewhere, or too far back, the answer is everything that is in force: a snapshot, which is
//!    made once for all who need one, and what came since it was made.
//! 4. How old the proof is, is said last.

mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grantry_protocol::{AccessToken, Moment, RuleKeys, Seen, Timestamp};
use grantry_revocation::{FeedEntry, FeedPage, FeedPageKind};
use grantry_store::{Outage, Result, StoreError};
use metrics::{Counter, Gauge, counter, gauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use self::snapshot::{Snapshot, Snapshots, failed};
use crate::tail::{Following, Tail};

/// How many may wait at once for what comes next. Each takes a connection and a few kilobytes.
pub const MOST_SUBSCRIBERS: usize = 4096;
/// How often a snapshot is made for an answer, should the log be read anew meanwhile.
const ATTEMPTS: u32 = 2;

pub struct Feed {
    tail: Arc<Tail>,
    snapshots: Snapshots,
    places: Arc<Semaphore>,
    meters: Meters,
}

/// A [`FeedPage`] as JSON on one line, in pieces: a snapshot may be large, and all who ask for it share it.
#[derive(Debug, Clone)]
pub struct FeedAnswer {
    pub kind: FeedPageKind,
    /// Where to go on.
    pub head: Seen,
    /// Whether there is nothing in it but the age of the proof.
    pub is_empty: bool,
    pub json: Vec<Bytes>,
}

/// A place among those who wait; given back on drop.
pub struct FeedPlace {
    _permit: OwnedSemaphorePermit,
    taken: Gauge,
}

impl Drop for FeedPlace {
    fn drop(&mut self) {
        self.taken.decrement(1.0);
    }
}

impl Feed {
    pub fn new(tail: Arc<Tail>) -> Arc<Self> {
        let snapshots = Snapshots::new(Arc::clone(&tail));
        let places = Arc::new(Semaphore::new(MOST_SUBSCRIBERS));
        Arc::new(Self { tail, snapshots, places, meters: Meters::new() })
    }

    /// What comes after the position; after nothing, or what this node does not know, all that is in force.
    ///
    /// # Errors
    /// [`Outage::Stale`] where this node cannot tell whether it knows the whole log.
    pub async fn answer(&self, after: Option<Seen>) -> Result<FeedAnswer> {
        // 1.
        let mut proved = self.tail.proof().await?;
        // 2.
        let mut found = self.tail.recent().following(after);
        // 3.
        if after.is_some_and(|after| after > found.head) {
            proved = self.tail.proof_from_now().await?;
            found = self.tail.recent().following(after);
        }
        let now = found.now;
        if let Some(entries) = found.entries {
            let page = self.page(FeedPageKind::Entries, found.head, now, proved, entries);
            return self.told(&page, None);
        }
        for _ in 0..ATTEMPTS {
            let snapshot = self.snapshots.get().await?;
            proved = self.tail.proof().await?;
            let Following { head, entries, now } = self.tail.recent().following(Some(snapshot.head));
            if let Some(entries) = entries {
                // What the snapshot lacks is what was over when it was made, and what is over cannot come back.
                let page = self.page(FeedPageKind::Snapshot, head, now, proved, entries);
                return self.told(&page, Some(&snapshot));
            }
            self.snapshots.discard(&snapshot).await;
        }
        Err(StoreError::unavailable(Outage::Stale, "the revocation log was read anew meanwhile"))
    }

    /// The answer to somebody who knows as much as this node.
    ///
    /// # Errors
    /// Never before the log was read.
    pub fn nothing_after(&self, after: Seen) -> Result<FeedAnswer> {
        let proved = self.tail.last_proof().ok_or_else(not_read)?;
        let now = self.tail.recent().following(None).now;
        self.told(&self.page(FeedPageKind::Entries, after, now, proved, Vec::new()), None)
    }

    /// Changes once there is an entry to tell of.
    pub fn news(&self) -> watch::Receiver<Seen> {
        self.tail.recent().news()
    }

    /// Whether the log has ended the token.
    pub fn has_ended(&self, token: &AccessToken) -> bool {
        let keys = RuleKeys::from(token);
        self.tail.ask(|index| index.is_ended(token.id, &keys)).unwrap_or(true)
    }

    /// `None` where [`MOST_SUBSCRIBERS`] wait already.
    pub fn place(&self) -> Option<FeedPlace> {
        let Ok(permit) = Arc::clone(&self.places).try_acquire_owned() else {
            self.meters.refused.increment(1);
            return None;
        };
        self.meters.subscribers.increment(1.0);
        Some(FeedPlace { _permit: permit, taken: self.meters.subscribers.clone() })
    }

    // 4.
    fn page(
        &self,
        kind: FeedPageKind,
        head: Seen,
        now: Timestamp,
        proved: Moment,
        entries: Vec<FeedEntry>,
    ) -> FeedPage {
        let max_staleness: Duration = self.tail.freshness().max_staleness();
        FeedPage { kind, head, age: self.tail.age(proved), max_staleness, now, entries }
    }

    /// The page, and before its entries those of the snapshot.
    fn told(&self, page: &FeedPage, snapshot: Option<&Snapshot>) -> Result<FeedAnswer> {
        let text = serde_json::to_vec(page).map_err(|error| failed(&error))?;
        let json = match snapshot {
            Some(snapshot) => snapshot.within(text),
            None => vec![text.into()],
        };
        let entries = page.entries.len() + snapshot.map_or(0, |snapshot| snapshot.len);
        self.meters.entries.increment(entries as u64);
        self.meters.bytes.increment(json.iter().map(|piece| piece.len() as u64).sum());
        let is_empty = page.kind == FeedPageKind::Entries && entries == 0;
        Ok(FeedAnswer { kind: page.kind, head: page.head, is_empty, json })
    }
}

fn not_read() -> StoreError {
    StoreError::unavailable(Outage::Stale, "this node has not read the revocation log yet")
}

struct Meters {
    subscribers: Gauge,
    refused: Counter,
    entries: Counter,
    bytes: Counter,
}

impl Meters {
    fn new() -> Self {
        Self {
            subscribers: gauge!("grantry_feed_subscribers"),
            refused: counter!("grantry_feed_subscribers_refused_total"),
            entries: counter!("grantry_feed_entries_sent_total"),
            bytes: counter!("grantry_feed_bytes_sent_total"),
        }
    }
}
