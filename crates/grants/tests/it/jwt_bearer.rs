//! One test or more a step of `jwt_bearer.rs`.

use grantry_grants::{Credentials, GrantError, Proof};
use grantry_jose::Algorithm;
use grantry_protocol::{
    ActiveTokenPolicy, ClientMetadata, GrantType, RefreshTokenRotation, Secret, SubjectKind, TokenState,
    Wanted,
};
use grantry_store::{Fault, Grants, Outage, StoreError, Tokens};
use serde_json::{Value, json};

use crate::world::{Answer, TestSigner, World, code, public, refusal, secret_of, wanted};

async fn world() -> World {
    let world = World::start().await;
    world.client("app", json!({})).await;
    world.client("plain", json!({ "jwt_bearer_refresh": false })).await;
    world
}

async fn bring(world: &World, client: &str, claims: &Value) -> Answer {
    world.bearer(client, &world.signer.sign(claims), Wanted::default()).await
}

/// The claims of a good assertion of "app" for alice, changed.
fn changed(world: &World, fields: &Value) -> Value {
    let mut claims = world.claims("app", "alice");
    claims.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

#[tokio::test]
async fn step_1_the_client_is_authenticated_and_a_public_one_names_itself() {
    let world = world().await;
    world.client("spa", json!({ "token_endpoint_auth_method": "none" })).await;
    let assertion = world.signer.sign(&world.claims("app", "alice"));
    let wrong = Credentials { client_id: "app".into(), proof: Proof::Basic(Secret::new("wrong")) };
    for wrong in [&wrong, &public("app")] {
        assert_eq!(code(world.bearer_as(wrong, &assertion, Wanted::default()).await), "invalid_client");
    }
    let assertion = world.signer.sign(&world.claims("spa", "alice"));
    assert!(world.bearer_as(&public("spa"), &assertion, Wanted::default()).await.is_ok());
}

#[tokio::test]
async fn step_1_the_grant_type_is_off_unless_the_client_has_it() {
    assert!(!ClientMetadata::default().grant_types.contains(&GrantType::JwtBearer));
    let world = world().await;
    world.update("app", |metadata| metadata.grant_types = vec![GrantType::RefreshToken]).await;
    assert_eq!(code(bring(&world, "app", &world.claims("app", "alice")).await), "unauthorized_client");
}

#[tokio::test]
async fn step_2_only_a_key_of_the_registered_issuer_counts() {
    let world = world().await;
    let idp = TestSigner::new(Algorithm::EdDsa, "idp");
    let issuer = json!({ "issuer": "https://idp.example", "jwks": idp.jwks() });
    world.client("corp", json!({ "jwt_bearer_issuer": issuer })).await;
    let claims = world.claims("https://idp.example", "alice");
    assert!(world.bearer("corp", &idp.sign(&claims), Wanted::default()).await.is_ok());
    let table = [
        // The client's own key, as the issuer and as itself.
        world.signer.sign(&world.claims("https://idp.example", "alice")),
        world.signer.sign(&world.claims("corp", "alice")),
        // The issuer's key under the name of the client.
        idp.sign(&world.claims("corp", "alice")),
        // Somebody else's key, by the same name.
        TestSigner::new(Algorithm::EdDsa, "idp").sign(&world.claims("https://idp.example", "alice")),
        idp.sign_under(
            &json!({ "alg": "none", "kid": "idp" }),
            &world.claims("https://idp.example", "alice"),
        ),
        idp.sign_under(
            &json!({ "alg": "HS256", "kid": "idp" }),
            &world.claims("https://idp.example", "alice"),
        ),
        idp.sign_under(
            &json!({ "alg": "EdDSA", "kid": "idp", "typ": "at+jwt" }),
            &world.claims("https://idp.example", "alice"),
        ),
        "not a JWT".to_owned(),
        String::new(),
    ];
    for assertion in table {
        assert_eq!(
            code(world.bearer("corp", &assertion, Wanted::default()).await),
            "invalid_grant",
            "{assertion}"
        );
    }
}

#[tokio::test]
async fn step_3_the_assertion_is_for_this_server_and_for_now() {
    let world = world().await;
    let now = world.now().as_secs();
    for wrong in [
        json!({ "iss": "plain" }),
        json!({ "iss": null }),
        json!({ "aud": null }),
        json!({ "aud": "https://as.example/oauth2/token" }),
        json!({ "aud": ["https://as.example", "https://other.example"] }),
        json!({ "exp": null }),
        json!({ "exp": now }),
        json!({ "exp": now + 301 }),
        json!({ "nbf": now + 31 }),
        json!({ "iat": now + 31 }),
        json!({ "jti": null }),
        json!({ "jti": "" }),
        json!({ "jti": "x".repeat(256) }),
    ] {
        let before = world.store.calls();
        let answer = bring(&world, "app", &changed(&world, &wrong)).await;
        assert_eq!(code(answer), "invalid_grant", "{wrong}");
        assert_eq!(world.store.calls() - before, 1, "{wrong}: nothing is written down");
    }
    assert!(bring(&world, "app", &changed(&world, &json!({ "exp": now + 300 }))).await.is_ok());
}

#[tokio::test]
async fn step_4_only_subjects_that_the_client_may_speak_for() {
    let world = world().await;
    world.client("some", json!({ "jwt_bearer_subjects": ["alice", "*@example.com"] })).await;
    for good in ["alice", "bob@example.com"] {
        assert!(bring(&world, "some", &world.claims("some", good)).await.is_ok(), "{good}");
    }
    for wrong in ["", "alice2", "Alice", "bob@example.com.evil", "b\u{f6}b@example.com"] {
        assert_eq!(
            code(bring(&world, "some", &world.claims("some", wrong)).await),
            "invalid_grant",
            "{wrong}"
        );
    }
    assert_eq!(code(bring(&world, "app", &changed(&world, &json!({ "sub": null }))).await), "invalid_grant");
}

#[tokio::test]
async fn step_5_scope_and_resource_are_what_the_client_is_registered_for() {
    let world = world().await;
    world
        .update("app", |metadata| metadata.allowed_resources = Some(vec!["https://a.example/".into()]))
        .await;
    let bring = async |wanted| {
        let assertion = world.signer.sign(&world.claims("app", "alice"));
        world.bearer("app", &assertion, wanted).await
    };
    assert_eq!(bring(wanted("read", &["https://a.example/"])).await.unwrap().scope, "read");
    assert_eq!(bring(Wanted::default()).await.unwrap().scope, "read write");
    assert_eq!(code(bring(wanted("admin", &[])).await), "invalid_scope");
    assert_eq!(code(bring(wanted("", &["https://b.example/"])).await), "invalid_target");
}

#[tokio::test]
async fn step_6_an_assertion_is_used_once() {
    let world = world().await;
    let assertion = world.signer.sign(&changed(&world, &json!({ "exp": world.now().as_secs() + 300 })));
    // What is refused for another reason has not used it up.
    assert_eq!(code(world.bearer("app", &assertion, wanted("admin", &[])).await), "invalid_scope");
    assert!(world.bearer("app", &assertion, Wanted::default()).await.is_ok());
    for _ in 0..2 {
        let answer = world.bearer("app", &assertion, Wanted::default()).await;
        assert_eq!(refusal(answer), ("invalid_grant", "the assertion was used before".to_owned()));
        world.wait(299);
        world.clock.set(crate::world::START);
    }
    world.wait(299);
    assert_eq!(code(world.bearer("app", &assertion, Wanted::default()).await), "invalid_grant");
}

#[tokio::test]
async fn step_6_of_two_at_once_one_is_answered() {
    let world = world().await;
    let assertion = world.signer.sign(&world.claims("app", "alice"));
    let (one, other) = tokio::join!(
        world.bearer("app", &assertion, Wanted::default()),
        world.bearer("app", &assertion, Wanted::default())
    );
    assert_eq!([one.is_ok(), other.is_ok()].iter().filter(|ok| **ok).count(), 1);
}

#[tokio::test]
async fn step_6_an_issuers_assertion_is_used_once_whichever_client_brings_it() {
    let world = world().await;
    let issuer = json!({ "issuer": "https://idp.example", "jwks": world.signer.jwks() });
    for client in ["one", "two"] {
        world.client(client, json!({ "jwt_bearer_issuer": issuer.clone() })).await;
    }
    let assertion = world.signer.sign(&world.claims("https://idp.example", "alice"));
    assert!(world.bearer("one", &assertion, Wanted::default()).await.is_ok());
    assert_eq!(code(world.bearer("two", &assertion, Wanted::default()).await), "invalid_grant");
}

#[tokio::test]
async fn step_7_without_refresh_the_same_subject_gets_the_same_token_and_no_grant_is_kept() {
    let world = world().await;
    let first = world.pair("plain", "alice").await;
    let again = world.pair("plain", "alice").await;
    assert_eq!((&first.access, &first.refresh), (&again.access, &None));
    assert_ne!(world.pair("plain", "bob").await.access, first.access);
    assert_eq!(world.store.grant_count().await.unwrap(), 0);
    let stored = world.store.token_find(world.id_of("plain", &first.access).await).await.unwrap().unwrap();
    assert_eq!((stored.token.subject_kind, stored.token.authority.grant), (SubjectKind::User, None));
}

#[tokio::test]
async fn step_7_with_binding_grant_each_assertion_gives_a_token_of_its_own() {
    let world = world().await;
    world.client("each", json!({ "jwt_bearer_refresh": false, "slot_binding": "grant" })).await;
    let (first, second) = (world.pair("each", "alice").await, world.pair("each", "alice").await);
    assert_ne!(first.access, second.access);
    assert!(world.is_active("each", &first.access).await && world.is_active("each", &second.access).await);
    assert_eq!(world.store.grant_count().await.unwrap(), 0);
}

#[tokio::test]
async fn step_8_the_same_subject_gets_the_same_pair_and_nothing_but_the_jti_is_written() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    let before = world.store.calls();
    let again = world.pair("app", "alice").await;
    assert_eq!(world.store.calls() - before, 4, "client; jti; grant and holder");
    assert_eq!(first, again);
    assert_eq!(world.store.grant_count().await.unwrap(), 1);
    // After a refresh it is the pair of that.
    let refreshed = world.refresh("app", first.refresh()).await.unwrap();
    assert_eq!(world.pair("app", "alice").await, refreshed);
}

