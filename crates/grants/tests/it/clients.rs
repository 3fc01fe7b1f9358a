//! What the administration of clients adds for keys and grants.

use grantry_grants::{Actor, ClientAdminError, NewClient, RevocationTarget};
use grantry_protocol::{AuthMethod, ClientMetadata, Secret, SessionId};
use grantry_store::Clients;
use serde_json::{Value, json};

use crate::world::{World, code, secret_of};

async fn refused_field(world: &World, fields: Value) -> &'static str {
    let metadata: ClientMetadata = serde_json::from_value(fields).unwrap();
    let new = NewClient { id: None, secret: None, metadata };
    match world.grants.client_create(new, &Actor::host()).await {
        Err(ClientAdminError::Invalid(invalid)) => invalid.field,
        _ => panic!("the client was made"),
    }
}

#[tokio::test]
async fn key_sets_that_nothing_could_be_verified_with_are_refused_by_the_name_of_their_field() {
    let world = World::start().await;
    let unusable = json!({ "keys": [{ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" }] });
    assert_eq!(refused_field(&world, json!({ "jwks": unusable })).await, "jwks");
    let issuer = json!({ "issuer": "https://idp.example", "jwks": unusable });
    assert_eq!(refused_field(&world, json!({ "jwt_bearer_issuer": issuer })).await, "jwt_bearer_issuer");
    world.client("app", json!({})).await;
    let change = |metadata: &ClientMetadata| {
        let mut metadata = metadata.clone();
        metadata.jwks = Some(serde_json::from_value(unusable.clone()).unwrap());
        Ok(metadata)
    };
    let updated = world.grants.client_update(&"app".parse().unwrap(), &Actor::host(), change).await;
    assert!(matches!(updated, Err(ClientAdminError::Invalid(invalid)) if invalid.field == "jwks"));
}

#[tokio::test]
async fn a_client_that_signs_has_no_secret() {
    let world = World::start().await;
    let method = "token_endpoint_auth_method";
    world.client("signs", json!({ method: "private_key_jwt" })).await;
    let find = async |id: &str| world.store.client_find(&id.parse().unwrap()).await.unwrap().value.unwrap();
    assert_eq!(find("signs").await.secret, None);
    let jwks = world.signer.jwks();
    let metadata = serde_json::from_value(json!({ method: "private_key_jwt", "jwks": jwks })).unwrap();
    let new = NewClient { id: None, secret: Some(Secret::new("a secret")), metadata };
    let refused = world.grants.client_create(new, &Actor::host()).await;
    assert!(matches!(refused, Err(ClientAdminError::Invalid(invalid)) if invalid.field == "client_secret"));
    let refused = world.grants.client_rotate_secret(&"signs".parse().unwrap(), &Actor::host()).await;
    assert!(matches!(refused, Err(ClientAdminError::Invalid(invalid)) if invalid.field == method));

    // One that begins to sign loses its secret, and gets a new one if it goes back.
    world.client("app", json!({})).await;
    let first = find("app").await.secret;
    assert!(first.is_some());
    let pair = world.pair("app", "alice").await;
    world.update("app", |metadata| metadata.token_endpoint_auth_method = AuthMethod::PrivateKeyJwt).await;
    assert_eq!(find("app").await.secret, None);
    assert_eq!(code(world.refresh("app", pair.refresh()).await), "invalid_client");
    world.update("app", |metadata| metadata.token_endpoint_auth_method = AuthMethod::ClientSecretPost).await;
    assert!(find("app").await.secret.is_some_and(|secret| Some(secret) != first));
    assert!(world.grants.introspect(&secret_of("app"), "x").await.is_err());
}

#[tokio::test]
async fn the_audit_trail_names_a_session_as_people_do() {
    let world = World::start().await;
    let session = SessionId::from_bytes([0xab; 16]);
    let target = RevocationTarget::Session(session);
    world.grants.revocation_create(target, &Actor::host()).await.unwrap();
    assert_eq!(world.audit("revocation.create").await[0].target, "abababab-abab-abab-abab-abababababab");
}
