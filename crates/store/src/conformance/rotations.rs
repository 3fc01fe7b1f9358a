use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{
    ActiveTokenPolicy, Ending, Grant, GrantState, LogHead, LogKind, Rule, SlotKey, TokenState,
};

use super::harness::{GRACE, Harness, IDLE, LIFETIME, open, rotate};
use crate::{Opening, Rotation, RotationOutcome, StoredGrant, WriteOutcome};

const TICK: Duration = Duration::from_millis(1);

/// All that a rotation could have written.
async fn everything(harness: &Harness, opening: &Opening) -> (StoredGrant, LogHead, u64, usize) {
    let grant = harness.stored_grant(opening.grant.id).await;
    let tokens = harness.store.token_count().await.unwrap();
    (grant, harness.head().await, tokens, harness.audit().await.len())
}

async fn repeated(harness: &Harness, counter: u32, token: &grantry_protocol::AccessToken) -> RotationOutcome {
    RotationOutcome::Repeated { counter, token: Box::new(harness.stored(token.id).await) }
}

/// A grant that was rotated so often, the last time just now.
async fn rotated_times(harness: &Harness, times: u32) -> Opening {
    let opening = harness.opened("app").await;
    for presented in 0..times {
        harness.clock.advance(GRACE * 2);
        harness.rotated(&opening, presented).await;
    }
    opening
}

pub async fn the_good_refresh_token_moves_the_grant_on(harness: Harness) {
    let opening = harness.opened("app").await;
    for presented in 0..3 {
        harness.clock.advance(GRACE * 2);
        let token = harness.rotated(&opening, presented).await;
        let expected = Grant {
            counter: presented + 1,
            rotated_at: harness.now(),
            idle_expires_at: harness.now() + IDLE,
            access_token: token.id,
            ..opening.grant.clone()
        };
        let stored = StoredGrant { grant: expected, ended_at: None, ended_by_rule: false };
        assert_eq!(harness.stored_grant(opening.grant.id).await, stored);
        assert_eq!(harness.stored(token.id).await.token, token);
        assert_eq!(harness.state(token.id).await, TokenState::Active);
    }
    assert_eq!(harness.store.token_count().await, Ok(4));
    assert_eq!(harness.store.grant_count().await, Ok(1));
}

pub async fn a_refresh_keeps_a_grant_alive_until_its_absolute_end(harness: Harness) {
    let opening = harness.opened("app").await;
    harness.clock.advance(IDLE - TICK);
    harness.rotated(&opening, 0).await;
    harness.clock.advance(IDLE - TICK);
    harness.rotated(&opening, 1).await;
    harness.clock.set(opening.grant.expires_at);
    assert_eq!(harness.rotate(&harness.rotation(&opening, 2)).await, RotationOutcome::Over);
}

pub async fn a_refresh_token_that_is_not_rotated_stays_good(harness: Harness) {
    let opening = harness.opened("app").await;
    for _ in 0..3 {
        harness.clock.advance(GRACE * 2);
        let rotation = Rotation { advance: false, ..harness.rotation(&opening, 0) };
        assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 0 });
        let expected = Grant {
            idle_expires_at: harness.now() + IDLE,
            access_token: rotation.token.id,
            ..opening.grant.clone()
        };
        assert_eq!(harness.stored_grant(opening.grant.id).await.grant, expected);
        assert_eq!(harness.state(rotation.token.id).await, TokenState::Active);
    }
}

pub async fn the_predecessor_within_the_grace_gives_the_same_pair_and_writes_nothing(harness: Harness) {
    let opening = rotated_times(&harness, 2).await;
    let token = harness.stored_grant(opening.grant.id).await.grant.access_token;
    let token = harness.stored(token).await.token;
    let before = everything(&harness, &opening).await;
    for wait in [Duration::ZERO, GRACE / 2, GRACE / 2] {
        harness.clock.advance(wait);
        let outcome = harness.rotate(&harness.rotation(&opening, 1)).await;
        assert_eq!(outcome, repeated(&harness, 2, &token).await);
        assert_eq!(everything(&harness, &opening).await, before);
    }
}

