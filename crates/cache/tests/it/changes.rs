//! Those who keep something that was read before hear that it was changed.

use std::sync::Arc;

use grantry_cache::Coherence;
use grantry_protocol::{LogKind, Seen};
use grantry_store::conformance::Harness;
use grantry_store::{Merge, SettingsChange};
use serde_json::Map;
use tokio::sync::watch::Receiver;

use super::{Node, shared};

async fn change_settings(harness: &Harness, from: u64) -> Seen {
    let keep_until = harness.now() + std::time::Duration::from_secs(60);
    let audit = harness.entry("settings.update", "settings");
    let change = SettingsChange { from, document: Map::new(), audit, keep_until };
    harness.store.settings_replace(change).await.unwrap();
    harness.head().await.seen()
}

async fn heard(receiver: &mut Receiver<Seen>) -> Seen {
    receiver.changed().await.unwrap();
    *receiver.borrow_and_update()
}

#[tokio::test]
async fn a_change_is_heard_of_with_its_place_in_the_log_by_those_whom_it_concerns() {
    let harness = shared();
    let mut client = harness.client("app");
    harness.insert(&client).await;
    let node = Node::start(&harness.store, 1, Coherence::Bounded, harness.now()).await;
    node.store.tail().catch_up().await;
    let (mut settings, mut clients) =
        (node.store.tail().settings_changed(), node.store.tail().clients_changed());
    let before = (*settings.borrow_and_update(), *clients.borrow_and_update());
    assert_eq!(before, (harness.head().await.seen(), harness.head().await.seen()), "it was read once");

    let changed = change_settings(&harness, 0).await;
    assert_eq!(heard(&mut settings).await, changed);
    node.store.tail().catch_up().await;
    assert!(!clients.has_changed().unwrap());

    for kind in [LogKind::ClientChanged, LogKind::Client] {
        harness.update(&mut client, kind).await;
        assert_eq!(heard(&mut clients).await, harness.head().await.seen());
    }
    let token = harness.issued("app").await;
    harness.revoke(token.id).await;
    node.store.tail().catch_up().await;
    assert!(!clients.has_changed().unwrap() && !settings.has_changed().unwrap());
}

#[tokio::test]
async fn where_the_log_is_read_anew_everything_may_have_changed() {
    let harness = shared();
    let node = Node::start(&harness.store, 1, Coherence::Bounded, harness.now()).await;
    node.store.tail().catch_up().await;
    let tail = Arc::clone(node.store.tail());
    let (mut settings, mut clients) = (tail.settings_changed(), tail.clients_changed());
    settings.mark_unchanged();
    clients.mark_unchanged();
    let from = harness.head().await;
    harness.store.revocation_merge(Merge { from, raise_epoch: true, entries: Vec::new() }).await.unwrap();
    tail.catch_up().await;
    let head = harness.head().await.seen();
    assert_eq!((heard(&mut settings).await, heard(&mut clients).await), (head, head));
}
