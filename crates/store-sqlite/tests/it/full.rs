use std::time::Duration;

use grantry_protocol::TokenState;
use grantry_store::conformance::{Harness, issue};
use grantry_store::{Outage, StoreError};
use grantry_store_sqlite::SqliteOptions;

use super::scratch::Scratch;

/// Writes until there is no room; then nothing that was acknowledged is missing, nothing else is there, and after
/// `make_room` writing goes on.
pub async fn assert_outage_until_there_is_room(harness: Harness, make_room: impl AsyncFnOnce(&Harness)) {
    let mut acknowledged = Vec::new();
    let error = loop {
        let batch: Vec<_> =
            (0..20).map(|n| harness.token(&format!("client {} {n}", acknowledged.len()))).collect();
        match harness.store.token_write(batch.iter().map(issue).collect()).await {
            Ok(_) => acknowledged.extend(batch),
            Err(error) => break error,
        }
        assert!(acknowledged.len() < 100_000, "the disk never fills");
    };
    assert!(matches!(error, StoreError::Unavailable { outage: Outage::Full, .. }), "{error}");
    assert!(!acknowledged.is_empty());

    assert_eq!(harness.store.token_count().await, Ok(acknowledged.len() as u64));
    for token in &acknowledged {
        assert_eq!(harness.state(token.id).await, TokenState::Active);
    }
    make_room(&harness).await;
    let after = harness.issued("after").await;
    assert_eq!(harness.state(after.id).await, TokenState::Active);
}

#[tokio::test]
async fn a_file_at_its_limit_is_an_outage_that_ends_when_old_tokens_are_swept() {
    let harness =
        Scratch::new().harness_with(SqliteOptions { max_pages: Some(100), ..SqliteOptions::default() });
    let sweep = async |harness: &Harness| {
        let day = Duration::from_secs(24 * 3600);
        harness.clock.advance(day * 2);
        assert!(harness.store.retention_sweep(day, 100).await.unwrap().tokens > 0);
    };
    assert_outage_until_there_is_room(harness, sweep).await;
}
