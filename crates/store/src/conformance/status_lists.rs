use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, LogKind, NodeNumber, Rule, SessionId, SlotKey, StatusIndex, TokenState,
};

use super::harness::{GRACE, Harness, LIFETIME, issue, issue_over, issue_under, open};
use crate::{
    Issue, MAX_STATUS_INDEXES, Merge, MergeOutcome, NodeId, Opening, RevokeOutcome, Rotation,
    RotationOutcome, Settlement, StoreError, TokenWrite, Unwritten, WriteOutcome,
};

/// A list in the middle of others.
const LIST: u64 = 3;

/// The place `idx` of the list.
const fn place(idx: u64) -> StatusIndex {
    StatusIndex(StatusIndex::of_list(LIST).start + idx)
}

fn with_index(token: AccessToken, idx: u64) -> AccessToken {
    AccessToken { status_index: Some(place(idx)), ..token }
}

async fn issued(harness: &Harness, client: &str, idx: u64) -> AccessToken {
    let token = with_index(harness.token(client), idx);
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
    token
}

/// As for a client whose tokens get no rows.
fn opening_alone(harness: &Harness, client: &str, idx: u64) -> Opening {
    let mut opening = harness.opening(client);
    opening.grant.status_index = Some(place(idx));
    opening.token.status_index = opening.grant.status_index;
    Opening { is_stored: false, ..opening }
}

async fn opened_alone(harness: &Harness, client: &str, idx: u64) -> Opening {
    let opening = opening_alone(harness, client, idx);
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    opening
}

async fn ended_of(harness: &Harness, list: u64) -> Vec<StatusIndex> {
    harness.store.status_list_ended(list).await.unwrap()
}

async fn assert_ended(harness: &Harness, idx: &[u64]) {
    let expected: Vec<StatusIndex> = idx.iter().map(|idx| place(*idx)).collect();
    assert_eq!(ended_of(harness, LIST).await, expected);
}

async fn reserved(harness: &Harness, count: u32) -> Range<u64> {
    harness.store.status_index_reserve(count).await.unwrap()
}

async fn in_use(harness: &Harness) -> Range<u64> {
    harness.store.status_lists_in_use().await.unwrap()
}

pub async fn numbers_are_given_out_in_order_and_once(harness: Harness) {
    assert_eq!(reserved(&harness, 256).await, 0..256);
    assert_eq!(reserved(&harness, 1).await, 256..257);
    assert_eq!(reserved(&harness, MAX_STATUS_INDEXES).await, 257..65_793);
    assert_eq!(reserved(&harness, 2).await, 65_793..65_795);
}

pub async fn of_reservations_at_the_same_time_none_gets_the_numbers_of_another(harness: Harness) {
    let store = &harness.store;
    let all = tokio::join!(
        store.status_index_reserve(10),
        store.status_index_reserve(300),
        store.status_index_reserve(1),
        store.status_index_reserve(10),
    );
    let mut given = HashSet::new();
    for range in [all.0, all.1, all.2, all.3] {
        assert!(range.unwrap().all(|number| given.insert(number)), "given out twice");
    }
    assert_eq!(given, (0..321).collect());
}

pub async fn from_one_number_to_a_whole_list_can_be_reserved_at_once(harness: Harness) {
    for count in [0, MAX_STATUS_INDEXES + 1, u32::MAX] {
        let refused = harness.store.status_index_reserve(count).await;
        assert!(matches!(refused, Err(StoreError::Rejected(_))), "{refused:?}");
    }
    assert_eq!(reserved(&harness, 1).await, 0..1, "nothing was given out");
}

pub async fn a_token_brings_its_index_wherever_it_is_read(harness: Harness) {
    let (with, without) = (with_index(harness.token("app"), 7), harness.token("other"));
    // Together, since a batch is written by columns.
    let outcomes = harness.store.token_write(vec![issue(&without), issue(&with)]).await.unwrap();
    assert_eq!(outcomes, [WriteOutcome::Issued, WriteOutcome::Issued]);
    for token in [&with, &without] {
        assert_eq!(harness.stored(token.id).await.token, *token);
        let holder = harness.store.token_find_holder(token.slot).await.unwrap().unwrap();
        assert_eq!(holder.token, *token);
        let listed = harness.store.token_list(&token.subject, None, 10, 10).await.unwrap();
        assert_eq!(listed.tokens[0].token, *token);
        let asked = Issue {
            token: token.clone(),
            policy: ActiveTokenPolicy::Reuse,
            observed: None,
            min_life: Duration::ZERO,
        };
        assert_eq!(harness.store.token_judge(Arc::new(asked)).await.unwrap().token, *token);
    }
    let newest = harness.store.token_newest(None, 10).await.unwrap();
    assert_eq!(newest.into_iter().map(|stored| stored.token).collect::<Vec<_>>(), [without, with]);
    let WriteOutcome::SlotHeld(held) = harness.issue(&harness.token("app")).await else { panic!("not held") };
    assert_eq!(held.token.status_index, Some(place(7)));
}

