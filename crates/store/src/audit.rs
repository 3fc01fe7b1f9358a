use async_trait::async_trait;
use grantry_protocol::Timestamp;

use crate::Result;

/// What an administrator did, or an attack that was fended off. Written in the transaction of the deed itself where
/// there is one, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    pub at: Timestamp,
    /// The client whose token authorized it, or `host` for the command line on the store itself.
    pub actor: String,
    /// Noun and verb: `client.create`.
    pub action: &'static str,
    /// What it was done to, as the noun's id.
    pub target: String,
    /// Which fields were changed; never a secret.
    pub detail: serde_json::Value,
    /// The id that the answer carried, where there was a request.
    pub request_id: Option<String>,
}

/// An entry as it is read back; the action is text then, since an older or newer version may have written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    pub number: u64,
    pub at: Timestamp,
    pub actor: String,
    pub action: String,
    pub target: String,
    pub detail: serde_json::Value,
    pub request_id: Option<String>,
}

#[async_trait]
pub trait AuditTrail: Send + Sync {
    /// For what changes nothing else; a deed is recorded in its own transaction.
    async fn audit_append(&self, entry: AuditEntry) -> Result<()>;

    /// At most `limit` entries numbered above `after`, oldest first.
    async fn audit_list(&self, after: u64, limit: usize) -> Result<Vec<AuditRecord>>;
}
