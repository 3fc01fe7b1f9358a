//! A real PostgreSQL for tests.
//!
//! [`Database::scratch`] is an empty database with our schema, on a server that all test processes of a run share.
//! [`Server::start`] is a server of a test's own, for tests that stop it, hang it or give it settings. [`PgBouncer`]
//! stands in front of either. Everything listens on loopback, lives in the system's directory for temporary files and
//! goes away with the tests, killed ones included.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod account;
mod binaries;
mod cluster;
mod database;
mod pgbouncer;
mod server;
mod shared;

pub use database::Database;
pub use grantry_store::conformance::block_on;
pub use pgbouncer::PgBouncer;
pub use server::{Server, ServerOptions};
pub use shared::shared_port;

/// What lies below the nouns, for the tests of it.
pub mod ground {
    pub use crate::connect::Connector;
    pub use crate::errors::{Cause, Error};
    pub use crate::link::{Begin, Link};
    pub use crate::migrate::migrate_beyond;
    pub use crate::partitions::{Maintained, Partitions, Removed, maintain};
    pub use crate::pool::{Borrowed, GivenUp, Pool};
    pub use crate::pool_metrics::PoolMetrics;
    pub use crate::statement::Statement;
}
