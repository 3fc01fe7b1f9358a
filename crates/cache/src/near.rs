//! A near cache: copies of what the store has, bounded, in the memory of this node, and beyond that on its disk if the
//! operator wants it so. It does not know when a copy stops being true: whoever asks says which copies are good, each
//! time.
//!
//! | `disk_offload` | `flush_to_disk_on_stop` | while it runs | at a clean stop | at the next start |
//! |---|---|---|---|---|
//! | no  | no  | memory only | all is forgotten | empty |
//! | yes | no  | what is evicted goes to disk | what is in memory is forgotten | what was on disk is found |
//! | yes | yes | what is evicted goes to disk | memory goes to disk too | all is found |
//! | no  | yes | nothing goes to disk | memory goes to disk | what was in memory is found |
//!
//! After any other end than [`NearCache::stop`] the next start is empty. "Found" means on disk, at first: a copy comes
//! into memory when it is asked for.

mod disk;
mod flights;
mod memory;
mod settings;

use std::hash::Hash;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use grantry_store::CacheView;
use metrics::{Counter, counter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::disk::Disk;
use self::flights::{Flights, Role};
use self::memory::Memory;
pub use self::settings::{EvictionPolicy, NearCacheSettings, UnknownEvictionPolicy};

/// Why a near cache cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "the directory {} cannot be used: {source}; make it writable or set cache.{cache}.{key} to false",
    .path.display()
)]
pub struct OpenError {
    cache: &'static str,
    /// The setting that asks for a disk.
    key: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// See the module. A value is shared, not copied, between the cache and whoever got it.
pub struct NearCache<K: Key, V: Value> {
    name: &'static str,
    memory: Arc<Memory<K, V>>,
    disk: Option<Arc<Disk<K>>>,
    flights: Flights<K, V>,
    flush_on_stop: bool,
    from_memory: Counter,
    from_disk: Counter,
    misses: Counter,
}

pub trait Key: Eq + Hash + Clone + Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<K: Eq + Hash + Clone + Send + Sync + Serialize + DeserializeOwned + 'static> Key for K {}

pub trait Value: Send + Sync + Serialize + DeserializeOwned + 'static {}
impl<V: Send + Sync + Serialize + DeserializeOwned + 'static> Value for V {}

impl<K: Key, V: Value> NearCache<K, V> {
    /// `name` stands in metrics and messages; what goes to disk is in `directory/name`.
    ///
    /// # Errors
    /// A directory that cannot be made, read or written.
    pub async fn open(
        name: &'static str,
        settings: NearCacheSettings,
        directory: &Path,
    ) -> Result<Self, OpenError> {
        let path = directory.join(name);
        let key = if settings.disk_offload { "disk_offload" } else { "flush_to_disk_on_stop" };
        let disk = open_disk(name, settings, path.clone())
            .await
            .map_err(|source| OpenError { cache: name, key, path, source })?
            .map(Arc::new);
        Ok(Self {
            name,
            memory: Arc::new(Memory::new(name, settings, disk.clone())),
            disk,
            flights: Flights::new(),
            flush_on_stop: settings.flush_to_disk_on_stop,
            from_memory: counter!("grantry_cache_hits_total", "cache" => name, "tier" => "memory"),
            from_disk: counter!("grantry_cache_hits_total", "cache" => name, "tier" => "disk"),
            misses: counter!("grantry_cache_misses_total", "cache" => name),
        })
    }

    /// The copy in memory. Counts a hit, but no miss: that is up to [`Self::get_or_fill`], which may find it on disk.
    pub fn get(&self, key: &K) -> Option<Arc<V>> {
        self.memory.get(key).inspect(|_| self.from_memory.increment(1))
    }

