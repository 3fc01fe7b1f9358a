use std::ops::Bound;

use async_trait::async_trait;
use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Ending, LogKind, SlotKey, Subject, Timestamp, TokenId,
};

use super::{MemoryStore, State, TokenRow};
use crate::{
    AuditEntry, Holder, Issue, IssueDecision, Result, RevokeDecision, RevokeOutcome, StoredToken, TokenPage,
    TokenWrite, Tokens, WriteOutcome, decide_issue, decide_revoke,
};

impl State {
    pub(super) fn stored(&self, id: TokenId) -> Option<StoredToken> {
        let row = self.tokens.get(&id)?;
        Some(StoredToken {
            token: row.token.clone(),
            ended: row.ended,
            ended_by_rule: self.is_ended_by_rule((&row.token).into()),
            holds_slot: self.slots.get(&row.token.slot).is_some_and(|holder| holder.id == id),
        })
    }

    fn apply(&mut self, write: TokenWrite, now: Timestamp) -> WriteOutcome {
        match write {
            TokenWrite::Issue(issue) => self.issue(&issue, now),
            TokenWrite::Open(opening) => self.open(&opening, now),
            TokenWrite::Rotate(rotation) => WriteOutcome::Rotated(self.rotate(&rotation, now)),
            TokenWrite::Revoke { id, audit } => {
                let outcome = self.revoke(id, now);
                self.record_if_revoked(outcome, audit.as_deref());
                WriteOutcome::Revoked(outcome)
            }
            TokenWrite::RevokeGrant { id, keep_until, audit } => {
                let outcome = self.revoke_grant(id, keep_until, now);
                self.record_if_revoked(outcome, audit.as_deref());
                WriteOutcome::Revoked(outcome)
            }
            TokenWrite::ConsumeAssertion { key, expires_at } => self.consume(key, expires_at, now),
            TokenWrite::Heartbeat { node } => {
                self.nodes.insert(node, now);
                WriteOutcome::HeartbeatRecorded
            }
        }
    }

    fn record_if_revoked(&mut self, outcome: RevokeOutcome, audit: Option<&AuditEntry>) {
        if let (RevokeOutcome::Revoked(_), Some(audit)) = (outcome, audit) {
            self.record(audit.clone());
        }
    }

    fn issue(&mut self, issue: &Issue, now: Timestamp) -> WriteOutcome {
        let already_written = self.tokens.contains_key(&issue.token.id);
        let holder = self.slots.get(&issue.token.slot).copied();
        match decide_issue(issue, already_written, holder, now) {
            IssueDecision::AlreadyWritten => return WriteOutcome::Issued,
            IssueDecision::YieldTo(id) => {
                if let Some(holder) = self.stored(id) {
                    return WriteOutcome::SlotHeld(Box::new(holder));
                }
            }
            IssueDecision::TakeSlotAndEnd(id) => self.end(id, Ending::Inactive, now),
            IssueDecision::TakeSlot => {}
        }
        self.insert(&issue.token);
        WriteOutcome::Issued
    }

    /// Gives the token its slot, whoever holds it.
    pub(super) fn displace_and_insert(
        &mut self,
        token: &AccessToken,
        policy: ActiveTokenPolicy,
        now: Timestamp,
    ) {
        if policy == ActiveTokenPolicy::Replace
            && let Some(holder) = self.slots.get(&token.slot).copied()
            && holder.expires_at > now
        {
            self.end(holder.id, Ending::Inactive, now);
        }
        self.insert(token);
    }

    fn insert(&mut self, token: &AccessToken) {
        self.slots.insert(token.slot, Holder { id: token.id, expires_at: token.expires_at });
        self.tokens.insert(token.id, TokenRow { token: token.clone(), ended: None });
    }

    fn revoke(&mut self, id: TokenId, now: Timestamp) -> RevokeOutcome {
        match decide_revoke(self.stored(id).as_ref(), now) {
            RevokeDecision::Unknown => RevokeOutcome::Unknown,
            RevokeDecision::AlreadyOver => RevokeOutcome::AlreadyOver,
            RevokeDecision::End(ending) => {
                self.end(id, ending, now);
                RevokeOutcome::Revoked(self.head.0.position)
            }
        }
    }

    fn end(&mut self, id: TokenId, ending: Ending, now: Timestamp) {
        let Some(row) = self.tokens.get_mut(&id) else { return };
        row.ended = Some(ending);
        let (slot, expires_at) = (row.token.slot, row.token.expires_at);
        if self.slots.get(&slot).is_some_and(|holder| holder.id == id) {
            self.slots.remove(&slot);
        }
        self.announce(LogKind::Token, id.as_bytes().to_vec(), expires_at, now);
    }
}

#[async_trait]
impl Tokens for MemoryStore {
    async fn token_write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>> {
        let now = self.clock.now();
        let mut state = self.state();
        Ok(batch.into_iter().map(|write| state.apply(write, now)).collect())
    }

    async fn token_find(&self, id: TokenId) -> Result<Option<StoredToken>> {
        Ok(self.state().stored(id))
    }

    async fn token_find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>> {
        let state = self.state();
        Ok(state.slots.get(&slot).and_then(|holder| state.stored(holder.id)))
    }

    async fn token_list(
        &self,
        subject: &Subject,
        before: Option<TokenId>,
        limit: usize,
        among: usize,
    ) -> Result<TokenPage> {
        let state = self.state();
        let rows = state.tokens.range((Bound::Unbounded, before.map_or(Bound::Unbounded, Bound::Excluded)));
        let mut page = TokenPage { tokens: Vec::new(), next: None };
        for (looked_at, (id, row)) in (1..).zip(rows.rev()) {
            page.tokens.extend(state.stored(*id).filter(|_| row.token.subject == *subject));
            if page.tokens.len() == limit || looked_at == among {
                page.next = Some(*id);
                break;
            }
        }
        Ok(page)
    }

    async fn token_last_expiry(&self) -> Result<Option<Timestamp>> {
        Ok(self.state().tokens.values().map(|row| row.token.expires_at).max())
    }

    async fn token_count(&self) -> Result<u64> {
        Ok(self.state().tokens.len() as u64)
    }
}
