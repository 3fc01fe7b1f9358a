//! `/admin/v1/keys`, and what becomes of the published keys and of tokens.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use crate::app::{Answer, App};
use crate::assertions::{alices_pair, bearer_app};

const KEYS: &str = "/admin/v1/keys";

/// PKCS#8 of a P-256 key that is used nowhere.
const PEM: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgh7ON50rlHXPuftE+
rxQXU/3hr0JogjEFj5ImIl93O7KhRANCAAR3kkEYQTf47WNzhxke4AzArdjg79O0
3FlIpLMIGJqBfRnPDZ/BfnlsSDSa31mGAWU0QsupFT3AVacQ11exdX97
-----END PRIVATE KEY-----
";

fn field(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.json()["field"].as_str().unwrap_or_default().to_owned())
}

async fn key(app: &App, purpose: &str, version: u64) -> Value {
    let keys = app.admin("GET", KEYS, None).await.json();
    let keys = keys["keys"].as_array().unwrap().clone();
    keys.into_iter().find(|key| key["purpose"] == purpose && key["version"] == version).unwrap()
}

async fn published(app: &App) -> Vec<String> {
    let set = app.get("/oauth2/jwks").await.json();
    set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
}

/// A client with JWTs as access tokens, and one of them.
async fn app_with_jwts() -> (App, String) {
    let app = App::with_client(json!({})).await;
    app.create_client("jwts", json!({ "access_token_format": "jwt" })).await;
    let token = app.post_as("jwts", "/oauth2/token", "grant_type=client_credentials").await.token();
    (app, token)
}

/// As the client with JWTs sees it.
async fn is_active(app: &App, token: &str) -> bool {
    let answer = app.post_as("jwts", "/oauth2/introspect", &format!("token={token}")).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    answer.json()["active"].as_bool().unwrap()
}

#[tokio::test]
async fn the_list_names_every_key_and_shows_none() {
    let app = App::with_client(json!({})).await;
    let answer = app.admin("GET", KEYS, None).await;
    assert_eq!((answer.status, answer.header("cache-control")), (StatusCode::OK, "no-store"));
    let keys = answer.json()["keys"].as_array().unwrap().clone();
    let names: Vec<String> =
        keys.iter().map(|key| format!("{}/{}", key["purpose"].as_str().unwrap(), key["version"])).collect();
    assert_eq!(names, ["client_secret/1", "signing/1", "signing/2", "signing/3", "token_mac/1"]);
    for key in keys {
        assert_eq!(key["state"], "active");
        assert_eq!(key["active_from"], 1_700_000_000);
        for name in key.as_object().unwrap().keys() {
            let known = ["purpose", "version", "kid", "algorithm", "state", "created_at", "active_from"];
            assert!(known.contains(&name.as_str()), "{name}");
        }
    }
}

#[tokio::test]
async fn a_rotated_key_is_published_at_once_and_signs_once_everybody_may_have_it() {
    let (app, token) = app_with_jwts().await;
    let answer = app.admin("POST", KEYS, Some(json!({ "purpose": "signing" }))).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    let made = answer.json();
    assert_eq!((&made["state"], &made["algorithm"]), (&json!("pending"), &json!("ES256")));
    assert_eq!(made["active_from"], 1_700_000_000 + 302);
    assert!(published(&app).await.contains(&made["kid"].as_str().unwrap().to_owned()));
    app.clock.advance(Duration::from_secs(302));
    assert_eq!(key(&app, "signing", 4).await["state"], "active");
    let old = key(&app, "signing", 2).await;
    assert_eq!(old["state"], "retiring");
    assert!(old["needed_until"].as_i64().unwrap() >= 1_700_000_302 + 86_400);
    assert!(is_active(&app, &token).await);
}

#[tokio::test]
async fn what_a_revoked_key_made_is_refused_from_the_answer_on() {
    let (app, jwt) = app_with_jwts().await;
    let kid = key(&app, "signing", 2).await["kid"].as_str().unwrap().to_owned();
    let answer = app.admin("POST", "/admin/v1/keys/signing/2/revoke", None).await;
    assert_eq!((answer.status, &answer.json()["state"]), (StatusCode::OK, &json!("revoked")));
    assert!(!is_active(&app, &jwt).await);
    assert!(!published(&app).await.contains(&kid));
    let again = app.admin("POST", "/admin/v1/keys/signing/2/revoke", None).await;
    assert_eq!(again.status, StatusCode::CONFLICT);

    let opaque = app.token("").await;
    assert!(app.is_active(&opaque).await);
    let answer = app.admin("POST", "/admin/v1/keys/token_mac/1/revoke", Some(json!({}))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    assert!(!app.is_active(&opaque).await);
    // And what is issued now is good.
    assert!(app.is_active(&app.token("").await).await);
    let jwt = app.post_as("jwts", "/oauth2/token", "grant_type=client_credentials").await.token();
    assert!(is_active(&app, &jwt).await);
}

#[tokio::test]
async fn a_key_of_client_secrets_goes_only_when_that_is_confirmed() {
    let app = App::with_client(json!({})).await;
    let path = "/admin/v1/keys/client_secret/1/revoke";
    for body in [None, Some(json!({})), Some(json!({ "confirm": false }))] {
        let answer = app.admin("POST", path, body).await;
        assert_eq!(field(&answer), (400, "confirm".to_owned()), "{}", answer.text);
    }
    assert!(app.is_active(&app.token("").await).await);
    let answer = app.admin("POST", path, Some(json!({ "confirm": true }))).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.text);
    let refused = app.post("/oauth2/token", "grant_type=client_credentials").await;
    assert_eq!(refused.error(), (401, "invalid_client".to_owned()));
}

