//! A grant from before a rule yields nothing after it, and one that has seen the rule lives. The clock stands still in
//! all of this: nothing is decided by time.

use grantry_protocol::{GrantState, LogKind, Rule, Seen, SessionId, SlotKey, TokenState};

use super::harness::{Harness, issue_over, open};
use crate::{ClientOutcome, Opening, RevokeOutcome, RotationOutcome, WriteOutcome};

async fn opened(harness: &Harness, mut opening: Opening, seen: Seen) -> Opening {
    opening.grant.seen = seen;
    opening.token.authority = opening.grant.authority();
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    opening
}

async fn assert_lives(harness: &Harness, opening: &Opening) {
    assert_eq!(harness.grant_state(opening.grant.id).await, GrantState::Active);
    assert_eq!(harness.state(opening.token.id).await, TokenState::Active);
    let token = harness.rotated(opening, harness.stored_grant(opening.grant.id).await.grant.counter).await;
    assert_eq!(harness.state(token.id).await, TokenState::Active);
}

async fn assert_yields_nothing(harness: &Harness, opening: &Opening) {
    let stored = harness.stored_grant(opening.grant.id).await;
    assert_eq!((stored.ended_at, stored.ended_by_rule), (None, true));
    assert_eq!(stored.state(harness.now()), GrantState::Revoked);
    for token in [opening.token.id, stored.grant.access_token] {
        assert_eq!(harness.state(token).await, TokenState::Revoked);
    }
    for presented in [stored.grant.counter, 0] {
        assert_eq!(harness.rotate(&harness.rotation(opening, presented)).await, RotationOutcome::Over);
    }
    assert_eq!(harness.revoke_grant(opening.grant.id).await, RevokeOutcome::AlreadyOver);
}

/// `make` makes something that the rule names, `spared` something that it does not.
async fn assert_ends_what_has_not_seen_it(
    harness: &Harness,
    make: impl Fn() -> Opening,
    spared: impl Fn() -> Option<Opening>,
    append: impl AsyncFnOnce() -> Seen,
) {
    let at = harness.now();
    let nothing = harness.head().await.seen();
    let before = opened(harness, make(), nothing).await;
    harness.rotated(&before, 0).await;
    let other = match spared() {
        Some(opening) => Some(opened(harness, opening, nothing).await),
        None => None,
    };
    let seen = append().await;
    assert_eq!(seen, harness.head().await.seen());
    assert_yields_nothing(harness, &before).await;

    // Authority from before it, used only now.
    let late = opened(harness, make(), nothing).await;
    assert_yields_nothing(harness, &late).await;

    let after = opened(harness, make(), seen).await;
    assert_lives(harness, &after).await;
    assert_yields_nothing(harness, &before).await;
    if let Some(other) = other {
        assert_lives(harness, &other).await;
    }
    assert_eq!(harness.now(), at);
}

pub async fn a_rule_about_a_client_ends_its_grants_that_have_not_seen_it(harness: Harness) {
    let append = async || harness.append(Rule::Client("app".parse().unwrap())).await;
    let spared = || Some(harness.opening("other"));
    assert_ends_what_has_not_seen_it(&harness, || harness.opening("app"), spared, append).await;
}

pub async fn a_rule_about_a_subject_ends_its_grants_that_have_not_seen_it(harness: Harness) {
    let make = || harness.opening("app");
    let subject = make().grant.subject;
    let append = async || harness.append(Rule::Subject(subject)).await;
    assert_ends_what_has_not_seen_it(&harness, make, || Some(harness.opening("other")), append).await;
}

pub async fn a_rule_about_a_session_ends_its_grants_that_have_not_seen_it(harness: Harness) {
    let of_session = |number| {
        let mut opening = harness.opening("app");
        opening.grant.session = Some(SessionId::from_bytes([number; SessionId::LEN]));
        opening
    };
    let append = async || harness.append(Rule::Session(SessionId::from_bytes([1; SessionId::LEN]))).await;
    assert_ends_what_has_not_seen_it(&harness, || of_session(1), || Some(of_session(2)), append).await;
}

pub async fn a_rule_about_everything_ends_all_grants_that_have_not_seen_it(harness: Harness) {
    let append = async || harness.append(Rule::All).await;
    assert_ends_what_has_not_seen_it(&harness, || harness.opening("app"), || None, append).await;
}

pub async fn a_rule_about_a_slot_ends_its_grants_that_have_not_seen_it(harness: Harness) {
    // The key of an announcement is the client's id, and one as long as a slot's key can be taken for it.
    const SLOT: &[u8; SlotKey::LEN] = b"a slot whose key is a client id.";
    let mut client = harness.client(str::from_utf8(SLOT).unwrap());
    harness.insert(&client).await;
    let make = || {
        let mut opening = harness.shared_opening("app");
        opening.token.slot = SlotKey::from_bytes(*SLOT);
        opening.grant.slot = Some(opening.token.slot);
        opening
    };
    let append = async || {
        assert_eq!(harness.update(&mut client, LogKind::Slot).await, ClientOutcome::Done);
        harness.head().await.seen()
    };
    assert_ends_what_has_not_seen_it(&harness, make, || Some(harness.shared_opening("app")), append).await;
}

pub async fn the_end_of_a_grant_is_a_rule_about_its_tokens_that_have_not_seen_it(harness: Harness) {
    let (ended, other) = (harness.opened("app").await, harness.opened("app").await);
    assert!(matches!(harness.revoke_grant(ended.grant.id).await, RevokeOutcome::Revoked(_)));
    let mut holder = ended.token.id;
    for (seen, state) in
        [(ended.grant.seen, TokenState::Revoked), (harness.head().await.seen(), TokenState::Active)]
    {
        let mut token = harness.next_token(&ended);
        token.authority.seen = seen;
        assert_eq!(harness.write(issue_over(holder, &token)).await, WriteOutcome::Issued);
        assert_eq!(harness.state(token.id).await, state);
        holder = token.id;
    }
    assert_lives(&harness, &other).await;
}

pub async fn a_rule_about_a_session_spares_what_has_none(harness: Harness) {
    let (grant, token) = (harness.opened("app").await, harness.issued("app").await);
    harness.append(Rule::Session(SessionId::from_bytes([0; SessionId::LEN]))).await;
    assert_lives(&harness, &grant).await;
    assert_eq!(harness.state(token.id).await, TokenState::Active);
}
