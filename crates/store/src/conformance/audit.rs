use grantry_protocol::LogKind;
use serde_json::json;

use super::harness::Harness;
use crate::{AuditEntry, AuditRecord, ClientOutcome};

pub async fn a_deed_and_its_entry_are_written_together(harness: Harness) {
    let mut client = harness.client("billing");
    harness.insert(&client).await;
    harness.update(&mut client, LogKind::ClientChanged).await;
    harness.delete("billing").await;
    let actions: Vec<_> =
        harness.audit().await.into_iter().map(|record| (record.number, record.action)).collect();
    let expected = [(1, "client.create"), (2, "client.update"), (3, "client.delete")];
    assert_eq!(actions, expected.map(|(number, action)| (number, action.to_owned())));
}

pub async fn an_entry_is_listed_as_it_was_written(harness: Harness) {
    let entry = AuditEntry {
        at: harness.now(),
        actor: "host".into(),
        action: "client.create",
        target: "it's \"quoted\"".into(),
        detail: json!({ "fields": ["a", "b"], "count": 2, "nested": { "null": null } }),
        request_id: None,
    };
    let client = harness.client("billing");
    assert_eq!(harness.store.client_insert(client, entry.clone()).await, Ok(ClientOutcome::Done));
    let expected = AuditRecord {
        number: 1,
        at: entry.at,
        actor: entry.actor,
        action: entry.action.into(),
        target: entry.target,
        detail: entry.detail,
        request_id: None,
    };
    assert_eq!(harness.audit().await, [expected]);
}

pub async fn entries_are_listed_after_a_number_and_up_to_a_limit(harness: Harness) {
    for id in ["a", "b", "c", "d"] {
        harness.insert(&harness.client(id)).await;
    }
    let list = async |after, limit| {
        let records = harness.store.audit_list(after, limit).await.unwrap();
        records.into_iter().map(|record| record.target).collect::<Vec<_>>()
    };
    assert_eq!(list(0, 2).await, ["a", "b"]);
    assert_eq!(list(2, 10).await, ["c", "d"]);
    assert_eq!(list(4, 10).await, [""; 0]);
    assert_eq!(list(u64::MAX, usize::MAX).await, [""; 0]);
}

pub async fn an_entry_can_be_appended_by_itself(harness: Harness) {
    let entry = harness.entry("grant.stranger", "an id");
    assert_eq!(harness.store.audit_append(entry.clone()).await, Ok(()));
    harness.insert(&harness.client("billing")).await;
    let expected = AuditRecord {
        number: 1,
        at: entry.at,
        actor: entry.actor,
        action: entry.action.into(),
        target: entry.target,
        detail: entry.detail,
        request_id: entry.request_id,
    };
    let audit = harness.audit().await;
    assert_eq!((audit.len(), &audit[0]), (2, &expected));
}
