use std::time::Duration;

use grantry_protocol::{
    ActiveTokenPolicy, Audience, Authority, Epoch, Grant, GrantState, LogHead, LogKind, Position, Rule,
    ScopeSet, Seen, SessionId, SlotKey, StatusIndex, SubjectKind, TokenState,
};

use super::harness::{GRANT_LIFETIME, Harness, IDLE, LIFETIME, issue, open};
use crate::{Opening, RevokeOutcome, StoredGrant, WriteOutcome};

fn as_opened(opening: &Opening) -> StoredGrant {
    StoredGrant { grant: opening.grant.clone(), ended_at: None, ended_by_rule: false }
}

pub async fn a_grant_is_found_as_it_was_written(harness: Harness) {
    let mut opening = harness.opening("any");
    let slot = SlotKey::from_bytes([0xa5; SlotKey::LEN]);
    let at = |secs: u64| harness.now() + Duration::from_millis(secs * 1000 + 1);
    opening.grant = Grant {
        id: opening.grant.id,
        slot: Some(slot),
        client_id: "a client: with 'quotes' and \"more\"".parse().unwrap(),
        subject: "somebody else".parse().unwrap(),
        subject_kind: SubjectKind::Client,
        scope: ScopeSet::parse("write read").unwrap(),
        audience: Audience::new(vec!["https://b.example/\"x\"".into(), "https://a.example/".into()]),
        session: Some(SessionId::from_bytes([0xa7; SessionId::LEN])),
        seen: Seen { epoch: Epoch(3), position: Position(u64::from(u32::MAX) + 7) },
        created_at: at(1),
        expires_at: at(4000),
        idle_expires_at: at(3000),
        counter: u32::MAX,
        rotated_at: at(2),
        access_token: opening.token.id,
        status_index: Some(StatusIndex(u64::from(u32::MAX) * 5)),
    };
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    let stored = as_opened(&opening);
    assert_eq!(harness.store.grant_find(opening.grant.id).await, Ok(Some(stored.clone())));
    assert_eq!(harness.store.grant_find_by_slot(slot).await, Ok(Some(stored)));
    assert_eq!(harness.stored(opening.token.id).await.token, opening.token);
}

pub async fn a_grant_without_slot_and_session_is_found_as_it_was_written(harness: Harness) {
    let opening = harness.opened("app").await;
    assert_eq!((opening.grant.slot, opening.grant.session), (None, None));
    assert_eq!(harness.stored_grant(opening.grant.id).await, as_opened(&opening));
    assert_eq!(harness.store.grant_find_by_slot(opening.token.slot).await, Ok(None));
    assert_eq!(harness.state(opening.token.id).await, TokenState::Active);
}

pub async fn a_grant_that_was_never_opened_is_not_found(harness: Harness) {
    let opening = harness.shared_opening("app");
    assert_eq!(harness.store.grant_find(opening.grant.id).await, Ok(None));
    assert_eq!(harness.slots_grant(&opening).await, None);
    assert_eq!(harness.store.grant_count().await, Ok(0));
}

pub async fn an_opening_yields_to_a_live_grant_of_its_slot_and_writes_nothing(harness: Harness) {
    let holder = harness.shared_opened("app").await;
    let late = harness.shared_opening("app");
    let held = WriteOutcome::GrantHeld(Box::new(as_opened(&holder)));
    assert_eq!(harness.write(open(&late)).await, held);
    assert_eq!(harness.store.grant_find(late.grant.id).await, Ok(None));
    assert_eq!(harness.store.token_find(late.token.id).await, Ok(None));
    assert_eq!(harness.slots_grant(&late).await, Some(holder.grant.id));
    assert_eq!(harness.holder(&late.token).await, Some(holder.token.id));
}

pub async fn of_two_openings_for_one_slot_in_one_batch_the_first_gets_it(harness: Harness) {
    let (first, second) = (harness.shared_opening("app"), harness.shared_opening("app"));
    let outcomes = harness.store.token_write(vec![open(&first), open(&second)]).await.unwrap();
    let held = WriteOutcome::GrantHeld(Box::new(as_opened(&first)));
    assert_eq!(outcomes, [WriteOutcome::Opened, held]);
    assert_eq!(harness.store.grant_count().await, Ok(1));
}

