//! `POST /oauth2/token`

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use grantry_store::{Fault, Outage, StoreError, Tokens};
use http_body::Frame;
use serde_json::json;

use crate::app::{App, ISSUER, SECRET, basic, form};

const GRANT: &str = "grant_type=client_credentials";

#[tokio::test]
async fn a_token_is_issued_and_not_to_be_kept_by_caches() {
    let app = App::with_client(json!({})).await;
    let answer = app.post("/oauth2/token", GRANT).await;
    let body = answer.json();
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.header("content-type"), "application/json");
    assert_eq!(body["token_type"], "Bearer");
    assert_eq!(body["expires_in"], 3600);
    assert_eq!(body["scope"], "read write");
    assert!(body["access_token"].as_str().unwrap().starts_with("gta_"));
    assert!(!answer.header("x-request-id").is_empty());
}

#[tokio::test]
async fn the_same_slot_gets_the_same_token_with_the_life_that_is_left() {
    let app = App::with_client(json!({})).await;
    let first = app.post("/oauth2/token", &format!("{GRANT}&scope=read+write")).await;
    app.clock.advance(Duration::from_secs(100));
    let again = app.post("/oauth2/token", &format!("{GRANT}&scope=write+read")).await;
    assert_eq!(again.token(), first.token());
    assert_eq!(again.json()["expires_in"], 3500);
    let narrower = app.token("&scope=read").await;
    assert_ne!(narrower, first.token());
    let elsewhere = app.token("&resource=https://api.example/").await;
    assert_ne!(elsewhere, first.token());
}

#[tokio::test]
async fn a_token_with_too_little_life_is_not_handed_out_again_but_stays_valid() {
    let app = App::with_client(json!({})).await;
    let first = app.token("").await;
    app.clock.advance(Duration::from_secs(3570));
    let second = app.token("").await;
    assert_ne!(first, second);
    assert!(app.is_active(&first).await);
    app.clock.advance(Duration::from_secs(30));
    assert!(!app.is_active(&first).await);
    assert!(app.is_active(&second).await);
}

#[tokio::test]
async fn replace_ends_the_previous_token_and_multiple_keeps_it() {
    let app = App::new().await;
    app.create_client("billing", json!({ "active_token_policy": "replace" })).await;
    let (first, second) = (app.token("").await, app.token("").await);
    assert_ne!(first, second);
    assert!(!app.is_active(&first).await);
    assert!(app.is_active(&second).await);
    app.admin("PATCH", "/admin/v1/clients/billing", Some(json!({ "active_token_policy": "multiple" }))).await;
    let (third, fourth) = (app.token("").await, app.token("").await);
    assert_ne!(third, fourth);
    for token in [second, third, fourth] {
        assert!(app.is_active(&token).await);
    }
}

#[tokio::test]
async fn a_jwt_has_the_claims_of_rfc_9068() {
    let app = App::with_client(json!({ "access_token_format": "jwt" })).await;
    let token = app.token("&resource=https://api.example/").await;
    let claims = token.split('.').nth(1).unwrap();
    let claims: serde_json::Value =
        serde_json::from_slice(&grantry_jose::from_base64url(claims).unwrap()).unwrap();
    let header = grantry_jose::from_base64url(token.split('.').next().unwrap()).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap();
    assert_eq!(header["typ"], "at+jwt");
    assert_eq!(header["alg"], "ES256");
    assert_eq!(claims["iss"], ISSUER);
    assert_eq!(claims["aud"], "https://api.example/");
    assert_eq!(claims["sub"], "billing");
    assert_eq!(claims["client_id"], "billing");
    assert_eq!(claims["scope"], "read write");
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3600);
    assert_eq!(claims["grantry_stored"], "row");
    let answer = app.post("/oauth2/introspect", &format!("token={token}")).await;
    assert_eq!(answer.json()["jti"], claims["jti"]);
    // The same token again: the same id and expiry, though signed anew.
    let again = app.token("&resource=https://api.example/").await;
    let again = grantry_jose::from_base64url(again.split('.').nth(1).unwrap()).unwrap();
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&again).unwrap(), claims);
}

