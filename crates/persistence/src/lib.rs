//! When a token is written, and what is promised before that.
//!
//! Mode **sync**: an answer is given after the commit. Concurrent writes are grouped ([`group_commit`]), and a lost
//! race for a slot ends with both callers holding the winner's token ([`recovery::sync`]).
//!
//! Mode **async**: an answer is given once the token stands in the journal, and N writers drain it into the store
//! ([`queue`], [`journal`]). Two nodes that collide find out in the store, and the later token wins
//! ([`recovery::asynchronous`]). Only issuing an access token is ever deferred.
//!
//! Mode **none**: the text of a token is all that there is of it, and nothing is written ([`unstored`]).

mod group_commit;
pub mod journal;
mod probe;
mod queue;
mod recovery;
mod retention;
mod unstored;
mod unwritten;

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Clock, Grant, GrantId, NodeNumber, PersistenceMode, SlotKey, Timestamp,
    TokenId, TokenState,
};
use grantry_store::{
    AssertionKey, AuditEntry, Issue, NodeId, Opening, Outage, RevokeOutcome, Rotation, RotationOutcome,
    Store, StoreError, StoredGrant, StoredToken, TokenWrite, Unwritten, WriteOutcome,
};
use tokio::task::JoinHandle;

use crate::group_commit::GroupCommit;
pub use crate::probe::{Readiness, ReadinessProbe};
use crate::queue::Queue;
pub use crate::queue::{QueueError, QueueJournal, QueueState, UnreadableRecord, decode_record};

#[derive(Debug, Clone, Copy)]
pub struct PersistenceSettings {
    /// How often a request may lose its slot to a token that turns out to be of no use, before it is answered 503.
    pub retry_count: u32,
    /// How many writes may wait for a commit; one more is refused, not queued. As many tokens may wait for their row
    /// after they were answered; one more is persisted synchronously.
    pub queue_capacity: usize,
    /// How many writers drain the tokens that were answered before they were written; at least 1 counts.
    pub pool_size: usize,
    /// The most writes in one transaction.
    pub max_batch: usize,
    /// How long after its issue a token's row is kept.
    pub retention_time: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PersistenceError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A live token of another grant holds the slot: the grant that the token was made for has been succeeded.
    #[error("the token's slot belongs to a later grant")]
    OtherGrant,
    /// The slot's holder changed again and again under the request.
    #[error("the slot was contended {attempts} times in a row")]
    SlotContended { attempts: u32 },
}

impl PersistenceError {
    /// Whether the answer is not known yet because a token's row may still be on its way.
    pub fn is_unwritten(&self) -> bool {
        matches!(self, Self::Store(StoreError::Unavailable { outage: Outage::Unwritten, .. }))
    }
}

/// The token that the caller is to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Persisted {
    /// The one that was handed in. It is committed, unless a node has it in its queue; its text says so then.
    Issued { deferred_by: Option<NodeNumber> },
    /// Another node or request was faster: the slot's token, with enough life left.
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

/// Where every change of a token goes through, and every look at one that may not be written yet.
pub struct Persistence {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    commits: GroupCommit,
    queue: Option<Arc<Queue>>,
    node: NodeId,
    settings: PersistenceSettings,
}

