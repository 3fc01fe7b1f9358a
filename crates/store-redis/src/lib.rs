//! Redis or Valkey: the data space between nodes, and a store of its own where there is no database.
//!
//! **Links** (`link.rs`) find the primary of a key, whether there is one server, a pair that Sentinels watch, or a
//! Cluster, and know how many replicas have what was written.
//!
//! **Transactions** of the store (`transaction.rs`) read the rows that matter at one instant (`rows.rs`), decide by the
//! functions of `grantry-store`, and commit by a script (`commit.lua`) that first looks whether the rows still are what was
//! decided about. All keys of a store have the same hash tag (`names.rs`), so that one script may change any of them.

mod audit;
mod clients;
mod data_space;
mod errors;
mod grants;
mod keys;
mod link;
mod log;
mod names;
mod nodes;
mod open;
mod options;
mod replication;
mod retention;
mod revocations;
mod rows;
mod script;
mod settings;
mod status_lists;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod tokens;
mod transaction;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::Rng;
use grantry_store::ClusterId;
use metrics::Counter;

pub use data_space::{JoinError, RedisDataSpace};
pub use errors::{Cause, Error};
pub use link::{Kind, Links, ReplicationState};
pub use open::OpenError;
pub use options::{RedisOptions, ReplicationPolicy};
pub use time::StoreTime;

/// Tokens, grants, clients, keys, the revocation log, the audit trail and nodes in Redis alone.
pub struct RedisStore {
    links: Arc<Links>,
    names: names::Names,
    time: StoreTime,
    rng: Arc<dyn Rng>,
    /// How long what is over stays to be looked at.
    retention: Duration,
    cluster_id: ClusterId,
    commit: script::Script,
    probe: script::Script,
    metrics: Metrics,
}

struct Metrics {
    repeated: Counter,
}
