use std::time::Duration;

use grantry_protocol::{Epoch, NodeNumber, Position, Seen, TokenId};

use super::harness::Harness;
use crate::{Node, NodeId, StoreError, TokenWrite, WriteOutcome};

const FIRST: NodeId = NodeId([1; 16]);
const SECOND: NodeId = NodeId([2; 16]);

fn heartbeat(node: NodeId) -> TokenWrite {
    TokenWrite::Heartbeat { node, drained_below: None }
}

async fn nodes(harness: &Harness) -> Vec<Node> {
    harness.store.node_list().await.unwrap()
}

pub async fn a_heartbeat_has_the_time_of_the_store(harness: Harness) {
    assert_eq!(nodes(&harness).await, []);
    assert_eq!(harness.write(heartbeat(FIRST)).await, WriteOutcome::HeartbeatRecorded);
    let node =
        Node { id: FIRST, number: None, last_heartbeat: harness.now(), drained_below: None, applied: None };
    assert_eq!(nodes(&harness).await, [node]);
}

pub async fn a_node_has_one_row_however_often_its_heart_beats(harness: Harness) {
    for node in [FIRST, SECOND, FIRST] {
        harness.clock.advance(Duration::from_secs(1));
        harness.write(heartbeat(node)).await;
    }
    let second_ago = harness.now().saturating_sub(Duration::from_secs(1));
    let beats: Vec<_> = nodes(&harness).await.iter().map(|node| (node.id, node.last_heartbeat)).collect();
    assert_eq!(beats, [(FIRST, harness.now()), (SECOND, second_ago)]);
}

pub async fn a_node_keeps_its_number_and_no_other_gets_it(harness: Harness) {
    let registered = harness.store.node_register(FIRST).await.unwrap();
    assert!(registered.number.is_some());
    assert_eq!((registered.id, registered.last_heartbeat), (FIRST, harness.now()));
    let other = harness.store.node_register(SECOND).await.unwrap();
    assert!(other.number.is_some() && other.number != registered.number);
    harness.write(heartbeat(FIRST)).await;
    assert_eq!(harness.store.node_register(FIRST).await, Ok(registered));
    assert_eq!(nodes(&harness).await, [registered, other]);
}

pub async fn a_node_whose_heart_beat_before_it_registered_gets_a_number(harness: Harness) {
    harness.write(heartbeat(FIRST)).await;
    let registered = harness.store.node_register(FIRST).await.unwrap();
    assert!(registered.number.is_some());
    assert_eq!(nodes(&harness).await, [registered]);
}

pub async fn there_are_255_numbers_and_one_that_was_swept_is_free_again(harness: Harness) {
    let id = |n: u16| NodeId([&n.to_be_bytes()[..], &[0; 14]].concat().try_into().unwrap());
    let mut numbers = Vec::new();
    for n in 1..=255 {
        numbers.extend(harness.store.node_register(id(n)).await.unwrap().number);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=u8::MAX).filter_map(NodeNumber::new).collect::<Vec<_>>());
    assert!(matches!(harness.store.node_register(id(256)).await, Err(StoreError::Rejected(_))));
    assert_eq!(nodes(&harness).await.len(), 255, "what is refused leaves no row");

    let day = Duration::from_secs(24 * 3600);
    harness.clock.advance(day);
    for n in 1..=255 {
        if n != 7 {
            harness.write(heartbeat(id(n))).await;
        }
    }
    harness.clock.advance(Duration::from_secs(60));
    assert_eq!(harness.store.retention_sweep(day, 100).await.unwrap().nodes, 1);
    assert!(harness.store.node_register(id(256)).await.unwrap().number.is_some());
}

pub async fn a_drain_mark_only_rises(harness: Harness) {
    let mark = |n| Some(TokenId::from_bytes([n; 16]));
    let mut marks = Vec::new();
    for drained_below in [None, mark(5), mark(4), None, mark(6)] {
        harness.write(TokenWrite::Heartbeat { node: FIRST, drained_below }).await;
        marks.push(nodes(&harness).await[0].drained_below);
    }
    assert_eq!(marks, [None, mark(5), mark(5), mark(5), mark(6)]);
    assert_eq!(harness.store.node_register(FIRST).await.unwrap().drained_below, mark(6));
}

/// The row of the node once it says what a probe said. A store in which reading is proof enough may write it after the
/// answer, but before what is written next.
async fn after_probe(harness: &Harness, applied: Seen) -> Node {
    harness.probe(FIRST, applied).await;
    harness.write(heartbeat(SECOND)).await;
    nodes(harness).await[0]
}

pub async fn a_probe_says_what_its_node_has_applied_and_leaves_the_rest_of_its_row(harness: Harness) {
    let mark = Some(TokenId::from_bytes([5; 16]));
    let registered = harness.store.node_register(FIRST).await.unwrap();
    assert_eq!(registered.applied, None);
    harness.write(TokenWrite::Heartbeat { node: FIRST, drained_below: mark }).await;
    // What a node has applied goes back when the log does.
    for (epoch, position) in [(1, 7), (1, u64::from(u32::MAX) + 7), (2, 3), (1, 2)] {
        harness.clock.advance(Duration::from_secs(1));
        let applied = Seen { epoch: Epoch(epoch), position: Position(position) };
        let expected =
            Node { last_heartbeat: harness.now(), drained_below: mark, applied: Some(applied), ..registered };
        assert_eq!(after_probe(&harness, applied).await, expected);
        assert_eq!(after_probe(&harness, applied).await, expected);
        harness.write(heartbeat(FIRST)).await;
        assert_eq!(harness.store.node_register(FIRST).await, Ok(expected));
    }
}

pub async fn a_probe_of_an_unknown_node_makes_its_row(harness: Harness) {
    let node = after_probe(&harness, Seen::NOTHING).await;
    let expected = Node {
        id: FIRST,
        number: None,
        last_heartbeat: harness.now(),
        drained_below: None,
        applied: Some(Seen::NOTHING),
    };
    assert_eq!(node, expected);
}
