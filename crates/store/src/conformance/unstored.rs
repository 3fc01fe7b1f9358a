use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Grant, GrantState, LogKind, Position, Rule, Seen, TokenState,
};

use super::harness::{GRACE, GRANT_LIFETIME, Harness, IDLE, LIFETIME, rotate};
use crate::{
    Opening, RevokeOutcome, Rotation, RotationOutcome, SlotEnd, StoredGrant, TokenWrite, Unwritten,
    WriteOutcome,
};

async fn judged(harness: &Harness, token: &AccessToken) -> TokenState {
    let judged = harness.store.token_judge_unstored(token.clone()).await.unwrap();
    assert_eq!((&judged.token, judged.holds_slot), (token, false));
    judged.state(harness.now())
}

async fn revoke(harness: &Harness, token: &AccessToken) -> RevokeOutcome {
    let unwritten = Some(Unwritten { by: None, expires_by: token.expires_at });
    match harness.write(TokenWrite::Revoke { id: token.id, unwritten, audit: None }).await {
        WriteOutcome::Revoked(outcome) => outcome,
        other => panic!("a revocation was answered with {other:?}"),
    }
}

fn ending(harness: &Harness, token: &AccessToken) -> TokenWrite {
    let keep_until = harness.now() + GRANT_LIFETIME;
    TokenWrite::EndSlot(Arc::new(SlotEnd { token: token.clone(), keep_until }))
}

fn having_seen(token: &AccessToken, seen: Seen) -> AccessToken {
    let mut token = token.clone();
    token.authority.seen = seen;
    token
}

/// Ends the slot of the token; answers the token as its caller gets it.
async fn alone_in_its_slot(harness: &Harness, token: &AccessToken) -> AccessToken {
    match harness.write(ending(harness, token)).await {
        WriteOutcome::SlotEnded(seen) => having_seen(token, seen),
        other => panic!("the end of a slot was answered with {other:?}"),
    }
}

/// The use of a refresh token of a grant that nothing was written for, for a token that gets no row.
fn rotation(harness: &Harness, opening: &Opening, presented: u32) -> Rotation {
    Rotation {
        origin: Some(Arc::new(opening.grant.clone())),
        is_stored: false,
        keep_until: opening.grant.expires_at + LIFETIME,
        ..harness.rotation(opening, presented)
    }
}

async fn judged_grant(harness: &Harness, opening: &Opening) -> StoredGrant {
    harness.store.grant_judge_unstored(opening.grant.clone()).await.unwrap()
}

async fn assert_no_token_rows(harness: &Harness) {
    assert_eq!(harness.store.token_count().await, Ok(0));
}

pub async fn a_token_without_a_row_is_honoured_until_it_expires(harness: Harness) {
    let token = harness.token("app");
    assert_eq!(judged(&harness, &token).await, TokenState::Retired);
    harness.clock.set(token.expires_at);
    assert_eq!(judged(&harness, &token).await, TokenState::Expired);
    assert_no_token_rows(&harness).await;
}

pub async fn a_revocation_of_a_token_without_a_row_is_an_entry_in_the_log(harness: Harness) {
    let (token, other) = (harness.token("app"), harness.token("app"));
    assert_eq!(revoke(&harness, &token).await, RevokeOutcome::Revoked(Position(1)));
    assert_eq!(judged(&harness, &token).await, TokenState::Revoked);
    assert_eq!(judged(&harness, &other).await, TokenState::Retired);
    assert_eq!(revoke(&harness, &token).await, RevokeOutcome::AlreadyOver);
    let log = harness.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].kind, &log[0].key[..]), (LogKind::Token, &token.id.as_bytes()[..]));
    assert_eq!(log[0].keep_until, token.expires_at);
    assert_no_token_rows(&harness).await;
}

pub async fn revoking_an_expired_token_without_a_row_writes_nothing(harness: Harness) {
    let token = harness.token("app");
    harness.clock.set(token.expires_at);
    assert_eq!(revoke(&harness, &token).await, RevokeOutcome::Unknown);
    assert!(harness.log().await.is_empty());
}

pub async fn a_token_without_a_row_that_is_revoked_twice_at_the_same_time_is_revoked(harness: Harness) {
    let token = harness.token("app");
    let (one, two) = tokio::join!(revoke(&harness, &token), revoke(&harness, &token));
    for outcome in [one, two] {
        assert!(matches!(outcome, RevokeOutcome::Revoked(_) | RevokeOutcome::AlreadyOver), "{outcome:?}");
    }
    assert_eq!(judged(&harness, &token).await, TokenState::Revoked);
}

