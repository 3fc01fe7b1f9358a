use grantry_protocol::{
    AccessToken, AccessTokenFormat, Audience, Authority, Ending, Epoch, GrantId, LogHead, LogKind,
    NodeNumber, Position, Rule, ScopeSet, Seen, SessionId, SlotKey, StatusIndex, SubjectKind, TokenState,
};

use super::harness::{Harness, LIFETIME, issue_over};
use crate::{RevokeOutcome, StoredToken, TokenWrite, WriteOutcome};

pub async fn a_token_is_found_as_it_was_written(harness: Harness) {
    let token = AccessToken {
        id: harness.token("any").id,
        slot: SlotKey::from_bytes([0xa5; SlotKey::LEN]),
        client_id: "a client: with 'quotes' and \"more\"".parse().unwrap(),
        subject: "somebody else".parse().unwrap(),
        subject_kind: SubjectKind::User,
        scope: ScopeSet::parse("write read grantry:introspect").unwrap(),
        audience: Audience::new(vec!["https://b.example/\"x\"".into(), "https://a.example/".into()]),
        format: AccessTokenFormat::Jwt,
        issued_at: harness.now().truncated_to_secs(),
        expires_at: harness.now().truncated_to_secs() + LIFETIME,
        authority: Authority {
            seen: Seen { epoch: Epoch(3), position: Position(u64::from(u32::MAX) + 7) },
            grant: Some(GrantId::from_bytes([0xa6; GrantId::LEN])),
            session: Some(SessionId::from_bytes([0xa7; SessionId::LEN])),
        },
        deferred_by: NodeNumber::new(200),
        status_index: Some(StatusIndex(70_000)),
    };
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);

    let stored = StoredToken { token: token.clone(), ended: None, ended_by_rule: false, holds_slot: true };
    assert_eq!(harness.store.token_find(token.id).await, Ok(Some(stored.clone())));
    assert_eq!(harness.store.token_find_holder(token.slot).await, Ok(Some(stored)));
}

pub async fn a_token_of_a_client_is_found_as_it_was_written(harness: Harness) {
    let token = harness.token_for("billing", "");
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
    assert_eq!(harness.stored(token.id).await.token, token);
}

pub async fn a_token_that_was_never_written_is_not_found(harness: Harness) {
    let token = harness.token("billing");
    assert_eq!(harness.store.token_find(token.id).await, Ok(None));
    assert_eq!(harness.store.token_find_holder(token.slot).await, Ok(None));
}

pub async fn a_token_expires_by_the_clock_alone(harness: Harness) {
    let token = harness.issued("billing").await;
    let before = harness.stored(token.id).await;
    assert_eq!(before.state(harness.now()), TokenState::Active);

    harness.clock.set(token.expires_at);
    assert_eq!(harness.stored(token.id).await, before);
    assert_eq!(harness.state(token.id).await, TokenState::Expired);
}

pub async fn tokens_are_counted_by_their_rows(harness: Harness) {
    assert_eq!(harness.store.token_count().await, Ok(0));
    harness.issued("a").await;
    let second = harness.issued("b").await;
    harness.revoke(second.id).await;
    assert_eq!(harness.store.token_count().await, Ok(2));
}

pub async fn a_revocation_ends_the_token_frees_its_slot_and_takes_the_next_position(harness: Harness) {
    let token = harness.issued("billing").await;
    assert_eq!(harness.revoke(token.id).await, RevokeOutcome::Revoked(Position(1)));

    let stored = harness.stored(token.id).await;
    assert_eq!((stored.ended, stored.holds_slot), (Some(Ending::Revoked), false));
    assert_eq!(harness.state(token.id).await, TokenState::Revoked);
    assert_eq!(harness.holder(&token).await, None);

    let log = harness.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].position, log[0].kind), (Position(1), LogKind::Token));
    assert_eq!((log[0].key.as_slice(), log[0].keep_until), (&token.id.as_bytes()[..], token.expires_at));

    let other = harness.issued("other").await;
    assert_eq!(harness.revoke(other.id).await, RevokeOutcome::Revoked(Position(2)));
}

pub async fn a_second_revocation_writes_nothing(harness: Harness) {
    let token = harness.issued("billing").await;
    harness.revoke(token.id).await;
    let head = harness.head().await;
    assert_eq!(harness.revoke(token.id).await, RevokeOutcome::AlreadyOver);
    assert_eq!(harness.head().await, head);
    assert_eq!(harness.log().await.len(), 1);
}

pub async fn revoking_a_token_that_was_never_written_writes_nothing(harness: Harness) {
    assert_eq!(harness.revoke(harness.token("billing").id).await, RevokeOutcome::Unknown);
    assert_eq!(harness.head().await, LogHead::EMPTY);
    assert_eq!(harness.log().await, []);
}

pub async fn revoking_an_expired_token_writes_nothing(harness: Harness) {
    let token = harness.issued("billing").await;
    harness.clock.set(token.expires_at);
    assert_eq!(harness.revoke(token.id).await, RevokeOutcome::AlreadyOver);
    assert_eq!(harness.head().await, LogHead::EMPTY);
    assert_eq!(harness.stored(token.id).await.ended, None);
}