#[tokio::test]
async fn step_8_a_live_grant_whose_token_is_used_up_gives_a_new_one_of_its_own() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    world.wait(571);
    let again = world.pair("app", "alice").await;
    assert_eq!(again.refresh, first.refresh);
    assert_ne!(again.access, first.access);
    // Both end with the grant.
    world.grants.revoke(&secret_of("app"), first.refresh(), world.requests.next()).await.unwrap();
    assert!(!world.is_active("app", &first.access).await && !world.is_active("app", &again.access).await);
}

#[tokio::test]
async fn step_8_a_grant_that_is_over_gives_way_to_a_new_one() {
    let world = world().await;
    let first = world.pair("app", "alice").await;
    world.grants.revoke(&secret_of("app"), first.refresh(), world.requests.next()).await.unwrap();
    let second = world.pair("app", "alice").await;
    assert_ne!((&second.access, &second.refresh), (&first.access, &first.refresh));
    assert!(world.is_active("app", &second.access).await && world.is_active("app", second.refresh()).await);
    world.wait(7_200);
    let third = world.pair("app", "alice").await;
    assert_ne!(third.refresh, second.refresh);
    assert!(world.refresh("app", third.refresh()).await.is_ok());
}

#[tokio::test]
async fn step_8_two_at_once_get_the_same_pair() {
    let world = world().await;
    let (one, other) = tokio::join!(world.pair("app", "alice"), world.pair("app", "alice"));
    assert_eq!(one, other);
    assert_eq!(world.store.grant_count().await.unwrap(), 1);
}