async fn assert_taken_over(harness: &Harness, over: &Opening) {
    let before = harness.stored_grant(over.grant.id).await;
    let mut next = harness.shared_opening(over.grant.client_id.as_str());
    next.grant.seen = harness.head().await.seen();
    assert_eq!(harness.write(open(&next)).await, WriteOutcome::Opened);
    assert_eq!(harness.slots_grant(&next).await, Some(next.grant.id));
    assert_eq!(harness.stored_grant(next.grant.id).await, as_opened(&next));
    assert_eq!(harness.stored_grant(over.grant.id).await, before);
}

pub async fn an_opening_takes_the_slot_of_a_grant_that_was_ended(harness: Harness) {
    let ended = harness.shared_opened("app").await;
    harness.revoke_grant(ended.grant.id).await;
    assert_eq!(harness.slots_grant(&ended).await, Some(ended.grant.id));
    assert_taken_over(&harness, &ended).await;
}

pub async fn an_opening_takes_the_slot_of_a_grant_whose_time_is_over(harness: Harness) {
    let mut short = harness.shared_opening("app");
    short.grant.expires_at = harness.now() + LIFETIME;
    harness.write(open(&short)).await;
    harness.clock.advance(LIFETIME);
    assert_eq!(harness.grant_state(short.grant.id).await, GrantState::Expired);
    assert_taken_over(&harness, &short).await;
}

pub async fn an_opening_takes_the_slot_of_a_grant_that_nobody_refreshed(harness: Harness) {
    let idle = harness.shared_opened("app").await;
    harness.clock.advance(IDLE);
    assert_eq!(harness.grant_state(idle.grant.id).await, GrantState::Expired);
    assert_taken_over(&harness, &idle).await;
}

pub async fn an_opening_takes_the_slot_of_a_grant_that_a_rule_has_ended(harness: Harness) {
    let ended = harness.shared_opened("app").await;
    harness.append(Rule::Client("app".parse().unwrap())).await;
    assert!(harness.stored_grant(ended.grant.id).await.ended_by_rule);
    assert_taken_over(&harness, &ended).await;
}

pub async fn a_grant_without_slot_yields_to_none_and_takes_none(harness: Harness) {
    let shared = harness.shared_opened("app").await;
    let (first, second) = (harness.opened("app").await, harness.opened("app").await);
    for opening in [&shared, &first, &second] {
        assert_eq!(harness.grant_state(opening.grant.id).await, GrantState::Active);
        assert_eq!(harness.state(opening.token.id).await, TokenState::Active);
    }
    assert_eq!(harness.slots_grant(&shared).await, Some(shared.grant.id));
}

pub async fn an_opening_repeated_after_a_lost_answer_is_one_row(harness: Harness) {
    let opening = harness.shared_opened("app").await;
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    assert_eq!(harness.store.grant_count().await, Ok(1));
    assert_eq!(harness.store.token_count().await, Ok(1));
    assert_eq!(harness.state(opening.token.id).await, TokenState::Active);
}

pub async fn an_opening_that_comes_twice_in_one_batch_is_one_row(harness: Harness) {
    let opening = harness.opening("app");
    let outcomes = harness.store.token_write(vec![open(&opening), open(&opening)]).await;
    assert_eq!(outcomes, Ok(vec![WriteOutcome::Opened, WriteOutcome::Opened]));
    assert_eq!(harness.store.grant_count().await, Ok(1));
    assert_eq!(harness.store.token_count().await, Ok(1));
}

pub async fn a_repeated_opening_does_not_take_back_what_has_moved_on(harness: Harness) {
    let opening = harness.shared_opened("app").await;
    harness.rotated(&opening, 0).await;
    let rotated = harness.stored_grant(opening.grant.id).await;
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    assert_eq!(harness.stored_grant(opening.grant.id).await, rotated);

    harness.revoke_grant(opening.grant.id).await;
    let next = harness.shared_opened("app").await;
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    assert_eq!(harness.grant_state(opening.grant.id).await, GrantState::Revoked);
    assert_eq!(harness.slots_grant(&opening).await, Some(next.grant.id));
}

