//! What stands in front of a store in each node: the tail of the revocation log ([`Tail`]) with its promise of
//! freshness, and the near caches ([`CachedStore`]), which serve nothing that the log has ended.

mod near;
mod store;
mod tail;

pub use near::{EvictionPolicy, NearCache, NearCacheSettings, OpenError, UnknownEvictionPolicy};
pub use store::{CacheSettings, CachedStore};
pub use tail::{Coherence, Pass, Tail};
