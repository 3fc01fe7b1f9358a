#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alone;
mod conformance;
mod data_space;
mod failover;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grantry_protocol::{Rng, Timestamp};
use grantry_store::MemoryStore;
use grantry_store::conformance::Harness;
use grantry_store_redis::{RedisOptions, RedisStore, ReplicationPolicy, StoreTime};

const RETENTION: Duration = Duration::from_secs(24 * 3600);

async fn open(discovery: Vec<String>, name: &str) -> RedisStore {
    let options = RedisOptions::new(discovery, name);
    RedisStore::open(&options, RETENTION, StoreTime::Redis, Counted::rng()).await.unwrap()
}

#[expect(clippy::disallowed_methods, reason = "the clock of Redis is the machine's")]
fn real_time() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap())
}

/// What it acknowledges the replicas have.
async fn open_replicated(discovery: Vec<String>) -> RedisStore {
    let options = RedisOptions {
        replication_policy: ReplicationPolicy::Sync,
        replication_timeout: Duration::from_secs(1),
        ..RedisOptions::new(discovery, "grantry")
    };
    RedisStore::open(&options, RETENTION, StoreTime::Redis, Counted::rng()).await.unwrap()
}

/// Tokens that are issued now.
fn tokens() -> Harness {
    let harness = Harness::new(|clock| Arc::new(MemoryStore::new(clock)));
    harness.clock.set(real_time());
    harness
}

/// For at most half a minute.
async fn wait_until(mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if is_so().await {
            return;
        }
        // wait: servers tell nobody when they have agreed on something
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain");
}

/// Never the same bytes twice, in all processes of a run.
struct Counted;

impl Counted {
    fn rng() -> Arc<dyn Rng> {
        Arc::new(Self)
    }
}

impl Rng for Counted {
    fn fill(&self, dest: &mut [u8]) {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let own = u64::from(std::process::id()) << 32;
        let count = (own + COUNT.fetch_add(1, Ordering::Relaxed)).to_le_bytes();
        for (byte, value) in dest.iter_mut().zip(count.into_iter().cycle()) {
            *byte = value;
        }
    }
}
