//! A standby that lacks the last entries of the log takes over.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use grantry_cache::{CachedStore, Coherence, Tail};
use grantry_protocol::{Clock, Epoch, Rng, TokenState};
use grantry_revocation::Freshness;
use grantry_store::conformance::{Harness, issue};
use grantry_store::{NodeId, Revocations, Tokens};
use grantry_store_postgres::testing::{Server, ServerOptions};
use grantry_store_postgres::{PostgresOptions, PostgresStore, StoreTime};

use super::{Boot, MAX_STALENESS, settings};

struct Counting(AtomicU64);

impl Rng for Counting {
    fn fill(&self, dest: &mut [u8]) {
        let count = self.0.fetch_add(1, Ordering::Relaxed).to_le_bytes();
        dest.iter_mut().zip(count.into_iter().cycle()).for_each(|(byte, value)| *byte = value);
    }
}

async fn open(url: &str) -> Arc<PostgresStore> {
    let rng = Arc::new(Counting(AtomicU64::new(1)));
    Arc::new(PostgresStore::open(url, &PostgresOptions::default(), StoreTime::Database, rng).await.unwrap())
}

/// What blocks, beside the tasks of the stores.
async fn apart(mut server: Server, work: impl FnOnce(&mut Server) + Send + 'static) -> Server {
    let work = move || {
        work(&mut server);
        server
    };
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test]
async fn what_a_promotion_has_lost_stays_ended_and_the_epoch_is_raised() {
    let primary = Server::start(&ServerOptions::default());
    let before = open(&primary.url("postgres")).await;
    let standby = Server::standby(&primary);
    let hosts = format!("127.0.0.1:{},127.0.0.1:{}", primary.port(), standby.port());
    let inner = open(&format!("postgres://grantry@{hosts}/postgres")).await;
    // Makes tokens; its own store is not used.
    let shared = Harness::new(|clock| Arc::new(grantry_store::MemoryStore::new(clock)));
    let clock = Arc::clone(&shared.clock);
    let freshness = Freshness::new(MAX_STALENESS).unwrap();
    let boot = Arc::new(Boot(Arc::clone(&clock)));
    let tail = Tail::new(
        Arc::clone(&inner) as _,
        NodeId([1; 16]),
        Coherence::Bounded,
        freshness,
        Arc::clone(&clock) as _,
        boot,
    );
    let following = tail.start();
    let node = CachedStore::open(
        inner,
        tail,
        Arc::clone(&clock) as _,
        Some(settings(100)),
        Path::new("/nonexistent"),
    )
    .await
    .unwrap();

    let token = shared.token("app");
    node.token_write(vec![issue(&token)]).await.unwrap();
    assert_eq!(node.token_find(token.id).await.unwrap().unwrap().state(clock.now()), TokenState::Active);
    let standby = tokio::task::spawn_blocking(move || {
        standby.catch_up_with(&primary);
        (standby, primary)
    });
    let (standby, primary) = standby.await.unwrap();
    let standby = apart(standby, Server::stop).await;
    before
        .token_write(vec![grantry_store::TokenWrite::Revoke { id: token.id, unwritten: None, audit: None }])
        .await
        .unwrap();
    node.tail().catch_up().await;
    assert_eq!(node.token_find(token.id).await.unwrap().unwrap().state(clock.now()), TokenState::Revoked);

    drop(before);
    let _primary = apart(primary, Server::crash).await;
    let promote = |standby: &mut Server| {
        standby.resume_from_stop();
        standby.promote();
    };
    let standby = apart(standby, promote).await;
    let after = open(&standby.url("postgres")).await;
    let row = after.token_find(token.id).await.unwrap().unwrap();
    assert_eq!(row.state(clock.now()), TokenState::Active, "it does not know that the token was revoked");
    while after.revocation_head().await.unwrap().epoch == Epoch(1) {
        // wait: the node to find the new primary, and that it lacks something
        node.tail().catch_up().await;
    }
    node.tail().catch_up().await;
    assert_eq!(node.token_find(token.id).await.unwrap().unwrap().state(clock.now()), TokenState::Revoked);
    let log = after.revocation_list(grantry_protocol::Position(0), 10).await.unwrap();
    let given_back = log.iter().any(|entry| entry.key == token.id.as_bytes() && entry.epoch == Epoch(2));
    assert!(given_back, "other nodes hear of it from the log: {log:?}");
    following.abort();
}
