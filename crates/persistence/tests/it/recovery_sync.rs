//! One test a step of `recovery/sync.rs`.

use std::sync::Arc;
use std::time::Duration;

use grantry_persistence::{Persisted, PersistenceError};
use grantry_protocol::ActiveTokenPolicy::{Multiple, Replace, Reuse};
use grantry_protocol::PersistenceMode::Sync;
use grantry_protocol::{ClientId, Clock, LogKind, Position, TokenState};
use grantry_store::{
    Announcement, AuditEntry, ClientChange, ClientOutcome, Clients, Fault, Outage, Revocations,
    RevokeOutcome, StoreError, Tokens,
};

use crate::{ISSUED, World};

#[tokio::test]
async fn step_1_a_free_slot_is_taken() {
    let world = World::start();
    let issue = world.issue("read", Reuse);
    assert_eq!(world.persistence.issue(issue.clone(), Sync).await, Ok(ISSUED));
    let holder = world.store.token_find_holder(issue.token.slot).await.unwrap().unwrap();
    assert_eq!(holder.token, issue.token);
    assert_eq!(holder.state(world.clock.now()), TokenState::Active);
}

#[tokio::test]
async fn step_1_a_lost_acknowledgement_is_found_again_by_its_id() {
    let world = World::start();
    let issue = world.issue("read", Reuse);
    world.store.fail_writes([Some(Fault::After(StoreError::unavailable(Outage::Io, "injected")))]);
    assert!(world.persistence.issue(issue.clone(), Sync).await.is_err());
    assert_eq!(world.persistence.issue(issue, Sync).await, Ok(ISSUED));
    assert_eq!(world.store.token_count().await.unwrap(), 1);
}

#[tokio::test]
async fn step_2_the_loser_is_given_the_winners_token() {
    let world = World::start();
    let (first, second) = (world.issue("read", Reuse), world.issue("read", Reuse));
    let (one, other) = tokio::join!(
        world.persistence.issue(first.clone(), Sync),
        world.persistence.issue(second.clone(), Sync)
    );
    assert_eq!(one, Ok(ISSUED));
    let Ok(Persisted::Winner(winner)) = other else { panic!("{other:?}") };
    assert_eq!(winner.token, first.token);
    assert_eq!(world.store.token_count().await.unwrap(), 1);
}

#[tokio::test]
async fn step_3_a_holder_that_expired_meanwhile_is_taken_over() {
    let world = World::start();
    let old = world.issue("read", Reuse);
    world.persistence.issue(old.clone(), Sync).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    let new = world.issue("read", Reuse);
    assert_eq!(world.persistence.issue(new.clone(), Sync).await, Ok(ISSUED));
    let now = world.clock.now();
    assert_eq!(world.store.token_find(old.token.id).await.unwrap().unwrap().state(now), TokenState::Expired);
    assert_eq!(world.store.token_find(new.token.id).await.unwrap().unwrap().state(now), TokenState::Active);
}

#[tokio::test]
async fn step_3_a_holder_with_too_little_life_is_retired() {
    let world = World::start();
    let old = world.issue("read", Reuse);
    world.persistence.issue(old.clone(), Sync).await.unwrap();
    world.clock.advance(Duration::from_secs(50));
    let new = world.issue("read", Reuse);
    assert_eq!(world.persistence.issue(new, Sync).await, Ok(ISSUED));
    let old = world.store.token_find(old.token.id).await.unwrap().unwrap();
    assert_eq!(old.state(world.clock.now()), TokenState::Retired);
}

#[tokio::test]
async fn step_3_a_holder_ended_by_a_rule_is_taken_over_by_naming_it() {
    let world = World::start();
    let old = world.issue("read", Reuse);
    world.persistence.issue(old.clone(), Sync).await.unwrap();
    end_everything_of_the_client(&world).await;
    let mut new = world.issue("read", Reuse);
    Arc::make_mut(&mut new).token.authority.seen = world.store.revocation_head().await.unwrap().seen();
    // The request did not observe the holder; it learns of it from the first attempt.
    assert_eq!(new.observed, None);
    assert_eq!(world.persistence.issue(new.clone(), Sync).await, Ok(ISSUED));
    let now = world.clock.now();
    assert_eq!(world.store.token_find(old.token.id).await.unwrap().unwrap().state(now), TokenState::Revoked);
    assert_eq!(world.store.token_find(new.token.id).await.unwrap().unwrap().state(now), TokenState::Active);
}

#[tokio::test]
async fn step_4_a_slot_that_is_contended_too_often_is_given_up() {
    let world = World::with_retry_count(0);
    let old = world.issue("read", Reuse);
    world.persistence.issue(old, Sync).await.unwrap();
    end_everything_of_the_client(&world).await;
    let refused = world.persistence.issue(world.issue("read", Reuse), Sync).await;
    assert_eq!(refused, Err(PersistenceError::SlotContended { attempts: 1 }));
    assert_eq!(world.store.token_count().await.unwrap(), 1);
}

#[tokio::test]
async fn replace_ends_the_previous_token_and_multiple_keeps_it() {
    let world = World::start();
    let (first, second, third) =
        (world.issue("read", Replace), world.issue("read", Replace), world.issue("read", Multiple));
    for issue in [&first, &second, &third] {
        assert_eq!(world.persistence.issue(issue.clone(), Sync).await, Ok(ISSUED));
    }
    let now = world.clock.now();
    let mut states = Vec::new();
    for issue in [first, second, third] {
        states.push(world.store.token_find(issue.token.id).await.unwrap().unwrap().state(now));
    }
    assert_eq!(states, [TokenState::Inactive, TokenState::Retired, TokenState::Active]);
}

#[tokio::test]
async fn a_revoked_token_frees_its_slot() {
    let world = World::start();
    let old = world.issue("read", Reuse);
    world.persistence.issue(old.clone(), Sync).await.unwrap();
    assert_eq!(
        world.persistence.revoke(old.token.id, None, None).await,
        Ok(RevokeOutcome::Revoked(Position(1)))
    );
    assert_eq!(world.persistence.revoke(old.token.id, None, None).await, Ok(RevokeOutcome::AlreadyOver));
    assert_eq!(world.persistence.issue(world.issue("read", Reuse), Sync).await, Ok(ISSUED));
}

async fn end_everything_of_the_client(world: &World) {
    let id: ClientId = "client".parse().unwrap();
    let now = world.clock.now();
    let audit = || AuditEntry {
        at: now,
        actor: "test".into(),
        action: "client.test",
        target: id.to_string(),
        detail: serde_json::Value::Null,
        request_id: None,
    };
    let mut client = grantry_protocol::Client {
        id: id.clone(),
        metadata: grantry_protocol::ClientMetadata::default(),
        secret: None,
        created_at: now,
        updated_at: now,
        version: 1,
    };
    assert_eq!(world.store.client_insert(client.clone(), audit()).await, Ok(ClientOutcome::Done));
    client.version = 2;
    let announcement = Announcement { kind: LogKind::Client, keep_until: now + Duration::from_secs(3600) };
    let change = ClientChange { client, announcement, audit: audit() };
    assert_eq!(world.store.client_update(change).await, Ok(ClientOutcome::Done));
}
