//! Claims by configuration: what access tokens say besides, in every mode and format.

use grantry_grants::{Introspection, TokenSettings};
use grantry_jose::from_base64url;
use grantry_protocol::{ConfiguredClaims, PersistenceMode, Wanted, scopes};
use serde_json::{Map, Value, json};

use crate::world::{World, secret_of, settings};

const MODES: [PersistenceMode; 3] = [PersistenceMode::Sync, PersistenceMode::Async, PersistenceMode::None];

fn claims(json: Value) -> ConfiguredClaims {
    serde_json::from_value(json).unwrap()
}

/// Where every token says its tenant and a tier.
async fn world(mode: PersistenceMode) -> World {
    let is_async = mode == PersistenceMode::Async;
    let world = World::with(TokenSettings {
        persistence: mode,
        has_queue: is_async,
        pool_size: if is_async { 2 } else { 0 },
        claims: claims(json!({ "tenant": { "id": 7 }, "tier": "base" })),
        ..settings()
    })
    .await;
    for (format, client) in [("jwt", "jwt"), ("opaque", "opaque")] {
        let fields = json!({
            "grant_types": ["client_credentials", "refresh_token", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
            "access_token_format": format,
            "access_token_claims": { "tier": "gold", "https://acme.example/limits": [1, 2] },
        });
        world.client(client, fields).await;
    }
    world
}

fn expected() -> Value {
    json!({ "tenant": { "id": 7 }, "tier": "gold", "https://acme.example/limits": [1, 2] })
}

/// Of what is configured, what the JWT says.
fn said(jwt: &str) -> Value {
    let claims = jwt.split('.').nth(1).and_then(from_base64url).unwrap();
    let claims: Map<String, Value> = serde_json::from_slice(&claims).unwrap();
    let names = ["tenant", "tier", "https://acme.example/limits"];
    claims.into_iter().filter(|(name, _)| names.contains(&name.as_str())).collect()
}

/// What introspection says of them to the caller.
async fn told(world: &World, caller: &str, token: &str) -> Value {
    match world.grants.introspect(&secret_of(caller), token).await {
        Ok(Introspection::Active(active)) => serde_json::to_value(&active.claims).unwrap(),
        _ => panic!("the token is not active"),
    }
}

#[tokio::test]
async fn configured_claims_are_in_tokens_and_answers_of_every_mode() {
    for mode in MODES {
        let world = world(mode).await;
        for client in ["jwt", "opaque"] {
            let own = world.grants.client_credentials(&secret_of(client), Wanted::default()).await.unwrap();
            let pair = world.pair(client, "alice").await;
            let next = world.refresh(client, pair.refresh()).await.unwrap();
            for token in [own.access_token.expose(), &pair.access, &next.access] {
                assert_eq!(told(&world, client, token).await, expected(), "{mode:?}, {client}");
                assert!(client == "opaque" || said(token) == expected(), "{mode:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_resource_server_is_told_the_claims_of_the_tokens_client() {
    let world = world(PersistenceMode::None).await;
    world
        .client("api", json!({ "scope": scopes::INTROSPECT, "access_token_claims": { "tier": "none" } }))
        .await;
    let pair = world.pair("opaque", "alice").await;
    assert_eq!(told(&world, "api", &pair.access).await, expected());
}

#[tokio::test]
async fn a_change_is_in_what_is_signed_and_answered_from_then_on() {
    let world = world(PersistenceMode::Sync).await;
    let before = world.pair("jwt", "alice").await;
    world.update("jwt", |metadata| metadata.access_token_claims = ConfiguredClaims::default()).await;
    let general = json!({ "tenant": { "id": 7 }, "tier": "base" });
    assert_eq!(said(&before.access), expected(), "what is signed stays as it is");
    assert_eq!(told(&world, "jwt", &before.access).await, general);
    let after = world.pair("jwt", "alice").await;
    assert_eq!(world.id_of("jwt", &after.access).await, world.id_of("jwt", &before.access).await);
    assert_eq!(said(&after.access), general, "the same token, signed anew");
}

#[tokio::test]
async fn without_any_no_claim_is_added_and_nothing_more_is_read() {
    let world = World::start().await;
    world.client("app", json!({ "access_token_format": "jwt" })).await;
    let pair = world.pair("app", "alice").await;
    assert_eq!(told(&world, "app", &pair.access).await, json!({}));
    let before = world.store.calls();
    assert!(world.is_active("app", &pair.access).await);
    assert_eq!(world.store.calls() - before, 2, "the caller, and the token");
}
