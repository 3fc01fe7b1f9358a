//! Two stores on one file are to one another as two processes are: nothing is shared but the files.

use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use grantry_protocol::TokenId;
use grantry_store::conformance::{Harness, issue};
use grantry_store::{Outage, Store, StoreError, WriteOutcome};
use grantry_store_sqlite::{SqliteOptions, SqliteStore};
use rusqlite::Connection;

use super::scratch::{Scratch, impatient};

fn pair() -> (Harness, [Arc<dyn Store>; 2]) {
    let scratch = Scratch::new();
    let second: Arc<dyn Store> = Arc::new(scratch.open());
    let harness = scratch.harness();
    let first = Arc::clone(&harness.store);
    (harness, [first, second])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_of_two_processes_starves_the_other() {
    const COMMITS: u32 = 400;
    let (harness, stores) = pair();
    let harness = Arc::new(harness);
    let commits = Arc::new(AtomicU32::new(0));
    // Several callers each, so that neither process ever has nothing to write.
    let callers: Vec<_> = (0..8)
        .map(|caller| {
            let store = Arc::clone(&stores[caller % 2]);
            let (harness, commits) = (Arc::clone(&harness), Arc::clone(&commits));
            tokio::spawn(async move {
                let mut own = 0;
                loop {
                    let turn = commits.fetch_add(1, Ordering::SeqCst);
                    if turn >= COMMITS {
                        return (caller % 2, own);
                    }
                    let token = harness.token(&format!("client {turn}"));
                    assert_eq!(store.token_write(vec![issue(&token)]).await, Ok(vec![WriteOutcome::Issued]));
                    own += 1;
                }
            })
        })
        .collect();
    let mut shares = [0; 2];
    for caller in callers {
        let (process, own) = caller.await.unwrap();
        shares[process] += own;
    }
    assert!(
        shares.iter().all(|share| *share >= COMMITS * 2 / 5),
        "of {COMMITS} commits the two got {shares:?}"
    );
    assert_eq!(harness.store.token_count().await, Ok(u64::from(COMMITS)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_processes_that_issue_for_one_slot_one_wins_and_the_other_returns_its_token() {
    let (harness, stores) = pair();
    for round in 0..200 {
        let race = stores.each_ref().map(|store| {
            let (store, token) = (Arc::clone(store), harness.token(&format!("client {round}")));
            tokio::spawn(async move {
                match store.token_write(vec![issue(&token)]).await.unwrap().remove(0) {
                    WriteOutcome::Issued => (token.id, true),
                    WriteOutcome::SlotHeld(holder) => (holder.token.id, false),
                    other => panic!("{other:?}"),
                }
            })
        });
        let mut answers: Vec<(TokenId, bool)> = Vec::new();
        for racer in race {
            answers.push(racer.await.unwrap());
        }
        assert_eq!(answers[0].0, answers[1].0, "both callers hold the same token");
        assert_ne!(answers[0].1, answers[1].1, "one of them has issued it");
        for store in &stores {
            let holder =
                store.token_find_holder(harness.token(&format!("client {round}")).slot).await.unwrap();
            assert_eq!(holder.map(|holder| holder.token.id), Some(answers[0].0));
        }
    }
    assert_eq!(harness.store.token_count().await, Ok(200));
}

#[tokio::test]
async fn what_one_process_has_committed_the_other_reads_at_once() {
    let (harness, [_, second]) = pair();
    let token = harness.issued("billing").await;
    assert!(second.token_find(token.id).await.unwrap().is_some());
    harness.revoke(token.id).await;
    assert_eq!(second.revocation_head().await, Ok(harness.head().await));
    assert_eq!(second.token_find(token.id).await, Ok(Some(harness.stored(token.id).await)));
}

async fn assert_busy(harness: &Harness) {
    let refused = harness.store.token_write(vec![issue(&harness.token("billing"))]).await;
    assert!(matches!(refused, Err(StoreError::Unavailable { outage: Outage::Busy, .. })), "{refused:?}");
}

#[tokio::test]
async fn a_lock_that_another_program_holds_is_an_outage_and_loses_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let harness = scratch.harness_with(impatient());
    let before = harness.issued("before").await;

    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    assert_busy(&harness).await;
    assert_eq!(harness.stored(before.id).await.token, before);
    other.execute_batch("ROLLBACK").unwrap();

    harness.issued("after").await;
    assert_eq!(harness.store.token_count().await, Ok(2));
}

#[tokio::test]
async fn a_process_that_stands_in_the_turnstile_for_too_long_is_an_outage_and_loses_nothing() {
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let harness = scratch.harness_with(impatient());
    let turnstile = File::open(path.with_extension("db-turnstile")).unwrap();
    turnstile.lock().unwrap();
    assert_busy(&harness).await;
    drop(turnstile);
    harness.issued("after").await;
}

#[tokio::test]
async fn writes_that_wait_behind_one_another_for_a_lock_fail_together() {
    let busy_timeout = Duration::from_millis(250);
    let scratch = Scratch::new();
    let path = scratch.path.clone();
    let harness = scratch.harness_with(SqliteOptions { busy_timeout, ..SqliteOptions::default() });
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writes: Vec<_> = (0..200)
        .map(|n| {
            let (store, token) = (Arc::clone(&harness.store), harness.token(&format!("client {n}")));
            tokio::spawn(async move { store.token_write(vec![issue(&token)]).await })
        })
        .collect();
    let all = async {
        for write in writes {
            assert!(write.await.unwrap().is_err());
        }
    };
    // One after the other they would wait for 50 s.
    tokio::time::timeout(busy_timeout * 80, all).await.unwrap();
}

#[test]
fn a_store_does_not_keep_another_from_closing() {
    let scratch = Scratch::new();
    let (first, second): (SqliteStore, SqliteStore) = (scratch.open(), scratch.open());
    drop(first);
    drop(second);
    drop(scratch.open());
}
