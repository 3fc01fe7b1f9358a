use std::ops::Bound;

use async_trait::async_trait;
use grantry_protocol::{Grant, GrantId, SlotKey, Subject, Timestamp};

use super::rows::Rows;
use super::tokens::infallible;
use super::{MemoryStore, State};
use crate::{Grants, Result, StoredGrant, judge_unstored_grant};

impl State {
    pub(super) fn stored_grant(&self, id: GrantId) -> Option<StoredGrant> {
        let stored = self.grants.get(&id)?;
        Some(StoredGrant { ended_by_rule: self.is_ended_by_rule(&(&stored.grant).into()), ..stored.clone() })
    }

    pub(super) fn slots_grant(&self, slot: SlotKey) -> Option<StoredGrant> {
        self.grant_slots.get(&slot).and_then(|id| self.stored_grant(*id))
    }
}

#[async_trait]
impl Grants for MemoryStore {
    async fn grant_find(&self, id: GrantId) -> Result<Option<StoredGrant>> {
        Ok(self.state().stored_grant(id))
    }

    async fn grant_judge_unstored(&self, grant: Grant) -> Result<StoredGrant> {
        let now = self.clock.now();
        Ok(infallible(judge_unstored_grant(&mut Rows { state: &mut self.state(), now }, &grant)))
    }

    async fn grant_find_by_slot(&self, slot: SlotKey) -> Result<Option<StoredGrant>> {
        Ok(self.state().slots_grant(slot))
    }

    async fn grant_list(
        &self,
        subject: &Subject,
        before: Option<GrantId>,
        limit: usize,
    ) -> Result<Vec<StoredGrant>> {
        let state = self.state();
        let rows = state.grants.range((Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded)));
        let own = rows.rev().filter(|(_, stored)| stored.grant.subject == *subject).take(limit);
        Ok(own.filter_map(|(id, _)| state.stored_grant(*id)).collect())
    }

    async fn grant_count(&self) -> Result<u64> {
        Ok(self.state().grants.len() as u64)
    }

    async fn grant_last_expiry(&self) -> Result<Option<Timestamp>> {
        Ok(self.state().grants.values().map(|stored| stored.grant.expires_at).max())
    }
}
