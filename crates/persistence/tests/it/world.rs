use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use grantry_persistence::{Persisted, Persistence, PersistenceError, PersistenceSettings};
use grantry_protocol::{
    AccessToken, AccessTokenFormat, ActiveTokenPolicy, Audience, Authority, Clock, Grant, Lifetime, LogKind,
    ManualClock, PersistenceMode, Position, Rng, ScopeSet, Seen, Slot, TimeOrderedIds, Timestamp, TokenState,
};
use grantry_store::{
    FaultyStore, Issue, MemoryStore, NodeId, Opening, Outage, Revocations, RevokeOutcome, Store, StoreError,
    Tokens, Unwritten,
};
use grantry_store_postgres::testing::Database;
use grantry_store_postgres::{PostgresOptions, PostgresStore, StoreTime};
use grantry_store_sqlite::{SqliteOptions, SqliteStore};

use crate::MIN_LIFE;

/// One node without a queue, whose tokens get their rows before the answer or never.
pub struct World {
    pub store: Arc<FaultyStore>,
    pub clock: Arc<ManualClock>,
    pub persistence: Arc<Persistence>,
    pub mode: PersistenceMode,
    ids: TimeOrderedIds,
    /// Where the store lives, for as long as it does.
    _home: Box<dyn Send>,
}

#[derive(Clone, Copy)]
pub enum BackEnd {
    Memory,
    Sqlite,
    Postgres,
}

impl BackEnd {
    async fn open(self, clock: Arc<dyn Clock>) -> (Arc<dyn Store>, Box<dyn Send>) {
        match self {
            Self::Memory => (Arc::new(MemoryStore::new(clock)), Box::new(())),
            Self::Sqlite => {
                let home = tempfile::tempdir().unwrap();
                let path = home.path().join("grantry.db");
                let store = SqliteStore::open(&path, SqliteOptions::default(), clock).unwrap();
                (Arc::new(store), Box::new(home))
            }
            Self::Postgres => {
                let home = Database::scratch();
                let (options, time) = (PostgresOptions::default(), StoreTime::Clock(clock));
                let rng = Arc::new(CountingRng(AtomicU64::new(1)));
                let store = PostgresStore::open(&home.url(), &options, time, rng).await.unwrap();
                (Arc::new(store), Box::new(home))
            }
        }
    }
}

pub struct CountingRng(AtomicU64);

impl Rng for CountingRng {
    fn fill(&self, dest: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (byte, n) in dest.iter_mut().zip(n.iter().cycle()) {
            *byte = *n;
        }
    }
}

pub static RNG: CountingRng = CountingRng(AtomicU64::new(1));

/// The same as [`World::give`] for a task of its own.
pub async fn give(
    persistence: &Persistence,
    mode: PersistenceMode,
    issue: Arc<Issue>,
) -> Result<AccessToken, PersistenceError> {
    if mode == PersistenceMode::None {
        let keep_until = issue.token.expires_at;
        return persistence.issue_unstored(issue.token.clone(), issue.policy, keep_until).await;
    }
    Ok(match persistence.issue(issue.clone(), mode).await? {
        Persisted::Issued { .. } => issue.token.clone(),
        Persisted::Winner(winner) => winner.token,
    })
}

impl World {
    /// On the memory store, with a row for each token before the answer.
    pub fn start() -> Self {
        Self::with_retry_count(3)
    }

    pub fn with_retry_count(retry_count: u32) -> Self {
        let clock = Self::clock();
        let store = Arc::new(MemoryStore::new(clock.clone()));
        Self::over(store, Box::new(()), clock, PersistenceMode::Sync, retry_count)
    }

    pub async fn on(back_end: BackEnd, mode: PersistenceMode) -> Self {
        let clock = Self::clock();
        let (store, home) = back_end.open(clock.clone()).await;
        Self::over(store, home, clock, mode, 3)
    }

    fn clock() -> Arc<ManualClock> {
        Arc::new(ManualClock::at(Timestamp::from_secs(1_800_000_000)))
    }

