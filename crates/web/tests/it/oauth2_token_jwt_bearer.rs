//! `POST /oauth2/token` with `grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer` (RFC 7523)

use std::time::Duration;

use grantry_store::{Fault, Outage, StoreError};
use serde_json::{Value, json};

use crate::app::{Answer, App, ISSUER};
use crate::assertions::{JWT_BEARER, Signer, alices_pair, bear_as, bearer_app};

async fn bear(app: &App, assertion: &str) -> Answer {
    app.post("/oauth2/token", &format!("grant_type={JWT_BEARER}&assertion={assertion}")).await
}

#[tokio::test]
async fn the_subject_of_the_assertion_gets_a_pair() {
    let (app, signer) = bearer_app(json!({})).await;
    let answer = bear_as(&app, &signer, "billing", "bob@example.com", "&scope=read").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("cache-control")),
        (200, "no-store"),
        "{}",
        answer.text
    );
    let body = answer.json();
    assert_eq!(
        (&body["token_type"], &body["expires_in"], &body["scope"]),
        (&json!("Bearer"), &json!(3600), &json!("read"))
    );
    let (access, refresh) = answer.pair();
    assert!(access.starts_with("gta_") && refresh.starts_with("gtr_"));
    let seen = app.post("/oauth2/introspect", &format!("token={access}")).await.json();
    assert_eq!((&seen["sub"], &seen["client_id"]), (&json!("bob@example.com"), &json!("billing")));
}

#[tokio::test]
async fn the_same_subject_gets_the_same_pair_and_another_one_its_own() {
    let (app, signer) = bearer_app(json!({})).await;
    let first = alices_pair(&app, &signer).await;
    app.clock.advance(Duration::from_secs(100));
    assert_eq!(alices_pair(&app, &signer).await, first);
    let others = bear_as(&app, &signer, "billing", "bob@example.com", "").await.pair();
    assert!(others.0 != first.0 && others.1 != first.1);
}

#[tokio::test]
async fn without_the_clients_opting_in_there_is_no_refresh_token() {
    let (app, signer) = bearer_app(json!({ "jwt_bearer_refresh": false })).await;
    let answer = bear_as(&app, &signer, "billing", "alice", "").await;
    answer.token();
    assert!(answer.json().get("refresh_token").is_none(), "{}", answer.text);
}

#[tokio::test]
async fn client_credentials_give_no_refresh_token_whatever_the_client_may() {
    let (app, _) =
        bearer_app(json!({ "grant_types": [JWT_BEARER, "client_credentials", "refresh_token"] })).await;
    let answer = app.post("/oauth2/token", "grant_type=client_credentials").await;
    answer.token();
    assert!(answer.json().get("refresh_token").is_none(), "{}", answer.text);
}

#[tokio::test]
async fn the_grant_is_off_unless_registered() {
    let app = App::with_client(json!({})).await;
    let signer = Signer::new();
    let answer = bear_as(&app, &signer, "billing", "alice", "").await;
    assert_eq!(answer.error(), (400, "unauthorized_client".into()));
}

#[tokio::test]
async fn an_assertion_that_is_not_good_is_invalid_grant() {
    let (app, signer) = bearer_app(json!({})).await;
    let now = 1_700_000_000;
    let table: [(&str, Value); 12] = [
        ("another issuer", json!({ "iss": "shipping" })),
        ("no issuer", json!({ "iss": null })),
        ("a subject that is not allowed", json!({ "sub": "mallory" })),
        ("a subject that looks allowed", json!({ "sub": "a@example.com.evil" })),
        ("no subject", json!({ "sub": null })),
        ("another audience", json!({ "aud": "https://other.example" })),
        ("no audience", json!({ "aud": null })),
        ("expired", json!({ "exp": now - 120, "iat": now - 180 })),
        ("no expiry", json!({ "exp": null })),
        ("good for too long", json!({ "exp": now + 3600 })),
        ("not yet good", json!({ "nbf": now + 3600 })),
        ("no id", json!({ "jti": null })),
    ];
    for (name, changes) in table {
        let assertion = signer.assert(&app, "billing", "alice", &changes);
        let answer = bear(&app, &assertion).await;
        assert_eq!(answer.error(), (400, "invalid_grant".into()), "{name}: {}", answer.text);
        assert!(!answer.text.contains("evil") && !answer.text.contains("mallory"), "{}", answer.text);
    }
    let stranger = Signer::new().assert(&app, "billing", "alice", &json!({}));
    for assertion in [stranger.as_str(), "x", "a.b.c", "..", "%00", &"x".repeat(3000)] {
        let answer = bear(&app, assertion).await;
        assert_eq!(answer.error(), (400, "invalid_grant".into()), "{assertion}: {}", answer.text);
    }
    assert_eq!(bear(&app, "").await.error(), (400, "invalid_request".into()));
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let (app, signer) = bearer_app(json!({})).await;
    let assertion = signer.assert(&app, "billing", "alice", &json!({ "aud": [ISSUER] }));
    bear(&app, &assertion).await.token();
    assert_eq!(bear(&app, &assertion).await.error(), (400, "invalid_grant".into()));
}

#[tokio::test]
async fn more_scope_than_registered_is_refused() {
    let (app, signer) = bearer_app(json!({})).await;
    for (more, error) in [
        ("&scope=admin", "invalid_scope"),
        ("&scope=read+admin", "invalid_scope"),
        ("&resource=api", "invalid_target"),
    ] {
        let answer = bear_as(&app, &signer, "billing", "alice", more).await;
        assert_eq!(answer.error(), (400, error.into()), "{more}");
    }
}

#[tokio::test]
async fn an_outage_is_503_and_gives_nothing() {
    let (app, signer) = bearer_app(json!({})).await;
    app.store.fail_writes([Some(Fault::Before(StoreError::unavailable(Outage::Full, "injected")))]);
    let answer = bear_as(&app, &signer, "billing", "alice", "").await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert_eq!(answer.header("retry-after"), "1");
    alices_pair(&app, &signer).await;
}
