//! Tokens that were with their clients before they were written.

use std::sync::Arc;
use std::time::Duration;

use grantry_protocol::ActiveTokenPolicy::{Multiple, Replace, Reuse};
use grantry_protocol::{AccessToken, ActiveTokenPolicy, LogKind, NodeNumber, Position, TokenId, TokenState};

use super::harness::{Harness, LIFETIME};
use crate::{DeferredToken, Issue, NodeId, RevokeOutcome, Settlement, TokenWrite, Unwritten, WriteOutcome};

const MIN_LIFE: Duration = Duration::from_secs(10);

fn issue_of(token: &AccessToken, policy: ActiveTokenPolicy, observed: Option<TokenId>) -> Arc<Issue> {
    Arc::new(Issue { token: token.clone(), policy, observed, min_life: MIN_LIFE })
}

async fn settle_as(
    harness: &Harness,
    token: &AccessToken,
    policy: ActiveTokenPolicy,
    observed: Option<TokenId>,
) -> Settlement {
    let issue = issue_of(token, policy, observed);
    // What is foretold and what happens are the same.
    let foretold = harness.store.token_judge(Arc::clone(&issue)).await.unwrap();
    let outcome = harness.write(TokenWrite::Settle(issue)).await;
    if outcome != WriteOutcome::Settled(Settlement::Expired) {
        assert_eq!(harness.stored(token.id).await, foretold);
    }
    match outcome {
        WriteOutcome::Settled(settlement) => settlement,
        other => panic!("a settlement was answered with {other:?}"),
    }
}

async fn settle(harness: &Harness, token: &AccessToken) -> Settlement {
    settle_as(harness, token, Reuse, None).await
}

/// The node with the number that tokens of these cases name.
async fn node(harness: &Harness) -> NodeNumber {
    harness.store.node_register(NodeId([9; 16])).await.unwrap().number.unwrap()
}

async fn deferred(harness: &Harness, client: &str) -> AccessToken {
    AccessToken { deferred_by: Some(node(harness).await), ..harness.token(client) }
}

async fn revoke_unwritten(harness: &Harness, token: &AccessToken) -> RevokeOutcome {
    let unwritten = Some(Unwritten { by: token.deferred_by, expires_by: token.expires_at });
    match harness.write(TokenWrite::Revoke { id: token.id, unwritten, audit: None }).await {
        WriteOutcome::Revoked(outcome) => outcome,
        other => panic!("a revocation was answered with {other:?}"),
    }
}

async fn find(harness: &Harness, token: &AccessToken) -> DeferredToken {
    harness.store.token_find_deferred(token.id, token.deferred_by.unwrap()).await.unwrap()
}

pub async fn a_deferred_token_is_found_as_it_was_written(harness: Harness) {
    let token = deferred(&harness, "app").await;
    assert_eq!(settle(&harness, &token).await, Settlement::Active);
    assert_eq!(harness.stored(token.id).await.token, token);
    assert_eq!(harness.state(token.id).await, TokenState::Active);
}

pub async fn of_two_tokens_the_later_is_active_whichever_comes_first(harness: Harness) {
    for (client, later_first) in [("a", false), ("b", true)] {
        let (earlier, later) = (harness.token(client), harness.token(client));
        if later_first {
            assert_eq!(settle(&harness, &later).await, Settlement::Active);
            assert_eq!(settle(&harness, &earlier).await, Settlement::Inactive);
        } else {
            assert_eq!(settle(&harness, &earlier).await, Settlement::Active);
            assert_eq!(settle(&harness, &later).await, Settlement::ActiveAfter(earlier.id));
        }
        assert_eq!(harness.state(earlier.id).await, TokenState::Inactive);
        assert_eq!(harness.state(later.id).await, TokenState::Active);
        let entry = harness.log().await.pop().unwrap();
        assert_eq!((entry.kind, &*entry.key), (LogKind::Token, &earlier.id.as_bytes()[..]));
    }
    assert_eq!(harness.head().await.position, Position(2));
}

pub async fn of_three_tokens_in_any_order_the_latest_is_active(harness: Harness) {
    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    for (number, order) in orders.into_iter().enumerate() {
        let client = format!("client-{number}");
        let tokens = [harness.token(&client), harness.token(&client), harness.token(&client)];
        for which in order {
            settle(&harness, &tokens[which]).await;
        }
        let mut states = Vec::new();
        for token in &tokens {
            states.push(harness.state(token.id).await);
        }
        assert_eq!(states, [TokenState::Inactive, TokenState::Inactive, TokenState::Active], "{order:?}");
    }
}

pub async fn a_token_written_in_mode_sync_ends_for_a_later_one_that_did_not_know_it(harness: Harness) {
    let held = harness.issued("app").await;
    let later = harness.token("app");
    assert_eq!(settle(&harness, &later).await, Settlement::ActiveAfter(held.id));
    assert_eq!(harness.state(held.id).await, TokenState::Inactive);
}