pub async fn a_rule_ends_a_token_without_a_row_that_has_not_seen_it(harness: Harness) {
    let earlier = harness.token("app");
    let seen = harness.append(Rule::Client("app".parse().unwrap())).await;
    assert_eq!(judged(&harness, &earlier).await, TokenState::Revoked);
    assert_eq!(judged(&harness, &having_seen(&earlier, seen)).await, TokenState::Retired);
    assert_eq!(judged(&harness, &harness.token("other")).await, TokenState::Retired);
}

pub async fn the_end_of_a_slot_ends_all_that_is_earlier_stored_or_not(harness: Harness) {
    let stored = harness.issued("app").await;
    let (earlier, next, elsewhere) =
        (harness.token("app"), harness.token("app"), harness.token_for("app", "write"));
    let next = alone_in_its_slot(&harness, &next).await;
    assert_eq!(harness.state(stored.id).await, TokenState::Revoked);
    assert_eq!(judged(&harness, &earlier).await, TokenState::Revoked);
    assert_eq!(judged(&harness, &next).await, TokenState::Retired);
    assert_eq!(judged(&harness, &elsewhere).await, TokenState::Retired);
    let log = harness.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].kind, log[0].seen()), (LogKind::Slot, next.authority.seen));
}

pub async fn of_ends_of_a_slot_at_the_same_time_the_latest_ones_token_lives(harness: Harness) {
    let tokens: Vec<_> = (0..4).map(|_| harness.token("app")).collect();
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| alone_in_its_slot(&harness, &tokens[at]));
    let mut given: Vec<AccessToken> = <[_; 4]>::from(tokio::join!(a, b, c, d)).into();
    given.sort_by_key(|token| token.authority.seen);
    let last = given.pop().unwrap();
    assert_eq!(judged(&harness, &last).await, TokenState::Retired);
    for earlier in given {
        assert_eq!(judged(&harness, &earlier).await, TokenState::Revoked);
    }
}

pub async fn a_slot_is_not_ended_for_a_token_that_a_rule_has_ended_meanwhile(harness: Harness) {
    let token = harness.token("app");
    harness.append(Rule::Client("app".parse().unwrap())).await;
    let head = harness.head().await;
    assert_eq!(harness.write(ending(&harness, &token)).await, WriteOutcome::RuledOut);
    assert_eq!(harness.head().await, head);
    assert_eq!(judged(&harness, &token).await, TokenState::Revoked);
    // Another end of the slot is no reason.
    let other = alone_in_its_slot(&harness, &harness.token("other")).await;
    let again = alone_in_its_slot(&harness, &harness.token("other")).await;
    assert!(other.authority.seen < again.authority.seen);
}

pub async fn ends_of_slots_in_a_batch_with_others_keep_their_order(harness: Harness) {
    let (stored, unstored) = (harness.token("stored"), harness.token("unstored"));
    let batch = vec![
        super::issue(&stored),
        ending(&harness, &unstored),
        TokenWrite::Revoke { id: stored.id, unwritten: None, audit: None },
    ];
    let outcomes = harness.store.token_write(batch).await.unwrap();
    assert_eq!(outcomes[0], WriteOutcome::Issued);
    let WriteOutcome::SlotEnded(seen) = outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!(seen.position, Position(1));
    assert_eq!(outcomes[2], WriteOutcome::Revoked(RevokeOutcome::Revoked(Position(2))));
}

pub async fn the_first_rotation_gives_a_row_to_a_grant_that_has_none(harness: Harness) {
    let opening = harness.shared_opening("app");
    assert_eq!(judged_grant(&harness, &opening).await.grant, opening.grant);
    harness.clock.advance(GRACE * 2);
    let first = rotation(&harness, &opening, 0);
    assert_eq!(harness.rotate(&first).await, RotationOutcome::Refreshed { counter: 1 });
    let moved = Grant {
        counter: 1,
        rotated_at: harness.now(),
        idle_expires_at: harness.now() + IDLE,
        access_token: first.token.id,
        status_index: None,
        ..opening.grant.clone()
    };
    assert_eq!(judged_grant(&harness, &opening).await.grant, moved);
    // Nobody who opens a grant for the slot has to yield to it.
    assert_eq!(harness.stored_grant(opening.grant.id).await.grant, Grant { slot: None, ..moved });
    assert_eq!(harness.slots_grant(&opening).await, None);
    harness.clock.advance(GRACE * 2);
    let second = rotation(&harness, &opening, 1);
    assert_eq!(harness.rotate(&second).await, RotationOutcome::Refreshed { counter: 2 });
    assert_eq!(harness.store.grant_count().await, Ok(1));
    assert_no_token_rows(&harness).await;
}