pub async fn a_grant_brings_its_index_wherever_it_is_read(harness: Harness) {
    let mut opening = harness.shared_opening("app");
    opening.grant.status_index = Some(place(9));
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    let (grant, store) = (&opening.grant, &harness.store);
    assert_eq!(harness.stored_grant(grant.id).await.grant, *grant);
    assert_eq!(store.grant_find_by_slot(opening.token.slot).await.unwrap().unwrap().grant, *grant);
    assert_eq!(store.grant_list(&grant.subject, None, 10).await.unwrap()[0].grant, *grant);
    let judged = store.grant_judge_unstored(grant.clone()).await.unwrap();
    assert_eq!(judged.grant, *grant);
    harness.rotated(&opening, 0).await;
    assert_eq!(harness.stored_grant(grant.id).await.grant.status_index, Some(place(9)), "it stays");
    let outcome = harness.write(open(&harness.shared_opening("app"))).await;
    let WriteOutcome::GrantHeld(held) = outcome else { panic!("not held") };
    assert_eq!(held.grant.status_index, Some(place(9)));
}

pub async fn the_row_of_a_grant_says_which_index_it_has(harness: Harness) {
    let opening = opening_alone(&harness, "app", 4);
    let rotation = Rotation {
        origin: Some(Arc::new(opening.grant.clone())),
        is_stored: false,
        ..harness.rotation(&opening, 0)
    };
    assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 1 });
    assert_eq!(harness.stored_grant(opening.grant.id).await.grant.status_index, Some(place(4)));
    let mut origin = opening.grant;
    origin.status_index = None;
    let judged = harness.store.grant_judge_unstored(origin).await.unwrap();
    assert_eq!(judged.grant.status_index, Some(place(4)));
}

pub async fn a_grant_can_be_opened_without_a_row_for_its_token(harness: Harness) {
    let opening = opening_alone(&harness, "app", 0);
    for attempt in ["first", "after a lost answer"] {
        assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened, "{attempt}");
    }
    assert_eq!(harness.store.token_count().await, Ok(0));
    assert_eq!(harness.store.grant_count().await, Ok(1));
    assert_eq!(harness.holder(&opening.token).await, None);
    let rotation = Rotation { is_stored: false, ..harness.rotation(&opening, 0) };
    assert_eq!(harness.rotate(&rotation).await, RotationOutcome::Refreshed { counter: 1 });
    assert_eq!(harness.store.token_count().await, Ok(0));
}

pub async fn nothing_is_ended_in_a_new_store(harness: Harness) {
    assert_eq!(ended_of(&harness, 0).await, []);
    assert_eq!(ended_of(&harness, u64::MAX).await, []);
    assert_eq!(in_use(&harness).await, 0..0);
}

pub async fn a_revoked_token_is_ended_and_no_other(harness: Harness) {
    let (one, two) = (issued(&harness, "one", 20).await, issued(&harness, "two", 10).await);
    issued(&harness, "three", 15).await;
    let without = harness.issued("four").await;
    assert_ended(&harness, &[]).await;
    for id in [one.id, two.id, without.id] {
        assert!(matches!(harness.revoke(id).await, RevokeOutcome::Revoked(_)));
    }
    assert_ended(&harness, &[10, 20]).await;
}

pub async fn a_list_has_the_places_from_its_first_to_its_last(harness: Harness) {
    let last = u64::from(StatusIndex::PER_LIST) - 1;
    for (client, number) in [
        ("last of the one before", place(0).0 - 1),
        ("first", place(0).0),
        ("last", place(last).0),
        ("first of the next", place(last).0 + 1),
    ] {
        let token = AccessToken { status_index: Some(StatusIndex(number)), ..harness.token(client) };
        assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
        assert!(matches!(harness.revoke(token.id).await, RevokeOutcome::Revoked(_)));
    }
    assert_ended(&harness, &[0, last]).await;
    assert_eq!(ended_of(&harness, LIST - 1).await, [StatusIndex(place(0).0 - 1)]);
    assert_eq!(ended_of(&harness, LIST + 1).await, [StatusIndex(place(last).0 + 1)]);
    assert_eq!(ended_of(&harness, LIST + 2).await, []);
}

pub async fn a_token_that_expired_or_lost_its_slot_is_not_ended(harness: Harness) {
    let retired = issued(&harness, "app", 1).await;
    let active = with_index(harness.token("app"), 2);
    assert_eq!(harness.write(issue_over(retired.id, &active)).await, WriteOutcome::Issued);
    assert_eq!(harness.state(retired.id).await, TokenState::Retired);
    assert_ended(&harness, &[]).await;
    harness.clock.set(active.expires_at);
    assert_eq!(harness.state(retired.id).await, TokenState::Expired);
    assert_ended(&harness, &[]).await;
}

