use grantry_protocol::Timestamp;

use super::harness::Harness;
use crate::{KeyPurpose, KeyRecord};

fn key(purpose: KeyPurpose, version: u8, fill: u8) -> KeyRecord {
    let created_at = Timestamp::from_millis(1_700_000_000_001 + i64::from(version));
    KeyRecord { purpose, version, sealed: vec![fill; 60], created_at }
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
    assert!(harness.store.key_insert_first(given).await.unwrap());

    let expected = [&secret, &signing[0], &signing[1], &signing[2], &mac].map(Clone::clone);
    assert_same(&harness.store.key_list().await.unwrap(), &expected);
}

pub async fn the_first_keys_are_written_once(harness: Harness) {
    let first = vec![key(KeyPurpose::TokenMac, 1, 1)];
    assert_eq!(harness.store.key_insert_first(first.clone()).await, Ok(true));
    let second = vec![key(KeyPurpose::TokenMac, 1, 2), key(KeyPurpose::Signing, 1, 2)];
    assert_eq!(harness.store.key_insert_first(second).await, Ok(false));
    assert_same(&harness.store.key_list().await.unwrap(), &first);
}
