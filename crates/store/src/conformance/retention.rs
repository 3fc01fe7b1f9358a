use std::time::Duration;

use grantry_protocol::{AccessToken, LogKind, Position, TokenState};

use super::harness::{Harness, LIFETIME, issue_over};
use crate::{NodeId, Swept, TokenWrite, WriteOutcome};

const RETENTION: Duration = Duration::from_secs(24 * 3600);
const TICK: Duration = Duration::from_secs(1);

async fn sweep(harness: &Harness, retention: Duration, limit: usize) -> Swept {
    harness.store.retention_sweep(retention, limit).await.unwrap()
}

/// Without the rows of nodes: a decorator may follow the log as one.
async fn swept_of_tokens(harness: &Harness, retention: Duration) -> Swept {
    Swept { nodes: 0, ..sweep(harness, retention, 100).await }
}

async fn is_stored(harness: &Harness, token: &AccessToken) -> bool {
    harness.store.token_find_uncached(token.id).await.unwrap().is_some()
}

pub async fn there_is_nothing_to_sweep_in_a_new_store(harness: Harness) {
    assert!(sweep(&harness, RETENTION, 100).await.is_empty());
}

pub async fn an_expired_token_stays_for_the_retention_time(harness: Harness) {
    let token = harness.issued("billing").await;
    harness.clock.advance(RETENTION);
    assert!(sweep(&harness, RETENTION, 100).await.is_empty());
    assert!(is_stored(&harness, &token).await);

    harness.clock.advance(TICK);
    let swept = harness.sweep_late(RETENTION).await;
    harness.assert_swept(swept, Swept { tokens: 1, slots: 1, ..Swept::default() });
    assert!(!is_stored(&harness, &token).await);
}

pub async fn a_live_token_stays_when_retention_is_shortened(harness: Harness) {
    let token = harness.issued("billing").await;
    harness.clock.advance(LIFETIME / 2);
    assert!(sweep(&harness, TICK, 100).await.is_empty());
    assert_eq!(harness.state(token.id).await, TokenState::Active);
    assert_eq!(harness.holder(&token).await, Some(token.id));
}

pub async fn a_sweep_is_bounded_by_its_limit(harness: Harness) {
    for client in ["a", "b", "c", "d", "e"] {
        let token = harness.issued(client).await;
        harness.revoke(token.id).await;
        harness
            .write(TokenWrite::Heartbeat { node: NodeId([client.as_bytes()[0]; 16]), drained_below: None })
            .await;
    }
    harness.clock.advance(RETENTION + TICK);
    let step = |tokens, log_entries| Swept { tokens, log_entries, nodes: tokens, ..Swept::default() };
    for (nodes, rows) in [(2, step(2, 0)), (2, step(2, 0)), (1, step(1, 2)), (0, step(0, 2)), (0, step(0, 1))]
    {
        let swept = sweep(&harness, RETENTION, 2).await;
        assert_eq!(swept.nodes, nodes);
        harness.assert_swept(swept, rows);
    }
    let swept = harness.sweep_late(RETENTION).await;
    harness.assert_swept(swept, Swept::default());
    assert_eq!(harness.store.token_count().await, Ok(0));
    assert_eq!(harness.log().await, []);
}

pub async fn a_swept_token_frees_the_slot_that_it_still_holds(harness: Harness) {
    let token = harness.issued("billing").await;
    harness.clock.advance(RETENTION + TICK);
    assert_eq!(harness.sweep_late(RETENTION).await.slots, 1);
    assert_eq!(harness.store.token_find_holder(token.slot).await, Ok(None));
    let next = harness.issued("billing").await;
    assert_eq!(harness.holder(&next).await, Some(next.id));
}

