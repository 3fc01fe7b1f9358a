use std::path::PathBuf;

use grantry_protocol::Lifetime;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Cache {
    /// Whether this server keeps copies. `false`: everything is read from the data space, if there is one, and from the
    /// store; `coherence` still applies.
    pub enabled: bool,
    /// What is promised of a token that was revoked at another node. `bounded`: no request sent later than
    /// `max_staleness` after the revocation was acknowledged is answered as if it were not; no request waits for that while
    /// the store answers in time. `strict`: no request sent after the acknowledgement is; each answer waits for a look at
    /// the whole revocation log that begins after the request arrived, so it takes a round trip to the store more
    /// (requests that wait at the same time share one). `none`: nothing is promised, and no request waits: a node that
    /// cannot follow the revocation log goes on answering from its copies, however old they are.
    pub coherence: Coherence,
    /// With `bounded`: how long ago a node may have last proved that it knows every revocation. It looks at the log four
    /// times as often, and one that has not been able to answers 503 `temporarily_unavailable`. With `strict`: how long a
    /// request waits for its look before it is answered so. With `none` it means nothing. 100ms to 60s, and less than
    /// `limits.request_timeout`.
    pub max_staleness: Lifetime,
    /// How many rows one statement reads when the start fills the caches, the newest tokens first, beside the requests.
    /// More of them fill it sooner, by longer statements. 1 to 65536.
    pub load_batch_size: usize,
    /// Directory of the copies on disk, for one server alone. They hold what the rows of the store hold: protect it
    /// alike. It may be lost at any time.
    pub directory: PathBuf,
    /// Copies of access tokens, for introspection and for handing a token out again. A copy is answered only if the
    /// revocation log has not ended it.
    pub tokens: NearCache,
    /// Which token holds a slot, so that a request of the same client, subject, scope and so on gets it again: for client
    /// credentials and jwt-bearer. The token itself comes from `[cache.tokens]`.
    pub token_owners: NearCache,
    /// Copies of clients: without one, each request reads the row of its client. A change of a client reaches the other
    /// nodes through the revocation log.
    pub clients: NearCache,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            enabled: true,
            coherence: Coherence::Bounded,
            max_staleness: Lifetime::from_secs(1),
            load_batch_size: 1024,
            directory: PathBuf::from("grantry-data/cache"),
            tokens: NearCache::of(100_000),
            token_owners: NearCache::of(100_000),
            clients: NearCache::of(10_000),
        }
    }
}

impl Cache {
    /// What is promised less than by default.
    pub fn risk(&self) -> Option<String> {
        let cost = match self.coherence {
            Coherence::Strict | Coherence::Bounded => return None,
            Coherence::None if self.enabled => {
                "while this node cannot follow the revocation log, a token that was revoked at another node stays active \
                 here until its copy leaves the cache or it expires"
            }
            Coherence::None => {
                "nothing shows that the server that is read still takes the writes, so a token that was revoked may stay \
                 active after a failover"
            }
        };
        Some(format!("cache.coherence is \"none\": {cost}"))
    }
}

/// `cache.coherence`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum Coherence {
    Strict,
    Bounded,
    None,
}

/// One cache. The defaults differ from one to the next and stand in [`Cache`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NearCache {
    /// The most copies in memory. 1 to 100000000.
    pub capacity: usize,
    /// Which copy makes room for a new one. `lru`: the one that was not used for the longest time. `lfu`: one that is used
    /// rarely. `s3fifo`: one that was used once only, so that a scan does not push out what is used again and again.
    pub eviction_policy: EvictionPolicy,
    /// Copies that make room go to `cache.directory`, where they are found again by a read of the disk instead of one of
    /// the store; at most 256 MiB of them, then the oldest go. They outlive a clean stop, and no other end.
    pub disk_offload: bool,
    /// A clean stop writes the copies in memory to `cache.directory`, and the next start finds them there. After any other
    /// end it begins empty.
    pub flush_to_disk_on_stop: bool,
}

impl NearCache {
    const fn of(capacity: usize) -> Self {
        Self {
            capacity,
            eviction_policy: EvictionPolicy::Lru,
            disk_offload: false,
            flush_to_disk_on_stop: false,
        }
    }

    pub const fn needs_disk(&self) -> bool {
        self.disk_offload || self.flush_to_disk_on_stop
    }
}

/// `cache.*.eviction_policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum EvictionPolicy {
    Lru,
    Lfu,
    S3Fifo,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_cache_that_promises_nothing_is_a_risk_and_the_sentence_says_which() {
        let with = |coherence, enabled| Cache { coherence, enabled, ..Cache::default() };
        for coherence in [Coherence::Strict, Coherence::Bounded] {
            assert_eq!(with(coherence, true).risk(), None);
            assert_eq!(with(coherence, false).risk(), None);
        }
        let [copies, none] = [true, false].map(|enabled| with(Coherence::None, enabled).risk().unwrap());
        assert!(copies.contains("cache.coherence") && copies.contains("leaves the cache"), "{copies}");
        assert!(none.contains("cache.coherence") && none.contains("failover"), "{none}");
    }
}
