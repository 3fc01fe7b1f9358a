//! A grant from before a rule yields nothing after it, and a token that was asked for after the rule by a node that has
//! seen it lives; the clock stands still between the two.

use std::sync::Arc;

use grantry_grants::{Actor, RevocationTarget};
use grantry_protocol::{
    AccessToken, ActiveTokenPolicy, Grant, GrantId, LogKind, Position, Rule, SessionId, TokenId, Wanted,
};
use grantry_store::{
    AuditEntry, Clients, Grants, Opening, Revocations, Rotation, RotationOutcome, RuleAppend, TokenWrite,
    Tokens, WriteOutcome,
};
use serde_json::json;

use crate::world::{Pair, World, code, secret_of};

async fn world() -> World {
    let world = World::start().await;
    world.client("app", json!({})).await;
    world.client("other", json!({})).await;
    world
}

async fn assert_dead(world: &World, client: &str, pair: &Pair) {
    assert!(!world.is_active(client, &pair.access).await);
    assert!(!world.is_active(client, pair.refresh()).await);
    // Not even when the clock goes on.
    for wait in [0, 31] {
        world.wait(wait);
        assert_eq!(code(world.refresh(client, pair.refresh()).await), "invalid_grant");
    }
}

async fn assert_lives(world: &World, client: &str, pair: &Pair) -> Pair {
    assert!(world.is_active(client, &pair.access).await);
    let next = world.refresh(client, pair.refresh()).await.unwrap();
    assert!(world.is_active(client, &next.access).await);
    assert!(world.is_active(client, next.refresh()).await);
    next
}

async fn revoke(world: &World, target: RevocationTarget) {
    world.grants.revocation_create(target, &Actor::host()).await.unwrap();
}

#[tokio::test]
async fn a_rule_of_each_kind_ends_what_is_before_it_and_nothing_that_is_after_it_or_beside_it() {
    for (kind, target, ends_bob, ends_other) in [
        ("subject", RevocationTarget::Subject("alice".parse().unwrap()), false, true),
        ("client", RevocationTarget::Client("app".parse().unwrap()), true, false),
        ("all", RevocationTarget::All, true, true),
    ] {
        let world = world().await;
        let first = world.pair("app", "alice").await;
        let before = world.refresh("app", first.refresh()).await.unwrap();
        let (bob, other) = (world.pair("app", "bob").await, world.pair("other", "alice").await);
        revoke(&world, target.clone()).await;
        let after = world.pair("app", "alice").await;
        assert_ne!(after.access, before.access, "{kind}");
        let after = assert_lives(&world, "app", &after).await;
        for (client, pair, ends) in [("app", &bob, ends_bob), ("other", &other, ends_other)] {
            if ends {
                assert_dead(&world, client, pair).await;
            } else {
                assert_lives(&world, client, pair).await;
            }
        }
        assert_dead(&world, "app", &before).await;
        assert_dead(&world, "app", &first).await;
        assert_lives(&world, "app", &after).await;
    }
}

#[tokio::test]
async fn the_end_of_a_grant_ends_it_alone_and_the_next_one_lives() {
    let world = world().await;
    let (before, bob) = (world.pair("app", "alice").await, world.pair("app", "bob").await);
    let target = world.grants.revocation_target(before.refresh()).unwrap();
    revoke(&world, target).await;
    let after = world.pair("app", "alice").await;
    assert_lives(&world, "app", &bob).await;
    let after = assert_lives(&world, "app", &after).await;
    assert_dead(&world, "app", &before).await;
    assert_lives(&world, "app", &after).await;
}

#[tokio::test]
async fn disabling_and_deleting_a_client_end_its_grants_and_its_next_life_starts_anew() {
    let world = world().await;
    let before = world.pair("app", "alice").await;
    world.update("app", |metadata| metadata.enabled = false).await;
    assert_eq!(code(world.refresh("app", before.refresh()).await), "invalid_client");
    world.update("app", |metadata| metadata.enabled = true).await;
    let after = assert_lives(&world, "app", &world.pair("app", "alice").await).await;
    assert_dead(&world, "app", &before).await;

    world.grants.client_delete(&"app".parse().unwrap(), &Actor::host()).await.ok().unwrap();
    assert_eq!(code(world.refresh("app", after.refresh()).await), "invalid_client");
    world.client("app", json!({})).await;
    let reborn = assert_lives(&world, "app", &world.pair("app", "alice").await).await;
    assert_dead(&world, "app", &after).await;
    assert_lives(&world, "app", &reborn).await;
}

