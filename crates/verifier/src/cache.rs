//! What is remembered about tokens: bounded, and by a hash, so that no token lies in memory.

use metrics::{Counter, Gauge, counter, gauge};
use quick_cache::sync::Cache;

/// SHA-256 of a token's text.
pub type TokenHash = [u8; 32];

pub struct TokenCache<V> {
    cache: Option<Cache<TokenHash, V>>,
    hits: Counter,
    misses: Counter,
    size: Gauge,
}

impl<V: Clone> TokenCache<V> {
    /// `name` stands in metrics.
    pub fn new(name: &'static str, capacity: usize) -> Self {
        Self {
            cache: (capacity > 0).then(|| Cache::new(capacity)),
            hits: counter!("grantry_verifier_cache_hits_total", "cache" => name),
            misses: counter!("grantry_verifier_cache_misses_total", "cache" => name),
            size: gauge!("grantry_verifier_cache_size", "cache" => name),
        }
    }

    /// What is there, if it is good still; that is for the caller to say.
    pub fn get(&self, hash: &TokenHash, is_good: impl FnOnce(&V) -> bool) -> Option<V> {
        let found = self.cache.as_ref()?.get(hash).filter(is_good);
        if found.is_some() { &self.hits } else { &self.misses }.increment(1);
        found
    }

    pub fn put(&self, hash: TokenHash, value: V) {
        let Some(cache) = &self.cache else { return };
        cache.insert(hash, value);
        self.size.set(cache.len() as f64);
    }
}