pub async fn a_token_that_was_known_retires_whichever_comes_first(harness: Harness) {
    for (client, later_first) in [("a", false), ("b", true)] {
        let (earlier, later) = (harness.token(client), harness.token(client));
        if later_first {
            assert_eq!(settle_as(&harness, &later, Reuse, Some(earlier.id)).await, Settlement::Active);
            assert_eq!(settle(&harness, &earlier).await, Settlement::Retired);
        } else {
            settle(&harness, &earlier).await;
            assert_eq!(settle_as(&harness, &later, Reuse, Some(earlier.id)).await, Settlement::Active);
        }
        assert_eq!(harness.state(earlier.id).await, TokenState::Retired);
        assert_eq!(harness.state(later.id).await, TokenState::Active);
    }
    assert_eq!(harness.log().await, []);
}

pub async fn a_holder_that_has_expired_or_was_ended_by_a_rule_gives_way(harness: Harness) {
    let expired = harness.issued("a").await;
    let mut client = harness.client("b");
    harness.insert(&client).await;
    let ended = harness.issued("b").await;
    harness.update(&mut client, LogKind::Client).await;
    let mut next = harness.token("b");
    next.authority.seen = harness.head().await.seen();
    assert_eq!(settle(&harness, &next).await, Settlement::Active);
    assert_eq!(harness.state(ended.id).await, TokenState::Revoked);

    harness.clock.advance(LIFETIME);
    assert_eq!(settle(&harness, &harness.token("a")).await, Settlement::Active);
    assert_eq!(harness.state(expired.id).await, TokenState::Expired);
    assert_eq!(harness.head().await.position, Position(1), "nothing was announced");
}

pub async fn a_token_that_a_rule_has_ended_meanwhile_takes_nobodys_slot(harness: Harness) {
    let mut client = harness.client("app");
    harness.insert(&client).await;
    let held = {
        let mut held = harness.token("app");
        held.authority.seen.position = Position(1);
        held
    };
    let late = harness.token("app");
    harness.update(&mut client, LogKind::Client).await;
    settle(&harness, &held).await;
    assert_eq!(settle(&harness, &late).await, Settlement::Revoked);
    assert_eq!(harness.state(late.id).await, TokenState::Revoked);
    assert_eq!(harness.state(held.id).await, TokenState::Active);
}

pub async fn under_multiple_both_are_honoured(harness: Harness) {
    for (client, later_first) in [("a", false), ("b", true)] {
        let (earlier, later) = (harness.token(client), harness.token(client));
        let order = if later_first { [&later, &earlier] } else { [&earlier, &later] };
        for token in order {
            settle_as(&harness, token, Multiple, None).await;
        }
        assert_eq!(harness.state(earlier.id).await, TokenState::Retired);
        assert_eq!(harness.state(later.id).await, TokenState::Active);
    }
    assert_eq!(harness.log().await, []);
}

pub async fn under_replace_the_earlier_ends_even_if_it_was_known(harness: Harness) {
    let (earlier, later) = (harness.token("app"), harness.token("app"));
    settle_as(&harness, &later, Replace, Some(earlier.id)).await;
    assert_eq!(settle_as(&harness, &earlier, Replace, None).await, Settlement::Inactive);
}

pub async fn a_settlement_that_is_repeated_changes_nothing(harness: Harness) {
    let (earlier, later) = (harness.token("app"), harness.token("app"));
    for token in [&earlier, &later] {
        settle(&harness, token).await;
    }
    let head = harness.head().await;
    for token in [&later, &earlier] {
        assert_eq!(settle(&harness, token).await, Settlement::AlreadyWritten);
    }
    assert_eq!(harness.head().await, head);
    assert_eq!(harness.holder(&later).await, Some(later.id));
    assert_eq!(harness.store.token_count().await, Ok(2));
}

pub async fn the_same_slot_twice_in_a_batch_is_settled_in_order(harness: Harness) {
    let tokens = [harness.token("app"), harness.token("app"), harness.token("app")];
    let batch = [1, 0, 2, 1].map(|which| TokenWrite::Settle(issue_of(&tokens[which], Reuse, None)));
    let settled = [
        Settlement::Active,
        Settlement::Inactive,
        Settlement::ActiveAfter(tokens[1].id),
        Settlement::AlreadyWritten,
    ];
    let outcomes = harness.store.token_write(batch.to_vec()).await.unwrap();
    assert_eq!(outcomes, settled.map(WriteOutcome::Settled));
}

pub async fn an_expired_token_is_not_written(harness: Harness) {
    let late = harness.token("app");
    harness.clock.advance(LIFETIME);
    let held = harness.issued("app").await;
    assert_eq!(settle(&harness, &late).await, Settlement::Expired);
    assert_eq!(harness.store.token_count().await, Ok(1));
    assert_eq!(harness.holder(&held).await, Some(held.id));
}