#[tokio::test]
async fn step_8_a_lost_answer_is_made_up_for_by_the_next_assertion() {
    let world = world().await;
    let outage = StoreError::unavailable(Outage::Io, "injected");
    world.store.fail_writes([None, Some(Fault::After(outage))]);
    let answer = bring(&world, "app", &world.claims("app", "alice")).await;
    assert!(matches!(answer, Err(GrantError::Unavailable(_))));
    world.pair("app", "alice").await;
    assert_eq!(world.store.grant_count().await.unwrap(), 1);
    assert_eq!(world.store.token_count().await.unwrap(), 1);
}

#[tokio::test]
async fn step_8_a_token_that_no_grant_stands_behind_is_never_half_of_a_pair() {
    let world = world().await;
    let alone = world.pair("plain", "alice").await;
    world.update("plain", |metadata| metadata.jwt_bearer_refresh = true).await;
    let pair = world.pair("plain", "alice").await;
    assert_ne!(pair.access, alone.access);
    world.update("plain", |metadata| metadata.jwt_bearer_refresh = false).await;
    assert_ne!(world.pair("plain", "alice").await.access, pair.access);
}

#[tokio::test]
async fn step_8_the_policies_replace_and_multiple_give_new_access_tokens_of_the_same_grant() {
    for (policy, previous) in [
        (ActiveTokenPolicy::Replace, TokenState::Inactive),
        (ActiveTokenPolicy::Multiple, TokenState::Retired),
    ] {
        let world = world().await;
        world.update("app", |metadata| metadata.active_token_policy = Some(policy)).await;
        let first = world.pair("app", "alice").await;
        let id = world.id_of("app", &first.access).await;
        let second = world.pair("app", "alice").await;
        assert_eq!(first.refresh, second.refresh);
        assert_ne!(first.access, second.access);
        let stored = world.store.token_find(id).await.unwrap().unwrap();
        assert_eq!(stored.state(world.now()), previous, "{policy:?}");
    }
}

#[tokio::test]
async fn step_9_with_binding_grant_each_assertion_opens_a_grant() {
    let world = world().await;
    world.client("each", json!({ "slot_binding": "grant" })).await;
    let (first, second) = (world.pair("each", "alice").await, world.pair("each", "alice").await);
    assert_ne!(first.access, second.access);
    assert_ne!(first.refresh, second.refresh);
    world.grants.revoke(&secret_of("each"), first.refresh(), world.requests.next()).await.unwrap();
    assert!(!world.is_active("each", &first.access).await && world.is_active("each", &second.access).await);
    assert!(world.refresh("each", second.refresh()).await.is_ok());
}

#[tokio::test]
async fn under_never_every_instance_of_a_client_shares_one_refresh_token() {
    let world = world().await;
    world.update("app", |metadata| metadata.refresh_token_rotation = RefreshTokenRotation::Never).await;
    let (one, other) = (world.pair("app", "alice").await, world.pair("app", "alice").await);
    for pair in [&one, &other, &one] {
        world.wait(3_600);
        assert_eq!(world.refresh("app", pair.refresh()).await.unwrap().refresh, one.refresh);
    }
}