/// The grant stays as it is: who holds the good refresh token has not moved it.
async fn assert_repeated_with_a_new_token(harness: &Harness, opening: &Opening, rotation: &Rotation) {
    let before = harness.stored_grant(opening.grant.id).await;
    assert_eq!(harness.rotate(rotation).await, RotationOutcome::Refreshed { counter: 1 });
    assert_eq!(harness.stored_grant(opening.grant.id).await, before);
    assert_eq!(harness.state(rotation.token.id).await, TokenState::Active);
    assert_eq!(harness.stored(rotation.token.id).await.token, rotation.token);
}

pub async fn the_predecessor_gives_a_new_token_if_the_last_one_was_revoked(harness: Harness) {
    let opening = harness.opened("app").await;
    let first = harness.rotated(&opening, 0).await;
    harness.revoke(first.id).await;
    assert_repeated_with_a_new_token(&harness, &opening, &harness.rotation(&opening, 0)).await;
}

pub async fn the_predecessor_gives_a_new_token_if_the_last_one_has_expired(harness: Harness) {
    let opening = harness.opened("app").await;
    let first = harness.rotated(&opening, 0).await;
    harness.clock.set(first.expires_at);
    let rotation = Rotation { grace: LIFETIME * 2, ..harness.rotation(&opening, 0) };
    assert_repeated_with_a_new_token(&harness, &opening, &rotation).await;
}

pub async fn the_predecessor_gives_a_new_token_if_something_else_is_asked_for(harness: Harness) {
    let opening = harness.opened("app").await;
    let first = harness.rotated(&opening, 0).await;
    let mut narrowed = harness.rotation(&opening, 0);
    narrowed.token.slot = SlotKey::from_bytes([7; SlotKey::LEN]);
    assert_repeated_with_a_new_token(&harness, &opening, &narrowed).await;
    assert_eq!(harness.state(first.id).await, TokenState::Active);
}

pub async fn an_older_one_within_the_grace_is_too_slow_and_changes_nothing(harness: Harness) {
    let opening = rotated_times(&harness, 3).await;
    let before = everything(&harness, &opening).await;
    harness.clock.advance(GRACE);
    for presented in [1, 0] {
        let outcome = harness.rotate(&harness.rotation(&opening, presented)).await;
        assert_eq!(outcome, RotationOutcome::TooSlow);
    }
    assert_eq!(everything(&harness, &opening).await, before);
    harness.rotated(&opening, 3).await;
}

async fn assert_reuse(harness: Harness, presented: u32) {
    let opening = rotated_times(&harness, 2).await;
    let other = harness.opened("app").await;
    let tokens: Vec<_> = harness
        .store
        .token_list(&opening.grant.subject, None, 10, 100)
        .await
        .unwrap()
        .tokens
        .into_iter()
        .filter(|stored| stored.token.authority.grant == Some(opening.grant.id))
        .collect();
    assert_eq!(tokens.len(), 3);
    harness.clock.advance(GRACE + TICK);
    let rotation = harness.rotation(&opening, presented);
    assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Reused);

    let stored = harness.stored_grant(opening.grant.id).await;
    assert_eq!((stored.ended_at, stored.grant.counter), (Some(harness.now()), 2));
    assert_eq!(stored.state(harness.now()), GrantState::Revoked);
    for stored in tokens {
        assert_eq!(harness.state(stored.token.id).await, TokenState::Revoked);
    }
    assert_eq!(harness.store.token_find(rotation.token.id).await, Ok(None));
    assert_eq!(harness.grant_state(other.grant.id).await, GrantState::Active);
    assert_eq!(harness.state(other.token.id).await, TokenState::Active);

    let log = harness.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].kind, log[0].key.as_slice()), (LogKind::Grant, &opening.grant.id.as_bytes()[..]));
    assert_eq!(log[0].keep_until, rotation.keep_until);
    let audit = harness.audit().await;
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0].action, "grant.reuse");

    // Whoever comes next finds it over, the holder of the good one too; that is recorded once.
    for presented in 0..4 {
        assert_eq!(harness.rotate(&harness.rotation(&opening, presented)).await, RotationOutcome::Over);
    }
    assert_eq!(harness.audit().await.len(), 1);
}

pub async fn the_predecessor_after_the_grace_ends_the_grant_and_its_tokens(harness: Harness) {
    assert_reuse(harness, 1).await;
}

pub async fn an_older_one_after_the_grace_ends_the_grant_and_its_tokens(harness: Harness) {
    assert_reuse(harness, 0).await;
}