pub async fn a_retired_token_can_be_revoked_and_its_successor_keeps_the_slot(harness: Harness) {
    let retired = harness.issued("billing").await;
    let successor = harness.token("billing");
    assert_eq!(harness.write(issue_over(retired.id, &successor)).await, WriteOutcome::Issued);

    assert_eq!(harness.revoke(retired.id).await, RevokeOutcome::Revoked(Position(1)));
    assert_eq!(harness.state(retired.id).await, TokenState::Revoked);
    assert_eq!(harness.state(successor.id).await, TokenState::Active);
    assert_eq!(harness.holder(&successor).await, Some(successor.id));
}

pub async fn a_revocation_writes_its_audit_row_if_it_ended_the_token(harness: Harness) {
    let token = harness.issued("billing").await;
    let audit = Some(std::sync::Arc::new(harness.entry("token.revoke", "billing")));
    for id in [token.id, token.id, harness.token("billing").id] {
        harness.write(TokenWrite::Revoke { id, unwritten: None, audit: audit.clone() }).await;
    }
    assert_eq!(harness.audit().await.len(), 1);
}

pub async fn tokens_of_a_subject_are_listed_newest_first_and_up_to_a_limit(harness: Harness) {
    let mut own = Vec::new();
    for client in ["a", "b", "c", "d"] {
        let mut token = harness.token(client);
        token.subject = "somebody".parse().unwrap();
        token.subject_kind = if client == "b" { SubjectKind::User } else { SubjectKind::Client };
        harness.issue(&token).await;
        own.insert(0, token.id);
        harness.issued("other").await;
        harness.clock.advance(LIFETIME);
    }
    harness.revoke(own[0]).await;
    harness.append(Rule::Client("b".parse().unwrap())).await;
    let list = async |subject: &str, before, limit, among| {
        let page = harness.store.token_list(&subject.parse().unwrap(), before, limit, among).await.unwrap();
        for stored in &page.tokens {
            assert_eq!(stored, &harness.stored(stored.token.id).await);
        }
        (page.tokens.into_iter().map(|stored| stored.token.id).collect::<Vec<_>>(), page.next)
    };
    assert_eq!(list("somebody", None, 10, 100).await, (own.clone(), None));
    assert_eq!(list("somebody", None, 2, 100).await, (own[..2].to_vec(), Some(own[1])));
    assert_eq!(list("somebody", Some(own[0]), 2, 100).await, (own[1..3].to_vec(), Some(own[2])));
    assert_eq!(list("somebody", Some(own[3]), 10, 100).await, (Vec::new(), None));
    assert_eq!(list("nobody", None, 10, 100).await, (Vec::new(), None));
    // Of the eight, every second is somebody's, beginning with the second newest.
    assert_eq!(list("somebody", None, 10, 4).await, (own[..2].to_vec(), Some(own[1])));
    assert_eq!(list("somebody", Some(own[1]), 10, 4).await, (own[2..].to_vec(), Some(own[3])));
    let (found, next) = list("somebody", None, 10, 1).await;
    assert_eq!((found, next.is_some_and(|next| next > own[0])), (Vec::new(), true));
}

pub async fn tokens_are_listed_newest_first_with_all_that_decides_their_state(harness: Harness) {
    let list = async |before, limit| harness.store.token_newest(before, limit).await.unwrap();
    assert_eq!(list(None, 10).await, []);
    let mut ids = Vec::new();
    for client in ["a", "b", "c", "d", "e"] {
        ids.insert(0, harness.issued(client).await.id);
        harness.clock.advance(LIFETIME / 5);
    }
    let successor = harness.token("d");
    assert_eq!(harness.write(issue_over(ids[1], &successor)).await, WriteOutcome::Issued);
    ids.insert(0, successor.id);
    harness.revoke(ids[3]).await;
    harness.append(Rule::Client("b".parse().unwrap())).await;

    let mut expected = Vec::new();
    for id in &ids {
        expected.push(harness.stored(*id).await);
    }
    let all = list(None, 10).await;
    assert_eq!(all, expected);
    let states: Vec<_> = all.iter().map(|stored| stored.state(harness.now())).collect();
    let (active, retired) = (TokenState::Active, TokenState::Retired);
    let (revoked, expired) = (TokenState::Revoked, TokenState::Expired);
    assert_eq!(states, [active, active, retired, revoked, revoked, expired]);
    assert_eq!(list(None, 2).await, expected[..2]);
    assert_eq!(list(Some(ids[1]), 3).await, expected[2..5]);
    assert_eq!(list(Some(ids[4]), 3).await, expected[5..]);
    assert_eq!(list(Some(ids[5]), 3).await, []);
    assert_eq!(list(None, 0).await, []);
}

pub async fn the_last_expiry_of_tokens_is_the_latest(harness: Harness) {
    assert_eq!(harness.store.token_last_expiry().await, Ok(None));
    let latest = harness.issued("a").await;
    let mut earlier = harness.token("b");
    earlier.expires_at = harness.now() + LIFETIME / 2;
    harness.issue(&earlier).await;
    harness.revoke(latest.id).await;
    assert_eq!(harness.store.token_last_expiry().await, Ok(Some(latest.expires_at)));
}