pub async fn a_token_that_was_replaced_is_ended(harness: Harness) {
    issued(&harness, "app", 1).await;
    let next = with_index(harness.token("app"), 2);
    let outcome = harness.write(issue_under(ActiveTokenPolicy::Replace, &next)).await;
    assert_eq!(outcome, WriteOutcome::Issued);
    assert_ended(&harness, &[1]).await;
}

fn settle(token: &AccessToken) -> TokenWrite {
    TokenWrite::Settle(Arc::new(Issue {
        token: token.clone(),
        policy: ActiveTokenPolicy::Reuse,
        observed: None,
        min_life: Duration::ZERO,
    }))
}

async fn deferred(harness: &Harness, client: &str, idx: u64) -> AccessToken {
    let number: Option<NodeNumber> = harness.store.node_register(NodeId([7; 16])).await.unwrap().number;
    AccessToken { deferred_by: number, ..with_index(harness.token(client), idx) }
}

pub async fn of_tokens_that_are_settled_those_that_give_way_are_ended(harness: Harness) {
    let (first, second) = (deferred(&harness, "a", 1).await, deferred(&harness, "a", 2).await);
    assert_eq!(harness.write(settle(&first)).await, WriteOutcome::Settled(Settlement::Active));
    let outcome = harness.write(settle(&second)).await;
    assert_eq!(outcome, WriteOutcome::Settled(Settlement::ActiveAfter(first.id)));
    assert_ended(&harness, &[1]).await;

    let (early, late) = (deferred(&harness, "b", 3).await, deferred(&harness, "b", 4).await);
    assert_eq!(harness.write(settle(&late)).await, WriteOutcome::Settled(Settlement::Active));
    assert_eq!(harness.write(settle(&early)).await, WriteOutcome::Settled(Settlement::Inactive));
    assert_ended(&harness, &[1, 3]).await;
}

pub async fn a_token_revoked_before_it_was_written_is_ended_once_it_is(harness: Harness) {
    let token = deferred(&harness, "app", 5).await;
    let unwritten = Some(Unwritten { by: token.deferred_by, expires_by: token.expires_at });
    let revocation = TokenWrite::Revoke { id: token.id, unwritten, audit: None };
    assert!(matches!(harness.write(revocation).await, WriteOutcome::Revoked(RevokeOutcome::Revoked(_))));
    assert_eq!(harness.write(settle(&token)).await, WriteOutcome::Settled(Settlement::Revoked));
    assert_ended(&harness, &[5]).await;
}

pub async fn a_revoked_grant_is_ended_and_so_are_its_tokens(harness: Harness) {
    let alone = opened_alone(&harness, "app", 1).await;
    let mut with_tokens = harness.opening("app");
    with_tokens.token.status_index = Some(place(2));
    assert_eq!(harness.write(open(&with_tokens)).await, WriteOutcome::Opened);
    opened_alone(&harness, "app", 3).await;
    for id in [alone.grant.id, with_tokens.grant.id] {
        assert!(matches!(harness.revoke_grant(id).await, RevokeOutcome::Revoked(_)));
    }
    assert_ended(&harness, &[1, 2]).await;
    // Tokens of a grant live on when it has run out.
    harness.clock.set(alone.grant.idle_expires_at);
    assert_ended(&harness, &[1, 2]).await;
}

pub async fn a_grant_whose_time_is_over_is_not_ended(harness: Harness) {
    let opening = opened_alone(&harness, "app", 1).await;
    harness.clock.set(opening.grant.idle_expires_at);
    assert_ended(&harness, &[]).await;
}

pub async fn a_grant_whose_refresh_token_was_spent_twice_is_ended(harness: Harness) {
    let opening = opened_alone(&harness, "app", 1).await;
    let unstored = |presented| Rotation { is_stored: false, ..harness.rotation(&opening, presented) };
    assert_eq!(harness.rotate(&unstored(0)).await, RotationOutcome::Refreshed { counter: 1 });
    assert_ended(&harness, &[]).await;
    harness.clock.advance(GRACE + LIFETIME);
    assert_eq!(harness.rotate(&unstored(0)).await, RotationOutcome::Reused);
    assert_ended(&harness, &[1]).await;
}

