//! When a node may answer at all.

use std::time::Duration;

use grantry_cache::Coherence;
use grantry_protocol::{Clock, TokenState};
use grantry_store::conformance::issue;
use grantry_store::{Clients, Outage, StoreError, Tokens};

use super::{MAX_STALENESS, Node, shared};

fn cut() -> Option<StoreError> {
    Some(StoreError::unavailable(Outage::Io, "cut"))
}

fn is_stale<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Unavailable { outage: Outage::Stale, .. }))
}

#[tokio::test(start_paused = true)]
async fn a_node_that_cannot_follow_the_log_answers_nothing_after_the_bound() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::Bounded, shared.now()).await;
    let token = shared.token("app");
    node.store.token_write(vec![issue(&token)]).await.unwrap();
    node.store.token_find(token.id).await.unwrap();
    node.network.fail_reads(cut());
    node.pass_time(MAX_STALENESS * 9 / 10);
    assert!(is_stale(&node.store.token_find(token.id).await));
    assert!(is_stale(&node.store.client_find(&"app".parse().unwrap()).await), "nor does it issue");
    node.network.fail_reads(None);
    assert!(node.store.token_find(token.id).await.is_ok(), "it recovers by itself");
}

#[tokio::test(start_paused = true)]
async fn a_request_waits_for_a_proof_when_the_clocks_have_jumped() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::Bounded, shared.now()).await;
    let token = shared.token("app");
    node.store.token_write(vec![issue(&token)]).await.unwrap();
    let id = token.id;
    node.store.token_find(id).await.unwrap();
    // The machine slept: one clock stood still.
    for clock in [&node.clock, &node.boot] {
        let probes = node.network.probes();
        clock.advance(Duration::from_secs(2));
        node.store.token_find(id).await.unwrap();
        assert!(node.network.probes() > probes, "it was looked whether there is anything new");
    }
    let probes = node.network.probes();
    node.clock.set(shared.now().saturating_sub(Duration::from_secs(300)));
    node.store.token_find(id).await.unwrap();
    assert_eq!(node.network.probes(), probes, "a clock that was set back says nothing");
}

#[tokio::test(start_paused = true)]
async fn strict_answers_look_at_the_log_each_time() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::Strict, shared.now()).await;
    let token = shared.token("app");
    node.store.token_write(vec![issue(&token)]).await.unwrap();
    let id = token.id;
    for _ in 0..3 {
        let probes = node.network.probes();
        assert_eq!(node.store.token_find(id).await.unwrap().unwrap().state(shared.now()), TokenState::Active);
        assert!(node.network.probes() > probes);
    }
    shared.revoke(id).await;
    let found = node.store.token_find(id).await.unwrap().unwrap();
    assert_eq!(found.state(shared.now()), TokenState::Revoked, "without waiting for anything");
    node.network.fail_reads(cut());
    assert!(is_stale(&node.store.token_find(id).await));
}

#[tokio::test(start_paused = true)]
async fn without_coherence_a_node_that_cannot_follow_the_log_goes_on_with_its_copies() {
    let shared = shared();
    let node = Node::start(&shared.store, 1, Coherence::None, shared.now()).await;
    let token = shared.token("app");
    node.store.token_write(vec![issue(&token)]).await.unwrap();
    let id = token.id;
    node.network.fail_reads(cut());
    shared.revoke(id).await;
    node.pass_time(10 * MAX_STALENESS);
    let found = node.store.token_find(id).await.unwrap().unwrap();
    assert_eq!(found.state(node.clock.now()), TokenState::Active, "this is what it costs");
    node.network.fail_reads(None);
    node.store.tail().catch_up().await;
    let found = node.store.token_find(id).await.unwrap().unwrap();
    assert_eq!(found.state(node.clock.now()), TokenState::Revoked);
}

#[tokio::test(start_paused = true)]
async fn without_copies_the_store_is_asked_and_freshness_is_still_checked() {
    let shared = shared();
    let node = Node::start_with(&shared.store, 1, Coherence::Bounded, shared.now(), None).await;
    let token = shared.token("app");
    node.store.token_write(vec![issue(&token)]).await.unwrap();
    let id = token.id;
    for _ in 0..2 {
        let calls = node.network.calls();
        node.store.token_find(id).await.unwrap();
        assert!(node.network.calls() > calls);
    }
    node.network.fail_reads(cut());
    node.pass_time(MAX_STALENESS);
    assert!(is_stale(&node.store.token_find(id).await));
}
