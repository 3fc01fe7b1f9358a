//! One test a step of `recovery/asynchronous.rs`.

use std::sync::Arc;
use std::time::Duration;

use grantry_persistence::journal::SimulatedDisk;
use grantry_persistence::{Persisted, PersistenceError, PersistenceSettings};
use grantry_protocol::ActiveTokenPolicy::{Multiple, Replace, Reuse};
use grantry_protocol::TokenState::{Active, Expired, Inactive, Retired, Revoked};
use grantry_store::{Fault, Issue, Tokens};
use tokio::task::yield_now;

use crate::ISSUED;
use crate::nodes::{Cluster, SETTINGS, outage};

fn winner(answer: Result<Persisted, PersistenceError>) -> grantry_store::StoredToken {
    match answer {
        Ok(Persisted::Winner(winner)) => *winner,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn step_1_a_free_slot_is_answered_when_the_journal_has_the_token() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let issue = cluster.issue("read", Reuse);
    node.queue(&issue).await;
    assert_eq!(node.journalled(), 1);
    assert_eq!(cluster.stored(&issue).await, None);
    node.drained().await;
    let stored = cluster.stored(&issue).await.unwrap();
    assert_eq!(stored.token.deferred_by, Some(node.number));
    assert_eq!(cluster.state(&issue).await, Active);
}

#[tokio::test(start_paused = true)]
async fn step_2_two_requests_at_one_node_hold_the_same_token() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let (first, second) = (cluster.issue("read", Reuse), cluster.issue("read", Reuse));
    let (one, other) = tokio::join!(node.issue(&first), node.issue(&second));
    assert_eq!(one, Ok(node.deferred()));
    let winner = winner(other);
    assert_eq!((winner.token.id, winner.token.deferred_by), (first.token.id, Some(node.number)));
    node.drained().await;
    assert_eq!(cluster.store.token_count().await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn step_2_where_the_journal_fails_the_first_the_second_does_its_own() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let (first, second) = (cluster.issue("read", Reuse), cluster.issue("read", Reuse));
    node.disk.fail_next_sync();
    let (one, other) = tokio::join!(node.issue(&first), node.issue(&second));
    assert_eq!((one, other), (Ok(ISSUED), Ok(node.deferred())));
    node.drained().await;
    assert_eq!(cluster.states([&first, &second]).await, [Inactive, Active]);
}

#[tokio::test(start_paused = true)]
async fn step_2_a_queued_token_with_too_little_life_is_passed_and_retires() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let old = cluster.issue("read", Reuse);
    node.queue(&old).await;
    cluster.clock.advance(Duration::from_secs(50));
    let new = cluster.issue("read", Reuse);
    assert_eq!(node.issue(&new).await, Ok(node.deferred()));
    node.drained().await;
    assert_eq!(cluster.states([&old, &new]).await, [Retired, Active]);
    assert!(cluster.announced().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn step_2_a_queued_token_that_was_ended_by_a_rule_is_passed() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let old = cluster.issue("read", Reuse);
    node.queue(&old).await;
    let mut new = cluster.issue("read", Reuse);
    Arc::make_mut(&mut new).token.authority.seen = cluster.end_all().await;
    assert_eq!(node.issue(&new).await, Ok(node.deferred()));
    node.drained().await;
    assert_eq!(cluster.states([&old, &new]).await, [Revoked, Active]);
}

#[tokio::test(start_paused = true)]
async fn step_3_a_slot_that_is_contended_too_often_is_given_up() {
    let cluster = Cluster::new();
    let node = cluster.node_with(PersistenceSettings { retry_count: 0, ..SETTINGS }).await;
    let old = cluster.issue("read", Reuse);
    node.queue(&old).await;
    cluster.clock.advance(Duration::from_secs(50));
    let new = cluster.issue("read", Reuse);
    assert_eq!(node.issue(&new).await, Err(PersistenceError::SlotContended { attempts: 1 }));
    node.drained().await;
    assert_eq!(cluster.stored(&new).await, None);
}

#[tokio::test(start_paused = true)]
async fn step_4_with_a_full_queue_the_token_is_committed_first() {
    let cluster = Cluster::new();
    let node = cluster.node_with(PersistenceSettings { queue_capacity: 1, ..SETTINGS }).await;
    node.queue(&cluster.issue("a", Reuse)).await;
    let issue = cluster.issue("b", Reuse);
    assert_eq!(node.issue(&issue).await, Ok(ISSUED));
    assert_eq!(cluster.state(&issue).await, Active);
    assert_eq!(cluster.stored(&issue).await.unwrap().token.deferred_by, None);
}

#[tokio::test(start_paused = true)]
async fn step_4_with_a_broken_journal_the_token_is_committed_first() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    node.disk.set_broken(true);
    let issue = cluster.issue("read", Reuse);
    assert_eq!(node.issue(&issue).await, Ok(ISSUED));
    assert_eq!(cluster.state(&issue).await, Active);
    node.disk.forget_faults();
    assert_eq!(node.issue(&cluster.issue("write", Reuse)).await, Ok(node.deferred()));
}

