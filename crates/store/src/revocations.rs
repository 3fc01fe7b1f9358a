use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{LogEntry, LogHead, LogPage, Position, Rule, Seen, Timestamp};
use tokio::sync::watch;

use crate::{AuditEntry, NodeId, Result};

/// A rule that an administrator makes.
#[derive(Debug, Clone)]
pub struct RuleAppend {
    pub rule: Rule,
    /// When everything that it can end has expired by itself.
    pub keep_until: Timestamp,
    pub audit: AuditEntry,
}

/// A node asks how the log goes on, and proves by a write of its own that it asks whoever takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    pub node: NodeId,
    /// What the node has applied; what follows its position is wanted.
    pub applied: Seen,
    /// The most entries that are wanted.
    pub limit: usize,
}

/// Gives back to a log what it has lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// Where the log has to end for it.
    pub from: LogHead,
    /// Whether the entries begin a new epoch, since nodes have seen positions that the log has not.
    pub raise_epoch: bool,
    /// Appended in this order. Of each the kind, the key and `keep_until` count; it gets an epoch and a position anew.
    pub entries: Vec<LogEntry>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeOutcome {
    /// Where the log ends now.
    Merged(LogHead),
    /// The log did not end where it had to. Nothing was written.
    Moved,
}

/// How far a node has followed the log, and how long ago it last proved that this was all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogView {
    pub head: LogHead,
    pub staleness: Duration,
    /// Beyond it the node answers nothing as valid.
    pub max_staleness: Duration,
}

#[async_trait]
pub trait Revocations: Send + Sync {
    async fn revocation_head(&self) -> Result<LogHead>;

    /// At most `limit` entries after `after`, in order.
    async fn revocation_list(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>>;

    /// Whether the log has a rule that names the same, and has not forgotten it.
    async fn revocation_rule_exists(&self, rule: &Rule) -> Result<bool>;

    /// Appends a rule, with its audit row in the same transaction; answers what has seen it.
    async fn revocation_append(&self, append: RuleAppend) -> Result<Seen>;

    /// Where the log ends, what follows what the node has applied, and the store's time. The head is read first, so
    /// whatever was acknowledged before the call is in it.
    ///
    /// A store that others may have taken the place of commits the node's heartbeat and `applied` before it answers:
    /// who is no longer the primary cannot. Where reading is proof enough, as in a file, the row follows what the node
    /// has applied as well as it can.
    ///
    /// # Errors
    /// An outage whenever that is not proved; the connection on which it was asked is not used again then.
    async fn revocation_probe(&self, probe: Probe) -> Result<LogPage>;

    /// Appends the entries in one transaction if the log still ends where they were found to be missing.
    async fn revocation_merge(&self, merge: Merge) -> Result<MergeOutcome>;

    /// Rings when the log may have grown, now and then for nothing, and never for certain: a hint that saves waiting.
    /// To be called within a Tokio runtime. The bell of a store that was dropped is closed.
    fn revocation_bell(&self) -> watch::Receiver<u64>;

    /// Returns once all that was committed before the call shows in what this answers; only where there are copies does
    /// that take time, and at most as long as copies may be out of date.
    async fn revocation_catch_up(&self) {}

    /// What this node knows of the log by itself; nothing where every question goes to the store.
    fn revocation_view(&self) -> Option<LogView> {
        None
    }
}