pub async fn one_that_is_ahead_of_the_grant_changes_nothing(harness: Harness) {
    let opening = rotated_times(&harness, 1).await;
    harness.clock.advance(GRACE * 2);
    let before = everything(&harness, &opening).await;
    for presented in [2, 3, u32::MAX] {
        let outcome = harness.rotate(&harness.rotation(&opening, presented)).await;
        assert_eq!(outcome, RotationOutcome::Ahead);
    }
    assert_eq!(everything(&harness, &opening).await, before);
    harness.rotated(&opening, 1).await;
}

async fn assert_over(harness: &Harness, opening: &Opening) {
    let before = everything(harness, opening).await;
    for presented in 0..4 {
        for advance in [true, false] {
            let rotation = Rotation { advance, ..harness.rotation(opening, presented) };
            assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Over);
        }
    }
    assert_eq!(everything(harness, opening).await, before);
}

pub async fn a_grant_that_was_revoked_yields_nothing(harness: Harness) {
    let opening = rotated_times(&harness, 2).await;
    harness.revoke_grant(opening.grant.id).await;
    assert_over(&harness, &opening).await;
}

pub async fn a_grant_that_nobody_refreshed_yields_nothing(harness: Harness) {
    let opening = rotated_times(&harness, 2).await;
    harness.clock.advance(IDLE);
    assert_over(&harness, &opening).await;
}

pub async fn a_grant_past_its_absolute_end_yields_nothing(harness: Harness) {
    let mut opening = harness.opening("app");
    opening.grant.expires_at = harness.now() + LIFETIME;
    harness.write(open(&opening)).await;
    harness.rotated(&opening, 0).await;
    harness.clock.set(opening.grant.expires_at);
    assert_over(&harness, &opening).await;
}

pub async fn a_grant_that_a_rule_has_ended_yields_nothing(harness: Harness) {
    let opening = rotated_times(&harness, 2).await;
    harness.append(Rule::Subject(opening.grant.subject.clone())).await;
    assert_over(&harness, &opening).await;
    assert_eq!(harness.stored_grant(opening.grant.id).await.ended_at, None);
}

pub async fn a_grant_that_was_never_opened_yields_nothing(harness: Harness) {
    let rotation = harness.rotation(&harness.opening("app"), 0);
    assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Unknown);
    assert_eq!(harness.store.token_count().await, Ok(0));
}

pub async fn two_uses_in_one_batch_are_one_rotation_and_one_pair(harness: Harness) {
    let opening = harness.opened("app").await;
    let (first, second) = (harness.rotation(&opening, 0), harness.rotation(&opening, 0));
    let outcomes = harness.store.token_write(vec![rotate(&first), rotate(&second)]).await.unwrap();
    let expected = [RotationOutcome::Refreshed { counter: 1 }, repeated(&harness, 1, &first.token).await];
    assert_eq!(outcomes, expected.map(WriteOutcome::Rotated));
    assert_eq!(harness.store.token_find(second.token.id).await, Ok(None));
}

pub async fn uses_at_the_same_time_are_one_rotation_and_one_pair(harness: Harness) {
    let opening = harness.opened("app").await;
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (store, rotation) = (Arc::clone(&harness.store), harness.rotation(&opening, 0));
            tokio::spawn(async move { store.token_write(vec![rotate(&rotation)]).await.unwrap().remove(0) })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }
    let stored = harness.stored_grant(opening.grant.id).await.grant;
    assert_eq!(stored.counter, 1);
    let token = harness.stored(stored.access_token).await.token;
    let refreshed = WriteOutcome::Rotated(RotationOutcome::Refreshed { counter: 1 });
    let repeated = WriteOutcome::Rotated(repeated(&harness, 1, &token).await);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == refreshed).count(), 1);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == repeated).count(), 15);
    assert_eq!(harness.store.token_count().await, Ok(2));
}

/// As the persister does it when it does not know whether a write was committed; that may take longer than the grace.
pub async fn a_rotation_written_again_after_a_lost_answer_is_one(harness: Harness) {
    let opening = harness.opened("app").await;
    harness.clock.advance(GRACE * 2);
    let rotation = Rotation { policy: ActiveTokenPolicy::Replace, ..harness.rotation(&opening, 0) };
    assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 1 });
    let before = everything(&harness, &opening).await;
    for wait in [Duration::ZERO, GRACE + TICK] {
        harness.clock.advance(wait);
        assert_eq!(harness.rotate(&rotation).await, repeated(&harness, 1, &rotation.token).await);
        assert_eq!(everything(&harness, &opening).await, before);
    }
    assert_eq!(harness.state(rotation.token.id).await, TokenState::Active);
}

