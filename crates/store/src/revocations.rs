use async_trait::async_trait;
use grantry_protocol::{LogEntry, LogHead, Position, Rule, Seen, Timestamp};

use crate::{AuditEntry, Result};

/// A rule that an administrator makes.
#[derive(Debug, Clone)]
pub struct RuleAppend {
    pub rule: Rule,
    /// When everything that it can end has expired by itself.
    pub keep_until: Timestamp,
    pub audit: AuditEntry,
}

#[async_trait]
pub trait Revocations: Send + Sync {
    async fn revocation_head(&self) -> Result<LogHead>;

    /// At most `limit` entries after `after`, in order.
    async fn revocation_list(&self, after: Position, limit: usize) -> Result<Vec<LogEntry>>;

    /// Appends a rule, with its audit row in the same transaction; answers what has seen it.
    async fn revocation_append(&self, append: RuleAppend) -> Result<Seen>;
}