pub async fn the_first_token_retires_what_holds_its_slot(harness: Harness) {
    let mut opening = harness.shared_opening("app");
    let holder = harness.next_token(&opening);
    harness.issue(&holder).await;
    opening.policy = ActiveTokenPolicy::Multiple;
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    assert_eq!(harness.state(holder.id).await, TokenState::Retired);
    assert_eq!(harness.holder(&holder).await, Some(opening.token.id));
    assert_eq!(harness.head().await, LogHead::EMPTY);
}

pub async fn under_replace_the_first_token_ends_what_holds_its_slot(harness: Harness) {
    let mut opening = harness.shared_opening("app");
    let holder = harness.next_token(&opening);
    harness.issue(&holder).await;
    opening.policy = ActiveTokenPolicy::Replace;
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    assert_eq!(harness.state(holder.id).await, TokenState::Inactive);
    assert_eq!(harness.state(opening.token.id).await, TokenState::Active);
    let log = harness.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].kind, log[0].key.as_slice()), (LogKind::Token, &holder.id.as_bytes()[..]));
}

pub async fn revoking_a_grant_ends_it_and_its_tokens_and_no_other_grant(harness: Harness) {
    let (ended, other) = (harness.opened("app").await, harness.opened("app").await);
    let second = harness.rotated(&ended, 0).await;
    let own = harness.issued("app").await;
    assert_eq!(harness.revoke_grant(ended.grant.id).await, RevokeOutcome::Revoked(Position(1)));

    let stored = harness.stored_grant(ended.grant.id).await;
    assert_eq!(stored.ended_at, Some(harness.now()));
    assert_eq!(stored.state(harness.now()), GrantState::Revoked);
    for token in [ended.token.id, second.id] {
        assert_eq!(harness.state(token).await, TokenState::Revoked);
    }
    assert_eq!(harness.grant_state(other.grant.id).await, GrantState::Active);
    assert_eq!(harness.state(other.token.id).await, TokenState::Active);
    assert_eq!(harness.state(own.id).await, TokenState::Active);

    let log = harness.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].kind, log[0].key.as_slice()), (LogKind::Grant, &ended.grant.id.as_bytes()[..]));
    assert_eq!(log[0].keep_until, harness.now() + LIFETIME);
    let actions: Vec<String> = harness.audit().await.into_iter().map(|record| record.action).collect();
    assert_eq!(actions, ["grant.revoke"]);
}

pub async fn a_token_made_of_a_grant_that_was_revoked_is_revoked(harness: Harness) {
    let opening = harness.opened("app").await;
    harness.revoke_grant(opening.grant.id).await;
    let late = harness.next_token(&opening);
    assert_eq!(late.authority, opening.grant.authority());
    // The slot is still named after the first token, which nobody may be handed.
    assert_eq!(harness.write(super::issue_over(opening.token.id, &late)).await, WriteOutcome::Issued);
    assert_eq!(harness.state(late.id).await, TokenState::Revoked);
}

pub async fn revoking_a_grant_that_was_ended_before_writes_nothing(harness: Harness) {
    let revoked = harness.opened("app").await;
    harness.revoke_grant(revoked.grant.id).await;
    let before = (harness.head().await, harness.stored_grant(revoked.grant.id).await);
    for _ in 0..2 {
        assert_eq!(harness.revoke_grant(revoked.grant.id).await, RevokeOutcome::AlreadyOver);
        harness.clock.advance(IDLE);
    }
    assert_eq!((harness.head().await, harness.stored_grant(revoked.grant.id).await), before);
    assert_eq!(harness.audit().await.len(), 1);
}

/// Its last access token may outlive it.
pub async fn revoking_a_grant_that_has_expired_ends_its_tokens(harness: Harness) {
    let mut opening = harness.opening("app");
    opening.grant.idle_expires_at = harness.now() + Duration::from_secs(1);
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    harness.clock.advance(Duration::from_secs(1));
    assert_eq!(harness.grant_state(opening.grant.id).await, GrantState::Expired);
    assert_eq!(harness.state(opening.token.id).await, TokenState::Active);
    assert!(matches!(harness.revoke_grant(opening.grant.id).await, RevokeOutcome::Revoked(_)));
    assert_eq!(harness.grant_state(opening.grant.id).await, GrantState::Revoked);
    assert_eq!(harness.state(opening.token.id).await, TokenState::Revoked);
}