pub async fn a_use_that_is_not_rotated_is_written_once_however_often_it_is_tried(harness: Harness) {
    let opening = harness.opened("app").await;
    let rotation =
        Rotation { advance: false, policy: ActiveTokenPolicy::Replace, ..harness.rotation(&opening, 0) };
    assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 0 });
    let before = everything(&harness, &opening).await;
    harness.clock.advance(TICK);
    assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 0 });
    assert_eq!(everything(&harness, &opening).await, before);
    assert_eq!(harness.state(rotation.token.id).await, TokenState::Active);

    harness.revoke(rotation.token.id).await;
    assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 0 });
    assert_eq!(harness.state(rotation.token.id).await, TokenState::Revoked);
}

pub async fn a_repetition_with_a_new_token_is_written_once_however_often_it_is_tried(harness: Harness) {
    let opening = harness.opened("app").await;
    let first = harness.rotated(&opening, 0).await;
    harness.revoke(first.id).await;
    let rotation = harness.rotation(&opening, 0);
    for _ in 0..2 {
        assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 1 });
        assert_eq!(harness.state(rotation.token.id).await, TokenState::Active);
        assert_eq!(harness.store.token_count().await, Ok(3));
    }
}

pub async fn a_clock_that_goes_back_does_not_make_reuse_of_a_retry(harness: Harness) {
    let opening = rotated_times(&harness, 2).await;
    let token = harness.stored_grant(opening.grant.id).await.grant.access_token;
    let token = harness.stored(token).await.token;
    harness.clock.set(harness.now().saturating_sub(GRACE * 4));
    let outcome = harness.rotate(&harness.rotation(&opening, 1)).await;
    assert_eq!(outcome, repeated(&harness, 2, &token).await);
    assert_eq!(harness.rotate(&harness.rotation(&opening, 0)).await, RotationOutcome::TooSlow);
    harness.rotated(&opening, 2).await;
}

pub async fn the_token_that_is_displaced_retires(harness: Harness) {
    let opening = harness.opened("app").await;
    let token = harness.rotated(&opening, 0).await;
    assert_eq!(harness.state(opening.token.id).await, TokenState::Retired);
    assert_eq!(harness.holder(&token).await, Some(token.id));
    assert_eq!(harness.head().await, LogHead::EMPTY);
}

pub async fn under_replace_the_token_that_is_displaced_ends_and_is_announced(harness: Harness) {
    let opening = harness.opened("app").await;
    let rotation = Rotation { policy: ActiveTokenPolicy::Replace, ..harness.rotation(&opening, 0) };
    assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 1 });
    assert_eq!(harness.stored(opening.token.id).await.ended, Some(Ending::Inactive));
    assert_eq!(harness.state(opening.token.id).await, TokenState::Inactive);
    assert_eq!(harness.state(rotation.token.id).await, TokenState::Active);
    let log = harness.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].kind, log[0].key.as_slice()), (LogKind::Token, &opening.token.id.as_bytes()[..]));
}

pub async fn under_replace_a_displaced_token_that_has_expired_is_not_announced(harness: Harness) {
    let opening = harness.opened("app").await;
    harness.clock.set(opening.token.expires_at);
    let rotation = Rotation { policy: ActiveTokenPolicy::Replace, ..harness.rotation(&opening, 0) };
    assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 1 });
    assert_eq!(harness.state(opening.token.id).await, TokenState::Expired);
    assert_eq!(harness.head().await, LogHead::EMPTY);
}

pub async fn a_grant_moves_on_alone(harness: Harness) {
    let (own, other) = (harness.opened("app").await, harness.opened("app").await);
    harness.rotated(&own, 0).await;
    let untouched = StoredGrant { grant: other.grant.clone(), ended_at: None, ended_by_rule: false };
    assert_eq!(harness.stored_grant(other.grant.id).await, untouched);
    assert_eq!(harness.state(other.token.id).await, TokenState::Active);
}
