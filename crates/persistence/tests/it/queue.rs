//! The queue itself: its bounds, its figures, and how it ends.

use std::time::Duration;

use grantry_persistence::{Persisted, PersistenceSettings, QueueState};
use grantry_protocol::ActiveTokenPolicy::{Multiple, Reuse};
use grantry_protocol::{Clock, PersistenceMode, TokenState};
use tokio::time::sleep;

use crate::ISSUED;
use crate::nodes::{Cluster, SETTINGS};

#[tokio::test(start_paused = true)]
async fn its_state_shows_how_much_waits_and_for_how_long() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    assert_eq!(node.persistence.queue_state(), QueueState::default());
    node.queue(&cluster.issue("a", Reuse)).await;
    node.issue(&cluster.issue("b", Reuse)).await.unwrap();
    // wait: less than the writer waits until its next attempt
    sleep(Duration::from_millis(20)).await;
    let state = node.persistence.queue_state();
    assert_eq!((state.depth, state.parked), (2, 0));
    assert!((20..30).contains(&state.lag.as_millis()), "{state:?}");
    node.drained().await;
    assert_eq!(node.persistence.queue_state(), QueueState::default());
}

#[tokio::test(start_paused = true)]
async fn it_never_holds_more_than_its_capacity() {
    let cluster = Cluster::new();
    let node = cluster.node_with(PersistenceSettings { queue_capacity: 4, ..SETTINGS }).await;
    node.queue(&cluster.issue("read", Multiple)).await;
    let mut deferred = 1;
    for _ in 0..10 {
        let answer = node.issue(&cluster.issue("read", Multiple)).await.unwrap();
        deferred += usize::from(answer == node.deferred());
        assert!(node.persistence.queue_state().depth <= 4);
    }
    assert_eq!(deferred, 4);
    node.drained().await;
    assert_eq!(node.issue(&cluster.issue("read", Multiple)).await, Ok(node.deferred()));
}

#[tokio::test(start_paused = true)]
async fn a_token_below_the_mark_that_others_were_told_is_committed_first() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let late = cluster.issue("late", Reuse);
    cluster.clock.advance(Duration::from_secs(2));
    node.persistence.heartbeat().await.unwrap();
    assert_eq!(node.issue(&late).await, Ok(ISSUED));
    assert_eq!(node.issue(&cluster.issue("new", Reuse)).await, Ok(node.deferred()));
}

#[tokio::test(start_paused = true)]
async fn the_mark_outlives_the_process() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let late = cluster.issue("late", Reuse);
    cluster.clock.advance(Duration::from_secs(2));
    node.persistence.heartbeat().await.unwrap();
    let node = cluster.start(node.kill(), SETTINGS).await;
    assert_eq!(node.issue(&late).await, Ok(ISSUED));
}

#[tokio::test(start_paused = true)]
async fn a_written_token_is_met_for_a_moment_by_who_looked_before_it_was_there() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let first = cluster.issue("read", Reuse);
    node.issue(&first).await.unwrap();
    node.drained().await;
    // It looked for a holder before `first` was there, and found none.
    let Ok(Persisted::Winner(winner)) = node.issue(&cluster.issue("read", Reuse)).await else {
        panic!("two tokens were answered")
    };
    assert_eq!(winner.token.id, first.token.id);
    // wait: longer than it lingers
    sleep(Duration::from_secs(3)).await;
    let later = cluster.issue("read", Reuse);
    assert_eq!(node.issue(&later).await, Ok(node.deferred()));
    node.drained().await;
    assert_eq!(cluster.states([&first, &later]).await, [TokenState::Inactive, TokenState::Active]);
}

#[tokio::test(start_paused = true)]
async fn a_small_queue_does_not_make_written_tokens_linger_less() {
    let cluster = Cluster::new();
    let node = cluster.node_with(PersistenceSettings { queue_capacity: 1, ..SETTINGS }).await;
    let first = cluster.issue("first", Reuse);
    node.issue(&first).await.unwrap();
    node.drained().await;
    for scope in ["a", "b", "c"] {
        node.issue(&cluster.issue(scope, Reuse)).await.unwrap();
        node.drained().await;
    }
    let answer = node.issue(&cluster.issue("first", Reuse)).await;
    assert!(matches!(answer, Ok(Persisted::Winner(winner)) if winner.token.id == first.token.id));
}

#[tokio::test(start_paused = true)]
async fn the_holder_of_a_slot_is_found_in_the_queue() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let issue = cluster.issue("read", Reuse);
    node.queue(&issue).await;
    let holder = node.persistence.find_holder(issue.token.slot).await.unwrap().unwrap();
    assert_eq!((holder.token.id, holder.state(cluster.clock.now())), (issue.token.id, TokenState::Active));
    assert_eq!(holder.token.deferred_by, Some(node.number));
}

#[tokio::test(start_paused = true)]
async fn a_drain_writes_everything_and_empties_the_journal() {
    let cluster = Cluster::new();
    let node = cluster.node_with(PersistenceSettings { pool_size: 3, ..SETTINGS }).await;
    let issues: Vec<_> = (0..10).map(|n| cluster.issue(&format!("s{n}"), Reuse)).collect();
    node.queue(&issues[0]).await;
    for issue in &issues[1..] {
        assert_eq!(node.issue(issue).await, Ok(node.deferred()));
    }
    assert_eq!(node.persistence.drain().await, Ok(0));
    for issue in &issues {
        assert_eq!(cluster.state(issue).await, TokenState::Active);
    }
    assert_eq!(node.journalled(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_client_in_mode_sync_never_waits_in_it() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    node.queue(&cluster.issue("a", Reuse)).await;
    let issue = cluster.issue("b", Reuse);
    let answer = node.persistence.issue(issue.clone(), PersistenceMode::Sync).await;
    assert_eq!(answer, Ok(ISSUED));
    assert_eq!(cluster.state(&issue).await, TokenState::Active);
    assert_eq!(node.journalled(), 1);
}
