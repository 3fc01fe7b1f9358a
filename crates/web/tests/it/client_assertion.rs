//! Client authentication by assertion (RFC 7521 §4.2, RFC 7523 §2.2), at the endpoints that take it.

use grantry_store::{Outage, StoreError};
use serde_json::{Value, json};

use crate::app::{Answer, App, ISSUER, SECRET, basic, form};
use crate::assertions::Signer;

const GRANT: &str = "grant_type=client_credentials";
const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// An app with the client `robot`, which has a key pair instead of a secret.
async fn robot_app() -> (App, Signer) {
    let signer = Signer::new();
    let app = App::new().await;
    create_robot(&app, &signer, "robot").await;
    (app, signer)
}

async fn create_robot(app: &App, signer: &Signer, id: &str) {
    let metadata = json!({
        "client_secret": null, "token_endpoint_auth_method": "private_key_jwt", "jwks": signer.jwks(),
    });
    app.create_client(id, metadata).await;
}

async fn post(app: &App, path: &str, body: String) -> Answer {
    app.send(form(path).body(body.into()).unwrap()).await
}

/// `robot`'s request with a fresh assertion.
async fn robot(app: &App, signer: &Signer, path: &str, body: &str) -> Answer {
    let assertion = signer.assert(app, "robot", "robot", &json!({}));
    post(app, path, format!("{body}&client_assertion_type={TYPE}&client_assertion={assertion}")).await
}

#[tokio::test]
async fn an_assertion_authenticates_at_every_endpoint() {
    let (app, signer) = robot_app().await;
    let token = robot(&app, &signer, "/oauth2/token", GRANT).await.token();
    let body = format!("token={token}");
    let seen = robot(&app, &signer, "/oauth2/introspect", &body).await.json();
    assert_eq!((&seen["active"], &seen["client_id"]), (&json!(true), &json!("robot")));
    assert_eq!(robot(&app, &signer, "/oauth2/revoke", &body).await.status, 200);
    let seen = robot(&app, &signer, "/oauth2/introspect", &body).await.json();
    assert_eq!(seen["active"], false);
    // The id may stand in the body besides, if it is the same.
    let named = robot(&app, &signer, "/oauth2/token", &format!("{GRANT}&client_id=robot")).await;
    assert_eq!(named.status, 200, "{}", named.text);
    app.create_client("billing", json!({})).await;
    let other = robot(&app, &signer, "/oauth2/token", &format!("{GRANT}&client_id=billing")).await;
    assert_eq!(other.error(), (401, "invalid_client".into()));
}

#[tokio::test]
async fn an_assertion_that_is_not_good_is_invalid_client() {
    let now = 1_700_000_000;
    let table: [(&str, Value); 10] = [
        ("about another client", json!({ "sub": "billing" })),
        ("by another client", json!({ "iss": "billing" })),
        ("without an issuer", json!({ "iss": null })),
        ("for another audience", json!({ "aud": "https://other.example" })),
        ("for the endpoint instead of the issuer", json!({ "aud": format!("{ISSUER}/oauth2/token") })),
        ("without an audience", json!({ "aud": null })),
        ("expired", json!({ "exp": now - 120, "iat": now - 180 })),
        ("without an expiry", json!({ "exp": null })),
        ("good for too long", json!({ "exp": now + 86_400 })),
        ("without an id", json!({ "jti": null })),
    ];
    let with = async |app: &App, assertion: &str| {
        post(
            app,
            "/oauth2/token",
            format!("{GRANT}&client_assertion_type={TYPE}&client_assertion={assertion}"),
        )
        .await
    };
    for (name, changes) in table {
        let (app, signer) = robot_app().await;
        app.create_client("billing", json!({})).await;
        let answer = with(&app, &signer.assert(&app, "robot", "robot", &changes)).await;
        assert_eq!(answer.error(), (401, "invalid_client".into()), "{name}: {}", answer.text);
        assert!(!answer.header("www-authenticate").is_empty());
    }
    let (app, _) = robot_app().await;
    let stranger = Signer::new();
    let by_stranger = stranger.assert(&app, "robot", "robot", &json!({}));
    let unknown = stranger.assert(&app, "nobody", "nobody", &json!({}));
    for assertion in [by_stranger.as_str(), &unknown, "x", "a.b.c", "..", "%00%0a", "e30.e30.e30"] {
        let answer = with(&app, assertion).await;
        assert_eq!(answer.error(), (401, "invalid_client".into()), "{assertion}: {}", answer.text);
    }
}

