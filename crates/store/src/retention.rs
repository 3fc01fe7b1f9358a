use std::time::Duration;

use async_trait::async_trait;

use crate::Result;

/// What one step of the clean-up removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    pub tokens: u64,
    pub slots: u64,
    pub log_entries: u64,
    pub nodes: u64,
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
    /// `keep_until` that no stored token is older than, and nodes without a heartbeat for as long as `retention`. A
    /// shorter setting never removes a live token. A slot whose holder has merely expired stays until the holder's row
    /// leaves: the next issue takes it over, so that nothing has to find expired slots.
    async fn retention_sweep(&self, retention: Duration, limit: usize) -> Result<Swept>;
}
