use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which copy leaves when a new one needs its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvictionPolicy {
    /// The one that was not used for the longest time.
    Lru,
    /// One that is seldom used (W-TinyLFU, Einziger et al. 2017).
    Lfu,
    /// One that was used only once is first to go, so that a scan leaves what is used often (Yang et al. 2023).
    S3Fifo,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("must be \"lru\", \"lfu\" or \"s3fifo\"")]
pub struct UnknownEvictionPolicy;

impl EvictionPolicy {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Lfu => "lfu",
            Self::S3Fifo => "s3fifo",
        }
    }
}

impl FromStr for EvictionPolicy {
    type Err = UnknownEvictionPolicy;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Lru, Self::Lfu, Self::S3Fifo]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or(UnknownEvictionPolicy)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NearCacheSettings {
    /// Copies in memory. 0 keeps none.
    pub capacity: usize,
    pub eviction_policy: EvictionPolicy,
    /// Whether what is evicted from memory goes to disk.
    pub disk_offload: bool,
    /// Whether what is in memory goes to disk when the node stops cleanly.
    pub flush_to_disk_on_stop: bool,
}
