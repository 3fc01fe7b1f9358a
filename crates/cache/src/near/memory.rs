//! The copies in memory, never more than `capacity`.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use foyer_common::event::{Event, EventListener};
use foyer_memory::{Cache, CacheBuilder, EvictionConfig, LfuConfig, LruConfig, S3FifoConfig};
use metrics::{Counter, Gauge, counter, gauge};

use super::disk::Disk;
use super::{EvictionPolicy, Key, NearCacheSettings, Value};

/// Each shard evicts for itself, so with several of them it is not quite the least recently used of all that goes. From
/// this capacity on a shard has 8192 copies, and nobody can tell; below there is one shard, and the order is exact. How
/// many there are is settled when the cache is opened.
const SHARDED_FROM: usize = 65_536;
const SHARDS: usize = 8;

pub struct Memory<K: Key, V: Value> {
    copies: Cache<K, Arc<V>>,
    capacity: AtomicUsize,
    leaving: Arc<Leaving<K, V>>,
    capacity_gauge: Gauge,
}

/// What becomes of a copy that leaves.
struct Leaving<K, V> {
    disk: Option<Arc<Disk<K>>>,
    /// Whether what is evicted goes to disk.
    spills: AtomicBool,
    evictions: Counter,
    size: Gauge,
    value: PhantomData<fn(V)>,
}

impl<K: Key, V: Value> Memory<K, V> {
    pub fn new(name: &'static str, settings: NearCacheSettings, disk: Option<Arc<Disk<K>>>) -> Self {
        let capacity = settings.capacity;
        let leaving = Arc::new(Leaving {
            disk,
            spills: AtomicBool::new(settings.disk_offload),
            evictions: counter!("grantry_cache_evictions_total", "cache" => name),
            size: gauge!("grantry_cache_size", "cache" => name),
            value: PhantomData,
        });
        let copies = CacheBuilder::new(capacity)
            .with_name(name)
            .with_shards(if capacity < SHARDED_FROM { 1 } else { SHARDS })
            .with_eviction_config(eviction_config(settings.eviction_policy))
            .with_event_listener(Arc::clone(&leaving) as _)
            .build();
        let capacity_gauge = gauge!("grantry_cache_capacity", "cache" => name);
        capacity_gauge.set(capacity as f64);
        leaving.size.set(0.0);
        Self { copies, capacity: AtomicUsize::new(capacity), leaving, capacity_gauge }
    }

    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.copies.get(key).map(|copy| Arc::clone(copy.value()))
    }

    pub fn insert(&self, key: K, value: Arc<V>) {
        // Foyer makes room before it looks whether there is already a copy to replace.
        self.copies.remove(&key);
        self.leaving.size.increment(1.0);
        let copy = self.copies.insert(key, value);
        // Foyer evicts nothing that is being read at that moment, and rather holds too much.
        if self.copies.entries() > self.capacity() {
            self.copies.remove(copy.key());
        }
    }

    pub fn remove(&self, key: &K) {
        self.copies.remove(key);
    }

    pub fn len(&self) -> usize {
        self.copies.entries()
    }

    pub fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    pub fn set_capacity(&self, capacity: usize) {
        self.capacity.store(capacity, Ordering::Relaxed);
        self.capacity_gauge.set(capacity as f64);
        // Refuses only what is wrong with the configuration of a policy, and none is given.
        self.copies.resize(capacity).ok();
    }

    /// Everything goes to disk.
    pub fn flush(&self) {
        self.leaving.spills.store(true, Ordering::Relaxed);
        self.copies.evict_all();
    }
}

impl<K: Key, V: Value> EventListener for Leaving<K, V> {
    type Key = K;
    type Value = Arc<V>;

    fn on_leave(&self, reason: Event, key: &K, value: &Arc<V>) {
        self.size.decrement(1.0);
        if reason != Event::Evict {
            return;
        }
        self.evictions.increment(1);
        if let Some(disk) = self.disk.as_ref().filter(|_| self.spills.load(Ordering::Relaxed)) {
            disk.put(key, &**value);
        }
    }
}

fn eviction_config(policy: EvictionPolicy) -> EvictionConfig {
    match policy {
        // One queue: what overflows the pool of high priority does not come back to it, however often it is used.
        EvictionPolicy::Lru => LruConfig { high_priority_pool_ratio: 0.0 }.into(),
        EvictionPolicy::Lfu => LfuConfig::default().into(),
        EvictionPolicy::S3Fifo => S3FifoConfig::default().into(),
    }
}
