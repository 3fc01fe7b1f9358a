//! A store with near caches in front, and the data space between them and it. Whatever is answered from here was looked up while this node was fresh, and was not
//! ended by anything in its index.
//!
//! A copy of a token needs nobody to invalidate it: a token never changes, and whatever ends it is in the log. A copy of
//! a client is good until an entry about that client comes later than what the copy has seen.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use grantry_protocol::{
    AccessToken, ClientId, Clock, Ending, Grant, GrantId, NodeNumber, RuleKeys, SlotKey, Subject, Timestamp,
    TokenId, TokenState,
};
use grantry_store::{
    DeferredToken, Grants, Issue, Outage, Result, RotationOutcome, Settlement, Store, StoreError,
    StoredGrant, StoredToken, TokenPage, TokenWrite, TokenWriters, Tokens, WriteOutcome,
};

use crate::data_space::SharedCopies;
use crate::near::{NearCache, NearCacheSettings, OpenError};
use crate::tail::Tail;

/// How often something is looked up again because the node was no longer fresh when it had been found.
const ATTEMPTS: u32 = 2;

/// What the expression finds while this node is fresh; it is evaluated anew where that took too long.
macro_rules! fresh {
    ($store:ident, $look:expr) => {{
        for _ in 0..ATTEMPTS {
            let pass = $store.tail.pass().await?;
            let found = $look;
            if $store.tail.is_good(pass) {
                return Ok(found);
            }
        }
        Err(too_slow())
    }};
}

mod capacities;
mod clients;
mod forward;
mod load;
mod shared;
mod status_lists;

pub use self::capacities::Capacities;
use self::clients::ClientCopy;

fn too_slow() -> StoreError {
    StoreError::unavailable(Outage::Stale, "the store answers too slowly to know that an answer still holds")
}

#[derive(Debug, Clone, Copy)]
pub struct CacheSettings {
    pub tokens: NearCacheSettings,
    pub token_owners: NearCacheSettings,
    pub clients: NearCacheSettings,
}

/// The copies.
struct Near {
    tokens: NearCache<TokenId, StoredToken>,
    /// The token that was last known to hold a slot.
    token_owners: NearCache<SlotKey, TokenId>,
    clients: NearCache<ClientId, ClientCopy>,
}

pub struct CachedStore {
    inner: Arc<dyn Store>,
    tail: Arc<Tail>,
    clock: Arc<dyn Clock>,
    /// Absent: this node keeps no copies.
    near: Option<Near>,
    /// Copies of all nodes; judged as those of this one are.
    shared: Option<SharedCopies>,
}

impl CachedStore {
    /// `directory` is for what the caches keep on disk. Without `settings` there are no copies.
    ///
    /// # Errors
    /// A directory that cannot be used.
    pub async fn open(
        inner: Arc<dyn Store>,
        tail: Arc<Tail>,
        clock: Arc<dyn Clock>,
        settings: Option<CacheSettings>,
        directory: &Path,
    ) -> std::result::Result<Self, OpenError> {
        let near = match settings {
            None => None,
            Some(settings) => Some(Near {
                tokens: NearCache::open("tokens", settings.tokens, directory).await?,
                token_owners: NearCache::open("token_owners", settings.token_owners, directory).await?,
                clients: NearCache::open("clients", settings.clients, directory).await?,
            }),
        };
        Ok(Self { inner, tail, clock, near, shared: None })
    }

    /// The same with the data space behind the near caches.
    #[must_use]
    pub fn with_data_space(mut self, shared: SharedCopies) -> Self {
        self.shared = Some(shared);
        self
    }

    pub fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Keeps on disk what is to be there after a restart.
    pub async fn stop(&self) {
        if let Some(near) = &self.near {
            tokio::join!(near.tokens.stop(), near.token_owners.stop(), near.clients.stop());
        }
    }

