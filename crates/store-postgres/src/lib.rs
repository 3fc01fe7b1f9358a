//! The store in PostgreSQL.
//!
//! **Writes** go over a few connections at once (`pool.rs`). A batch of tokens that only ask for their slots is one
//! statement (`issue.rs`); for any other, what it concerns is locked, read, decided in memory by the pure functions of
//! `grantry-store`, and written (`transaction.rs`).
//!
//! **Reads** that arrive while others are under way are answered together (`readers.rs`): one statement a kind, all in
//! one round trip.
//!
//! **Probes** have links of their own and are never without a write (`revocations.rs`): a server that takes none is not
//! believed. One more connection listens for what others append (`listener.rs`), which only saves waiting.
//!
//! Nothing depends on what a database gives beyond rows, row locks and READ COMMITTED: no advisory locks, no
//! notifications, no sequences; transactions that got in each other's way are tried again (`store.rs`).

mod assertions;
mod audit;
mod batch;
mod clients;
mod columns;
mod connect;
mod connect_url;
mod early_ends;
mod errors;
mod grants;
mod issue;
mod keys;
mod link;
mod listener;
mod metrics;
mod migrate;
mod named;
mod nodes;
mod open;
mod open_error;
mod options;
mod overlay;
mod partitions;
mod pipeline;
mod pool;
mod pool_backoff;
mod pool_metrics;
mod prepared;
mod readers;
mod replication;
mod retention;
mod revocations;
mod rules;
mod settings;
mod slots;
mod statement;
#[cfg(feature = "testing")]
pub mod statements;
mod status_lists;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod tls;
mod tokens;
mod transaction;
mod transfer;
mod turns;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use grantry_protocol::{Rng, SlotKey};

pub use migrate::SchemaVersions;
pub use open_error::OpenError;
pub use options::PostgresOptions;
pub use time::StoreTime;

/// Tokens, grants, clients, keys, the revocation log, the audit trail and nodes in a PostgreSQL database.
pub struct PostgresStore {
    /// For everything that changes something.
    write: pool::Pool,
    /// How many connections it has at most.
    write_links: usize,
    readers: readers::Readers,
    /// For nodes that ask how the log goes on.
    probes: pool::Pool,
    listener: listener::Listener,
    time: StoreTime,
    partitions: partitions::Partitions,
    rng: Arc<dyn Rng>,
    busy_timeout: Duration,
    metrics: metrics::Metrics,
    /// Where the clean-up's walk over the slots has got to.
    slots_walked: Mutex<Option<SlotKey>>,
}
