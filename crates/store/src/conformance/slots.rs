use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{ActiveTokenPolicy, Ending, LogHead, LogKind, Position, TokenState};

use super::harness::{Harness, LIFETIME, issue, issue_over, issue_under};
use crate::{Issue, RevokeOutcome, TokenWrite, WriteOutcome};

pub async fn an_issue_yields_to_a_live_holder(harness: Harness) {
    let holder = harness.issued("billing").await;
    let late = harness.token("billing");
    let stored = harness.stored(holder.id).await;
    assert_eq!(harness.issue(&late).await, WriteOutcome::SlotHeld(Box::new(stored)));
    assert_eq!(harness.store.token_find(late.id).await, Ok(None));
    assert_eq!(harness.holder(&late).await, Some(holder.id));
}

pub async fn the_holder_that_was_observed_is_displaced_and_retires(harness: Harness) {
    let holder = harness.issued("billing").await;
    let next = harness.token("billing");
    assert_eq!(harness.write(issue_over(holder.id, &next)).await, WriteOutcome::Issued);
    assert_eq!(harness.state(holder.id).await, TokenState::Retired);
    assert_eq!(harness.state(next.id).await, TokenState::Active);
    assert_eq!(harness.holder(&next).await, Some(next.id));
    assert_eq!(harness.head().await, LogHead::EMPTY);
}

pub async fn a_holder_other_than_the_observed_one_keeps_the_slot(harness: Harness) {
    let observed = harness.issued("billing").await;
    let holder = harness.token("billing");
    assert_eq!(harness.write(issue_over(observed.id, &holder)).await, WriteOutcome::Issued);

    let late = harness.token("billing");
    let stored = harness.stored(holder.id).await;
    assert_eq!(harness.write(issue_over(observed.id, &late)).await, WriteOutcome::SlotHeld(Box::new(stored)));
    assert_eq!(harness.holder(&late).await, Some(holder.id));
}

pub async fn a_holder_with_too_little_life_left_is_displaced_and_retires(harness: Harness) {
    let min_life = Duration::from_secs(60);
    let holder = harness.issued("billing").await;
    let asking = |token: &_| {
        let token = Clone::clone(token);
        TokenWrite::Issue(Arc::new(Issue {
            token,
            policy: ActiveTokenPolicy::Reuse,
            observed: None,
            min_life,
        }))
    };

    harness.clock.set(holder.expires_at.saturating_sub(min_life + Duration::from_millis(1)));
    let early = harness.token("billing");
    assert!(matches!(harness.write(asking(&early)).await, WriteOutcome::SlotHeld(_)));

    harness.clock.set(holder.expires_at.saturating_sub(min_life));
    let next = harness.token("billing");
    assert_eq!(harness.write(asking(&next)).await, WriteOutcome::Issued);
    assert_eq!(harness.state(holder.id).await, TokenState::Retired);
    assert_eq!(harness.state(next.id).await, TokenState::Active);
}

pub async fn an_expired_holder_is_displaced_and_stays_expired(harness: Harness) {
    let holder = harness.issued("billing").await;
    harness.clock.set(holder.expires_at);
    let next = harness.issued("billing").await;
    assert_eq!(harness.state(holder.id).await, TokenState::Expired);
    assert_eq!(harness.holder(&next).await, Some(next.id));
}

pub async fn replace_ends_the_holder_as_inactive_and_announces_it(harness: Harness) {
    let holder = harness.issued("billing").await;
    let next = harness.token("billing");
    assert_eq!(harness.write(issue_under(ActiveTokenPolicy::Replace, &next)).await, WriteOutcome::Issued);

    let stored = harness.stored(holder.id).await;
    assert_eq!((stored.ended, stored.holds_slot), (Some(Ending::Inactive), false));
    assert_eq!(harness.state(holder.id).await, TokenState::Inactive);
    assert_eq!(harness.holder(&next).await, Some(next.id));

    let log = harness.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].position, log[0].kind), (Position(1), LogKind::Token));
    assert_eq!((log[0].key.as_slice(), log[0].keep_until), (&holder.id.as_bytes()[..], holder.expires_at));
}