#[tokio::test(start_paused = true)]
async fn step_4_on_a_node_that_stops_the_token_is_committed_first() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    assert_eq!(node.persistence.drain().await, Ok(0));
    let issue = cluster.issue("read", Reuse);
    assert_eq!(node.issue(&issue).await, Ok(ISSUED));
    assert_eq!(cluster.state(&issue).await, Active);
}

#[tokio::test(start_paused = true)]
async fn step_5_a_holder_that_expired_meanwhile_gives_way() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let (old, new) = (cluster.issue("read", Reuse), cluster.issue_for(120, "read", Reuse));
    other.issue(&old).await.unwrap();
    other.drained().await;
    node.queue(&new).await;
    cluster.clock.advance(Duration::from_secs(60));
    node.drained().await;
    assert_eq!(cluster.states([&old, &new]).await, [Expired, Active]);
    assert!(cluster.announced().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn step_5_a_holder_that_was_ended_by_a_rule_meanwhile_gives_way() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let (old, mut new) = (cluster.issue("read", Reuse), cluster.issue("read", Reuse));
    other.issue(&old).await.unwrap();
    other.drained().await;
    Arc::make_mut(&mut new).token.authority.seen = cluster.end_all().await;
    node.queue(&new).await;
    node.drained().await;
    assert_eq!(cluster.states([&old, &new]).await, [Revoked, Active]);
    assert!(cluster.announced().await.is_empty());
}

/// Two nodes answer for one slot; `later_first` says who writes first.
async fn conflict(later_first: bool) -> (Cluster, Arc<Issue>, Arc<Issue>) {
    let cluster = Cluster::new();
    let (one, other) = (cluster.node().await, cluster.node().await);
    let (earlier, later) = (cluster.issue("read", Reuse), cluster.issue("read", Reuse));
    one.queue(&earlier).await;
    if later_first {
        assert_eq!(other.issue(&later).await, Ok(other.deferred()));
        while other.persistence.queue_state().depth > 0 {
            yield_now().await;
        }
        assert_eq!(cluster.stored(&earlier).await, None);
    } else {
        one.drained().await;
        other.queue(&later).await;
    }
    one.drained().await;
    other.drained().await;
    (cluster, earlier, later)
}

#[tokio::test(start_paused = true)]
async fn step_6_of_two_nodes_tokens_the_later_wins_whoever_writes_first() {
    for later_first in [false, true] {
        let (cluster, earlier, later) = conflict(later_first).await;
        assert_eq!(cluster.states([&earlier, &later]).await, [Inactive, Active], "{later_first}");
        assert_eq!(cluster.announced().await, [earlier.token.id], "{later_first}");
    }
}