pub async fn a_token_revoked_before_it_was_written_is_revoked_for_good(harness: Harness) {
    let token = deferred(&harness, "app").await;
    assert_eq!(find(&harness, &token).await, DeferredToken::Expected);
    assert_eq!(revoke_unwritten(&harness, &token).await, RevokeOutcome::Revoked(Position(1)));
    assert_eq!(find(&harness, &token).await, DeferredToken::EndedEarly);
    let entry = harness.log().await.pop().unwrap();
    assert_eq!((entry.kind, &*entry.key), (LogKind::Token, &token.id.as_bytes()[..]));
    assert_eq!(entry.keep_until, token.expires_at);
    assert_eq!(revoke_unwritten(&harness, &token).await, RevokeOutcome::AlreadyOver);

    let other = harness.issued("app").await;
    assert_eq!(settle(&harness, &token).await, Settlement::Revoked);
    assert_eq!(harness.state(token.id).await, TokenState::Revoked);
    assert_eq!(harness.holder(&other).await, Some(other.id));
    assert_eq!(harness.head().await.position, Position(1), "it is announced once");
    assert_eq!(revoke_unwritten(&harness, &token).await, RevokeOutcome::AlreadyOver);
}

pub async fn a_token_that_was_written_meanwhile_is_revoked_like_any_other(harness: Harness) {
    let token = deferred(&harness, "app").await;
    settle(&harness, &token).await;
    assert_eq!(revoke_unwritten(&harness, &token).await, RevokeOutcome::Revoked(Position(1)));
    assert_eq!(harness.state(token.id).await, TokenState::Revoked);
    assert_eq!(harness.holder(&token).await, None);
}

pub async fn settling_and_revoking_in_one_batch_ends_the_token_in_either_order(harness: Harness) {
    for (client, revoked_first) in [("a", false), ("b", true)] {
        let token = deferred(&harness, client).await;
        let unwritten = Some(Unwritten { by: token.deferred_by, expires_by: token.expires_at });
        let mut batch = vec![
            TokenWrite::Settle(issue_of(&token, Reuse, None)),
            TokenWrite::Revoke { id: token.id, unwritten, audit: None },
        ];
        if revoked_first {
            batch.reverse();
        }
        harness.store.token_write(batch).await.unwrap();
        assert_eq!(harness.state(token.id).await, TokenState::Revoked);
    }
    assert_eq!(harness.head().await.position, Position(2));
}

/// However the two transactions interleave, the revocation is never lost.
pub async fn settling_and_revoking_at_the_same_time_ends_the_token(harness: Harness) {
    for number in 0..20 {
        let token = deferred(&harness, &format!("client-{number}")).await;
        let unwritten = Some(Unwritten { by: token.deferred_by, expires_by: token.expires_at });
        let write = |write| {
            let store = Arc::clone(&harness.store);
            tokio::spawn(async move { store.token_write(vec![write]).await.unwrap() })
        };
        let settled = write(TokenWrite::Settle(issue_of(&token, Reuse, None)));
        let revoked = write(TokenWrite::Revoke { id: token.id, unwritten, audit: None });
        settled.await.unwrap();
        revoked.await.unwrap();
        assert_eq!(harness.state(token.id).await, TokenState::Revoked);
    }
}

pub async fn an_unknown_token_is_expected_until_its_node_has_drained_it(harness: Harness) {
    let (first, second) = (deferred(&harness, "a").await, deferred(&harness, "b").await);
    let mark = TokenWrite::Heartbeat { node: NodeId([9; 16]), drained_below: Some(second.id) };
    harness.write(mark).await;
    assert_eq!(find(&harness, &first).await, DeferredToken::Absent);
    assert_eq!(find(&harness, &second).await, DeferredToken::Expected);
    settle(&harness, &first).await;
    let stored = harness.stored(first.id).await;
    assert_eq!(find(&harness, &first).await, DeferredToken::Stored(Box::new(stored)));
}

pub async fn an_unknown_token_of_a_node_that_is_gone_is_absent(harness: Harness) {
    let token = deferred(&harness, "app").await;
    let nobody = NodeNumber::new(200).unwrap();
    assert_eq!(harness.store.token_find_deferred(token.id, nobody).await, Ok(DeferredToken::Absent));
}

pub async fn an_early_end_is_kept_until_the_token_has_expired(harness: Harness) {
    let token = deferred(&harness, "app").await;
    revoke_unwritten(&harness, &token).await;
    let sweep = || harness.store.retention_sweep(Duration::from_secs(24 * 3600), 100);
    harness.clock.advance(LIFETIME - Duration::from_secs(1));
    assert_eq!(sweep().await.unwrap().early_ends, 0);
    harness.clock.advance(Duration::from_secs(1));
    assert_eq!(sweep().await.unwrap().early_ends, 1);
    assert_eq!(sweep().await.unwrap().early_ends, 0);
}
