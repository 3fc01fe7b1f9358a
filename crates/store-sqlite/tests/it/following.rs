//! Nodes that follow the log of one file.

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{LogHead, ManualClock, Seen, Timestamp};
use grantry_store::conformance::Harness;
use grantry_store::transfer::TransferSource;
use grantry_store::{NodeId, Outage, Probe, Revocations, StoreError};
use grantry_store_sqlite::{SqliteOptions, SqliteStore};
use rusqlite::Connection;

use super::scratch::{Scratch, impatient};

fn probe(applied: Seen) -> Probe {
    Probe { node: NodeId([1; 16]), applied, limit: 10 }
}

async fn applied(harness: &Harness) -> Vec<Option<Seen>> {
    harness.store.node_list().await.unwrap().iter().map(|node| node.applied).collect()
}

#[tokio::test]
async fn a_node_that_has_nothing_new_to_say_writes_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let harness = scratch.harness();
    harness.probe(NodeId([1; 16]), Seen::NOTHING).await;
    harness.insert(&harness.client("written after it")).await;
    let watching = Connection::open(&path).unwrap();
    // Another number once anybody else has committed anything.
    let version = || watching.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();
    let before = version();
    for _ in 0..20 {
        harness.clock.advance(Duration::from_secs(1));
        harness.probe(NodeId([1; 16]), Seen::NOTHING).await;
    }
    assert_eq!(version(), before);
    harness.probe(NodeId([1; 16]), LogHead::EMPTY.seen()).await;
    harness.insert(&harness.client("written after that")).await;
    assert_eq!(applied(&harness).await, [Some(LogHead::EMPTY.seen())]);
}

/// What a node knows of the log does not depend on whether it can say so.
#[tokio::test]
async fn a_probe_is_answered_while_nothing_can_be_written() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let harness = scratch.harness_with(impatient());
    let token = harness.issued("billing").await;
    harness.revoke(token.id).await;
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let page = harness.store.revocation_probe(probe(Seen::NOTHING)).await.unwrap();
    assert_eq!((page.head, page.entries), (harness.head().await, harness.log().await));
    assert_eq!(applied(&harness).await, []);
    other.execute_batch("ROLLBACK").unwrap();
    harness.probe(NodeId([1; 16]), Seen::NOTHING).await;
    harness.insert(&harness.client("written after it")).await;
    assert_eq!(applied(&harness).await, [Some(Seen::NOTHING)]);
}

#[tokio::test]
async fn a_store_that_was_moved_away_proves_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let harness = scratch.harness();
    let token = harness.issued("billing").await;
    let transfer = SqliteStore::transfer(&path).unwrap();
    transfer.begin("a transfer").await.unwrap();
    harness.revoke(token.id).await;
    transfer.fence().await.unwrap();
    // Nothing can be revoked any more, so whoever reads now knows everything.
    let page = harness.store.revocation_probe(probe(Seen::NOTHING)).await.unwrap();
    assert_eq!(page.head, harness.head().await);
    transfer.close("postgres://elsewhere").await.unwrap();
    let refused = harness.store.revocation_probe(probe(page.head.seen())).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { outage: Outage::Closed, .. })), "{refused:?}");
    transfer.abort().await.unwrap();
    harness.probe(NodeId([1; 16]), page.head.seen()).await;
}

#[tokio::test]
async fn what_another_process_appends_is_in_the_next_probe_and_rings_nothing() {
    let scratch = Scratch::new();
    let clock = Arc::new(ManualClock::at(Timestamp::from_secs(1)));
    let second = SqliteStore::open(&scratch.path, SqliteOptions::default(), clock).unwrap();
    let harness = scratch.harness();
    let (own, others) = (harness.store.revocation_bell(), second.revocation_bell());
    let token = harness.issued("billing").await;
    assert_eq!((own.has_changed().ok(), others.has_changed().ok()), (Some(false), Some(false)));
    harness.revoke(token.id).await;
    assert_eq!((own.has_changed().ok(), others.has_changed().ok()), (Some(true), Some(false)));
    let page = second.revocation_probe(probe(Seen::NOTHING)).await.unwrap();
    assert_eq!(page.head, harness.head().await);
}