pub async fn a_swept_token_leaves_the_slot_to_its_successor(harness: Harness) {
    let old = harness.issued("billing").await;
    harness.clock.advance(RETENTION + harness.sweep_granularity);
    let next = harness.token("billing");
    assert_eq!(harness.write(issue_over(old.id, &next)).await, WriteOutcome::Issued);
    harness.clock.advance(TICK);
    let swept = sweep(&harness, RETENTION, 100).await;
    harness.assert_swept(swept, Swept { tokens: 1, ..Swept::default() });
    assert!(!is_stored(&harness, &old).await);
    assert_eq!(harness.holder(&next).await, Some(next.id));
}

/// What the rule ends has to be known as ended for as long as it can be asked for.
pub async fn a_rule_stays_for_as_long_as_a_token_that_is_older(harness: Harness) {
    let mut client = harness.client("billing");
    harness.insert(&client).await;
    let token = harness.issued("billing").await;
    harness.clock.advance(TICK);
    harness.update(&mut client, LogKind::Client).await;

    harness.clock.advance(LIFETIME + TICK);
    assert!(swept_of_tokens(&harness, RETENTION).await.is_empty());
    assert_eq!(harness.state(token.id).await, TokenState::Revoked);

    harness.clock.advance(RETENTION);
    let swept = Swept { nodes: 0, ..harness.sweep_late(RETENTION).await };
    harness.assert_swept(swept, Swept { tokens: 1, slots: 1, log_entries: 1, ..Swept::default() });
    assert!(!is_stored(&harness, &token).await);
    assert_eq!(harness.log().await, []);
}

pub async fn a_rule_stays_until_it_may_be_forgotten(harness: Harness) {
    let mut client = harness.client("billing");
    harness.insert(&client).await;
    harness.update(&mut client, LogKind::Client).await;
    harness.clock.advance(LIFETIME - TICK);
    assert!(swept_of_tokens(&harness, TICK).await.is_empty());
    harness.clock.advance(TICK);
    assert_eq!(swept_of_tokens(&harness, TICK).await, Swept { log_entries: 1, ..Swept::default() });
}

pub async fn a_younger_token_does_not_keep_a_rule(harness: Harness) {
    let mut client = harness.client("billing");
    harness.insert(&client).await;
    harness.update(&mut client, LogKind::Client).await;
    harness.clock.advance(LIFETIME);
    let mut token = harness.token("billing");
    token.authority.seen = harness.head().await.seen();
    harness.issue(&token).await;
    assert_eq!(sweep(&harness, RETENTION, 100).await, Swept { log_entries: 1, ..Swept::default() });
    assert_eq!(harness.state(token.id).await, TokenState::Active);
}

pub async fn a_forgotten_entry_leaves_the_head_and_the_numbering_alone(harness: Harness) {
    let token = harness.issued("billing").await;
    harness.revoke(token.id).await;
    let head = harness.head().await;
    harness.clock.advance(RETENTION + TICK);
    let swept = harness.sweep_late(RETENTION).await;
    harness.assert_swept(swept, Swept { tokens: 1, log_entries: 1, ..Swept::default() });
    assert_eq!(harness.head().await, head);
    assert_eq!(harness.log().await, []);

    let next = harness.issued("billing").await;
    harness.revoke(next.id).await;
    assert_eq!(harness.log().await[0].position, Position(2));
}

pub async fn a_node_goes_when_its_heart_has_not_beaten_for_the_retention_time(harness: Harness) {
    let (silent, alive) = (NodeId([1; 16]), NodeId([2; 16]));
    harness.write(TokenWrite::Heartbeat { node: silent, drained_below: None }).await;
    harness.clock.advance(TICK);
    harness.write(TokenWrite::Heartbeat { node: alive, drained_below: None }).await;
    harness.clock.advance(RETENTION - TICK);
    assert_eq!(sweep(&harness, RETENTION, 100).await, Swept { nodes: 1, ..Swept::default() });
    let nodes = harness.store.node_list().await.unwrap();
    assert_eq!(nodes.iter().map(|node| node.id).collect::<Vec<_>>(), [alive]);
}