pub async fn a_token_that_was_replaced_can_still_be_revoked(harness: Harness) {
    let holder = harness.issued("billing").await;
    harness.write(issue_under(ActiveTokenPolicy::Replace, &harness.token("billing"))).await;
    assert_eq!(harness.revoke(holder.id).await, RevokeOutcome::Revoked(Position(2)));
    assert_eq!(harness.state(holder.id).await, TokenState::Revoked);
}

pub async fn replacing_an_expired_holder_announces_nothing(harness: Harness) {
    let holder = harness.issued("billing").await;
    harness.clock.set(holder.expires_at);
    let next = harness.token("billing");
    assert_eq!(harness.write(issue_under(ActiveTokenPolicy::Replace, &next)).await, WriteOutcome::Issued);
    assert_eq!(harness.state(holder.id).await, TokenState::Expired);
    assert_eq!(harness.head().await, LogHead::EMPTY);
}

pub async fn multiple_retires_the_holder_and_announces_nothing(harness: Harness) {
    let holder = harness.issued("billing").await;
    let next = harness.token("billing");
    assert_eq!(harness.write(issue_under(ActiveTokenPolicy::Multiple, &next)).await, WriteOutcome::Issued);
    assert_eq!(harness.state(holder.id).await, TokenState::Retired);
    assert_eq!(harness.state(next.id).await, TokenState::Active);
    assert_eq!(harness.holder(&next).await, Some(next.id));
    assert_eq!(harness.head().await, LogHead::EMPTY);
}

pub async fn a_slot_that_a_revocation_freed_is_taken_without_contest(harness: Harness) {
    let revoked = harness.issued("billing").await;
    harness.revoke(revoked.id).await;
    let next = harness.issued("billing").await;
    assert_eq!(harness.holder(&next).await, Some(next.id));
}

pub async fn slots_of_other_clients_and_scopes_are_left_alone(harness: Harness) {
    let first = harness.issued("billing").await;
    let others = [harness.token("shipping"), harness.token_for("billing", "write")];
    for other in &others {
        assert_eq!(harness.issue(other).await, WriteOutcome::Issued);
    }
    for token in [&first, &others[0], &others[1]] {
        assert_eq!(harness.state(token.id).await, TokenState::Active);
    }
}

pub async fn a_holder_that_a_rule_has_ended_is_shown_so_and_can_be_displaced(harness: Harness) {
    let holder = harness.issued("billing").await;
    harness.insert(&harness.client("billing")).await;
    harness.delete("billing").await;

    let mut next = harness.token("billing");
    next.authority.seen = harness.head().await.seen();
    let WriteOutcome::SlotHeld(shown) = harness.issue(&next).await else {
        panic!("the holder was overlooked")
    };
    assert!(shown.ended_by_rule && !shown.is_reusable(harness.now(), Duration::ZERO, None));

    assert_eq!(harness.write(issue_over(holder.id, &next)).await, WriteOutcome::Issued);
    assert_eq!(harness.state(holder.id).await, TokenState::Revoked);
    assert_eq!(harness.state(next.id).await, TokenState::Active);
}

pub async fn of_issues_at_the_same_time_one_gets_the_slot(harness: Harness) {
    let tasks: Vec<_> = (0..16)
        .map(|_| {
            let (store, token) = (Arc::clone(&harness.store), harness.token("billing"));
            tokio::spawn(async move { store.token_write(vec![issue(&token)]).await.unwrap().remove(0) })
        })
        .collect();
    let mut outcomes = Vec::new();
    for task in tasks {
        outcomes.push(task.await.unwrap());
    }

    let holder = harness.holder(&harness.token("billing")).await;
    let yielded = |outcome: &&WriteOutcome| matches!(outcome, WriteOutcome::SlotHeld(held) if Some(held.token.id) == holder);
    assert_eq!(outcomes.iter().filter(|outcome| **outcome == WriteOutcome::Issued).count(), 1);
    assert_eq!(outcomes.iter().filter(yielded).count(), 15);
    assert_eq!(harness.store.token_count().await, Ok(1));
}

pub async fn a_holder_lives_as_long_as_its_own_lifetime_not_its_predecessors(harness: Harness) {
    let holder = harness.issued("billing").await;
    harness.clock.advance(LIFETIME / 2);
    let next = harness.token("billing");
    harness.write(issue_over(holder.id, &next)).await;
    harness.clock.set(holder.expires_at);
    assert!(matches!(harness.issue(&harness.token("billing")).await, WriteOutcome::SlotHeld(_)));
}