impl Persistence {
    /// Starts the writer of mode sync; must be called inside a Tokio runtime. The writer ends when the last handle is
    /// dropped. `node` names this process.
    pub fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: PersistenceSettings,
        node: NodeId,
    ) -> Arc<Self> {
        Arc::new(Self::new(store, clock, settings, node, None))
    }

    /// The same, and the queue of mode async with what the journal holds of an earlier run.
    pub async fn start_with_queue(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: PersistenceSettings,
        journal: QueueJournal,
    ) -> Result<Arc<Self>, QueueError> {
        let PersistenceSettings { pool_size, queue_capacity, max_batch, .. } = settings;
        let queue = Queue::start(Arc::clone(&store), journal, pool_size, queue_capacity, max_batch).await?;
        let node = queue.node();
        Ok(Arc::new(Self::new(store, clock, settings, node, Some(queue))))
    }

    fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        settings: PersistenceSettings,
        node: NodeId,
        queue: Option<Arc<Queue>>,
    ) -> Self {
        let commits = GroupCommit::start(Arc::clone(&store), settings.queue_capacity, settings.max_batch);
        Self { store, clock, commits, queue, node, settings }
    }

    /// Writes the token or queues it, or finds out whose token won its slot. Where there is no queue, mode async is mode
    /// sync: it promises more, not less. In mode none the token is [`Self::issue_unstored`].
    pub async fn issue(
        &self,
        issue: Arc<Issue>,
        mode: PersistenceMode,
    ) -> Result<Persisted, PersistenceError> {
        let (store, clock) = (self.store.as_ref(), self.clock.as_ref());
        if let (PersistenceMode::Async, Some(queue)) = (mode, &self.queue)
            && let Some(persisted) =
                recovery::asynchronous::issue(queue, store, clock, &self.settings, &issue).await?
        {
            return Ok(persisted);
        }
        recovery::sync::issue(&self.commits, clock, self.settings.retry_count, issue).await
    }

    /// Lets the token be answered without a row; the caller gets what it is to be answered as. `keep_until` is when
    /// everything earlier of its slot has expired.
    pub async fn issue_unstored(
        &self,
        token: AccessToken,
        policy: ActiveTokenPolicy,
        keep_until: Timestamp,
    ) -> Result<AccessToken, PersistenceError> {
        unstored::issue(&self.commits, token, policy, keep_until).await
    }

    /// The token with the id, whether its row is written or not. `deferred_by` is what its text says; where it names a
    /// node, the row may be on its way from there.
    ///
    /// # Errors
    /// An outage, too, if the row may still be on its way after a short wait.
    pub async fn find_token(
        &self,
        id: TokenId,
        deferred_by: Option<NodeNumber>,
    ) -> Result<Option<StoredToken>, PersistenceError> {
        // In this order: what leaves the queue is in the store by then.
        if let Some(entry) = self.queue.as_ref().and_then(|queue| queue.find(id)) {
            return Ok(Some(self.store.token_judge(Arc::clone(&entry.issue)).await?));
        }
        Ok(match deferred_by {
            None => self.store.token_find(id).await?,
            // Boxed, as it may wait: a timer is large, and whatever is around it would carry it.
            Some(by) => Box::pin(unwritten::find(self.store.as_ref(), id, by)).await?,
        })
    }

    /// The token that holds the slot, or will as soon as it is written.
    pub async fn find_holder(&self, slot: SlotKey) -> Result<Option<StoredToken>, PersistenceError> {
        if let Some(entry) = self.queue.as_ref().and_then(|queue| queue.find_by_slot(slot))
            && entry.is_journalled().await
        {
            let judged = self.store.token_judge(Arc::clone(&entry.issue)).await?;
            if judged.state(self.clock.now()) == TokenState::Active {
                return Ok(Some(judged));
            }
        }
        Ok(self.store.token_find_holder(slot).await?)
    }

    /// Whether the token waits in this node's queue for its row.
    pub fn is_queued(&self, id: TokenId) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.find(id).is_some())
    }

    /// Whether a client may have its tokens persisted asynchronously.
    pub fn has_queue(&self) -> bool {
        self.queue.is_some()
    }

    pub fn node(&self) -> NodeId {
        self.node
    }

    /// How much waits for its row; nothing ever does without a queue.
    pub fn queue_state(&self) -> QueueState {
        self.queue.as_ref().map_or_else(QueueState::default, |queue| queue.look())
    }

    /// Tries the tokens again that the store refused; answers how many.
    pub fn redrive(&self) -> usize {
        self.queue.as_ref().map_or(0, Queue::redrive)
    }

    /// Writes all that is queued, tells the other nodes, and closes the journal. Answers how many tokens the store refused.
    pub async fn drain(&self) -> Result<usize, PersistenceError> {
        let Some(queue) = &self.queue else { return Ok(0) };
        let parked = queue.drain().await;
        self.heartbeat().await?;
        Ok(parked)
    }

    /// Opens the grant with its first token, or joins the grant that holds its slot.
    pub async fn open(&self, opening: Arc<Opening>, min_life: Duration) -> Result<Opened, PersistenceError> {
        let (commits, clock) = (&self.commits, self.clock.as_ref());
        recovery::sync::open(commits, clock, self.settings.retry_count, opening, min_life).await
    }

    /// Uses a refresh token. A rotation is never deferred.
    pub async fn rotate(&self, rotation: Arc<Rotation>) -> Result<RotationOutcome, PersistenceError> {
        match self.commits.submit(TokenWrite::Rotate(rotation)).await? {
            WriteOutcome::Rotated(outcome) => {
                if outcome == RotationOutcome::Reused {
                    self.store.revocation_catch_up().await;
                }
                Ok(outcome)
            }
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
        self.end(TokenWrite::RevokeGrant { id, origin: None, keep_until, audit }).await
    }

    /// The same for one that a refresh token has brought along, whether it has a row by now or not.
    pub async fn revoke_unstored_grant(
        &self,
        grant: Grant,
        keep_until: Timestamp,
        audit: Option<AuditEntry>,
    ) -> Result<RevokeOutcome, PersistenceError> {
        let (id, origin, audit) = (grant.id, Some(Arc::new(grant)), audit.map(Arc::new));
        self.end(TokenWrite::RevokeGrant { id, origin, keep_until, audit }).await
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

    /// Ends one token; committed when this returns. A token whose row may still be on its way is `unwritten`: its end
    /// waits for the row. So is one that never gets a row: its end stands in the log alone. An administrator's deed comes with its audit row.
    pub async fn revoke(
        &self,
        id: TokenId,
        unwritten: Option<Unwritten>,
        audit: Option<AuditEntry>,
    ) -> Result<RevokeOutcome, PersistenceError> {
        let audit = audit.map(Arc::new);
        self.end(TokenWrite::Revoke { id, unwritten, audit }).await
    }

    /// Requests at this node that are sent after the answer see the end at once, those at others within their bound.
    async fn end(&self, write: TokenWrite) -> Result<RevokeOutcome, PersistenceError> {
        match self.commits.submit(write).await? {
            WriteOutcome::Revoked(outcome) => {
                if matches!(outcome, RevokeOutcome::Revoked(_)) {
                    self.store.revocation_catch_up().await;
                }
                Ok(outcome)
            }
            other => Err(unexpected(&other).into()),
        }
    }

    /// Takes the way of a token write, as a test of it, and tells the other nodes how far this one's queue is drained.
    pub async fn heartbeat(&self) -> Result<(), PersistenceError> {
        let drained_below = self.queue.as_ref().map(|queue| queue.move_mark(self.clock.now()));
        self.commits.submit(TokenWrite::Heartbeat { node: self.node, drained_below }).await?;
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