    /// Whether the log has ended a token that a copy shows as good.
    fn is_ended(&self, stored: &StoredToken) -> bool {
        let keys = RuleKeys::from(&stored.token);
        self.tail.ask(|index| index.is_ended(stored.token.id, &keys)).unwrap_or(false)
    }

    /// A row says the same as the log, unless the store has lost the one and was given back the other.
    fn judged(&self, mut stored: StoredToken) -> StoredToken {
        stored.ended_by_rule |= !is_over(&stored) && self.is_ended(&stored);
        stored
    }

    async fn find_grant(&self, id: GrantId) -> Result<Option<StoredGrant>> {
        let found = match self.inner.grant_find(id).await? {
            Some(found) => Some(found),
            None => {
                self.tail.probed_from_now().await?;
                self.inner.grant_find(id).await?
            }
        };
        Ok(found.map(|stored| self.judged_grant(stored)))
    }

    fn judge_unstored(&self, token: AccessToken) -> Result<StoredToken> {
        let keys = RuleKeys::from(&token);
        let ends = |index: &grantry_revocation::Index| {
            (index.is_ended_by_rule(&keys), index.is_ended(token.id, &keys))
        };
        let (ended_by_rule, is_ended) = self.tail.ask(ends).ok_or_else(too_slow)?;
        let ended = (is_ended && !ended_by_rule).then_some(Ending::Revoked);
        Ok(StoredToken { ended, ended_by_rule, holds_slot: false, token })
    }

    fn judged_grant(&self, mut stored: StoredGrant) -> StoredGrant {
        let keys = RuleKeys::from(&stored.grant);
        stored.ended_by_rule |= self.tail.ask(|index| index.is_ended_by_rule(&keys)).unwrap_or(false);
        stored
    }

    /// A copy in memory, where the last proof still holds once it has been found: nothing is waited for, so nothing has to
    /// be asked before.
    fn find_near(&self, id: TokenId) -> Option<StoredToken> {
        let pass = self.tail.last_pass()?;
        let copy = self.near.as_ref()?.tokens.get(&id).filter(|copy| self.is_good(copy))?;
        self.tail.is_good(pass).then(|| StoredToken::clone(&copy))
    }

    /// Whether a copy says what the store would. One that the log has ended since does not know in what way.
    fn is_good(&self, stored: &StoredToken) -> bool {
        is_over(stored) || !self.is_ended(stored)
    }

    /// That there is no row is said by a server that takes writes: one that was deposed lacks what came since.
    async fn find(&self, id: TokenId) -> Result<Option<StoredToken>> {
        match self.look_for(id).await? {
            Some(found) => Ok(Some(found)),
            None => {
                self.tail.probed_from_now().await?;
                self.look_for(id).await
            }
        }
    }

    async fn look_for(&self, id: TokenId) -> Result<Option<StoredToken>> {
        let Some(near) = &self.near else { return self.find_beyond(id).await };
        let found = near.tokens.get_or_fill(&id, |copy| self.is_good(copy), self.find_beyond(id)).await?;
        // It may have been ended since it was read.
        Ok(found.map(|found| self.judged(StoredToken::clone(&found))))
    }

    /// In the data space, else in the store.
    async fn find_beyond(&self, id: TokenId) -> Result<Option<StoredToken>> {
        if let Some(copy) = self.find_shared_token(id).await {
            return Ok(Some(copy));
        }
        let found = self.inner.token_find(id).await?.map(|stored| self.judged(stored));
        if let Some(stored) = &found {
            self.share_token(stored);
        }
        Ok(found)
    }

    async fn find_uncached(&self, id: TokenId) -> Result<Option<StoredToken>> {
        Ok(self.inner.token_find_uncached(id).await?.map(|stored| self.judged(stored)))
    }