    /// The copy, from memory or disk, if it `is_good`; else what `fill` brings, which is kept unless it is absent.
    ///
    /// Of the calls for one key at the same time one fills. The others get what it brought if there is something and
    /// that is good for them; else they fill for themselves, because an absence that was read before they asked says
    /// nothing to them, and a failure is that of one reader. Nothing is left hanging when a call is dropped.
    ///
    /// # Errors
    /// Those of `fill`.
    pub async fn get_or_fill<E>(
        &self,
        key: &K,
        is_good: impl Fn(&V) -> bool,
        fill: impl Future<Output = Result<Option<V>, E>>,
    ) -> Result<Option<Arc<V>>, E> {
        if let Some(copy) = self.good_in_memory(key, &is_good) {
            return Ok(Some(copy));
        }
        let flight = match self.flights.join(key) {
            Role::Waiter(waiter) => match waiter.result().await.filter(|copy| is_good(copy)) {
                Some(copy) => {
                    self.from_memory.increment(1);
                    return Ok(Some(copy));
                }
                None => None,
            },
            Role::Leader(flight) => match self.good_anywhere(key, &is_good).await {
                Some(copy) => {
                    flight.finish(Arc::clone(&copy));
                    return Ok(Some(copy));
                }
                None => Some(flight),
            },
        };
        self.misses.increment(1);
        let Some(value) = fill.await? else { return Ok(None) };
        let value = Arc::new(value);
        self.keep(key.clone(), Arc::clone(&value));
        if let Some(flight) = flight {
            flight.finish(Arc::clone(&value));
        }
        Ok(Some(value))
    }

    fn good_in_memory(&self, key: &K, is_good: &impl Fn(&V) -> bool) -> Option<Arc<V>> {
        self.memory.get(key).filter(|copy| is_good(copy)).inspect(|_| self.from_memory.increment(1))
    }

    async fn good_anywhere(&self, key: &K, is_good: &impl Fn(&V) -> bool) -> Option<Arc<V>> {
        // Once more: the flight before this one may have landed between the first look and this flight's start.
        if let Some(copy) = self.good_in_memory(key, is_good) {
            return Some(copy);
        }
        let disk = self.disk.as_ref().filter(|disk| disk.has(key))?;
        let (disk, wanted) = (Arc::clone(disk), key.clone());
        let copy = tokio::task::spawn_blocking(move || disk.take(&wanted)).await.ok().flatten()?;
        let copy = Some(Arc::new(copy)).filter(|copy| is_good(copy))?;
        self.from_disk.increment(1);
        self.memory.insert(key.clone(), Arc::clone(&copy));
        Some(copy)
    }

    pub fn insert(&self, key: K, value: V) {
        self.keep(key, Arc::new(value));
    }

    /// Of two that are kept for one key at the same time either may stay.
    fn keep(&self, key: K, value: Arc<V>) {
        if let Some(disk) = &self.disk {
            disk.remove(&key);
        }
        self.memory.insert(key, value);
    }

    pub fn remove(&self, key: &K) {
        self.memory.remove(key);
        if let Some(disk) = &self.disk {
            disk.remove(key);
        }
    }

    pub fn view(&self) -> CacheView {
        CacheView { name: self.name, size: self.len(), capacity: self.capacity() }
    }

    /// How many copies are in memory.
    pub fn len(&self) -> usize {
        self.memory.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many copies memory may hold.
    pub fn capacity(&self) -> usize {
        self.memory.capacity()
    }

    pub fn set_capacity(&self, capacity: usize) {
        self.memory.set_capacity(capacity);
    }

    /// Makes what the settings keep for the next start durable. Afterwards nothing goes to disk or comes from there. A
    /// disk that fails is logged, and the next start is empty.
    pub async fn stop(&self) {
        let Some(disk) = self.disk.clone() else { return };
        let memory = self.flush_on_stop.then(|| Arc::clone(&self.memory));
        let stopping = tokio::task::spawn_blocking(move || {
            if let Some(memory) = memory {
                memory.flush();
            }
            disk.close();
        });
        // The runtime is going down already: there will be no mark, and the next start is empty.
        stopping.await.ok();
    }
}

async fn open_disk<K: Key>(
    name: &'static str,
    settings: NearCacheSettings,
    path: PathBuf,
) -> io::Result<Option<Disk<K>>> {
    let wanted = settings.disk_offload || settings.flush_to_disk_on_stop;
    let opening = move || {
        if wanted {
            return Disk::open(name, path).map(Some);
        }
        // What an earlier configuration left would be taken, by a later one, for what this run left.
        disk::forget(&path).map(|()| None)
    };
    tokio::task::spawn_blocking(opening).await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)))
}
