//! What stands in front of a store in each node: the tail of the revocation log ([`Tail`]) with its promise of
//! freshness, the near caches, and the data space behind them ([`CachedStore`]), from which nothing is served that the log
//! has ended. What the tail knows is told to others by the [`Feed`].

mod data_space;
mod feed;
mod near;
mod store;
mod tail;

pub use data_space::SharedCopies;
pub use feed::{Feed, FeedAnswer, FeedPlace};
pub use near::{EvictionPolicy, NearCache, NearCacheSettings, OpenError, UnknownEvictionPolicy};
pub use store::{CacheSettings, CachedStore, Capacities};
pub use tail::{Coherence, Pass, Tail};
