use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{LogHead, LogKind, TokenState};
use serde_json::{Map, Value, json};

use super::harness::{Harness, LIFETIME};
use crate::{Observed, SettingsChange, SettingsOutcome, StoredSettings};

fn document(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(document) => document,
        other => panic!("{other} is no object"),
    }
}

fn change(harness: &Harness, from: u64, value: Value) -> SettingsChange {
    SettingsChange {
        from,
        document: document(value),
        audit: harness.entry("settings.update", "settings"),
        keep_until: harness.now() + LIFETIME,
    }
}

async fn replace(harness: &Harness, from: u64, value: Value) -> SettingsOutcome {
    harness.store.settings_replace(change(harness, from, value)).await.unwrap()
}

async fn found(harness: &Harness) -> Option<StoredSettings> {
    harness.store.settings_find().await.unwrap().value
}

fn some() -> Value {
    json!({ "tokens": { "access_token_lifetime": "10m", "rotate": null, "list": [1, 2.5, true, "it's \"é\""] } })
}

pub async fn a_new_store_has_no_settings(harness: Harness) {
    let nothing = Observed { seen: LogHead::EMPTY.seen(), value: None };
    assert_eq!(harness.store.settings_find().await, Ok(nothing));
}

pub async fn settings_are_found_as_they_were_written(harness: Harness) {
    assert_eq!(replace(&harness, 0, some()).await, SettingsOutcome::Done);
    let expected = StoredSettings { version: 1, document: document(some()), updated_at: harness.now() };
    assert_eq!(found(&harness).await, Some(expected));
}

pub async fn settings_are_replaced_as_a_whole(harness: Harness) {
    assert_eq!(replace(&harness, 0, some()).await, SettingsOutcome::Done);
    harness.clock.advance(Duration::from_secs(1));
    assert_eq!(replace(&harness, 1, json!({ "cache": {} })).await, SettingsOutcome::Done);
    let next =
        StoredSettings { version: 2, document: document(json!({ "cache": {} })), updated_at: harness.now() };
    assert_eq!(found(&harness).await, Some(next));

    // What was changed once has a version for good.
    assert_eq!(replace(&harness, 2, json!({})).await, SettingsOutcome::Done);
    let empty = StoredSettings { version: 3, document: Map::new(), updated_at: harness.now() };
    assert_eq!(found(&harness).await, Some(empty));
}

pub async fn a_change_of_settings_is_in_the_log_and_the_audit_trail(harness: Harness) {
    replace(&harness, 0, some()).await;
    let log = harness.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].kind, log[0].key.as_slice()), (LogKind::SettingsChanged, &[][..]));
    assert_eq!(log[0].keep_until, harness.now() + LIFETIME);
    let audit = harness.audit().await;
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0].action, "settings.update");
}

pub async fn what_is_read_of_settings_has_seen_the_head_of_the_log(harness: Harness) {
    replace(&harness, 0, some()).await;
    let token = harness.issued("billing").await;
    harness.revoke(token.id).await;
    let seen = harness.head().await.seen();
    assert_eq!(seen.position.0, 2);
    assert_eq!(harness.store.settings_find().await.unwrap().seen, seen);
}

pub async fn a_change_of_settings_from_another_version_writes_nothing(harness: Harness) {
    assert_eq!(replace(&harness, 1, some()).await, SettingsOutcome::VersionConflict);
    assert_eq!(found(&harness).await, None);
    replace(&harness, 0, some()).await;
    replace(&harness, 1, some()).await;
    let (present, head) = (found(&harness).await, harness.head().await);
    for from in [0, 1, 3, u64::MAX] {
        let outcome = replace(&harness, from, json!({ "other": 1 })).await;
        assert_eq!(outcome, SettingsOutcome::VersionConflict, "from {from}");
    }
    assert_eq!(found(&harness).await, present);
    assert_eq!(harness.head().await, head);
    assert_eq!(harness.audit().await.len(), 2);
}

pub async fn of_two_changes_of_settings_at_the_same_time_one_is_applied(harness: Harness) {
    for from in 0..2 {
        let tasks: Vec<_> = (0..8)
            .map(|number| {
                let change = change(&harness, from, json!({ "number": number }));
                let store = Arc::clone(&harness.store);
                tokio::spawn(async move {
                    let document = change.document.clone();
                    (store.settings_replace(change).await.unwrap(), document)
                })
            })
            .collect();
        let mut applied = Vec::new();
        for task in tasks {
            match task.await.unwrap() {
                (SettingsOutcome::Done, document) => applied.push(document),
                (SettingsOutcome::VersionConflict, _) => {}
            }
        }
        let present = found(&harness).await.unwrap();
        assert_eq!((applied, present.version), (vec![present.document], from + 1));
    }
    assert_eq!(harness.log().await.len(), 2);
    assert_eq!(harness.audit().await.len(), 2);
}

pub async fn a_changed_setting_ends_nothing(harness: Harness) {
    let token = harness.issued("billing").await;
    replace(&harness, 0, some()).await;
    assert_eq!(harness.state(token.id).await, TokenState::Active);
}

pub async fn a_store_has_one_cluster_id(harness: Harness) {
    let cluster = harness.store.cluster_id().await.unwrap();
    replace(&harness, 0, some()).await;
    assert_eq!(harness.store.cluster_id().await, Ok(cluster));
    assert_eq!(cluster.to_string().len(), 32);
}
