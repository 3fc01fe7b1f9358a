use std::time::Duration;

use grantry_protocol::{GrantId, GrantState, LogKind, Rule};

use super::harness::{GRACE, GRANT_LIFETIME, Harness, IDLE, LIFETIME, open};
use crate::{GrantsSwept, Opening, RotationOutcome};

const RETENTION: Duration = Duration::from_secs(24 * 3600);
const TICK: Duration = Duration::from_millis(1);

async fn sweep(harness: &Harness, after: Option<GrantId>, limit: usize) -> GrantsSwept {
    harness.store.retention_sweep_grants(after, RETENTION, limit).await.unwrap()
}

/// One step over everything; answers how many it removed.
async fn removed(harness: &Harness) -> u64 {
    sweep(harness, None, 1000).await.removed
}

async fn is_stored(harness: &Harness, opening: &Opening) -> bool {
    harness.store.grant_find(opening.grant.id).await.unwrap().is_some()
}

pub async fn there_is_no_grant_to_walk_over_in_a_new_store(harness: Harness) {
    assert_eq!(sweep(&harness, None, 100).await, GrantsSwept { removed: 0, last: None });
}

pub async fn a_grant_that_nobody_refreshed_stays_for_the_retention_time(harness: Harness) {
    let opening = harness.opened("app").await;
    harness.clock.advance(IDLE + RETENTION - TICK);
    assert_eq!(removed(&harness).await, 0);
    harness.clock.advance(TICK);
    assert_eq!(removed(&harness).await, 1);
    assert!(!is_stored(&harness, &opening).await);
    assert_eq!(harness.rotate(&harness.rotation(&opening, 0)).await, RotationOutcome::Unknown);
}

pub async fn a_grant_past_its_absolute_end_stays_for_the_retention_time(harness: Harness) {
    let mut opening = harness.opening("app");
    opening.grant.expires_at = harness.now() + LIFETIME;
    harness.write(open(&opening)).await;
    harness.clock.advance(LIFETIME + RETENTION - TICK);
    assert_eq!(removed(&harness).await, 0);
    harness.clock.advance(TICK);
    assert_eq!(removed(&harness).await, 1);
}

pub async fn a_grant_that_was_ended_stays_for_the_retention_time(harness: Harness) {
    let (opening, live) = (harness.opened("app").await, harness.opened("app").await);
    harness.clock.advance(LIFETIME);
    harness.revoke_grant(opening.grant.id).await;
    harness.clock.advance(RETENTION - TICK);
    assert_eq!(removed(&harness).await, 0);
    harness.clock.advance(TICK);
    assert_eq!(removed(&harness).await, 1);
    assert!(!is_stored(&harness, &opening).await);
    assert_eq!(harness.grant_state(live.grant.id).await, GrantState::Active);
}

pub async fn a_grant_that_is_refreshed_stays(harness: Harness) {
    let opening = harness.opened("app").await;
    harness.clock.advance(IDLE - GRACE);
    harness.rotated(&opening, 0).await;
    harness.clock.advance(IDLE - GRACE);
    assert_eq!(removed(&harness).await, 0);
    assert_eq!(harness.grant_state(opening.grant.id).await, GrantState::Active);
}

pub async fn the_walk_takes_so_many_grants_a_step_and_ends(harness: Harness) {
    let mut ids = Vec::new();
    for number in 0..5 {
        let mut opening = harness.opening("app");
        if number % 2 == 0 {
            opening.grant.expires_at = harness.now() + LIFETIME;
        }
        harness.write(open(&opening)).await;
        ids.push(opening.grant.id);
    }
    harness.clock.advance(LIFETIME + RETENTION);
    let step = |removed, last| GrantsSwept { removed, last };
    assert_eq!(sweep(&harness, None, 2).await, step(1, Some(ids[1])));
    assert_eq!(sweep(&harness, Some(ids[1]), 2).await, step(1, Some(ids[3])));
    assert_eq!(sweep(&harness, Some(ids[3]), 2).await, step(1, Some(ids[4])));
    assert_eq!(sweep(&harness, Some(ids[4]), 2).await, step(0, None));
    assert_eq!(sweep(&harness, None, 3).await, step(0, Some(ids[3])));
    assert_eq!(harness.store.grant_count().await, Ok(2));
}

