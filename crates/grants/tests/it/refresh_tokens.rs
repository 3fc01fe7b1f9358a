//! Refresh tokens at the other endpoints: revocation, introspection, and what operators are told about them.

use grantry_grants::{Actor, Introspection, Origin, RevocationOutcome, RevocationTarget};
use grantry_protocol::Position;
use grantry_store::{Fault, Grants, Outage, Revocations, StoreError};
use serde_json::json;

use crate::mint;
use crate::world::{World, code, public, secret_of};

async fn world() -> World {
    let world = World::start().await;
    world.client("app", json!({})).await;
    world.client("other", json!({})).await;
    world.client("gateway", json!({ "scope": "grantry:introspect" })).await;
    world
}

#[tokio::test]
async fn revoking_a_refresh_token_ends_its_grant_and_every_access_token_of_it() {
    let world = world().await;
    let (first, bob) = (world.pair("app", "alice").await, world.pair("app", "bob").await);
    let second = world.refresh("app", first.refresh()).await.unwrap();
    // A spent one means the same: its client lost the answer of the last refresh.
    world.grants.revoke(&secret_of("app"), first.refresh(), world.requests.next()).await.unwrap();
    for token in [&first.access, &second.access, second.refresh()] {
        assert!(!world.is_active("app", token).await);
    }
    assert_eq!(code(world.refresh("app", second.refresh()).await), "invalid_grant");
    assert!(world.is_active("app", &bob.access).await && world.is_active("app", bob.refresh()).await);
    assert_eq!(
        world.store.revocation_head().await.unwrap().position,
        Position(1),
        "one entry, however many tokens"
    );
    // Once more is as good as done.
    world.grants.revoke(&secret_of("app"), second.refresh(), world.requests.next()).await.unwrap();
    assert_eq!(world.store.revocation_head().await.unwrap().position, Position(1));
}

#[tokio::test]
async fn revoking_an_access_token_ends_it_alone() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    let second = world.refresh("app", first.refresh()).await.unwrap();
    world.grants.revoke(&secret_of("app"), &second.access, world.requests.next()).await.unwrap();
    assert!(!world.is_active("app", &second.access).await);
    assert!(world.is_active("app", &first.access).await);
    assert!(world.refresh("app", second.refresh()).await.is_ok());
}

#[tokio::test]
async fn another_clients_tokens_are_not_revoked() {
    let world = world().await;
    world.client("public", json!({ "token_endpoint_auth_method": "none" })).await;
    let pair = world.pair("app", "alice").await;
    for token in [pair.refresh(), &pair.access] {
        for credentials in [secret_of("other"), public("public")] {
            assert_eq!(
                code(world.grants.revoke(&credentials, token, world.requests.next()).await),
                "unauthorized_client"
            );
        }
    }
    assert!(world.is_active("app", &pair.access).await && world.is_active("app", pair.refresh()).await);
}

#[tokio::test]
async fn a_revocation_whose_fate_is_unknown_is_not_acknowledged() {
    let world = world().await;
    let pair = world.pair("app", "alice").await;
    world.store.fail_writes([Some(Fault::Before(StoreError::unavailable(Outage::Io, "injected")))]);
    assert!(world.grants.revoke(&secret_of("app"), pair.refresh(), world.requests.next()).await.is_err());
    assert!(world.is_active("app", pair.refresh()).await);
}

#[tokio::test]
async fn what_is_not_ours_is_neither_revoked_nor_introspected_by_a_look_up() {
    let world = world().await;
    for text in ["gtr_AAAA", "gta_AAAA", "x", ""] {
        let before = world.store.calls();
        world.grants.revoke(&secret_of("app"), text, world.requests.next()).await.unwrap();
        assert!(!world.is_active("app", text).await);
        assert_eq!(world.store.calls() - before, 2, "the client, twice");
    }
}

#[tokio::test]
async fn a_refresh_token_is_active_while_a_refresh_would_take_it() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    let second = world.refresh("app", first.refresh()).await.unwrap();
    world.wait(30);
    assert!(world.is_active("app", first.refresh()).await && world.is_active("app", second.refresh()).await);
    world.wait(1);
    assert!(!world.is_active("app", first.refresh()).await && world.is_active("app", second.refresh()).await);
    let third = world.refresh("app", second.refresh()).await.unwrap();
    assert!(!world.is_active("app", first.refresh()).await, "two behind, within the grace");
    let grant = world.store.grant_list(&"alice".parse().unwrap(), None, 1).await.unwrap()[0].grant.id;
    let ahead = mint::refresh_token(&world, "app", grant, 3).await;
    assert!(!world.is_active("app", &ahead).await);
    match world.grants.introspect(&secret_of("app"), third.refresh()).await {
        Ok(Introspection::ActiveGrant(active)) => {
            assert_eq!((active.grant.id, active.issuer.as_str()), (grant, "https://as.example"));
        }
        _ => panic!("the refresh token is good"),
    }
    world.wait(7_200);
    assert!(!world.is_active("app", third.refresh()).await);
}

