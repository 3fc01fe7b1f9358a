//! What grants need of the persister besides being opened: rotation, the end of a grant, assertions used once.

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::ActiveTokenPolicy::Multiple;
use grantry_protocol::{AccessToken, Clock, Grant, GrantState, Position, Timestamp, TokenState};
use grantry_store::{
    AssertionKey, AuditEntry, AuditTrail, Fault, Grants, Opening, RevokeOutcome, Rotation, RotationOutcome,
    Tokens,
};

use crate::{MIN_LIFE, World};

async fn opened(world: &World) -> Arc<Opening> {
    let opening = world.opening("read");
    // Without rows a grant travels in its refresh token, and nothing is opened.
    if !world.is_unstored() {
        world.persistence.open(opening.clone(), MIN_LIFE).await.unwrap();
    }
    opening
}

/// As its refresh token says it, where it need not have a row.
fn origin(world: &World, opening: &Opening) -> Option<Grant> {
    world.is_unstored().then(|| opening.grant.clone())
}

async fn end(world: &World, opening: &Opening, audit: AuditEntry) -> RevokeOutcome {
    let (keep_until, audit) = (opening.grant.expires_at, Some(audit));
    let outcome = match origin(world, opening) {
        Some(grant) => world.persistence.revoke_unstored_grant(grant, keep_until, audit).await,
        None => world.persistence.revoke_grant(opening.grant.id, keep_until, audit).await,
    };
    outcome.unwrap()
}

fn rotation(world: &World, opening: &Opening, presented: u32) -> Arc<Rotation> {
    let token =
        AccessToken { authority: opening.token.authority, ..world.issue("read", Multiple).token.clone() };
    Arc::new(Rotation {
        grant: opening.grant.id,
        origin: origin(world, opening).map(Arc::new),
        presented,
        advance: true,
        grace: Duration::from_secs(30),
        idle: Duration::from_secs(600),
        token,
        is_stored: !world.is_unstored(),
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

in_every_mode! {
    of_two_rotations_at_once_one_moves_the_counter_and_both_get_the_same
    a_rotation_that_failed_before_the_commit_is_done_by_its_retry_and_one_that_failed_after_it_repeated
    a_spent_refresh_token_after_the_grace_ends_grant_and_tokens_and_is_audited
    a_grant_is_ended_once_with_its_audit_row_and_announced
    an_assertion_is_used_once_until_it_has_expired
}

/// The counter of the good refresh token, and the access token that was given if it was given before.
fn refreshed(outcome: RotationOutcome) -> (u32, Option<AccessToken>) {
    match outcome {
        RotationOutcome::Refreshed { counter } => (counter, None),
        RotationOutcome::Repeated { counter, token } => (counter, Some(token.token)),
        other => panic!("{other:?}"),
    }
}

async fn rows(world: &World) -> (u64, u64) {
    (world.store.token_count().await.unwrap(), world.store.grant_count().await.unwrap())
}

async fn of_two_rotations_at_once_one_moves_the_counter_and_both_get_the_same(world: World) {
    let opening = opened(&world).await;
    let (first, second) = (rotation(&world, &opening, 0), rotation(&world, &opening, 0));
    let (one, other) =
        tokio::join!(world.persistence.rotate(first.clone()), world.persistence.rotate(second));
    assert_eq!(one, Ok(RotationOutcome::Refreshed { counter: 1 }));
    let (counter, repeated) = refreshed(other.unwrap());
    assert_eq!(counter, 1);
    // Without a row nobody knows which access token the first one was given.
    assert_eq!(repeated.as_ref(), (!world.is_unstored()).then_some(&first.token));
    assert_eq!(rows(&world).await, if world.is_unstored() { (0, 1) } else { (2, 1) });
}

async fn a_rotation_that_failed_before_the_commit_is_done_by_its_retry_and_one_that_failed_after_it_repeated(
    world: World,
) {
    let opening = opened(&world).await;
    world.store.fail_writes([Some(Fault::Before(World::outage())), Some(Fault::After(World::outage()))]);
    for _ in 0..2 {
        assert!(world.persistence.rotate(rotation(&world, &opening, 0)).await.is_err());
    }
    let retried = world.persistence.rotate(rotation(&world, &opening, 0)).await;
    let (counter, repeated) = refreshed(retried.unwrap());
    assert_eq!((counter, repeated.is_none()), (1, world.is_unstored()));
    assert_eq!(rows(&world).await, if world.is_unstored() { (0, 1) } else { (2, 1) });
}

async fn a_spent_refresh_token_after_the_grace_ends_grant_and_tokens_and_is_audited(world: World) {
    let opening = opened(&world).await;
    let first = rotation(&world, &opening, 0);
    world.persistence.rotate(first.clone()).await.unwrap();
    world.clock.advance(Duration::from_millis(30_001));
    let again = world.persistence.rotate(rotation(&world, &opening, 0)).await;
    assert_eq!(again, Ok(RotationOutcome::Reused));
    let grant = world.store.grant_find(opening.grant.id).await.unwrap().unwrap();
    assert_eq!(grant.state(world.clock.now()), GrantState::Revoked);
    assert_eq!(world.state(&first.token).await, TokenState::Revoked);
    assert_eq!(world.store.audit_list(0, 10).await.unwrap()[0].action, "grant.reuse");
}

async fn a_grant_is_ended_once_with_its_audit_row_and_announced(world: World) {
    let opening = opened(&world).await;
    let audit = || audit(&world, "revocation.create");
    assert_eq!(end(&world, &opening, audit()).await, RevokeOutcome::Revoked(Position(1)));
    assert_eq!(end(&world, &opening, audit()).await, RevokeOutcome::AlreadyOver);
    assert_eq!(world.store.audit_list(0, 10).await.unwrap().len(), 1);
    let outcome = world.persistence.rotate(rotation(&world, &opening, 0)).await;
    assert_eq!(outcome, Ok(RotationOutcome::Over));
    assert_eq!(world.state(&opening.token).await, TokenState::Revoked);
}

#[tokio::test]
async fn a_grant_that_is_not_there_cannot_be_ended_by_its_id() {
    let world = World::start();
    let unknown = world.opening("read").grant.clone();
    let outcome = world.persistence.revoke_grant(unknown.id, unknown.expires_at, None).await;
    assert_eq!(outcome, Ok(RevokeOutcome::Unknown));
}

async fn an_assertion_is_used_once_until_it_has_expired(world: World) {
    let consume = |n, until: Timestamp| world.persistence.consume_assertion(AssertionKey([n; 32]), until);
    let until = world.clock.now() + Duration::from_secs(60);
    let (one, other) = tokio::join!(consume(1, until), consume(1, until));
    assert_eq!((one, other), (Ok(true), Ok(false)));
    assert_eq!(consume(2, until).await, Ok(true));
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(consume(1, until + Duration::from_secs(60)).await, Ok(true));
}