#[tokio::test(start_paused = true)]
async fn step_6_a_journal_that_is_replayed_an_hour_late_changes_nothing_in_the_end() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let (earlier, later) = (cluster.issue_for(7200, "read", Reuse), cluster.issue_for(7200, "read", Reuse));
    node.queue(&earlier).await;
    let disk = node.kill();
    other.issue(&later).await.unwrap();
    other.drained().await;
    cluster.clock.advance(Duration::from_secs(3600));
    let node = cluster.start(disk, SETTINGS).await;
    node.drained().await;
    assert_eq!(cluster.states([&earlier, &later]).await, [Inactive, Active]);
    assert_eq!(cluster.announced().await, [earlier.token.id]);
}

#[tokio::test(start_paused = true)]
async fn step_6_a_batch_may_have_a_slot_twice_and_keeps_its_order() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let issues: Vec<Arc<Issue>> = (0..3).map(|_| cluster.issue("read", Replace)).collect();
    let first = cluster.issue("other", Reuse);
    node.queue(&first).await;
    for issue in &issues {
        assert_eq!(node.issue(issue).await, Ok(node.deferred()));
    }
    let calls = node.faults.calls();
    node.drained().await;
    // The first again, and the three together.
    assert_eq!(node.faults.calls() - calls, 2);
    assert_eq!(cluster.states([&issues[0], &issues[1], &issues[2]]).await, [Inactive, Inactive, Active]);
    assert_eq!(cluster.announced().await, [issues[0].token.id, issues[1].token.id]);
}

#[tokio::test(start_paused = true)]
async fn step_6_a_client_that_may_have_several_keeps_them_all() {
    let cluster = Cluster::new();
    let (one, other) = (cluster.node().await, cluster.node().await);
    let (earlier, later) = (cluster.issue("read", Multiple), cluster.issue("read", Multiple));
    one.queue(&earlier).await;
    other.issue(&later).await.unwrap();
    one.drained().await;
    other.drained().await;
    assert_eq!(cluster.states([&earlier, &later]).await, [Retired, Active]);
    assert!(cluster.announced().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn step_7_what_is_revoked_in_the_queue_comes_in_as_revoked() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let (here, there) = (cluster.issue("here", Reuse), cluster.issue("there", Reuse));
    node.queue(&here).await;
    assert_eq!(node.issue(&there).await, Ok(node.deferred()));
    node.revoke(&here, &node).await;
    other.revoke(&there, &node).await;
    for issue in [&here, &there] {
        let found = node.find(issue, &node).await.unwrap().unwrap();
        assert_eq!(found.state(issue.token.issued_at), Revoked);
        assert_eq!(other.find(issue, &node).await, Ok(None));
    }
    node.drained().await;
    assert_eq!(cluster.states([&here, &there]).await, [Revoked, Revoked]);
    assert_eq!(cluster.announced().await, [here.token.id, there.token.id]);
}

#[tokio::test(start_paused = true)]
async fn step_7_what_a_rule_ended_in_the_queue_ends_nobody() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    // By its id, which comes from the clock of its node, the token from before the rule is the later one.
    let (mut after, before) = (cluster.issue("read", Reuse), cluster.issue("read", Reuse));
    node.queue(&before).await;
    Arc::make_mut(&mut after).token.authority.seen = cluster.end_all().await;
    assert_eq!(other.issue(&after).await, Ok(other.deferred()));
    while other.persistence.queue_state().depth > 0 {
        yield_now().await;
    }
    node.drained().await;
    assert_eq!(cluster.states([&after, &before]).await, [Active, Revoked]);
    assert!(cluster.announced().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn step_7_what_expires_in_the_queue_gets_no_row() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let issue = cluster.issue("read", Reuse);
    node.queue(&issue).await;
    cluster.clock.advance(Duration::from_secs(60));
    node.drained().await;
    assert_eq!(cluster.stored(&issue).await, None);
    assert_eq!(node.persistence.drain().await, Ok(0));
    assert_eq!(node.journalled(), 0);
}

#[tokio::test(start_paused = true)]
async fn step_8_a_store_that_is_gone_is_waited_for() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let issue = cluster.issue_for(7200, "read", Reuse);
    node.faults.fail_writes(vec![Some(Fault::Before(outage())); 100]);
    assert_eq!(node.issue(&issue).await, Ok(node.deferred()));
    node.drained().await;
    assert_eq!(cluster.state(&issue).await, Active);
    assert_eq!(node.persistence.drain().await, Ok(0));
    assert_eq!(node.journalled(), 0);
}

