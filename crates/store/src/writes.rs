use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{AccessToken, ActiveTokenPolicy, Position, TokenId};

use crate::{AuditEntry, NodeId, StoredToken};

/// A change of tokens as data: made by a flow, grouped and retried by the persister, decided by the store. Cheap to
/// clone, since a batch is kept for the case that it has to be halved.
#[derive(Debug, Clone)]
pub enum TokenWrite {
    Issue(Arc<Issue>),
    /// Ends one token and announces it in the revocation log. The audit row, for an administrator's deed, is written
    /// if the token was ended by it.
    Revoke {
        id: TokenId,
        audit: Option<Arc<AuditEntry>>,
    },
    /// Renews the node's own row.
    Heartbeat {
        node: NodeId,
    },
}

/// A token that asks for its slot.
#[derive(Debug, Clone)]
pub struct Issue {
    pub token: AccessToken,
    pub policy: ActiveTokenPolicy,
    /// A holder that was read and found not reusable: it may be displaced, any other live one wins the slot.
    pub observed: Option<TokenId>,
    /// A holder with no more life left than this is displaced, too.
    pub min_life: Duration,
}

/// What became of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The token is committed.
    Issued,
    /// Nothing was written: this token holds the slot.
    SlotHeld(Box<StoredToken>),
    Revoked(RevokeOutcome),
    HeartbeatRecorded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// Ended by this write, and announced at this position.
    Revoked(Position),
    /// It had ended before, or has expired; nothing was written.
    AlreadyOver,
    /// No such token.
    Unknown,
}
