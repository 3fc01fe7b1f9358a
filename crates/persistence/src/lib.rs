//! When a token is written, and what is promised before that.
//!
//! Mode **sync**: an answer is given after the commit. Concurrent writes are grouped ([`group_commit`]), and a lost
//! race for a slot ends with both callers holding the winner's token ([`recovery::sync`]).

mod group_commit;
mod probe;
mod recovery;
mod retention;

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{AccessToken, Clock, GrantId, Timestamp, TokenId};
use grantry_store::{
    AssertionKey, AuditEntry, Issue, NodeId, Opening, RevokeOutcome, Rotation, RotationOutcome, Store,
    StoreError, StoredGrant, StoredToken, TokenWrite, WriteOutcome,
};
use tokio::task::JoinHandle;

use crate::group_commit::GroupCommit;
pub use crate::probe::{Readiness, ReadinessProbe};

#[derive(Debug, Clone, Copy)]
pub struct PersistenceSettings {
    /// How often a request may lose its slot to a token that turns out to be of no use, before it is answered 503.
    pub retry_count: u32,
    /// How many writes may wait for a commit; one more is refused, not queued.
    pub queue_capacity: usize,
    /// The most writes in one transaction.
    pub max_batch: usize,
    /// How long after its issue a token's row is kept.
    pub retention_time: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PersistenceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The slot's holder changed again and again under the request.
    #[error("the slot was contended {attempts} times in a row")]
    SlotContended { attempts: u32 },
}

/// The token that the caller is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Persisted {
    /// The one that was handed in; it is committed.
    Issued,
    /// Another node or request was faster: the slot's token, committed and with enough life left.
    Winner(Box<StoredToken>),
}

/// The grant and the access token that the caller is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// The ones that were handed in; they are committed.
    New,
    /// Another node or request was faster: the slot's grant, and a committed token of it.
    Joined { grant: Box<StoredGrant>, token: Box<AccessToken> },
}

/// Where every change of a token goes through.
pub struct Persistence {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    commits: GroupCommit,
    settings: PersistenceSettings,
}

impl Persistence {
    /// Starts the writer; must be called inside a Tokio runtime. The writer ends when the last handle is dropped.
    pub fn start(store: Arc<dyn Store>, clock: Arc<dyn Clock>, settings: PersistenceSettings) -> Arc<Self> {
        let commits = GroupCommit::start(Arc::clone(&store), settings.queue_capacity, settings.max_batch);
        Arc::new(Self { store, clock, commits, settings })
    }

    /// Writes the token, or finds out whose token won its slot.
    pub async fn issue(&self, issue: Arc<Issue>) -> Result<Persisted, PersistenceError> {
        recovery::sync::issue(&self.commits, self.clock.as_ref(), self.settings.retry_count, issue).await
    }

    /// Opens the grant with its first token, or joins the grant that holds its slot.
    pub async fn open(&self, opening: Arc<Opening>, min_life: Duration) -> Result<Opened, PersistenceError> {
        let (commits, clock) = (&self.commits, self.clock.as_ref());
        recovery::sync::open(commits, clock, self.settings.retry_count, opening, min_life).await
    }

    /// Uses a refresh token. A rotation is never deferred.
    pub async fn rotate(&self, rotation: Arc<Rotation>) -> Result<RotationOutcome, PersistenceError> {
        match self.commits.submit(TokenWrite::Rotate(rotation)).await? {
            WriteOutcome::Rotated(outcome) => Ok(outcome),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Ends a grant and every token of it; committed when this returns.
    pub async fn revoke_grant(
        &self,
        id: GrantId,
        keep_until: Timestamp,
        audit: Option<AuditEntry>,
    ) -> Result<RevokeOutcome, PersistenceError> {
        let audit = audit.map(Arc::new);
        match self.commits.submit(TokenWrite::RevokeGrant { id, keep_until, audit }).await? {
            WriteOutcome::Revoked(outcome) => Ok(outcome),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Remembers that an assertion was used; `false` if it was used before.
    pub async fn consume_assertion(
        &self,
        key: AssertionKey,
        expires_at: Timestamp,
    ) -> Result<bool, PersistenceError> {
        match self.commits.submit(TokenWrite::ConsumeAssertion { key, expires_at }).await? {
            WriteOutcome::AssertionConsumed => Ok(true),
            WriteOutcome::AssertionReplayed => Ok(false),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Ends one token; committed when this returns. An administrator's deed comes with its audit row.
    pub async fn revoke(
        &self,
        id: TokenId,
        audit: Option<AuditEntry>,
    ) -> Result<RevokeOutcome, PersistenceError> {
        match self.commits.submit(TokenWrite::Revoke { id, audit: audit.map(Arc::new) }).await? {
            WriteOutcome::Revoked(outcome) => Ok(outcome),
            other => Err(unexpected(&other).into()),
        }
    }

    /// Takes the way of a token write, as a test of it.
    pub async fn heartbeat(&self, node: NodeId) -> Result<(), PersistenceError> {
        self.commits.submit(TokenWrite::Heartbeat { node }).await?;
        Ok(())
    }

    /// Removes in the background what nobody needs any more, until the handle is aborted.
    pub fn start_retention(&self) -> JoinHandle<()> {
        let (store, retention_time) = (Arc::clone(&self.store), self.settings.retention_time);
        tokio::spawn(async move {
            tokio::join!(
                retention::run(store.as_ref(), retention_time),
                retention::walk_grants(store.as_ref(), retention_time)
            );
        })
    }
}

fn unexpected(outcome: &WriteOutcome) -> StoreError {
    StoreError::Corrupt(format!("a write was answered with the outcome of another kind: {outcome:?}"))
}
