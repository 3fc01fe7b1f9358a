use std::ops::Bound;

use async_trait::async_trait;
use grantry_protocol::{GrantId, GrantState, LogKind, SlotKey, Subject, Timestamp};

use super::{MemoryStore, State};
use crate::{
    AssertionKey, Grants, OpenDecision, Opening, Result, RevokeOutcome, Rotation, RotationDecision,
    RotationOutcome, StoredGrant, WriteOutcome, decide_open, decide_rotation,
};

impl State {
    fn stored_grant(&self, id: GrantId) -> Option<StoredGrant> {
        let stored = self.grants.get(&id)?;
        Some(StoredGrant { ended_by_rule: self.is_ended_by_rule((&stored.grant).into()), ..stored.clone() })
    }

    fn slots_grant(&self, slot: SlotKey) -> Option<StoredGrant> {
        self.grant_slots.get(&slot).and_then(|id| self.stored_grant(*id))
    }

    pub(super) fn open(&mut self, opening: &Opening, now: Timestamp) -> WriteOutcome {
        let grant = &opening.grant;
        let holder = grant.slot.and_then(|slot| self.slots_grant(slot));
        match (decide_open(opening, self.grants.contains_key(&grant.id), holder.as_ref(), now), holder) {
            (OpenDecision::AlreadyWritten, _) => return WriteOutcome::Opened,
            (OpenDecision::Yield, Some(holder)) => return WriteOutcome::GrantHeld(Box::new(holder)),
            (OpenDecision::Yield | OpenDecision::Open, _) => {}
        }
        if let Some(slot) = grant.slot {
            self.grant_slots.insert(slot, grant.id);
        }
        let stored = StoredGrant { grant: grant.clone(), ended_at: None, ended_by_rule: false };
        self.grants.insert(grant.id, stored);
        self.displace_and_insert(&opening.token, opening.policy, now);
        WriteOutcome::Opened
    }

    pub(super) fn rotate(&mut self, rotation: &Rotation, now: Timestamp) -> RotationOutcome {
        let Some(stored) = self.stored_grant(rotation.grant) else { return RotationOutcome::Unknown };
        let mut grant = stored.grant.clone();
        let is_written = self.tokens.contains_key(&rotation.token.id);
        match decide_rotation(rotation, &stored, now) {
            RotationDecision::Over => return RotationOutcome::Over,
            RotationDecision::Ahead => return RotationOutcome::Ahead,
            RotationDecision::TooSlow => return RotationOutcome::TooSlow,
            RotationDecision::Reuse => {
                self.end_grant(rotation.grant, rotation.keep_until, now);
                self.record(rotation.reuse_audit.clone());
                return RotationOutcome::Reused;
            }
            RotationDecision::Repeat => {
                let given = self.stored(grant.access_token).filter(|given| {
                    given.state(now).is_honoured() && given.token.slot == rotation.token.slot
                });
                if let Some(token) = given {
                    return RotationOutcome::Repeated { counter: grant.counter, token: Box::new(token) };
                }
            }
            RotationDecision::Keep if is_written => {}
            RotationDecision::Keep => {
                grant.access_token = rotation.token.id;
                grant.idle_expires_at = now + rotation.idle;
            }
            RotationDecision::Rotate { from } => {
                grant.counter = from + 1;
                grant.rotated_at = now;
                grant.access_token = rotation.token.id;
                grant.idle_expires_at = now + rotation.idle;
            }
        }
        let counter = grant.counter;
        self.grants.insert(rotation.grant, StoredGrant { grant, ..stored });
        // An earlier attempt may have been committed and its answer lost.
        if !is_written {
            self.displace_and_insert(&rotation.token, rotation.policy, now);
        }
        RotationOutcome::Refreshed { counter }
    }

    pub(super) fn revoke_grant(
        &mut self,
        id: GrantId,
        keep_until: Timestamp,
        now: Timestamp,
    ) -> RevokeOutcome {
        match self.stored_grant(id) {
            None => RevokeOutcome::Unknown,
            Some(stored) if stored.state(now) == GrantState::Revoked => RevokeOutcome::AlreadyOver,
            Some(_) => {
                self.end_grant(id, keep_until, now);
                RevokeOutcome::Revoked(self.head.0.position)
            }
        }
    }

    fn end_grant(&mut self, id: GrantId, keep_until: Timestamp, now: Timestamp) {
        if let Some(stored) = self.grants.get_mut(&id) {
            stored.ended_at = Some(now);
        }
        self.announce(LogKind::Grant, id.as_bytes().to_vec(), keep_until, now);
    }

    pub(super) fn consume(
        &mut self,
        key: AssertionKey,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> WriteOutcome {
        if self.assertions.get(&key).is_some_and(|until| *until > now) {
            return WriteOutcome::AssertionReplayed;
        }
        self.assertions.insert(key, expires_at);
        WriteOutcome::AssertionConsumed
    }
}

#[async_trait]
impl Grants for MemoryStore {
    async fn grant_find(&self, id: GrantId) -> Result<Option<StoredGrant>> {
        Ok(self.state().stored_grant(id))
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
