//! Two nodes on one memory store behind the wrapper that counts calls and injects faults; time stands still until a test
//! moves it.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test, as the test itself would")]

mod changes;
mod coherence;
mod conformance;
mod copies;
mod data_space;
mod near;
mod promotion;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use grantry_cache::{
    CacheSettings, CachedStore, Coherence, EvictionPolicy, NearCacheSettings, SharedCopies, Tail,
};
use grantry_protocol::{BootClock, Clock, ManualClock, Timestamp};
use grantry_revocation::Freshness;
use grantry_store::conformance::Harness;
use grantry_store::{FaultyStore, MemoryStore, NodeId, Store};
use tokio::task::JoinHandle;

pub const MAX_STALENESS: Duration = Duration::from_secs(1);

/// A clock that nobody sets, made of one that is set: the wall clock is moved apart from it.
pub struct Boot(pub Arc<ManualClock>);

impl BootClock for Boot {
    fn since_boot(&self) -> Duration {
        self.0.now().since(Timestamp::from_secs(0))
    }
}

/// One server process: its way to the store, its caches, its clocks.
pub struct Node {
    pub store: Arc<CachedStore>,
    pub network: Arc<FaultyStore>,
    pub clock: Arc<ManualClock>,
    pub boot: Arc<ManualClock>,
    following: JoinHandle<()>,
}

impl Node {
    pub async fn start(store: &Arc<dyn Store>, number: u8, coherence: Coherence, now: Timestamp) -> Self {
        Self::start_with(store, number, coherence, now, Some(settings(100))).await
    }

    pub async fn start_with(
        store: &Arc<dyn Store>,
        number: u8,
        coherence: Coherence,
        now: Timestamp,
        settings: Option<CacheSettings>,
    ) -> Self {
        Self::start_sharing(store, number, coherence, now, settings, None).await
    }

    pub async fn start_sharing(
        store: &Arc<dyn Store>,
        number: u8,
        coherence: Coherence,
        now: Timestamp,
        settings: Option<CacheSettings>,
        shared: Option<SharedCopies>,
    ) -> Self {
        let network = Arc::new(FaultyStore::new(Arc::clone(store)));
        let (clock, boot) =
            (Arc::new(ManualClock::at(now)), Arc::new(ManualClock::at(Timestamp::from_secs(50))));
        let tail = Tail::new(
            Arc::clone(&network) as _,
            NodeId([number; 16]),
            coherence,
            Freshness::new(MAX_STALENESS).unwrap(),
            Arc::clone(&clock) as _,
            Arc::new(Boot(Arc::clone(&boot))),
        );
        let following = tail.start();
        let store = CachedStore::open(
            Arc::clone(&network) as _,
            tail,
            Arc::clone(&clock) as _,
            settings,
            Path::new("/nonexistent"),
        );
        let mut store = store.await.unwrap();
        if let Some(shared) = shared {
            store = store.with_data_space(shared);
        }
        Self { store: Arc::new(store), network, clock, boot, following }
    }

    /// On both clocks.
    pub fn pass_time(&self, span: Duration) {
        self.clock.advance(span);
        self.boot.advance(span);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.following.abort();
    }
}

pub fn settings(capacity: usize) -> CacheSettings {
    let near = NearCacheSettings {
        capacity,
        eviction_policy: EvictionPolicy::Lru,
        disk_offload: false,
        flush_to_disk_on_stop: false,
    };
    CacheSettings { tokens: near, token_owners: near, clients: near }
}

/// The store that the nodes share, and what makes tokens and clients for it.
pub fn shared() -> Harness {
    Harness::new(|clock| Arc::new(MemoryStore::new(clock)))
}
