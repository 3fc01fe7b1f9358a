//! The persister on the memory store behind the wrapper that injects faults: one test a step of each flow.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test, as the test itself would")]

mod grants;
mod group_commit;
mod journal;
mod nodes;
mod queue;
mod recovery_async;
mod recovery_open;
mod recovery_sync;
mod simulation;
mod unwritten;

use std::sync::Arc;
use std::time::Duration;

use grantry_persistence::{Persisted, Persistence, PersistenceSettings};
use grantry_protocol::{
    AccessToken, AccessTokenFormat, ActiveTokenPolicy, Audience, Authority, Clock, Grant, Lifetime,
    ManualClock, Rng, ScopeSet, Seen, Slot, TimeOrderedIds, Timestamp,
};
use grantry_store::{FaultyStore, Issue, MemoryStore, NodeId, Opening};

/// A token with no more life left than this may be displaced.
pub const MIN_LIFE: Duration = Duration::from_secs(10);

/// Committed before the answer.
pub const ISSUED: Persisted = Persisted::Issued { deferred_by: None };

pub struct World {
    pub store: Arc<FaultyStore>,
    pub clock: Arc<ManualClock>,
    pub persistence: Arc<Persistence>,
    ids: TimeOrderedIds,
}

struct CountingRng(std::sync::atomic::AtomicU64);

impl Rng for CountingRng {
    fn fill(&self, dest: &mut [u8]) {
        let n = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_be_bytes();
        for (byte, n) in dest.iter_mut().zip(n.iter().cycle()) {
            *byte = *n;
        }
    }
}

static RNG: CountingRng = CountingRng(std::sync::atomic::AtomicU64::new(1));

impl World {
    pub fn start() -> Self {
        Self::with_retry_count(3)
    }

    pub fn with_retry_count(retry_count: u32) -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1_000_000)));
        let store = Arc::new(FaultyStore::new(Arc::new(MemoryStore::new(clock.clone()))));
        let settings = PersistenceSettings {
            retry_count,
            queue_capacity: 64,
            max_batch: 16,
            pool_size: 2,
            retention_time: Duration::from_secs(86_400),
        };
        let persistence = Persistence::start(store.clone(), clock.clone(), settings, NodeId([1; 16]));
        Self { store, clock, persistence, ids: TimeOrderedIds::default() }
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
        };
        Arc::new(Opening { grant, token, policy: issue.policy })
    }
}
