use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::GrantId;

use crate::Result;

/// What one step of the clean-up removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    pub tokens: u64,
    pub slots: u64,
    pub log_entries: u64,
    pub nodes: u64,
    pub assertions: u64,
    /// Ends of tokens that never got a row.
    pub early_ends: u64,
    /// Where tokens and log entries leave by whole partitions, those; their rows are not counted then.
    pub partitions: u64,
}

/// What one step of the walk over the grants did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantsSwept {
    pub removed: u64,
    /// The last grant that it looked at; absent once there are no more.
    pub last: Option<GrantId>,
}

impl Swept {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[async_trait]
pub trait Retention: Send + Sync {
    /// Removes, of each noun, at most `limit` rows that nobody can need any more: tokens that were issued longer than
    /// `retention` ago *and* have expired, with them the slots that they still hold, log entries past their
    /// `keep_until` that no stored token is older than (nor, for rules about clients, subjects, sessions, slots and
    /// all, any stored grant), nodes without a heartbeat for as long as `retention`, assertions that have expired, and early ends of tokens that
    /// have. A
    /// shorter setting never removes a live token. A slot whose holder has merely expired stays until the holder's row
    /// leaves: the next issue takes it over, so that nothing has to find expired slots.
    ///
    /// A store that drops tokens or log entries together with others of their time removes them later than it could, by
    /// a bounded time, never sooner; of those it counts what it drops as a whole, not rows. Slots whose holder expired
    /// longer than `retention` ago may go by themselves there.
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> Result<Swept>;

    /// Looks at the next `limit` grants with an id above `after`, in the order of their ids, and removes those that
    /// were over longer than `retention` ago, by themselves or by their time. Grants change in place, so an index by their end would cost each refresh; walking
    /// over all of them now and then does not.
    async fn retention_sweep_grants(
        &self,
        after: Option<GrantId>,
        retention: Duration,
        limit: usize,
    ) -> Result<GrantsSwept>;
}