#[tokio::test]
async fn a_key_that_was_made_elsewhere_is_imported_once() {
    let app = App::with_client(json!({})).await;
    let body = || Some(json!({ "purpose": "signing", "private_key_pem": PEM }));
    let answer = app.admin("POST", KEYS, body()).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text);
    assert_eq!(answer.json()["algorithm"], "ES256");
    assert!(!answer.text.contains("PRIVATE"));
    assert_eq!(app.admin("POST", KEYS, body()).await.status, StatusCode::CONFLICT);
}

#[tokio::test]
async fn what_is_wrong_is_named() {
    let app = App::with_client(json!({})).await;
    for (body, at_fault) in [
        (json!({}), "purpose"),
        (json!({ "purpose": "sealing" }), "purpose"),
        (json!({ "purpose": 1 }), "purpose"),
        (json!({ "purpose": "signing", "algorithm": "HS256" }), "algorithm"),
        (json!({ "purpose": "token_mac", "algorithm": "ES256" }), "algorithm"),
        (json!({ "purpose": "signing", "private_key_pem": "secret text" }), "private_key_pem"),
        (json!({ "purpose": "signing", "private_key_pem": PEM, "algorithm": "RS256" }), "private_key_pem"),
        (json!({ "purpose": "token_mac", "private_key_pem": PEM }), "private_key_pem"),
        (json!({ "purpose": "signing", "kid": "x" }), "kid"),
    ] {
        let answer = app.admin("POST", KEYS, Some(body.clone())).await;
        assert_eq!(field(&answer), (400, at_fault.to_owned()), "{body}: {}", answer.text);
        assert!(!answer.text.contains("secret text"));
    }
    for path in ["signing/9", "sealing/1", "signing/x", "signing/256"] {
        let answer = app.admin("POST", &format!("{KEYS}/{path}/revoke"), None).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
    let answer = app.admin("POST", "/admin/v1/keys/signing/1/revoke", Some(json!({ "force": true }))).await;
    assert_eq!(field(&answer), (400, "force".to_owned()));
    let keys = app.admin("GET", KEYS, None).await.json();
    assert_eq!(keys["keys"].as_array().unwrap().len(), 5, "nothing was changed");
}

#[tokio::test]
async fn keys_are_for_administrators() {
    let app = App::with_client(json!({})).await;
    let token = app.token("").await;
    for (method, path) in [("GET", KEYS), ("POST", KEYS), ("POST", "/admin/v1/keys/signing/1/revoke")] {
        let request = |bearer: Option<&str>| {
            let request = axum::http::Request::builder().method(method).uri(path);
            let request = match bearer {
                Some(token) => request.header("authorization", format!("Bearer {token}")),
                None => request,
            };
            request.body(axum::body::Body::empty()).unwrap()
        };
        assert_eq!(app.admin_send(request(None)).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(app.admin_send(request(Some(&token))).await.status, StatusCode::FORBIDDEN);
    }
}

#[tokio::test]
async fn a_refresh_token_does_not_outlive_the_revocation_of_its_key_and_outlives_a_rotation() {
    let (app, signer) = bearer_app(json!({})).await;
    let (access, refresh_token) = alices_pair(&app, &signer).await;
    app.admin("POST", KEYS, Some(json!({ "purpose": "token_mac" }))).await;
    app.clock.advance(Duration::from_secs(5));
    let form = |token: &str| format!("grant_type=refresh_token&refresh_token={token}");
    let (newer_access, newer) = app.post("/oauth2/token", &form(&refresh_token)).await.pair();
    assert!(app.is_active(&access).await && app.is_active(&newer_access).await);

    app.admin("POST", "/admin/v1/keys/token_mac/2/revoke", None).await;
    let refused = app.post("/oauth2/token", &form(&newer)).await;
    assert_eq!(refused.error(), (400, "invalid_grant".into()));
    assert!(!app.is_active(&newer_access).await);
    assert!(app.is_active(&access).await, "the first key is as good as before");
    // Whoever has the refresh token of the first key in time is answered as for any lost answer.
    let (_, again) = app.post("/oauth2/token", &form(&refresh_token)).await.pair();
    assert_ne!(again, newer);
}
