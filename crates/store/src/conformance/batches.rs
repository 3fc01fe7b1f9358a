use grantry_protocol::{Position, TokenState};

use super::harness::{Harness, issue, issue_over};
use crate::{NodeId, RevokeOutcome, TokenWrite, WriteOutcome};

pub async fn an_empty_batch_has_no_outcomes(harness: Harness) {
    assert_eq!(harness.store.token_write(Vec::new()).await, Ok(Vec::new()));
}

pub async fn outcomes_come_in_the_order_of_the_writes(harness: Harness) {
    let (first, second) = (harness.token("a"), harness.token("b"));
    let batch = vec![
        issue(&first),
        TokenWrite::Revoke { id: second.id, unwritten: None, audit: None },
        issue(&second),
        TokenWrite::Heartbeat { node: NodeId([7; 16]), drained_below: None },
        TokenWrite::Revoke { id: second.id, unwritten: None, audit: None },
        TokenWrite::Revoke { id: second.id, unwritten: None, audit: None },
        TokenWrite::Revoke { id: first.id, unwritten: None, audit: None },
    ];
    let expected = vec![
        WriteOutcome::Issued,
        WriteOutcome::Revoked(RevokeOutcome::Unknown),
        WriteOutcome::Issued,
        WriteOutcome::HeartbeatRecorded,
        WriteOutcome::Revoked(RevokeOutcome::Revoked(Position(1))),
        WriteOutcome::Revoked(RevokeOutcome::AlreadyOver),
        WriteOutcome::Revoked(RevokeOutcome::Revoked(Position(2))),
    ];
    assert_eq!(harness.store.token_write(batch).await, Ok(expected));
    assert_eq!(harness.state(first.id).await, TokenState::Revoked);
    assert_eq!(harness.state(second.id).await, TokenState::Revoked);
}

pub async fn of_two_issues_for_one_slot_in_one_batch_the_first_gets_it(harness: Harness) {
    let (first, second) = (harness.token("billing"), harness.token("billing"));
    let outcomes = harness.store.token_write(vec![issue(&first), issue(&second)]).await.unwrap();
    let stored = harness.stored(first.id).await;
    assert_eq!(outcomes, [WriteOutcome::Issued, WriteOutcome::SlotHeld(Box::new(stored))]);
    assert_eq!(harness.store.token_find(second.id).await, Ok(None));
}

pub async fn a_slot_that_a_batch_frees_can_be_taken_in_the_same_batch(harness: Harness) {
    let first = harness.issued("billing").await;
    let second = harness.token("billing");
    let outcomes = harness
        .store
        .token_write(vec![TokenWrite::Revoke { id: first.id, unwritten: None, audit: None }, issue(&second)])
        .await
        .unwrap();
    assert_eq!(outcomes, [WriteOutcome::Revoked(RevokeOutcome::Revoked(Position(1))), WriteOutcome::Issued]);
    assert_eq!(harness.holder(&second).await, Some(second.id));
}

pub async fn a_write_repeated_after_a_lost_answer_is_one_row(harness: Harness) {
    let token = harness.issued("billing").await;
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
    assert_eq!(harness.store.token_count().await, Ok(1));
    assert_eq!(harness.state(token.id).await, TokenState::Active);
}

pub async fn a_write_that_comes_twice_in_one_batch_is_one_row(harness: Harness) {
    let token = harness.token("billing");
    let outcomes = harness.store.token_write(vec![issue(&token), issue(&token)]).await;
    assert_eq!(outcomes, Ok(vec![WriteOutcome::Issued, WriteOutcome::Issued]));
    assert_eq!(harness.store.token_count().await, Ok(1));
}

pub async fn a_repeated_write_does_not_take_back_what_has_moved_on(harness: Harness) {
    let first = harness.issued("billing").await;
    let second = harness.token("billing");
    harness.write(issue_over(first.id, &second)).await;
    assert_eq!(harness.issue(&first).await, WriteOutcome::Issued);
    assert_eq!(harness.holder(&first).await, Some(second.id));

    harness.revoke(second.id).await;
    assert_eq!(harness.issue(&second).await, WriteOutcome::Issued);
    assert_eq!(harness.state(second.id).await, TokenState::Revoked);
    assert_eq!(harness.holder(&second).await, None);
}