pub async fn first_rotations_at_the_same_time_are_one(harness: Harness) {
    let opening = harness.opening("app");
    let rotations: Vec<_> = (0..4).map(|_| rotation(&harness, &opening, 0)).collect();
    let [a, b, c, d] = [0, 1, 2, 3].map(|at| harness.rotate(&rotations[at]));
    for outcome in <[_; 4]>::from(tokio::join!(a, b, c, d)) {
        assert_eq!(outcome, RotationOutcome::Refreshed { counter: 1 });
    }
    assert_eq!(harness.stored_grant(opening.grant.id).await.grant.counter, 1);
    assert_eq!(harness.store.grant_count().await, Ok(1));
}

pub async fn a_first_rotation_with_a_stored_token_is_one_however_often_it_is_tried(harness: Harness) {
    let opening = harness.opening("app");
    let stored = Rotation { is_stored: true, ..rotation(&harness, &opening, 0) };
    assert_eq!(harness.rotate(&stored).await, RotationOutcome::Refreshed { counter: 1 });
    assert_eq!(harness.state(stored.token.id).await, TokenState::Active);
    // Whoever lost the answer gets the same token.
    let token = Box::new(harness.stored(stored.token.id).await);
    let again = RotationOutcome::Repeated { counter: 1, token };
    assert_eq!(harness.rotate(&stored).await, again);
    assert_eq!(harness.rotate(&rotation(&harness, &opening, 0)).await, again);
    assert_eq!(harness.store.token_count().await, Ok(1));
}

pub async fn a_rotation_without_rows_that_is_written_again_is_one(harness: Harness) {
    for policy in [ActiveTokenPolicy::Multiple, ActiveTokenPolicy::Replace] {
        let opening = harness.opening("app");
        let rotation = Rotation { policy, ..rotation(&harness, &opening, 0) };
        for _ in 0..3 {
            assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 1 });
            harness.clock.advance(GRACE * 2);
        }
        assert_eq!(harness.stored_grant(opening.grant.id).await.grant.counter, 1);
        assert_eq!(judged(&harness, &rotation.token).await, TokenState::Retired);
    }
}

pub async fn a_later_refresh_token_of_a_grant_without_a_row_is_ahead(harness: Harness) {
    let opening = harness.opening("app");
    assert_eq!(harness.rotate(&rotation(&harness, &opening, 1)).await, RotationOutcome::Ahead);
    assert_eq!(harness.store.grant_count().await, Ok(0));
}

pub async fn a_spent_refresh_token_ends_a_grant_that_had_no_row(harness: Harness) {
    let opening = harness.opening("app");
    let first = rotation(&harness, &opening, 0);
    harness.rotate(&first).await;
    harness.clock.advance(GRACE * 2);
    assert_eq!(harness.rotate(&rotation(&harness, &opening, 0)).await, RotationOutcome::Reused);
    assert_eq!(judged_grant(&harness, &opening).await.state(harness.now()), GrantState::Revoked);
    assert_eq!(judged(&harness, &first.token).await, TokenState::Revoked);
    assert_eq!(harness.rotate(&rotation(&harness, &opening, 1)).await, RotationOutcome::Over);
}

pub async fn a_spent_refresh_token_does_not_come_back_when_the_row_has_left(harness: Harness) {
    let retention = LIFETIME * 2;
    let (idle, reused) = (harness.opening("idle"), harness.opening("reused"));
    for opening in [&idle, &reused] {
        // What it spends says that it is good for longer than any refresh from now on does.
        let short = Rotation { idle: Duration::from_secs(60), ..rotation(&harness, opening, 0) };
        assert_eq!(harness.rotate(&short).await, RotationOutcome::Refreshed { counter: 1 });
    }
    harness.clock.advance(GRACE * 2);
    assert_eq!(harness.rotate(&rotation(&harness, &reused, 0)).await, RotationOutcome::Reused);
    let sweep = || async {
        harness.store.retention_sweep(retention, 100).await.unwrap();
        harness.store.retention_sweep_grants(None, retention, 100).await.unwrap().removed
    };
    harness.clock.advance(retention + LIFETIME);
    assert_eq!(sweep().await, 1);
    assert_eq!(harness.rotate(&rotation(&harness, &reused, 0)).await, RotationOutcome::Over);
    harness.clock.set(idle.grant.idle_expires_at.saturating_sub(LIFETIME));
    assert_eq!(harness.rotate(&rotation(&harness, &reused, 1)).await, RotationOutcome::Over);
    assert_eq!(sweep().await, 0);
    harness.clock.set(idle.grant.idle_expires_at + retention);
    assert_eq!(sweep().await, 1);
    for presented in [0, 1] {
        let outcome = harness.rotate(&rotation(&harness, &idle, presented)).await;
        assert_eq!(outcome, RotationOutcome::Over, "{presented}");
    }
}

