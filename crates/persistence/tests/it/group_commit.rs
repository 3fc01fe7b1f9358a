use std::sync::Arc;

use grantry_persistence::PersistenceError;
use grantry_protocol::ActiveTokenPolicy::Replace;
use grantry_protocol::TokenState;
use grantry_store::{Fault, Outage, StoreError};
use tokio::task::JoinSet;

use crate::World;
use crate::world::give;

in_every_mode! {
    writes_that_arrive_together_are_committed_together
    a_poison_write_fails_alone
    an_outage_fails_the_batch_and_the_next_one_goes_through
    a_caller_that_gives_up_does_not_stop_its_write
}

async fn writes_that_arrive_together_are_committed_together(world: World) {
    let calls_before = world.store.calls();
    let mut tasks = JoinSet::new();
    for n in 0..16 {
        let issue = world.issue(&format!("s{n}"), Replace);
        let (persistence, mode) = (Arc::clone(&world.persistence), world.mode);
        tasks.spawn(async move { give(&persistence, mode, issue).await });
    }
    for outcome in tasks.join_all().await {
        assert!(outcome.is_ok(), "{outcome:?}");
    }
    // The test runs on one thread: all tasks have queued their write before the writer runs for the first time.
    assert_eq!(world.store.calls() - calls_before, 1);
    assert_eq!(world.written().await, 16);
}

async fn a_poison_write_fails_alone(world: World) {
    let poison = world.issue("poison", Replace);
    world.store.poison(poison.token.id);
    let mut tasks = JoinSet::new();
    for n in 0..11 {
        let issue = if n == 6 { poison.clone() } else { world.issue(&format!("s{n}"), Replace) };
        let (persistence, mode) = (Arc::clone(&world.persistence), world.mode);
        tasks.spawn(async move { (issue.token.id, give(&persistence, mode, issue).await) });
    }
    for (id, outcome) in tasks.join_all().await {
        if id == poison.token.id {
            assert!(matches!(outcome, Err(PersistenceError::Store(StoreError::Rejected(_)))));
        } else {
            assert_eq!(outcome.unwrap().id, id);
        }
    }
    assert_eq!(world.written().await, 10);
}

async fn an_outage_fails_the_batch_and_the_next_one_goes_through(world: World) {
    let outage = StoreError::unavailable(Outage::Full, "injected");
    world.store.fail_writes([Some(Fault::Before(outage.clone()))]);
    let refused = world.give(&world.issue("a", Replace)).await;
    assert_eq!(refused, Err(PersistenceError::Store(outage)));
    let given = world.give(&world.issue("a", Replace)).await.unwrap();
    assert_eq!(world.state(&given).await, world.as_seen(TokenState::Active));
    assert_eq!(world.written().await, 1);
}

async fn a_caller_that_gives_up_does_not_stop_its_write(world: World) {
    let issue = world.issue("a", Replace);
    let (persistence, mode) = (Arc::clone(&world.persistence), world.mode);
    let caller = tokio::spawn(async move { give(&persistence, mode, issue).await });
    tokio::task::yield_now().await;
    caller.abort();
    let _ = caller.await;
    // The queue is in order: once a later write is committed, so is the abandoned one.
    world.give(&world.issue("b", Replace)).await.unwrap();
    assert_eq!(world.written().await, 2);
}