    async fn find_deferred(&self, id: TokenId, by: NodeNumber) -> Result<DeferredToken> {
        let near = self.near.as_ref().map(|near| &near.tokens);
        if let Some(copy) = near.and_then(|tokens| tokens.get(&id)).filter(|copy| self.is_good(copy)) {
            return Ok(DeferredToken::Stored(Box::new(StoredToken::clone(&copy))));
        }
        // Its node has put it there when it answered, and may not have written it yet.
        if let Some(copy) = self.find_shared_token(id).await {
            if let Some(tokens) = near {
                tokens.insert(id, copy.clone());
            }
            return Ok(DeferredToken::Stored(Box::new(copy)));
        }
        let mut found = self.inner.token_find_deferred(id, by).await?;
        if found == DeferredToken::Absent {
            self.tail.probed_from_now().await?;
            found = self.inner.token_find_deferred(id, by).await?;
        }
        Ok(match found {
            DeferredToken::Stored(stored) => {
                let stored = self.judged(*stored);
                self.keep_token(stored.clone());
                DeferredToken::Stored(Box::new(stored))
            }
            other => other,
        })
    }

    async fn find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>> {
        if let Some(holder) = self.find_near_holder(slot) {
            return Ok(Some(holder));
        }
        if let Some(holder) = self.find_shared_holder(slot).await {
            if let Some(near) = &self.near {
                near.keep_holder(holder.clone());
            }
            return Ok(Some(holder));
        }
        let found = self.inner.token_find_holder(slot).await?.map(|stored| self.judged(stored));
        if let Some(holder) = &found {
            self.keep_holder(holder.clone());
        }
        Ok(found)
    }

    fn find_near_holder(&self, slot: SlotKey) -> Option<StoredToken> {
        let near = self.near.as_ref()?;
        let holder = near.tokens.get(&*near.token_owners.get(&slot)?)?;
        self.still_holds(&holder).then(|| StoredToken::clone(&holder))
    }

    /// Whether a copy of a slot's last known holder shows it as that still.
    fn still_holds(&self, holder: &StoredToken) -> bool {
        self.is_good(holder) && holder.state(self.clock.now()) == TokenState::Active
    }

    /// At this node and for the others.
    fn keep_token(&self, stored: StoredToken) {
        self.share_token(&stored);
        if let Some(near) = &self.near {
            near.tokens.insert(stored.token.id, stored);
        }
    }

    fn keep_holder(&self, holder: StoredToken) {
        self.share_holder(&holder);
        if let Some(near) = &self.near {
            near.keep_holder(holder);
        }
    }

    /// What a write has shown.
    fn learn(&self, write: &TokenWrite, outcome: &WriteOutcome) {
        match (write, outcome) {
            (TokenWrite::Issue(issue), WriteOutcome::Issued)
            | (
                TokenWrite::Settle(issue),
                WriteOutcome::Settled(Settlement::Active | Settlement::ActiveAfter(_)),
            ) => self.keep_holder(active(&issue.token)),
            (_, WriteOutcome::SlotHeld(holder)) => self.keep_holder(StoredToken::clone(holder)),
            (TokenWrite::Open(opening), WriteOutcome::Opened) if opening.is_stored => {
                self.keep_holder(active(&opening.token));
            }
            (TokenWrite::Rotate(rotation), WriteOutcome::Rotated(RotationOutcome::Refreshed { .. }))
                if rotation.is_stored =>
            {
                self.keep_holder(active(&rotation.token));
            }
            (_, WriteOutcome::Rotated(RotationOutcome::Repeated { token, .. })) => {
                self.keep_token(StoredToken::clone(token));
            }
            _ => {}
        }
    }
}

impl Near {
    /// Of two holders the later one is kept: answers of writes may arrive in any order.
    fn keep_holder(&self, holder: StoredToken) {
        let (id, slot) = (holder.token.id, holder.token.slot);
        let is_known = has_known_holder(&holder);
        self.tokens.insert(id, holder);
        if is_known && self.token_owners.get(&slot).is_none_or(|known| *known < id) {
            self.token_owners.insert(slot, id);
        }
    }
}

/// Whether it may be remembered who holds the slot. A refresh retires the holder of its slot, and no entry of the log says
/// so.
fn has_known_holder(holder: &StoredToken) -> bool {
    holder.holds_slot && !is_over(holder) && holder.token.authority.grant.is_none()
}

