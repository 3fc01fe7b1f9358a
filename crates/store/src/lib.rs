//! The boundary between Grantry and whatever keeps its tokens.
//!
//! One trait per noun, together [`Store`]. What changes is handed in as data ([`TokenWrite`]), decided by pure
//! functions ([`decide_issue`], [`decide_rotation`]) and carried out by [`apply`], the same for every implementation,
//! on the rows that the implementation's own transaction brings ([`WriteRows`]).
//! A store has its own clock: what is compared with "now" in a guard is compared with the store's.

mod apply;
mod audit;
mod bell;
mod clients;
#[cfg(feature = "testing")]
pub mod conformance;
mod data_space;
mod decide;
mod error;
#[cfg(feature = "testing")]
mod faults;
mod grants;
mod keys;
mod memory;
mod nodes;
mod replication;
mod retention;
mod revocations;
mod settings;
mod status_lists;
mod tokens;
pub mod transfer;
mod writes;

pub use apply::{GrantRotation, ReadRows, WriteRows, apply, judge, judge_unstored, judge_unstored_grant};
pub use audit::{AuditEntry, AuditRecord, AuditTrail};
pub use bell::Bell;
pub use clients::{Announcement, ClientChange, ClientDeletion, ClientOutcome, Clients};
pub use data_space::{CopyKind, DataSpace, DataSpaceView, Precedence, Replicas, SharedCopy};
pub use decide::{
    Holder, IssueDecision, OpenDecision, RevokeDecision, RotationDecision, SettleDecision, Settling,
    decide_issue, decide_open, decide_revoke, decide_rotation, decide_settle,
};
pub use error::{Outage, StoreError};
#[cfg(feature = "testing")]
pub use faults::{Fault, FaultyStore};
pub use grants::{Grants, StoredGrant};
pub use keys::{KeyChange, KeyPurpose, KeyRecord, Keys};
pub use memory::MemoryStore;
pub use nodes::{CacheView, Node, NodeId, Nodes};
pub use replication::{Replication, ReplicationMode, ReplicationState, Standby};
pub use retention::{GrantsSwept, Retention, Swept};
pub use revocations::{LogView, Merge, MergeOutcome, Probe, Revocations, RuleAppend};
pub use settings::{ClusterId, Settings, SettingsChange, SettingsOutcome, StoredSettings};
pub use status_lists::{MAX_STATUS_INDEXES, StatusHead, StatusLists, check_reservation};
pub use tokens::{DeferredToken, StoredToken, TokenPage, TokenWriters, Tokens};
pub use writes::{
    AssertionKey, Issue, Opening, RevokeOutcome, Rotation, RotationOutcome, Settlement, SlotEnd, TokenWrite,
    Unwritten, WriteOutcome,
};

use grantry_protocol::Seen;

pub type Result<T> = std::result::Result<T, StoreError>;

/// What was read, and how much of the revocation log was in the same snapshot. Whatever is made of it carries `seen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observed<T> {
    pub seen: Seen,
    pub value: T,
}

/// Everything that a back end has to be.
pub trait Store:
    AuditTrail
    + Clients
    + Grants
    + Keys
    + Nodes
    + Replication
    + Retention
    + Revocations
    + Settings
    + StatusLists
    + Tokens
{
}

impl<S> Store for S where
    S: AuditTrail
        + Clients
        + Grants
        + Keys
        + Nodes
        + Replication
        + Retention
        + Revocations
        + Settings
        + StatusLists
        + Tokens
        + ?Sized
{
}
