//! What a node answers for tokens that another one has answered and not written, or not written yet.

use std::time::Duration;

use grantry_persistence::PersistenceError;
use grantry_protocol::{ActiveTokenPolicy::Reuse, NodeNumber, TokenState};
use grantry_store::{Nodes as _, Retention};
use tokio::time::{Instant, sleep};

use crate::nodes::{Cluster, Node};

async fn heartbeat(node: &Node) {
    node.persistence.heartbeat().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_finds_its_own_queued_token_at_once() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let issue = cluster.issue("read", Reuse);
    node.queue(&issue).await;
    let started = Instant::now();
    let found = node.find(&issue, &node).await.unwrap().unwrap();
    assert_eq!(found.state(issue.token.issued_at), TokenState::Active);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn another_node_waits_for_the_row_and_finds_it() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let issue = cluster.issue("read", Reuse);
    node.queue(&issue).await;
    let found = other.find(&issue, &node).await.unwrap().unwrap();
    assert_eq!(found.state(issue.token.issued_at), TokenState::Active);
}

#[tokio::test(start_paused = true)]
async fn a_row_that_does_not_come_in_time_is_an_outage_and_not_absent() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let issue = cluster.issue("read", Reuse);
    node.queue(&issue).await;
    let disk = node.disk.clone();
    let number = node.number;
    // Dropped with its writers, as a process that dies.
    drop(node);
    let started = Instant::now();
    let answer = other.persistence.find_token(issue.token.id, Some(number)).await;
    assert!(answer.as_ref().is_err_and(PersistenceError::is_unwritten), "{answer:?}");
    assert!(started.elapsed() <= Duration::from_secs(1));
    disk.kill();
    let node = cluster.start(disk, crate::nodes::SETTINGS).await;
    node.drained().await;
    assert!(other.find(&issue, &node).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn below_the_mark_a_token_without_a_row_is_absent_and_above_it_unknown() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let older = cluster.issue("older", Reuse);
    cluster.clock.advance(Duration::from_secs(2));
    heartbeat(&node).await;
    let newer = cluster.issue("newer", Reuse);
    let started = Instant::now();
    assert_eq!(other.find(&older, &node).await, Ok(None));
    assert_eq!(started.elapsed(), Duration::ZERO);
    let answer = other.find(&newer, &node).await;
    assert!(answer.as_ref().is_err_and(PersistenceError::is_unwritten), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn before_its_first_heartbeat_a_node_has_promised_nothing() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let older = cluster.issue("older", Reuse);
    cluster.clock.advance(Duration::from_secs(3600));
    let answer = other.find(&older, &node).await;
    assert!(answer.as_ref().is_err_and(PersistenceError::is_unwritten), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn the_mark_waits_for_the_oldest_token_in_the_queue() {
    let cluster = Cluster::new();
    let node = cluster.node().await;
    let issue = cluster.issue("read", Reuse);
    node.queue(&issue).await;
    cluster.clock.advance(Duration::from_secs(30));
    let mark = async || {
        let rows = cluster.store.node_list().await.unwrap();
        rows.iter().find(|row| row.number == Some(node.number)).unwrap().drained_below.unwrap()
    };
    heartbeat(&node).await;
    assert!(mark().await <= issue.token.id);
    node.drained().await;
    heartbeat(&node).await;
    assert!(mark().await > issue.token.id);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_ended_before_it_had_a_row_is_over_everywhere_at_once() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let issue = cluster.issue("read", Reuse);
    node.queue(&issue).await;
    other.revoke(&issue, &node).await;
    let started = Instant::now();
    assert_eq!(other.find(&issue, &node).await, Ok(None));
    let found = node.find(&issue, &node).await.unwrap().unwrap();
    assert_eq!(found.state(issue.token.issued_at), TokenState::Revoked);
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_cleaned_away_has_nothing_any_more() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let issue = cluster.issue("read", Reuse);
    let number: NodeNumber = node.number;
    drop(node);
    cluster.clock.advance(Duration::from_secs(86_401));
    heartbeat(&other).await;
    cluster.store.retention_sweep(Duration::from_secs(86_400), 100).await.unwrap();
    let found = other.persistence.find_token(issue.token.id, Some(number)).await;
    assert_eq!(found, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_gone_is_an_outage() {
    let cluster = Cluster::new();
    let (node, other) = (cluster.node().await, cluster.node().await);
    let issue = cluster.issue("read", Reuse);
    node.issue(&issue).await.unwrap();
    other.faults.fail_reads(Some(crate::nodes::outage()));
    let answer = other.find(&issue, &node).await;
    assert_eq!(answer, Err(PersistenceError::Store(crate::nodes::outage())));
    // wait: until the node has written it
    sleep(Duration::from_millis(10)).await;
    other.faults.fail_reads(None);
    assert!(other.find(&issue, &node).await.unwrap().is_some());
}