#[tokio::test(start_paused = true)]
async fn step_8_a_commit_whose_acknowledgement_is_lost_is_done_once() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let (old, new) = (cluster.issue("read", Reuse), cluster.issue("read", Reuse));
    other.issue(&old).await.unwrap();
    other.drained().await;
    node.faults.fail_writes([Some(Fault::After(outage())), Some(Fault::After(outage()))]);
    assert_eq!(node.issue(&new).await, Ok(node.deferred()));
    node.drained().await;
    assert_eq!(cluster.states([&old, &new]).await, [Inactive, Active]);
    assert_eq!(cluster.announced().await, [old.token.id]);
    assert_eq!(cluster.store.token_count().await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn step_8_a_journal_whose_rows_are_partly_there_is_replayed_without_harm() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let (written, queued) = (cluster.issue("a", Reuse), cluster.issue("b", Reuse));
    node.issue(&written).await.unwrap();
    node.drained().await;
    let before = cluster.stored(&written).await;
    node.queue(&queued).await;
    assert_eq!(node.journalled(), 2);
    let node = cluster.start(node.kill(), SETTINGS).await;
    assert_eq!(node.persistence.queue_state().depth, 2);
    node.drained().await;
    assert_eq!(cluster.stored(&written).await, before);
    assert_eq!(cluster.state(&queued).await, Active);
    assert_eq!(cluster.store.token_count().await, Ok(2));
}

#[tokio::test(start_paused = true)]
async fn step_9_a_poison_write_is_parked_alone_and_found_here() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let issues: Vec<Arc<Issue>> = (0..5).map(|n| cluster.issue(&format!("s{n}"), Reuse)).collect();
    let poison = &issues[2];
    node.faults.poison(poison.token.id);
    node.queue(&issues[0]).await;
    for issue in &issues[1..] {
        assert_eq!(node.issue(issue).await, Ok(node.deferred()));
    }
    node.drained().await;
    assert_eq!(node.persistence.queue_state().parked, 1);
    assert_eq!(cluster.store.token_count().await, Ok(4));
    assert_eq!(cluster.stored(poison).await, None);
    let found = node.find(poison, &node).await.unwrap().unwrap();
    assert_eq!(found.state(poison.token.issued_at), Active);
}

async fn parked() -> (Cluster, crate::nodes::Node, Arc<Issue>) {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let poison = cluster.issue("poison", Reuse);
    node.faults.poison(poison.token.id);
    assert_eq!(node.issue(&poison).await, Ok(node.deferred()));
    node.drained().await;
    assert_eq!(node.persistence.queue_state().parked, 1);
    (cluster, node, poison)
}

#[tokio::test(start_paused = true)]
async fn step_9_what_is_parked_is_written_when_it_is_redriven() {
    let (cluster, node, poison) = parked().await;
    assert_eq!(node.persistence.redrive(), 1);
    node.drained().await;
    assert_eq!(node.persistence.queue_state().parked, 1);
    node.faults.poison(cluster.issue("nothing", Reuse).token.id);
    assert_eq!(node.persistence.redrive(), 1);
    node.drained().await;
    assert_eq!(node.persistence.queue_state().parked, 0);
    assert_eq!(cluster.state(&poison).await, Active);
    assert_eq!(node.persistence.redrive(), 0);
}

#[tokio::test(start_paused = true)]
async fn step_9_what_is_parked_stays_in_the_journal_over_a_stop() {
    let (cluster, node, poison) = parked().await;
    assert_eq!(node.persistence.drain().await, Ok(1));
    assert_eq!(node.journalled(), 1);
    let disk: SimulatedDisk = node.kill();
    let node = cluster.start(disk, SETTINGS).await;
    node.drained().await;
    assert_eq!(cluster.state(&poison).await, Active);
}
