//! What grants need of the persister besides being opened: rotation, the end of a grant, assertions used once.

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::ActiveTokenPolicy::Multiple;
use grantry_protocol::{AccessToken, Clock, GrantState, Position, Timestamp, TokenState};
use grantry_store::{
    AssertionKey, AuditEntry, AuditTrail, Fault, Grants, Opening, Outage, RevokeOutcome, Rotation,
    RotationOutcome, StoreError, Tokens,
};

use crate::{MIN_LIFE, World};

async fn opened(world: &World) -> Arc<Opening> {
    let opening = world.opening("read");
    world.persistence.open(opening.clone(), MIN_LIFE).await.unwrap();
    opening
}

fn rotation(world: &World, opening: &Opening, presented: u32) -> Arc<Rotation> {
    let token =
        AccessToken { authority: opening.token.authority, ..world.issue("read", Multiple).token.clone() };
    Arc::new(Rotation {
        grant: opening.grant.id,
        origin: None,
        presented,
        advance: true,
        grace: Duration::from_secs(30),
        idle: Duration::from_secs(600),
        token,
        is_stored: true,
        policy: Multiple,
        token_life: Duration::from_secs(600),
        keep_until: opening.grant.expires_at,
        reuse_audit: audit(world, "grant.reuse"),
    })
}

fn audit(world: &World, action: &'static str) -> AuditEntry {
    AuditEntry {
        at: world.clock.now(),
        actor: "test".into(),
        action,
        target: "grant".into(),
        detail: serde_json::Value::Null,
        request_id: None,
    }
}

#[tokio::test]
async fn of_two_rotations_at_once_one_moves_the_counter_and_both_get_the_same() {
    let world = World::start();
    let opening = opened(&world).await;
    let (first, second) = (rotation(&world, &opening, 0), rotation(&world, &opening, 0));
    let (one, other) =
        tokio::join!(world.persistence.rotate(first.clone()), world.persistence.rotate(second));
    assert_eq!(one, Ok(RotationOutcome::Refreshed { counter: 1 }));
    let Ok(RotationOutcome::Repeated { counter: 1, token }) = other else { panic!("{other:?}") };
    assert_eq!(token.token, first.token);
    assert_eq!(world.store.token_count().await.unwrap(), 2);
}

#[tokio::test]
async fn a_rotation_that_failed_before_the_commit_is_done_by_its_retry_and_one_that_failed_after_it_repeated()
{
    let world = World::start();
    let opening = opened(&world).await;
    let outage = || StoreError::unavailable(Outage::Io, "injected");
    world.store.fail_writes([Some(Fault::Before(outage())), Some(Fault::After(outage()))]);
    for _ in 0..2 {
        assert!(world.persistence.rotate(rotation(&world, &opening, 0)).await.is_err());
    }
    let retried = world.persistence.rotate(rotation(&world, &opening, 0)).await;
    assert!(matches!(retried, Ok(RotationOutcome::Repeated { counter: 1, .. })), "{retried:?}");
    assert_eq!(world.store.token_count().await.unwrap(), 2);
}

#[tokio::test]
async fn a_spent_refresh_token_after_the_grace_ends_grant_and_tokens_and_is_audited() {
    let world = World::start();
    let opening = opened(&world).await;
    let first = rotation(&world, &opening, 0);
    world.persistence.rotate(first.clone()).await.unwrap();
    world.clock.advance(Duration::from_millis(30_001));
    let again = world.persistence.rotate(rotation(&world, &opening, 0)).await;
    assert_eq!(again, Ok(RotationOutcome::Reused));
    let now = world.clock.now();
    let grant = world.store.grant_find(opening.grant.id).await.unwrap().unwrap();
    assert_eq!(grant.state(now), GrantState::Revoked);
    let token = world.store.token_find(first.token.id).await.unwrap().unwrap();
    assert_eq!(token.state(now), TokenState::Revoked);
    assert_eq!(world.store.audit_list(0, 10).await.unwrap()[0].action, "grant.reuse");
}

#[tokio::test]
async fn a_grant_is_ended_once_with_its_audit_row_and_announced() {
    let world = World::start();
    let opening = opened(&world).await;
    let end = || {
        let audit = Some(audit(&world, "revocation.create"));
        world.persistence.revoke_grant(opening.grant.id, opening.grant.expires_at, audit)
    };
    assert_eq!(end().await, Ok(RevokeOutcome::Revoked(Position(1))));
    assert_eq!(end().await, Ok(RevokeOutcome::AlreadyOver));
    assert_eq!(world.store.audit_list(0, 10).await.unwrap().len(), 1);
    let outcome = world.persistence.rotate(rotation(&world, &opening, 0)).await;
    assert_eq!(outcome, Ok(RotationOutcome::Over));
    let unknown = world.opening("read").grant.id;
    let outcome = world.persistence.revoke_grant(unknown, opening.grant.expires_at, None).await;
    assert_eq!(outcome, Ok(RevokeOutcome::Unknown));
}

#[tokio::test]
async fn an_assertion_is_used_once_until_it_has_expired() {
    let world = World::start();
    let consume = |n, until: Timestamp| world.persistence.consume_assertion(AssertionKey([n; 32]), until);
    let until = world.clock.now() + Duration::from_secs(60);
    let (one, other) = tokio::join!(consume(1, until), consume(1, until));
    assert_eq!((one, other), (Ok(true), Ok(false)));
    assert_eq!(consume(2, until).await, Ok(true));
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(consume(1, until + Duration::from_secs(60)).await, Ok(true));
}
