use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;

use async_trait::async_trait;
use grantry_protocol::{AccessToken, NodeNumber, SlotKey, Subject, Timestamp, TokenId};

use super::rows::Rows;
use super::{MemoryStore, State, TokenRow};
use crate::{
    DeferredToken, Issue, Result, StoredToken, TokenPage, TokenWrite, Tokens, WriteOutcome, apply, judge,
    judge_unstored,
};

impl State {
    pub(super) fn stored(&self, id: TokenId) -> Option<StoredToken> {
        let row = self.tokens.get(&id)?;
        Some(StoredToken {
            token: row.token.clone(),
            ended: row.ended,
            ended_by_rule: self.is_ended_by_rule(&(&row.token).into()),
            holds_slot: self.slots.get(&row.token.slot).is_some_and(|holder| holder.id == id),
        })
    }

    /// Newest first.
    fn tokens_before(&self, before: Option<TokenId>) -> impl Iterator<Item = (&TokenId, &TokenRow)> {
        let below = before.map_or(Bound::Unbounded, Bound::Excluded);
        self.tokens.range((Bound::Unbounded, below)).rev()
    }

    pub(super) fn free(&mut self, slot: SlotKey, holder: TokenId) -> bool {
        let is_holder = self.slots.get(&slot).is_some_and(|present| present.id == holder);
        if is_holder {
            self.slots.remove(&slot);
        }
        is_holder
    }
}

#[async_trait]
impl Tokens for MemoryStore {
    async fn token_write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>> {
        let now = self.clock.now();
        let mut rows = Rows { state: &mut self.state(), now };
        Ok(batch.iter().map(|write| infallible(apply(&mut rows, write))).collect())
    }

    async fn token_judge(&self, issue: Arc<Issue>) -> Result<StoredToken> {
        let now = self.clock.now();
        let mut rows = Rows { state: &mut self.state(), now };
        Ok(infallible(judge(&mut rows, &issue, now)))
    }

    async fn token_judge_unstored(&self, token: AccessToken) -> Result<StoredToken> {
        let now = self.clock.now();
        Ok(infallible(judge_unstored(&mut Rows { state: &mut self.state(), now }, token)))
    }

    async fn token_find_deferred(&self, id: TokenId, by: NodeNumber) -> Result<DeferredToken> {
        let state = self.state();
        if let Some(stored) = state.stored(id) {
            return Ok(DeferredToken::Stored(Box::new(stored)));
        }
        let node = state.nodes.values().find(|node| node.number == Some(by));
        Ok(match node {
            _ if state.early_ends.contains_key(&id) => DeferredToken::EndedEarly,
            Some(node) if node.drained_below.is_none_or(|mark| mark <= id) => DeferredToken::Expected,
            Some(_) | None => DeferredToken::Absent,
        })
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
        let mut page = TokenPage { tokens: Vec::new(), next: None };
        for (looked_at, (id, row)) in (1..).zip(state.tokens_before(before)) {
            page.tokens.extend(state.stored(*id).filter(|_| row.token.subject == *subject));
            if page.tokens.len() == limit || looked_at == among {
                page.next = Some(*id);
                break;
            }
        }
        Ok(page)
    }

    async fn token_newest(&self, before: Option<TokenId>, limit: usize) -> Result<Vec<StoredToken>> {
        let state = self.state();
        let ids = state.tokens_before(before).take(limit).map(|(id, _)| *id);
        Ok(ids.filter_map(|id| state.stored(id)).collect())
    }

    async fn token_last_expiry(&self) -> Result<Option<Timestamp>> {
        Ok(self.state().tokens.values().map(|row| row.token.expires_at).max())
    }

    async fn token_count(&self) -> Result<u64> {
        Ok(self.state().tokens.len() as u64)
    }
}

pub(super) fn infallible<T>(result: std::result::Result<T, Infallible>) -> T {
    match result {
        Ok(value) => value,
    }
}