#[tokio::test]
async fn a_resource_outside_the_clients_list_is_refused() {
    let app = App::with_client(json!({ "allowed_resources": ["https://api.example/"] })).await;
    app.token("&resource=https://api.example/").await;
    let refused = app.post("/oauth2/token", &format!("{GRANT}&resource=https://other.example/")).await;
    assert_eq!(refused.error(), (400, "invalid_target".into()));
}

#[tokio::test]
async fn malformed_requests_get_the_error_of_the_rfc() {
    let app = App::with_client(json!({})).await;
    let long = format!("{GRANT}&scope={}", "x".repeat(4000));
    let values = format!(
        "{GRANT}&scope={}",
        vec!["v"; 200].iter().enumerate().map(|(n, v)| format!("{v}{n}")).collect::<Vec<_>>().join("+")
    );
    let table = [
        ("", 400, "invalid_request"),
        ("scope=read", 400, "invalid_request"),
        ("grant_type=", 400, "invalid_request"),
        ("grant_type=magic", 400, "unsupported_grant_type"),
        ("grant_type=password&username=a&password=b", 400, "unsupported_grant_type"),
        ("grant_type=client_credentials%00", 400, "unsupported_grant_type"),
        ("grant_type=client_credentials%0a", 400, "unsupported_grant_type"),
        ("grant_type=client_credentials&grant_type=client_credentials", 400, "invalid_request"),
        ("grant_type=client_credentials&scope=read&scope=write", 400, "invalid_request"),
        ("grant_type=client_credentials&scope=admin", 400, "invalid_scope"),
        ("grant_type=client_credentials&scope=read+admin", 400, "invalid_scope"),
        ("grant_type=client_credentials&scope=read%00", 400, "invalid_scope"),
        ("grant_type=client_credentials&scope=read%0awrite", 400, "invalid_scope"),
        ("grant_type=client_credentials&scope=%22read%22", 400, "invalid_scope"),
        ("grant_type=client_credentials&resource=api", 400, "invalid_target"),
        ("grant_type=client_credentials&resource=https://a.example/%00", 400, "invalid_target"),
        ("grant_type=client_credentials&resource=https://a.example/%0a", 400, "invalid_target"),
        (&long, 400, "invalid_scope"),
        (&values, 400, "invalid_scope"),
        ("\u{0}\u{1}&&&===%%%", 400, "invalid_request"),
    ];
    for (body, status, error) in table {
        let answer = app.post("/oauth2/token", body).await;
        assert_eq!(answer.error(), (status, error.to_owned()), "{body:?}: {}", answer.text);
        assert_eq!(answer.header("cache-control"), "no-store");
        // No input comes back, in whatever encoding.
        assert!(!answer.text.contains("magic") && !answer.text.contains('\0'), "{}", answer.text);
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_one_of_another_type_is_refused() {
    let app = App::with_client(json!({})).await;
    let answer = app.post("/oauth2/token", &format!("{GRANT}&x={}", "y".repeat(5000))).await;
    assert_eq!(answer.error(), (413, "invalid_request".into()));
    for content_type in ["application/json", "text/plain", ""] {
        let request = Request::post("/oauth2/token")
            .header("content-type", content_type)
            .header("authorization", basic("billing", SECRET));
        let answer = app.send(request.body(GRANT.into()).unwrap()).await;
        assert_eq!(answer.error(), (400, "invalid_request".into()), "{content_type}");
    }
    let request = Request::post("/oauth2/token")
        .header("content-type", "application/x-www-form-urlencoded; charset=UTF-8")
        .header("authorization", basic("billing", SECRET));
    assert_eq!(app.send(request.body(GRANT.into()).unwrap()).await.status, 200);
}

#[tokio::test]
async fn only_post_is_taken_and_other_paths_are_not_there() {
    let app = App::new().await;
    let answer = app.get("/oauth2/token").await;
    assert_eq!((answer.status.as_u16(), answer.header("allow")), (405, "POST"));
    assert_eq!(app.get("/oauth2/nothing").await.status, 404);
}

#[tokio::test]
async fn a_client_authenticates_in_the_registered_way_only() {
    let app = App::with_client(json!({})).await;
    app.create_client("poster", json!({ "token_endpoint_auth_method": "client_secret_post" })).await;
    let secret = SECRET.replace(' ', "+");
    let in_body = |id: &str| format!("{GRANT}&client_id={id}&client_secret={secret}");
    let post = |authorization: Option<String>, body: String| {
        let mut request = form("/oauth2/token");
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        app.send(request.body(body.into()).unwrap())
    };
    // The registered way.
    assert_eq!(post(Some(basic("billing", SECRET)), GRANT.into()).await.status, 200);
    assert_eq!(post(None, in_body("poster")).await.status, 200);
    assert_eq!(post(Some(basic("billing", SECRET)), format!("{GRANT}&client_id=billing")).await.status, 200);
    // The other way, with the right secret.
    assert_eq!(post(None, in_body("billing")).await.error(), (401, "invalid_client".into()));
    assert_eq!(
        post(Some(basic("poster", SECRET)), GRANT.into()).await.error(),
        (401, "invalid_client".into())
    );
    // Two ways at once, and two different clients.
    let twice = post(Some(basic("billing", SECRET)), in_body("billing")).await;
    assert_eq!(twice.error(), (400, "invalid_request".into()));
    let other = post(Some(basic("billing", SECRET)), format!("{GRANT}&client_id=poster")).await;
    assert_eq!(other.error(), (400, "invalid_request".into()));
    // None, and no more than an id.
    let none = post(None, GRANT.into()).await;
    assert_eq!(none.error(), (401, "invalid_client".into()));
    assert_eq!(none.header("www-authenticate"), "Basic realm=\"grantry\"");
    assert_eq!(
        post(None, format!("{GRANT}&client_id=billing")).await.error(),
        (401, "invalid_client".into())
    );
    // Headers that cannot be read.
    for header in ["Basic", "Basic !!!", "Basic YWJj", "Bearer abc", "Basic YmlsbGluZzo="] {
        let answer = post(Some(header.into()), GRANT.into()).await;
        assert_eq!(answer.error(), (401, "invalid_client".into()), "{header}");
    }
}

#[tokio::test]
async fn control_characters_in_credentials_are_refused() {
    let app = App::with_client(json!({})).await;
    for (id, secret) in
        [("billing%00", "x"), ("billing", "a%00b"), ("bill%0aing", "x"), ("billing", "a%0ab"), ("", "x")]
    {
        let request = form("/oauth2/token").header("authorization", basic(id, secret));
        let answer = app.send(request.body(GRANT.into()).unwrap()).await;
        assert_eq!(answer.error(), (401, "invalid_client".into()), "{id} {secret}");
    }
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let app = App::with_client(json!({})).await;
    let request = form("/oauth2/token")
        .header("authorization", basic("billing", SECRET))
        .header("authorization", basic("billing", SECRET));
    let answer = app.send(request.body(GRANT.into()).unwrap()).await;
    assert_eq!(answer.error(), (400, "invalid_request".into()));
}

#[tokio::test]
async fn an_unknown_client_and_a_wrong_secret_take_the_same_steps() {
    let app = App::with_client(json!({})).await;
    let mut steps = Vec::new();
    for (id, secret) in [("billing", "wrong"), ("nobody", "wrong")] {
        let before = (app.store.calls(), app.grants.secret_checks());
        let request = form("/oauth2/token").header("authorization", basic(id, secret));
        let answer = app.send(request.body(GRANT.into()).unwrap()).await;
        steps.push((
            app.store.calls() - before.0,
            app.grants.secret_checks() - before.1,
            answer.text,
            answer.status,
            answer.headers.len(),
        ));
    }
    assert_eq!(steps[0], steps[1]);
    assert_eq!((steps[0].0, steps[0].1), (1, 1));
}

#[tokio::test]
async fn a_disabled_client_is_refused_and_its_tokens_end() {
    let app = App::with_client(json!({})).await;
    app.create_client("watcher", json!({ "scope": "grantry:introspect" })).await;
    let token = app.token("").await;
    let disabled = app.admin("PATCH", "/admin/v1/clients/billing", Some(json!({ "enabled": false }))).await;
    assert_eq!(disabled.status, 200);
    let refused = app.post("/oauth2/token", GRANT).await;
    assert_eq!(refused.error(), (401, "invalid_client".into()));
    let seen = app.post_as("watcher", "/oauth2/introspect", &format!("token={token}")).await;
    assert_eq!(seen.json(), json!({ "active": false }));
    // Enabled again, it gets a new token; the old one does not come back.
    app.admin("PATCH", "/admin/v1/clients/billing", Some(json!({ "enabled": true }))).await;
    let new = app.token("").await;
    assert_ne!(new, token);
    assert!(app.is_active(&new).await);
    assert!(!app.is_active(&token).await);
}

#[tokio::test]
async fn a_client_without_the_grant_is_unauthorized() {
    let app = App::with_client(json!({ "grant_types": [] })).await;
    let answer = app.post("/oauth2/token", GRANT).await;
    assert_eq!(answer.error(), (400, "unauthorized_client".into()));
}

#[tokio::test]
async fn a_clock_that_moves_back_neither_ends_tokens_nor_mixes_up_their_order() {
    let app = App::with_client(json!({ "active_token_policy": "multiple" })).await;
    let before = app.token("").await;
    app.clock.set(grantry_protocol::Timestamp::from_secs(1_699_999_000));
    let after = app.token("").await;
    assert_ne!(before, after);
    assert!(app.is_active(&before).await);
    assert!(app.is_active(&after).await);
    let id = |token: &str| {
        let bytes = grantry_jose::from_base64url(token.strip_prefix("gta_").unwrap()).unwrap();
        bytes[2..18].to_vec()
    };
    assert!(id(&before) < id(&after));
}

#[tokio::test]
async fn too_many_failures_are_429_from_that_address_only() {
    let app = App::with_client(json!({})).await;
    let attempt = |secret: &'static str, peer: &'static str| {
        let mut request = form("/oauth2/token").header("authorization", basic("billing", secret));
        let peer: std::net::SocketAddr = peer.parse().unwrap();
        request.extensions_mut().unwrap().insert(axum::extract::ConnectInfo(peer));
        app.send(request.body(GRANT.into()).unwrap())
    };
    for _ in 0..5 {
        assert_eq!(attempt("wrong", "192.0.2.7:1").await.status, 401);
    }
    let calls = app.store.calls();
    let blocked = attempt(SECRET, "192.0.2.7:2").await;
    assert_eq!(blocked.error(), (429, "slow_down".into()));
    assert!(blocked.header("retry-after").parse::<u64>().unwrap() > 0);
    assert_eq!(app.store.calls(), calls, "a blocked attempt does not reach the store");
    assert_eq!(attempt(SECRET, "192.0.2.8:1").await.status, 200);
}

#[tokio::test]
async fn an_outage_is_503_with_a_retry_hint_and_nothing_is_written() {
    let app = App::with_client(json!({})).await;
    let outage = StoreError::unavailable(Outage::Full, "disk /secret/path is full");
    let rows = app.store.token_count().await.unwrap();
    app.store.fail_writes([Some(Fault::Before(outage.clone()))]);
    let answer = app.post("/oauth2/token", GRANT).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert_eq!(answer.header("retry-after"), "1");
    assert!(!answer.text.contains("secret"), "{}", answer.text);
    assert_eq!(app.store.token_count().await.unwrap(), rows);
    app.store.fail_reads(Some(outage));
    assert_eq!(app.post("/oauth2/token", GRANT).await.error(), (503, "temporarily_unavailable".into()));
    app.store.fail_reads(None);
    app.token("").await;
}

#[tokio::test]
async fn more_requests_at_once_than_allowed_are_503() {
    let app = App::with(|settings| settings.limits.max_concurrent_requests = 0).await;
    let answer = app.post("/oauth2/token", GRANT).await;
    assert_eq!(answer.error(), (503, "temporarily_unavailable".into()));
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_dribbles_in_is_408() {
    let app = App::with_client(json!({})).await;
    let request = form("/oauth2/token").header("authorization", basic("billing", SECRET));
    let dribble = Dribble(tokio::time::interval(Duration::from_secs(1)));
    let answer = app.send(request.body(Body::new(dribble)).unwrap()).await;
    assert_eq!(answer.error(), (408, "invalid_request".into()));
}

/// One byte with every tick, for ever.
struct Dribble(tokio::time::Interval);

impl axum::body::HttpBody for Dribble {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        self.0.poll_tick(context).map(|_| Some(Ok(Frame::data("x".into()))))
    }
}