#[tokio::test]
async fn a_refresh_token_is_shown_to_its_own_client_and_to_those_that_may_see_all() {
    let world = world().await;
    // It is the audience of the grant's access tokens, and yet nobody sends it refresh tokens.
    world.update("other", |metadata| metadata.resources = vec!["https://api.example".to_owned()]).await;
    let pair = world.pair("app", "alice").await;
    for (client, sees) in [("app", true), ("gateway", true), ("other", false)] {
        assert_eq!(world.is_active(client, pair.refresh()).await, sees, "{client}");
    }
    assert!(world.is_active("other", &pair.access).await);
}

#[tokio::test]
async fn an_operator_is_told_why_a_refresh_token_is_good_or_not() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    let grant = world.store.grant_list(&"alice".parse().unwrap(), None, 1).await.unwrap()[0].grant.id;
    let look = async |token: &str| {
        let inspection = world.grants.inspect(token).await.unwrap();
        assert_eq!(inspection.origin, Origin::Ours);
        assert_eq!(inspection.active, world.is_active("app", token).await);
        let refresh_token = inspection.refresh_token.as_ref().unwrap();
        assert_eq!(refresh_token.grant, grant.to_string());
        (inspection.explanation, refresh_token.counter, refresh_token.row.as_ref().map(|row| row.counter))
    };
    let (why, presented, stored) = look(first.refresh()).await;
    assert!(why.contains("is good"), "{why}");
    assert_eq!((presented, stored), (0, Some(0)));
    let second = world.refresh("app", first.refresh()).await.unwrap();
    assert!(look(first.refresh()).await.0.contains("taken as a retry"));
    let third = world.refresh("app", second.refresh()).await.unwrap();
    assert!(look(first.refresh()).await.0.contains("nothing is ended"));
    world.wait(31);
    let (why, presented, stored) = look(first.refresh()).await;
    assert!(why.contains("Whoever uses it ends its grant"), "{why}");
    assert_eq!((presented, stored), (0, Some(2)));
    let ahead = mint::refresh_token(&world, "app", grant, 3).await;
    assert!(look(&ahead).await.0.contains("lost a commit"));
    world.wait(7_200);
    assert!(look(third.refresh()).await.0.contains("refresh_token_idle"));
    world.wait(36_000);
    assert!(look(third.refresh()).await.0.contains("refresh_token_lifetime"));

    let ended = world.pair("app", "bob").await;
    world.grants.revoke(&secret_of("app"), ended.refresh(), world.requests.next()).await.unwrap();
    let why = world.grants.inspect(ended.refresh()).await.unwrap().explanation;
    assert!(why.contains("REVOKED: the client"), "{why}");
    let ruled = world.pair("app", "carol").await;
    world.grants.revocation_create(RevocationTarget::All, &Actor::host()).await.unwrap();
    let why = world.grants.inspect(ruled.refresh()).await.unwrap().explanation;
    assert!(why.contains("by a rule"), "{why}");
    let elsewhere = self::world().await;
    let why = elsewhere.grants.inspect(ruled.refresh()).await.unwrap();
    assert!(why.explanation.contains("not in the store"));
    assert!(!why.active && why.refresh_token.unwrap().row.is_none());
    assert_eq!(world.grants.inspect("gtr_AAAA").await.unwrap().origin, Origin::NotOurs);
}

#[tokio::test]
async fn an_access_token_tells_its_grant_and_the_text_of_a_refresh_token_names_its_grant_to_administrators() {
    let world = world().await;
    let pair = world.pair("app", "alice").await;
    let grant = world.store.grant_list(&"alice".parse().unwrap(), None, 1).await.unwrap()[0].grant.id;
    let inspection = world.grants.inspect(&pair.access).await.unwrap();
    assert_eq!(inspection.token.unwrap().row.unwrap().grant, Some(grant.to_string()));
    let target = world.grants.revocation_target(pair.refresh()).unwrap();
    assert_eq!(target, RevocationTarget::Grant(grant));
    let actor = Actor { name: "admin".to_owned(), request_id: Some("1".to_owned()) };
    let outcome = world.grants.revocation_create(target.clone(), &actor).await.unwrap();
    assert_eq!(outcome, RevocationOutcome::Revoked(Position(1)));
    let again = world.grants.revocation_create(target, &actor).await.unwrap();
    assert_eq!(again, RevocationOutcome::AlreadyOver);
    let audit = world.audit("revocation.create").await;
    assert_eq!((audit.len(), audit[0].target.clone()), (1, grant.to_string()));
    assert!(!world.is_active("app", &pair.access).await);
}
