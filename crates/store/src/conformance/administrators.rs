//! There is always one client left that can reach the admin API, once there was one.

use std::sync::Arc;

use grantry_protocol::{Client, LogHead, LogKind, ScopeSet};

use super::harness::Harness;
use crate::ClientOutcome;

async fn assert_refused(harness: &Harness, change: impl FnOnce(&mut Client)) {
    let before = harness.found("admin").await.unwrap();
    let audit = harness.audit().await;
    let mut client = before.clone();
    change(&mut client);
    assert_eq!(harness.update(&mut client, LogKind::Client).await, ClientOutcome::LastAdministrator);
    assert_eq!(harness.found("admin").await, Some(before));
    assert_eq!(harness.head().await, LogHead::EMPTY);
    assert_eq!(harness.audit().await, audit);
}

pub async fn the_last_administrator_can_be_neither_disabled_nor_stripped(harness: Harness) {
    harness.insert(&harness.administrator("admin")).await;
    harness.insert(&harness.client("ordinary")).await;
    assert_refused(&harness, |client| client.metadata.enabled = false).await;
    assert_refused(&harness, |client| client.metadata.scope = ScopeSet::parse("read").unwrap()).await;
    assert_refused(&harness, |client| client.metadata.grant_types.clear()).await;
}

pub async fn the_last_administrator_cannot_be_deleted(harness: Harness) {
    let admin = harness.administrator("admin");
    harness.insert(&admin).await;
    let token = harness.issued("admin").await;
    assert_eq!(harness.delete("admin").await, ClientOutcome::LastAdministrator);
    assert_eq!(harness.found("admin").await, Some(admin));
    assert!(!harness.stored(token.id).await.ended_by_rule);
    assert_eq!(harness.head().await, LogHead::EMPTY);
    assert_eq!(harness.audit().await.len(), 1);
}

pub async fn a_disabled_administrator_does_not_count(harness: Harness) {
    harness.insert(&harness.administrator("admin")).await;
    let mut disabled = harness.administrator("disabled");
    disabled.metadata.enabled = false;
    harness.insert(&disabled).await;
    assert_eq!(harness.delete("admin").await, ClientOutcome::LastAdministrator);
}

pub async fn the_last_administrator_can_be_changed_otherwise(harness: Harness) {
    let mut admin = harness.administrator("admin");
    harness.insert(&admin).await;
    admin.metadata.client_name = Some("the one".into());
    admin.metadata.scope = ScopeSet::parse("grantry:admin read").unwrap();
    assert_eq!(harness.update(&mut admin, LogKind::ClientChanged).await, ClientOutcome::Done);
    assert_eq!(harness.found("admin").await, Some(admin));
}

pub async fn with_two_administrators_either_can_go(harness: Harness) {
    let mut first = harness.administrator("first");
    harness.insert(&first).await;
    harness.insert(&harness.administrator("second")).await;
    first.metadata.enabled = false;
    assert_eq!(harness.update(&mut first, LogKind::Client).await, ClientOutcome::Done);
    assert_eq!(harness.delete("second").await, ClientOutcome::LastAdministrator);

    first.metadata.enabled = true;
    assert_eq!(harness.update(&mut first, LogKind::ClientChanged).await, ClientOutcome::Done);
    assert_eq!(harness.delete("second").await, ClientOutcome::Done);
    assert_eq!(harness.delete("first").await, ClientOutcome::LastAdministrator);
}

pub async fn an_update_of_another_version_is_a_conflict_before_it_is_the_last_administrator(
    harness: Harness,
) {
    let mut admin = harness.administrator("admin");
    harness.insert(&admin).await;
    admin.metadata.enabled = false;
    admin.version = 7;
    assert_eq!(harness.update(&mut admin, LogKind::Client).await, ClientOutcome::VersionConflict);
}

pub async fn two_administrators_cannot_remove_one_another_at_the_same_time(harness: Harness) {
    harness.insert(&harness.administrator("a")).await;
    harness.insert(&harness.administrator("b")).await;
    let disable = |id: &str| {
        let mut client = harness.administrator(id);
        client.metadata.enabled = false;
        client.version = 2;
        let (store, change) = (Arc::clone(&harness.store), harness.change(&client, LogKind::Client));
        tokio::spawn(async move { store.client_update(change).await.unwrap() })
    };
    let (a, b) = (disable("a"), disable("b"));
    let mut outcomes = [a.await.unwrap(), b.await.unwrap()];
    outcomes.sort_by_key(|outcome| *outcome != ClientOutcome::Done);
    assert_eq!(outcomes, [ClientOutcome::Done, ClientOutcome::LastAdministrator]);
}

pub async fn a_first_administrator_is_inserted_only_where_there_is_none(harness: Harness) {
    let insert = async |client: &Client| {
        let audit = harness.entry("client.create", client.id.as_str());
        harness.store.client_insert_first_administrator(client.clone(), audit).await.unwrap()
    };
    let mut disabled = harness.administrator("disabled");
    disabled.metadata.enabled = false;
    harness.insert(&disabled).await;
    assert_eq!(insert(&harness.administrator("disabled")).await, ClientOutcome::AlreadyExists);
    assert_eq!(harness.found("disabled").await, Some(disabled));

    let first = harness.administrator("first");
    assert_eq!(insert(&first).await, ClientOutcome::Done);
    assert_eq!(harness.found("first").await, Some(first));
    let audit = harness.audit().await;
    assert_eq!(audit.len(), 2);

    assert_eq!(insert(&harness.administrator("second")).await, ClientOutcome::AdministratorExists);
    assert_eq!(insert(&harness.administrator("first")).await, ClientOutcome::AdministratorExists);
    assert_eq!(harness.found("second").await, None);
    assert_eq!(harness.audit().await, audit);
}

pub async fn of_first_administrators_at_the_same_time_one_is_inserted(harness: Harness) {
    let insert = |id: &str| {
        let (store, client) = (Arc::clone(&harness.store), harness.administrator(id));
        let audit = harness.entry("client.create", id);
        tokio::spawn(async move { store.client_insert_first_administrator(client, audit).await.unwrap() })
    };
    let started: Vec<_> = ["a", "b", "c", "d"].map(insert).into();
    let mut outcomes = Vec::new();
    for one in started {
        outcomes.push(one.await.unwrap());
    }
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == ClientOutcome::Done).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == ClientOutcome::AdministratorExists).count(), 3);
    assert_eq!(harness.audit().await.len(), 1);
}
