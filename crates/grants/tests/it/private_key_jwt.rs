//! One test or more a step of client authentication with an assertion: `authenticate.rs`.

use grantry_grants::{Credentials, FetchError, GrantError, Proof};
use grantry_jose::Algorithm;
use grantry_protocol::{OAuthError, Secret, Wanted};
use serde_json::{Value, json};

use crate::world::{Pair, TestSigner, World, code, refusal, secret_of};

const UNIFORM: (&str, &str) = ("invalid_client", "client authentication failed");

async fn world() -> World {
    let world = World::start().await;
    let fields = json!({
        "grant_types": ["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "token_endpoint_auth_method": "private_key_jwt",
    });
    world.client("app", fields.clone()).await;
    world.client("other", fields).await;
    world.client("secretive", json!({ "grant_types": ["client_credentials"] })).await;
    world
}

fn credentials(assertion: &str) -> Credentials {
    match Credentials::from_assertion(Secret::new(assertion), None) {
        Ok(credentials) => credentials,
        Err(error) => panic!("{error}"),
    }
}

async fn authenticate(world: &World, credentials: &Credentials) -> Result<Pair, GrantError> {
    world.grants.client_credentials(credentials, Wanted::default()).await.map(Pair::from)
}

async fn present(world: &World, assertion: &str) -> Result<Pair, GrantError> {
    authenticate(world, &credentials(assertion)).await
}

/// The claims with which "app" authenticates, changed.
fn changed(world: &World, fields: &Value) -> Value {
    let mut claims = world.claims("app", "app");
    claims.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

#[track_caller]
fn assert_uniform(answer: Result<Pair, GrantError>) {
    let (code, description) = refusal(answer);
    assert_eq!((code, description.as_str()), UNIFORM);
}

#[tokio::test]
async fn a_client_proves_itself_by_a_signature_at_every_endpoint() {
    let world = world().await;
    let sign = || credentials(&world.signer.sign(&world.claims("app", "app")));
    let token = authenticate(&world, &sign()).await.unwrap().access;
    assert!(world.grants.introspect(&sign(), &token).await.is_ok());
    assert!(world.grants.revoke(&sign(), &token, world.requests.next()).await.is_ok());
}

#[test]
fn the_client_is_the_one_that_the_assertion_names() {
    let signer = TestSigner::new(Algorithm::EdDsa, "k");
    let of = |claims: &Value, id| {
        Credentials::from_assertion(Secret::new(signer.sign(claims)), id).map(|found| found.client_id)
    };
    assert_eq!(of(&json!({ "sub": "app" }), None), Ok("app".to_owned()));
    assert_eq!(of(&json!({ "sub": "app" }), Some("app")), Ok("app".to_owned()));
    let refused = |answer: Result<String, OAuthError>| answer.unwrap_err().code.as_str();
    assert_eq!(refused(of(&json!({ "sub": "app" }), Some("other"))), "invalid_client");
    assert_eq!(refused(of(&json!({ "iss": "app" }), Some("app"))), "invalid_client");
    assert_eq!(refused(of(&json!({ "sub": 7 }), None)), "invalid_client");
    for text in ["", "a.b.c", "..", "e30.e30."] {
        assert!(Credentials::from_assertion(Secret::new(text), None).is_err(), "{text}");
    }
}

#[tokio::test]
async fn step_2_unknown_clients_other_methods_and_wrong_signatures_are_refused_alike() {
    let world = world().await;
    let claims = |client| world.claims(client, client);
    let header = |alg: &str| json!({ "alg": alg, "kid": "shared", "typ": "JWT" });
    let stranger = TestSigner::new(Algorithm::Es256, "shared");
    let mut damaged = world.signer.sign(&claims("app"));
    damaged.replace_range(..1, "f");
    for assertion in [
        world.signer.sign(&claims("nobody")),
        world.signer.sign(&claims("secretive")),
        stranger.sign(&claims("app")),
        TestSigner::new(Algorithm::Es256, "unknown").sign(&claims("app")),
        TestSigner::new(Algorithm::EdDsa, "shared").sign(&claims("app")),
        world.signer.sign_under(&header("none"), &claims("app")),
        world.signer.sign_under(&header("HS256"), &claims("app")),
        world.signer.sign_under(&header("RS256"), &claims("app")),
        world.signer.sign_under(&header("EdDSA"), &claims("app")),
        world.signer.sign_under(&json!({ "alg": "ES256", "kid": "shared", "typ": "at+jwt" }), &claims("app")),
    ] {
        let before = world.store.calls();
        assert_uniform(present(&world, &assertion).await);
        assert_eq!(world.store.calls() - before, 1, "the client is read, nothing is written");
    }
    let broken = Credentials { client_id: "app".into(), proof: Proof::Assertion(Secret::new(damaged)) };
    assert_uniform(authenticate(&world, &broken).await);
}

#[tokio::test]
async fn step_2_a_secret_or_nothing_does_not_authenticate_such_a_client() {
    let world = world().await;
    assert_uniform(authenticate(&world, &secret_of("app")).await);
    for proof in [
        Proof::None,
        Proof::Basic(Secret::new("")),
        Proof::Post(Secret::new(world.signer.sign(&world.claims("app", "app")))),
    ] {
        assert_uniform(authenticate(&world, &Credentials { client_id: "app".into(), proof }).await);
    }
}

#[tokio::test]
async fn step_3_each_claim_is_checked_and_named_once_the_signature_is_proven() {
    let world = world().await;
    let now = world.now().as_secs();
    for (wrong, named) in [
        (json!({ "iss": "other" }), "iss"),
        (json!({ "iss": null }), "iss"),
        (json!({ "aud": null }), "aud"),
        (json!({ "aud": "https://as.example/oauth2/token" }), "aud"),
        (json!({ "aud": ["https://as.example", "https://as.example/oauth2/token"] }), "aud"),
        (json!({ "exp": null }), "exp"),
        (json!({ "exp": now }), "expired"),
        (json!({ "exp": now + 301 }), "5 minutes"),
        (json!({ "nbf": now + 31 }), "nbf"),
        (json!({ "iat": now + 31 }), "iat"),
        (json!({ "jti": null }), "jti"),
        (json!({ "jti": "" }), "jti"),
    ] {
        let before = world.store.calls();
        let (code, description) =
            refusal(present(&world, &world.signer.sign(&changed(&world, &wrong))).await);
        assert_eq!(code, "invalid_client", "{wrong}");
        assert!(description.contains(named), "{wrong}: {description}");
        assert_eq!(world.store.calls() - before, 1, "{wrong}");
    }
    let longest =
        changed(&world, &json!({ "exp": now + 300, "aud": ["https://as.example"], "iat": now + 30 }));
    assert!(present(&world, &world.signer.sign(&longest)).await.is_ok());
}

#[tokio::test]
async fn step_3_another_clients_assertion_does_not_speak_for_this_one() {
    let world = world().await;
    // Both have the same key registered: the name alone tells them apart.
    let of_other = world.signer.sign(&world.claims("other", "other"));
    let borrowed = Credentials { client_id: "app".into(), proof: Proof::Assertion(Secret::new(of_other)) };
    assert_eq!(code(authenticate(&world, &borrowed).await), "invalid_client");
    let about = world.signer.sign(&world.claims("other", "app"));
    assert_eq!(code(present(&world, &about).await), "invalid_client");
}

#[tokio::test]
async fn step_4_a_disabled_client_is_refused_and_uses_nothing_up() {
    let world = world().await;
    world.update("app", |metadata| metadata.enabled = false).await;
    let assertion = world.signer.sign(&world.claims("app", "app"));
    assert_eq!(
        refusal(present(&world, &assertion).await),
        ("invalid_client", "the client is disabled".to_owned())
    );
    world.update("app", |metadata| metadata.enabled = true).await;
    assert!(present(&world, &assertion).await.is_ok());
}

#[tokio::test]
async fn step_5_an_assertion_is_used_once_whatever_for() {
    let world = world().await;
    let assertion = world.signer.sign(&changed(&world, &json!({ "exp": world.now().as_secs() + 300 })));
    let token = present(&world, &assertion).await.unwrap().access;
    let replayed = ("invalid_client", "the assertion was used before".to_owned());
    assert_eq!(refusal(present(&world, &assertion).await), replayed);
    assert_eq!(refusal(world.grants.introspect(&credentials(&assertion), &token).await), replayed);
    assert_eq!(
        refusal(world.grants.revoke(&credentials(&assertion), &token, world.requests.next()).await),
        replayed
    );
    world.wait(299);
    assert_eq!(refusal(present(&world, &assertion).await), replayed);
    // The same one as proof and as grant.
    let both = world.signer.sign(&world.claims("app", "app"));
    let answer = world.bearer_as(&credentials(&both), &both, Wanted::default()).await;
    assert_eq!(refusal(answer), ("invalid_grant", "the assertion was used before".to_owned()));
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_now_are_an_outage_and_never_a_wrong_proof() {
    let world = world().await;
    let fields = json!({
        "grant_types": ["client_credentials"],
        "token_endpoint_auth_method": "private_key_jwt",
        "jwks": null,
        "jwks_uri": "https://app.example/jwks",
    });
    world.client("remote", fields).await;
    let assertion = world.signer.sign(&world.claims("remote", "remote"));
    world.fetch.answer(Err(FetchError::Failed("timeout".into())));
    assert!(matches!(present(&world, &assertion).await, Err(GrantError::Unavailable(_))));
    world.wait(1);
    world.fetch.answer(Err(FetchError::Refused("10.0.0.1".into())));
    assert_uniform(present(&world, &assertion).await);
    world.wait(1);
    world.fetch.answer(Ok(world.signer.jwks()));
    assert!(present(&world, &assertion).await.is_ok());
}
