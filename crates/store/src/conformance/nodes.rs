use std::time::Duration;

use super::harness::Harness;
use crate::{Node, NodeId, TokenWrite, WriteOutcome};

pub async fn a_heartbeat_has_the_time_of_the_store(harness: Harness) {
    assert_eq!(harness.store.node_list().await, Ok(Vec::new()));
    let id = NodeId([1; 16]);
    assert_eq!(harness.write(TokenWrite::Heartbeat { node: id }).await, WriteOutcome::HeartbeatRecorded);
    assert_eq!(harness.store.node_list().await, Ok(vec![Node { id, last_heartbeat: harness.now() }]));
}

pub async fn a_node_has_one_row_however_often_its_heart_beats(harness: Harness) {
    let (first, second) = (NodeId([1; 16]), NodeId([2; 16]));
    for node in [first, second, first] {
        harness.clock.advance(Duration::from_secs(1));
        harness.write(TokenWrite::Heartbeat { node }).await;
    }
    let mut nodes = harness.store.node_list().await.unwrap();
    nodes.sort_by_key(|node| node.id);
    let second_ago = harness.now().saturating_sub(Duration::from_secs(1));
    assert_eq!(
        nodes,
        [Node { id: first, last_heartbeat: harness.now() }, Node { id: second, last_heartbeat: second_ago }]
    );
}
