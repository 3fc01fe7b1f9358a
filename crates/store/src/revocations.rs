use async_trait::async_trait;
use grantry_protocol::{LogEntry, LogHead, Position};

use crate::Result;

#[async_trait]
pub trait Revocations: Send + Sync {
    async fn revocation_head(&self) -> Result<LogHead>;

    /// At most `limit` entries after `after`, in order.
    async fn revocation_list(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>>;
}
