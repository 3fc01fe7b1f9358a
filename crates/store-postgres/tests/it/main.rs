#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod concurrency;
mod conformance;
mod connecting;
mod explain;
mod following;
mod migration;
mod nouns;
mod partitions;
mod pgbouncer;
mod replication;
mod shortcut;
mod tls;
mod transfer;

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::Rng;
use grantry_store_postgres::PostgresOptions;
use grantry_store_postgres::testing::ground::{Connector, Link};
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(10);

/// What a server has.
fn options() -> PostgresOptions {
    PostgresOptions::default()
}

async fn link_with(url: &str, options: &PostgresOptions) -> Link {
    let connector = Connector::new(url, options, &[]).unwrap();
    connector.connect(Instant::now() + PATIENCE, PATIENCE).await.unwrap()
}

async fn link(url: &str) -> Link {
    link_with(url, &options()).await
}

/// For what only spreads waits.
struct Fixed;

impl Fixed {
    fn rng() -> Arc<dyn Rng> {
        Arc::new(Self)
    }
}

impl Rng for Fixed {
    fn fill(&self, dest: &mut [u8]) {
        dest.fill(7);
    }
}
