use grantry_protocol::{ActiveTokenPolicy, LogHead, LogKind, Position, Rule, TokenState};

use super::harness::{Harness, LIFETIME, issue_under};
use crate::{ClientOutcome, RevokeOutcome, RuleAppend, WriteOutcome};

pub async fn deleting_a_client_ends_its_tokens_and_no_others(harness: Harness) {
    harness.insert(&harness.client("billing")).await;
    let (own, other) = (harness.issued("billing").await, harness.issued("shipping").await);
    assert_eq!(harness.delete("billing").await, ClientOutcome::Done);

    let stored = harness.stored(own.id).await;
    assert_eq!((stored.ended, stored.ended_by_rule), (None, true));
    assert_eq!(harness.state(own.id).await, TokenState::Revoked);
    assert_eq!(harness.state(other.id).await, TokenState::Active);

    let log = harness.log().await;
    assert_eq!(log.len(), 1);
    assert_eq!((log[0].kind, log[0].key.as_slice()), (LogKind::Client, &b"billing"[..]));
    assert_eq!(log[0].keep_until, harness.now() + LIFETIME);
}

pub async fn disabling_a_client_ends_its_tokens_the_retired_ones_too(harness: Harness) {
    let mut client = harness.client("billing");
    harness.insert(&client).await;
    let retired = harness.issued("billing").await;
    let active = harness.token("billing");
    harness.write(issue_under(ActiveTokenPolicy::Multiple, &active)).await;

    client.metadata.enabled = false;
    assert_eq!(harness.update(&mut client, LogKind::Client).await, ClientOutcome::Done);
    assert_eq!(harness.state(retired.id).await, TokenState::Revoked);
    assert_eq!(harness.state(active.id).await, TokenState::Revoked);
}

pub async fn a_changed_client_ends_nothing(harness: Harness) {
    let mut client = harness.client("billing");
    harness.insert(&client).await;
    let token = harness.issued("billing").await;
    assert_eq!(harness.update(&mut client, LogKind::ClientChanged).await, ClientOutcome::Done);
    assert_eq!(harness.head().await.position, Position(1));
    assert_eq!(harness.state(token.id).await, TokenState::Active);
}

pub async fn a_rule_spares_what_has_seen_it(harness: Harness) {
    harness.insert(&harness.client("billing")).await;
    harness.delete("billing").await;
    let mut token = harness.token("billing");
    token.authority.seen = harness.head().await.seen();
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
    assert_eq!(harness.state(token.id).await, TokenState::Active);
}

/// The node that issued it lagged behind: it dies too easily rather than live too long.
pub async fn a_rule_ends_what_has_not_seen_it_even_if_it_was_issued_later(harness: Harness) {
    harness.insert(&harness.client("billing")).await;
    harness.delete("billing").await;
    let token = harness.token("billing");
    assert_eq!(token.authority.seen, LogHead::EMPTY.seen());
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
    assert_eq!(harness.state(token.id).await, TokenState::Revoked);
}

pub async fn a_later_rule_ends_what_has_seen_only_the_earlier_one(harness: Harness) {
    let mut client = harness.client("billing");
    harness.insert(&client).await;
    harness.update(&mut client, LogKind::Client).await;
    let mut token = harness.token("billing");
    token.authority.seen = harness.head().await.seen();
    harness.issue(&token).await;
    harness.update(&mut client, LogKind::Client).await;
    assert_eq!(harness.state(token.id).await, TokenState::Revoked);
}

pub async fn what_a_rule_has_ended_cannot_be_revoked_again(harness: Harness) {
    harness.insert(&harness.client("billing")).await;
    let token = harness.issued("billing").await;
    harness.delete("billing").await;
    let head = harness.head().await;
    assert_eq!(harness.revoke(token.id).await, RevokeOutcome::AlreadyOver);
    assert_eq!(harness.head().await, head);
}

pub async fn rules_of_other_kinds_go_by_their_own_keys(harness: Harness) {
    // The key of an announcement is the client's id, so a client can be named like another's subject.
    let mut client = harness.client("somebody");
    harness.insert(&client).await;
    let mut spoken_for = harness.token("billing");
    spoken_for.subject = "somebody".parse().unwrap();
    harness.issue(&spoken_for).await;
    let own = harness.issued("somebody").await;

    harness.update(&mut client, LogKind::Client).await;
    assert_eq!(harness.state(own.id).await, TokenState::Revoked);
    assert_eq!(harness.state(spoken_for.id).await, TokenState::Active);
    harness.update(&mut client, LogKind::Subject).await;
    assert_eq!(harness.state(spoken_for.id).await, TokenState::Revoked);
}

pub async fn a_rule_of_an_administrator_is_appended_with_its_audit_row(harness: Harness) {
    let (own, other) = (harness.issued("billing").await, harness.issued("shipping").await);
    let append = |rule| RuleAppend {
        rule,
        keep_until: harness.now() + LIFETIME,
        audit: harness.entry("revocation.create", "billing"),
    };
    let seen =
        harness.store.revocation_append(append(Rule::Subject("billing".parse().unwrap()))).await.unwrap();
    assert_eq!(seen, harness.head().await.seen());
    assert_eq!(harness.state(own.id).await, TokenState::Revoked);
    assert_eq!(harness.state(other.id).await, TokenState::Active);
    harness.store.revocation_append(append(Rule::All)).await.unwrap();
    assert_eq!(harness.state(other.id).await, TokenState::Revoked);
    assert_eq!(harness.store.audit_list(0, 10).await.unwrap().len(), 2);
}

pub async fn whether_there_is_a_rule_is_told_of_its_very_name(harness: Harness) {
    let rule = |name: &str| Rule::Subject(name.parse().unwrap());
    let append = |rule| RuleAppend {
        rule,
        keep_until: harness.now() + LIFETIME,
        audit: harness.entry("revocation.create", "billing"),
    };
    assert!(!harness.store.revocation_rule_exists(&rule("somebody")).await.unwrap());
    harness.store.revocation_append(append(Rule::All)).await.unwrap();
    assert!(!harness.store.revocation_rule_exists(&rule("somebody")).await.unwrap());
    harness.store.revocation_append(append(rule("somebody"))).await.unwrap();
    assert!(harness.store.revocation_rule_exists(&rule("somebody")).await.unwrap());
    assert!(!harness.store.revocation_rule_exists(&rule("nobody")).await.unwrap());
    assert!(!harness.store.revocation_rule_exists(&Rule::Client("somebody".parse().unwrap())).await.unwrap());
}
