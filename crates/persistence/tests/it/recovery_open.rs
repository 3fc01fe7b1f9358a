//! One test a step of opening a grant in `recovery/sync.rs`.

use std::sync::Arc;
use std::time::Duration;

use grantry_persistence::{Opened, PersistenceError};
use grantry_protocol::ActiveTokenPolicy::Reuse;
use grantry_protocol::PersistenceMode::Sync;
use grantry_protocol::{Clock, Position, TokenState};
use grantry_store::{Fault, Grants, Outage, Revocations, RevokeOutcome, StoreError, Tokens};

use crate::{MIN_LIFE, World};

#[tokio::test]
async fn step_1_a_free_slot_gets_the_grant_and_its_token() {
    let world = World::start();
    let opening = world.opening("read");
    assert_eq!(world.persistence.open(opening.clone(), MIN_LIFE).await, Ok(Opened::New));
    let found = world.store.grant_find_by_slot(opening.token.slot).await.unwrap().unwrap();
    assert_eq!(found.grant, opening.grant);
    let holder = world.store.token_find_holder(opening.token.slot).await.unwrap().unwrap();
    assert_eq!(holder.token, opening.token);
}

#[tokio::test]
async fn step_1_a_lost_acknowledgement_is_found_again_by_its_id() {
    let world = World::start();
    let opening = world.opening("read");
    world.store.fail_writes([Some(Fault::After(StoreError::unavailable(Outage::Io, "injected")))]);
    assert!(world.persistence.open(opening.clone(), MIN_LIFE).await.is_err());
    assert_eq!(world.persistence.open(opening, MIN_LIFE).await, Ok(Opened::New));
    assert_eq!(world.store.grant_count().await.unwrap(), 1);
    assert_eq!(world.store.token_count().await.unwrap(), 1);
}

#[tokio::test]
async fn step_1_a_token_that_no_grant_stands_behind_retires() {
    let world = World::start();
    let old = world.issue("read", Reuse);
    world.persistence.issue(old.clone(), Sync).await.unwrap();
    let opening = world.opening("read");
    assert_eq!(world.persistence.open(opening, MIN_LIFE).await, Ok(Opened::New));
    let old = world.store.token_find(old.token.id).await.unwrap().unwrap();
    assert_eq!(old.state(world.clock.now()), TokenState::Retired);
}

#[tokio::test]
async fn step_1_a_grant_that_was_ended_gives_way() {
    let world = World::start();
    let (old, mut new) = (world.opening("read"), world.opening("read"));
    world.persistence.open(old.clone(), MIN_LIFE).await.unwrap();
    world.persistence.revoke_grant(old.grant.id, old.grant.expires_at, None).await.unwrap();
    let seen = world.store.revocation_head().await.unwrap().seen();
    let opening = Arc::make_mut(&mut new);
    (opening.grant.seen, opening.token.authority.seen) = (seen, seen);
    assert_eq!(world.persistence.open(new.clone(), MIN_LIFE).await, Ok(Opened::New));
    let found = world.store.grant_find_by_slot(new.token.slot).await.unwrap().unwrap();
    assert_eq!(found.grant.id, new.grant.id);
}

#[tokio::test]
async fn step_2_the_loser_is_given_the_winners_pair() {
    let world = World::start();
    let (first, second) = (world.opening("read"), world.opening("read"));
    let (one, other) = tokio::join!(
        world.persistence.open(first.clone(), MIN_LIFE),
        world.persistence.open(second, MIN_LIFE)
    );
    assert_eq!(one, Ok(Opened::New));
    let Ok(Opened::Joined { grant, token }) = other else { panic!("{other:?}") };
    assert_eq!((&grant.grant, &*token), (&first.grant, &first.token));
    assert_eq!(world.store.grant_count().await.unwrap(), 1);
    assert_eq!(world.store.token_count().await.unwrap(), 1);
}

#[tokio::test]
async fn step_2_a_winner_whose_token_is_used_up_gets_a_new_one_with_its_own_authority() {
    let world = World::start();
    let first = world.opening("read");
    world.persistence.open(first.clone(), MIN_LIFE).await.unwrap();
    world.clock.advance(Duration::from_secs(50));
    let second = world.opening("read");
    let Ok(Opened::Joined { grant, token }) = world.persistence.open(second.clone(), MIN_LIFE).await else {
        panic!("the grant lives");
    };
    assert_eq!(grant.grant, first.grant);
    assert_eq!((token.id, token.authority), (second.token.id, first.token.authority));
    let stored = world.store.token_find(token.id).await.unwrap().unwrap();
    assert_eq!((stored.state(world.clock.now()), stored.token), (TokenState::Active, *token));
    // It ends with the grant that it was given to.
    let ended = world.persistence.revoke_grant(first.grant.id, first.grant.expires_at, None).await;
    assert_eq!(ended, Ok(RevokeOutcome::Revoked(Position(1))));
    let stored = world.store.token_find(second.token.id).await.unwrap().unwrap();
    assert_eq!(stored.state(world.clock.now()), TokenState::Revoked);
}

#[tokio::test]
async fn step_2_a_slot_that_is_contended_too_often_is_given_up() {
    let world = World::with_retry_count(0);
    let first = world.opening("read");
    world.persistence.open(first.clone(), MIN_LIFE).await.unwrap();
    // Somebody's token without a grant has taken the slot: it is of no use to a pair.
    let mut other = world.issue("read", Reuse);
    Arc::make_mut(&mut other).observed = Some(first.token.id);
    world.persistence.issue(other, Sync).await.unwrap();
    let refused = world.persistence.open(world.opening("read"), MIN_LIFE).await;
    assert_eq!(refused, Err(PersistenceError::SlotContended { attempts: 1 }));
}

#[tokio::test]
async fn step_3_a_live_token_of_another_grant_is_not_displaced() {
    let world = World::with_retry_count(1);
    let joined = world.opening("read");
    world.persistence.open(joined.clone(), MIN_LIFE).await.unwrap();
    // As if a later grant had taken over, which the request has not noticed.
    let mut later = world.issue("read", Reuse);
    let issue = Arc::make_mut(&mut later);
    issue.observed = Some(joined.token.id);
    issue.token.authority.grant = Some(world.opening("other").grant.id);
    world.persistence.issue(later.clone(), Sync).await.unwrap();

    let refused = world.persistence.open(world.opening("read"), MIN_LIFE).await;
    assert_eq!(refused, Err(PersistenceError::SlotContended { attempts: 2 }));
    let holder = world.store.token_find_holder(later.token.slot).await.unwrap().unwrap();
    assert_eq!(holder.token.id, later.token.id);
}