fn is_over(stored: &StoredToken) -> bool {
    stored.ended.is_some() || stored.ended_by_rule
}

fn active(token: &AccessToken) -> StoredToken {
    StoredToken { token: token.clone(), ended: None, ended_by_rule: false, holds_slot: true }
}

#[async_trait]
impl Tokens for CachedStore {
    async fn token_write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>> {
        if self.near.is_none() && self.shared.is_none() {
            return self.inner.token_write(batch).await;
        }
        let outcomes = self.inner.token_write(batch.clone()).await?;
        for (write, outcome) in batch.iter().zip(&outcomes) {
            self.learn(write, outcome);
        }
        Ok(outcomes)
    }

    fn token_writers(&self) -> TokenWriters {
        self.inner.token_writers()
    }

    async fn token_find(&self, id: TokenId) -> Result<Option<StoredToken>> {
        match self.find_near(id) {
            Some(found) => Ok(Some(found)),
            None => Box::pin(async { fresh!(self, self.find(id).await?) }).await,
        }
    }

    async fn token_find_uncached(&self, id: TokenId) -> Result<Option<StoredToken>> {
        fresh!(self, self.find_uncached(id).await?)
    }

    async fn token_find_deferred(&self, id: TokenId, by: NodeNumber) -> Result<DeferredToken> {
        fresh!(self, self.find_deferred(id, by).await?)
    }

    fn token_announce(&self, token: &AccessToken) {
        // Not as the holder of its slot: that is settled when it is written, and nobody is handed out again meanwhile what
        // only one machine has.
        self.share_token(&active(token));
    }

    async fn token_judge(&self, issue: Arc<Issue>) -> Result<StoredToken> {
        fresh!(self, self.judged(self.inner.token_judge(Arc::clone(&issue)).await?))
    }

    /// The index has every end that there is, so the store is not asked.
    async fn token_judge_unstored(&self, token: AccessToken) -> Result<StoredToken> {
        fresh!(self, self.judge_unstored(token.clone())?)
    }

    async fn token_find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>> {
        fresh!(self, self.find_holder(slot).await?)
    }

    async fn token_newest(&self, before: Option<TokenId>, limit: usize) -> Result<Vec<StoredToken>> {
        self.inner.token_newest(before, limit).await
    }

    async fn token_list(
        &self,
        subject: &Subject,
        before: Option<TokenId>,
        limit: usize,
        among: usize,
    ) -> Result<TokenPage> {
        self.inner.token_list(subject, before, limit, among).await
    }

    async fn token_last_expiry(&self) -> Result<Option<Timestamp>> {
        self.inner.token_last_expiry().await
    }

    async fn token_count(&self) -> Result<u64> {
        self.inner.token_count().await
    }
}

/// Their counters move without an entry in the log, so there are no copies.
#[async_trait]
impl Grants for CachedStore {
    async fn grant_find(&self, id: GrantId) -> Result<Option<StoredGrant>> {
        fresh!(self, self.find_grant(id).await?)
    }

    async fn grant_judge_unstored(&self, grant: Grant) -> Result<StoredGrant> {
        fresh!(self, self.judged_grant(self.inner.grant_judge_unstored(grant.clone()).await?))
    }

    async fn grant_find_by_slot(&self, slot: SlotKey) -> Result<Option<StoredGrant>> {
        fresh!(self, self.inner.grant_find_by_slot(slot).await?.map(|stored| self.judged_grant(stored)))
    }

    async fn grant_list(
        &self,
        subject: &Subject,
        before: Option<GrantId>,
        limit: usize,
    ) -> Result<Vec<StoredGrant>> {
        self.inner.grant_list(subject, before, limit).await
    }

    async fn grant_count(&self) -> Result<u64> {
        self.inner.grant_count().await
    }

    async fn grant_last_expiry(&self) -> Result<Option<Timestamp>> {
        self.inner.grant_last_expiry().await
    }
}