#[tokio::test]
async fn a_rule_about_a_session_ends_the_grants_that_it_gave() {
    let world = world().await;
    let (session, other) = (SessionId::from_bytes([1; 16]), SessionId::from_bytes([2; 16]));
    let before = pair_of_session(&world, "alice", session).await;
    let bob = pair_of_session(&world, "bob", other).await;
    let carol = world.pair("app", "carol").await;
    revoke(&world, RevocationTarget::Session(session)).await;
    // The person signed in again in the same session.
    let after = pair_of_session(&world, "alice", session).await;
    for pair in [&after, &bob, &carol] {
        assert_lives(&world, "app", pair).await;
    }
    assert_dead(&world, "app", &before).await;
}

/// Sessions come with sign-in; until then a grant that has one is put into the store, where it is found by its slot.
async fn pair_of_session(world: &World, subject: &str, session: SessionId) -> Pair {
    let pair = world.pair("app", subject).await;
    let id = world.id_of("app", &pair.access).await;
    let token = world.store.token_find(id).await.unwrap().unwrap().token;
    let grant = world.store.grant_find(token.authority.grant.unwrap()).await.unwrap().unwrap().grant;
    world.grants.revoke(&secret_of("app"), pair.refresh(), world.requests.next()).await.unwrap();
    let id = TokenId::from_bytes(flipped(*id.as_bytes()));
    let grant = Grant {
        id: GrantId::from_bytes(flipped(*grant.id.as_bytes())),
        session: Some(session),
        seen: world.store.revocation_head().await.unwrap().seen(),
        access_token: id,
        status_index: None,
        ..grant
    };
    let token = AccessToken { id, authority: grant.authority(), ..token };
    let opening = Arc::new(Opening { grant, token, is_stored: true, policy: ActiveTokenPolicy::Multiple });
    let opened = world.store.token_write(vec![TokenWrite::Open(opening)]).await;
    assert_eq!(opened, Ok(vec![WriteOutcome::Opened]));
    world.pair("app", subject).await
}

/// Another id of the same time.
fn flipped(mut id: [u8; 16]) -> [u8; 16] {
    id[15] ^= 0xff;
    id
}

#[tokio::test]
async fn a_rule_between_the_authority_and_the_refresh_ends_what_the_refresh_gave() {
    // A node that lags: it read grant and client before the rule, and writes after it.
    let world = world().await;
    let pair = world.pair("app", "alice").await;
    let grant = world.store.grant_list(&"alice".parse().unwrap(), None, 1).await.unwrap().remove(0).grant;
    let held = world.store.token_find(grant.access_token).await.unwrap().unwrap().token;
    revoke(&world, RevocationTarget::Subject("alice".parse().unwrap())).await;
    let rotation = Rotation {
        grant: grant.id,
        origin: None,
        presented: 0,
        advance: true,
        grace: std::time::Duration::from_secs(30),
        idle: std::time::Duration::from_secs(60),
        token: AccessToken { id: TokenId::from_bytes([9; 16]), ..held },
        is_stored: true,
        policy: ActiveTokenPolicy::Multiple,
        token_life: std::time::Duration::from_secs(60),
        keep_until: world.now(),
        reuse_audit: entry(&world),
    };
    let outcome = world.store.token_write(vec![TokenWrite::Rotate(Arc::new(rotation))]).await.unwrap();
    assert_eq!(outcome, [WriteOutcome::Rotated(RotationOutcome::Over)]);
    assert_dead(&world, "app", &pair).await;
}

#[tokio::test]
async fn an_assertion_that_was_under_way_when_the_rule_came_gives_what_the_rule_ends() {
    let world = world().await;
    let assertion = world.signer.sign(&world.claims("app", "alice"));
    let seen = world.store.client_find(&"app".parse().unwrap()).await.unwrap().seen;
    // The first write of the request is its jti; the rule comes before the second.
    let rule = Rule::Subject("alice".parse().unwrap());
    let append = RuleAppend { rule, keep_until: world.now(), audit: entry(&world) };
    let (answer, appended) = tokio::join!(
        biased;
        world.bearer("app", &assertion, Wanted::default()),
        world.store.revocation_append(append)
    );
    let pair = answer.unwrap();
    assert!(appended.unwrap() > seen);
    assert_dead(&world, "app", &pair).await;
    let entries = world.store.revocation_list(Position(0), 10).await.unwrap();
    assert_eq!(entries.iter().filter(|entry| entry.kind == LogKind::Subject).count(), 1);
}

fn entry(world: &World) -> AuditEntry {
    AuditEntry {
        at: world.now(),
        actor: "test".to_owned(),
        action: "test",
        target: String::new(),
        detail: serde_json::Value::Null,
        request_id: None,
    }
}