/// A token at `idx` and a grant after it; `by` makes of them what the rule names.
async fn pair(harness: &Harness, client: &str, idx: u64, by: impl Fn(&mut Opening)) {
    let mut opening = opening_alone(harness, client, idx + 1);
    by(&mut opening);
    opening.token.authority = opening.grant.authority();
    let mut token = with_index(opening.token.clone(), idx);
    token.id = harness.token(client).id;
    token.authority.grant = None;
    assert_eq!(harness.write(open(&opening)).await, WriteOutcome::Opened);
    let outcome = harness.write(issue_under(ActiveTokenPolicy::Multiple, &token)).await;
    assert_eq!(outcome, WriteOutcome::Issued);
}

pub async fn every_rule_ends_what_it_names_and_has_not_seen_it(harness: Harness) {
    // The key of an announcement is the client's id, and one as long as a slot's key can be taken for it.
    const SLOT: &[u8; SlotKey::LEN] = b"a slot whose key is a client id.";
    let of_session = |number: u8| {
        move |opening: &mut Opening| {
            opening.grant.session = Some(SessionId::from_bytes([number; SessionId::LEN]));
        }
    };
    let in_slot = |opening: &mut Opening| {
        opening.token.slot = SlotKey::from_bytes(*SLOT);
        opening.grant.slot = Some(opening.token.slot);
    };
    let mut client = harness.client(str::from_utf8(SLOT).unwrap());
    harness.insert(&client).await;
    let subject = harness.opening("of the subject").grant.subject;
    pair(&harness, "of the client", 0, |_| {}).await;
    pair(&harness, "of the subject", 10, |_| {}).await;
    pair(&harness, "of the session", 20, of_session(1)).await;
    pair(&harness, "of the slot", 30, in_slot).await;
    pair(&harness, "of another session", 40, of_session(2)).await;
    pair(&harness, "of none", 50, |_| {}).await;
    assert_ended(&harness, &[]).await;

    harness.append(Rule::Client("of the client".parse().unwrap())).await;
    assert_ended(&harness, &[0, 1]).await;
    harness.append(Rule::Subject(subject)).await;
    assert_ended(&harness, &[0, 1, 10, 11]).await;
    harness.append(Rule::Session(SessionId::from_bytes([1; SessionId::LEN]))).await;
    assert_ended(&harness, &[0, 1, 10, 11, 20, 21]).await;
    harness.update(&mut client, LogKind::Slot).await;
    assert_ended(&harness, &[0, 1, 10, 11, 20, 21, 30, 31]).await;
    let seen = harness.append(Rule::All).await;
    let all = [0, 1, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51];
    assert_ended(&harness, &all).await;
    pair(&harness, "of the client", 60, |opening| opening.grant.seen = seen).await;
    assert_ended(&harness, &all).await;
}

pub async fn lists_are_in_use_from_the_oldest_row_to_the_last_number(harness: Harness) {
    reserved(&harness, 1).await;
    assert_eq!(in_use(&harness).await, 0..1);
    for _ in 0..9 {
        reserved(&harness, MAX_STATUS_INDEXES).await;
    }
    assert_eq!(in_use(&harness).await, 8..10);
    let grant = opened_alone(&harness, "app", 5).await;
    assert_eq!(in_use(&harness).await, LIST..10);
    let older = StatusIndex(StatusIndex::of_list(LIST - 1).start);
    let token = AccessToken { status_index: Some(older), ..harness.token("app") };
    assert_eq!(harness.issue(&token).await, WriteOutcome::Issued);
    harness.issued("without").await;
    assert_eq!(in_use(&harness).await, LIST - 1..10);

    harness.clock.set(token.expires_at + LIFETIME);
    harness.sweep_late(LIFETIME).await;
    assert_eq!(in_use(&harness).await, LIST..10);
    harness.clock.set(grant.grant.expires_at + LIFETIME);
    harness.store.retention_sweep_grants(None, LIFETIME, 10).await.unwrap();
    assert_eq!(in_use(&harness).await, 8..10);
}

pub async fn numbers_that_a_lost_commit_may_have_given_out_are_skipped(harness: Harness) {
    assert_eq!(reserved(&harness, 256).await, 0..256);
    opened_alone(&harness, "app", 0).await;
    let merge = Merge { from: harness.head().await, raise_epoch: false, entries: Vec::new() };
    assert!(matches!(harness.store.revocation_merge(merge).await, Ok(MergeOutcome::Merged(_))));
    assert_eq!(reserved(&harness, 256).await, 256..512, "nothing was lost");
    let merge = Merge { from: harness.head().await, raise_epoch: true, entries: Vec::new() };
    assert!(matches!(harness.store.revocation_merge(merge).await, Ok(MergeOutcome::Merged(_))));
    let next = reserved(&harness, 1).await;
    assert!((512 + (1 << 24)..512 + (1 << 25)).contains(&next.start), "{next:?}");
    assert_eq!(StatusIndex(next.start).idx(), 0, "it begins a list");
    assert_eq!(in_use(&harness).await, LIST..StatusIndex(next.start).list() + 1, "what was kept lives on");
}
