use std::sync::Arc;
use std::time::Duration;

use super::harness::Harness;
use crate::{AssertionKey, Swept, TokenWrite, WriteOutcome};

const LIFE: Duration = Duration::from_secs(300);

fn consume(harness: &Harness, key: u8) -> TokenWrite {
    TokenWrite::ConsumeAssertion { key: AssertionKey([key; 32]), expires_at: harness.now() + LIFE }
}

pub async fn an_assertion_is_consumed_once(harness: Harness) {
    assert_eq!(harness.write(consume(&harness, 1)).await, WriteOutcome::AssertionConsumed);
    for _ in 0..2 {
        assert_eq!(harness.write(consume(&harness, 1)).await, WriteOutcome::AssertionReplayed);
    }
    assert_eq!(harness.write(consume(&harness, 2)).await, WriteOutcome::AssertionConsumed);
}

pub async fn an_assertion_that_comes_twice_in_one_batch_is_replayed(harness: Harness) {
    let batch = vec![consume(&harness, 1), consume(&harness, 2), consume(&harness, 1)];
    let consumed = WriteOutcome::AssertionConsumed;
    let expected = vec![consumed.clone(), consumed, WriteOutcome::AssertionReplayed];
    assert_eq!(harness.store.token_write(batch).await, Ok(expected));
}

pub async fn of_uses_at_the_same_time_one_consumes_the_assertion(harness: Harness) {
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (store, write) = (Arc::clone(&harness.store), consume(&harness, 1));
            tokio::spawn(async move { store.token_write(vec![write]).await.unwrap().remove(0) })
        })
        .collect();
    let mut consumed = 0;
    for task in tasks {
        consumed += u32::from(task.await.unwrap() == WriteOutcome::AssertionConsumed);
    }
    assert_eq!(consumed, 1);
}

pub async fn an_assertion_is_remembered_until_it_has_expired(harness: Harness) {
    harness.write(consume(&harness, 1)).await;
    harness.clock.advance(LIFE - Duration::from_millis(1));
    assert_eq!(harness.write(consume(&harness, 1)).await, WriteOutcome::AssertionReplayed);
    // The replay has not made it last longer.
    harness.clock.advance(Duration::from_millis(1));
    assert_eq!(harness.write(consume(&harness, 1)).await, WriteOutcome::AssertionConsumed);
    assert_eq!(harness.write(consume(&harness, 1)).await, WriteOutcome::AssertionReplayed);
}

pub async fn expired_assertions_are_swept_and_no_others(harness: Harness) {
    for key in 1..=3 {
        harness.write(consume(&harness, key)).await;
    }
    harness.clock.advance(LIFE / 2);
    harness.write(consume(&harness, 4)).await;
    let sweep = async || harness.store.retention_sweep(LIFE * 100, 2).await.unwrap();
    assert!(sweep().await.is_empty());
    harness.clock.advance(LIFE / 2);
    assert_eq!(sweep().await, Swept { assertions: 2, ..Swept::default() });
    assert_eq!(sweep().await, Swept { assertions: 1, ..Swept::default() });
    assert!(sweep().await.is_empty());
    assert_eq!(harness.write(consume(&harness, 4)).await, WriteOutcome::AssertionReplayed);
}
