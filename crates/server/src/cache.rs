//! Puts the tail of the revocation log and the near caches in front of the store, as `[cache]` says, and the
//! data space behind them, as `[data_space]` says.

use std::sync::Arc;

use grantry_cache::{CacheSettings, CachedStore, SharedCopies, Tail};
use grantry_revocation::Freshness;
use grantry_store::{NodeId, Store};
use tokio::task::JoinHandle;

use crate::ambient::{boot_clock, clock};
use crate::config::{Cache, Coherence, Config, EvictionPolicy, NearCache};
use crate::failure::Failure;
use crate::wire;

/// The store that everything else is given, and what runs beside it.
pub struct Cached {
    pub store: Arc<CachedStore>,
    pub background: [JoinHandle<()>; 2],
}

pub async fn open(config: &Config, store: Arc<dyn Store>, node: NodeId) -> Result<Cached, Failure> {
    let cache = &config.cache;
    let freshness = Freshness::new(cache.max_staleness.as_duration())
        .map_err(|error| Failure::new(format!("cache.max_staleness: {error}")))?;
    let space = wire::data_space(config, store.cluster_id().await?).await?;
    let coherence = cache.coherence.into();
    let tail = Tail::new(Arc::clone(&store), node, coherence, freshness, clock(), boot_clock());
    let following = tail.start();
    let settings = cache.enabled.then(|| cache.into());
    let store = CachedStore::open(store, tail, clock(), settings, &cache.directory).await;
    let mut store = store.map_err(|error| Failure::new(error.to_string()))?;
    if let Some(space) = space {
        let patience = config.data_space.answer_timeout.as_duration();
        store = store.with_data_space(SharedCopies::start(space, patience));
        tracing::info!(name = config.data_space.name, "the data space is joined");
    }
    let store = Arc::new(store);
    let (loading, batch_size) = (Arc::clone(&store), cache.load_batch_size);
    let loading = tokio::spawn(async move { loading.load(batch_size).await });
    Ok(Cached { store, background: [following, loading] })
}

impl From<&Cache> for CacheSettings {
    fn from(cache: &Cache) -> Self {
        let Cache { tokens, token_owners, clients, .. } = cache;
        Self { tokens: (*tokens).into(), token_owners: (*token_owners).into(), clients: (*clients).into() }
    }
}

impl From<NearCache> for grantry_cache::NearCacheSettings {
    fn from(cache: NearCache) -> Self {
        let NearCache { capacity, eviction_policy, disk_offload, flush_to_disk_on_stop } = cache;
        Self { capacity, eviction_policy: eviction_policy.into(), disk_offload, flush_to_disk_on_stop }
    }
}

impl From<EvictionPolicy> for grantry_cache::EvictionPolicy {
    fn from(policy: EvictionPolicy) -> Self {
        match policy {
            EvictionPolicy::Lru => Self::Lru,
            EvictionPolicy::Lfu => Self::Lfu,
            EvictionPolicy::S3Fifo => Self::S3Fifo,
        }
    }
}

impl From<Coherence> for grantry_cache::Coherence {
    fn from(coherence: Coherence) -> Self {
        match coherence {
            Coherence::Strict => Self::Strict,
            Coherence::Bounded => Self::Bounded,
            Coherence::None => Self::None,
        }
    }
}
