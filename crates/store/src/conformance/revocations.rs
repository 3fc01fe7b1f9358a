use grantry_protocol::{ActiveTokenPolicy, LogHead, LogKind, Position};

use super::harness::{Harness, issue_under};
use crate::TokenWrite;

pub async fn the_log_of_a_new_store_is_empty(harness: Harness) {
    assert_eq!(harness.head().await, LogHead::EMPTY);
    assert_eq!(harness.log().await, []);
}

pub async fn positions_have_no_gaps_and_the_chain_recomputes_to_the_head(harness: Harness) {
    let mut client = harness.client("managed");
    harness.insert(&client).await;
    harness.update(&mut client, LogKind::ClientChanged).await;
    let (first, second) = (harness.issued("a").await, harness.issued("b").await);
    harness
        .store
        .token_write(vec![
            TokenWrite::Revoke { id: first.id, unwritten: None, audit: None },
            TokenWrite::Revoke { id: second.id, unwritten: None, audit: None },
        ])
        .await
        .unwrap();
    harness.revoke(first.id).await;
    harness.issued("c").await;
    harness.write(issue_under(ActiveTokenPolicy::Replace, &harness.token("c"))).await;
    harness.update(&mut client, LogKind::Client).await;
    harness.delete("managed").await;

    let log = harness.log().await;
    assert_eq!(log.len(), 6);
    let mut head = LogHead::EMPTY;
    for entry in log {
        let (expected, next) = head.append(entry.kind, entry.key.clone(), entry.keep_until);
        assert_eq!(entry, expected);
        head = next;
    }
    assert_eq!(harness.head().await, head);
}

pub async fn the_log_is_listed_after_a_position_and_up_to_a_limit(harness: Harness) {
    for client in ["a", "b", "c", "d"] {
        let token = harness.issued(client).await;
        harness.revoke(token.id).await;
    }
    let all = harness.log().await;
    let list = async |after, limit| harness.store.revocation_list(Position(after), limit).await.unwrap();
    assert_eq!(list(1, 2).await, all[1..3]);
    assert_eq!(list(3, 2).await, all[3..]);
    assert_eq!(list(4, 2).await, []);
    assert_eq!(list(0, 0).await, []);
    assert_eq!(list(0, usize::MAX).await, all);
}
