use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::Timestamp;

use super::harness::Harness;
use crate::{KeyChange, KeyPurpose, KeyRecord};

fn key(purpose: KeyPurpose, version: u8, fill: u8) -> KeyRecord {
    let created_at = Timestamp::from_millis(1_700_000_000_001 + i64::from(version));
    KeyRecord {
        purpose,
        version,
        sealed: vec![fill; 60],
        created_at,
        active_from: created_at + Duration::from_secs(300),
        needed_until: None,
        revoked_at: None,
    }
}

fn first_keys(keys: Vec<KeyRecord>) -> KeyChange {
    KeyChange { from: Vec::new(), to: keys, audit: None }
}

/// A key has no `Debug`, so that it is never logged.
fn assert_same(left: &[KeyRecord], right: &[KeyRecord]) {
    assert!(left == right, "the keys differ");
}

pub async fn a_new_store_has_no_keys(harness: Harness) {
    assert!(harness.store.key_list().await.unwrap().is_empty());
}

pub async fn keys_are_listed_by_purpose_and_version(harness: Harness) {
    let signing =
        [key(KeyPurpose::Signing, 1, 1), key(KeyPurpose::Signing, 2, 2), key(KeyPurpose::Signing, 255, 3)];
    let (secret, mac) = (key(KeyPurpose::ClientSecret, 1, 4), key(KeyPurpose::TokenMac, 1, 5));
    let given = [&mac, &signing[2], &secret, &signing[0], &signing[1]].map(Clone::clone).to_vec();
    assert!(harness.store.key_replace(first_keys(given)).await.unwrap());

    let expected = [&secret, &signing[0], &signing[1], &signing[2], &mac].map(Clone::clone);
    assert_same(&harness.store.key_list().await.unwrap(), &expected);
}

pub async fn the_first_keys_are_written_once(harness: Harness) {
    let first = vec![key(KeyPurpose::TokenMac, 1, 1)];
    assert_eq!(harness.store.key_replace(first_keys(first.clone())).await, Ok(true));
    let second = vec![key(KeyPurpose::TokenMac, 1, 2), key(KeyPurpose::Signing, 1, 2)];
    assert_eq!(harness.store.key_replace(first_keys(second)).await, Ok(false));
    assert_same(&harness.store.key_list().await.unwrap(), &first);
}

pub async fn a_key_is_listed_as_it_was_written(harness: Harness) {
    let mut old = key(KeyPurpose::Signing, 1, 1);
    old.needed_until = Some(harness.now());
    old.revoked_at = Some(harness.now() + Duration::from_millis(1));
    let keys = vec![old, key(KeyPurpose::Signing, 2, 2)];
    assert_eq!(harness.store.key_replace(first_keys(keys.clone())).await, Ok(true));
    assert_same(&harness.store.key_list().await.unwrap(), &keys);
}

fn change(harness: &Harness, from: &[KeyRecord], to: &[KeyRecord]) -> KeyChange {
    let audit = Some(harness.entry("key.rotate", "signing"));
    KeyChange { from: from.to_vec(), to: to.to_vec(), audit }
}

pub async fn keys_are_replaced_where_they_are_still_what_the_change_was_made_from(harness: Harness) {
    let first = vec![key(KeyPurpose::Signing, 1, 1), key(KeyPurpose::TokenMac, 1, 2)];
    harness.store.key_replace(first_keys(first.clone())).await.unwrap();
    assert_eq!(harness.audit().await, []);

    let mut next = first.clone();
    next[0].needed_until = Some(harness.now());
    next.insert(1, key(KeyPurpose::Signing, 2, 3));
    assert_eq!(harness.store.key_replace(change(&harness, &first, &next)).await, Ok(true));
    assert_same(&harness.store.key_list().await.unwrap(), &next);
    assert_eq!(harness.audit().await.len(), 1);

    // A key that nothing needs any more leaves the same way.
    assert_eq!(harness.store.key_replace(change(&harness, &next, &next[1..])).await, Ok(true));
    assert_same(&harness.store.key_list().await.unwrap(), &next[1..]);
}

pub async fn a_change_of_keys_that_others_changed_first_writes_nothing(harness: Harness) {
    let stored = vec![key(KeyPurpose::Signing, 1, 1), key(KeyPurpose::TokenMac, 1, 2)];
    harness.store.key_replace(first_keys(stored.clone())).await.unwrap();
    let to = vec![key(KeyPurpose::Signing, 9, 9)];
    let differing: [fn(&mut Vec<KeyRecord>); 8] = [
        Vec::clear,
        |from| drop(from.pop()),
        |from| from.push(key(KeyPurpose::TokenMac, 2, 3)),
        |from| from[0].sealed[0] = 7,
        |from| from[0].created_at = Timestamp::from_secs(1),
        |from| from[0].active_from = Timestamp::from_secs(1),
        |from| from[0].needed_until = Some(Timestamp::from_secs(1)),
        |from| from[0].revoked_at = Some(Timestamp::from_secs(1)),
    ];
    for differ in differing {
        let mut from = stored.clone();
        differ(&mut from);
        assert_eq!(harness.store.key_replace(change(&harness, &from, &to)).await, Ok(false));
    }
    assert_same(&harness.store.key_list().await.unwrap(), &stored);
    assert_eq!(harness.audit().await, []);
}

pub async fn of_two_changes_of_keys_at_the_same_time_one_is_applied(harness: Harness) {
    let first = vec![key(KeyPurpose::Signing, 1, 1)];
    harness.store.key_replace(first_keys(first.clone())).await.unwrap();
    let tasks: Vec<_> = (2..10)
        .map(|fill| {
            let next = [first[0].clone(), key(KeyPurpose::Signing, 2, fill)];
            let (store, change) = (Arc::clone(&harness.store), change(&harness, &first, &next));
            tokio::spawn(async move { store.key_replace(change).await.unwrap() })
        })
        .collect();
    let mut applied = 0;
    for task in tasks {
        applied += u32::from(task.await.unwrap());
    }
    assert_eq!(applied, 1);
    assert_eq!(harness.store.key_list().await.unwrap().len(), 2);
    assert_eq!(harness.audit().await.len(), 1);
}