    fn over(
        store: Arc<dyn Store>,
        home: Box<dyn Send>,
        clock: Arc<ManualClock>,
        mode: PersistenceMode,
        retry_count: u32,
    ) -> Self {
        let store = Arc::new(FaultyStore::new(store));
        let settings = PersistenceSettings {
            retry_count,
            queue_capacity: 64,
            max_batch: 16,
            pool_size: 2,
            retention_time: Duration::from_secs(86_400),
        };
        let persistence = Persistence::start(store.clone(), clock.clone(), settings, NodeId([1; 16]));
        Self { store, clock, persistence, mode, ids: TimeOrderedIds::default(), _home: home }
    }

    /// Asks for the token as a flow does, which has seen the log first; answers what the caller gets.
    pub async fn give(&self, issue: &Arc<Issue>) -> Result<AccessToken, PersistenceError> {
        let mut issue = issue.clone();
        let head = self.store.revocation_head().await.unwrap();
        Arc::make_mut(&mut issue).token.authority.seen = head.seen();
        give(&self.persistence, self.mode, issue).await
    }

    /// Ends a token as its client does.
    pub async fn revoke(&self, token: &AccessToken) -> Result<RevokeOutcome, PersistenceError> {
        let unwritten = Unwritten { by: None, expires_by: token.expires_at };
        self.persistence.revoke(token.id, self.is_unstored().then_some(unwritten), None).await
    }

    pub fn is_unstored(&self) -> bool {
        self.mode == PersistenceMode::None
    }

    pub async fn state(&self, token: &AccessToken) -> TokenState {
        let found = match self.is_unstored() {
            true => self.store.token_judge_unstored(token.clone()).await.unwrap(),
            false => self.store.token_find(token.id).await.unwrap().unwrap(),
        };
        found.state(self.clock.now())
    }

    /// What a token of this mode is seen as where one with a row has the state: without a row none holds its slot, and
    /// what a later one of the slot ends is ended by a rule.
    pub fn as_seen(&self, with_row: TokenState) -> TokenState {
        match with_row {
            TokenState::Active if self.is_unstored() => TokenState::Retired,
            TokenState::Inactive if self.is_unstored() => TokenState::Revoked,
            other => other,
        }
    }

    /// How many tokens were written under `replace`: as rows, or as the ends of their slots.
    pub async fn written(&self) -> u64 {
        let rows = self.store.token_count().await.unwrap();
        if !self.is_unstored() {
            return rows;
        }
        assert_eq!(rows, 0);
        let log = self.store.revocation_list(Position(0), 1000).await.unwrap();
        log.iter().filter(|entry| entry.kind == LogKind::Slot).count() as u64
    }

    pub fn outage() -> StoreError {
        StoreError::unavailable(Outage::Io, "injected")
    }

    /// A token of 60 s that may be displaced when it has 10 s left.
    pub fn issue(&self, scope: &str, policy: ActiveTokenPolicy) -> Arc<Issue> {
        let slot = Slot::of_client(
            "client".parse().unwrap(),
            ScopeSet::parse(scope).unwrap(),
            Audience::default(),
            AccessTokenFormat::Opaque,
        );
        let now = self.clock.now();
        let token =
            AccessToken::issue(self.ids.token(now, &RNG), slot, Seen::NOTHING, now, Lifetime::from_secs(60));
        Arc::new(Issue { token, policy, observed: None, min_life: MIN_LIFE })
    }

    /// A grant of 3,600 s, idle 600 s, that asks for the slot of its first token.
    pub fn opening(&self, scope: &str) -> Arc<Opening> {
        let now = self.clock.now();
        let id = self.ids.grant(now, &RNG);
        let issue = self.issue(scope, ActiveTokenPolicy::Reuse);
        let authority = Authority { grant: Some(id), ..issue.token.authority };
        let token = AccessToken { authority, ..issue.token.clone() };
        let grant = Grant {
            id,
            slot: Some(token.slot),
            client_id: token.client_id.clone(),
            subject: token.subject.clone(),
            subject_kind: token.subject_kind,
            scope: token.scope.clone(),
            audience: token.audience.clone(),
            session: None,
            seen: authority.seen,
            created_at: now,
            expires_at: now + Duration::from_secs(3600),
            idle_expires_at: now + Duration::from_secs(600),
            counter: 0,
            rotated_at: now,
            access_token: token.id,
            status_index: None,
        };
        Arc::new(Opening { grant, token, is_stored: true, policy: issue.policy })
    }
}
