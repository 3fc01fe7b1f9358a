//! One test a step of `recovery/sync.rs`.

use std::time::Duration;

use grantry_persistence::{Persisted, PersistenceError};
use grantry_protocol::ActiveTokenPolicy::{Multiple, Replace, Reuse};
use grantry_protocol::PersistenceMode::Sync;
use grantry_protocol::{ClientId, Clock, LogKind, Position, TokenState};
use grantry_store::{
    Announcement, AuditEntry, ClientChange, ClientOutcome, Clients, Fault, Outage, RevokeOutcome, StoreError,
    Tokens,
};

use crate::{ISSUED, World};

in_every_mode! {
    step_1_a_lost_acknowledgement_is_made_good_by_the_retry
    step_3_a_holder_that_expired_meanwhile_is_taken_over
    step_3_a_holder_with_too_little_life_is_retired
    step_3_a_holder_ended_by_a_rule_is_taken_over_by_naming_it
    replace_ends_the_previous_token_and_multiple_keeps_it
    a_revoked_token_frees_its_slot
}

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

async fn step_1_a_lost_acknowledgement_is_made_good_by_the_retry(world: World) {
    let old = world.give(&world.issue("read", Replace)).await.unwrap();
    let issue = world.issue("read", Replace);
    world.store.fail_writes([Some(Fault::After(World::outage()))]);
    assert_eq!(world.give(&issue).await, Err(World::outage().into()));
    let new = world.give(&issue).await.unwrap();
    assert_eq!(world.state(&old).await, world.as_seen(TokenState::Inactive));
    assert_eq!(world.state(&new).await, world.as_seen(TokenState::Active));
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

async fn step_3_a_holder_that_expired_meanwhile_is_taken_over(world: World) {
    let old = world.give(&world.issue("read", Reuse)).await.unwrap();
    world.clock.advance(Duration::from_secs(60));
    let new = world.give(&world.issue("read", Reuse)).await.unwrap();
    assert_eq!(world.state(&old).await, TokenState::Expired);
    assert_eq!(world.state(&new).await, world.as_seen(TokenState::Active));
}

async fn step_3_a_holder_with_too_little_life_is_retired(world: World) {
    let old = world.give(&world.issue("read", Reuse)).await.unwrap();
    world.clock.advance(Duration::from_secs(50));
    let new = world.give(&world.issue("read", Reuse)).await.unwrap();
    assert_ne!(new.id, old.id);
    assert_eq!(world.state(&old).await, TokenState::Retired);
}

async fn step_3_a_holder_ended_by_a_rule_is_taken_over_by_naming_it(world: World) {
    let old = world.give(&world.issue("read", Reuse)).await.unwrap();
    end_everything_of_the_client(&world).await;
    let issue = world.issue("read", Reuse);
    // The request did not observe the holder; it learns of it from the first attempt.
    assert_eq!(issue.observed, None);
    let new = world.give(&issue).await.unwrap();
    assert_eq!(new.id, issue.token.id);
    assert_eq!(world.state(&old).await, TokenState::Revoked);
    assert_eq!(world.state(&new).await, world.as_seen(TokenState::Active));
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

async fn replace_ends_the_previous_token_and_multiple_keeps_it(world: World) {
    let mut given = Vec::new();
    for policy in [Replace, Replace, Multiple] {
        given.push(world.give(&world.issue("read", policy)).await.unwrap());
    }
    let expected = [TokenState::Inactive, TokenState::Retired, TokenState::Active];
    for (token, state) in given.iter().zip(expected) {
        assert_eq!(world.state(token).await, world.as_seen(state));
    }
}

async fn a_revoked_token_frees_its_slot(world: World) {
    let old = world.give(&world.issue("read", Reuse)).await.unwrap();
    assert_eq!(world.revoke(&old).await, Ok(RevokeOutcome::Revoked(Position(1))));
    assert_eq!(world.revoke(&old).await, Ok(RevokeOutcome::AlreadyOver));
    let new = world.give(&world.issue("read", Reuse)).await.unwrap();
    assert_eq!(world.state(&old).await, TokenState::Revoked);
    assert_eq!(world.state(&new).await, world.as_seen(TokenState::Active));
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
