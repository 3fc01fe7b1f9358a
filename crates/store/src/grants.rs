use async_trait::async_trait;
use grantry_protocol::{Grant, GrantId, GrantState, SlotKey, Subject, Timestamp};

use crate::Result;

/// A grant together with all that decides its state, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredGrant {
    pub grant: Grant,
    /// When it was ended by itself: revoked, or a spent refresh token came back.
    pub ended_at: Option<Timestamp>,
    /// A rule in the revocation log, later than what the grant has seen, ends it.
    pub ended_by_rule: bool,
}

impl StoredGrant {
    pub fn state(&self, now: Timestamp) -> GrantState {
        match () {
            () if self.ended_at.is_some() || self.ended_by_rule => GrantState::Revoked,
            () if self.grant.ends_at() <= now => GrantState::Expired,
            () => GrantState::Active,
        }
    }

    /// When it was over, whichever end came first; a rule in the log apart.
    pub fn over_at(&self) -> Timestamp {
        self.ended_at.map_or(self.grant.ends_at(), |ended_at| ended_at.min(self.grant.ends_at()))
    }

    pub fn is_active(&self, now: Timestamp) -> bool {
        self.state(now) == GrantState::Active
    }
}

/// Grants are opened, rotated and ended by token writes: [`crate::TokenWrite`].
#[async_trait]
pub trait Grants: Send + Sync {
    async fn grant_find(&self, id: GrantId) -> Result<Option<StoredGrant>>;

    /// Where a grant stands that a refresh token brings along, rotated never: what the revocation log and its row, if it
    /// has one by now, add to it.
    async fn grant_judge_unstored(&self, grant: Grant) -> Result<StoredGrant>;

    /// The grant of slot binding `none` that was last opened for the slot, whatever its state.
    async fn grant_find_by_slot(&self, slot: SlotKey) -> Result<Option<StoredGrant>>;

    /// At most `limit` grants of the subject, users and clients of that name alike, with an id below `before`, newest
    /// first.
    async fn grant_list(
        &self,
        subject: &Subject,
        before: Option<GrantId>,
        limit: usize,
    ) -> Result<Vec<StoredGrant>>;

    /// How many grant rows there are; a full count, for operators and benchmarks.
    async fn grant_count(&self) -> Result<u64>;

    /// The latest absolute end of any grant; walks through all of them, for the rotation of keys.
    async fn grant_last_expiry(&self) -> Result<Option<Timestamp>>;
}