pub async fn a_swept_grant_leaves_its_slot(harness: Harness) {
    let opening = harness.shared_opened("app").await;
    harness.clock.advance(IDLE + RETENTION);
    assert_eq!(removed(&harness).await, 1);
    assert_eq!(harness.slots_grant(&opening).await, None);
    let next = harness.shared_opened("app").await;
    assert_eq!(harness.slots_grant(&next).await, Some(next.grant.id));
}

pub async fn a_swept_grant_leaves_the_slot_to_its_successor(harness: Harness) {
    let old = harness.shared_opened("app").await;
    harness.revoke_grant(old.grant.id).await;
    let next = harness.shared_opened("app").await;
    harness.clock.advance(RETENTION);
    assert_eq!(removed(&harness).await, 1);
    assert!(!is_stored(&harness, &old).await);
    assert_eq!(harness.slots_grant(&next).await, Some(next.grant.id));
}

/// Removes what tokens there are, so that they keep nothing.
async fn forget_tokens(harness: &Harness) {
    harness.sweep_late(RETENTION).await;
    assert_eq!(harness.store.token_count().await, Ok(0));
}

pub async fn a_rule_stays_for_as_long_as_a_grant_that_is_older(harness: Harness) {
    let opening = harness.opened("app").await;
    harness.append(Rule::Client("app".parse().unwrap())).await;
    harness.clock.advance(IDLE - TICK - harness.sweep_granularity);
    forget_tokens(&harness).await;
    if harness.sweep_granularity.is_zero() {
        assert_eq!(harness.log().await.len(), 1);
    }
    assert_eq!(harness.grant_state(opening.grant.id).await, GrantState::Revoked);
    assert_eq!(harness.rotate(&harness.rotation(&opening, 0)).await, RotationOutcome::Over);

    harness.clock.advance(RETENTION + TICK);
    assert_eq!(harness.store.retention_sweep(RETENTION, 100).await.unwrap().log_entries, 0);
    assert_eq!(removed(&harness).await, 1);
    assert_eq!(harness.store.retention_sweep(RETENTION, 100).await.unwrap().log_entries, 1);
}

pub async fn a_younger_grant_does_not_keep_a_rule(harness: Harness) {
    harness.append(Rule::Client("app".parse().unwrap())).await;
    harness.clock.advance(LIFETIME);
    let mut opening = harness.opening("app");
    opening.grant.seen = harness.head().await.seen();
    opening.token.authority = opening.grant.authority();
    harness.write(open(&opening)).await;
    assert_eq!(harness.store.retention_sweep(RETENTION, 100).await.unwrap().log_entries, 1);
    assert_eq!(harness.grant_state(opening.grant.id).await, GrantState::Active);
}

/// Their ends stand in the rows themselves.
pub async fn the_ends_of_single_grants_and_tokens_do_not_stay_for_a_grant_that_is_older(harness: Harness) {
    let oldest = harness.opened("app").await;
    let ended = harness.opened("app").await;
    let token = harness.issued("app").await;
    harness.revoke_grant(ended.grant.id).await;
    harness.revoke(token.id).await;
    let mut client = harness.client("app");
    harness.insert(&client).await;
    harness.update(&mut client, LogKind::ClientChanged).await;
    assert_eq!(harness.log().await.len(), 3);
    harness.clock.advance(RETENTION + LIFETIME);
    forget_tokens(&harness).await;
    assert_eq!(harness.log().await, []);
    assert_eq!(harness.grant_state(ended.grant.id).await, GrantState::Revoked);
    assert_eq!(harness.grant_state(oldest.grant.id).await, GrantState::Active);
    assert!(harness.now() < oldest.grant.created_at + GRANT_LIFETIME);
}
