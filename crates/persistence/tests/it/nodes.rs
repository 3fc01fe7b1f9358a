//! Nodes with a queue, each with its own disk and its own faults, over one store.

use std::sync::Arc;
use std::time::Duration;

use grantry_persistence::journal::{Journal, JournalMode, JournalOptions, SimulatedDisk, inspect};
use grantry_persistence::{Persisted, Persistence, PersistenceError, PersistenceSettings, QueueJournal};
use grantry_protocol::{
    AccessToken, AccessTokenFormat, ActiveTokenPolicy, Audience, Clock, Lifetime, LogEntry, LogKind,
    ManualClock, NodeNumber, PersistenceMode, Position, Rule, ScopeSet, Seen, Slot, TimeOrderedIds,
    Timestamp, TokenId, TokenState,
};
use grantry_store::{
    AuditEntry, Fault, FaultyStore, Issue, MemoryStore, NodeId, Nodes as _, Outage, Revocations, RuleAppend,
    StoreError, StoredToken, Tokens, Unwritten,
};
use tokio::task::yield_now;
use tokio::time::sleep;

use crate::{MIN_LIFE, RNG};

pub const SETTINGS: PersistenceSettings = PersistenceSettings {
    retry_count: 3,
    queue_capacity: 64,
    pool_size: 1,
    max_batch: 16,
    retention_time: Duration::from_secs(86_400),
};

/// The store and the clock that the nodes share.
pub struct Cluster {
    pub store: Arc<MemoryStore>,
    pub clock: Arc<ManualClock>,
    ids: TimeOrderedIds,
}

pub struct Node {
    pub persistence: Arc<Persistence>,
    pub disk: SimulatedDisk,
    pub faults: Arc<FaultyStore>,
    pub number: NodeNumber,
}

pub fn outage() -> StoreError {
    StoreError::unavailable(Outage::Io, "injected")
}

impl Cluster {
    pub fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000_000)));
        let store = Arc::new(MemoryStore::new(clock.clone()));
        Self { store, clock, ids: TimeOrderedIds::default() }
    }

    pub async fn node(&self) -> Node {
        self.start(SimulatedDisk::new(), SETTINGS).await
    }

    pub async fn node_with(&self, settings: PersistenceSettings) -> Node {
        self.start(SimulatedDisk::new(), settings).await
    }

    /// A node on a disk that may have a journal.
    pub async fn start(&self, disk: SimulatedDisk, settings: PersistenceSettings) -> Node {
        let faults = Arc::new(FaultyStore::new(self.store.clone()));
        let options = JournalOptions::new(JournalMode::Fsync);
        let (journal, recovery) =
            Journal::inline(Arc::new(disk.clone()), NodeId::random(&RNG), options).unwrap();
        let journal = QueueJournal::On(journal, recovery);
        let persistence =
            Persistence::start_with_queue(faults.clone(), self.clock.clone(), settings, journal)
                .await
                .unwrap();
        let rows = self.store.node_list().await.unwrap();
        let number = rows.iter().find(|row| row.id == persistence.node()).unwrap().number.unwrap();
        Node { persistence, disk, faults, number }
    }

    /// A token of 60 s that may be displaced when it has 10 s left.
    pub fn issue(&self, scope: &str, policy: ActiveTokenPolicy) -> Arc<Issue> {
        self.issue_for(60, scope, policy)
    }

    pub fn issue_for(&self, seconds: u64, scope: &str, policy: ActiveTokenPolicy) -> Arc<Issue> {
        let scope = ScopeSet::parse(scope).unwrap();
        let slot =
            Slot::of_client("client".parse().unwrap(), scope, Audience::default(), AccessTokenFormat::Opaque);
        let (now, lifetime) = (self.clock.now(), Lifetime::from_secs(seconds));
        let token = AccessToken::issue(self.ids.token(now, &RNG), slot, Seen::NOTHING, now, lifetime);
        Arc::new(Issue { token, policy, observed: None, min_life: MIN_LIFE })
    }

    pub async fn stored(&self, issue: &Issue) -> Option<StoredToken> {
        self.store.token_find(issue.token.id).await.unwrap()
    }

    pub async fn state(&self, issue: &Issue) -> TokenState {
        self.stored(issue).await.unwrap().state(self.clock.now())
    }

    pub async fn states<const N: usize>(&self, issues: [&Issue; N]) -> [TokenState; N] {
        let mut states = [TokenState::Expired; N];
        for (state, issue) in states.iter_mut().zip(issues) {
            *state = self.state(issue).await;
        }
        states
    }

    /// Ends everything of the client so far; answers what has seen it.
    pub async fn end_all(&self) -> Seen {
        let audit = AuditEntry {
            at: self.clock.now(),
            actor: "test".into(),
            action: "revocation.create",
            target: "client".into(),
            detail: serde_json::Value::Null,
            request_id: None,
        };
        let keep_until = self.clock.now() + Duration::from_secs(86_400);
        let rule = Rule::Client("client".parse().unwrap());
        self.store.revocation_append(RuleAppend { rule, keep_until, audit }).await.unwrap()
    }

    /// The tokens whose end was announced, in order.
    pub async fn announced(&self) -> Vec<TokenId> {
        let log = self.store.revocation_list(Position(0), 1000).await.unwrap();
        let id = |entry: LogEntry| TokenId::from_bytes(entry.key.try_into().unwrap());
        log.into_iter().filter(|entry| entry.kind == LogKind::Token).map(id).collect()
    }
}

impl Node {
    /// Answered before it is written.
    pub fn deferred(&self) -> Persisted {
        Persisted::Issued { deferred_by: Some(self.number) }
    }

    pub async fn issue(&self, issue: &Arc<Issue>) -> Result<Persisted, PersistenceError> {
        self.persistence.issue(issue.clone(), PersistenceMode::Async).await
    }

    /// Answered, and in the queue until time passes: the store has refused the first attempt to write it.
    pub async fn queue(&self, issue: &Arc<Issue>) {
        let calls = self.faults.calls();
        self.faults.fail_writes([Some(Fault::Before(outage()))]);
        assert_eq!(self.issue(issue).await, Ok(self.deferred()));
        while self.faults.calls() == calls {
            yield_now().await;
        }
        assert!(self.persistence.queue_state().depth > 0);
    }

    /// Waits until everything is written, or parked.
    pub async fn drained(&self) {
        while self.persistence.queue_state().depth > 0 {
            // wait: the paused clock runs on to the next attempt of the writer
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub async fn find(&self, issue: &Issue, by: &Self) -> Result<Option<StoredToken>, PersistenceError> {
        self.persistence.find_token(issue.token.id, Some(by.number)).await
    }

    /// Ends a token that `by` has answered.
    pub async fn revoke(&self, issue: &Issue, by: &Self) {
        let unwritten = Unwritten { by: Some(by.number), expires_by: issue.token.expires_at };
        self.persistence.revoke(issue.token.id, Some(unwritten), None).await.unwrap();
    }

    /// The process dies; what stands in its journal stays.
    pub fn kill(self) -> SimulatedDisk {
        self.disk.kill();
        self.disk
    }

    /// How many records its journal holds.
    pub fn journalled(&self) -> u64 {
        inspect(&self.disk).unwrap().segments.iter().map(|segment| segment.records).sum()
    }
}
