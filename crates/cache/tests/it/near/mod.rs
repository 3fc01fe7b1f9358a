//! Near caches, each on a directory of its own.

mod disk;
mod eviction;
mod fill;
mod metrics;

use std::path::Path;

use grantry_cache::{EvictionPolicy, NearCache, NearCacheSettings};

type Cache = NearCache<u64, String>;

const MEMORY_ONLY: NearCacheSettings = NearCacheSettings {
    capacity: 2,
    eviction_policy: EvictionPolicy::Lru,
    disk_offload: false,
    flush_to_disk_on_stop: false,
};

async fn in_memory(capacity: usize, eviction_policy: EvictionPolicy) -> Cache {
    let settings = NearCacheSettings { capacity, eviction_policy, ..MEMORY_ONLY };
    Cache::open("tokens", settings, Path::new("/nonexistent")).await.unwrap()
}

/// The value that every test keeps for a key.
fn value_of(key: u64) -> String {
    format!("value of {key}")
}

fn insert(cache: &Cache, keys: impl IntoIterator<Item = u64>) {
    for key in keys {
        cache.insert(key, value_of(key));
    }
}

/// The keys whose value is in memory.
fn keys_in_memory(cache: &Cache, keys: impl IntoIterator<Item = u64>) -> Vec<u64> {
    keys.into_iter().filter(|key| cache.get(key).is_some_and(|value| *value == value_of(*key))).collect()
}
