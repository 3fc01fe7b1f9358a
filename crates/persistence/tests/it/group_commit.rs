use std::sync::Arc;

use grantry_persistence::PersistenceError;
use grantry_protocol::PersistenceMode::Sync;
use grantry_protocol::{ActiveTokenPolicy::Multiple, Clock, TokenState};
use grantry_store::{Fault, Outage, StoreError, Tokens};
use tokio::task::JoinSet;

use crate::{ISSUED, World};

#[tokio::test]
async fn writes_that_arrive_together_are_committed_together() {
    let world = World::start();
    let calls_before = world.store.calls();
    let mut tasks = JoinSet::new();
    for n in 0..16 {
        let (persistence, issue) = (Arc::clone(&world.persistence), world.issue(&format!("s{n}"), Multiple));
        tasks.spawn(async move { persistence.issue(issue, Sync).await });
    }
    for outcome in tasks.join_all().await {
        assert_eq!(outcome.unwrap(), ISSUED);
    }
    // The test runs on one thread: all tasks have queued their write before the writer runs for the first time.
    assert_eq!(world.store.calls() - calls_before, 1);
    assert_eq!(world.store.token_count().await.unwrap(), 16);
}

#[tokio::test]
async fn a_poison_write_fails_alone() {
    let world = World::start();
    let poison = world.issue("poison", Multiple);
    world.store.poison(poison.token.id);
    let mut tasks = JoinSet::new();
    for n in 0..11 {
        let issue = if n == 6 { poison.clone() } else { world.issue(&format!("s{n}"), Multiple) };
        let (persistence, id) = (Arc::clone(&world.persistence), issue.token.id);
        tasks.spawn(async move { (id, persistence.issue(issue, Sync).await) });
    }
    for (id, outcome) in tasks.join_all().await {
        if id == poison.token.id {
            assert!(matches!(outcome, Err(PersistenceError::Store(StoreError::Rejected(_)))));
        } else {
            assert_eq!(outcome.unwrap(), ISSUED);
        }
    }
    assert_eq!(world.store.token_count().await.unwrap(), 10);
}

#[tokio::test]
async fn an_outage_fails_the_batch_and_the_next_one_goes_through() {
    let world = World::start();
    let outage = StoreError::unavailable(Outage::Full, "injected");
    world.store.fail_writes([Some(Fault::Before(outage.clone()))]);
    let refused = world.persistence.issue(world.issue("a", Multiple), Sync).await;
    assert_eq!(refused, Err(PersistenceError::Store(outage)));
    assert_eq!(world.persistence.issue(world.issue("a", Multiple), Sync).await, Ok(ISSUED));
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_stop_its_write() {
    let world = World::start();
    let issue = world.issue("a", Multiple);
    let id = issue.token.id;
    let persistence = Arc::clone(&world.persistence);
    let caller = tokio::spawn(async move { persistence.issue(issue, Sync).await });
    tokio::task::yield_now().await;
    caller.abort();
    let _ = caller.await;
    // The queue is in order: once a later write is committed, so is the abandoned one.
    world.persistence.issue(world.issue("b", Multiple), Sync).await.unwrap();
    let stored = world.store.token_find(id).await.unwrap().unwrap();
    assert_eq!(stored.state(world.clock.now()), TokenState::Active);
}
