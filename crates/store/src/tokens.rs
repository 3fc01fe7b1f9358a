use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use grantry_protocol::{
    AccessToken, Ending, GrantId, NodeNumber, SlotKey, Subject, Timestamp, TokenId, TokenState,
};
use serde::{Deserialize, Serialize};

use crate::{Issue, Result, TokenWrite, WriteOutcome};

/// A token together with all that decides its state, read in one snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredToken {
    pub token: AccessToken,
    pub ended: Option<Ending>,
    /// A rule in the revocation log, later than what the token has seen, ends it.
    pub ended_by_rule: bool,
    /// Whether the slot names this token as its holder.
    pub holds_slot: bool,
}

impl StoredToken {
    pub fn state(&self, now: Timestamp) -> TokenState {
        match self.ended {
            _ if self.ended_by_rule => TokenState::Revoked,
            Some(Ending::Revoked) => TokenState::Revoked,
            Some(Ending::Inactive) => TokenState::Inactive,
            None if self.token.expires_at <= now => TokenState::Expired,
            None if self.holds_slot => TokenState::Active,
            None => TokenState::Retired,
        }
    }

    /// Whether the token may be handed out again for `grant`: ACTIVE, with more than `min_life` left, and of that very
    /// grant, so that a pair of tokens ends together.
    pub fn is_reusable(&self, now: Timestamp, min_life: Duration, grant: Option<GrantId>) -> bool {
        self.state(now) == TokenState::Active
            && self.token.expires_at > now + min_life
            && self.token.authority.grant == grant
    }
}

/// What the store knows of a token that was answered before it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeferredToken {
    Stored(Box<StoredToken>),
    /// There is no row yet, and if one comes, it is a revoked token's.
    EndedEarly,
    /// There is no row, but its node may still have it.
    Expected,
    /// There is no row and none will come: its node has written everything up to it, or has been gone for so long that
    /// the token has expired.
    Absent,
}

/// Some of a subject's tokens, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPage {
    pub tokens: Vec<StoredToken>,
    /// Below which id the next page goes on; absent once all tokens were looked at.
    pub next: Option<TokenId>,
}

/// How a store wants to be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenWriters {
    /// One batch after the other.
    One,
    /// Several batches at once, at most so many; how many are best depends on how long a flush takes.
    UpTo(usize),
}

#[async_trait]
pub trait Tokens: Send + Sync {
    /// Applies a batch in one transaction, in order, and answers each write in the same order. An error means that
    /// none of it was applied, or, for an outage, that nobody knows.
    async fn token_write(&self, batch: Vec<TokenWrite>) -> Result<Vec<WriteOutcome>>;

    /// How many batches may be under way at once. More than one is good only where they overlap.
    fn token_writers(&self) -> TokenWriters {
        TokenWriters::One
    }

    /// Where it comes from a copy, the token may have lost its slot since.
    async fn token_find(&self, id: TokenId) -> Result<Option<StoredToken>>;

    /// The same from the row itself.
    async fn token_find_uncached(&self, id: TokenId) -> Result<Option<StoredToken>> {
        self.token_find(id).await
    }

    /// The token, or, where it has no row, whether one may come, all in one snapshot.
    async fn token_find_deferred(&self, id: TokenId, by: NodeNumber) -> Result<DeferredToken>;

    /// Tells other nodes of a token that was answered and has no row yet, where there is a way to. Nobody waits for it, and
    /// it may get lost.
    fn token_announce(&self, _token: &AccessToken) {}

    /// The token's row; where there is none yet, what [`TokenWrite::Settle`] would make of it now, without doing it.
    async fn token_judge(&self, issue: Arc<Issue>) -> Result<StoredToken>;

    /// Where a token stands that gets no row: nothing but the revocation log ends it before its time.
    async fn token_judge_unstored(&self, token: AccessToken) -> Result<StoredToken>;

    /// The token that the slot names as its holder, whatever its state.
    async fn token_find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>>;

    /// Looks at the next `among` tokens with an id below `before`, newest first, and gives those of the subject, users
    /// and clients of that name alike, but at most `limit`. There is no index by subject: it would cost every token that
    /// is issued, and the more, the more tokens there are.
    async fn token_list(
        &self,
        subject: &Subject,
        before: Option<TokenId>,
        limit: usize,
        among: usize,
    ) -> Result<TokenPage>;

    /// The next `limit` tokens with an id below `before`, newest first.
    async fn token_newest(&self, before: Option<TokenId>, limit: usize) -> Result<Vec<StoredToken>>;

    /// The latest `expires_at` of any token; walks through all of them, for the rotation of keys.
    async fn token_last_expiry(&self) -> Result<Option<Timestamp>>;

    /// How many token rows there are; a full count, for operators and benchmarks.
    async fn token_count(&self) -> Result<u64>;
}