pub async fn a_grant_without_a_row_ends_by_its_own_times_and_by_rules(harness: Harness) {
    let (idle, ruled) = (harness.opening("idle"), harness.opening("ruled"));
    harness.append(Rule::Subject(ruled.grant.subject.clone())).await;
    assert_eq!(harness.rotate(&rotation(&harness, &ruled, 0)).await, RotationOutcome::Over);
    assert_eq!(judged_grant(&harness, &ruled).await.state(harness.now()), GrantState::Revoked);
    harness.clock.set(idle.grant.idle_expires_at);
    assert_eq!(harness.rotate(&rotation(&harness, &idle, 0)).await, RotationOutcome::Over);
    assert_eq!(harness.store.grant_count().await, Ok(0));
}

pub async fn under_replace_a_rotation_ends_the_last_token_that_has_no_row(harness: Harness) {
    let opening = harness.opening("app");
    let replacing = |presented| Rotation {
        policy: ActiveTokenPolicy::Replace,
        ..rotation(&harness, &opening, presented)
    };
    let (first, retried, second) = (replacing(0), replacing(0), replacing(1));
    harness.rotate(&first).await;
    assert_eq!(judged(&harness, &opening.token).await, TokenState::Revoked);
    assert_eq!(harness.rotate(&retried).await, RotationOutcome::Refreshed { counter: 1 });
    assert_eq!(judged(&harness, &first.token).await, TokenState::Revoked);
    assert_eq!(judged(&harness, &retried.token).await, TokenState::Retired);
    harness.rotate(&second).await;
    assert_eq!(judged(&harness, &retried.token).await, TokenState::Revoked);
    assert_eq!(judged(&harness, &second.token).await, TokenState::Retired);
    // Going back to stored tokens, too.
    let stored = Rotation { is_stored: true, ..replacing(2) };
    harness.rotate(&stored).await;
    assert_eq!(judged(&harness, &second.token).await, TokenState::Revoked);
    assert_eq!(harness.state(stored.token.id).await, TokenState::Active);
    let unstored = replacing(3);
    harness.rotate(&unstored).await;
    assert_eq!(harness.state(stored.token.id).await, TokenState::Inactive);
    assert_eq!(judged(&harness, &unstored.token).await, TokenState::Retired);
}

pub async fn a_stored_grant_is_rotated_without_a_row_for_its_token(harness: Harness) {
    let opening = harness.opened("app").await;
    let unstored = Rotation { is_stored: false, ..harness.rotation(&opening, 0) };
    assert_eq!(harness.rotate(&unstored).await, RotationOutcome::Refreshed { counter: 1 });
    assert_eq!(harness.stored_grant(opening.grant.id).await.grant.access_token, unstored.token.id);
    assert_eq!(harness.state(opening.token.id).await, TokenState::Active, "it keeps its slot");
    assert_eq!(harness.store.token_count().await, Ok(1));
    harness.revoke_grant(opening.grant.id).await;
    assert_eq!(judged(&harness, &unstored.token).await, TokenState::Revoked);
}

pub async fn revoking_a_grant_without_a_row_is_an_entry_in_the_log(harness: Harness) {
    let opening = harness.opening("app");
    let keep_until = opening.grant.expires_at + LIFETIME;
    let origin = Some(Arc::new(opening.grant.clone()));
    let write = TokenWrite::RevokeGrant { id: opening.grant.id, origin, keep_until, audit: None };
    let revoked = WriteOutcome::Revoked(RevokeOutcome::Revoked(Position(1)));
    assert_eq!(harness.write(write.clone()).await, revoked);
    assert_eq!(harness.write(write).await, WriteOutcome::Revoked(RevokeOutcome::AlreadyOver));
    assert_eq!(judged_grant(&harness, &opening).await.state(harness.now()), GrantState::Revoked);
    assert_eq!(judged(&harness, &opening.token).await, TokenState::Revoked);
    assert_eq!(harness.rotate(&rotation(&harness, &opening, 0)).await, RotationOutcome::Over);
    assert_eq!(harness.store.grant_count().await, Ok(0));
}

pub async fn two_first_rotations_in_one_batch_are_one(harness: Harness) {
    let opening = harness.opening("app");
    let batch = [0, 0, 1].map(|presented| rotate(&rotation(&harness, &opening, presented)));
    let outcomes = harness.store.token_write(batch.into()).await.unwrap();
    let refreshed = |counter| WriteOutcome::Rotated(RotationOutcome::Refreshed { counter });
    assert_eq!(outcomes, [refreshed(1), refreshed(1), refreshed(2)]);
}
