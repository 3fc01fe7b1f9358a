//! What is served from copies, and what never is.

use grantry_cache::Coherence;
use grantry_protocol::{Client, Clock, LogKind, TokenState};
use grantry_store::conformance::{LIFETIME, issue};
use grantry_store::{Clients, Outage, StoreError, Tokens, WriteOutcome};

use super::{Node, shared};

#[tokio::test(start_paused = true)]
async fn a_copy_is_served_without_asking_the_store() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::Bounded, shared.now()).await;
    let token = shared.token("app");
    let outcomes = node.store.token_write(vec![issue(&token)]).await.unwrap();
    assert_eq!(outcomes, [WriteOutcome::Issued]);
    let id = token.id;
    node.store.token_find(id).await.unwrap().unwrap();
    let calls = node.network.calls();
    assert_eq!(node.store.token_find(id).await.unwrap().unwrap().token, token);
    assert_eq!(node.store.token_find_holder(token.slot).await.unwrap().unwrap().token, token);
    assert_eq!(node.network.calls(), calls, "both come from memory");
}

#[tokio::test(start_paused = true)]
async fn what_another_node_ended_is_not_served() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::Bounded, shared.now()).await;
    let token = shared.token("app");
    node.store.token_write(vec![issue(&token)]).await.unwrap();
    let id = token.id;
    assert_eq!(node.store.token_find(id).await.unwrap().unwrap().state(shared.now()), TokenState::Active);
    shared.revoke(id).await;
    node.store.tail().catch_up().await;
    let found = node.store.token_find(id).await.unwrap().unwrap();
    assert_eq!(found.state(shared.now()), TokenState::Revoked);
    assert!(node.store.token_find_holder(token.slot).await.unwrap().is_none(), "the slot is free");
    let calls = node.network.calls();
    assert_eq!(node.store.token_find(id).await.unwrap().unwrap().state(shared.now()), TokenState::Revoked);
    assert_eq!(node.network.calls(), calls, "its end is a copy now, too");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_expires_is_not_handed_out_from_a_copy() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::Bounded, shared.now()).await;
    let token = shared.token("app");
    node.store.token_write(vec![issue(&token)]).await.unwrap();
    node.pass_time(LIFETIME);
    let found = node.store.token_find(token.id).await.unwrap().unwrap();
    assert_eq!(found.state(node.clock.now()), TokenState::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_another_node_changed_is_read_again() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::Bounded, shared.now()).await;
    let other = Node::start(&shared.store, 2, Coherence::Bounded, shared.now()).await;
    let client = shared.client("app");
    shared.insert(&client).await;
    assert_eq!(node.store.client_find(&client.id).await.unwrap().value, Some(client.clone()));
    let calls = node.network.calls();
    node.store.client_find(&client.id).await.unwrap();
    assert_eq!(node.network.calls(), calls);
    let change = shared.change(&Client { version: 2, ..client.clone() }, LogKind::ClientChanged);
    let changed = change.client.clone();
    other.store.client_update(change).await.unwrap();
    node.store.tail().catch_up().await;
    let found = node.store.client_find(&client.id).await.unwrap();
    assert_eq!(found.value, Some(changed));
    assert_eq!(found.seen, shared.store.revocation_head().await.unwrap().seen());
}

#[tokio::test(start_paused = true)]
async fn whoever_changed_a_client_sees_it_at_once() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::Bounded, shared.now()).await;
    let client = shared.client("app");
    shared.insert(&client).await;
    node.store.client_find(&client.id).await.unwrap();
    let change = shared.change(&Client { version: 2, ..client.clone() }, LogKind::ClientChanged);
    let changed = change.client.clone();
    node.store.client_update(change.clone()).await.unwrap();
    assert_eq!(node.store.client_find(&client.id).await.unwrap().value, Some(changed));
}

#[tokio::test(start_paused = true)]
async fn an_unknown_client_is_asked_for_each_time() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::Bounded, shared.now()).await;
    let id = "app".parse().unwrap();
    assert_eq!(node.store.client_find(&id).await.unwrap().value, None);
    let client = shared.client("app");
    shared.insert(&client).await;
    assert_eq!(node.store.client_find(&id).await.unwrap().value, Some(client));
}

#[tokio::test(start_paused = true)]
async fn while_it_is_fresh_a_node_serves_copies_without_its_store() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::Bounded, shared.now()).await;
    let token = shared.token("app");
    node.store.token_write(vec![issue(&token)]).await.unwrap();
    node.store.token_find(token.id).await.unwrap();
    node.network.fail_reads(Some(StoreError::unavailable(Outage::Io, "cut")));
    assert!(node.store.token_find(token.id).await.is_ok());
    assert!(node.store.token_find(shared.token("app").id).await.is_err(), "there is no copy of it");
}
