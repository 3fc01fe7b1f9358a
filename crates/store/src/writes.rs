use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Grant, GrantId, NodeNumber, Position, Seen, Timestamp, TokenId,
};

use crate::{AuditEntry, NodeId, StoredGrant, StoredToken};

/// A change of tokens as data: made by a flow, grouped and retried by the persister, decided by the store. Cheap to
/// clone, since a batch is kept for the case that it has to be halved.
#[derive(Debug, Clone)]
pub enum TokenWrite {
    Issue(Arc<Issue>),
    /// Writes a token that its caller has been given already. It gets its row whoever holds the slot; what gives way
    /// is decided by the order of the ids, so that any order of writing ends the same.
    Settle(Arc<Issue>),
    /// Ends everything earlier of the slot of a token that gets no row, by a rule in the revocation log.
    EndSlot(Arc<SlotEnd>),
    /// Opens a grant with its first access token.
    Open(Arc<Opening>),
    Rotate(Arc<Rotation>),
    /// Ends one token and announces it in the revocation log. The audit row, for an administrator's deed, is written
    /// if the token was ended by it.
    Revoke {
        id: TokenId,
        /// Set where the token says that it has no row, or that its row may still be on its way.
        unwritten: Option<Unwritten>,
        audit: Option<Arc<AuditEntry>>,
    },
    /// Ends a grant and, by a rule in the log, every token of it.
    RevokeGrant {
        id: GrantId,
        /// The grant as its refresh token says it, where it need not have a row.
        origin: Option<Arc<Grant>>,
        /// When the last token of it has expired, and the grant itself if it need not have a row.
        keep_until: Timestamp,
        audit: Option<Arc<AuditEntry>>,
    },
    /// Remembers that an assertion was used.
    ConsumeAssertion {
        key: AssertionKey,
        /// When the assertion has expired for every clock that may still take it.
        expires_at: Timestamp,
    },
    /// Renews the node's own row, and moves its drain mark up.
    Heartbeat {
        node: NodeId,
        drained_below: Option<TokenId>,
    },
}

impl TokenWrite {
    /// Whether the caller may be answered before it is committed. Issuing an access token alone: what consumes, rotates
    /// or revokes never is.
    pub const fn may_be_deferred(&self) -> bool {
        matches!(self, Self::Issue(_))
    }
}

/// A token whose row is not there. It may come, or the token never gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unwritten {
    /// The node from which the row may come; absent where none will.
    pub by: Option<NodeNumber>,
    /// When it has expired at the latest, and nobody can ask for it any more.
    pub expires_by: Timestamp,
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

/// A token that gets no row and is to be the only valid one of its slot.
#[derive(Debug, Clone)]
pub struct SlotEnd {
    /// With what had been seen when its authority was checked.
    pub token: AccessToken,
    /// When everything earlier of the slot has expired.
    pub keep_until: Timestamp,
}

/// A grant that asks for its slot, if it has one, and its first access token, which displaces whatever holds its own.
#[derive(Debug, Clone)]
pub struct Opening {
    pub grant: Grant,
    pub token: AccessToken,
    /// Whether the access token gets a row. Where it gets none, the grant is not to be found by its slot: whoever joined it
    /// would look for that row.
    pub is_stored: bool,
    /// `replace` ends the token that is displaced; otherwise it retires.
    pub policy: ActiveTokenPolicy,
}

/// A refresh token that is being used.
#[derive(Debug, Clone)]
pub struct Rotation {
    pub grant: GrantId,
    /// The grant as the refresh token says it, rotated never: what its row begins with if it has none yet.
    pub origin: Option<Arc<Grant>>,
    /// The counter that the refresh token carries.
    pub presented: u32,
    /// Whether using it makes the next one; `false` for clients whose refresh token stays the same.
    pub advance: bool,
    /// How long after a rotation the refresh token before it may still come back, as the retry of a lost answer.
    pub grace: Duration,
    /// How long the grant lives from now on if nobody refreshes again.
    pub idle: Duration,
    /// The new access token. If it gets a row, it displaces whatever holds its slot.
    pub token: AccessToken,
    /// Whether the access token gets a row.
    pub is_stored: bool,
    /// `replace` ends the token that is displaced, and the last one of the grant if that has no row; otherwise they retire.
    pub policy: ActiveTokenPolicy,
    /// The longest that an access token lives.
    pub token_life: Duration,
    /// Should it turn out to be reuse: until when the log has to remember the end of the grant, and the audit row.
    pub keep_until: Timestamp,
    pub reuse_audit: AuditEntry,
}

/// Who signed the assertion and its `jti`, hashed (RFC 7523 §3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AssertionKey(pub [u8; 32]);

/// What became of one write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The token is committed.
    Issued,
    /// Nothing was written: this token holds the slot.
    SlotHeld(Box<StoredToken>),
    Settled(Settlement),
    /// Everything of the slot that has seen less than this is ended.
    SlotEnded(Seen),
    /// Nothing was written: a rule has ended the token itself since its authority was checked.
    RuledOut,
    /// Grant and token are committed.
    Opened,
    /// Nothing was written: this live grant holds the slot.
    GrantHeld(Box<StoredGrant>),
    Rotated(RotationOutcome),
    Revoked(RevokeOutcome),
    AssertionConsumed,
    /// It was used before. Nothing was written.
    AssertionReplayed,
    HeartbeatRecorded,
}

/// What became of a token that was answered before it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settlement {
    /// It has its row and its slot.
    Active,
    /// The same, and this earlier token, which held the slot, was ended as INACTIVE and announced.
    ActiveAfter(TokenId),
    /// It has its row, and the slot has moved on: it is honoured until it expires.
    Retired,
    /// It has its row, but a later token held the slot: it was ended as INACTIVE and announced.
    Inactive,
    /// It has its row, and had been ended before that.
    Revoked,
    /// It was written before; nothing was changed.
    AlreadyWritten,
    /// It expired before it was written, and nobody can need its row.
    Expired,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RotationOutcome {
    /// The access token that was handed in is committed; the good refresh token has this counter.
    Refreshed { counter: u32 },
    /// The same refresh was done before, and this is what it gave; nothing was written.
    Repeated { counter: u32, token: Box<StoredToken> },
    /// A retry that was overtaken by later ones. Nothing was written.
    TooSlow,
    /// A spent refresh token came back. The grant was ended by this write.
    Reused,
    /// The refresh token is newer than the grant's row: the store has lost a commit. Nothing was written.
    Ahead,
    /// The grant is over. Nothing was written.
    Over,
    /// No such grant.
    Unknown,
}

/// What became of the end of a token or of a grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RevokeOutcome {
    /// Ended by this write, and announced at this position. A token without a row, too, if it may still come.
    Revoked(Position),
    /// It had ended before, or is a token that has expired; nothing was written.
    AlreadyOver,
    /// Nothing of that id.
    Unknown,
}