#[tokio::test]
async fn an_assertion_is_good_once() {
    let (app, signer) = robot_app().await;
    let assertion = signer.assert(&app, "robot", "robot", &json!({}));
    let body = format!("{GRANT}&client_assertion_type={TYPE}&client_assertion={assertion}");
    assert_eq!(post(&app, "/oauth2/token", body.clone()).await.status, 200);
    assert_eq!(post(&app, "/oauth2/token", body).await.error(), (401, "invalid_client".into()));
}

#[tokio::test]
async fn a_client_authenticates_in_exactly_one_way() {
    let (app, signer) = robot_app().await;
    app.create_client("billing", json!({})).await;
    let fresh = || signer.assert(&app, "robot", "robot", &json!({}));
    let kind = format!("client_assertion_type={TYPE}");
    let saml = "client_assertion_type=urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    for (body, named) in [
        (format!("{GRANT}&client_assertion={}", fresh()), "client_assertion_type"),
        (format!("{GRANT}&client_id=robot&client_assertion={}", fresh()), "client_assertion_type"),
        (format!("{GRANT}&{kind}"), "client_assertion"),
        (format!("{GRANT}&{kind}&client_assertion="), "client_assertion"),
        (format!("{GRANT}&{saml}&client_assertion={}", fresh()), "jwt-bearer"),
        (format!("{GRANT}&{saml}"), "jwt-bearer"),
        (format!("{GRANT}&client_assertion_type=%00&client_assertion={}", fresh()), "jwt-bearer"),
        (format!("{GRANT}&{kind}&client_assertion={}&client_assertion=x", fresh()), "repeated"),
        (format!("{GRANT}&{kind}&client_assertion={}&client_secret=x", fresh()), "two ways"),
        (format!("{GRANT}&{kind}&client_assertion={}&client_id=robot&client_secret=x", fresh()), "two ways"),
    ] {
        let answer = post(&app, "/oauth2/token", body.clone()).await;
        assert_eq!(answer.error(), (400, "invalid_request".into()), "{body}: {}", answer.text);
        assert!(answer.json()["error_description"].as_str().unwrap().contains(named), "{}", answer.text);
    }
    let body = format!("{GRANT}&{kind}&client_assertion={}", fresh());
    for authorization in [basic("billing", SECRET), basic("robot", "x"), "Bearer x".to_owned()] {
        let request = form("/oauth2/token").header("authorization", authorization);
        let answer = app.send(request.body(body.clone().into()).unwrap()).await;
        assert_eq!(answer.error(), (400, "invalid_request".into()));
    }
    // None of them has used the assertion up.
    assert_eq!(post(&app, "/oauth2/token", body).await.status, 200);
}

#[tokio::test]
async fn the_registered_method_is_the_only_one() {
    let (app, _) = robot_app().await;
    let signer = Signer::new();
    app.create_client("billing", json!({ "jwks": signer.jwks() })).await;
    let assertion = signer.assert(&app, "billing", "billing", &json!({}));
    let body = format!("{GRANT}&client_assertion_type={TYPE}&client_assertion={assertion}");
    assert_eq!(post(&app, "/oauth2/token", body).await.error(), (401, "invalid_client".into()));
    let by_secret = app.post_as("robot", "/oauth2/token", GRANT).await;
    assert_eq!(by_secret.error(), (401, "invalid_client".into()));
    let by_name = post(&app, "/oauth2/token", format!("{GRANT}&client_id=robot")).await;
    assert_eq!(by_name.error(), (401, "invalid_client".into()));
}

#[tokio::test]
async fn failed_assertions_are_counted_as_failed_secrets_are() {
    let (app, signer) = robot_app().await;
    let stranger = Signer::new();
    for _ in 0..5 {
        let answer = robot(&app, &stranger, "/oauth2/token", GRANT).await;
        assert_eq!(answer.error(), (401, "invalid_client".into()));
    }
    let calls = app.store.calls();
    let blocked = robot(&app, &signer, "/oauth2/token", GRANT).await;
    assert_eq!(blocked.error(), (429, "slow_down".into()));
    assert!(blocked.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(app.store.calls(), calls, "a blocked attempt does not reach the store");
}

#[tokio::test]
async fn an_outage_is_503_and_never_invalid_client() {
    let (app, signer) = robot_app().await;
    app.store.fail_reads(Some(StoreError::unavailable(Outage::Busy, "injected")));
    let answer = robot(&app, &signer, "/oauth2/token", GRANT).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    app.store.fail_reads(None);
    assert_eq!(robot(&app, &signer, "/oauth2/token", GRANT).await.status, 200);
}
