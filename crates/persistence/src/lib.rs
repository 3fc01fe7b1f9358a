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

use grantry_protocol::{Clock, TokenId};
use grantry_store::{
    AuditEntry, Issue, NodeId, RevokeOutcome, Store, StoreError, StoredToken, TokenWrite, WriteOutcome,
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
        tokio::spawn(retention::run(Arc::clone(&self.store), self.settings.retention_time))
    }
}

fn unexpected(outcome: &WriteOutcome) -> StoreError {
    StoreError::Corrupt(format!("a write was answered with the outcome of another kind: {outcome:?}"))
}