pub async fn revoking_a_grant_that_was_never_opened_writes_nothing(harness: Harness) {
    let opening = harness.opening("app");
    assert_eq!(harness.revoke_grant(opening.grant.id).await, RevokeOutcome::Unknown);
    assert_eq!(harness.head().await, LogHead::EMPTY);
    assert_eq!(harness.audit().await, []);
}

pub async fn a_grant_ends_by_the_earlier_of_its_two_times(harness: Harness) {
    let (mut absolute, idle) = (harness.opening("app"), harness.opened("app").await);
    absolute.grant.expires_at = harness.now() + LIFETIME;
    harness.write(open(&absolute)).await;
    harness.clock.advance(LIFETIME);
    assert_eq!(harness.grant_state(absolute.grant.id).await, GrantState::Expired);
    assert_eq!(harness.grant_state(idle.grant.id).await, GrantState::Active);
    harness.clock.set(idle.grant.idle_expires_at);
    assert_eq!(harness.grant_state(idle.grant.id).await, GrantState::Expired);
}

pub async fn grants_of_a_subject_are_listed_newest_first_and_up_to_a_limit(harness: Harness) {
    let mut own = Vec::new();
    for client in ["a", "b", "c", "d"] {
        let mut opening = harness.opening(client);
        opening.grant.subject = "somebody".parse().unwrap();
        opening.grant.subject_kind = if client == "b" { SubjectKind::Client } else { SubjectKind::User };
        harness.write(open(&opening)).await;
        own.insert(0, opening.grant.id);
        harness.opened(client).await;
    }
    harness.revoke_grant(own[1]).await;
    harness.append(Rule::Client("d".parse().unwrap())).await;
    let somebody = "somebody".parse().unwrap();
    let list = async |before, limit| {
        let grants = harness.store.grant_list(&somebody, before, limit).await.unwrap();
        for stored in &grants {
            assert_eq!(stored, &harness.stored_grant(stored.grant.id).await);
        }
        grants.into_iter().map(|stored| stored.grant.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, 10).await, own);
    assert_eq!(list(None, 2).await, own[..2]);
    assert_eq!(list(Some(own[0]), 2).await, own[1..3]);
    assert_eq!(list(Some(own[3]), 10).await, []);
    let states = [GrantState::Revoked, GrantState::Revoked, GrantState::Active, GrantState::Active];
    for (id, state) in own.iter().zip(states) {
        assert_eq!(harness.grant_state(*id).await, state);
    }
    assert_eq!(harness.store.grant_list(&"nobody".parse().unwrap(), None, 10).await, Ok(Vec::new()));
}

pub async fn the_last_expiry_of_grants_is_the_latest_absolute_end(harness: Harness) {
    assert_eq!(harness.store.grant_last_expiry().await, Ok(None));
    let latest = harness.opened("app").await;
    let mut earlier = harness.opening("app");
    earlier.grant.expires_at = harness.now() + LIFETIME;
    harness.write(open(&earlier)).await;
    harness.revoke_grant(latest.grant.id).await;
    assert_eq!(harness.store.grant_last_expiry().await, Ok(Some(harness.now() + GRANT_LIFETIME)));
    assert_eq!(harness.store.grant_count().await, Ok(2));
}

pub async fn a_token_may_be_issued_for_a_grant_beside_its_first(harness: Harness) {
    let opening = harness.shared_opened("app").await;
    harness.clock.set(opening.token.expires_at);
    let next = harness.next_token(&opening);
    assert_eq!(harness.write(issue(&next)).await, WriteOutcome::Issued);
    let authority = Authority { grant: Some(opening.grant.id), ..LogHead::EMPTY.seen().into() };
    assert_eq!(harness.stored(next.id).await.token.authority, authority);
    assert_eq!(harness.stored_grant(opening.grant.id).await, as_opened(&opening));
}
